//! IP-in-IP devices on the real kernel, with `ip` as the independent observer: made, read back, changed in place, taken over, and
//! the kernel's own tunnels left alone. On the lab's second kernel, because not every machine's own has them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod overlay;
mod sandbox;

use std::net::IpAddr;

use backends::diff::diff;
use backends::plan::{Change, Plan};
use backends::state::{Encapsulation, Ipip, KernelState, Link, LinkKind, Nexthop, Route, RouteKey, Scope, Tag, Via};
use ipam::Mac;
use kernel::Hand;
use netns_harness::in_guest;
use overlay::{link as name, net};
use sandbox::Sandbox;

const V4: &str = "flannel.ipip";
const V6: &str = "flannel-v6.ipip";

fn scope() -> Scope {
    Scope { links: vec![name(V4), name(V6)], sysctls: Vec::new(), ..overlay::scope() }
}

/// This node, 192.0.2.1 and 2001:db8::1, with its two devices and nobody else.
fn alone() -> KernelState {
    let mut state = KernelState::default();
    let ipip = Ipip { local: "192.0.2.1".parse().unwrap(), plain: true };
    let kinds = [(V4, LinkKind::Ipip(ipip), 1480, "10.1.0.0/32"), (V6, LinkKind::Ip6Tunnel, 1460, "fd00:1::/128")];
    for (device, kind, mtu, address) in kinds {
        let link = Link { kind, mac: Mac([0; 6]), mtu, up: true, link_local: false, tag: Tag::Ours };
        state.links.insert(name(device), link);
        state.addresses.insert((name(device), net(address)), Tag::Ours);
    }
    state
}

/// With a second node.
fn with_peer() -> KernelState {
    let mut state = alone();
    let nexthop = Nexthop { link: name(V4), gateway: "192.0.2.2".parse().unwrap() };
    state.nexthops.insert(nexthop, Tag::Ours);
    let outer = Encapsulation {
        link: name(V6),
        source: "2001:db8::1".parse().unwrap(),
        destination: "2001:db8::2".parse().unwrap(),
    };
    for (destination, via) in
        [("10.2.0.0/16", Via::Object(nexthop)), ("fd00:2::/64", Via::Encapsulated(Box::new(outer)))]
    {
        state.routes.insert(RouteKey::new(net(destination)), Route { via, tag: Tag::Ours });
    }
    state
}

/// A node with an uplink.
fn node() -> Sandbox {
    let node = Sandbox::new();
    node.sh("ip link add u0 type dummy; ip link set u0 up; ip address add 192.0.2.1/24 dev u0; ip address add 2001:db8::1/64 dev u0 nodad");
    node
}

/// Brings a node there; what it took.
fn settle(hand: &mut Hand, wanted: &KernelState) -> Plan {
    let plan = diff(&hand.observe(&scope()).unwrap(), wanted);
    let outcome = hand.apply(&scope(), &plan);
    assert_eq!(outcome.failures, [], "{plan}");
    assert_eq!(&hand.observe(&scope()).unwrap(), wanted, "{plan}");
    plan
}

/// The number of a device.
fn number(node: &Sandbox, device: &str) -> String {
    node.sh(&format!("ip -o link show {device} | cut -d: -f1"))
}

#[test]
fn what_is_made_is_read_back_equal_and_made_once() -> anyhow::Result<()> {
    in_guest(|| {
        let node = node();
        let foreign = "ip -d link show tunl0; ip -d link show ip6tnl0; ip address show tunl0";
        let before = node.sh(foreign);
        node.run(|| {
            let mut hand = Hand::open().unwrap();
            assert!(!settle(&mut hand, &with_peer()).is_empty());
            assert!(settle(&mut hand, &with_peer()).is_empty());
            let mut hand = Hand::open().unwrap();
            assert!(settle(&mut hand, &with_peer()).is_empty());
            assert_eq!(hand.writes(), 0);
        });
        let device = node.sh(&format!("ip -d link show {V4}"));
        for word in
            ["<NOARP,UP,LOWER_UP>", "mtu 1480", "remote any local 192.0.2.1 ttl inherit nopmtudisc", "alias towpath"]
        {
            assert!(device.contains(word), "{word} is missing: {device}");
        }
        let device = node.sh(&format!("ip -d link show {V6}"));
        assert!(device.contains("ip6tnl external") && device.contains("mtu 1460"), "{device}");
        let routes = node.sh("ip route show 10.2.0.0/16; ip -6 route show fd00:2::/64");
        assert!(routes.contains("via 192.0.2.2 dev flannel.ipip proto 84 onlink"), "{routes}");
        assert!(
            routes.contains(
                "encap ip6 id 0 src 2001:db8::1 dst 2001:db8::2 hoplimit 0 tc 0 dev flannel-v6.ipip proto 84"
            ),
            "{routes}"
        );
        node.run(|| settle(&mut Hand::open().unwrap(), &KernelState::default()));
        assert_eq!(node.sh("ip nexthop; ip route show proto 84; ip -6 route show proto 84"), "");
        assert_eq!(node.sh(foreign), before);
        Ok(())
    })
}

