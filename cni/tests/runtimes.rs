//! What real runtimes, other plugins of a list, and people who write configurations do that the specification does not say.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod stage;

use serde_json::{Value, json};
use stage::{Stage, TOWPATH, pings, run_in};

/// A list of our plugins by their usual names.
fn list(stage: &Stage, version: &str, more: Value) -> Value {
    let mut plugins = vec![json!({
        "type": "bridge", "bridge": "br0", "isGateway": true,
        "ipam": { "type": "host-local", "subnet": "10.22.0.0/24", "dataDir": stage.path("ledger"), "routes": [{ "dst": "0.0.0.0/0" }] }
    })];
    plugins.extend(more.as_array().unwrap().iter().cloned());
    json!({ "name": "net1", "cniVersion": version, "plugins": plugins })
}

#[test]
fn containerd_writes_the_keys_of_capabilities_in_another_case() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    let config = stage.config(
        "1.0.0",
        json!({ "runtimeConfig": {
            "portMappings": [{ "HostPort": 8080, "ContainerPort": 80, "Protocol": "tcp", "HostIP": "" }],
            "bandwidth": { "IngressRate": 8_000_000, "IngressBurst": 4_294_967_295_u64, "EgressRate": 0, "EgressBurst": 0 },
            "ipRanges": [[{ "Subnet": "10.55.0.0/24", "RangeStart": "10.55.0.9" }]]
        } }),
    );
    let result = stage.towpath("ADD", "c1", &pod, &config).success();
    assert_eq!(result["ips"][0]["address"], "10.55.0.9/24", "{result}");
    let said = |words: &[&str]| String::from_utf8(run_in(&stage.netns(), words).stdout).unwrap();
    assert!(said(&["nft", "list", "ruleset"]).contains("tcp . 8080"));
    assert!(said(&["tc", "qdisc"]).contains("rate 8Mbit"));
    stage.towpath("DEL", "c1", &pod, &config).success();
}

#[test]
fn plugins_that_would_call_each_other_for_ever_are_refused() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    stage.named("towpath");
    let bin = stage.path("bin");
    // A name that says nothing: whoever made this link wants `towpath`.
    std::os::unix::fs::symlink(bin.join("towpath"), bin.join("circle")).unwrap();
    for (plugin, kind, code) in
        [("towpath", "towpath", 7), ("bridge", "bridge", 7), ("towpath", "flannel", 7), ("circle", "circle", 103)]
    {
        let config = stage.config("1.1.0", json!({ "type": plugin, "ipam": { "type": kind } }));
        for verb in ["ADD", "DEL", "STATUS"] {
            let (said, message) = stage.by_name(plugin, verb, ("c1", &pod), &config).error();
            assert!(said == if verb == "STATUS" && code > 99 { 50 } else { code }, "{verb} {kind}: {said} {message}");
        }
    }
    assert!(stage.links().iter().all(|link| link == "br0" || link == "cni0"), "{:?}", stage.links());
}

#[test]
fn what_tuning_changed_behind_bridge_is_no_fault_in_any_version() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    let container = format!("tuned-{}", std::process::id());
    for version in ["0.4.0", "1.0.0", "1.1.0"] {
        let list = list(&stage, version, json!([{ "type": "tuning", "mtu": 1400, "mac": "02:00:00:00:00:07" }]));
        let result = stage.chain(&list, "ADD", (&container, &pod), None).unwrap();
        stage.chain(&list, "CHECK", (&container, &pod), Some(result.clone())).unwrap();
        run_in(&pod, &["ip", "link", "set", "eth0", "mtu", "1300"]);
        stage.chain(&list, "CHECK", (&container, &pod), Some(result.clone())).unwrap_err();
        stage.chain(&list, "DEL", (&container, &pod), Some(result)).unwrap();
    }
}

#[test]
fn check_sees_a_route_that_leads_elsewhere_although_the_result_did_not_say_where() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    let list = list(&stage, "1.0.0", json!([]));
    let result = stage.chain(&list, "ADD", ("c1", &pod), None).unwrap();
    assert!(result["routes"][0].get("gw").is_none(), "{result}");
    stage.chain(&list, "CHECK", ("c1", &pod), Some(result.clone())).unwrap();
    run_in(&pod, &["ip", "route", "replace", "default", "via", "10.22.0.200"]);
    let (code, message) = stage.chain(&list, "CHECK", ("c1", &pod), Some(result.clone())).unwrap_err().error();
    assert!(code == 102 && message.contains("0.0.0.0/0"), "{message}");
    stage.chain(&list, "DEL", ("c1", &pod), Some(result)).unwrap();
}

