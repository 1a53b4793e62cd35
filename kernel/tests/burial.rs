//! Who is trusted to delete links for the plugin, with the real kernel.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod sandbox;

use backends::LinkName;
use kernel::pod::{Host, burial};
use rustix::process::Uid;
use rustix::thread::set_thread_res_uid;
use sandbox::{Sandbox, wait_for};

fn retire(sandbox: &Sandbox, name: &str) {
    let name = LinkName::new(name).unwrap();
    sandbox.run(|| {
        let mut host = Host::open().unwrap();
        let found = host.find(name).unwrap().unwrap();
        host.retire(&[(found, name)]).unwrap();
    });
}

fn links(sandbox: &Sandbox) -> String {
    sandbox.sh("ip -o link show type veth")
}

#[test]
fn a_link_is_left_to_whoever_listens_as_the_same_user() {
    let sandbox = Sandbox::new();
    sandbox.sh("ip link add v0 type veth peer name p0 && ip link set v0 up");
    let listener = sandbox.run(|| burial::listen().unwrap());
    retire(&sandbox, "v0");
    assert!(listener.accept().is_ok());
    assert!(links(&sandbox).contains("state DOWN"), "{}", links(&sandbox));
    sandbox.run(|| Host::open().unwrap().sweep().unwrap());
    assert_eq!(links(&sandbox), "");
}

#[test]
fn a_port_is_disabled_on_its_bridge_and_taken_down_where_a_spanning_tree_forbids_that() {
    let sandbox = Sandbox::new();
    let _listener = sandbox.run(|| burial::listen().unwrap());
    for (stp, state) in [(0, "state UP"), (1, "state DOWN")] {
        sandbox.sh(&format!("ip link add br0 type bridge stp_state {stp} && ip link set br0 up"));
        sandbox.sh("ip link add v0 master br0 type veth peer name p0 && ip link set v0 up && ip link set p0 up");
        let port = || sandbox.sh("ip -d -o link show dev v0");
        wait_for("the port's carrier", || Some(port()).filter(|port| port.contains("state UP")));
        retire(&sandbox, "v0");
        let port = port();
        assert!(port.contains(state) && port.contains("bridge_slave state disabled"), "{port}");
        sandbox.run(|| Host::open().unwrap().sweep().unwrap());
        assert_eq!(links(&sandbox), "");
        sandbox.sh("ip link del br0");
    }
}

#[test]
fn another_user_who_took_the_name_gets_nothing_to_do() {
    let sandbox = Sandbox::new();
    sandbox.sh("ip link add v0 type veth peer name p0");
    let nobody = Uid::from_raw(65534);
    // On a thread of its own, which ends: only it becomes somebody else.
    let listener = sandbox.run(|| {
        set_thread_res_uid(nobody, nobody, nobody).unwrap();
        burial::listen().unwrap()
    });
    retire(&sandbox, "v0");
    assert_eq!(links(&sandbox), "");
    drop(listener);
}

#[test]
fn only_one_listens_in_a_network_namespace_and_each_namespace_has_its_own() {
    let (here, there) = (Sandbox::new(), Sandbox::new());
    let first = here.run(|| burial::listen().unwrap());
    assert_eq!(here.run(|| burial::listen().unwrap_err()).kind(), std::io::ErrorKind::AddrInUse);
    there.run(|| burial::listen().unwrap());
    drop(first);
    here.run(|| burial::listen().unwrap());
}
