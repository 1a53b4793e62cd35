//! What an earlier flannel left on a device of our name becomes ours, or goes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod overlay;
mod sandbox;

use backends::diff::diff;
use backends::plan::Plan;
use backends::state::{FdbKey, LinkKind, NeighbourKey, RouteKey, Tag, Via};
use ipam::Mac;
use kernel::Hand;

use overlay::{Style, alone, link, net, node, scope, settle, with_peers};
use sandbox::Sandbox;

/// A node as flannel leaves it: peers 1 to 3, of which 3 does not exist any more.
fn flannels() -> Sandbox {
    let node = node();
    node.sh("ip link add flannel.7 address 02:00:00:00:00:01 type vxlan id 7 dev u0 local 192.0.2.1 dstport 8472 nolearning");
    node.sh("ip address add 10.0.0.0/32 dev flannel.7; ip link set flannel.7 up");
    for peer in 1..=3 {
        node.sh(&format!("ip neigh replace 10.0.{peer}.0 lladdr 02:01:00:00:00:0{peer} dev flannel.7 nud permanent"));
        node.sh(&format!("bridge fdb replace 02:01:00:00:00:0{peer} dev flannel.7 dst 172.16.0.{peer} self permanent"));
        node.sh(&format!("ip route replace 10.0.{peer}.0/24 via 10.0.{peer}.0 dev flannel.7 onlink"));
    }
    node.sh("ip route add 10.0.4.0/24 dev flannel.7 scope link; ip address add 10.3.3.3/32 dev flannel.7");
    node
}

#[test]
fn everything_that_lasts_on_the_device_is_listed_as_to_be_adopted() {
    let node = flannels();
    let seen = node.run(|| Hand::open().unwrap().observe(&scope()).unwrap());
    let device = &seen.links[&link("flannel.7")];
    assert_eq!(device.tag, Tag::Adopted);
    assert!(matches!(&device.kind, LinkKind::Vxlan(vxlan) if vxlan.vni == 7 && vxlan.underlay == Some(link("u0"))));
    assert_eq!(seen.addresses[&(link("flannel.7"), net("10.0.0.0/32"))], Tag::Adopted);
    assert_eq!(seen.addresses.len(), 2, "{:?}", seen.addresses);
    assert_eq!(seen.routes[&RouteKey::new(net("10.0.1.0/24"))].tag, Tag::Adopted);
    assert!(matches!(seen.routes[&RouteKey::new(net("10.0.1.0/24"))].via, Via::Gateway(_)));
    assert_eq!(seen.routes[&RouteKey::new(net("10.0.4.0/24"))].via, Via::Device(link("flannel.7")));
    assert_eq!(seen.routes.len(), 4, "{:?}", seen.routes);
    let address = "10.0.3.0".parse().unwrap();
    assert_eq!(seen.neighbours[&NeighbourKey { link: link("flannel.7"), address }].tag, Tag::Adopted);
    assert_eq!(seen.neighbours.len(), 3, "{:?}", seen.neighbours);
    let mac = Mac([2, 1, 0, 0, 0, 2]);
    assert_eq!(seen.fdb[&FdbKey { link: link("flannel.7"), mac }].tag, Tag::Adopted);
    assert_eq!(seen.fdb.len(), 3, "{:?}", seen.fdb);
}

#[test]
fn it_is_taken_over_without_the_device_being_made_anew() {
    let node = flannels();
    let index = node.sh("ip -o link show flannel.7 | cut -d: -f1");
    let mut wanted = with_peers(alone(), 1..=2, Style::Objects);
    wanted.links.get_mut(&link("flannel.7")).unwrap().mac = Mac([2, 0, 0, 0, 0, 1]);
    node.run(|| settle(&mut Hand::open().unwrap(), &wanted));
    assert_eq!(node.sh("ip -o link show flannel.7 | cut -d: -f1"), index);
    assert!(!node.sh("ip address show dev flannel.7").contains("10.3.3.3"));
}

#[test]
fn a_take_over_that_is_cut_short_anywhere_is_continued() {
    let wanted = with_peers(alone(), 1..=2, Style::Objects);
    let plan = flannels().run(|| diff(&Hand::open().unwrap().observe(&scope()).unwrap(), &wanted));
    for length in 0..=plan.changes.len() {
        let node = flannels();
        node.run(|| {
            let mut hand = Hand::open().unwrap();
            let cut = Plan { changes: plan.changes[..length].to_vec() };
            assert_eq!(hand.apply(&scope(), &cut).failures, []);
            // The alias comes after the last change, so a plan that is cut short has not set it.
            if length < plan.changes.len() {
                node.sh("ip link set flannel.7 alias ''");
            }
            settle(&mut Hand::open().unwrap(), &wanted);
        });
    }
}

#[test]
fn a_failure_on_the_device_leaves_it_to_be_adopted_next_time() {
    let node = flannels();
    let wanted = with_peers(alone(), 1..=2, Style::Objects);
    node.sh("ip route add 10.0.5.0/24 via 192.0.2.9");
    node.run(|| {
        let mut hand = Hand::open().unwrap();
        let more = with_peers(wanted.clone(), 5..=5, Style::Objects);
        let plan = diff(&hand.observe(&scope()).unwrap(), &more);
        let outcome = hand.apply(&scope(), &plan);
        assert_eq!(outcome.failures.len(), 1, "{:?}", outcome.failures);
        assert_eq!(hand.observe(&scope()).unwrap().links[&link("flannel.7")].tag, Tag::Adopted);
        settle(&mut hand, &wanted);
    });
    assert!(node.sh("ip link show flannel.7").contains("alias towpath /run/flannel/subnet.env"));
}

#[test]
fn another_kind_of_device_with_our_name_is_named_and_left() {
    let node = node();
    node.sh("ip link add flannel.7 type bridge; ip address add 10.0.0.0/32 dev flannel.7; ip link set flannel.7 up");
    node.run(|| {
        let mut hand = Hand::open().unwrap();
        let seen = hand.observe(&scope()).unwrap();
        assert_eq!(seen.links[&link("flannel.7")].kind, LinkKind::Other("bridge".to_owned()));
    });
}
