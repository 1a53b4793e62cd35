//! Routed pods on the real kernel: beside pods on a bridge, with the world behind another node, and gone without a trace.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod stage;

use serde_json::{Value, json};
use stage::{Stage, ip_in, pings, run_in};

fn sh(netns: &str, command: &str) -> String {
    let said = run_in(netns, &["sh", "-c", command]);
    assert!(said.status.success(), "{command}: {}", String::from_utf8_lossy(&said.stderr));
    String::from_utf8(said.stdout).unwrap()
}

fn routed(stage: &Stage) -> Value {
    stage.config("1.1.0", json!({ "mode": "routed" }))
}

/// Another machine behind a wire, which has the routes that a daemon would write for this node.
fn neighbour(stage: &mut Stage) -> String {
    let other = stage.pod("other");
    stage.ip(&format!("link add uplink type veth peer name uplink netns {}", other.rsplit('/').next().unwrap()));
    for (netns, v4, v6) in
        [(stage.netns(), "192.0.2.1/24", "2001:db8::1/64"), (other.clone(), "192.0.2.2/24", "2001:db8::2/64")]
    {
        // While its link-local address is tentative, a link asks for no neighbour in others' name.
        sh(&netns, "sysctl -qw net.ipv6.conf.uplink.accept_dad=0; ip link set lo up; ip link set uplink up");
        sh(&netns, &format!("ip address add {v4} dev uplink; ip address add {v6} dev uplink nodad"));
    }
    sh(&other, "ip route add 10.244.1.0/24 via 192.0.2.1; ip route add fd00:10:0:1::/64 via 2001:db8::1");
    other
}

#[test]
fn a_routed_pod_has_its_addresses_alone_and_the_node_a_route_to_each() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    let result = stage.towpath("ADD", "c1", &pod, &routed(&stage)).success();
    assert_eq!(result["ips"][0]["address"], "10.244.1.2/32");
    assert_eq!(
        (&result["ips"][0]["gateway"], &result["ips"][1]["gateway"]),
        (&json!("169.254.1.1"), &json!("fe80::1"))
    );
    assert_eq!(result["interfaces"].as_array().unwrap().len(), 2, "{result}");
    assert_eq!(result["ips"][0]["interface"], 1);
    let port = result["interfaces"][0]["name"].as_str().unwrap().to_owned();
    assert_eq!(stage.links(), std::slice::from_ref(&port));
    let routes = stage.ip("route show proto 85");
    assert_eq!(
        (&routes[0]["dst"], &routes[0]["dev"], &routes[0]["scope"]),
        (&json!("10.244.1.2"), &json!(port), &json!("link"))
    );
    assert_eq!(stage.ip("-6 route show proto 85")[0]["dst"], "fd00:10:0:1::2");
    let default = ip_in(&pod, "route show default");
    assert_eq!((&default[0]["gateway"], &default[0]["dev"]), (&json!("169.254.1.1"), &json!("eth0")));
    assert_eq!(ip_in(&pod, "-6 route show default")[0]["gateway"], "fe80::1");

    let mut check = routed(&stage);
    check["prevResult"] = result;
    stage.towpath("CHECK", "c1", &pod, &check).success();
    stage.ip(&format!("-6 route delete fd00:10:0:1::2 dev {port}"));
    let (_, message) = stage.towpath("CHECK", "c1", &pod, &check).error();
    assert!(message.contains("the node's route to fd00:10:0:1::2"), "{message}");

    stage.towpath("DEL", "c1", &pod, &routed(&stage)).success();
    assert!(stage.links().is_empty() && stage.reserved().is_empty());
    assert_eq!(stage.ip("route show proto 85"), json!([]));
}

#[test]
fn routed_and_bridged_pods_of_one_node_and_another_node_reach_each_other_at_once() {
    let mut stage = Stage::new();
    let other = neighbour(&mut stage);
    let pods: Vec<String> = ["a", "b", "c", "d"].iter().map(|name| stage.pod(name)).collect();
    // A routed pod before there is a bridge, one after, and bridged ones between and behind.
    let bridged = stage.config("1.1.0", json!({}));
    for (n, config) in [routed(&stage), bridged.clone(), routed(&stage), bridged].iter().enumerate() {
        stage.towpath("ADD", &format!("c{n}"), &pods[n], config).success();
        for to in 2..n + 2 {
            assert!(pings(&pods[n], &format!("10.244.1.{to}")), "{n} to {to}");
            assert!(pings(&pods[n], &format!("fd00:10:0:1::{to}")), "{n} to {to} by IPv6");
        }
    }
    for (n, pod) in pods.iter().enumerate() {
        for to in ["192.0.2.2", "2001:db8::2", "192.0.2.1", "2001:db8::1"] {
            assert!(pings(pod, to), "{n} to {to}");
        }
        for from in [&other, &stage.netns()] {
            for to in [format!("10.244.1.{}", n + 2), format!("fd00:10:0:1::{}", n + 2)] {
                assert!(pings(from, &to), "{from} to {to}");
            }
        }
    }
    // The namespace of one is gone before anybody says DEL.
    stage.remove_pod(&pods[2]);
    for (n, config) in [routed(&stage), stage.config("1.1.0", json!({}))].iter().cycle().take(4).enumerate() {
        stage.towpath("DEL", &format!("c{n}"), &pods[n], config).success();
    }
    let mut left = stage.links();
    left.sort();
    assert_eq!(left, ["cni0", "uplink"]);
    assert_eq!(sh(&stage.netns(), "ip neigh show proxy"), "");
    assert_eq!(sh(&stage.netns(), "ip route show proto 85; ip -6 route show proto 85"), "");
}

