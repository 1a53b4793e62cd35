//! The keys of the reference `bridge` plugin one by one, on the real kernel, and beside the reference's own result.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod stage;

use serde_json::{Value, json};
use stage::{REFERENCE, Stage, ip_in, output, pings, run_in};

fn link(netns: &str, name: &str) -> Value {
    ip_in(netns, &format!("link show {name}"))[0].clone()
}

/// The addresses of global scope on a link, with their lengths.
fn global(netns: &str, name: &str) -> Vec<String> {
    let said = ip_in(netns, &format!("address show {name} scope global"));
    let addresses = said[0]["addr_info"].as_array().cloned().unwrap_or_default();
    // `ip` leaves an empty object for each address of another scope.
    addresses.iter().filter_map(|a| Some(format!("{}/{}", a["local"].as_str()?, a["prefixlen"]))).collect()
}

/// A configuration with ranges of its own, as it is written for the reference plugin.
fn written(stage: &Stage, more: Value) -> Value {
    let mut config = stage.config(
        "1.0.0",
        json!({ "type": "bridge", "bridge": "br1", "isGateway": true, "isDefaultGateway": true, "subnetFile": null,
                "ipam": { "type": "host-local", "ranges": [[{ "subnet": "10.66.0.0/24" }]] } }),
    );
    stage::merge(&mut config, more);
    config
}

fn sh(netns: &str, command: &str) -> String {
    let said = run_in(netns, &["sh", "-c", command]);
    assert!(said.status.success(), "{command}: {}", String::from_utf8_lossy(&said.stderr));
    String::from_utf8(said.stdout).unwrap()
}

#[test]
fn a_bridge_with_another_address_is_refused_and_with_force_address_gets_ours() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    stage.ip("link add br1 type bridge");
    stage.ip("address add 10.99.0.1/16 dev br1");
    stage.ip("address add fd00:66::99/64 dev br1");
    let ranges = json!([[{ "subnet": "10.66.0.0/24" }], [{ "subnet": "fd00:66::/64" }]]);
    let (code, message) =
        stage.towpath("ADD", "c1", &pod, &written(&stage, json!({ "ipam": { "ranges": ranges } }))).error();
    assert!(code == 100 && message.contains("br1 has the address 10.99.0.1/16"), "{message}");
    assert_eq!(global(&stage.netns(), "br1"), ["10.99.0.1/16", "fd00:66::99/64"]);
    assert!(stage.reserved().is_empty() && stage.links() == ["br1"]);

    let forced = written(&stage, json!({ "forceAddress": true, "ipam": { "ranges": ranges } }));
    stage.towpath("ADD", "c1", &pod, &forced).success();
    assert_eq!(global(&stage.netns(), "br1"), ["10.66.0.1/24", "fd00:66::1/64"]);
    assert!(pings(&pod, "10.66.0.1") && pings(&pod, "fd00:66::1"));
}

#[test]
fn an_ipv6_address_of_another_subnet_may_stay_on_the_bridge() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    stage.ip("link add br1 type bridge");
    stage.ip("address add fd00:1::1/64 dev br1");
    let ipam = json!({ "ipam": { "ranges": [[{ "subnet": "fd00:66::/64" }]] } });
    stage.towpath("ADD", "c1", &pod, &written(&stage, ipam)).success();
    let mut there = global(&stage.netns(), "br1");
    there.sort();
    assert_eq!(there, ["fd00:1::1/64", "fd00:66::1/64"]);
}

#[test]
fn somebody_elses_bridge_keeps_its_mtu_and_its_mac_address() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    stage.ip("link add br1 type bridge");
    // One that was set, or it follows the least of its ports.
    stage.ip("link set br1 mtu 1490 address 02:11:22:33:44:55 up");
    stage.ip("address add 10.66.0.1/24 dev br1");
    let config = written(&stage, json!({ "mtu": 1400 }));
    let result = stage.towpath("ADD", "c1", &pod, &config).success();
    let bridge = link(&stage.netns(), "br1");
    assert_eq!((&bridge["mtu"], &bridge["address"]), (&json!(1490), &json!("02:11:22:33:44:55")));
    assert_eq!(result["interfaces"][0]["mac"], "02:11:22:33:44:55");
    assert_eq!(link(&pod, "eth0")["mtu"], 1400);
}

