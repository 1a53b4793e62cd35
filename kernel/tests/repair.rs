//! What somebody else breaks of ours is put back by one look and one plan; what stands in the way is named.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod overlay;
mod sandbox;

use backends::diff::diff;
use backends::plan::{Change, Plan};
use backends::state::{KernelState, LinkKind, Nexthop, Route, RouteKey, Tag, Via};
use kernel::Hand;
use netns_harness::here_and_in_guest;
use rustix::thread::CapabilitySet;

use overlay::{Style, alone, device, link, net, node, reconcile, scope, settle, with_peers, with_peers_v6};
use sandbox::Sandbox;

/// What somebody does to what is ours; `ip`, `bridge` and `sysctl` are typed as they stand.
const ATTACKS: &[&str] = &[
    "ip route delete 10.0.1.0/24",
    "ip route replace 10.0.1.0/24 via 192.0.2.9",
    "ip route replace 10.0.1.0/24 via 10.0.2.0 dev flannel.7 onlink",
    "ip route replace 10.0.1.0/24 via 10.0.2.0 dev flannel.7 onlink proto 84",
    "ip route replace 10.0.1.0/24 via 10.0.1.0 dev flannel.7 onlink proto 84 mtu 900",
    "ip route replace blackhole 10.0.1.0/24 proto 84",
    "ip route replace 10.0.77.0/24 via 10.0.1.0 dev flannel.7 onlink proto 84",
    "ip -6 route delete fd00:0:0:2::/64",
    "ip -6 route replace fd00:0:0:2::/64 via fd00:0:0:3:: dev flannel-v6.7 onlink",
    "ip -6 route delete blackhole fd00:0:ffff::/64",
    "ip neigh delete 10.0.2.0 dev flannel.7",
    "ip neigh flush dev flannel.7 nud permanent",
    "ip neigh replace 10.0.2.0 lladdr 02:00:00:00:bb:bb dev flannel.7 nud permanent",
    "ip neigh replace 10.0.2.0 lladdr 02:00:00:00:bb:bb dev flannel.7 nud permanent protocol 84",
    "ip neigh replace 10.0.2.0 lladdr 02:01:00:00:00:02 dev flannel.7 nud reachable protocol 84",
    "ip neigh replace 10.0.88.0 lladdr 02:01:00:00:00:02 dev flannel.7 nud permanent protocol 84",
    "bridge fdb delete 02:01:00:00:00:02 dev flannel.7 self",
    "bridge fdb replace 02:01:00:00:00:02 dev flannel.7 dst 192.0.2.66 self permanent",
    "bridge fdb replace 02:01:00:00:00:02 dev flannel.7 dst 192.0.2.66 self permanent extern_learn",
    "bridge fdb replace 02:01:00:00:00:02 dev flannel.7 dst 172.16.0.2 port 99 self permanent extern_learn",
    "bridge fdb delete 02:01:00:00:00:02 dev flannel.7 self; bridge fdb add 02:01:00:00:00:02 dev flannel.7 dst 172.16.0.2 self permanent",
    "bridge fdb add 02:01:00:00:99:99 dev flannel.7 dst 192.0.2.66 self permanent extern_learn",
    "ip nexthop flush proto 84",
    "ip -6 nexthop flush",
    "ip address flush dev flannel.7",
    "ip address delete fd00::/128 dev flannel-v6.7",
    "ip address add 10.99.0.1/16 dev flannel.7",
    "ip link set flannel.7 down",
    "ip link set flannel.7 down; ip link set flannel.7 up",
    "ip link set flannel.7 mtu 1300",
    "ip link set flannel.7 address 02:00:00:00:00:aa",
    "ip link set flannel.7 alias ''",
    "ip link set flannel.7 alias other",
    "ip link set flannel.7 addrgenmode eui64",
    "ip link set flannel.7 type vxlan learning",
    "ip link delete flannel.7",
    "ip link delete flannel.7; ip link add flannel.7 type vxlan id 7 dev u0 local 192.0.2.1 dstport 8472 l2miss",
    "ip link delete flannel.7; ip link add flannel.7 type vxlan id 9 dev u0 local 192.0.2.1 dstport 4789; ip link set flannel.7 up",
    "sysctl -qw net.ipv6.conf.flannel/7.accept_ra=2",
];

fn peers() -> KernelState {
    with_peers_v6(with_peers(alone(), 1..=3, Style::Objects), 1..=3, Style::Objects)
}

