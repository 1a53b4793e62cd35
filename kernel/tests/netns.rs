//! Entering network namespaces and setting what belongs to them, with the real kernel.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod sandbox;

use std::path::{Path, PathBuf};

use kernel::netns::{Netns, NetnsError};
use kernel::sysctl;
use sandbox::Sandbox;

/// A path of the test's own, removed with what is there.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        Scratch(std::env::temp_dir().join(format!("kernel-netns-{}-{name}", std::process::id())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            eprintln!("{}: {error}", self.0.display());
        }
    }
}

#[test]
fn work_runs_inside_and_the_caller_stays_outside() {
    let sandbox = Sandbox::new();
    let before = Netns::current().unwrap();
    let inside = sandbox.netns.run(|| Netns::current().unwrap()).unwrap();
    assert!(inside.is_same_as(&sandbox.netns));
    assert!(!inside.is_same_as(&before));
    assert!(Netns::current().unwrap().is_same_as(&before));
}

#[test]
fn a_namespace_is_the_same_by_whatever_path_it_is_opened() {
    let sandbox = Sandbox::new();
    let again = Netns::open(Path::new(&sandbox.path())).unwrap();
    assert!(again.is_same_as(&sandbox.netns));
    assert!(!Sandbox::new().netns.is_same_as(&again));
}

#[test]
fn a_socket_made_inside_stays_there() {
    let sandbox = Sandbox::new();
    sandbox.sh("ip address add 192.0.2.1/32 dev lo");
    let socket = sandbox.netns.run(|| std::net::UdpSocket::bind("192.0.2.1:0")).unwrap().unwrap();
    let port = socket.local_addr().unwrap().port();
    assert!(std::net::UdpSocket::bind(("192.0.2.1", port)).is_err(), "the host has no such address");
}

#[test]
fn a_panic_inside_reaches_the_caller() {
    let sandbox = Sandbox::new();
    let caught = std::panic::catch_unwind(|| sandbox.netns.run(|| panic!("inside")));
    assert_eq!(caught.unwrap_err().downcast_ref::<&str>(), Some(&"inside"));
}

#[test]
fn what_is_not_a_network_namespace_is_refused_by_name() {
    let file = Scratch::new("file");
    std::fs::write(&file.0, "").unwrap();
    let fifo = Scratch::new("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo.0, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    for path in [&file.0, &fifo.0, Path::new("/proc"), Path::new("/dev/null")] {
        let error = Netns::open(path).unwrap_err();
        assert!(matches!(error, NetnsError::NotANamespace { .. }), "{error}");
        assert!(error.to_string().starts_with(path.to_str().unwrap()), "{error}");
    }
    let error = Netns::open(Path::new("/run/netns/there-is-none")).unwrap_err();
    assert!(matches!(&error, NetnsError::Open { source, .. } if source.kind() == std::io::ErrorKind::NotFound));
}

#[test]
fn another_kind_of_namespace_is_refused_and_nothing_runs() {
    let other = Netns::open(Path::new("/proc/self/ns/uts")).unwrap();
    let error = other.run(|| panic!("ran")).unwrap_err();
    assert!(matches!(error, NetnsError::NotANamespace { .. }), "{error}");
    let proc_file = Netns::open(Path::new("/proc/self/status")).unwrap();
    let error = proc_file.run(|| panic!("ran")).unwrap_err();
    assert!(matches!(error, NetnsError::NotANamespace { .. }), "{error}");
}

#[test]
fn settings_are_those_of_the_namespace_that_the_thread_is_in() {
    let sandbox = Sandbox::new();
    let here = sysctl::read("net/ipv4/ip_forward").unwrap();
    let wanted = if here.as_deref() == Some("1") { "0" } else { "1" };
    let inside = sandbox.run(|| {
        sysctl::write("net/ipv4/ip_forward", wanted)?;
        sysctl::read("net/ipv4/ip_forward")
    });
    assert_eq!(inside.unwrap().as_deref(), Some(wanted));
    assert_eq!(sysctl::read("net/ipv4/ip_forward").unwrap(), here);
}

#[test]
fn a_value_that_the_kernel_refuses_is_an_error_that_names_both() {
    let error = Sandbox::new().run(|| sysctl::write("net/ipv4/ip_forward", "many")).unwrap_err();
    assert!(error.to_string().starts_with("cannot write `many` to /proc/sys/net/ipv4/ip_forward: "), "{error}");
}
