//! Host ports with real packets: who reaches a pod by them, who sees whom, what is refused, and what is left.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod stage;
mod traffic;

use std::net::{TcpListener, UdpSocket};

use serde_json::{Value, json};
use stage::{Answer, Stage, TOWPATH, run_in};
use traffic::{NEIGHBOUR4, NEIGHBOUR6, NODE4, NODE6, ask, ask_again, inside, neighbour, serve, shell, tagged};

fn mappings(list: Value) -> Value {
    json!({ "capabilities": { "portMappings": true }, "runtimeConfig": { "portMappings": list } })
}

fn add(stage: &Stage, container: &str, pod: &str, list: Value) -> Answer {
    stage.towpath("ADD", container, pod, &stage.config("1.1.0", mappings(list)))
}

fn delete(stage: &Stage, container: &str, pod: &str) {
    stage.towpath("DEL", container, pod, &stage.config("1.1.0", json!({}))).success();
}

#[test]
fn a_pod_is_reached_by_its_host_port_from_everywhere_and_sees_who_asks_where_it_can() {
    let mut stage = Stage::new();
    let outside = neighbour(&mut stage);
    let (node, a, b) = (stage.netns(), stage.pod("a"), stage.pod("b"));
    shell(&node, "ip link set lo up");
    let list = json!([
        { "hostPort": 8080, "containerPort": 80, "protocol": "tcp" },
        { "hostPort": 8080, "containerPort": 80, "protocol": "UDP" }
    ]);
    add(&stage, "a", &a, list).success();
    add(&stage, "b", &b, json!([])).success();
    serve(&a, "a", 80);
    for protocol in ["tcp", "udp"] {
        for (from, to, sees) in [
            (&outside, NODE4, NEIGHBOUR4),
            (&outside, NODE6, NEIGHBOUR6),
            (&node, NODE4, NODE4),
            (&node, NODE6, NODE6),
            (&node, "127.0.0.1", "10.244.1.1"),
            (&node, "127.1.2.3", "10.244.1.1"),
            (&node, "::1", "fd00:10:0:1::1"),
            (&node, "10.244.1.1", "10.244.1.1"),
            // Neighbours on the bridge, and the pod itself, would be answered past the node.
            (&b, NODE4, "10.244.1.1"),
            (&b, NODE6, "fd00:10:0:1::1"),
            (&a, NODE4, "10.244.1.1"),
            (&a, NODE6, "fd00:10:0:1::1"),
            (&a, "10.244.1.1", "10.244.1.1"),
        ] {
            let address = if to.contains(':') { format!("[{to}]:8080") } else { format!("{to}:8080") };
            assert_eq!(ask(from, protocol, &address), Some(format!("a {sees}")), "{protocol} {from} to {address}");
        }
    }
    assert_eq!(ask(&b, "tcp", "10.244.1.2:80"), Some("a 10.244.1.3".to_owned()), "without the port all is as ever");
    assert_eq!(ask(&outside, "tcp", "192.0.2.1:8081"), None);
    delete(&stage, "a", &a);
    assert_eq!(ask(&outside, "tcp", "192.0.2.1:8080"), None);
    assert!(tagged(&node).is_empty(), "{:?}", tagged(&node));
}

#[test]
fn a_host_port_on_one_address_is_on_that_one_alone() {
    let mut stage = Stage::new();
    let outside = neighbour(&mut stage);
    let (node, a) = (stage.netns(), stage.pod("a"));
    shell(&node, "ip link set lo up");
    let map = |port: u16, host: &str| json!({ "hostPort": port, "containerPort": 80, "hostIP": host });
    let list = json!([
        map(81, NODE4), map(82, "127.0.0.1"), map(83, "[::1]"), map(84, NODE6), map(85, "0.0.0.0"), map(86, "::"),
        { "hostPort": 0, "containerPort": 9 }, { "containerPort": 9, "protocol": "tcp" }
    ]);
    add(&stage, "a", &a, list).success();
    serve(&a, "a", 80);
    for (from, to, reached) in [
        (&outside, "192.0.2.1:81", true),
        (&node, "127.0.0.1:81", false),
        (&node, "10.244.1.1:81", false),
        (&node, "127.0.0.1:82", true),
        (&node, "192.0.2.1:82", false),
        (&outside, "192.0.2.1:82", false),
        (&node, "[::1]:83", true),
        (&outside, "[2001:db8::1]:83", false),
        (&outside, "[2001:db8::1]:84", true),
        (&node, "[::1]:84", false),
        (&outside, "192.0.2.1:85", true),
        (&outside, "[2001:db8::1]:85", false),
        (&outside, "[2001:db8::1]:86", true),
        (&outside, "192.0.2.1:86", false),
    ] {
        assert_eq!(ask(from, "tcp", to).is_some(), reached, "{from} to {to}");
    }
}

