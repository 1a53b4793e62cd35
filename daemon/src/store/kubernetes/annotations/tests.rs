//! Annotations as flannel writes and reads them, and hostile ones.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::net::Ipv6Addr;

use ipam::{Mac, Pool};
use proptest::prelude::*;

use super::*;
use crate::store::Published;

fn prefix() -> AnnotationPrefix {
    AnnotationPrefix::default()
}

fn node(cidrs: &[&str], annotations: &[(&str, &str)]) -> Object {
    let mut node = Object::default();
    (node.metadata.name, node.metadata.uid) = ("worker".into(), "u-1".into());
    node.metadata.creation_timestamp = Some("2026-11-21T12:00:00Z".into());
    node.spec.pod_cidrs = cidrs.iter().map(|text| (*text).into()).collect();
    node.metadata.annotations =
        annotations.iter().map(|(name, value)| (prefix().key(name).into(), (*value).into())).collect();
    node
}

const DATA: &str = r#"{"VNI":1,"VtepMAC":"02:00:00:00:00:01"}"#;
const FLANNEL: [(&str, &str); 4] =
    [("kube-subnet-manager", "true"), ("backend-type", "vxlan"), ("backend-data", DATA), ("public-ip", "192.0.2.1")];

fn with(more: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    let kept = FLANNEL.into_iter().filter(|(name, _)| !more.iter().any(|(other, _)| other == name));
    kept.chain(more.iter().copied()).collect()
}

fn record(node: &Object, prefix: &AnnotationPrefix, networks: Option<&Stack<IpNet>>) -> Option<Record> {
    records(node, prefix, networks).into_iter().next()
}

fn lease_of(node: &Object) -> Lease {
    match record(node, &prefix(), None) {
        Some(Record::Lease(lease)) => lease,
        other => panic!("{other:?}"),
    }
}

