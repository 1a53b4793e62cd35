//! Being one of several in a list, GC, and STATUS: what the specification says of plugins that are not alone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod stage;

use std::fs;

use serde_json::{Value, json};
use stage::{Stage, run_in};

#[test]
fn what_an_earlier_plugin_made_stands_first_and_indices_move_on() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    for (version, previous) in [
        (
            "0.2.0",
            json!({ "ip4": { "ip": "192.0.2.5/24", "routes": [{ "dst": "192.0.2.0/24" }] }, "dns": { "domain": "a.example" } }),
        ),
        (
            "0.4.0",
            json!({ "interfaces": [{ "name": "x0" }, { "name": "x1", "sandbox": pod }], "routes": [{ "dst": "192.0.2.0/24" }],
            "ips": [{ "version": "4", "address": "192.0.2.5/24", "interface": 1 }], "dns": { "domain": "a.example" } }),
        ),
        (
            "1.1.0",
            json!({ "interfaces": [{ "name": "x0", "mtu": 9000, "socketPath": "/s", "pciID": "0000:00:01.0" }],
            "ips": [{ "address": "192.0.2.5/24", "interface": 0 }], "routes": [{ "dst": "192.0.2.0/24", "table": 7 }],
            "dns": { "domain": "a.example" } }),
        ),
    ] {
        let mut previous = previous;
        previous["cniVersion"] = json!(version);
        for asked in ["0.3.1", "1.0.0", "1.1.0"] {
            let config = stage.config(asked, json!({ "prevResult": previous }));
            let result = stage.towpath("ADD", "c1", &pod, &config).success();
            let before = previous["interfaces"].as_array().map_or(0, Vec::len);
            let interfaces = result["interfaces"].as_array().unwrap();
            assert_eq!(interfaces.len(), before + 3, "{result}");
            assert_eq!(result["ips"][0]["interface"], previous["ips"][0]["interface"]);
            assert_eq!(result["ips"][1]["interface"], before + 2, "{result}");
            assert_eq!(interfaces[before + 2]["name"], "eth0");
            assert_eq!(
                (&result["routes"][0]["dst"], &result["dns"]["domain"]),
                (&json!("192.0.2.0/24"), &json!("a.example"))
            );
            let whole = asked == "1.1.0" && version == "1.1.0";
            let kept = ["mtu", "socketPath", "pciID"].map(|key| before > 0 && interfaces[0].get(key).is_some());
            assert_eq!((kept, result["routes"][0].get("table").is_some()), ([whole; 3], whole), "{result}");
            assert_eq!(result["ips"][0].get("version").is_some(), asked == "0.3.1");
            if asked != "0.3.1" {
                let checked = stage.config(asked, json!({ "prevResult": result }));
                // An address that another plugin made is not ours to look for.
                for table in ["main", "7"] {
                    run_in(&pod, &["ip", "route", "replace", "192.0.2.0/24", "dev", "lo", "table", table]);
                }
                stage.towpath("CHECK", "c1", &pod, &checked).success();
            }
            stage.towpath("DEL", "c1", &pod, &config).success();
        }
    }
}

#[test]
fn gc_takes_down_what_is_not_listed_and_nothing_else() {
    let mut stage = Stage::new();
    let pods: Vec<String> = ["a", "b", "c"].iter().map(|name| stage.pod(name)).collect();
    let config = stage.config("1.1.0", json!({}));
    let other = stage.config("1.1.0", json!({ "name": "net2", "bridge": "br2", "ipam": { "subnet": "10.77.0.0/24" } }));
    for (n, pod) in pods.iter().enumerate() {
        stage.towpath("ADD", &format!("c{n}"), pod, if n == 2 { &other } else { &config }).success();
    }
    stage.ip("link add theirs type veth peer name theirs2");
    fs::write(stage.path("ledger/net1/10.244.1.200"), "c0\r\neth1").unwrap();
    fs::write(stage.path("ledger/net1/garbage"), "c0\r\neth0").unwrap();
    let gc = |valid: Value, key: &str| {
        let mut config = config.clone();
        config[key] = valid;
        stage.towpath("GC", "", "", &config)
    };
    let both = json!([{ "containerID": "c0", "ifname": "eth0" }, { "containerID": "c0", "ifname": "eth1" }, { "containerID": "c1", "ifname": "eth0" }]);
    gc(both.clone(), "cni.dev/valid-attachments").success();
    gc(both, "cni.dev/attachments").success();
    let all = stage.links().len();
    assert_eq!(stage.reserved().len(), 5);
    // Nobody said anything, so nothing is taken down.
    stage.towpath("GC", "", "", &config).success();
    for wrong in [
        json!({}),
        json!("c0"),
        json!([{ "containerID": 5, "ifname": "eth0" }]),
        json!([{ "containerID": "c0" }]),
        json!([7]),
    ] {
        assert_eq!(gc(wrong, "cni.dev/valid-attachments").error().0, 7);
    }
    assert_eq!((stage.links().len(), stage.reserved().len()), (all, 5));

    gc(json!([{ "containerID": "c0", "ifname": "eth0" }]), "cni.dev/valid-attachments").success();
    assert_eq!(
        stage.reserved(),
        ["10.244.1.2", "fd00:10:0:1::2"],
        "the other pod's and the other interface's are free"
    );
    assert!(run_in(&pods[0], &["ip", "link", "show", "eth0"]).status.success());
    assert!(!run_in(&pods[1], &["ip", "link", "show", "eth0"]).status.success());
    gc(Value::Null, "cni.dev/valid-attachments").success();
    assert!(stage.reserved().is_empty());
    assert!(run_in(&pods[2], &["ip", "link", "show", "eth0"]).status.success(), "another network's");
    let mut links = stage.links();
    links.retain(|link| !link.starts_with("veth"));
    links.sort();
    assert_eq!(links, ["br2", "cni0", "theirs", "theirs2"]);
    assert!(stage.path("ledger/net1/garbage").exists());
}

