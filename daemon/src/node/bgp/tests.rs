//! What a node's speaker is to be, from configuration and leases.
#![allow(clippy::unwrap_used, clippy::panic)]

use backends::evpn::{RouteId, Station, StationKind};
use backends::on_link::Hop;
use backends::state::{Nexthop, RouteKey};
use backends::{LinkName, OnLink, Uplink};
use bgp::speaker::config::Reflects;
use ipam::table::Record;
use ipam::{Endpoint, LeaseKey, Mac, NodeName, Stack};

use super::*;
use crate::ask::fixture::{identity, uplink};
use crate::bgp::learnt::Learnt as Told;
use crate::netconf::Division;
use crate::store::Event;
use crate::trigger::Moment;

mod reflection;

fn lease(name: &str, number: u8) -> Lease {
    let data = BackendData::Bgp { asn: None, reflects_for: None };
    let v4 = Endpoint {
        subnet: format!("10.244.{number}.0/24").parse().unwrap(),
        public: [192, 0, 2, number].into(),
        data: data.clone(),
    };
    let v6 = Endpoint {
        subnet: format!("fd00:10:244:{number}::/64").parse().unwrap(),
        public: format!("2001:db8::{number}").parse().unwrap(),
        data,
    };
    let key = LeaseKey::new(&format!("10.244.{number}.0-24"));
    Lease { key, node: NodeName::new(name).unwrap(), since: 1, endpoints: Stack::Dual { v4, v6 }, rollout: None }
}

/// Node `a` with these keys of the backend, and other nodes.
fn node(fields: &str, others: &[Lease]) -> Node {
    let mut node = Node::new(identity(Division::Claimed), None, None);
    let text = format!(
        r#"{{"Network": "10.244.0.0/16", "EnableIPv6": true, "IPv6Network": "fd00:10:244::/48", "Backend": {{"Type": "bgp"{fields}}}}}"#
    );
    let own = lease("a", 1);
    let all = others.iter().chain([&own]).cloned().map(Record::Lease).collect();
    for event in [Event::Network(text), Event::Mine(own), Event::Snapshot(all)] {
        node.on_event(event, Moment::ZERO);
    }
    node.on_uplink(Ok(uplink()), Moment::ZERO);
    node.follow_reflection(Moment::ZERO);
    assert!(node.network_trouble.is_none(), "{:?}", node.network_trouble);
    node
}

fn names(wish: &Wish) -> Vec<&str> {
    wish.neighbours.keys().map(|name| name.0.as_str()).collect()
}

#[test]
fn a_mesh_is_all_other_nodes_and_one_more_changes_nothing_of_the_others() {
    let mut node = node("", &[lease("b", 2), lease("c", 3)]);
    let before = node.new_wish_of_speaker().flatten().unwrap();
    assert_eq!((before.asn, before.router_id, before.cluster), (64_512, [192, 0, 2, 1].into(), [192, 0, 2, 1].into()));
    assert_eq!(names(&before), ["b", "c"]);
    let announced: Vec<String> = before.announced.keys().map(ToString::to_string).collect();
    assert_eq!(announced, ["10.244.1.0/24", "fd00:10:244:1::/64"]);
    assert!(node.new_wish_of_speaker().is_none(), "nothing happened since");
    node.on_event(Event::Changed(vec![Record::Lease(lease("d", 4))]), Moment::ZERO);
    let after = node.new_wish_of_speaker().flatten().unwrap();
    assert_eq!(names(&after), ["b", "c", "d"]);
    let rest = Wish { neighbours: before.neighbours.clone(), ..after.clone() };
    assert_eq!(rest, before);
    assert!(before.neighbours.iter().all(|(name, neighbour)| after.neighbours[name] == *neighbour));
    node.on_event(Event::Changed(vec![Record::Gone(LeaseKey::new("10.244.4.0-24"))]), Moment::ZERO);
    assert_eq!(node.new_wish_of_speaker().flatten().unwrap(), before);
}

#[test]
fn a_node_of_another_as_is_met_as_one_and_one_of_another_backend_not_at_all() {
    let mut rack = lease("b", 2);
    rack.endpoints = rack
        .endpoints
        .map(|_, end| Endpoint { data: BackendData::Bgp { asn: Some(65001), reflects_for: None }, ..end.clone() });
    let mut other = lease("c", 3);
    other.endpoints =
        other.endpoints.map(|_, end| Endpoint { data: BackendData::Other("host-gw".into()), ..end.clone() });
    let wish = node("", &[rack, other]).speaker().unwrap();
    assert_eq!(names(&wish), ["b"]);
    assert_eq!(wish.neighbours.values().next().unwrap().session.remote_as, RemoteAs::Exactly(65001));
}

