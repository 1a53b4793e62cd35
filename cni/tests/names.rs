//! The usual names: what the plugin does when it is called by one of them, and when one of them is delegated to.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod stage;

use std::fs;

use serde_json::{Value, json};
use stage::{REFERENCE, Stage, TOWPATH, ip_in, output, run_in};

/// A configuration of the reference `bridge` with its `host-local`.
fn bridge(stage: &Stage, more: Value) -> Value {
    let mut config = json!({
        "cniVersion": "1.0.0", "name": "net1", "type": "bridge", "bridge": "br7",
        "ipam": { "type": "host-local", "subnet": "10.9.0.0/24", "dataDir": stage.path("ledger") }
    });
    stage::merge(&mut config, more);
    config
}

fn flag(netns: &str, link: &str, flag: &str) -> bool {
    ip_in(netns, &format!("link show dev {link}"))[0]["flags"].as_array().unwrap().contains(&json!(flag))
}

#[test]
fn as_bridge_it_has_the_defaults_of_bridge() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    let config = bridge(&stage, json!({}));
    let result = stage.by_name("bridge", "ADD", ("c1", &pod), &config).success();
    assert_eq!(result["ips"], json!([{ "address": "10.9.0.2/24", "gateway": "10.9.0.1", "interface": 2 }]));
    assert_eq!(result["routes"], Value::Null, "no default route, and nothing of a cluster");
    let port =
        &ip_in(&stage.netns(), &format!("link show dev {}", result["interfaces"][1]["name"].as_str().unwrap()))[0];
    assert_eq!(port["linkinfo"]["info_slave_data"]["hairpin"], false);
    let addresses = stage.ip("-4 address show dev br7");
    assert!(addresses.to_string().find("10.9.0.1").is_none(), "not a gateway: {addresses}");
    let mut with_result = config.clone();
    with_result["prevResult"] = result;
    stage.by_name("bridge", "CHECK", ("c1", &pod), &with_result).success();
    stage.by_name("bridge", "DEL", ("c1", &pod), &with_result).success();
    assert_eq!((stage.links(), stage.reserved()), (vec!["br7".to_owned()], vec![]));
}

#[test]
fn as_bridge_it_makes_what_the_reference_bridge_makes() {
    let mut stage = Stage::new();
    let (a, b) = (stage.pod("a"), stage.pod("b"));
    for (n, more) in [
        json!({}),
        json!({ "isGateway": true }),
        json!({ "isDefaultGateway": true, "hairpinMode": true }),
        json!({ "isGateway": true, "ipam": { "routes": [{ "dst": "0.0.0.0/0" }, { "dst": "192.0.2.0/24", "gw": "10.9.0.9" }] } }),
        json!({ "dns": { "nameservers": ["192.0.2.1"] }, "mtu": 1400 }),
    ]
    .into_iter()
    .enumerate()
    {
        // The ranges are apart, so that each gets the first address of its own.
        let make = |range: Value, ledger: &str| {
            let mut config = bridge(&stage, more.clone());
            stage::merge(&mut config, json!({ "ipam": { "dataDir": stage.path(ledger) }, "name": ledger }));
            stage::merge(&mut config["ipam"], range);
            config
        };
        let ours = make(json!({}), "ours");
        let theirs = make(json!({}), "theirs");
        let mut made = stage.by_name("bridge", "ADD", ("c1", &a), &ours).success();
        let left = routes(&a);
        stage.by_name("bridge", "DEL", ("c1", &a), &ours).success();
        let reference = format!("{REFERENCE}/bridge");
        let mut expected = stage.plugin(&reference, "ADD", ("c1", &b), &theirs).success();
        let right = routes(&b);
        stage.plugin(&reference, "DEL", ("c1", &b), &theirs).success();
        for result in [&mut made, &mut expected] {
            for interface in result["interfaces"].as_array_mut().unwrap() {
                interface.as_object_mut().unwrap().remove("mac");
                interface.as_object_mut().unwrap().remove("sandbox");
            }
            result["interfaces"][1]["name"] = json!("veth");
        }
        assert_eq!(made, expected, "case {n}");
        assert_eq!(left, right, "case {n}");
        for dir in ["ours", "theirs"] {
            fs::remove_dir_all(stage.path(dir)).unwrap();
        }
    }
}