#[test]
fn gc_goes_on_after_an_error_and_reports_it() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    stage.script(
        "stubborn",
        "cat >/dev/null; echo $CNI_COMMAND >>$0.log
        [ $CNI_COMMAND = GC ] && { echo '{\"code\": 120, \"msg\": \"not today\"}'; exit 1; }
        [ $CNI_COMMAND = STATUS ] && { echo '{\"code\": 50, \"msg\": \"asleep\"}'; exit 1; }
        echo '{\"cniVersion\": \"1.1.0\", \"ips\": [{\"address\": \"10.5.0.9/24\", \"gateway\": \"10.5.0.1\"}]}'",
    );
    let mut config = json!({ "cniVersion": "1.1.0", "name": "net1", "type": "bridge", "bridge": "br3", "isGateway": true,
                             "ipam": { "type": "stubborn" } });
    stage.by_name("bridge", "ADD", ("c1", &pod), &config).success();
    let (code, message) = stage.by_name("bridge", "STATUS", ("", ""), &config).error();
    assert!(code == 50 && message.contains("asleep"), "{message}");
    config["cni.dev/valid-attachments"] = json!([]);
    let (code, message) = stage.by_name("bridge", "GC", ("", ""), &config).error();
    assert!(code == 120 && message.contains("not today"), "{message}");
    assert_eq!(stage.links(), ["br3"], "its own part is done");
    let log = fs::read_to_string(stage.path("bin/stubborn.log")).unwrap();
    assert_eq!(log, "ADD\nSTATUS\nGC\n");
}

#[test]
fn status_is_good_exactly_when_an_add_would_work() {
    let mut stage = Stage::new();
    let (a, b) = (stage.pod("a"), stage.pod("b"));
    let config = |more: Value| stage.config("1.1.0", more);
    let (small, missing) = (json!({ "ipam": { "subnet": "10.1.0.0/30" } }), json!({ "ipam": { "type": "no-such" } }));
    for good in [json!({}), small.clone(), json!({ "bridge": "br9", "mtu": 1300 })] {
        stage.towpath("STATUS", "", "", &config(good)).success();
    }
    stage.towpath("ADD", "c1", &a, &config(small.clone())).success();
    stage.ip("link add dum0 type veth peer name dum1");
    for (bad, expected) in [
        (small, 50),
        (missing, 50),
        (json!({ "subnetFile": "/no/such" }), 50),
        (json!({ "bridge": "dum0" }), 51),
        (json!({ "mtu": "x" }), 7),
        (json!({ "ipam": { "subnet": "10.1.0.0/33" } }), 7),
    ] {
        let answer = stage.towpath("STATUS", "", "", &config(bad.clone()));
        assert_ne!(answer.code, Some(0), "{bad}");
        let (code, message) = answer.error();
        assert_eq!(code, expected, "{bad}: {message}");
        stage.towpath("ADD", "c2", &b, &config(bad)).error();
        stage.towpath("DEL", "c2", &b, &config(json!({}))).success();
    }
    assert_eq!(stage.towpath("STATUS", "", "", &stage.config("1.0.0", json!({}))).error().0, 1);
    let nameless = stage.towpath("STATUS", "", "", &config(json!({ "name": null }))).error();
    assert_eq!(nameless.0, 7);
}
