//! A pod's wire on the real kernel, with iproute2 as witness: made whole, found whole, gone whole.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod stage;

use serde_json::{Value, json};
use stage::{Stage, ip_in, pings, run_in};

/// The addresses of global scope on a link, with their lengths.
fn global(netns: &str, link: &str) -> Vec<String> {
    let shown = ip_in(netns, &format!("address show dev {link} scope global"));
    let infos = shown[0]["addr_info"].as_array().unwrap().iter().filter(|info| info["local"].is_string());
    infos.map(|info| format!("{}/{}", info["local"].as_str().unwrap(), info["prefixlen"])).collect()
}

fn link(netns: &str, name: &str) -> Value {
    ip_in(netns, &format!("link show dev {name}"))[0].clone()
}

#[test]
fn type_alone_makes_a_dual_stack_pod_and_takes_it_down_again() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    let config = stage.config("1.1.0", json!({}));
    let result = stage.towpath("ADD", "c1", &pod, &config).success();

    assert_eq!(global(&pod, "eth0"), ["10.244.1.2/24", "fd00:10:0:1::2/64"]);
    assert_eq!(global(&stage.netns(), "cni0"), ["10.244.1.1/24", "fd00:10:0:1::1/64"]);
    for (family, gateway) in [("-4", "10.244.1.1"), ("-6", "fd00:10:0:1::1")] {
        let route = ip_in(&pod, &format!("{family} route show default"));
        assert_eq!((&route[0]["gateway"], &route[0]["dev"]), (&json!(gateway), &json!("eth0")), "{route}");
    }
    let flags = ip_in(&pod, "-6 address show dev eth0 scope global").to_string();
    assert!(!flags.contains("tentative"), "nothing waits for duplicate address detection: {flags}");
    assert!(link(&pod, "lo")["flags"].to_string().contains("\"UP\""));
    let accepts = run_in(&pod, &["cat", "/proc/sys/net/ipv6/conf/eth0/accept_ra"]);
    assert_eq!(accepts.stdout, b"0\n");

    let [bridge, host, inside] = [0, 1, 2].map(|index| result["interfaces"][index].clone());
    let port = link(&stage.netns(), host["name"].as_str().unwrap());
    assert_eq!((&port["master"], &port["ifalias"]), (&json!("cni0"), &json!("towpath-pod net1 c1/eth0")));
    assert_eq!(port["linkinfo"]["info_slave_data"]["hairpin"], true);
    assert_eq!(port["linkinfo"]["info_slave_data"]["state"], "forwarding", "frames pass as soon as ADD is done");
    assert_eq!((&port["address"], &port["mtu"]), (&host["mac"], &json!(1450)));
    assert_eq!((&link(&pod, "eth0")["address"], &link(&pod, "eth0")["mtu"]), (&inside["mac"], &inside["mtu"]));
    assert_eq!(link(&stage.netns(), "cni0")["address"], bridge["mac"]);
    assert_eq!(inside["sandbox"], pod);
    for setting in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        let value = run_in(&stage.netns(), &["cat", &format!("/proc/sys/net/{setting}")]);
        assert_eq!(value.stdout, b"1\n", "{setting}");
    }

    let with_result = stage.config("1.1.0", json!({ "prevResult": result }));
    assert_eq!(stage.towpath("CHECK", "c1", &pod, &with_result).success(), Value::Null);
    for _ in 0..2 {
        assert_eq!(stage.towpath("DEL", "c1", &pod, &with_result).success(), Value::Null);
        assert_eq!(stage.links(), ["cni0"]);
        assert!(stage.reserved().is_empty());
    }
    assert!(!run_in(&pod, &["ip", "link", "show", "eth0"]).status.success());
}

#[test]
fn pods_of_one_bridge_and_their_host_reach_each_other() {
    let mut stage = Stage::new();
    let (a, b) = (stage.pod("a"), stage.pod("b"));
    let config = stage.config("1.0.0", json!({}));
    for (container, pod) in [("c1", &a), ("c2", &b)] {
        stage.towpath("ADD", container, pod, &config).success();
    }
    for (from, to) in [
        (&a, "10.244.1.3"),
        (&a, "fd00:10:0:1::3"),
        (&b, "10.244.1.2"),
        (&b, "10.244.1.1"),
        (&b, "fd00:10:0:1::1"),
        (&stage.netns(), "10.244.1.2"),
        (&stage.netns(), "fd00:10:0:1::3"),
    ] {
        assert!(pings(from, to), "{from} to {to}");
    }
}

