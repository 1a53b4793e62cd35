//! Routes over several next hops: groups of next-hop objects, of either family, and what the kernel makes of them by itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod overlay;
mod sandbox;

use std::collections::BTreeSet;

use backends::state::{Group, KernelState, Nexthop, Route, RouteKey, Tag, Via};
use backends::{Change, PROTOCOL};
use kernel::Hand;

use overlay::{link, net, node, scope, settle};

fn nexthop(link_name: &str, gateway: &str) -> Nexthop {
    Nexthop { link: link(link_name), gateway: gateway.parse().unwrap() }
}

/// A prefix over these next hops.
fn over(state: &mut KernelState, prefix: &str, hops: &[Nexthop]) {
    state.nexthops.extend(hops.iter().map(|hop| (*hop, Tag::Ours)));
    let via = match hops {
        [one] => Via::Object(*one),
        several => {
            let group = Group::new(several.iter().copied().collect::<BTreeSet<_>>()).unwrap();
            state.groups.insert(group.clone(), Tag::Ours);
            Via::Group(group)
        }
    };
    state.routes.insert(RouteKey::new(net(prefix)), Route { via, tag: Tag::Ours });
}

fn routers() -> [Nexthop; 4] {
    [
        nexthop("u0", "192.0.2.250"),
        nexthop("u0", "192.0.2.251"),
        nexthop("u0", "2001:db8::fa"),
        nexthop("w0", "fe80::1"),
    ]
}

fn fabric() -> KernelState {
    let [a, b, c, d] = routers();
    let mut state = KernelState::default();
    over(&mut state, "198.51.100.0/24", &[a, b]);
    over(&mut state, "203.0.113.0/24", &[a, b]);
    // Learnt over one session for both families (RFC 8950), and of an unnumbered neighbour.
    over(&mut state, "203.0.114.0/24", &[c, d]);
    over(&mut state, "203.0.115.0/24", &[d]);
    over(&mut state, "2001:db8:f::/48", &[c, d]);
    over(&mut state, "2001:db8:e::/48", &[c]);
    state
}

fn two_uplinks() -> sandbox::Sandbox {
    let node = node();
    node.sh("ip link add w0 type veth peer name w1; ip link set w0 up; ip link set w1 up");
    node
}

#[test]
fn groups_are_set_seen_changed_and_removed_and_a_second_look_changes_nothing() {
    let node = two_uplinks();
    node.run(|| {
        let mut hand = Hand::open().unwrap();
        assert!(!settle(&mut hand, &fabric()).is_empty());
        let mut hand = Hand::open().unwrap();
        assert!(settle(&mut hand, &fabric()).is_empty(), "a restart finds all as it was");
        assert_eq!(hand.writes(), 0);
        // One prefix loses a next hop, another gains one: nothing of the others is written.
        let [a, b, c, d] = routers();
        let mut other = fabric();
        over(&mut other, "203.0.113.0/24", &[a]);
        over(&mut other, "203.0.115.0/24", &[c, d]);
        let plan = settle(&mut hand, &other);
        assert!(plan.changes.iter().all(|change| matches!(change, Change::RouteSet(..))), "{plan}");
        over(&mut other, "198.51.100.0/24", &[b]);
        other.groups.remove(&Group::new(BTreeSet::from([a, b])).unwrap());
        settle(&mut hand, &other);
        settle(&mut hand, &KernelState::default());
    });
    assert_eq!(node.sh("ip nexthop; ip route show proto 84; ip -6 route show proto 84"), "");
}

#[test]
fn a_dead_next_hop_is_left_by_one_message_a_group_and_the_plan_that_follows_does_the_rest() {
    let node = two_uplinks();
    node.run(|| {
        let mut hand = Hand::open().unwrap();
        settle(&mut hand, &fabric());
        let [a, b, c, _] = routers();
        let before = hand.writes();
        assert_eq!(hand.leave(a), Ok(1), "two prefixes use one group");
        assert_eq!(hand.writes() - before, 1);
        let shown = node.sh("ip route show proto 84");
        assert!(!shown.contains("192.0.2.250") && shown.matches("192.0.2.251").count() == 2, "{shown}");
        // What has nowhere else to go stays as it is.
        assert_eq!(hand.leave(b), Ok(0));
        assert_eq!(hand.leave(nexthop("u0", "192.0.2.1")), Ok(0));
        assert_eq!(hand.leave(c), Ok(1));
        let mut after = KernelState::default();
        over(&mut after, "198.51.100.0/24", &[b]);
        settle(&mut hand, &after);
        // And whoever takes it for alive again makes the groups what they were.
        settle(&mut hand, &fabric());
    });
}

#[test]
fn ip_shows_routes_over_several_next_hops() {
    let node = two_uplinks();
    node.run(|| settle(&mut Hand::open().unwrap(), &fabric()));
    let shown = node.sh("ip route show proto 84; ip -6 route show proto 84");
    assert!(shown.contains("198.51.100.0/24 nhid") && shown.contains("nexthop via 192.0.2.251 dev u0"), "{shown}");
    assert!(shown.contains("nexthop via inet6 fe80::1 dev w0"), "{shown}");
    assert_eq!(node.sh("ip nexthop").matches(&format!("proto {PROTOCOL}")).count(), 6);
}

#[test]
fn a_member_that_goes_with_its_link_leaves_the_rest_and_comes_back() {
    let node = two_uplinks();
    node.run(|| settle(&mut Hand::open().unwrap(), &fabric()));
    node.sh("ip link set w0 down");
    node.run(|| {
        let is = Hand::open().unwrap().observe(&scope()).unwrap();
        let key = RouteKey::new(net("203.0.114.0/24"));
        let Via::Group(group) = &is.routes[&key].via else { panic!("{:?}", is.routes[&key]) };
        assert!(group.members().eq([&routers()[2]]), "{group}");
    });
    node.sh("ip link set w0 up");
    node.run(|| settle(&mut Hand::open().unwrap(), &fabric()));
}

#[test]
fn what_somebody_does_to_a_group_is_told_and_repaired() {
    let node = two_uplinks();
    node.run(|| {
        let mut hand = Hand::open().unwrap();
        settle(&mut hand, &fabric());
        let mut notices = kernel::notices::Notices::open(&hand, &scope().alias, &scope().table).unwrap();
        let first = node.sh("ip nexthop | grep group | head -1 | cut -d' ' -f2");
        node.sh(&format!("ip nexthop delete id {}", first.trim()));
        sandbox::wait_for("a notice that does not agree", || {
            let seen = notices.wait(std::time::Duration::from_millis(100)).unwrap();
            seen.iter().any(|notice| !notice.agrees(&fabric())).then_some(())
        });
        assert!(!settle(&mut hand, &fabric()).is_empty());
    });
}
