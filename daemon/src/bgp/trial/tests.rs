//! What people describe, and what they are answered.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::num::NonZeroU8;
use std::sync::Arc;

use bgp::speaker::PeerConfig;

use super::*;
use crate::bgp::wish::{Distance, Necessity, Origin};
use crate::netconf::{self, Division};

const FILE: &str = r#"{"Network": "10.0.0.0/8", "Policies": {"from-fabric": [
    {"Name": "six", "If": {"Families": "ipv6"}, "Then": "reject"},
    {"Name": "ours", "Unless": {"PathFirst": 64601}, "Then": "reject"},
    {"Name": "mark", "Add": {"Communities": "64512:9"}, "Then": "next"},
    {"Name": "services", "If": {"Prefixes": "198.51.100.0/22 le 24"}, "Set": {"LocalPref": 200}, "Prepend": 1, "Then": "accept"}
]}}"#;

fn text(prefix: &str) -> RouteText {
    RouteText {
        prefix: prefix.into(),
        as_path: "64601 65010".into(),
        from: Some("192.0.2.9".parse().unwrap()),
        ..RouteText::default()
    }
}

fn policy() -> Arc<Policy> {
    netconf::read(FILE, Division::Claimed).unwrap().policies.get("from-fabric").unwrap()
}

#[test]
fn a_route_is_told_what_it_meets_rule_by_rule() {
    let view = TrialView::new("from-fabric".into(), &policy(), &text("198.51.100.0/24").route().unwrap(), 64601);
    let expected = "\
route   198.51.100.0/24 from 192.0.2.9, path 64601 65010, next hop 192.0.2.9, origin igp
policy  from-fabric
  rule `six`: passed over, because it is not so: family ipv6
  rule `ours`: passed over, because it is so: path that begins with 64601
  rule `mark`: holds, and the next is asked
      add community 64512:9
  rule `services`: accept
      set local preference 200
      prepend the sender's AS once
accepted, as: path 64601 64601 65010, next hop 192.0.2.9, origin igp, local preference 200, communities 64512:9
";
    assert_eq!(view.to_string(), expected);
    let rejected = TrialView::new("from-fabric".into(), &policy(), &text("203.0.113.0/24").route().unwrap(), 64601);
    assert!(!rejected.accepted);
    assert!(rejected.to_string().ends_with("  no rule decides: reject\nrejected\n"), "{rejected}");
}

#[test]
fn what_is_not_understood_is_named_by_its_flag() {
    for (route, said) in [
        (text("ten"), "--prefix ten: it is no prefix"),
        (RouteText { as_path: "64601 x".into(), ..text("10.0.0.0/8") }, "--as-path: `64601 x` is no AS path"),
        (RouteText { as_path: "0".into(), ..text("10.0.0.0/8") }, "--as-path: `0` is no AS path"),
        (RouteText { origin: Some("bgp".into()), ..text("10.0.0.0/8") }, "--origin: an origin is igp"),
        (RouteText { communities: vec!["1".into()], ..text("10.0.0.0/8") }, "--community: `1` is no community"),
        (RouteText { large_communities: vec!["1".into()], ..text("10.0.0.0/8") }, "--large-community: `1`"),
        (RouteText { extended_communities: vec!["1".into()], ..text("10.0.0.0/8") }, "--extended-community: `1`"),
    ] {
        let error = route.route().unwrap_err();
        assert!(error.starts_with(said), "{error}");
    }
}

fn neighbour(remote_as: RemoteAs, import: Option<Arc<Policy>>) -> Neighbour {
    let address = "192.0.2.9".parse().unwrap();
    Neighbour {
        place: Place::Address { remote: address, local: None },
        port: 179,
        session: PeerConfig { import, ..PeerConfig::new(address, remote_as) },
        authentication: None,
        distance: Distance::Multihop(NonZeroU8::MIN),
        liveness: None,
        necessity: Necessity::Optional,
        origin: Origin::Configured,
    }
}

#[test]
fn a_neighbour_without_a_policy_is_answered_with_the_rfc() {
    let trial =
        |way| Trial { neighbour: NeighbourName("tor1".into()), way, route: text("198.51.100.0/24").route().unwrap() };
    let external = neighbour(RemoteAs::Exactly(64601), None);
    for way in [Way::Import, Way::Export] {
        let view = trial(way).with(&external, 64512);
        assert!(!view.accepted && view.policy.contains("RFC 8212"), "{view}");
    }
    let internal = neighbour(RemoteAs::Internal, None);
    assert!(trial(Way::Import).with(&internal, 64512).accepted);
    let said = trial(Way::Import).with(&neighbour(RemoteAs::External, Some(policy())), 64512);
    assert!(said.accepted, "{said}");
}

#[test]
fn our_own_as_in_the_path_is_refused_before_policy_is_asked() {
    let route = RouteText { as_path: "64601 64512".into(), ..text("198.51.100.0/24") }.route().unwrap();
    let trial = Trial { neighbour: NeighbourName("tor1".into()), way: Way::Import, route };
    let view = trial.with(&neighbour(RemoteAs::Exactly(64601), Some(Arc::new(Policy::accept()))), 64512);
    assert!(!view.accepted);
    assert!(view.to_string().contains("our AS 64512 is in its path"), "{view}");
}