fn garbage_of(node: &Object) -> String {
    match record(node, &prefix(), None) {
        Some(Record::Garbage(_, reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_flannel_node_is_a_lease_by_its_uid() {
    let lease = lease_of(&node(&["10.244.1.0/24"], &FLANNEL));
    assert_eq!((lease.key.as_str(), lease.node.as_str(), lease.since), ("u-1", "worker", 1_795_262_400));
    let endpoint = lease.endpoints.get(Family::V4).unwrap();
    assert_eq!(endpoint.data, BackendData::Vxlan { vni: 1, mac: Mac([2, 0, 0, 0, 0, 1]) });
    assert_eq!(
        (endpoint.subnet.to_string(), endpoint.public.to_string()),
        ("10.244.1.0/24".into(), "192.0.2.1".into())
    );
}

#[test]
fn who_does_not_say_that_he_belongs_here_does_not() {
    assert_eq!(record(&node(&["10.244.1.0/24"], &[]), &prefix(), None), None);
    for value in ["false", "", "True"] {
        assert_eq!(record(&node(&["10.244.1.0/24"], &[("kube-subnet-manager", value)]), &prefix(), None), None);
    }
    let other = crate::config::kube::AnnotationPrefix::default();
    assert!(record(&node(&["10.244.1.0/24"], &FLANNEL), &other, None).is_some());
}

#[test]
fn one_family_that_is_not_usable_does_not_take_the_other_away() {
    let dual = ["10.244.1.0/24", "fd00::/64"];
    let v6 = [("backend-v6-data", DATA), ("public-ipv6", "2001:db8::1")];
    assert_eq!(lease_of(&node(&dual, &with(&v6))).subnets().iter().count(), 2);
    for (name, value) in [
        ("public-ipv6", ""),
        ("public-ipv6", "192.0.2.1"),
        ("public-ipv6", "::ffff:192.0.2.1"),
        ("public-ipv6", "fe80::1"),
        ("public-ipv6", "fd00::7"),
        ("backend-v6-data", "null"),
        ("backend-v6-data", "{"),
        ("backend-v6-data", r#"{"VNI":16777216,"VtepMAC":"02:00:00:00:00:01"}"#),
        ("backend-v6-data", r#"{"VNI":1,"VtepMAC":"01:00:00:00:00:01"}"#),
    ] {
        let broken: Vec<_> = with(&v6).into_iter().map(|(k, v)| if k == name { (k, value) } else { (k, v) }).collect();
        let lease = lease_of(&node(&dual, &broken));
        assert_eq!(lease.subnets(), Stack::V4("10.244.1.0/24".parse().unwrap()), "{name}={value}");
    }
    let only_v6 = lease_of(&node(&dual, &with(&[v6[0], v6[1], ("public-ip", "0.0.0.0"), ("backend-data", "null")])));
    assert_eq!(only_v6.subnets(), Stack::V6("fd00::/64".parse().unwrap()));
}

#[test]
fn other_backends_have_null_or_nothing_for_data() {
    for (kind, data) in [("host-gw", "null"), ("host-gw", ""), ("", "null"), ("ipip", "null")] {
        let lease = lease_of(&node(&["10.244.1.0/24"], &with(&[("backend-type", kind), ("backend-data", data)])));
        assert_eq!(lease.endpoints.get(Family::V4).unwrap().data, BackendData::Other(kind.into()));
    }
    let wireguard = r#"{"PublicKey":"CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=","Port":51820}"#;
    let annotations = with(&[("backend-type", "wireguard"), ("backend-data", wireguard)]);
    let lease = lease_of(&node(&["10.244.1.0/24"], &annotations));
    let data = &lease.endpoints.get(Family::V4).unwrap().data;
    assert!(matches!(data, BackendData::WireGuard { port: Some(51820), .. }));
    assert_eq!(super::written(data), wireguard, "as flannel writes it");
    for (data, output) in [(r#""a\n\"b\"""#, "a\n\"b\""), ("null", ""), ("", "")] {
        let said = [("backend-type", "extension"), ("backend-data", data)];
        let lease = lease_of(&node(&["10.244.1.0/24"], &with(&said)));
        let expected = BackendData::Extension { output: output.into() };
        assert_eq!(lease.endpoints.get(Family::V4).unwrap().data, expected);
        assert_eq!(super::written(&expected), if output.is_empty() { "null" } else { data });
    }
    let extra = r#"{"VNI":1,"Generation":7,"VtepMAC":"02:00:00:00:00:01","Unknown":[{}]}"#;
    lease_of(&node(&["10.244.1.0/24"], &with(&[("backend-data", extra)])));
}

#[test]
fn what_is_wrong_is_named_with_the_node() {
    let long: &'static str = Box::leak(format!(r#"{{"VNI":1,"x":"{}"}}"#, "x".repeat(MAX_BYTES)).into_boxed_str());
    for (cidrs, more, reason) in [
        (&[][..], ("public-ip", "192.0.2.1"), "no podCIDR"),
        (&["nonsense"], ("public-ip", "192.0.2.1"), "`nonsense` is not a subnet"),
        (&["10.244.1.0/24"], ("public-ip", "0.0.0.0"), "0.0.0.0"),
        (&["10.244.1.0/24"], ("public-ip", "10.244.1.9"), "inside its own pod subnet"),
        (&["10.244.1.0/24"], ("public-ip", "nobody"), "public-ip"),
        (&["10.244.1.0/24"], ("backend-data", "null"), "VNI"),
        (&["10.244.1.0/24"], ("backend-data", long), "bytes long"),
    ] {
        let said = garbage_of(&node(cidrs, &with(&[more])));
        assert!(said.contains(reason) && said.starts_with("node worker"), "{said}");
    }
    let networks = Stack::V4("10.244.0.0/16".parse().unwrap());
    let outside = record(&node(&["10.0.0.0/8"], &FLANNEL), &prefix(), Some(&networks));
    assert!(matches!(outside, Some(Record::Garbage(_, reason)) if reason.contains("10.244.0.0/16")));
}

fn claim() -> Claim {
    let net = |text: &str| text.parse().unwrap();
    let data = BackendData::Vxlan { vni: 1, mac: Mac([2, 0, 0, 0, 0, 1]) };
    let pool =
        Pool { network: net("10.244.0.0/16"), length: 24, first: net("10.244.1.0/24"), last: net("10.244.255.0/24") };
    Claim {
        node: NodeName::new("worker").unwrap(),
        pools: Stack::V4(pool),
        published: Stack::V4(Published { public: "192.0.2.1".parse().unwrap(), data }),
        previous: None,
        rollout: None,
    }
}

#[test]
fn a_claim_is_written_byte_for_byte_as_flannel_writes_it() {
    let bare = node(&["10.244.1.0/24"], &[]);
    let wanted = desired(&claim(), &bare, &prefix());
    for (name, value) in FLANNEL {
        assert_eq!(wanted[&prefix().key(name)].as_deref(), Some(value), "{name}");
    }
    let same = node(&["10.244.1.0/24"], &FLANNEL);
    assert_eq!(missing(desired(&claim(), &same, &prefix()), &same), Annotations::new());
    assert_eq!(lease_of(&same), own(&claim(), &same, (subnets(&same).unwrap().unwrap(), &prefix())).unwrap());

    // An earlier life in two families leaves nothing behind.
    let before = node(&["10.244.1.0/24"], &with(&[("backend-v6-data", DATA), ("public-ipv6", "2001:db8::1")]));
    let removed = missing(desired(&claim(), &before, &prefix()), &before);
    assert_eq!(removed.values().collect::<Vec<_>>(), [&None, &None]);
    let all = missing(withdrawn(&prefix()), &before);
    assert_eq!(all.len(), 6);
}

#[test]
fn what_is_ours_stands_under_our_own_name_and_is_read_back() {
    let carrier = |text| ipam::Carrier::new(text).unwrap();
    let rollout = ipam::Rollout {
        target: carrier("host-gw"),
        ready: false,
        ..ipam::Rollout::settled(carrier("vxlan vni=1 port=8472"), 7)
    };
    let claim = Claim { rollout: Some(rollout), ..claim() };
    let mut there = node(&["10.244.1.0/24"], &FLANNEL);
    let (key, value) = missing(desired(&claim, &there, &prefix()), &there).pop_first().unwrap();
    let json = r#"{"Carrier":"vxlan vni=1 port=8472","Clock":7,"Ready":false,"Target":"host-gw"}"#;
    assert_eq!((key.as_str(), value.as_deref()), ("towpath.network/rollout", Some(json)));
    there.metadata.annotations.push((key.into(), json.into()));
    assert_eq!(lease_of(&there), own(&claim, &there, (subnets(&there).unwrap().unwrap(), &prefix())).unwrap());
    assert!(withdrawn(&prefix()).contains_key("towpath.network/rollout"));
}

#[test]
fn an_overwrite_changes_what_is_published_and_nonsense_does_not() {
    for (text, published) in
        [("203.0.113.7", "203.0.113.7"), ("", "192.0.2.1"), ("nobody", "192.0.2.1"), ("::1", "192.0.2.1")]
    {
        let node = node(&["10.244.1.0/24"], &[("public-ip-overwrite", text), ("public-ip", "192.0.2.200")]);
        assert_eq!(
            desired(&claim(), &node, &prefix())[&prefix().key("public-ip")].as_deref(),
            Some(published),
            "{text}"
        );
    }
}

#[test]
fn instructions_are_read_per_family() {
    let said = node(&[], &[("node-public-ip", "192.0.2.9"), ("node-public-ipv6", "2001:db8::9")]);
    let v6: IpAddr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9).into();
    assert_eq!(instructions(&said, &prefix()).public, Some(Stack::Dual { v4: "192.0.2.9".parse().unwrap(), v6 }));
    let wrong = node(&[], &[("node-public-ip", "2001:db8::9"), ("node-public-ipv6", "x")]);
    assert_eq!(instructions(&wrong, &prefix()), Instructions::default());
}

proptest! {
    /// Whatever stands there: no panic, a garbage reason stays short, and what is a lease can be sent to.
    #[test]
    fn hostile_nodes_are_leases_garbage_or_nothing(
        name in "[a-z.\\-_ \u{0}é]{0,300}",
        cidrs in prop::collection::vec(prop_oneof![
            Just("10.244.1.0/24".to_owned()), Just("fd00::/64".to_owned()), Just("0.0.0.0/0".to_owned()),
            Just("::ffff:10.0.0.0/104".to_owned()), "[0-9a-f.:/]{0,40}", ".{0,200}",
        ], 0..10),
        values in prop::collection::vec((0_usize..NAMES.len(), prop_oneof![
            Just("true".to_owned()), Just("vxlan".to_owned()), Just(DATA.to_owned()), Just("192.0.2.1".to_owned()),
            Just("2001:db8::1".to_owned()), Just("null".to_owned()), ".{0,300}",
        ]), 0..12),
    ) {
        let mut hostile = node(&[], &[("kube-subnet-manager", "true")]);
        hostile.metadata.name = name.into();
        hostile.spec.pod_cidrs = cidrs.into_iter().map(Into::into).collect();
        hostile.metadata.annotations.extend(values.into_iter().map(|(at, value)| (prefix().key(NAMES[at]).into(), value.into())));
        let networks = Stack::V4("10.244.0.0/16".parse().unwrap());
        match record(&hostile, &prefix(), Some(&networks)) {
            Some(Record::Lease(lease)) => {
                for (family, endpoint) in lease.endpoints.iter() {
                    prop_assert_eq!(Family::of(endpoint.public), family);
                    prop_assert!(!endpoint.public.is_unspecified() && !endpoint.public.is_loopback());
                    prop_assert!(family == Family::V6 || networks.values().any(|net| net.contains(&endpoint.subnet)));
                }
            }
            Some(Record::Garbage(_, reason)) => prop_assert!(reason.chars().count() < 2000, "{}", reason.len()),
            Some(Record::Gone(_)) => prop_assert!(false),
            None => {}
        }
        desired(&claim(), &hostile, &prefix());
        instructions(&hostile, &prefix());
    }
}
