//! flannel's meta plugin: the stock configuration on a node that has nothing but our file, and pods that change hands
//! between it and the plugins that flannel's own plugin calls.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod stage;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};
use stage::{REFERENCE, Stage, ip_in, pings, run_in};

/// `10-flannel.conflist` as flannel's manifest has it, but for the directories.
fn stock(stage: &Stage, version: &str) -> Value {
    let mut list = json!({
        "name": "cbr0", "cniVersion": version,
        "plugins": [
            { "type": "flannel", "delegate": { "hairpinMode": true, "isDefaultGateway": true } },
            { "type": "portmap", "capabilities": { "portMappings": true } }
        ]
    });
    stage::merge(&mut list["plugins"][0], own(stage));
    list
}

/// The keys that lead into the stage's directory.
fn own(stage: &Stage) -> Value {
    json!({ "subnetFile": stage.path("subnet.env"), "dataDir": stage.path("flannel"), "ipam": { "dataDir": stage.path("ledger") } })
}

/// One network of flannel's without a list.
fn config(stage: &Stage, more: Value) -> Value {
    let mut config =
        json!({ "cniVersion": "1.0.0", "name": "net1", "type": "flannel", "delegate": { "isDefaultGateway": true } });
    stage::merge(&mut config, own(stage));
    stage::merge(&mut config, more);
    config
}

fn kept(stage: &Stage) -> Vec<String> {
    let Ok(entries) = fs::read_dir(stage.path("flannel")) else { return Vec::new() };
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn the_stock_configuration_works_on_a_node_that_has_only_our_file() {
    let mut stage = Stage::new();
    let (a, b) = (stage.pod("a"), stage.pod("b"));
    for version in ["0.3.1", "1.0.0"] {
        let list = stock(&stage, version);
        let first = stage.chain(&list, "ADD", ("c1", &a), None).unwrap();
        let second = stage.chain(&list, "ADD", ("c2", &b), None).unwrap();
        assert_eq!((&first["cniVersion"], first["ips"].as_array().unwrap().len()), (&json!(version), 2), "{first}");
        assert_eq!(first["ips"][0]["gateway"], "10.244.1.1");
        let address = second["ips"][0]["address"].as_str().unwrap().trim_end_matches("/24").to_owned();
        assert!(pings(&a, &address) && pings(&b, "fd00:10:0:1::1"), "{address}");
        assert_eq!(ip_in(&a, "link show dev eth0")[0]["mtu"], 1450);
        assert_eq!(ip_in(&a, "-4 route show default")[0]["gateway"], "10.244.1.1");
        assert_eq!(ip_in(&a, "-4 route show 10.244.0.0/16")[0]["gateway"], "10.244.1.1");
        if version != "0.3.1" {
            stage.chain(&list, "CHECK", ("c1", &a), Some(first.clone())).unwrap();
            run_in(&a, &["ip", "route", "delete", "default"]);
            let (code, message) = stage.chain(&list, "CHECK", ("c1", &a), Some(first.clone())).unwrap_err().error();
            assert!(code == 102 && message.contains("route"), "{message}");
        }
        assert_eq!(kept(&stage), ["c1", "c2"]);
        for _ in 0..2 {
            stage.chain(&list, "DEL", ("c1", &a), Some(first.clone())).unwrap();
        }
        stage.chain(&list, "DEL", ("c2", ""), None).unwrap();
        assert_eq!(stage.links(), ["cni0"]);
        assert_eq!(
            (kept(&stage).len(), fs::read_dir(stage.path("ledger/cbr0")).unwrap().filter(is_address).count()),
            (0, 0)
        );
    }
}

fn is_address(entry: &std::io::Result<fs::DirEntry>) -> bool {
    let name = entry.as_ref().unwrap().file_name();
    name.to_str().unwrap().parse::<std::net::IpAddr>().is_ok()
}

#[test]
fn a_node_that_gets_another_subnet_gives_new_pods_addresses_of_it_and_keeps_the_old_ones_alive() {
    let mut stage = Stage::new();
    let (a, b) = (stage.pod("a"), stage.pod("b"));
    let list = stock(&stage, "1.0.0");
    let first = stage.chain(&list, "ADD", ("c1", &a), None).unwrap();
    let file = stage.path("subnet.env");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("10.244.1.1", "10.244.77.1")).unwrap();
    let second = stage.chain(&list, "ADD", ("c2", &b), None).unwrap();
    assert_eq!(second["ips"][0]["gateway"], "10.244.77.1");
    // By way of the bridge, which is the gateway of both.
    let old = first["ips"][0]["address"].as_str().unwrap().trim_end_matches("/24").to_owned();
    assert!(pings(&a, "10.244.1.1") && pings(&b, "10.244.77.1") && pings(&b, &old));
    // A network that is none of the cluster's is somebody else's.
    fs::write(&file, text.replace("10.244.", "10.245.")).unwrap();
    let (_, message) = stage.chain(&list, "ADD", ("c3", &b), None).unwrap_err().error();
    assert!(message.contains("the bridge cni0 has the address"), "{message}");
}

