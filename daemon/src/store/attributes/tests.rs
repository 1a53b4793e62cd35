//! Flannel's JSON, byte for byte, and what is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use ipam::Pool;

use super::*;

fn vxlan(vni: u32, mac: &str) -> BackendData {
    BackendData::Vxlan { vni, mac: mac.parse().unwrap() }
}

fn pool(network: &str, length: u8) -> Pool {
    let network: IpNet = network.parse().unwrap();
    let first = IpNet::new(network.addr(), length).unwrap();
    Pool { network, length, first, last: first }
}

fn claim(published: Stack<Published>) -> Claim {
    let pools = published.map(|family, _| match family {
        Family::V4 => pool("10.244.0.0/16", 24),
        Family::V6 => pool("fd00:1::/48", 64),
    });
    Claim { node: NodeName::new("worker-1").unwrap(), pools, published, previous: None, rollout: None }
}

fn four() -> Published {
    Published { public: "192.0.2.1".parse().unwrap(), data: vxlan(1, "02:00:00:00:00:01") }
}

fn six() -> Published {
    Published { public: "2001:db8::1".parse().unwrap(), data: vxlan(1, "02:00:00:00:00:06") }
}

fn on(subnets: &str, json: &str) -> Result<Stack<Endpoint>, String> {
    Attributes::parse(json.as_bytes())?.endpoints(&super::super::subnet_key::parse(subnets).unwrap())
}