/// Destinations and gateways of a pod's IPv4 routes.
fn routes(pod: &str) -> Vec<(Value, Value)> {
    let routes = ip_in(pod, "-4 route show");
    routes.as_array().unwrap().iter().map(|route| (route["dst"].clone(), route["gateway"].clone())).collect()
}

#[test]
fn as_host_local_it_only_gives_addresses_whatever_the_path() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    let config = bridge(&stage, json!({ "cniVersion": "0.3.1", "ipam": { "routes": [{ "dst": "0.0.0.0/0" }] } }));
    let result = stage.by_name("host-local", "ADD", ("c1", &pod), &config).success();
    let expected = json!({
        "cniVersion": "0.3.1", "dns": {}, "routes": [{ "dst": "0.0.0.0/0" }],
        "ips": [{ "version": "4", "address": "10.9.0.2/24", "gateway": "10.9.0.1" }]
    });
    assert_eq!(result, expected);
    assert_eq!((stage.links(), stage.reserved().len()), (vec![], 1));
    // The reference `bridge` finds it and uses it.
    let plugin = format!("{REFERENCE}/bridge");
    let bin = stage.path("bin").to_str().unwrap().to_owned();
    let variables = [
        ("CNI_COMMAND", "ADD"),
        ("CNI_CONTAINERID", "c2"),
        ("CNI_NETNS", pod.as_str()),
        ("CNI_IFNAME", "eth0"),
        ("CNI_PATH", bin.as_str()),
    ];
    let result = stage.call(&plugin, &variables, config.to_string().as_bytes()).success();
    assert_eq!(result["ips"][0]["address"], "10.9.0.3/24");
    for container in ["c1", "c2", "c2"] {
        stage.by_name("host-local", "DEL", (container, ""), &config).success();
    }
    assert!(stage.reserved().is_empty());
}

#[test]
fn as_loopback_it_brings_lo_up_and_passes_on_what_was_there() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    let config = |version: &str| json!({ "cniVersion": version, "name": "lo-net", "type": "loopback" });
    let result = stage.by_name("loopback", "ADD", ("c1", &pod), &config("1.0.0")).success();
    assert!(flag(&pod, "lo", "UP"));
    let reference = stage.plugin(&format!("{REFERENCE}/loopback"), "ADD", ("c1", &pod), &config("1.0.0")).success();
    assert_eq!(result["interfaces"][0]["name"], "lo");
    assert_eq!(result, {
        let mut reference = reference;
        reference["interfaces"][0]["name"] = json!("lo");
        reference
    });
    let previous = json!({ "cniVersion": "1.0.0", "dns": {}, "interfaces": [{ "name": "x" }] });
    let chained = |mut config: Value| {
        config["prevResult"] = previous.clone();
        config
    };
    assert_eq!(stage.by_name("loopback", "ADD", ("c1", &pod), &chained(config("1.0.0"))).success(), previous);
    stage.by_name("loopback", "CHECK", ("c1", &pod), &chained(config("1.0.0"))).success();
    run_in(&pod, &["ip", "link", "set", "lo", "down"]);
    let (code, message) = stage.by_name("loopback", "CHECK", ("c1", &pod), &chained(config("1.0.0"))).error();
    assert_eq!((code, message.as_str()), (102, "lo in the pod is down"));
    stage.by_name("loopback", "ADD", ("c1", &pod), &config("0.3.1")).success();
    for netns in [pod.as_str(), &stage.netns(), "", "/run/netns/gone"] {
        stage.by_name("loopback", "DEL", ("c1", netns), &config("0.3.1")).success();
    }
    assert!(!flag(&pod, "lo", "UP"));
    stage.by_name("loopback", "STATUS", ("", ""), &config("1.1.0")).success();
}