#[test]
fn what_somebody_changes_is_seen_and_put_back_in_place() -> anyhow::Result<()> {
    in_guest(|| {
        let node = node();
        node.run(|| settle(&mut Hand::open().unwrap(), &with_peer()));
        let before = number(&node, V4);
        let disturbances = [
            "ip tunnel change flannel.ipip mode ipip local 192.0.2.1 ttl 5 pmtudisc",
            "ip link set flannel.ipip type ipip local 192.0.2.9",
            "ip link set flannel.ipip type ipip local 192.0.2.1 dev u0 pmtudisc",
            "ip link set flannel.ipip type ipip local 192.0.2.1 nopmtudisc encap fou encap-sport auto encap-dport 5555",
            "ip link set flannel.ipip mtu 1300 down",
            "ip address del 10.1.0.0/32 dev flannel.ipip",
            "ip route change 10.2.0.0/16 via 192.0.2.3 dev flannel.ipip onlink proto 84",
            "ip -6 route change fd00:2::/64 encap ip6 src 2001:db8::1 dst 2001:db8::3 dev flannel-v6.ipip proto 84",
            "ip -6 route change fd00:2::/64 encap ip6 src 2001:db8::1 dst 2001:db8::2 hoplimit 3 dev flannel-v6.ipip proto 84",
            "ip -6 route change fd00:2::/64 dev flannel-v6.ipip proto 84",
            "ip -6 route del fd00:2::/64; ip nexthop flush",
            "ip link set flannel-v6.ipip down",
        ];
        for disturbance in disturbances {
            node.sh(disturbance);
            node.run(|| assert!(!settle(&mut Hand::open().unwrap(), &with_peer()).is_empty(), "{disturbance}"));
            assert_eq!(number(&node, V4), before, "{disturbance}");
        }
        for gone in ["ip link delete flannel.ipip", "ip link delete flannel-v6.ipip"] {
            node.sh(gone);
            node.run(|| settle(&mut Hand::open().unwrap(), &with_peer()));
        }
        // What the kernel keeps for life.
        node.sh("ip link delete flannel.ipip; ip link add flannel.ipip type ipip remote 192.0.2.2 local 192.0.2.1");
        node.sh(
            "ip link delete flannel-v6.ipip; ip link add flannel-v6.ipip type ip6tnl mode ip6ip6 local 2001:db8::1",
        );
        node.run(|| settle(&mut Hand::open().unwrap(), &with_peer()));
        Ok(())
    })
}

#[test]
fn a_new_address_of_the_node_and_a_new_mtu_change_the_device_in_place() -> anyhow::Result<()> {
    in_guest(|| {
        let node = node();
        node.run(|| settle(&mut Hand::open().unwrap(), &with_peer()));
        let before = number(&node, V4);
        let mut wanted = with_peer();
        let link = wanted.links.get_mut(&name(V4)).unwrap();
        link.kind = LinkKind::Ipip(Ipip { local: "192.0.2.77".parse().unwrap(), plain: true });
        link.mtu = 1380;
        node.run(|| {
            let plan = settle(&mut Hand::open().unwrap(), &wanted);
            assert!(matches!(&plan.changes[..], [Change::LinkSet { .. }]), "{plan}");
        });
        assert_eq!(number(&node, V4), before);
        Ok(())
    })
}