#[test]
fn one_family_is_written_as_flannel_writes_it() {
    let json = serde_json::to_string(&Attributes::of(&claim(Stack::V4(four())))).unwrap();
    let flannel = r#"{"PublicIP":"192.0.2.1","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:01"}"#;
    assert_eq!(json, format!(r#"{flannel},"Node":"worker-1"}}"#));
}

#[test]
fn both_families_are_written_as_flannel_writes_them() {
    let json = serde_json::to_string(&Attributes::of(&claim(Stack::Dual { v4: four(), v6: six() }))).unwrap();
    let data = r#""BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:01"},"BackendV6Data":{"VNI":1,"VtepMAC":"02:00:00:00:00:06"}"#;
    let flannel = format!(r#"{{"PublicIP":"192.0.2.1","PublicIPv6":"2001:db8::1","BackendType":"vxlan",{data}"#);
    assert_eq!(json, format!(r#"{flannel},"Node":"worker-1"}}"#));
}

#[test]
fn wireguard_is_written_and_read_with_and_without_a_port() {
    let key = "CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=";
    let data = |port| BackendData::WireGuard { key: Box::new(key.parse().unwrap()), port };
    let json = |data: &str| format!(r#"{{"PublicIP":"192.0.2.1","BackendType":"wireguard","BackendData":{data}}}"#);
    for (text, expected) in [
        (format!(r#"{{"PublicKey":"{key}","Port":51820}}"#), data(Some(51820))),
        (format!(r#"{{"PublicKey":"{key}"}}"#), data(None)),
        (format!(r#"{{"PublicKey":"{key}","Port":0,"More":1}}"#), data(None)),
    ] {
        let endpoints = on("10.244.1.0-24", &json(&text)).unwrap();
        assert_eq!(endpoints.get(Family::V4).unwrap().data, expected, "{text}");
    }
    let published = Published { public: "192.0.2.1".parse().unwrap(), data: data(Some(51820)) };
    let written = serde_json::to_string(&Attributes::of(&claim(Stack::V4(published.clone())))).unwrap();
    let read = on("10.244.1.0-24", &written).unwrap();
    assert!(published.equals(read.get(Family::V4).unwrap()), "{written}");
    for (text, reason) in [
        ("{}", "PublicKey is missing"),
        (r#"{"PublicKey":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}"#, "small order"),
        (r#"{"PublicKey":"AAAA"}"#, "44 characters"),
        (&format!(r#"{{"PublicKey":"{key}","Port":65536}}"#), "up to 65535"),
    ] {
        assert!(on("10.244.1.0-24", &json(text)).unwrap_err().contains(reason), "{text}");
    }
}

#[test]
fn a_backend_without_data_leaves_it_out() {
    let published = Published { data: BackendData::Other("host-gw".into()), ..four() };
    let json = serde_json::to_string(&Attributes::of(&claim(Stack::V4(published)))).unwrap();
    assert_eq!(json, r#"{"PublicIP":"192.0.2.1","PublicIPv6":null,"BackendType":"host-gw","Node":"worker-1"}"#);
}

#[test]
fn what_an_extensions_command_printed_is_a_text_and_comes_back() {
    for (output, member) in [("a \"b\"\nc", r#","BackendData":"a \"b\"\nc""#), ("", "")] {
        let published = Published { data: BackendData::Extension { output: output.into() }, ..four() };
        let json = serde_json::to_string(&Attributes::of(&claim(Stack::V4(published.clone())))).unwrap();
        let flannel = format!(r#"{{"PublicIP":"192.0.2.1","PublicIPv6":null,"BackendType":"extension"{member}"#);
        assert_eq!(json, format!(r#"{flannel},"Node":"worker-1"}}"#));
        assert!(published.equals(on("10.244.3.0-24", &json).unwrap().get(Family::V4).unwrap()));
    }
}

#[test]
fn what_is_written_is_read_back() {
    let both = Stack::Dual { v4: four(), v6: six() };
    let json = serde_json::to_string(&Attributes::of(&claim(both.clone()))).unwrap();
    let endpoints = on("10.244.3.0-24&fd00:1:0:3::-64", &json).unwrap();
    for (family, endpoint) in endpoints.iter() {
        assert!(both.get(family).unwrap().equals(endpoint));
    }
}

#[test]
fn unknown_members_and_null_data_of_other_backends_are_no_harm() {
    let json = r#"{"PublicIP":"192.0.2.1","PublicIPv6":null,"BackendType":"ipip","BackendData":null,"More":[1]}"#;
    let endpoints = on("10.244.3.0-24", json).unwrap();
    assert_eq!(endpoints.get(Family::V4).unwrap().data, BackendData::Other("ipip".into()));
    assert_eq!(Attributes::parse(json.as_bytes()).unwrap().publisher().unwrap().as_str(), "192.0.2.1");
}

#[test]
fn a_family_without_an_address_does_not_take_the_other_with_it() {
    let json =
        r#"{"PublicIP":"192.0.2.1","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:01"}}"#;
    assert!(matches!(on("10.244.3.0-24&fd00:1:0:3::-64", json), Ok(Stack::V4(_))));
}

#[test]
fn what_could_not_work_is_refused_with_the_reason() {
    let lease =
        |public: &str, data: &str| format!(r#"{{"PublicIP":"{public}","BackendType":"vxlan","BackendData":{data}}}"#);
    let good = r#"{"VNI":1,"VtepMAC":"02:00:00:00:00:01"}"#;
    let cases = [
        ("".to_owned(), "not flannel's JSON"),
        ("3".to_owned(), "not flannel's JSON"),
        (lease("192.0.2", good), "not flannel's JSON"),
        ("{}".to_owned(), "no public address"),
        (lease("0.0.0.0", good), "cannot be sent to"),
        (lease("127.0.0.1", good), "cannot be sent to"),
        (lease("224.0.0.1", good), "cannot be sent to"),
        (lease("255.255.255.255", good), "cannot be sent to"),
        (lease("10.244.3.9", good), "inside its own pod subnet"),
        (lease("192.0.2.1", "null"), "VNI"),
        (lease("192.0.2.1", r#"{"VNI":16777216,"VtepMAC":"02:00:00:00:00:01"}"#), "VNI"),
        (lease("192.0.2.1", r#"{"VNI":-1,"VtepMAC":"02:00:00:00:00:01"}"#), "VNI"),
        (lease("192.0.2.1", r#"{"VNI":1}"#), "VtepMAC is missing"),
        (lease("192.0.2.1", r#"{"VNI":1,"VtepMAC":"x"}"#), "VtepMAC is wrong"),
        (lease("192.0.2.1", r#"{"VNI":1,"VtepMAC":"03:00:00:00:00:01"}"#), "not a unicast"),
        (lease("192.0.2.1", r#"{"VNI":1,"VtepMAC":"00:00:00:00:00:00"}"#), "not a unicast"),
        (format!("\"{}\"", "x".repeat(MAX_BYTES)), "bytes long"),
    ];
    for (json, reason) in cases {
        let error = on("10.244.3.0-24", &json).unwrap_err();
        assert!(error.contains(reason) && error.len() < 400, "{error}");
    }
}

#[test]
fn subnets_must_lie_inside_the_network_and_be_smaller() {
    let network: Stack<IpNet> = Stack::V4("10.244.0.0/16".parse().unwrap());
    let fits = |key: &str| fit(&super::super::subnet_key::parse(key).unwrap(), Some(&network)).is_ok();
    assert!(fits("10.244.3.0-24") && fits("10.244.3.0-24&fd00::-64"));
    assert!(!fits("10.244.0.0-16") && !fits("10.0.0.0-8") && !fits("192.168.3.0-24") && !fits("0.0.0.0-0"));
}

#[test]
fn what_a_speaker_is_to_others_is_written_in_numbers_and_read_back() {
    let data = |asn, cluster: Option<[u8; 4]>| BackendData::Bgp { asn, reflects_for: cluster.map(Ipv4Addr::from) };
    for (data, json) in [
        (data(None, None), None),
        (data(Some(64601), None), Some(r#"{"AS":64601}"#)),
        (data(None, Some([0, 0, 1, 1])), Some(r#"{"RouteReflector":257}"#)),
        (data(Some(64601), Some([10, 0, 0, 1])), Some(r#"{"AS":64601,"RouteReflector":167772161}"#)),
    ] {
        assert_eq!(written(&data).map(|data| data.to_string()).as_deref(), json);
        let value = json.map(|json| serde_json::from_str(json).unwrap());
        assert_eq!(read("bgp", value.as_ref()), Ok(data));
    }
    for wrong in [r#"{"AS":0}"#, r#"{"RouteReflector":"0.0.0.1"}"#, r#"{"RouteReflector":4294967296}"#] {
        let refused = read("bgp", Some(&serde_json::from_str(wrong).unwrap())).unwrap_err();
        assert!(refused.ends_with("is not a number from 1 to 4294967295"), "{refused}");
    }
}