#[test]
fn whatever_is_deleted_or_altered_by_hand_is_put_back() -> anyhow::Result<()> {
    here_and_in_guest(|| {
        let node = node();
        let wanted = peers();
        let id = |gateway: &str| {
            let nexthops = node.sh("ip nexthop; ip -6 nexthop");
            let line = nexthops.lines().find(|line| line.contains(&format!("via {gateway} "))).expect("the next hop");
            line.split(' ').nth(1).unwrap().to_owned()
        };
        node.run(|| {
            let mut hand = Hand::open().unwrap();
            settle(&mut hand, &wanted);
            for attack in ATTACKS {
                node.sh(attack);
                let plan = settle(&mut hand, &wanted);
                assert!(!plan.is_empty(), "`{attack}` was not seen");
            }
            // Under another name it holds the VNI until the end of the first plan.
            node.sh("ip link set flannel.7 down; ip link set flannel.7 name elsewhere; ip link set elsewhere up");
            assert!(!reconcile(&mut hand, &wanted).1.failures.is_empty());
            settle(&mut hand, &wanted);
            for attack in ["replace id ID via 10.0.3.0 dev flannel.7 onlink", "delete id ID", "replace id ID blackhole"]
            {
                node.sh(&format!("ip nexthop {}", attack.replace("ID", &id("10.0.2.0"))));
                let plan = settle(&mut hand, &wanted);
                assert!(!plan.is_empty(), "`{attack}` was not seen");
            }
        });
        Ok(())
    })
}

#[test]
fn one_peers_change_works_when_the_kernel_lost_what_we_knew() {
    let node = node();
    let wanted = peers();
    let fourth = with_peers(KernelState::default(), 4..=4, Style::Objects);
    let plan = diff(&KernelState::default(), &fourth);
    let back = diff(&fourth, &KernelState::default());
    node.run(|| {
        let mut hand = Hand::open().unwrap();
        settle(&mut hand, &wanted);
        // The device was made anew behind our back: other index, no next hops.
        node.sh("ip link delete flannel.7; ip link add flannel.7 type vxlan id 7 dev u0 local 192.0.2.1 dstport 8472 nolearning; ip link set flannel.7 up alias 'towpath /run/flannel/subnet.env'");
        assert_eq!(hand.apply(&scope(), &plan).failures, []);
        assert!(node.sh("ip route show 10.0.4.0/24").contains("via 10.0.4.0 dev flannel.7 proto 84 onlink"));
        // Next hops went with a link that was down for a moment.
        node.sh("ip link set flannel.7 down; ip link set flannel.7 up");
        assert_eq!(hand.apply(&scope(), &plan).failures, []);
        assert!(node.sh("ip route show 10.0.4.0/24").contains("via 10.0.4.0 dev flannel.7 proto 84 onlink"));
        // Somebody took the id that we would use next.
        assert_eq!(hand.apply(&scope(), &back).failures, []);
        settle(&mut hand, &wanted);
        let ids: Vec<u32> = node.sh("ip nexthop").lines().map(|line| line.split(' ').nth(1).unwrap().parse().unwrap()).collect();
        let next = ids.iter().max().unwrap() + 1;
        for id in next..next + 4 {
            node.sh(&format!("ip nexthop add id {id} via 192.0.2.9 dev u0"));
        }
        assert_eq!(hand.apply(&scope(), &plan).failures, []);
        let gateway = "10.0.4.0".parse().unwrap();
        assert!(hand.observe(&scope()).unwrap().nexthops.contains_key(&Nexthop { link: link("flannel.7"), gateway }));
        assert_eq!(node.sh("ip nexthop show dev u0").lines().count(), 4);
    });
}

#[test]
fn a_route_of_somebody_elses_in_the_way_is_named_and_left() {
    let node = node();
    node.sh("ip route add 10.0.2.0/24 via 192.0.2.9");
    node.run(|| {
        let mut hand = Hand::open().unwrap();
        let (_, outcome) = reconcile(&mut hand, &peers());
        let [failure] = &outcome.failures[..] else { panic!("one failure: {outcome:?}") };
        assert_eq!(failure.errno, libc::EEXIST);
        assert!(
            failure.reason.contains("a route to 10.0.2.0/24 with metric 0 that is not ours is in the way"),
            "{}",
            failure.reason
        );
        assert!(matches!(&failure.change, Change::RouteSet(key, _) if key.destination == net("10.0.2.0/24")));
        let is = hand.observe(&scope()).unwrap();
        assert_eq!(diff(&is, &peers()).changes, std::slice::from_ref(&failure.change));
    });
    assert_eq!(node.sh("ip route show 10.0.2.0/24"), "10.0.2.0/24 via 192.0.2.9 dev u0 \n");
}