#[test]
fn a_udp_flow_that_never_pauses_moves_to_the_pod_that_has_the_port_now() {
    let mut stage = Stage::new();
    let outside = neighbour(&mut stage);
    let (a, b) = (stage.pod("a"), stage.pod("b"));
    let list = json!([{ "hostPort": 53, "containerPort": 53, "protocol": "udp" }]);
    for (to, any) in [("192.0.2.1:53", "0.0.0.0:0"), ("[2001:db8::1]:53", "[::]:0")] {
        let socket = inside(&outside, || UdpSocket::bind(any).unwrap());
        let to = to.parse().unwrap();
        assert_eq!(ask_again(&socket, to), None, "nobody is there, and the kernel remembers where that went");
        add(&stage, "a", &a, list.clone()).success();
        if any == "0.0.0.0:0" {
            serve(&a, "a", 53);
            serve(&b, "b", 53);
        }
        assert!(ask_again(&socket, to).unwrap().starts_with("a "));
        delete(&stage, "a", &a);
        add(&stage, "b", &b, list.clone()).success();
        assert!(ask_again(&socket, to).unwrap().starts_with("b "));
        delete(&stage, "b", &b);
        assert_eq!(ask_again(&socket, to), None, "{to}");
    }
}

#[test]
fn a_port_that_is_taken_is_refused_with_whose_it_is_and_nothing_of_the_second_pod_is_left() {
    let mut stage = Stage::new();
    let outside = neighbour(&mut stage);
    let (node, a, b) = (stage.netns(), stage.pod("a"), stage.pod("b"));
    let port = |port: u16, host: &str| json!([{ "hostPort": port, "containerPort": 80, "hostIP": host }]);
    add(
        &stage,
        "a",
        &a,
        json!([
            { "hostPort": 80, "containerPort": 80 }, { "hostPort": 81, "containerPort": 80, "hostIP": NODE4 }
        ]),
    )
    .success();
    serve(&a, "a", 80);
    let sockets = inside(&node, || {
        (
            TcpListener::bind("127.0.0.1:90").unwrap(),
            TcpListener::bind("[::]:91").unwrap(),
            UdpSocket::bind("192.0.2.1:92").unwrap(),
        )
    });
    let (before, links, reserved) = (tagged(&node), stage.links(), stage.reserved());
    for (list, names) in [
        (port(80, ""), "a/eth0"),
        (port(80, NODE4), "a/eth0"),
        (port(80, "127.0.0.1"), "a/eth0"),
        (port(80, "::"), "a/eth0"),
        (port(81, ""), "a/eth0"),
        (port(81, NODE4), "a/eth0"),
        (port(90, ""), "127.0.0.1:90/tcp"),
        (port(90, "127.0.0.1"), "127.0.0.1:90/tcp"),
        (port(91, NODE4), "[::]:91/tcp"),
        (json!([{ "hostPort": 92, "containerPort": 80, "protocol": "udp" }]), "192.0.2.1:92/udp"),
    ] {
        let (code, message) = add(&stage, "b", &b, list.clone()).error();
        assert_eq!(code, 104, "{message}");
        assert!(message.contains(names) && message.contains("is taken"), "{list}: {message}");
        assert_eq!((tagged(&node), stage.links(), stage.reserved()), (before.clone(), links.clone(), reserved.clone()));
        assert!(!run_in(&b, &["ip", "link", "show", "eth0"]).status.success());
    }
    assert_eq!(ask(&outside, "tcp", "192.0.2.1:80"), Some(format!("a {NEIGHBOUR4}")), "the first one goes on");
    // Where nobody hears, there is nobody in the way.
    add(
        &stage,
        "b",
        &b,
        json!([
            { "hostPort": 90, "containerPort": 80, "hostIP": NODE4 }, { "hostPort": 92, "containerPort": 80 },
            { "hostPort": 81, "containerPort": 80, "hostIP": "127.0.0.1" }
        ]),
    )
    .success();
    drop(sockets);
}