#[test]
fn as_tuning_it_sets_checks_and_puts_back() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    run_in(&pod, &["ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth1"]);
    let before = ip_in(&pod, "link show dev eth0")[0].clone();
    let previous = json!({ "cniVersion": "1.1.0", "dns": {},
        "interfaces": [{ "name": "eth0", "mac": before["address"], "mtu": 1500, "sandbox": pod }] });
    let mut config = json!({
        "cniVersion": "1.1.0", "name": "net1", "type": "tuning", "dataDir": stage.path("tuning"), "prevResult": previous,
        "sysctl": { "net.ipv4.conf.IFNAME.arp_filter": "1", "net.ipv4.ip_local_port_range": "20000 30000" },
        "mac": "02:11:22:33:44:55", "mtu": 1400, "txQLen": 77, "promisc": true, "allmulti": true
    });
    let result = stage.by_name("tuning", "ADD", ("c1", &pod), &config).success();
    assert_eq!(result["interfaces"][0]["mac"], "02:11:22:33:44:55");
    assert_eq!(result["interfaces"][0]["mtu"], 1400);
    let tuned = ip_in(&pod, "link show dev eth0")[0].clone();
    assert_eq!(
        (&tuned["address"], &tuned["mtu"], &tuned["txqlen"]),
        (&json!("02:11:22:33:44:55"), &json!(1400), &json!(77))
    );
    assert!(flag(&pod, "eth0", "PROMISC") && flag(&pod, "eth0", "ALLMULTI"));
    let setting = run_in(&pod, &["cat", "/proc/sys/net/ipv4/conf/eth0/arp_filter"]);
    assert_eq!(setting.stdout, b"1\n");
    stage.by_name("tuning", "CHECK", ("c1", &pod), &config).success();
    for (words, what) in [
        (["ip", "link", "set", "eth0", "mtu", "1300"].as_slice(), "the MTU of eth0"),
        (&["ip", "link", "set", "eth0", "mtu", "1400", "promisc", "off"], "promiscuous mode of eth0"),
        (&["sh", "-c", "echo 0 >/proc/sys/net/ipv4/conf/eth0/arp_filter"], "net/ipv4/conf/eth0/arp_filter"),
    ] {
        run_in(&pod, words);
        let (code, message) = stage.by_name("tuning", "CHECK", ("c1", &pod), &config).error();
        assert!(code == 102 && message.contains(what), "{what}: {message}");
    }
    // With the reference's own backup, and the other way round.
    config["cniVersion"] = json!("1.0.0");
    config["prevResult"]["cniVersion"] = json!("1.0.0");
    stage.plugin(&format!("{REFERENCE}/tuning"), "DEL", ("c1", &pod), &config).success();
    let put_back = ip_in(&pod, "link show dev eth0")[0].clone();
    assert_eq!((&put_back["address"], &put_back["mtu"]), (&before["address"], &before["mtu"]));
    config.as_object_mut().unwrap().retain(|key, _| !["txQLen", "sysctl"].contains(&key.as_str()));
    stage.plugin(&format!("{REFERENCE}/tuning"), "ADD", ("c1", &pod), &config).success();
    for netns in [pod.as_str(), &pod, "", "/run/netns/gone"] {
        stage.by_name("tuning", "DEL", ("c1", netns), &config).success();
    }
    let put_back = ip_in(&pod, "link show dev eth0")[0].clone();
    assert_eq!((&put_back["address"], &put_back["mtu"]), (&before["address"], &before["mtu"]));
    assert!(fs::read_dir(stage.path("tuning")).unwrap().next().is_none());
}