#[test]
fn an_address_changes_from_a_routed_pod_to_a_bridged_one_and_back() {
    let mut stage = Stage::new();
    let (a, b, witness) = (stage.pod("a"), stage.pod("b"), stage.pod("witness"));
    let range = |n: u8| {
        json!({ "ranges": [[{ "subnet": "10.244.1.0/24", "rangeStart": format!("10.244.1.{n}"), "rangeEnd": format!("10.244.1.{n}") }],
                           [{ "subnet": "fd00:10:0:1::/64", "rangeStart": format!("fd00:10:0:1::{n}"), "rangeEnd": format!("fd00:10:0:1::{n}") }]] })
    };
    let config = |mode: &str, n: u8| stage.config("1.1.0", json!({ "mode": mode, "ipam": range(n) }));
    stage.towpath("ADD", "w", &witness, &config("bridge", 9)).success();
    for (n, (pod, mode)) in [(&a, "routed"), (&b, "bridge"), (&a, "routed"), (&b, "bridge")].into_iter().enumerate() {
        stage.towpath("ADD", &format!("c{n}"), pod, &config(mode, 5)).success();
        for address in ["10.244.1.5", "fd00:10:0:1::5"] {
            assert!(pings(&stage.netns(), address), "{n}: {mode} {address} from the node");
        }
        // The witness may remember the one before, and has to ask again for what is no longer on the bridge.
        sh(&witness, "ip neigh flush all");
        for address in ["10.244.1.5", "fd00:10:0:1::5"] {
            assert!(pings(&witness, address), "{n}: {mode} {address} from a pod on the bridge");
        }
        stage.towpath("DEL", &format!("c{n}"), pod, &config(mode, 5)).success();
    }
}

#[test]
fn the_daemons_file_says_what_pods_hang_on_and_the_configuration_overrules_it() {
    let mut stage = Stage::new();
    let (a, b) = (stage.pod("a"), stage.pod("b"));
    stage.write_subnet_file(
        "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_MTU=1400\nTOWPATH_POD_MODE=routed\n",
    );
    let result = stage.towpath("ADD", "c1", &a, &stage.config("1.0.0", json!({}))).success();
    assert_eq!(result["ips"][0]["gateway"], "169.254.1.1");
    stage.towpath("ADD", "c2", &b, &stage.config("1.0.0", json!({ "mode": "bridge" }))).success();
    assert!(stage.links().contains(&"cni0".to_owned()));
    assert!(pings(&a, "10.244.1.3") && pings(&b, "10.244.1.2"));
}

#[test]
fn a_pod_that_forgot_its_gateways_address_on_the_link_gets_an_answer() {
    let mut stage = Stage::new();
    let other = neighbour(&mut stage);
    let pod = stage.pod("a");
    stage.ip("route add default via 192.0.2.2");
    stage.towpath("ADD", "c1", &pod, &routed(&stage)).success();
    sh(&pod, "ip neigh flush all nud permanent; ip -6 neigh flush all nud permanent");
    assert!(pings(&pod, "192.0.2.2") && pings(&pod, "2001:db8::2"));
    assert!(pings(&other, "10.244.1.2"));
}

#[test]
fn what_is_refused_or_only_a_bridge_can_do_leaves_nothing() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    let (code, message) = stage
        .towpath("ADD", "c1", &pod, &stage.config("1.0.0", json!({ "mode": "routed", "portIsolation": true })))
        .error();
    assert!(code == 7 && message.contains("`portIsolation` is true, and a routed pod has no bridge"), "{message}");
    let route = json!({ "mode": "routed", "ipam": { "routes": [{ "dst": "192.0.2.0/24", "gw": "203.0.113.1" }] } });
    let (code, message) = stage.towpath("ADD", "c1", &pod, &stage.config("1.0.0", route)).error();
    assert!(code == 100 && message.contains("192.0.2.0/24 via 203.0.113.1"), "{message}");
    assert!(stage.links().is_empty() && stage.reserved().is_empty());
    assert_eq!(stage.ip("route show proto 85"), json!([]));
}