#[test]
fn peers_are_for_the_nodes_that_they_say_and_are_told_what_begins_here() {
    let peers = r#", "Announce": {"Prefixes": ["10.96.0.0/12"], "Aggregates": ["10.244.0.0/20"], "SuppressSpecifics": true}, "Peers": [
        {"Name": "tor", "Address": "192.0.2.254", "AS": 65000, "Import": "accept", "NodeSelector": ["a*"]},
        {"Name": "elsewhere", "Address": "192.0.2.253", "AS": 65000, "Import": "accept", "NodeSelector": ["b"]},
        {"Name": "self", "Address": "192.0.2.1", "AS": 65000, "Import": "accept"},
        {"Interface": "eth1", "AS": "external", "Import": "accept"},
        {"Range": "198.51.100.0/24", "AS": "internal"}]"#;
    let wish = node(peers, &[]).speaker().unwrap();
    assert_eq!(names(&wish), ["eth1", "tor"]);
    assert_eq!((wish.ranges.len(), wish.ranges[0].template.distance), (1, FAR));
    assert_eq!(wish.neighbours.values().map(|it| it.distance).collect::<Vec<_>>(), [Distance::Direct; 2]);
    assert_eq!(wish.neighbours.values().next().unwrap().session.families[0].next_hops, NextHops::AlsoIpv6);
    let announced: Vec<String> = wish.announced.keys().map(ToString::to_string).collect();
    assert_eq!(announced, ["10.96.0.0/12", "10.244.0.0/20", "10.244.1.0/24", "fd00:10:244:1::/64"]);
    let export = wish.neighbours.values().next().unwrap().session.export.clone().unwrap();
    assert_eq!(
        export.rules().iter().map(|rule| rule.name.as_str()).collect::<Vec<_>>(),
        ["aggregated", "of this node"]
    );
}

#[test]
fn what_is_learnt_touches_its_prefix_and_the_end_of_it_none() {
    let mut node = node("", &[]);
    let prefix: IpNet = "198.51.100.0/24".parse().unwrap();
    let hop = crate::bgp::learnt::NextHop { address: [192, 0, 2, 2].into(), link: None };
    assert!(!node.on_learnt(Told::Routes(vec![(prefix, Arc::new([hop].into()))])));
    assert_eq!(node.take_all_prefixes(), [prefix]);
    assert!(!node.on_learnt(Told::Routes(vec![(prefix, Arc::new([hop].into()))])));
    assert!(node.touched_prefixes.is_empty(), "nothing new");
    assert_eq!(node.learnt().unsettled.len(), 2);
    assert!(node.on_learnt(Told::Settled(WireFamily::IPV4)) && node.learnt().unsettled.len() == 1);
    assert!(!node.on_learnt(Told::Settled(WireFamily::IPV4)));
    assert!(node.touched_prefixes.is_empty(), "what was learnt is as it was");
    // Without BGP nothing is learnt.
    let without = r#"{"Network": "10.244.0.0/16", "Backend": {"Type": "host-gw"}}"#;
    node.on_event(Event::Network(without.to_owned()), Moment::ZERO);
    assert!(!node.learnt().is_empty(), "until it is known that nobody sends by it");
    let mut own = lease("a", 1);
    own.endpoints = own.endpoints.map(|_, end| Endpoint { data: BackendData::Other("host-gw".into()), ..end.clone() });
    node.on_event(Event::Mine(own), Moment::ZERO);
    node.on_devices(Default::default());
    node.follow_ways(Moment::ZERO);
    assert!(node.learnt().is_empty() && node.learnt().unsettled.is_empty());
    assert_eq!(node.new_wish_of_speaker(), Some(None));
}