#[test]
fn sixty_four_pods_started_at_once_all_get_a_wire_and_an_address_of_their_own() {
    let mut stage = Stage::new();
    let pods: Vec<String> = (0..64).map(|n| stage.pod(&n.to_string())).collect();
    let config = stage.config("1.0.0", json!({ "ipam": { "subnet": "10.1.0.0/25" } })).to_string();
    let start = |(n, pod): (usize, &String)| {
        let id = format!("c{n}");
        let variables = [
            ("CNI_COMMAND", "ADD"),
            ("CNI_CONTAINERID", id.as_str()),
            ("CNI_NETNS", pod.as_str()),
            ("CNI_IFNAME", "eth0"),
        ];
        stage.start(stage::TOWPATH, &variables, config.as_bytes())
    };
    let started: Vec<_> = pods.iter().enumerate().map(start).collect();
    let results: Vec<Value> =
        started.into_iter().map(|child| stage::answer(child.wait_with_output().unwrap()).success()).collect();
    let mut addresses: Vec<String> = results.iter().map(|result| result["ips"][0]["address"].to_string()).collect();
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), 64);
    assert_eq!(stage.links().len(), 65);
    let bridge = &link(&stage.netns(), "cni0")["address"];
    assert!(results.iter().all(|result| result["interfaces"][0]["mac"] == *bridge), "one bridge, one address");
    assert!(pings(&pods[0], "10.1.0.1") && pings(&pods[63], "10.1.0.1"));
}

#[test]
fn the_bridges_mac_address_never_changes_whoever_made_it() {
    let mut stage = Stage::new();
    stage.ip("link add cni0 type bridge");
    stage.ip("link set cni0 up");
    let config = stage.config("1.0.0", json!({}));
    let pods = [stage.pod("a"), stage.pod("b"), stage.pod("c")];
    let mut seen = Vec::new();
    for (n, pod) in pods.iter().enumerate() {
        stage.towpath("ADD", &format!("c{n}"), pod, &config).success();
        seen.push(link(&stage.netns(), "cni0")["address"].clone());
    }
    for (n, pod) in pods.iter().enumerate() {
        stage.towpath("DEL", &format!("c{n}"), pod, &config).success();
        seen.push(link(&stage.netns(), "cni0")["address"].clone());
    }
    assert!(seen.iter().all(|mac| *mac == seen[0]), "{seen:?}");
}

#[test]
fn the_daemons_file_is_followed_when_it_changes_and_older_pods_keep_what_they_have() {
    let mut stage = Stage::new();
    let (a, b) = (stage.pod("a"), stage.pod("b"));
    let config = stage.config("1.0.0", json!({}));
    stage.towpath("ADD", "c1", &a, &config).success();
    stage.write_subnet_file("FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.7.1/24\nFLANNEL_MTU=1400\n");
    stage.towpath("ADD", "c2", &b, &config).success();
    assert_eq!(global(&stage.netns(), "cni0"), ["10.244.1.1/24", "10.244.7.1/24", "fd00:10:0:1::1/64"]);
    assert_eq!(link(&b, "eth0")["mtu"], 1400);
    assert_eq!(link(&stage.netns(), "cni0")["mtu"], 1400);
    assert!(pings(&a, "10.244.1.1") && pings(&b, "10.244.7.1") && pings(&a, "10.244.7.2"));
    stage.towpath("DEL", "c1", &a, &config).success();
    assert_eq!(stage.reserved(), ["10.244.7.2"]);
}

#[test]
fn a_node_of_one_family_has_pods_of_one_family() {
    for (subnet, address, other, gateway) in [
        ("FLANNEL_SUBNET=10.3.0.1/24", "10.3.0.2/24", "-6", "10.3.0.1"),
        ("FLANNEL_IPV6_SUBNET=fd00:3::1/64", "fd00:3::2/64", "-4", "fd00:3::1"),
    ] {
        let mut stage = Stage::new();
        let pod = stage.pod("a");
        stage.write_subnet_file(&format!("{subnet}\nFLANNEL_MTU=1400\n"));
        let config = stage.config("1.1.0", json!({}));
        let result = stage.towpath("ADD", "c1", &pod, &config).success();
        assert_eq!(global(&pod, "eth0"), [address]);
        assert_eq!(ip_in(&pod, &format!("{other} route show default")), json!([]));
        assert!(pings(&pod, gateway), "{gateway}");
        stage.towpath("CHECK", "c1", &pod, &stage.config("1.1.0", json!({ "prevResult": result }))).success();
        stage.towpath("DEL", "c1", &pod, &config).success();
        assert!(stage.reserved().is_empty());
    }
}

