//! Plans applied to the real kernel: what is wanted is what is seen, once and again, and nothing else is touched.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod overlay;
mod sandbox;

use backends::diff::diff;
use backends::plan::Plan;
use backends::ruleset::{Chain, ChainKind, Match, Rule, Ruleset, Verdict};
use backends::state::{KernelState, LinkKind, Tag};
use ipam::Mac;
use kernel::Hand;
use netns_harness::here_and_in_guest;

use overlay::{Style, alone, link, net, node, scope, settle, with_peers, with_peers_v6};

fn both_families(style: Style) -> KernelState {
    with_peers_v6(with_peers(alone(), 1..=3, style), 1..=3, style)
}

#[test]
fn every_kind_of_object_that_is_applied_is_observed_equal() -> anyhow::Result<()> {
    here_and_in_guest(|| {
        let node = node();
        let mut wanted = both_families(Style::Objects);
        let rule = Rule { matches: vec![Match::Source(net("10.0.0.0/8"))], verdict: Verdict::Masquerade };
        wanted.ruleset = Some(Ruleset { chains: vec![Chain { kind: ChainKind::Postrouting, rules: vec![rule] }] });
        node.run(|| {
            let mut hand = Hand::open().unwrap();
            assert!(!settle(&mut hand, &wanted).is_empty());
            let written = hand.writes();
            assert!(settle(&mut hand, &wanted).is_empty());
            assert_eq!(hand.writes(), written);
            // A restart: nothing is known but what the kernel says.
            let mut hand = Hand::open().unwrap();
            assert!(settle(&mut hand, &wanted).is_empty());
            assert_eq!(hand.writes(), 0);
            settle(&mut hand, &KernelState { sysctls: Default::default(), ..KernelState::default() });
        });
        assert_eq!(node.sh("ip nexthop; ip route show proto 84; ip -6 route show proto 84; nft list tables"), "");
        Ok(())
    })
}

#[test]
fn a_kernel_without_nexthop_objects_gets_plain_gateways() {
    let node = node();
    node.run(|| {
        let mut hand = Hand::open().unwrap();
        settle(&mut hand, &both_families(Style::Gateways));
        // And a kernel that was upgraded: the same routes change over in place, in both directions.
        settle(&mut hand, &both_families(Style::Objects));
        settle(&mut hand, &both_families(Style::Gateways));
    });
}

#[test]
fn the_tools_show_what_the_state_says() {
    let node = node();
    node.run(|| settle(&mut Hand::open().unwrap(), &both_families(Style::Objects)));
    let device = node.sh("ip -d link show flannel.7");
    let attributes = [
        "mtu 1400",
        "link/ether 02:00:00:00:00:01",
        "vxlan id 7 local 192.0.2.1 dev u0 srcport 0 0 dstport 8472 nolearning ttl auto ageing 300 udpcsum noudp6zerocsumtx noudp6zerocsumrx",
        "alias towpath /run/flannel/subnet.env",
    ];
    for attribute in attributes {
        assert!(device.contains(attribute), "{attribute} is missing: {device}");
    }
    let addresses = node.sh("ip -o address show dev flannel.7; ip -o address show dev flannel-v6.7");
    assert!(addresses.contains("10.0.0.0/32") && addresses.contains("fd00::/128"), "{addresses}");
    assert!(!addresses.contains("fe80::"), "{addresses}");
    let routes = node.sh("ip route show 10.0.1.0/24; ip -6 route show fd00:0:0:1::/64");
    assert!(routes.contains("via 10.0.1.0 dev flannel.7 proto 84 onlink"), "{routes}");
    assert!(routes.contains("via fd00:0:0:1:: dev flannel-v6.7 proto 84 metric 1024 onlink"), "{routes}");
    let neighbours = node.sh("ip neigh show dev flannel.7; ip -6 neigh show dev flannel-v6.7");
    assert!(neighbours.contains("10.0.2.0 lladdr 02:01:00:00:00:02 PERMANENT proto 84"), "{neighbours}");
    let fdb = node.sh("bridge fdb show dev flannel.7; bridge fdb show dev flannel-v6.7");
    assert!(fdb.contains("02:01:00:00:00:02 dst 172.16.0.2 self extern_learn permanent"), "{fdb}");
    assert!(fdb.contains("02:01:00:00:00:02 dst 2001:db8::3 self extern_learn permanent"), "{fdb}");
}