#[test]
fn of_pods_started_at_once_with_one_port_exactly_one_starts() {
    let mut stage = Stage::new();
    let pods: Vec<String> = (0..8).map(|n| stage.pod(&n.to_string())).collect();
    let config = stage.config("1.1.0", mappings(json!([{ "hostPort": 80, "containerPort": 80 }]))).to_string();
    let start = |(n, pod): (usize, &String)| {
        let id = format!("c{n}");
        let variables =
            [("CNI_COMMAND", "ADD"), ("CNI_CONTAINERID", &*id), ("CNI_NETNS", &**pod), ("CNI_IFNAME", "eth0")];
        stage.start(TOWPATH, &variables, config.as_bytes())
    };
    let started: Vec<_> = pods.iter().enumerate().map(start).collect();
    let answers: Vec<Answer> =
        started.into_iter().map(|child| stage::answer(child.wait_with_output().unwrap())).collect();
    assert_eq!(answers.iter().filter(|answer| answer.code == Some(0)).count(), 1, "{answers:?}");
    assert_eq!(
        (stage.reserved().len(), stage.links().len()),
        (2, 2),
        "one pod's two addresses, one bridge and one veth"
    );
}

#[test]
fn many_pods_started_and_deleted_at_once_do_not_stand_in_each_others_way() {
    let mut stage = Stage::new();
    let pods: Vec<String> = (0..24).map(|n| stage.pod(&n.to_string())).collect();
    for verb in ["ADD", "DEL"] {
        let start = |(n, pod): (usize, &String)| {
            let id = format!("c{n}");
            let list = json!([{ "hostPort": 1000 + n, "containerPort": 80 },
                              { "hostPort": 80, "containerPort": 80, "hostIP": format!("127.0.1.{n}") }]);
            let config = stage.config("1.1.0", mappings(list)).to_string();
            let variables =
                [("CNI_COMMAND", verb), ("CNI_CONTAINERID", &*id), ("CNI_NETNS", &**pod), ("CNI_IFNAME", "eth0")];
            stage.start(TOWPATH, &variables, config.as_bytes())
        };
        let started: Vec<_> = pods.iter().enumerate().map(start).collect();
        for child in started {
            stage::answer(child.wait_with_output().unwrap()).success();
        }
    }
    assert!(tagged(&stage.netns()).is_empty());
}

#[test]
fn routed_pods_have_host_ports_as_well() {
    let mut stage = Stage::new();
    let outside = neighbour(&mut stage);
    let (node, a, b) = (stage.netns(), stage.pod("a"), stage.pod("b"));
    shell(&node, "ip link set lo up");
    let mut config = stage.config("1.1.0", mappings(json!([{ "hostPort": 8080, "containerPort": 80 }])));
    stage::merge(&mut config, json!({ "mode": "routed" }));
    stage.towpath("ADD", "a", &a, &config).success();
    stage.towpath("ADD", "b", &b, &stage.config("1.1.0", json!({ "mode": "routed" }))).success();
    serve(&a, "a", 80);
    for (from, to, sees) in [
        (&outside, "192.0.2.1:8080", Some(NEIGHBOUR4)),
        (&outside, "[2001:db8::1]:8080", Some(NEIGHBOUR6)),
        (&node, "192.0.2.1:8080", Some(NODE4)),
        (&node, "127.0.0.1:8080", None),
        (&node, "[::1]:8080", None),
        // Nothing passes the node by: neighbours are seen as they are.
        (&b, "192.0.2.1:8080", Some("10.244.1.3")),
        (&b, "[2001:db8::1]:8080", Some("fd00:10:0:1::3")),
        (&a, "192.0.2.1:8080", None),
        (&a, "[2001:db8::1]:8080", None),
    ] {
        let said = ask(from, "tcp", to).unwrap_or_else(|| panic!("{from} to {to}"));
        assert!(sees.is_none_or(|sees| said == format!("a {sees}")), "{from} to {to}: {said}");
    }
    stage.towpath("DEL", "a", &a, &config).success();
    assert!(tagged(&node).is_empty() && !shell(&node, "nft list table inet towpath-pods").contains("10.244.1.2"));
}

#[test]
fn sources_are_hidden_as_the_keys_of_portmap_say() {
    let mut stage = Stage::new();
    let outside = neighbour(&mut stage);
    let (node, pod) = (stage.netns(), stage.pod("a"));
    shell(&node, "ip link set lo up");
    serve(&pod, "a", 80);
    let list = json!([{ "hostPort": 80, "containerPort": 80 }]);
    for (keys, sees) in [
        (json!({ "masqAll": true }), "10.244.1.1"),
        (json!({ "snat": true, "markMasqBit": 3, "backend": "iptables" }), NEIGHBOUR4),
        (json!({ "snat": false, "externalSetMarkChain": "KUBE-MARK-MASQ" }), NEIGHBOUR4),
    ] {
        let mut config = stage.config("1.1.0", mappings(list.clone()));
        stage::merge(&mut config, keys.clone());
        let result = stage.towpath("ADD", "a", &pod, &config).success();
        assert_eq!(ask(&outside, "tcp", "192.0.2.1:80"), Some(format!("a {sees}")), "{keys}");
        assert_eq!(ask(&node, "tcp", "127.0.0.1:80").is_some(), keys["snat"] != false, "{keys}");
        stage::merge(&mut config, json!({ "prevResult": result }));
        stage.towpath("CHECK", "a", &pod, &config).success();
        delete(&stage, "a", &pod);
    }
}