#[test]
fn every_key_does_what_the_bridge_plugin_does_with_it() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    let config = stage.config(
        "1.1.0",
        json!({
            "bridge": "br-x", "isDefaultGateway": false, "hairpinMode": false, "mtu": 1300, "ipMasq": true,
            "dns": {"nameservers": ["192.0.2.53"]},
            "ipam": {"ranges": [[{"subnet": "10.7.0.0/16", "rangeStart": "10.7.3.9", "gateway": "10.7.255.254"}]],
                     "routes": [{"dst": "192.0.2.0/24"}, {"dst": "198.51.100.0/24", "gw": "10.7.0.77", "mtu": 1200, "priority": 9}]}
        }),
    );
    let result = stage.towpath("ADD", "c1", &pod, &config).success();
    assert_eq!(result["dns"]["nameservers"][0], "192.0.2.53");
    assert_eq!(global(&pod, "eth0"), ["10.7.3.9/16"]);
    assert_eq!(global(&stage.netns(), "br-x"), ["10.7.255.254/16"]);
    let routes = ip_in(&pod, "-4 route show");
    let shown: Vec<String> =
        routes.as_array().unwrap().iter().map(|route| format!("{} {}", route["dst"], route["gateway"])).collect();
    assert!(!routes.to_string().contains("default"), "{routes}");
    assert!(shown.contains(&r#""192.0.2.0/24" "10.7.255.254""#.to_owned()), "{shown:?}");
    let other = ip_in(&pod, "-4 route show 198.51.100.0/24");
    assert_eq!((&other[0]["gateway"], &other[0]["metric"]), (&json!("10.7.0.77"), &json!(9)));
    assert_eq!(other[0]["metrics"][0]["mtu"], 1200, "{other}");
    let port = link(&stage.netns(), result["interfaces"][1]["name"].as_str().unwrap());
    assert_eq!((&port["mtu"], &port["linkinfo"]["info_slave_data"]["hairpin"]), (&json!(1300), &json!(false)));
    let mut check = config;
    check["prevResult"] = result;
    stage.towpath("CHECK", "c1", &pod, &check).success();
}

#[test]
fn without_a_default_route_a_pod_still_gets_the_way_to_the_cluster() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    let config = stage.config("1.0.0", json!({ "isDefaultGateway": false }));
    let result = stage.towpath("ADD", "c1", &pod, &config).success();
    assert_eq!(result["routes"][0], json!({ "dst": "10.244.0.0/16", "gw": "10.244.1.1" }));
    assert_eq!(ip_in(&pod, "-6 route show fd00:10::/48")[0]["gateway"], "fd00:10:0:1::1");
    assert_eq!(ip_in(&pod, "route show default"), json!([]));
}

#[test]
fn a_pod_that_was_started_with_ipv6_off_gets_its_addresses() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    for scope in ["all", "default"] {
        run_in(&pod, &["sysctl", "-qw", &format!("net.ipv6.conf.{scope}.disable_ipv6=1")]);
    }
    stage.towpath("ADD", "c1", &pod, &stage.config("1.0.0", json!({}))).success();
    assert_eq!(global(&pod, "eth0"), ["10.244.1.2/24", "fd00:10:0:1::2/64"]);
}

#[test]
fn whatever_fails_leaves_nothing_behind() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    let add = |stage: &Stage, more: Value| stage.towpath("ADD", "c1", &pod, &stage.config("1.0.0", more)).error();

    stage.ip("link add taken type veth peer name other");
    let (code, message) = add(&stage, json!({ "bridge": "taken" }));
    assert!(code == 100 && message.starts_with("taken is a veth and not a bridge"), "{message}");
    stage.ip("link delete taken");

    run_in(&pod, &["ip", "link", "add", "eth0", "type", "veth", "peer", "name", "x"]);
    let (code, message) = add(&stage, json!({}));
    assert!(code == 100 && message.starts_with("the pod has an interface eth0 already"), "{message}");
    run_in(&pod, &["ip", "link", "delete", "eth0"]);

    // A route that the kernel refuses comes last, when everything else is made.
    let (code, message) =
        add(&stage, json!({ "ipam": { "routes": [{ "dst": "192.0.2.0/24", "gw": "203.0.113.1" }] } }));
    assert!(
        code == 100 && message.contains("adding the route to 192.0.2.0/24 via 203.0.113.1 in the pod"),
        "{message}"
    );

    assert_eq!(stage.links(), ["cni0"]);
    assert!(stage.reserved().is_empty());
    assert!(!run_in(&pod, &["ip", "link", "show", "eth0"]).status.success());
}