#[test]
fn port_isolation_keeps_two_pods_apart_and_neither_from_the_node() {
    let mut stage = Stage::new();
    let (a, b, c) = (stage.pod("a"), stage.pod("b"), stage.pod("c"));
    let isolated = written(&stage, json!({ "portIsolation": true }));
    let result = stage.towpath("ADD", "c1", &a, &isolated).success();
    stage.towpath("ADD", "c2", &b, &isolated).success();
    stage.towpath("ADD", "c3", &c, &written(&stage, json!({}))).success();
    assert!(pings(&a, "10.66.0.1") && pings(&a, "10.66.0.4") && pings(&c, "10.66.0.3"));
    assert!(!run_in(&a, &["ping", "-c", "1", "-W", "1", "-q", "10.66.0.3"]).status.success());

    let mut check = isolated;
    check["prevResult"] = result.clone();
    stage.towpath("CHECK", "c1", &a, &check).success();
    let port = result["interfaces"][1]["name"].as_str().unwrap();
    stage.ip(&format!("link set {port} type bridge_slave isolated off"));
    let (_, message) = stage.towpath("CHECK", "c1", &a, &check).error();
    assert!(message.contains("has port isolation Off"), "{message}");
}

#[test]
fn promiscuity_and_hairpin_are_as_they_are_written_and_checked() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    let config = written(&stage, json!({ "promiscMode": true }));
    let result = stage.towpath("ADD", "c1", &pod, &config).success();
    let flags = link(&stage.netns(), "br1")["flags"].to_string();
    assert!(flags.contains("PROMISC"), "{flags}");
    let mut check = config;
    check["prevResult"] = result;
    stage.towpath("CHECK", "c1", &pod, &check).success();
    stage.ip("link set br1 promisc off");
    let (_, message) = stage.towpath("CHECK", "c1", &pod, &check).error();
    assert!(message.contains("the bridge br1 does not take in every frame"), "{message}");
    stage.ip("address delete 10.66.0.1/24 dev br1");
    stage.ip("link set br1 promisc on");
    let (_, message) = stage.towpath("CHECK", "c1", &pod, &check).error();
    assert!(message.contains("the gateway's address 10.66.0.1 is not on the bridge br1"), "{message}");
}

#[test]
fn a_vlan_that_the_kernel_cannot_keep_apart_is_refused_and_leaves_nothing() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    let able = output(
        "ip",
        &[
            "-n",
            stage.netns().rsplit('/').next().unwrap(),
            "link",
            "add",
            "probe",
            "type",
            "bridge",
            "vlan_filtering",
            "1",
        ],
    );
    for key in
        [json!({ "vlan": 7 }), json!({ "vlanTrunk": [{ "minID": 5, "maxID": 6 }], "preserveDefaultVlan": false })]
    {
        let answer = stage.towpath("ADD", "c1", &pod, &written(&stage, key));
        if able.status.success() {
            answer.success();
            let vlans = sh(&stage.netns(), "bridge -j vlan show");
            assert!(vlans.contains("\"vlan\":7") || vlans.contains("\"vlan\":5"), "{vlans}");
            stage.towpath("DEL", "c1", &pod, &written(&stage, json!({}))).success();
            continue;
        }
        let (code, message) = answer.error();
        assert!(code == 2 && message.contains("this kernel has no VLAN filtering on bridges"), "{message}");
        assert!(stage.links().is_empty() && stage.reserved().is_empty(), "{:?}", stage.links());

        // And on a bridge that is there already, where only the port can be refused.
        stage.ip("link add br1 type bridge");
        let answer = stage.towpath(
            "ADD",
            "c1",
            &pod,
            &written(&stage, json!({ "vlan": 7, "isGateway": false, "isDefaultGateway": false })),
        );
        let (_, message) = answer.error();
        assert!(message.contains("setting the VLANs of veth") && message.contains("VLAN filtering"), "{message}");
        assert!(stage.links() == ["br1"] && stage.reserved().is_empty(), "{:?}", stage.links());
        stage.ip("link delete br1");
    }
}

