//! A node's overlay as a test wants it: an underlay in a fresh namespace, a scope, and states with any number of peers.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use backends::diff::diff;
use backends::plan::{Outcome, Plan};
use backends::state::{
    Fdb, FdbKey, KernelState, Link, LinkKind, LinkName, Neighbour, NeighbourKey, Nexthop, Route, RouteKey, Scope, Tag,
    Via, Vxlan,
};
use ipam::Mac;
use ipnet::IpNet;
use kernel::Hand;

use crate::sandbox::Sandbox;

pub fn link(name: &str) -> LinkName {
    LinkName::new(name).unwrap()
}

pub fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

/// A namespace with an underlay `u0` that has an address of each family.
pub fn node() -> Sandbox {
    let node = Sandbox::new();
    node.sh("ip link add u0 type veth peer name u1; ip link set u0 up; ip link set u1 up");
    node.sh("ip address add 192.0.2.1/24 dev u0; ip address add 2001:db8::1/64 dev u0 nodad");
    node
}

pub fn scope() -> Scope {
    Scope {
        alias: "towpath /run/flannel/subnet.env".to_owned(),
        table: "towpath".to_owned(),
        links: vec![link("flannel.7"), link("flannel-v6.7")],
        networks: vec![net("10.0.0.0/8"), net("fd00::/16")],
        sysctls: vec!["net/ipv6/conf/flannel.7/accept_ra".to_owned()],
    }
}

pub fn device(local: &str, mac: u8) -> Link {
    let vxlan = Vxlan {
        vni: 7,
        port: 8472,
        underlay: Some(link("u0")),
        local: local.parse().unwrap(),
        learning: false,
        gbp: false,
    };
    Link {
        kind: LinkKind::Vxlan(vxlan),
        mac: Mac([2, 0, 0, 0, 0, mac]),
        mtu: 1400,
        up: true,
        link_local: false,
        tag: Tag::Ours,
    }
}

/// Both devices with their addresses, and a blackhole of each family.
pub fn alone() -> KernelState {
    let mut state = KernelState::default();
    state.links.insert(link("flannel.7"), device("192.0.2.1", 1));
    state.links.insert(link("flannel-v6.7"), device("2001:db8::1", 2));
    state.addresses.insert((link("flannel.7"), net("10.0.0.0/32")), Tag::Ours);
    state.addresses.insert((link("flannel-v6.7"), net("fd00::/128")), Tag::Ours);
    for blackhole in ["10.255.0.0/16", "fd00:0:ffff::/64"] {
        let route = Route { via: Via::Blackhole, tag: Tag::Ours };
        state.routes.insert(RouteKey::new(net(blackhole)), route);
    }
    state.sysctls.insert("net/ipv6/conf/flannel.7/accept_ra".to_owned(), "0".to_owned());
    state
}

/// How routes find their gateways.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Style {
    Objects,
    Gateways,
}

/// Adds the peers of these numbers (1 to 65,000): four entries each, in IPv4.
pub fn with_peers(mut state: KernelState, numbers: impl Iterator<Item = u32>, style: Style) -> KernelState {
    for number in numbers {
        let gateway = Ipv4Addr::from_bits((10 << 24) | (number << 8));
        let remote = Ipv4Addr::from_bits((172 << 24) | (16 << 16) | number);
        peer(&mut state, ("flannel.7", number), (gateway.into(), remote.into()), style);
    }
    state
}

/// Adds the peers of these numbers in IPv6.
pub fn with_peers_v6(mut state: KernelState, numbers: impl Iterator<Item = u32>, style: Style) -> KernelState {
    for number in numbers {
        let gateway = Ipv6Addr::from_bits((0xfd00_u128 << 112) | (u128::from(number) << 64));
        let remote = Ipv6Addr::from_bits((0x2001_0db8_u128 << 96) | u128::from(number + 1));
        peer(&mut state, ("flannel-v6.7", number), (gateway.into(), remote.into()), style);
    }
    state
}

fn peer(state: &mut KernelState, (device, number): (&str, u32), (gateway, remote): (IpAddr, IpAddr), style: Style) {
    let link = link(device);
    let [a, b, c, d] = number.to_be_bytes();
    let mac = Mac([2, 1, a, b, c, d]);
    let nexthop = Nexthop { link, gateway };
    let via = match style {
        Style::Objects => Via::Object(nexthop),
        Style::Gateways => Via::Gateway(nexthop),
    };
    if style == Style::Objects {
        state.nexthops.insert(nexthop, Tag::Ours);
    }
    let length = if gateway.is_ipv4() { 24 } else { 64 };
    let destination = IpNet::new(gateway, length).unwrap();
    state.routes.insert(RouteKey::new(destination), Route { via, tag: Tag::Ours });
    state.neighbours.insert(NeighbourKey { link, address: gateway }, Neighbour { mac, tag: Tag::Ours });
    state.fdb.insert(FdbKey { link, mac }, Fdb { remote, tag: Tag::Ours });
}

/// One reconciliation: what is, what to do, do it.
pub fn reconcile(hand: &mut Hand, wanted: &KernelState) -> (Plan, Outcome) {
    let plan = diff(&hand.observe(&scope()).unwrap(), wanted);
    let outcome = hand.apply(&scope(), &plan);
    (plan, outcome)
}

/// A reconciliation that must succeed, after which all is as wanted and a second one has nothing to do.
pub fn settle(hand: &mut Hand, wanted: &KernelState) -> Plan {
    let (plan, outcome) = reconcile(hand, wanted);
    assert_eq!(outcome.failures, []);
    assert_eq!(outcome.done, plan.changes.len());
    let is = hand.observe(&scope()).unwrap();
    assert_eq!(diff(&is, wanted).changes, []);
    assert_eq!(is, *wanted);
    plan
}