#[test]
fn towpath_takes_tunings_keys_itself_and_a_wrong_one_leaves_nothing() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    let tuned = json!({ "sysctl": { "net.ipv4.conf.IFNAME.arp_filter": "1" }, "txQLen": 50 });
    let config = stage.config("1.0.0", tuned.clone());
    let result = stage.towpath("ADD", "c1", &pod, &config).success();
    assert_eq!(run_in(&pod, &["cat", "/proc/sys/net/ipv4/conf/eth0/arp_filter"]).stdout, b"1\n");
    let mut with_result = config.clone();
    with_result["prevResult"] = result;
    stage.towpath("CHECK", "c1", &pod, &with_result).success();
    run_in(&pod, &["sh", "-c", "echo 0 >/proc/sys/net/ipv4/conf/eth0/arp_filter"]);
    assert_eq!(stage.towpath("CHECK", "c1", &pod, &with_result).error().0, 102);
    stage.towpath("DEL", "c1", &pod, &config).success();
    let wrong = stage.config("1.0.0", json!({ "sysctl": { "net.ipv4.no_such_setting": "1" } }));
    let (code, message) = stage.towpath("ADD", "c1", &pod, &wrong).error();
    assert!(code == 100 && message.contains("no_such_setting"), "{message}");
    assert_eq!((stage.links(), stage.reserved()), (vec!["cni0".to_owned()], vec![]));
}

#[test]
fn what_the_nodes_allowlist_does_not_match_is_not_set() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    // In a mount namespace of the plugin's own: the machine's files stay as they are.
    let listed = "mount -t tmpfs none /etc && mkdir -p /etc/cni/tuning && echo IFNAME >/etc/cni/tuning/allowlist.conf";
    let plugin = stage.path("listed");
    fs::write(&plugin, format!("#!/bin/sh\nexec unshare -m sh -c '{listed} && exec {TOWPATH}'\n")).unwrap();
    fs::set_permissions(&plugin, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let plugin = plugin.to_str().unwrap();
    let with = |stage: &Stage, name: &str| stage.config("1.0.0", json!({ "sysctl": { name: "1" } }));
    let refused = with(&stage, "net.ipv4.ip_forward");
    let (code, message) = stage.plugin(plugin, "ADD", ("c1", &pod), &refused).error();
    assert!(code == 7 && message.contains("net.ipv4.ip_forward is not allowed"), "{message}");
    assert_eq!((stage.links(), stage.reserved()), (vec![], vec![]));
    stage.plugin(plugin, "ADD", ("c1", &pod), &with(&stage, "net.ipv4.conf.IFNAME.arp_filter")).success();
    // What was made can be taken down, whatever is allowed by now.
    stage.plugin(plugin, "DEL", ("c1", &pod), &refused).success();
}

