//! The shapes of results, and reading them back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

fn outcome() -> Outcome {
    let interface = |name: &str, sandbox: Option<&str>| Interface {
        name: LinkName::new(name).unwrap(),
        mac: Mac([2, 0, 0, 0, 0, 1]),
        mtu: 1450,
        sandbox: sandbox.map(str::to_owned),
    };
    let route = |destination: &str, gateway: &str, priority| Route {
        destination: destination.parse().unwrap(),
        gateway: Some(gateway.parse().unwrap()),
        priority,
        table: None,
        scope: None,
        mtu: None,
        advmss: None,
    };
    Outcome {
        interfaces: vec![interface("cni0", None), interface("veth1", None), interface("eth0", Some("/run/netns/x"))],
        addresses: vec![
            ("10.1.0.2/24".parse().unwrap(), "10.1.0.1".parse().unwrap()),
            ("fd00::2/64".parse().unwrap(), "fd00::1".parse().unwrap()),
        ],
        routes: vec![route("0.0.0.0/0", "10.1.0.1", None), route("fd01::/16", "fd00::1", Some(7))],
        dns: Dns::default(),
    }
}

#[test]
fn each_version_has_its_own_shape() {
    for version in Version::ALL {
        let result = outcome().to_json(version, None);
        assert_eq!(result["cniVersion"], version.as_str());
        assert_eq!(result["ips"][1]["address"], "fd00::2/64");
        assert_eq!(result["ips"][1]["interface"], 2);
        let old = version < Version::V1_0_0;
        assert_eq!(result["ips"][0].get("version"), old.then(|| json!("4")).as_ref(), "{version}");
        assert_eq!(result["ips"][1].get("version"), old.then(|| json!("6")).as_ref(), "{version}");
        let new = version >= Version::V1_1_0;
        assert_eq!(result["interfaces"][2].get("mtu"), new.then(|| json!(1450)).as_ref(), "{version}");
        assert_eq!(result["routes"][1].get("priority"), new.then(|| json!(7)).as_ref(), "{version}");
        assert_eq!(result["interfaces"][2]["sandbox"], "/run/netns/x");
        assert_eq!(result["interfaces"][0].get("sandbox"), None);
    }
}

#[test]
fn what_an_earlier_plugin_made_stands_before_ours() {
    let earlier = json!({
        "cniVersion": "1.0.0", "interfaces": [{"name": "a"}, {"name": "b"}], "routes": [{"dst": "192.0.2.0/24"}],
        "ips": [{"address": "192.0.2.5/24", "interface": 1}], "dns": {"nameservers": ["192.0.2.1"]}
    });
    let result = outcome().to_json(Version::V1_0_0, earlier.as_object());
    assert_eq!(result["interfaces"].as_array().unwrap().len(), 5);
    assert_eq!((&result["ips"][0]["interface"], &result["ips"][1]["interface"]), (&json!(1), &json!(4)));
    assert_eq!(result["routes"][0], json!({"dst": "192.0.2.0/24"}));
    assert_eq!(result["dns"], json!({"nameservers": ["192.0.2.1"]}));
}

#[test]
fn what_add_answered_is_read_back_in_every_version() {
    for version in Version::ALL {
        let mut config = json!({ "cniVersion": version.as_str() });
        config["prevResult"] = outcome().to_json(version, None);
        let previous = Previous::of(&Document::parse(config.to_string().as_bytes()).unwrap()).unwrap();
        assert_eq!(previous.interfaces.len(), 3);
        assert_eq!(previous.addresses[0], ("10.1.0.2/24".parse().unwrap(), Some(2)));
        assert_eq!(previous.routes[1], ("fd01::/16".parse().unwrap(), Some("fd00::1".parse().unwrap())));
    }
}

#[test]
fn a_previous_result_that_none_gave_is_refused() {
    for text in [r#"{}"#, r#"{"prevResult": 5}"#, r#"{"prevResult": {"ips": [{"address": "x"}]}}"#] {
        let error = Previous::of(&Document::parse(text.as_bytes()).unwrap()).unwrap_err();
        assert!(
            error.code() == 7 && error.to_string().contains("prevResult") || error.to_string().contains("ips"),
            "{error}"
        );
    }
}