#[test]
fn what_is_not_ours_is_neither_seen_nor_touched() {
    let node = node();
    node.sh("ip link add br0 type bridge; ip link set br0 up; ip address add 10.9.0.1/24 dev br0");
    node.sh("ip link add flannel.8 type vxlan id 8 dev u0 local 192.0.2.1 dstport 8472 nolearning; ip link set flannel.8 up");
    node.sh("ip nexthop add id 5 via 10.8.1.0 dev flannel.8 onlink proto 84; ip route add 10.8.1.0/24 nhid 5 proto 84");
    node.sh("ip neigh add 10.8.1.0 lladdr 02:00:00:00:08:01 dev flannel.8 nud permanent protocol 84");
    node.sh("bridge fdb add 02:00:00:00:08:01 dev flannel.8 dst 192.0.2.8 self permanent extern_learn");
    node.sh("ip route add 10.7.0.0/16 via 192.0.2.9 proto static; ip route add blackhole 198.51.100.0/24 proto 84");
    node.sh("ip route add 10.0.1.0/24 via 192.0.2.9 metric 50; nft add table inet other");
    let wanted = both_families(Style::Objects);
    let look = || {
        node.sh("ip link show br0; ip -d link show flannel.8; ip nexthop list dev flannel.8; ip route show dev flannel.8; ip route show via 192.0.2.9; ip route show type blackhole 198.51.100.0/24; ip neigh show dev flannel.8; bridge fdb show dev flannel.8; ip -o address show dev br0; nft list ruleset")
    };
    let before = look();
    node.run(|| {
        let mut hand = Hand::open().unwrap();
        assert_eq!(hand.observe(&scope()).unwrap(), KernelState::default());
        settle(&mut hand, &wanted);
    });
    // Somebody's own entries on our device, without our tag, are his.
    node.sh("bridge fdb add 02:00:00:00:09:09 dev flannel.7 dst 192.0.2.9 self permanent");
    node.sh("ip neigh add 10.0.99.1 lladdr 02:00:00:00:09:09 dev flannel.7 nud permanent");
    node.sh("ip route add 10.0.99.0/24 dev flannel.7 proto static");
    node.run(|| {
        let mut hand = Hand::open().unwrap();
        assert!(settle(&mut hand, &wanted).is_empty());
    });
    assert_eq!(look(), before);
    let theirs = node.sh("bridge fdb show dev flannel.7; ip neigh show dev flannel.7; ip route show dev flannel.7");
    assert_eq!(theirs.matches("02:00:00:00:09:09").count(), 2, "{theirs}");
    assert!(theirs.contains("10.0.99.0/24"), "{theirs}");
}

#[test]
fn two_instances_do_not_see_each_other() {
    let node = node();
    node.run(|| {
        let mut hand = Hand::open().unwrap();
        settle(&mut hand, &both_families(Style::Objects));
        let mut other = scope();
        other.alias = "towpath /run/other/subnet.env".to_owned();
        other.table = "towpath-other".to_owned();
        other.links = vec![link("flannel.8")];
        other.networks = vec![net("172.30.0.0/16")];
        let mut seen = hand.observe(&other).unwrap();
        seen.sysctls.clear();
        assert_eq!(seen, KernelState::default());
        // Ids are chosen around those of the other instance.
        let mut wanted = KernelState::default();
        let mut device = overlay::device("192.0.2.1", 8);
        let LinkKind::Vxlan(vxlan) = &mut device.kind else { panic!("a VXLAN device") };
        vxlan.vni = 8;
        wanted.links.insert(link("flannel.8"), device);
        for last in 1..=9 {
            let gateway = std::net::Ipv4Addr::new(172, 30, last, 0).into();
            wanted.nexthops.insert(backends::state::Nexthop { link: link("flannel.8"), gateway }, Tag::Ours);
        }
        let outcome = hand.apply(&other, &diff(&KernelState::default(), &wanted));
        assert_eq!(outcome.failures, []);
        assert_eq!(hand.observe(&other).unwrap().nexthops, wanted.nexthops);
        assert!(settle(&mut hand, &both_families(Style::Objects)).is_empty());
    });
}