#[test]
fn what_the_kernel_refuses_is_named_and_the_rest_is_done() {
    let node = node();
    node.sh("ip link add flannel.9 type vxlan id 9 dev u0 local 192.0.2.1 dstport 8472");
    node.run(|| {
        let mut hand = Hand::open().unwrap();
        settle(&mut hand, &alone());
        let nexthop = |name: &str| Nexthop { link: link(name), gateway: "10.0.9.0".parse().unwrap() };
        let route = |via| (RouteKey::new(net("10.0.9.0/24")), Route { via, tag: Tag::Ours });
        let mut twin = device("192.0.2.1", 9);
        let LinkKind::Vxlan(vxlan) = &mut twin.kind else { panic!("a VXLAN device") };
        vxlan.vni = 9;
        let mut lost = twin.clone();
        let LinkKind::Vxlan(vxlan) = &mut lost.kind else { panic!("a VXLAN device") };
        (vxlan.vni, vxlan.underlay) = (10, Some(link("gone0")));
        let (key, through_none) = route(Via::Gateway(nexthop("nolink")));
        let (_, through_no_object) = route(Via::Object(nexthop("flannel.7")));
        let (_, unknown) = route(Via::Unknown);
        let cases = [
            (Change::LinkAdd(link("flannel.10"), Box::new(twin.clone())), "VNI"),
            (Change::LinkAdd(link("flannel.9"), Box::new(twin.clone())), "another link has the name flannel.9"),
            (Change::LinkAdd(link("flannel.10"), Box::new(lost)), "there is no link gone0"),
            (Change::LinkDelete(link("u0")), "is not ours"),
            (Change::NexthopAdd(nexthop("nolink")), "there is no link nolink"),
            (Change::RouteSet(key, through_none), "there is no link nolink"),
            (Change::RouteSet(key, through_no_object), "there is no next-hop object via 10.0.9.0 dev flannel.7"),
            (Change::RouteSet(key, unknown), "cannot be set"),
            (Change::SysctlSet("net/ipv4/no_such_thing".to_owned(), "1".to_owned()), "net/ipv4/no_such_thing"),
        ];
        let (changes, words): (Vec<Change>, Vec<&str>) = cases.into_iter().unzip();
        let more = with_peers(KernelState::default(), 5..=5, Style::Objects);
        let all = changes.iter().cloned().chain(diff(&KernelState::default(), &more).changes).collect();
        let outcome = hand.apply(&scope(), &Plan { changes: all });
        assert_eq!(outcome.failures.len(), words.len(), "{:#?}", outcome.failures);
        for ((failure, change), words) in outcome.failures.iter().zip(&changes).zip(words) {
            assert_eq!(failure.change, *change);
            assert!(failure.reason.contains(words), "{words}: {}", failure.reason);
        }
        assert_eq!(outcome.done, 4);
    });
    assert!(node.sh("ip route show 10.0.5.0/24").contains("dev flannel.7"));
}

#[test]
fn without_the_capability_the_sentence_says_so() {
    let node = node();
    node.run(|| {
        let mut hand = Hand::open().unwrap();
        settle(&mut hand, &alone());
        let plan = diff(&alone(), &peers());
        // Of this thread only, which ends with the closure.
        let mut sets = rustix::thread::capabilities(None).unwrap();
        sets.effective.remove(CapabilitySet::NET_ADMIN);
        rustix::thread::set_capabilities(None, sets).unwrap();
        let outcome = hand.apply(&scope(), &plan);
        assert_eq!(outcome.failures.len(), plan.changes.len());
        for failure in &outcome.failures {
            assert_eq!(failure.errno, libc::EPERM);
            assert!(failure.reason.contains("CAP_NET_ADMIN"), "{}", failure.reason);
        }
    });
}

/// Two nodes on one wire, each with the other as its only peer.
#[test]
fn packets_flow_through_what_was_applied() -> anyhow::Result<()> {
    here_and_in_guest(|| {
        sandbox::needs("ping", "iputils-ping");
        let (one, two) = (Sandbox::new(), Sandbox::new());
        one.wire("u0", &two, "u0");
        let wanted = |me: u8, other: u8| {
            let mut state = KernelState::default();
            state.links.insert(link("flannel.7"), device(&format!("192.0.2.{me}"), me));
            state.addresses.insert((link("flannel.7"), net(&format!("10.0.{me}.0/32"))), Tag::Ours);
            let mut peer = with_peers(KernelState::default(), u32::from(other)..=u32::from(other), Style::Objects);
            let remote = format!("192.0.2.{other}").parse().unwrap();
            for (key, entry) in peer.fdb {
                let mac = device("192.0.2.1", other).mac;
                state.fdb.insert(backends::state::FdbKey { mac, ..key }, backends::state::Fdb { remote, ..entry });
            }
            for entry in peer.neighbours.values_mut() {
                entry.mac = device("192.0.2.1", other).mac;
            }
            KernelState { nexthops: peer.nexthops, routes: peer.routes, neighbours: peer.neighbours, ..state }
        };
        for (node, me, other) in [(&one, 1, 2), (&two, 2, 1)] {
            node.sh(&format!("ip address add 192.0.2.{me}/24 dev u0"));
            let outcome =
                node.run(|| Hand::open().unwrap().apply(&scope(), &diff(&KernelState::default(), &wanted(me, other))));
            assert_eq!(outcome.failures, []);
        }
        one.sh("ping -c 3 -i 0.01 -W 5 10.0.2.0");
        Ok(())
    })
}