#[test]
fn a_peers_route_changes_between_the_tunnel_and_the_uplink_in_one_step() -> anyhow::Result<()> {
    in_guest(|| {
        let node = node();
        let mut direct = alone();
        for (destination, gateway) in [("10.2.0.0/16", "192.0.2.2"), ("fd00:2::/64", "2001:db8::2")] {
            let nexthop = Nexthop { link: name("u0"), gateway: gateway.parse().unwrap() };
            direct.nexthops.insert(nexthop, Tag::Ours);
            direct.routes.insert(RouteKey::new(net(destination)), Route { via: Via::Object(nexthop), tag: Tag::Ours });
        }
        let mut hand = node.run(|| Hand::open().unwrap());
        node.run(|| settle(&mut hand, &with_peer()));
        // Replaced, never deleted and made again.
        for wanted in [&direct, &with_peer(), &direct, &with_peer()] {
            let plan = node.run(|| settle(&mut hand, wanted));
            let routes = plan.changes.iter().filter(|change| matches!(change, Change::RouteSet(..))).count();
            assert!(
                routes == 2 && !plan.changes.iter().any(|change| matches!(change, Change::RouteDelete(..))),
                "{plan}"
            );
        }
        Ok(())
    })
}

#[test]
fn flannels_device_is_taken_over_in_place_with_its_routes() -> anyhow::Result<()> {
    in_guest(|| {
        // As flannel's netlink library makes it, and as a person would.
        let makings = [
            "ip link add flannel.ipip type ipip local 192.0.2.1 nopmtudisc",
            "ip tunnel add flannel.ipip mode ipip local 192.0.2.1",
        ];
        for making in makings {
            let node = node();
            node.sh(&format!(
                "{making} && ip link set flannel.ipip mtu 1480 up && ip address add 10.1.0.0/32 dev flannel.ipip"
            ));
            node.sh("ip route add 10.2.0.0/16 via 192.0.2.2 dev flannel.ipip onlink");
            node.sh("ip route add 10.3.0.0/16 via 192.0.2.3 dev flannel.ipip onlink");
            let before = number(&node, V4);
            node.run(|| settle(&mut Hand::open().unwrap(), &with_peer()));
            assert_eq!(number(&node, V4), before);
            assert_eq!(node.sh("ip route show 10.3.0.0/16"), "", "a peer that is gone");
        }
        Ok(())
    })
}

#[test]
fn a_device_in_the_place_of_ours_is_named() -> anyhow::Result<()> {
    in_guest(|| {
        let node = node();
        node.sh("ip link add calico type ipip local 192.0.2.1; ip link add cilium type ip6tnl external mode ip6ip6");
        node.run(|| {
            let mut hand = Hand::open().unwrap();
            let outcome = hand.apply(&scope(), &diff(&KernelState::default(), &alone()));
            let reasons: Vec<&str> = outcome.failures.iter().map(|failure| failure.reason.as_str()).collect();
            let named = |words: &str| reasons.iter().any(|reason| reason.contains(words));
            assert!(named("another ipip device has the local address 192.0.2.1"), "{reasons:#?}");
            assert!(named("another ip6tnl device is `external`"), "{reasons:#?}");
        });
        // Somebody's bridge of our name is nothing that we replace.
        let node = self::node();
        node.sh("ip link add flannel.ipip type bridge");
        node.run(|| {
            let mut hand = Hand::open().unwrap();
            let seen = hand.observe(&scope()).unwrap();
            hand.apply(&scope(), &diff(&seen, &with_peer()));
        });
        assert!(node.sh("ip -d link show flannel.ipip").contains("bridge"));
        node.sh("ip link show flannel-v6.ipip");
        Ok(())
    })
}

#[test]
fn a_kernel_without_the_tunnel_names_its_module() {
    let node = Sandbox::new();
    let known = ["ipip", "ip6tnl"]
        .map(|kind| node.try_sh(&format!("ip link add probe type {kind} local any external")).status.success());
    node.run(|| {
        let outcome = Hand::open().unwrap().apply(&scope(), &diff(&KernelState::default(), &alone()));
        for (known, words) in known.iter().zip(["the module ipip", "the module ip6_tunnel"]) {
            let named = outcome.failures.iter().any(|failure| failure.reason.contains(words));
            assert_eq!(named, !known, "{outcome:?}");
        }
    });
}

/// The peer's address is a gateway of IPv4 and the outer destination of IPv6.
#[test]
fn routes_say_where_the_outer_packet_goes() {
    let gateway: IpAddr = "192.0.2.2".parse().unwrap();
    let state = with_peer().to_string();
    assert!(state.contains(&format!("10.2.0.0/16 nhid [via {gateway} dev flannel.ipip onlink proto 84]")), "{state}");
    assert!(state.contains("fd00:2::/64 encap ip6 src 2001:db8::1 dst 2001:db8::2 dev flannel-v6.ipip"), "{state}");
}