#[test]
fn what_is_kept_is_what_flannels_plugin_keeps_and_only_root_reads_it() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    let asked = config(&stage, json!({ "runtimeConfig": { "x": "<&>" }, "delegate": { "bridge": "br1" } }));
    stage.by_name("flannel", "ADD", ("c1", &pod), &asked).success();
    let text = fs::read_to_string(stage.path("flannel/c1")).unwrap();
    let ledger = stage.path("ledger").display().to_string();
    assert_eq!(
        text,
        format!(
            r#"{{"bridge":"br1","cniVersion":"1.0.0","ipMasq":false,"ipam":{{"dataDir":"{ledger}","ranges":[[{{"subnet":"10.244.1.0/24"}}],[{{"subnet":"fd00:10:0:1::/64"}}]],"routes":[{{"dst":"10.244.0.0/16"}},{{"dst":"fd00:10::/48"}}],"type":"host-local"}},"isDefaultGateway":true,"isGateway":true,"mtu":1450,"name":"net1","runtimeConfig":{{"x":"\u003c\u0026\u003e"}},"type":"bridge"}}"#
        )
    );
    let mode = |path| fs::metadata(stage.path(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("flannel"), mode("flannel/c1")), (0o700, 0o600));
}

#[test]
fn a_pod_of_flannels_own_plugin_is_checked_and_deleted_by_ours_and_the_other_way_round() {
    let mut stage = Stage::new();
    let (a, b) = (stage.pod("a"), stage.pod("b"));
    let asked = config(&stage, json!({}));
    let bridge = format!("{REFERENCE}/bridge");
    // flannel's plugin keeps the configuration and calls `bridge` with it.
    let delegated = json!({ "cniVersion": "1.0.0", "name": "net1", "type": "bridge", "isDefaultGateway": true, "isGateway": true,
        "ipMasq": false, "mtu": 1450, "ipam": { "type": "host-local", "dataDir": stage.path("ledger"),
        "ranges": [[{ "subnet": "10.244.1.0/24" }]], "routes": [{ "dst": "10.244.0.0/16" }] } });
    fs::create_dir(stage.path("flannel")).unwrap();
    fs::write(stage.path("flannel/c1"), delegated.to_string()).unwrap();
    let result = stage.plugin(&bridge, "ADD", ("c1", &a), &delegated).success();
    let mut with_result = asked.clone();
    with_result["prevResult"] = result.clone();

    let ours = stage.by_name("flannel", "ADD", ("c2", &b), &asked).success();
    assert_ne!(ours["ips"][0]["address"], result["ips"][0]["address"]);
    stage.by_name("flannel", "CHECK", ("c1", &a), &with_result).success();
    stage.by_name("flannel", "DEL", ("c1", &a), &with_result).success();
    assert!(!run_in(&a, &["ip", "link", "show", "eth0"]).status.success());
    assert_eq!((kept(&stage), stage.reserved().len()), (vec!["c2".to_owned()], 2));

    // And back: flannel's plugin reads what we kept and has `bridge` delete.
    let kept = fs::read(stage.path("flannel/c2")).unwrap();
    let kept: Value = serde_json::from_slice(&kept).unwrap();
    stage.plugin(&bridge, "DEL", ("c2", &b), &kept).success();
    assert!(stage.reserved().is_empty());
    assert_eq!(stage.links(), ["cni0"]);
    // What is left of it is no trouble.
    stage.by_name("flannel", "DEL", ("c2", &b), &asked).success();
}

