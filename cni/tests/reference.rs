//! Beside the reference plugins: one ledger for both, and each deletes what the other made.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod stage;

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};
use stage::{REFERENCE, Stage, run_in};

const SUBNETS: &str = r#"[[{"subnet": "10.9.0.0/26"}], [{"subnet": "fd00:9::/122"}]]"#;

fn reference(plugin: &str) -> String {
    let path = format!("{REFERENCE}/{plugin}");
    assert!(Path::new(&path).exists(), "{path} is missing: install Debian's containernetworking-plugins");
    path
}

/// Configurations that mean the same to our plugin and to `bridge` with `host-local`.
fn configs(stage: &Stage) -> (Value, Value) {
    let ranges: Value = serde_json::from_str(SUBNETS).unwrap();
    let ours = stage.config("1.0.0", json!({ "mtu": 1450, "ipam": { "type": "host-local", "ranges": ranges } }));
    let mut theirs = ours.clone();
    stage::merge(&mut theirs, json!({ "type": "bridge", "isDefaultGateway": true, "hairpinMode": true }));
    (ours, theirs)
}

fn addresses(result: &Value) -> Vec<String> {
    result["ips"].as_array().unwrap().iter().map(|ip| ip["address"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn host_local_and_we_give_addresses_from_one_directory_in_turn() {
    let mut stage = Stage::new();
    let (ours, theirs) = configs(&stage);
    let host_local = reference("host-local");
    let mut seen = Vec::new();
    for n in 0..6 {
        let (id, pod) = (format!("c{n}"), stage.pod(&n.to_string()));
        let result = match n % 2 {
            0 => stage.towpath("ADD", &id, &pod, &ours).success(),
            _ => stage.plugin(&host_local, "ADD", (&id, &pod), &theirs).success(),
        };
        seen.push(addresses(&result));
    }
    let expected: Vec<Vec<String>> =
        (2..8).map(|n| vec![format!("10.9.0.{n}/26"), format!("fd00:9::{n}/122")]).collect();
    assert_eq!(seen, expected);
}

#[test]
fn both_at_once_never_give_an_address_twice() {
    let mut stage = Stage::new();
    let (ours, theirs) = configs(&stage);
    let host_local = reference("host-local");
    let (ours, theirs) = (ours.to_string(), theirs.to_string());
    let pods: Vec<(String, String)> = (0..40).map(|n| (format!("c{n}"), stage.pod(&n.to_string()))).collect();
    let start = |(n, (id, pod)): (usize, &(String, String))| {
        let (plugin, config) = if n % 2 == 0 { (stage::TOWPATH, &ours) } else { (host_local.as_str(), &theirs) };
        let variables = [
            ("CNI_COMMAND", "ADD"),
            ("CNI_CONTAINERID", id.as_str()),
            ("CNI_NETNS", pod.as_str()),
            ("CNI_IFNAME", "eth0"),
        ];
        stage.start(plugin, &variables, config.as_bytes())
    };
    let started: Vec<_> = pods.iter().enumerate().map(start).collect();
    let given =
        started.into_iter().flat_map(|child| addresses(&stage::answer(child.wait_with_output().unwrap()).success()));
    let distinct: BTreeSet<String> = given.collect();
    assert_eq!(distinct.len(), 80);
    assert_eq!(stage.reserved().len(), 80);
}

#[test]
fn a_pod_of_the_bridge_plugin_is_checked_and_deleted_by_ours() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    let (ours, theirs) = configs(&stage);
    let bridge = reference("bridge");
    let result = stage.plugin(&bridge, "ADD", ("c1", &pod), &theirs).success();
    let mut with_result = ours;
    with_result["prevResult"] = result;
    stage.towpath("CHECK", "c1", &pod, &with_result).success();
    for _ in 0..2 {
        stage.towpath("DEL", "c1", &pod, &with_result).success();
        assert_eq!((stage.links(), stage.reserved()), (vec!["cni0".to_owned()], vec![]));
    }
    assert!(!run_in(&pod, &["ip", "link", "show", "eth0"]).status.success());
}

#[test]
fn a_pod_of_ours_is_checked_and_deleted_by_the_bridge_plugin() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    let (ours, theirs) = configs(&stage);
    let bridge = reference("bridge");
    let result = stage.towpath("ADD", "c1", &pod, &ours).success();
    let mut with_result = theirs;
    with_result["prevResult"] = result;
    stage.plugin(&bridge, "CHECK", ("c1", &pod), &with_result).success();
    stage.plugin(&bridge, "DEL", ("c1", &pod), &with_result).success();
    assert_eq!((stage.links(), stage.reserved()), (vec!["cni0".to_owned()], vec![]));
}

#[test]
fn pods_of_both_live_on_one_bridge() {
    let mut stage = Stage::new();
    let (a, b, c) = (stage.pod("a"), stage.pod("b"), stage.pod("c"));
    let (ours, theirs) = configs(&stage);
    let bridge = reference("bridge");
    stage.towpath("ADD", "c1", &a, &ours).success();
    stage.plugin(&bridge, "ADD", ("c2", &b), &theirs).success();
    stage.towpath("ADD", "c3", &c, &ours).success();
    for (from, to) in [(&a, "10.9.0.3"), (&b, "10.9.0.4"), (&c, "fd00:9::3"), (&b, "10.9.0.1")] {
        assert!(stage::pings(from, to), "{from} to {to}");
    }
}

#[test]
fn only_veths_are_deleted_in_a_pod_that_we_did_not_wire() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    run_in(&pod, &["ip", "link", "add", "eth0", "type", "bridge"]);
    let (code, message) = stage.towpath("DEL", "c1", &pod, &stage.config("1.0.0", json!({}))).error();
    assert!(code == 100 && message.contains("eth0 in the pod is a bridge and not a veth"), "{message}");
    assert!(run_in(&pod, &["ip", "link", "show", "eth0"]).status.success());
}
