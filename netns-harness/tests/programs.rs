//! Programs and commands run inside nodes; etcd comes, goes and stalls.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::Command;
use std::time::Duration;

use ipam::Family;
use netns_harness::{EtcdOptions, Lab, Plugin, wait_for};
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(20);

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

#[test]
fn a_failed_command_says_what_where_and_why() {
    let lab = Lab::new("commands").unwrap();
    let node = lab.node("alpha").unwrap();
    let error = format!("{:#}", node.run(["ip", "link", "show", "nosuch"]).unwrap_err());
    for part in [node.namespace().name(), "`ip link show nosuch`", "exit status: 1", "does not exist"] {
        assert!(error.contains(part), "no {part} in: {error}");
    }
    let error = format!("{:#}", node.run(["no-such-program"]).unwrap_err());
    assert!(error.contains("cannot start no-such-program"), "{error}");
    assert_eq!(node.feed(["cat"], "hello").unwrap(), "hello");
    assert_eq!(node.json(["ip", "-j", "addr", "show", "dev", "lo"]).unwrap()[0]["ifname"], "lo");
}

#[test]
fn a_program_is_waited_for_signalled_and_started_again() {
    let lab = Lab::new("programs").unwrap();
    let node = lab.node("alpha").unwrap();
    let program =
        node.start("greeter", shell("trap 'echo bye; exit 3' TERM; echo hello $$; while :; do sleep 0.02; done"));
    let program = program.unwrap();
    program.wait_log("hello", LIMIT).unwrap();
    let first = program.pid().unwrap();
    assert_eq!(program.stop().unwrap().code(), Some(3));
    assert!(!program.is_running());
    let error = program.pid().unwrap_err().to_string();
    assert!(error.contains("exit status: 3") && error.contains("bye"), "{error}");
    program.restart().unwrap();
    assert_ne!(program.pid().unwrap(), first);
    program.wait_log("hello", LIMIT).unwrap();
    assert_eq!(program.log().matches("hello").count(), 2);
    assert!(!program.log_of_this_run().contains("bye"), "that was the run before");
    program.kill().unwrap();
    program.kill().unwrap();
}

#[test]
fn waiting_for_a_program_that_ends_ends_at_once_with_its_log() {
    let lab = Lab::new("ends").unwrap();
    let node = lab.node("alpha").unwrap();
    let program = node.start("brief", shell("echo the reason; exit 2")).unwrap();
    let begin = std::time::Instant::now();
    let error = program.wait_ready(LIMIT, || -> anyhow::Result<()> { anyhow::bail!("not yet") }).unwrap_err();
    assert!(begin.elapsed() < LIMIT);
    assert!(error.to_string().contains("exit status: 2") && error.to_string().contains("the reason"), "{error:#}");
}

#[test]
fn settings_are_the_namespace_s_own() {
    let lab = Lab::new("settings").unwrap();
    let (alpha, beta) = (lab.node("alpha").unwrap(), lab.node("beta").unwrap());
    alpha.set_sysctl("net.ipv4.ip_forward", "1").unwrap();
    let forwards = |node: &netns_harness::Node| node.run(["cat", "/proc/sys/net/ipv4/ip_forward"]).unwrap();
    assert_eq!((forwards(&alpha).as_str(), forwards(&beta).as_str()), ("1\n", "0\n"));
}

#[test]
fn a_plugin_is_called_as_a_runtime_calls_it_and_its_error_is_told() {
    let lab = Lab::new("plugins").unwrap();
    let node = lab.node("alpha").unwrap();
    let script = lab.directory().join("spy");
    let answer = r#"{"cniVersion":"1.0.0","ips":[{"address":"10.9.0.2/24"},{"address":"fd00:9::2/64"}]}"#;
    let error = r#"{"cniVersion":"1.0.0","code":11,"msg":"try again later"}"#;
    let text = format!(
        "#!/bin/sh\n{{ env | grep ^CNI_; cat; echo; }} >>{}\n\
         case $CNI_COMMAND in CHECK) echo '{error}'; exit 1;; ADD) echo '{answer}';; esac\n",
        lab.directory().join("seen").display()
    );
    std::fs::write(&script, text).unwrap();
    node.run(["chmod".as_ref(), "+x".as_ref(), script.as_os_str()]).unwrap();
    let plugin = Plugin::new(&script, json!({"cniVersion": "1.0.0", "name": "lab", "type": "spy"}));
    let pod = node.pod(&plugin, "web").unwrap();
    assert_eq!(pod.address(Family::V4).unwrap().to_string(), "10.9.0.2");
    assert_eq!(pod.address(Family::V6).unwrap().to_string(), "fd00:9::2");
    let error = pod.check().unwrap_err().to_string();
    assert!(error.contains("code 11, try again later"), "{error}");
    pod.delete().unwrap();
    assert!(!pod.exists());
    let seen = std::fs::read_to_string(lab.directory().join("seen")).unwrap();
    let path = format!("CNI_NETNS={}", pod.namespace().path().display());
    for part in ["CNI_COMMAND=ADD", "CNI_COMMAND=DEL", "CNI_IFNAME=eth0", &path, "K8S_POD_NAME=web", "prevResult"] {
        assert!(seen.contains(part), "no {part} in {seen}");
    }
}

#[test]
fn etcd_is_reached_from_nodes_stalls_and_comes_back_with_its_data() {
    let lab = Lab::new("etcd").unwrap();
    let node = lab.node("alpha").unwrap();
    let etcd = lab.etcd(&EtcdOptions::default()).unwrap();
    let endpoints = etcd.endpoints().unwrap();
    assert_eq!(endpoints, "http://192.0.2.1:2379");
    etcd.ctl(&["put", "/key", "value"]).unwrap();
    let get = ["env", "ETCDCTL_API=3", "etcdctl", "--endpoints", &endpoints, "get", "/key", "--print-value-only"];
    assert_eq!(node.run(get).unwrap(), "value\n");
    etcd.pause().unwrap();
    let health = "192.0.2.1:2379".parse().unwrap();
    let limit = Duration::from_millis(300);
    let mut connection = node.connect(health, limit).expect("the kernel still accepts");
    std::io::Write::write_all(&mut connection, b"GET /health HTTP/1.0\r\n\r\n").unwrap();
    std::io::Read::read(&mut connection, &mut [0; 1]).expect_err("and nobody answers");
    etcd.resume().unwrap();
    etcd.wait_ready(LIMIT).unwrap();
    etcd.kill().unwrap();
    node.connect(health, limit).expect_err("it is dead");
    etcd.restart().unwrap();
    assert_eq!(node.run(get).unwrap(), "value\n");
}

#[test]
fn etcd_with_three_members_goes_on_without_one() {
    let lab = Lab::new("etcds").unwrap();
    let etcd = lab.etcd_cluster(3, &EtcdOptions::default()).unwrap();
    assert_eq!(etcd.endpoints().unwrap().split(',').count(), 3);
    etcd.members()[2].process.kill().unwrap();
    wait_for("a write with two of three", LIMIT, || etcd.ctl(&["put", "/key", "value"])).unwrap();
}