#[test]
fn another_ipam_is_executed_and_its_errors_are_passed_on() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    let ipam = json!({ "type": "static", "subnet": null, "dataDir": null,
        "addresses": [{ "address": "10.5.0.7/24", "gateway": "10.5.0.1" }], "routes": [{ "dst": "0.0.0.0/0" }] });
    let config = bridge(&stage, json!({ "ipam": ipam }));
    let plugin = stage.named("bridge");
    let result = stage.plugin(&plugin, "ADD", ("c1", &pod), &config).success();
    assert_eq!(result["ips"], json!([{ "address": "10.5.0.7/24", "gateway": "10.5.0.1", "interface": 2 }]));
    assert_eq!(routes(&pod)[0], (json!("default"), json!("10.5.0.1")));
    let mut with_result = config.clone();
    with_result["prevResult"] = result;
    stage.plugin(&plugin, "CHECK", ("c1", &pod), &with_result).success();
    stage.plugin(&plugin, "DEL", ("c1", &pod), &with_result).success();
    assert_eq!(stage.links(), ["br7"]);

    // One that refuses, with the spec's error object, after which it is asked to delete.
    let log = stage.path("log").display().to_string();
    let refuses = format!(
        "cat >/dev/null; echo $CNI_COMMAND $CNI_CONTAINERID >>{log}\n\
         [ $CNI_COMMAND = DEL ] && exit 0\n\
         echo '{{\"cniVersion\": \"1.0.0\", \"code\": 142, \"msg\": \"no address today\", \"details\": \"x\"}}'; exit 1"
    );
    stage.script("refuser", &refuses);
    let config = bridge(&stage, json!({ "ipam": { "type": "refuser" } }));
    let (code, message) = stage.by_name("bridge", "ADD", ("c1", &pod), &config).error();
    assert!(code == 142 && message.contains("no address today"), "{code} {message}");
    assert_eq!(fs::read_to_string(stage.path("log")).unwrap(), "ADD c1\nDEL c1\n");
    assert_eq!(stage.links(), ["br7"]);
    // One that says nothing that can be understood.
    stage.script("mumbler", "cat >/dev/null; echo mumble; [ $CNI_COMMAND = DEL ]");
    let config = bridge(&stage, json!({ "ipam": { "type": "mumbler" } }));
    let (code, message) = stage.by_name("bridge", "ADD", ("c1", &pod), &config).error();
    assert!(code == 103 && message.contains("`mumbler` ended with exit status: 1"), "{code} {message}");
}

#[test]
fn without_ipam_bridge_makes_a_wire_and_no_more() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    let config = bridge(&stage, json!({ "ipam": null }));
    let result = stage.by_name("bridge", "ADD", ("c1", &pod), &config).success();
    assert_eq!((result["interfaces"].as_array().unwrap().len(), &result["ips"]), (3, &Value::Null));
    let mut with_result = config.clone();
    with_result["prevResult"] = result;
    stage.by_name("bridge", "CHECK", ("c1", &pod), &with_result).success();
    stage.by_name("bridge", "DEL", ("c1", &pod), &config).success();
    assert_eq!(stage.links(), ["br7"]);
}

#[test]
fn every_name_says_the_same_versions_and_people_are_told_what_it_is() {
    let stage = Stage::new();
    for name in ["towpath", "flannel", "bridge", "host-local", "portmap", "bandwidth", "loopback", "tuning"] {
        let said = stage.by_name(name, "VERSION", ("", ""), &json!({ "cniVersion": "0.4.0" })).success();
        assert_eq!(said["supportedVersions"], json!(["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]), "{name}");
    }
    let help = output(TOWPATH, &["--help"]);
    assert!(help.status.success() && String::from_utf8(help.stdout).unwrap().contains("--install DIR"));
    let wrong = output(TOWPATH, &["--instal"]);
    assert!(!wrong.status.success() && wrong.stdout.is_empty());
    assert!(String::from_utf8(wrong.stderr).unwrap().contains("there is no option --instal"));
}

#[test]
fn a_log_is_appended_to_and_never_fails_a_request() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    let log = stage.path("towpath.log");
    let config = stage.config("1.0.0", json!({ "logFile": log, "logLevel": "debug" }));
    stage.towpath("ADD", "c1", &pod, &config).success();
    stage.towpath("DEL", "c1", &pod, &config).success();
    let broken = stage.config("1.0.0", json!({ "logFile": log, "mtu": "x" }));
    stage.towpath("ADD", "c1", &pod, &broken).error();
    let text = fs::read_to_string(&log).unwrap();
    for part in ["towpath ADD c1/eth0 ", ": done in ", "configuration {", "result {", "DEL c1/eth0", "failed with 7: "]
    {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    for place in ["/proc/no/such/place", stage.path("").to_str().unwrap(), "/dev/full"] {
        let config = stage.config("1.0.0", json!({ "logFile": place }));
        stage.towpath("ADD", "c1", &pod, &config).success();
        stage.towpath("DEL", "c1", &pod, &config).success();
    }
}