#[test]
fn the_ends_of_the_overlay_are_told_and_one_familys_end_is_not_anothers() {
    let mut node = node(
        r#", "Encapsulation": "vxlan", "VNI": 100, "VXLANPort": 4789,
        "Peers": [{"Name": "leaf", "Address": "192.0.2.254", "AS": 65000, "Import": "accept", "Families": ["evpn"]}]"#,
        &[],
    );
    node.on_devices(Default::default());
    node.follow_ways(Moment::ZERO);
    let wish = node.speaker().unwrap();
    let inner: Vec<String> = wish.overlays.iter().filter_map(|it| it.inner).map(|it| it.to_string()).collect();
    assert_eq!(inner, ["10.244.1.0", "fd00:10:244:1::"]);
    let prefixes: Vec<String> =
        wish.overlays.iter().flat_map(|it| it.prefixes.keys()).map(ToString::to_string).collect();
    assert_eq!(prefixes, ["10.244.1.0/24", "fd00:10:244:1::/64"]);
    assert_eq!(wish.neighbours.values().next().unwrap().session.families[0].family, WireFamily::EVPN);
    // What a fabric says is kept until all of that is told, whatever others have told.
    let prefix: IpNet = "198.51.100.0/24".parse().unwrap();
    let id = RouteId { destination: Some(prefix), bytes: [1].into() };
    let station = Station { kind: StationKind::Router, mac: Mac([2, 0, 0, 0, 0, 9]), vtep: [192, 0, 2, 9].into() };
    assert!(!node.on_learnt(Told::Fabric(vec![(id.clone(), [station].into())])));
    assert_eq!(node.take_all_prefixes(), [prefix]);
    assert!(node.on_learnt(Told::Settled(WireFamily::IPV4)) && node.learnt().fabric_unsettled);
    assert!(node.on_learnt(Told::Settled(WireFamily::EVPN)) && !node.learnt().fabric_unsettled);
    assert_eq!(node.learnt().unsettled.len(), 1);
    node.touched_prefixes.clear();
    node.on_learnt(Told::Fabric(vec![(id, [].into())]));
    assert_eq!(node.take_all_prefixes(), [prefix]);
    assert!(node.learnt().is_empty());
}

#[test]
fn a_router_with_a_dead_path_is_left_at_once_by_all_that_have_another() {
    let mut node = node("", &[]);
    let [near, beside] = ["192.0.2.0/30", "192.0.2.0/24"].map(|text| RouteKey::new(text.parse().unwrap()));
    let eth1 = LinkName::new("eth1").unwrap();
    let on_link = OnLink::new([vec![(near, Hop::Direct), (beside, Hop::Beside(eth1))]]);
    node.on_uplink(Ok(Uplink { on_link, ..uplink() }), Moment::ZERO);
    let [one, other]: [IpNet; 2] = ["198.51.100.0/24", "203.0.113.0/24"].map(|text| text.parse().unwrap());
    let [dead, alive] = [2, 3].map(|number| NextHop { address: [192, 0, 2, number].into(), link: None });
    let both = Arc::new([dead, alive].into());
    node.on_learnt(Told::Routes(vec![(one, both), (other, Arc::new([dead].into()))]));
    node.touched_prefixes.clear();
    assert!(!node.on_learnt(Told::Lost(dead)));
    let far = NextHop { address: [192, 0, 2, 9].into(), link: None };
    node.on_learnt(Told::Lost(far));
    let link = uplink().link;
    let lost = [Nexthop { link, gateway: dead.address }, Nexthop { link: eth1, gateway: far.address }];
    assert_eq!(node.lost().collect::<Vec<_>>(), lost, "each on its own link");
    node.follow_lost();
    assert_eq!(node.take_all_prefixes(), [one], "the other has nowhere else to go");
    assert_eq!(node.lost().next(), None);
    // The speaker comes to the same.
    let rest = Arc::new([alive].into());
    node.on_learnt(Told::Routes(vec![(one, rest), (other, Arc::default())]));
    assert_eq!(node.take_all_prefixes(), [other]);
}

#[test]
fn a_node_of_ipv6_alone_has_an_identifier_that_follows_from_its_address() {
    let only_v6 = |text: &str| {
        identifier([text.parse::<IpAddr>().unwrap()].iter(), &{
            let mut own = lease("a", 1);
            own.endpoints =
                own.endpoints.filter_map(|family, end| (family == Family::V6).then(|| end.clone())).unwrap();
            own
        })
    };
    assert_ne!(only_v6("2001:db8::1"), only_v6("2001:db8::2"));
    assert_eq!(only_v6("2001:db8::1"), only_v6("2001:db8::1"));
}
