//! What the specification says to the letter: commands, versions, environment, errors.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod stage;

use serde_json::{Value, json};
use stage::{Stage, TOWPATH};

const VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

#[test]
fn version_answers_in_the_version_asked_for() {
    let stage = Stage::new();
    for (input, version) in [
        (r#"{"cniVersion": "0.3.1"}"#, "0.3.1"),
        (r#"{"cniVersion": "1.0.0"}"#, "1.0.0"),
        (r#"{"cniVersion": "0.2.0"}"#, "0.2.0"),
        ("", "1.1.0"),
        ("nonsense", "1.1.0"),
        (r#"{"cniVersion": 5}"#, "1.1.0"),
    ] {
        let said = stage.call(TOWPATH, &[("CNI_COMMAND", "VERSION")], input.as_bytes()).success();
        assert_eq!(said, json!({ "cniVersion": version, "supportedVersions": VERSIONS }), "{input}");
    }
}

#[test]
fn every_version_is_answered_in_its_own_shape_and_checked_by_its_own_rules() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    for version in VERSIONS {
        let config = stage.config(version, json!({}));
        let result = stage.towpath("ADD", "c1", &pod, &config).success();
        assert_eq!(result["cniVersion"], version);
        let family = if version < "1.0.0" { json!("4") } else { Value::Null };
        assert_eq!(result["ips"][0]["version"], family, "{version}");
        let mtu = if version == "1.1.0" { json!(1450) } else { Value::Null };
        assert_eq!(result["interfaces"][2]["mtu"], mtu, "{version}");
        let check = stage.towpath("CHECK", "c1", &pod, &stage.config(version, json!({ "prevResult": result })));
        if version < "0.4.0" {
            assert_eq!(check.error(), (1, format!("CNI {version} has no CHECK: it came with 0.4.0")));
        } else {
            assert_eq!(check.success(), Value::Null);
        }
        stage.towpath("DEL", "c1", &pod, &config).success();
    }
}

#[test]
fn every_error_has_the_code_of_the_specification_and_the_version_of_the_request() {
    let mut stage = Stage::new();
    let (pod, gone) = (stage.pod("a"), "/run/netns/was-never-there");
    let config = |more: Value| stage.config("0.4.0", more);
    for (code, config, netns, part) in [
        (1, config(json!({ "cniVersion": "9.0.0" })), pod.as_str(), "use one of 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0"),
        (
            2,
            config(json!({ "ingressRate": 8000, "ingressBurst": 8000, "shapedSubnets": ["10.0.0.0/8"] })),
            &pod,
            "`shapedSubnets` is",
        ),
        (103, config(json!({ "ipam": { "type": "none-such" } })), &pod, "there is no plugin `none-such` in CNI_PATH"),
        (
            7,
            config(json!({ "ipam": { "type": "../sh" } })),
            &pod,
            "`ipam.type` is \"../sh\": expected the name of a plugin",
        ),
        (3, config(json!({})), gone, "there is nothing at CNI_NETNS /run/netns/was-never-there"),
        (4, config(json!({})), "", "CNI_NETNS is not set"),
        (4, config(json!({})), "/etc/passwd", "CNI_NETNS: /etc/passwd is not a network namespace"),
        (4, config(json!({})), "/", "CNI_NETNS: / is not a network namespace"),
        (4, config(json!({})), &stage.netns(), "is the host's own network namespace"),
        (4, config(json!({})), "/proc/self/ns/net", "is the host's own network namespace"),
        (5, config(json!({ "ipam": { "resolvConf": "/no/such/file" } })), &pod, "cannot read /no/such/file"),
        (6, config(json!({ "cniVersion": 1.0 })), &pod, "`cniVersion` is 1.0, a text is expected"),
        (7, config(json!({ "name": null })), &pod, "`name` is missing"),
        (7, config(json!({ "name": "../x" })), &pod, "`name`: `../x` is not a name"),
        (7, config(json!({ "ipam": 5 })), &pod, "`ipam` is 5: expected an object"),
        (7, config(json!({ "ipam": { "subnet": "10.0.0.1/24" } })), &pod, "has host bits set: write 10.0.0.0/24"),
        (7, config(json!({ "prevResult": 7 })), &pod, "`prevResult` is 7: expected an object"),
        (11, config(json!({ "subnetFile": "/no/subnet.env" })), &pod, "there is no /no/subnet.env yet"),
    ] {
        let answer = stage.towpath("ADD", "c1", netns, &config);
        let version = answer.said["cniVersion"].clone();
        let (number, message) = answer.error();
        assert!(number == code && message.contains(part), "{code} {part:?}: {number} {message:?}");
        assert_eq!(version, if config["cniVersion"] == "0.4.0" { "0.4.0" } else { "1.1.0" });
    }
    assert!(stage.links().is_empty() && stage.reserved().is_empty(), "none of them made anything");
}

#[test]
fn a_used_up_range_is_an_error_of_our_own_that_names_it() {
    let mut stage = Stage::new();
    let (a, b) = (stage.pod("a"), stage.pod("b"));
    let config = stage.config("1.0.0", json!({ "ipam": { "subnet": "10.1.0.0/30" } }));
    stage.towpath("ADD", "c1", &a, &config).success();
    let (code, message) = stage.towpath("ADD", "c2", &b, &config).error();
    assert!(code == 101 && message.contains("no address is left in 10.1.0.1-10.1.0.2: all 1 are in use"), "{message}");
    stage.towpath("DEL", "c1", &a, &config).success();
    stage.towpath("ADD", "c2", &b, &config).success();
}

#[test]
fn wrong_variables_are_all_named() {
    let stage = Stage::new();
    let config = stage.config("1.0.0", json!({})).to_string();
    let error = |variables: &[(&str, &str)]| stage.call(TOWPATH, variables, config.as_bytes()).error();
    let (code, message) = error(&[]);
    assert!(code == 4 && message.starts_with("CNI_COMMAND is not set"), "{message}");
    let (code, message) = error(&[("CNI_COMMAND", "PING")]);
    assert!(code == 4 && message.starts_with("CNI_COMMAND is `PING`"), "{message}");
    for command in ["ADD", "DEL", "CHECK"] {
        let (code, message) = error(&[("CNI_COMMAND", command)]);
        let netns = "; CNI_NETNS is not set: expected the path of the pod's network namespace";
        let netns = if command == "DEL" { "" } else { netns };
        assert_eq!((code, message), (4, format!("CNI_CONTAINERID is not set; CNI_IFNAME is not set{netns}")));
    }
    for (id, ifname) in [("../x", "eth0"), ("c1", "a/b"), ("c1", ".."), ("c1", "0123456789abcdef"), ("c\n1", "eth0")] {
        let variables = [("CNI_COMMAND", "DEL"), ("CNI_CONTAINERID", id), ("CNI_IFNAME", ifname)];
        assert_eq!(error(&variables).0, 4, "{id:?} {ifname:?}");
    }
}

#[test]
fn status_is_good_exactly_when_add_knows_from_where_to_give_addresses() {
    let stage = Stage::new();
    let status = |version: &str, more: Value| stage.towpath("STATUS", "", "", &stage.config(version, more));
    assert_eq!(status("1.1.0", json!({})).success(), Value::Null);
    assert_eq!(status("1.0.0", json!({})).error().0, 1);
    let absent = json!({ "subnetFile": "/no/subnet.env" });
    let (code, message) = status("1.1.0", absent.clone()).error();
    assert!(code == 50 && message.contains("there is no /no/subnet.env yet"), "{message}");
    let mut written = absent;
    written["ipam"] = json!({ "subnet": "10.1.0.0/24" });
    status("1.1.0", written).success();
    stage.write_subnet_file("FLANNEL_MTU=1450\n");
    assert_eq!(status("1.1.0", json!({})).error().0, 50);
    assert_eq!(status("1.1.0", json!({ "mtu": "x" })).error().0, 7);
}

#[test]
fn behind_another_plugin_its_result_is_passed_on_with_ours_behind() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    let earlier = json!({ "cniVersion": "1.0.0", "interfaces": [{ "name": "lo", "sandbox": pod }],
                          "ips": [{ "address": "127.0.0.1/8", "interface": 0 }], "dns": { "domain": "a.example" } });
    let config = stage.config("1.0.0", json!({ "prevResult": earlier }));
    let result = stage.towpath("ADD", "c1", &pod, &config).success();
    assert_eq!(result["interfaces"].as_array().unwrap().len(), 4);
    assert_eq!((&result["ips"][0]["interface"], &result["ips"][1]["interface"]), (&json!(0), &json!(3)));
    assert_eq!(result["dns"]["domain"], "a.example");
    let check = stage.config("1.0.0", json!({ "prevResult": result }));
    let (code, message) = stage.towpath("CHECK", "c2", &pod, &check).error();
    assert!(code == 102 && message.contains("10.244.1.2 is not reserved for c2/eth0"), "{message}");
}