#[test]
fn a_pod_cannot_reach_what_the_node_offers_to_itself_alone() {
    let mut stage = Stage::new();
    let (node, pod) = (stage.netns(), stage.pod("a"));
    shell(&node, "ip link set lo up");
    add(&stage, "a", &pod, json!([{ "hostPort": 80, "containerPort": 80 }])).success();
    serve(&node, "node", 9000);
    assert_eq!(shell(&node, "cat /proc/sys/net/ipv4/conf/cni0/route_localnet"), "1\n");
    // A privileged pod can send to 127.0.0.1 over its wire.
    shell(
        &pod,
        "sysctl -qw net.ipv4.conf.all.route_localnet=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0; \
         ip rule add pref 10 lookup local; ip route add 127.0.0.1 via 10.244.1.1 src 10.244.1.2 table 9; \
         ip rule add pref 1 to 127.0.0.1 lookup 9; ip rule del pref 0",
    );
    assert_eq!(ask(&pod, "tcp", "127.0.0.1:9000"), None);
    shell(&node, "nft flush chain inet towpath-pods loopback");
    assert_eq!(ask(&pod, "tcp", "127.0.0.1:9000"), Some("node 10.244.1.2".to_owned()), "it would, but for one rule");
}

#[test]
fn check_names_the_port_that_is_missing_and_gc_takes_the_ports_of_whoever_is_gone() {
    let mut stage = Stage::new();
    let (node, a, b) = (stage.netns(), stage.pod("a"), stage.pod("b"));
    let lists = [json!([{ "hostPort": 80, "containerPort": 80 }]), json!([{ "hostPort": 81, "containerPort": 80 }])];
    let result = add(&stage, "a", &a, lists[0].clone()).success();
    add(&stage, "b", &b, lists[1].clone()).success();
    let mut config = stage.config("1.1.0", mappings(lists[0].clone()));
    stage::merge(&mut config, json!({ "prevResult": result }));
    stage.towpath("CHECK", "a", &a, &config).success();
    shell(&node, "nft delete element inet towpath-pods ports6 '{ tcp . 80 }'");
    let (code, message) = stage.towpath("CHECK", "a", &a, &config).error();
    assert_eq!(code, 102);
    assert!(message.contains("host port 80/tcp to [fd00:10:0:1::2]:80 is missing"), "{message}");
    let valid = json!({ "cni.dev/valid-attachments": [{ "containerID": "b", "ifname": "eth0" }] });
    let variables = [("CNI_COMMAND", "GC")];
    stage.call(TOWPATH, &variables, stage.config("1.1.0", valid).to_string().as_bytes()).success();
    let left = tagged(&node);
    assert!(!left.is_empty() && left.iter().all(|line| line.contains("b/eth0")), "{left:?}");
}

#[test]
fn wrong_mappings_are_told_all_at_once_and_conditions_for_iptables_are_refused() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    let list = json!([
        { "hostPort": 65536, "containerPort": 80 }, { "hostPort": 80, "containerPort": 0 }, { "hostPort": 80 },
        { "hostPort": 1, "containerPort": 1, "protocol": "icmp" }, { "hostPort": -1, "containerPort": 1 },
        { "hostPort": 1, "containerPort": 1, "hostIP": "localhost" }
    ]);
    let (code, message) = add(&stage, "a", &pod, list).error();
    assert_eq!(code, 7);
    for key in [0, 1, 2, 3, 4, 5].map(|n| format!("runtimeConfig.portMappings[{n}].")) {
        assert!(message.contains(&key), "{key} in {message}");
    }
    let mut config = stage.config("1.1.0", mappings(json!([{ "hostPort": 80, "containerPort": 80 }])));
    stage::merge(&mut config, json!({ "conditionsV4": ["-s", "10.0.0.0/8"] }));
    let (code, message) = stage.towpath("ADD", "a", &pod, &config).error();
    assert!(code == 2 && message.contains("conditionsV4"), "{message}");
    assert!(stage.reserved().is_empty() && tagged(&stage.netns()).is_empty());
}
