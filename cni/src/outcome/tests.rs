//! The shapes of results, and reading them back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

fn outcome() -> Outcome {
    let interface = |name: &str, sandbox: &str| Interface {
        name: name.to_owned(),
        mac: "02:00:00:00:00:01".to_owned(),
        mtu: Some(1450),
        sandbox: sandbox.to_owned(),
        ..Interface::default()
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
    let address = |net: &str, gateway: &str| Address {
        net: net.parse().unwrap(),
        gateway: Some(gateway.parse().unwrap()),
        interface: Some(2),
    };
    Outcome {
        interfaces: vec![interface("cni0", ""), interface("veth1", ""), interface("eth0", "/run/netns/x")],
        addresses: vec![address("10.1.0.2/24", "10.1.0.1"), address("fd00::2/64", "fd00::1")],
        routes: vec![route("0.0.0.0/0", "10.1.0.1", None), route("fd01::/16", "fd00::1", Some(7))],
        dns: Dns::default(),
    }
}

fn previous(result: Value) -> Result<Option<Outcome>, Error> {
    Outcome::previous(&Document::parse(json!({ "prevResult": result }).to_string().as_bytes()).unwrap())
}

#[test]
fn each_version_has_its_own_shape() {
    for version in Version::ALL {
        let result = outcome().to_json(version);
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
        assert_eq!(result["dns"], json!({}));
    }
    assert_eq!(Outcome::default().to_json(Version::V1_0_0), json!({ "cniVersion": "1.0.0", "dns": {} }));
}

#[test]
fn what_add_answered_is_read_back_in_every_version_as_far_as_it_tells() {
    for version in Version::ALL {
        let read = previous(outcome().to_json(version)).unwrap().unwrap();
        let mut told = outcome();
        if version < Version::V1_1_0 {
            told.interfaces.iter_mut().for_each(|interface| interface.mtu = None);
            told.routes[1].priority = None;
        }
        assert_eq!(read, told, "{version}");
    }
    assert_eq!(previous(Value::Null).unwrap(), None);
}

#[test]
fn what_is_passed_on_keeps_everything_that_its_version_has() {
    let told = json!({
        "cniVersion": "1.1.0", "interfaces": [
            {"name": "a", "mac": "80:00:02:08:fe:80:00:00:00:00:00:00:00:02:c9:03:00:31:78:f2", "mtu": 2044, "pciID": "0000:01:02.0"},
            {"name": "b", "socketPath": "/run/x.sock", "sandbox": "vm-7"}],
        "ips": [{"address": "192.0.2.5/24", "interface": 1}, {"address": "2001:db8::5/64", "gateway": "2001:db8::1"}],
        "routes": [{"dst": "192.0.2.0/24", "mtu": 1400, "advmss": 1360, "priority": 5, "table": 100, "scope": 253}],
        "dns": {"nameservers": ["192.0.2.1"], "domain": "a.example", "search": ["b"], "options": ["ndots:2"]}
    });
    assert_eq!(previous(told.clone()).unwrap().unwrap().to_json(Version::V1_1_0), told);
}

#[test]
fn results_from_before_0_3_are_understood() {
    let old = json!({ "cniVersion": "0.2.0", "dns": {},
        "ip4": {"ip": "10.1.0.2/24", "gateway": "10.1.0.1", "routes": [{"dst": "0.0.0.0/0"}]}, "ip6": {"ip": "fd00::2/64"} });
    let new = json!({ "cniVersion": "1.0.0", "dns": {}, "routes": [{"dst": "0.0.0.0/0"}],
        "ips": [{"address": "10.1.0.2/24", "gateway": "10.1.0.1"}, {"address": "fd00::2/64"}] });
    assert_eq!(previous(old).unwrap().unwrap().to_json(Version::V1_0_0), new);
}

#[test]
fn a_previous_result_that_none_gave_is_refused() {
    for result in [
        json!(5),
        json!([]),
        json!({"ips": [{"address": "x"}]}),
        json!({"ips": [{}]}),
        json!({"ips": [{"address": "10.1.0.2/24", "interface": 0}]}),
        json!({"interfaces": {}}),
        json!({"interfaces": [{"name": 5}]}),
        json!({"routes": [{"gw": "10.0.0.1"}]}),
    ] {
        let error = previous(result.clone()).unwrap_err();
        assert!(error.code() == 7 && error.to_string().contains("prevResult"), "{result}: {error}");
    }
}
