//! Which notices agree with a desired state that has one object of each kind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use std::net::IpAddr;

use backends::state::{LinkKind, Via, Vxlan};
use ipam::Mac;

use super::*;

fn name(text: &str) -> LinkName {
    LinkName::new(text).unwrap()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn link() -> Link {
    let (underlay, local) = (Some(name("eth0")), address("192.0.2.1"));
    let kind = LinkKind::Vxlan(Vxlan { vni: 1, port: 8472, underlay, local, learning: false, gbp: false });
    Link { kind, mac: Mac([2, 0, 0, 0, 0, 1]), mtu: 1450, up: true, link_local: false, tag: Tag::Ours }
}

fn nexthop(link: &str, gateway: &str) -> Nexthop {
    Nexthop { link: name(link), gateway: address(gateway) }
}

fn through(nexthop: Nexthop) -> Option<Route> {
    Some(Route { via: Via::Object(nexthop), tag: Tag::Ours })
}

fn neighbour_key(link: &str, text: &str) -> NeighbourKey {
    NeighbourKey { link: name(link), address: address(text) }
}

fn fdb_key(link: &str, last: u8) -> FdbKey {
    FdbKey { link: name(link), mac: Mac([2, 0, 0, 0, 0, last]) }
}

fn neighbour(last: u8) -> Option<Neighbour> {
    Some(Neighbour { mac: Mac([2, 0, 0, 0, 0, last]), tag: Tag::Ours })
}

fn fdb(text: &str) -> Option<Fdb> {
    Some(Fdb { remote: address(text), tag: Tag::Ours })
}

/// One of each, on `flannel.1`.
fn desired() -> KernelState {
    let peer = nexthop("flannel.1", "10.244.2.0");
    let mut state = KernelState { ruleset: Some(Ruleset::default()), ..KernelState::default() };
    state.links.insert(name("flannel.1"), link());
    state.addresses.insert((name("flannel.1"), net("10.244.1.0/32")), Tag::Ours);
    state.nexthops.insert(peer, Tag::Ours);
    state.routes.insert(RouteKey::new(net("10.244.2.0/24")), through(peer).unwrap());
    state.neighbours.insert(neighbour_key("flannel.1", "10.244.2.0"), neighbour(2).unwrap());
    state.fdb.insert(fdb_key("flannel.1", 2), fdb("192.0.2.2").unwrap());
    state.sysctls.insert("net/ipv4/ip_forward".to_owned(), "1".to_owned());
    state
}

fn link_notice(of: &str, now: Option<Link>) -> Notice {
    Notice::Link { name: name(of), now: now.map(Box::new) }
}

fn route_notice(to: &str, now: Option<Route>) -> Notice {
    Notice::Route { key: RouteKey::new(net(to)), now }
}

fn address_notice(link: &str, of: &str, now: Option<Tag>) -> Notice {
    Notice::Address { link: name(link), net: net(of), now }
}

fn sysctl_notice(path: &str, now: Option<&str>) -> Notice {
    Notice::Sysctl { path: path.to_owned(), now: now.map(str::to_owned) }
}

fn check(table: &[(Notice, bool)]) {
    for (notice, agrees) in table {
        assert_eq!(notice.agrees(&desired()), *agrees, "{notice:?}");
    }
}

#[test]
fn links_and_addresses() {
    let other = Link { kind: LinkKind::Other("veth".to_owned()), tag: Tag::Adopted, ..link() };
    check(&[
        (link_notice("flannel.1", Some(link())), true),
        (link_notice("flannel.1", Some(Link { up: false, ..link() })), false),
        (link_notice("flannel.1", Some(Link { mtu: 1400, ..link() })), false),
        (link_notice("flannel.1", Some(Link { tag: Tag::Adopted, ..link() })), false),
        (link_notice("flannel.1", None), false),
        // A pod's link, the uplink: not our business. A link with our alias that is not desired is.
        (link_notice("veth7", Some(other)), true),
        (link_notice("eth0", None), true),
        (link_notice("flannel.9", Some(link())), false),
        (address_notice("flannel.1", "10.244.1.0/32", Some(Tag::Ours)), true),
        (address_notice("flannel.1", "10.244.1.0/32", None), false),
        (address_notice("flannel.1", "10.244.9.0/32", Some(Tag::Ours)), false),
        (address_notice("flannel.1", "10.244.9.0/32", None), true),
        (address_notice("flannel.9", "10.244.9.0/32", Some(Tag::Ours)), true),
    ]);
}

#[test]
fn next_hops_and_routes() {
    let (peer, other) = (nexthop("flannel.1", "10.244.2.0"), nexthop("flannel.1", "10.244.3.0"));
    let (foreign, ours) = (nexthop("flannel.9", "10.244.9.0"), Some(Tag::Ours));
    let gateway = |nexthop| Some(Route { via: Via::Gateway(nexthop), tag: Tag::Ours });
    let nowhere = |via| Some(Route { via, tag: Tag::Ours });
    check(&[
        (Notice::Nexthop { nexthop: peer, now: ours }, true),
        (Notice::Nexthop { nexthop: peer, now: None }, false),
        (Notice::Nexthop { nexthop: other, now: ours }, false),
        (Notice::Nexthop { nexthop: other, now: None }, true),
        (Notice::Nexthop { nexthop: foreign, now: ours }, true),
        (route_notice("10.244.2.0/24", through(peer)), true),
        (route_notice("10.244.2.0/24", through(other)), false),
        (route_notice("10.244.2.0/24", gateway(peer)), false),
        (route_notice("10.244.2.0/24", nowhere(Via::Blackhole)), false),
        (route_notice("10.244.2.0/24", None), false),
        (route_notice("10.244.3.0/24", through(peer)), false),
        (route_notice("10.244.3.0/24", gateway(peer)), false),
        (route_notice("10.244.3.0/24", nowhere(Via::Blackhole)), false),
        (route_notice("10.244.3.0/24", nowhere(Via::Unknown)), false),
        (route_notice("10.244.3.0/24", None), true),
        // Another instance's, by its device; the same destination on it is ours all the same.
        (route_notice("10.99.3.0/24", through(foreign)), true),
        (route_notice("10.244.2.0/24", through(foreign)), false),
    ]);
    let metric = Notice::Route { key: RouteKey { metric: 7, ..RouteKey::new(net("10.244.2.0/24")) }, now: None };
    assert!(metric.agrees(&desired()), "another metric is another route");
}

#[test]
fn neighbours_and_forwarding_entries() {
    let neighbour_notice = |link: &str, of: &str, now| Notice::Neighbour { key: neighbour_key(link, of), now };
    let fdb_notice = |link: &str, last, now| Notice::Fdb { key: fdb_key(link, last), now };
    check(&[
        (neighbour_notice("flannel.1", "10.244.2.0", neighbour(2)), true),
        (neighbour_notice("flannel.1", "10.244.2.0", neighbour(3)), false),
        (neighbour_notice("flannel.1", "10.244.2.0", None), false),
        (neighbour_notice("flannel.1", "10.244.3.0", neighbour(3)), false),
        (neighbour_notice("flannel.1", "10.244.3.0", None), true),
        (neighbour_notice("flannel.9", "10.244.3.0", neighbour(3)), true),
        (fdb_notice("flannel.1", 2, fdb("192.0.2.2")), true),
        (fdb_notice("flannel.1", 2, fdb("192.0.2.3")), false),
        (fdb_notice("flannel.1", 2, None), false),
        (fdb_notice("flannel.1", 3, fdb("192.0.2.3")), false),
        (fdb_notice("flannel.1", 3, None), true),
        (fdb_notice("flannel.9", 3, fdb("192.0.2.3")), true),
    ]);
}

#[test]
fn settings_rulesets_and_what_was_lost() {
    let other = Ruleset {
        chains: vec![backends::ruleset::Chain { kind: backends::ruleset::ChainKind::Foreign, rules: Vec::new() }],
    };
    check(&[
        (sysctl_notice("net/ipv4/ip_forward", Some("1")), true),
        (sysctl_notice("net/ipv4/ip_forward", Some("0")), false),
        (sysctl_notice("net/ipv4/ip_forward", None), false),
        (sysctl_notice("net/ipv4/ip_unprivileged_port_start", Some("0")), true),
        (Notice::Ruleset { now: Some(Box::default()) }, true),
        (Notice::Ruleset { now: Some(Box::new(other)) }, false),
        (Notice::Ruleset { now: None }, false),
        (Notice::Uplink, true),
        (Notice::Overrun, false),
    ]);
    let nothing = KernelState::default();
    assert!(Notice::Ruleset { now: None }.agrees(&nothing));
    assert!(!Notice::Ruleset { now: Some(Box::default()) }.agrees(&nothing));
    assert!(Notice::Uplink.concerns_uplink() && Notice::Overrun.concerns_uplink());
    assert!(!link_notice("eth0", None).concerns_uplink());
}

#[test]
fn thousands_of_notices_take_little_room() {
    assert!(size_of::<Notice>() <= 88, "{}", size_of::<Notice>());
}