#[test]
fn a_fifo_in_the_place_of_a_file_keeps_nobody_waiting() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    let fifo = stage.path("fifo");
    assert!(stage::output("mkfifo", &[fifo.to_str().unwrap()]).status.success());
    let (code, message) =
        stage.towpath("ADD", "c1", &pod, &stage.config("1.0.0", json!({ "subnetFile": fifo }))).error();
    assert!(code == 6 && message.contains("fifo"), "{message}");
    let resolved = stage.config("1.0.0", json!({ "ipam": { "resolvConf": fifo } }));
    assert_eq!(stage.towpath("ADD", "c1", &pod, &resolved).success()["dns"], json!({}));
    stage.towpath("DEL", "c1", &pod, &resolved).success();
}

#[test]
fn check_looks_into_every_table_and_at_the_address_on_the_link_that_pods_know_their_gateway_by() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    let routes = json!([{ "dst": "192.0.2.0/24", "table": 100 }, { "dst": "198.51.100.0/24", "priority": 7 }]);
    let config =
        stage.config("1.1.0", json!({ "bridge": "br0", "ipam": { "subnet": "10.22.0.0/24", "routes": routes } }));
    let result = stage.towpath("ADD", "c1", &pod, &config).success();
    let mut check = config.clone();
    stage::merge(&mut check, json!({ "prevResult": result }));
    stage.towpath("CHECK", "c1", &pod, &check).success();
    let mac = stage.ip("link show dev br0")[0]["address"].as_str().unwrap().to_owned();
    for (netns, wrong, right) in [
        (&pod, "ip route del 192.0.2.0/24 table 100", "ip route add 192.0.2.0/24 via 10.22.0.1 table 100"),
        (&pod, "ip route del 198.51.100.0/24", "ip route add 198.51.100.0/24 via 10.22.0.1 metric 7"),
        (&stage.netns(), "ip link set br0 address 02:00:00:00:00:cc", &format!("ip link set br0 address {mac}")),
    ] {
        run_in(netns, &["sh", "-c", wrong]);
        assert_eq!(stage.towpath("CHECK", "c1", &pod, &check).error().0, 102, "{wrong}");
        run_in(netns, &["sh", "-c", right]);
        stage.towpath("CHECK", "c1", &pod, &check).success();
    }
    stage.towpath("DEL", "c1", &pod, &config).success();
}

#[test]
fn a_late_delete_does_not_touch_another_pod_that_has_the_same_path_by_now() {
    let mut stage = Stage::new();
    let config = stage.config("1.0.0", json!({}));
    let path = stage.pod("a");
    stage.towpath("ADD", "c1", &path, &config).success();
    stage.remove_pod(&path);
    assert_eq!(stage.pod("a"), path);
    stage.towpath("ADD", "c2", &path, &config).success();
    stage.towpath("DEL", "c1", &path, &config).success();
    assert!(pings(&path, "10.244.1.1"), "c2 has lost its wire");
    assert_eq!(stage.reserved().len(), 2, "{:?}", stage.reserved());
    stage.towpath("DEL", "c2", &path, &config).success();
    assert!(stage.reserved().is_empty() && stage.links() == ["cni0"], "{:?}", stage.links());
}

#[test]
fn names_that_the_kernel_would_change_and_ids_that_no_file_holds_are_refused() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    let config = stage.config("1.0.0", json!({}));
    let long = "a".repeat(5000);
    for (container, ifname) in [("c1", "eth%d"), ("c1", "%s"), (long.as_str(), "eth0")] {
        let variables = [
            ("CNI_COMMAND", "ADD"),
            ("CNI_CONTAINERID", container),
            ("CNI_NETNS", pod.as_str()),
            ("CNI_IFNAME", ifname),
        ];
        assert_eq!(stage.call(TOWPATH, &variables, config.to_string().as_bytes()).error().0, 4, "{ifname}");
    }
    let bridge = stage.config("1.0.0", json!({ "bridge": "br%d" }));
    assert_eq!(stage.towpath("ADD", "c1", &pod, &bridge).error().0, 7);
    assert!(stage.links().is_empty() && stage.reserved().is_empty());
}

#[test]
fn what_just_fits_into_add_fits_into_del_with_the_result_that_the_runtime_adds() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    let mut config = stage.config("1.0.0", json!({ "padding": "" }));
    config["padding"] = Value::from("x".repeat(999_990 - config.to_string().len()));
    let result = stage.towpath("ADD", "c1", &pod, &config).success();
    config["prevResult"] = result;
    stage.towpath("CHECK", "c1", &pod, &config).success();
    stage.towpath("DEL", "c1", &pod, &config).success();
    stage.towpath("ADD", "c1", &pod, &config).error();
}