#[test]
fn a_pod_sends_with_its_own_mac_address_only_when_that_is_checked() {
    let mut stage = Stage::new();
    let (a, b) = (stage.pod("a"), stage.pod("b"));
    let config = written(&stage, json!({ "macspoofchk": true }));
    let result = stage.towpath("ADD", "c1", &a, &config).success();
    stage.towpath("ADD", "c2", &b, &config).success();
    assert!(pings(&a, "10.66.0.1") && pings(&a, "10.66.0.3"));
    let mut check = config.clone();
    check["prevResult"] = result;
    stage.towpath("CHECK", "c1", &a, &check).success();

    let mac = link(&a, "eth0")["address"].as_str().unwrap().to_owned();
    sh(&a, "ip link set eth0 address 02:00:00:00:00:99");
    assert!(!run_in(&a, &["ping", "-c", "1", "-W", "1", "-q", "10.66.0.1"]).status.success());
    sh(&a, &format!("ip link set eth0 address {mac}"));
    assert!(pings(&a, "10.66.0.1"));
    assert!(pings(&b, "10.66.0.1"), "another pod is nobody's business");

    stage.towpath("DEL", "c1", &a, &config).success();
    let rules = sh(&stage.netns(), "nft list table bridge towpath-pods");
    assert_eq!(rules.matches("jump veth").count(), 1, "{rules}");
    let gc = {
        let mut config = config.clone();
        config["cniVersion"] = json!("1.1.0");
        config["cni.dev/valid-attachments"] = json!([]);
        config
    };
    stage.towpath("GC", "", "", &gc).success();
    let rules = sh(&stage.netns(), "nft list table bridge towpath-pods");
    assert_eq!(rules.matches("veth").count(), 0, "{rules}");
    assert_eq!(stage.links(), ["br1"]);
}

#[test]
fn garbage_is_what_this_network_made_for_nobody_any_more() {
    let mut stage = Stage::new();
    let (a, b, c) = (stage.pod("a"), stage.pod("b"), stage.pod("c"));
    let config = stage.config("1.1.0", json!({}));
    let other = stage.config("1.1.0", json!({ "name": "net2" }));
    let kept = stage.towpath("ADD", "c1", &a, &config).success();
    stage.towpath("ADD", "c2", &b, &config).success();
    let others = stage.towpath("ADD", "c3", &c, &other).success();
    stage.ip("link add stranger type veth peer name elsewhere");
    let mut gc = config;
    gc["cni.dev/valid-attachments"] = json!([{ "containerID": "c1", "ifname": "eth0" }]);
    stage.towpath("GC", "", "", &gc).success();
    let mut left = stage.links();
    left.sort();
    let name = |result: &Value| result["interfaces"][1]["name"].as_str().unwrap().to_owned();
    let mut expected = vec!["cni0".to_owned(), "elsewhere".into(), name(&kept), "stranger".into(), name(&others)];
    expected.sort();
    assert_eq!(left, expected);
}

#[test]
fn without_ipam_a_pod_is_on_the_bridge_and_has_no_address() {
    let mut stage = Stage::new();
    let (a, b, c) = (stage.pod("a"), stage.pod("b"), stage.pod("c"));
    let config = json!({ "cniVersion": "1.0.0", "name": "l2", "type": "bridge", "bridge": "br1" });
    let bare = stage.plugin(&format!("{REFERENCE}/bridge"), "ADD", ("c1", &a), &config).success();
    let link_path = stage.path("bridge");
    std::os::unix::fs::symlink(stage::TOWPATH, &link_path).unwrap();
    let ours = stage.plugin(link_path.to_str().unwrap(), "ADD", ("c2", &b), &config).success();
    for result in [&bare, &ours] {
        assert_eq!(result["interfaces"].as_array().unwrap().len(), 3, "{result}");
        assert!(result.get("ips").is_none(), "{result}");
    }
    for pod in [&a, &b] {
        let eth0 = link(pod, "eth0");
        assert!(eth0["flags"].to_string().contains("\"UP\""), "{eth0}");
        assert_eq!(global(pod, "eth0"), [] as [String; 0]);
    }
    sh(&a, "ip address add 192.0.2.1/24 dev eth0");
    sh(&b, "ip address add 192.0.2.2/24 dev eth0");
    assert!(pings(&a, "192.0.2.2"));

    let mut disabled = config;
    disabled["disableContainerInterface"] = json!(true);
    let result = stage.plugin(link_path.to_str().unwrap(), "ADD", ("c3", &c), &disabled).success();
    assert!(!link(&c, "eth0")["flags"].to_string().contains("\"UP\""));
    disabled["prevResult"] = result;
    stage.plugin(link_path.to_str().unwrap(), "CHECK", ("c3", &c), &disabled).success();
    let with_ipam = written(&stage, json!({ "disableContainerInterface": true }));
    let (code, message) = stage.towpath("ADD", "c4", &c, &with_ipam).error();
    assert!(code == 7 && message.contains("`disableContainerInterface` leaves no interface"), "{message}");
}