#[test]
fn del_forgets_nothing_when_it_fails_and_a_retry_finishes() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    let flag = stage.path("broken").display().to_string();
    stage.script(
        "other",
        &format!(
            "cat >{flag}.$CNI_COMMAND; [ $CNI_COMMAND = ADD ] && echo '{{\"cniVersion\":\"1.0.0\",\"ips\":[{{\"address\":\"10.7.0.2/24\"}}]}}'\n\
             if [ $CNI_COMMAND = DEL ] && [ -e {flag} ]; then echo '{{\"code\":111,\"msg\":\"not now\"}}'; exit 1; fi; exit 0"
        ),
    );
    let asked = config(&stage, json!({ "delegate": { "type": "other", "x": 1 } }));
    let result = stage.by_name("flannel", "ADD", ("c1", &pod), &asked).success();
    assert_eq!(result["ips"][0]["address"], "10.7.0.2/24");
    let delegated: Value = serde_json::from_slice(&fs::read(stage.path("broken.ADD")).unwrap()).unwrap();
    assert_eq!((&delegated["x"], &delegated["mtu"], &delegated["isGateway"]), (&json!(1), &json!(1450), &Value::Null));
    fs::write(&flag, "").unwrap();
    let (code, message) = stage.by_name("flannel", "DEL", ("c1", &pod), &asked).error();
    assert!(code == 111 && message.contains("not now"), "{message}");
    assert_eq!(kept(&stage), ["c1"], "still known");
    fs::remove_file(&flag).unwrap();
    // Even when the daemon is gone and the configuration says something else by now.
    fs::remove_file(stage.path("subnet.env")).unwrap();
    stage.by_name("flannel", "DEL", ("c1", &pod), &config(&stage, json!({}))).success();
    assert_eq!(kept(&stage), Vec::<String>::new());
    assert_eq!(fs::read(stage.path("broken.DEL")).unwrap(), fs::read(stage.path("broken.ADD")).unwrap());
}

#[test]
fn a_kept_file_that_a_power_cut_emptied_does_not_leave_the_pod_behind() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    let asked = config(&stage, json!({}));
    for damage in [Some(""), Some("{\"type\":"), Some("[]"), None] {
        stage.by_name("flannel", "ADD", ("c1", &pod), &asked).success();
        match damage {
            Some(text) => fs::write(stage.path("flannel/c1"), text).unwrap(),
            None => fs::remove_file(stage.path("flannel/c1")).unwrap(),
        }
        fs::rename(stage.path("subnet.env"), stage.path("away")).unwrap();
        stage.by_name("flannel", "DEL", ("c1", &pod), &asked).success();
        fs::rename(stage.path("away"), stage.path("subnet.env")).unwrap();
        assert_eq!(
            (stage.links(), stage.reserved(), kept(&stage)),
            (vec!["cni0".to_owned()], vec![], vec![]),
            "{damage:?}"
        );
    }
}

#[test]
fn without_the_daemons_file_it_is_told_to_try_again_and_status_says_so() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    let asked = |version: &str| config(&stage, json!({ "cniVersion": version }));
    stage.by_name("flannel", "STATUS", ("", ""), &asked("1.1.0")).success();
    fs::remove_file(stage.path("subnet.env")).unwrap();
    let (code, message) = stage.by_name("flannel", "STATUS", ("", ""), &asked("1.1.0")).error();
    assert!(code == 50 && message.contains("subnet.env"), "{message}");
    let (code, message) = stage.by_name("flannel", "ADD", ("c1", &pod), &asked("1.0.0")).error();
    assert!(code == 11 && message.contains("subnet.env"), "{message}");
    assert_eq!(kept(&stage), Vec::<String>::new());
}

#[test]
fn gc_keeps_what_is_listed_and_forgets_the_rest() {
    let mut stage = Stage::new();
    let (a, b, c) = (stage.pod("a"), stage.pod("b"), stage.pod("c"));
    let asked = config(&stage, json!({ "cniVersion": "1.1.0" }));
    let other = config(&stage, json!({ "cniVersion": "1.1.0", "name": "net2", "delegate": { "bridge": "br2" } }));
    stage.by_name("flannel", "ADD", ("c1", &a), &asked).success();
    let kept_one = stage.by_name("flannel", "ADD", ("c2", &b), &asked).success();
    stage.by_name("flannel", "ADD", ("c3", &c), &other).success();
    let mut gc = asked.clone();
    gc["cni.dev/valid-attachments"] = json!([{ "containerID": "c2", "ifname": "eth0" }]);
    stage.by_name("flannel", "GC", ("", ""), &gc).success();
    assert_eq!(kept(&stage), ["c2", "c3"], "that of another network is not ours to judge");
    assert_eq!(stage.reserved().len(), 2);
    assert!(!run_in(&a, &["ip", "link", "show", "eth0"]).status.success());
    for pod in [&b, &c] {
        assert!(run_in(pod, &["ip", "link", "show", "eth0"]).status.success());
    }
    let mut check = asked;
    check["prevResult"] = kept_one;
    stage.by_name("flannel", "CHECK", ("c2", &b), &check).success();
}