#[test]
fn a_second_add_is_refused_and_the_first_one_lives_on() {
    let mut stage = Stage::new();
    let (a, b) = (stage.pod("a"), stage.pod("b"));
    let config = stage.config("1.0.0", json!({}));
    let result = stage.towpath("ADD", "c1", &a, &config).success();
    let (code, message) = stage.towpath("ADD", "c1", &a, &config).error();
    assert!(code == 100 && message.contains("belongs to `towpath-pod net1 c1/eth0`"), "{message}");
    // Also when its address is no longer the last one given.
    let second = stage.towpath("ADD", "c2", &b, &config).success();
    stage.towpath("ADD", "c1", &a, &config).error();
    let check = stage.config("1.0.0", json!({ "prevResult": result }));
    stage.towpath("CHECK", "c1", &a, &check).success();
    let bare = |address: &Value| address["address"].as_str().unwrap().split('/').next().unwrap().to_owned();
    let [v4, v6] = [&second["ips"][0], &second["ips"][1]].map(bare);
    assert!(pings(&a, &v4));
    assert_eq!(stage.reserved(), ["10.244.1.2".to_owned(), v4, "fd00:10:0:1::2".to_owned(), v6]);
}

#[test]
fn deleting_needs_neither_namespace_nor_result_nor_a_sound_configuration() {
    let mut stage = Stage::new();
    let (a, b, c) = (stage.pod("a"), stage.pod("b"), stage.pod("c"));
    let config = stage.config("1.0.0", json!({}));
    for (container, pod) in [("c1", &a), ("c2", &b), ("c3", &c)] {
        stage.towpath("ADD", container, pod, &config).success();
    }
    stage.remove_pod(&a);
    stage.towpath("DEL", "c1", &a, &config).success();
    stage.towpath("DEL", "c2", "", &config).success();
    std::fs::remove_file(stage.path("subnet.env")).unwrap();
    let broken = stage.config("1.0.0", json!({ "mtu": "x", "vlan": 7, "ipam": { "ranges": 5 } }));
    stage.towpath("DEL", "c3", &c, &broken).success();
    stage.towpath("DEL", "never-was", &c, &config).success();
    assert_eq!(stage.links(), ["cni0"]);
    assert!(stage.reserved().is_empty());
}

#[test]
fn check_names_the_first_thing_that_is_missing() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    let config = stage.config("1.1.0", json!({}));
    let result = stage.towpath("ADD", "c1", &pod, &config).success();
    let check = stage.config("1.1.0", json!({ "prevResult": result }));
    let host = result["interfaces"][1]["name"].as_str().unwrap().to_owned();
    let in_pod = |words: &str| {
        let words: Vec<&str> = words.split(' ').collect();
        assert!(run_in(&pod, &words).status.success(), "{words:?}");
    };
    let complaint = |part: &str| {
        let (code, message) = stage.towpath("CHECK", "c1", &pod, &check).error();
        assert!(code == 102 && message.contains(part), "{part:?} is not in {message:?}");
    };
    in_pod("ip route delete default");
    complaint("the route to 0.0.0.0/0 via 10.244.1.1 is not in the pod");
    in_pod("ip address delete fd00:10:0:1::2/64 dev eth0");
    complaint("the address fd00:10:0:1::2/64 is not on eth0 in the pod");
    in_pod("ip link set eth0 mtu 1400");
    complaint("the MTU of eth0 in the pod is 1400, and was 1450");
    in_pod("ip link set eth0 address 02:00:00:00:00:01");
    complaint("the MAC address of eth0 in the pod is 02:00:00:00:00:01, and was");
    in_pod("ip link set eth0 down");
    complaint("eth0 in the pod is down");
    stage.ip(&format!("link set {host} nomaster"));
    complaint(&format!("{host} is not a port of the bridge cni0"));
    stage.ip(&format!("link delete {host}"));
    complaint(&format!("the host's end of the wire, {host}, is not there"));
    stage.ip("link delete cni0");
    complaint("the bridge cni0 is not there");
    std::fs::remove_file(stage.path("ledger/net1/10.244.1.2")).unwrap();
    complaint("the address 10.244.1.2 is not reserved for c1/eth0");
}
