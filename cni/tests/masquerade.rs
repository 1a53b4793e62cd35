//! `ipMasq` with real packets: whom a pod is seen as by whom, and what is left of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod stage;
mod traffic;

use serde_json::json;
use stage::{Stage, TOWPATH};
use traffic::{NEIGHBOUR4, NEIGHBOUR6, NODE4, NODE6, ask, called_as, neighbour, serve, shell, tagged};

/// A neighbour that answers pods, and has an address of the cluster's networks as another node's pod has.
fn cluster(stage: &mut Stage) -> String {
    let outside = neighbour(stage);
    shell(
        &outside,
        &format!(
            "ip route add 10.244.1.0/24 via {NODE4}; ip route add fd00:10:0:1::/64 via {NODE6}; \
             ip address add 10.244.2.9/32 dev lo; ip address add fd00:10:0:2::9/128 dev lo"
        ),
    );
    let node = stage.netns();
    shell(
        &node,
        &format!("ip route add 10.244.2.0/24 via {NEIGHBOUR4}; ip route add fd00:10:0:2::/64 via {NEIGHBOUR6}"),
    );
    serve(&outside, "n", 80);
    outside
}

#[test]
fn a_pod_leaves_the_cluster_as_the_node_and_is_itself_within() {
    let mut stage = Stage::new();
    cluster(&mut stage);
    let (node, a, b) = (stage.netns(), stage.pod("a"), stage.pod("b"));
    let mut config = stage.config("1.1.0", json!({ "ipMasq": true }));
    let result = stage.towpath("ADD", "a", &a, &config).success();
    stage.towpath("ADD", "b", &b, &stage.config("1.1.0", json!({}))).success();
    serve(&b, "b", 80);
    for protocol in ["tcp", "udp"] {
        for (from, to, sees) in [
            (&a, "192.0.2.2:80", "n 192.0.2.1"),
            (&a, "[2001:db8::2]:80", "n 2001:db8::1"),
            (&a, "10.244.2.9:80", "n 10.244.1.2"),
            (&a, "[fd00:10:0:2::9]:80", "n fd00:10:0:1::2"),
            (&a, "10.244.1.3:80", "b 10.244.1.2"),
            (&b, "192.0.2.2:80", "n 10.244.1.3"),
            (&b, "[2001:db8::2]:80", "n fd00:10:0:1::3"),
        ] {
            assert_eq!(ask(from, protocol, to).as_deref(), Some(sees), "{protocol} {from} to {to}");
        }
    }
    stage::merge(&mut config, json!({ "prevResult": result }));
    stage.towpath("CHECK", "a", &a, &config).success();
    shell(&node, "nft delete element inet towpath-pods leaving4 '{ 10.244.1.2 }'");
    let (code, message) = stage.towpath("CHECK", "a", &a, &config).error();
    assert!(code == 102 && message.contains("masquerade for 10.244.1.2 is missing"), "{message}");
    stage.towpath("DEL", "a", &a, &config).success();
    assert!(tagged(&node).is_empty());
    assert!(!shell(&node, "nft list table inet towpath-pods").contains("chain leaving-"));
}

#[test]
fn networks_that_are_written_are_the_ones_that_are_spared() {
    let mut stage = Stage::new();
    cluster(&mut stage);
    let pod = stage.pod("a");
    for (excluded, to_neighbour, to_cluster) in [
        (json!(["192.0.2.0/24", "fd00::/8"]), "n 10.244.1.2", "n 192.0.2.1"),
        (json!([]), "n 192.0.2.1", "n 192.0.2.1"),
        (json!(["10.244.2.9"]), "n 192.0.2.1", "n 10.244.1.4"),
    ] {
        let keys = json!({ "ipMasq": true, "ipMasqExclude": excluded, "ipMasqBackend": "iptables" });
        let config = stage.config("1.1.0", keys);
        stage.towpath("ADD", "a", &pod, &config).success();
        assert_eq!(ask(&pod, "tcp", "192.0.2.2:80").as_deref(), Some(to_neighbour), "{excluded}");
        assert_eq!(ask(&pod, "tcp", "10.244.2.9:80").as_deref(), Some(to_cluster), "{excluded}");
        stage.towpath("DEL", "a", &pod, &config).success();
    }
    for (keys, names) in [
        (json!({ "ipMasqExclude": ["everything"] }), "ipMasqExclude"),
        (json!({ "ipMasqExclude": "10.0.0.0/8" }), "ipMasqExclude"),
        (json!({ "ipMasqBackend": "ipfw" }), "ipMasqBackend"),
        (json!({ "ipMasq": "yes" }), "ipMasq"),
    ] {
        let (code, message) = stage.towpath("ADD", "a", &pod, &stage.config("1.1.0", keys)).error();
        assert!(code == 7 && message.contains(names), "{message}");
    }
}

#[test]
fn as_bridge_it_masquerades_a_network_of_its_own_and_collects_what_is_gone() {
    let mut stage = Stage::new();
    cluster(&mut stage);
    let (node, a, b) = (stage.netns(), stage.pod("a"), stage.pod("b"));
    let bridge = called_as(&stage, "bridge");
    let range = json!({ "type": "host-local", "subnet": "10.9.0.0/24", "dataDir": stage.path("ledger"),
                        "routes": [{ "dst": "0.0.0.0/0" }] });
    let mut config = json!({ "cniVersion": "1.1.0", "name": "net1", "type": "bridge", "bridge": "cni0", "ipam": range,
                             "isGateway": true, "ipMasq": true, "subnetFile": stage.path("subnet.env") });
    for (container, pod) in [("a", &a), ("b", &b)] {
        stage.plugin(&bridge, "ADD", (container, pod), &config).success();
    }
    // The cluster knows no way back to these pods.
    assert_eq!(ask(&a, "tcp", "10.244.2.9:80").as_deref(), Some("n 192.0.2.1"));
    assert_eq!(ask(&b, "tcp", "192.0.2.2:80").as_deref(), Some("n 192.0.2.1"));
    let valid = json!({ "cni.dev/valid-attachments": [{ "containerID": "b", "ifname": "eth0" }] });
    stage::merge(&mut config, valid);
    stage.call(&bridge, &[("CNI_COMMAND", "GC")], config.to_string().as_bytes()).success();
    let left = tagged(&node);
    assert!(left.len() == 1 && left[0].contains("b/eth0"), "{left:?}");
    stage.plugin(&bridge, "DEL", ("b", &b), &config).success();
    assert!(tagged(&node).is_empty());
}

#[test]
fn beside_the_daemons_own_masquerade_nothing_changes() {
    let mut stage = Stage::new();
    cluster(&mut stage);
    let (node, pod) = (stage.netns(), stage.pod("a"));
    shell(
        &node,
        "nft 'table inet towpath { chain postrouting { type nat hook postrouting priority srcnat; \
         ip saddr 10.244.0.0/16 ip daddr != 10.244.0.0/16 masquerade fully-random; }; }'",
    );
    stage.towpath("ADD", "a", &pod, &stage.config("1.1.0", json!({ "ipMasq": true }))).success();
    assert_eq!(ask(&pod, "tcp", "192.0.2.2:80").as_deref(), Some("n 192.0.2.1"));
    assert_eq!(ask(&pod, "tcp", "10.244.2.9:80").as_deref(), Some("n 10.244.1.2"));
    stage.call(TOWPATH, &[("CNI_COMMAND", "VERSION")], b"{\"cniVersion\":\"1.1.0\"}").success();
}