#[test]
fn duplicate_address_detection_is_awaited_and_its_outcome_told_when_it_is_enabled() {
    let mut stage = Stage::new();
    let (a, b) = (stage.pod("a"), stage.pod("b"));
    let ipam = json!({ "ranges": [[{ "subnet": "fd00:66::/64" }]] });
    let config = written(&stage, json!({ "enabledad": true, "ipam": ipam }));
    stage.towpath("ADD", "c1", &a, &config).success();
    let said = ip_in(&a, "-6 address show dev eth0 scope global")[0]["addr_info"][0].clone();
    assert!(said.get("tentative").is_none() && said.get("nodad").is_none(), "{said}");

    // Somebody on the bridge has taken the next address for himself.
    sh(&a, "ip address add fd00:66::3/64 dev eth0 nodad");
    let (code, message) = stage.towpath("ADD", "c2", &b, &config).error();
    assert!(code == 100 && message.contains("fd00:66::3 is in use by somebody else"), "{message}");
    assert_eq!(stage.reserved(), ["fd00:66::2"]);
}

#[test]
fn whoever_remembers_the_last_pod_of_an_address_reaches_the_next_one_with_the_first_packet() {
    let mut stage = Stage::new();
    let (a, b, witness) = (stage.pod("a"), stage.pod("b"), stage.pod("witness"));
    let range = |v4: &str, v6: &str| {
        json!([[{ "subnet": "10.66.0.0/24", "rangeStart": v4, "rangeEnd": v4 }],
               [{ "subnet": "fd00:66::/64", "rangeStart": v6, "rangeEnd": v6 }]])
    };
    let config = |mac: &str, ranges: Value| {
        written(&stage, json!({ "ipam": { "ranges": ranges }, "runtimeConfig": { "mac": mac } }))
    };
    let (v4, v6) = ("10.66.0.5", "fd00:66::5");
    let ours = range(v4, v6);
    let others = config("02:00:00:00:00:01", range("10.66.0.9", "fd00:66::9"));
    stage.towpath("ADD", "w", &witness, &others).success();
    for (n, (pod, mac)) in
        [(&a, "02:00:00:00:00:0a"), (&b, "02:00:00:00:00:0b"), (&a, "02:00:00:00:00:0c")].into_iter().enumerate()
    {
        let container = format!("c{n}");
        let config = config(mac, ours.clone());
        stage.towpath("ADD", &container, pod, &config).success();
        assert_eq!(link(pod, "eth0")["address"], mac);
        for address in [v4, v6] {
            // As somebody remembers it who has had no reason to doubt for a minute.
            for (netns, device) in [(&witness, "eth0"), (&stage.netns(), "br1")] {
                let known = sh(netns, &format!("ip neigh show {address} dev {device}"));
                assert!(n == 0 || known.contains(mac), "{n}: {known}");
                assert!(
                    run_in(netns, &["ping", "-c", "1", "-W", "1", "-q", address]).status.success(),
                    "{n} {address}"
                );
            }
        }
        for (netns, device) in [(&witness, "eth0"), (&stage.netns(), "br1")] {
            for address in [v4, v6] {
                sh(netns, &format!("ip neigh replace {address} lladdr {mac} dev {device} nud reachable"));
            }
        }
        stage.towpath("DEL", &container, pod, &config).success();
    }
}