#[test]
fn a_device_is_changed_in_place_where_the_kernel_can() -> anyhow::Result<()> {
    here_and_in_guest(|| {
        let node = node();
        node.sh("ip link add w0 type veth peer name w1; ip link set w0 up; ip address add 192.0.2.77/24 dev w0; ip address add 2001:db8::77/64 dev w0 nodad");
        let mut wanted = both_families(Style::Objects);
        node.run(|| settle(&mut Hand::open().unwrap(), &wanted));
        let before = node.sh("ip -o link show flannel.7 | cut -d: -f1");
        for (name, local) in [("flannel.7", "192.0.2.77"), ("flannel-v6.7", "2001:db8::77")] {
            let device = wanted.links.get_mut(&link(name)).unwrap();
            device.mtu = 1334;
            device.mac = Mac([2, 0, 0, 0, 0x77, device.mac.0[5]]); // the kernel drops the device's neighbours for that
            let LinkKind::Vxlan(vxlan) = &mut device.kind else { panic!("a VXLAN device") };
            vxlan.local = local.parse().unwrap();
            vxlan.learning = true;
            vxlan.underlay = Some(link("w0"));
        }
        node.run(|| {
            let mut hand = Hand::open().unwrap();
            let plan = settle(&mut hand, &wanted);
            assert_eq!(plan.changes.len(), 2 + 6, "{plan:?}");
        });
        assert_eq!(node.sh("ip -o link show flannel.7 | cut -d: -f1"), before);
        Ok(())
    })
}

#[test]
fn five_thousand_peers_go_in_and_out_in_one_plan_each() {
    let node = node();
    let wanted = with_peers(alone(), 1..=5000, Style::Objects);
    node.run(|| {
        let mut hand = Hand::open().unwrap();
        let plan = settle(&mut hand, &wanted);
        assert!(plan.changes.len() >= 20_000);
        // One more is four messages, and nothing is listed for it.
        let more = with_peers(KernelState::default(), 5001..=5001, Style::Objects);
        let written = hand.writes();
        let outcome = hand.apply(&scope(), &diff(&KernelState::default(), &more));
        assert_eq!((outcome.failures, outcome.done, hand.writes() - written), (vec![], 4, 4));
        let outcome = hand.apply(&scope(), &diff(&more, &KernelState::default()));
        assert_eq!((outcome.failures, outcome.done, hand.writes() - written), (vec![], 4, 8));
        assert_eq!(hand.observe(&scope()).unwrap(), wanted);
        settle(&mut hand, &alone());
    });
}

#[test]
fn changes_that_are_done_already_succeed() {
    let node = node();
    let wanted = both_families(Style::Objects);
    node.run(|| {
        let mut hand = Hand::open().unwrap();
        settle(&mut hand, &wanted);
        let everything = diff(&KernelState::default(), &wanted);
        assert_eq!(hand.apply(&scope(), &everything).failures, []);
        assert_eq!(Hand::open().unwrap().apply(&scope(), &everything).failures, []);
        assert_eq!(hand.observe(&scope()).unwrap(), wanted);
        let nothing = diff(&wanted, &KernelState::default());
        assert_eq!(hand.apply(&scope(), &nothing).failures, []);
        assert_eq!(hand.apply(&scope(), &nothing).failures, []);
        assert_eq!(Hand::open().unwrap().apply(&scope(), &nothing).failures, []);
        // Without the links' removal the rest is gone one by one, or was already.
        settle(&mut hand, &wanted);
        let entries: Vec<_> = diff(&wanted, &alone()).changes;
        assert_eq!(hand.apply(&scope(), &Plan { changes: entries.clone() }).failures, []);
        assert_eq!(hand.apply(&scope(), &Plan { changes: entries }).failures, []);
        assert_eq!(hand.observe(&scope()).unwrap(), alone());
    });
}
