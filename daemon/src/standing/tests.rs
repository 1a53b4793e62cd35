//! What is promised of a node whose subnets are given by Kubernetes. Virtual time, no privilege.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use ipam::table::Record;
use ipam::{BackendData, Family, Lease, Mac, Stack};
use proptest::prelude::*;

use super::standing;
use crate::ask::fixture::{MemoryKernel, identity, lease, newborn_as, noon};
use crate::netconf::Division;
use crate::node::Node;
use crate::reconcile::Reconciler;
use crate::state_file::LastKnown;
use crate::status::Readiness;
use crate::store::talk::Standing;
use crate::store::{Event, Instructions, Wish};
use crate::trigger::Moment;

const NOW: Moment = Duration::from_secs(100);
const NETWORK: &str = r#"{"Network": "10.244.0.0/16", "EnableIPv6": true, "IPv6Network": "fd00:10:244::/48", "Backend": {"Type": "vxlan"}}"#;

/// Node `a` of a cluster whose Nodes get podCIDRs, with what it remembers.
fn assigned(last_known: Option<LastKnown>) -> (Reconciler, MemoryKernel) {
    newborn_as(Node::new(identity(Division::Assigned), last_known, None))
}

fn hear(daemon: &mut (Reconciler, MemoryKernel), events: impl IntoIterator<Item = Event>) {
    for event in events {
        daemon.0.node.on_event(event, NOW);
    }
    daemon.0.turn(&mut daemon.1, NOW);
    // What the uplink is, the wish needs to know; and what is wished, the store.
    daemon.0.turn(&mut daemon.1, NOW + Duration::from_millis(200));
}

fn network(text: &str) -> Event {
    Event::Network(text.to_owned())
}

fn all() -> Event {
    Event::Snapshot([("a", 1), ("b", 2), ("c", 3)].map(|(node, number)| Record::Lease(lease(node, number))).into())
}

fn settled() -> (Reconciler, MemoryKernel) {
    let mut daemon = assigned(None);
    hear(&mut daemon, [network(NETWORK), all(), Event::Mine(lease("a", 1))]);
    assert!(daemon.0.record.converged(), "{:?}", daemon.0.record.failures);
    daemon
}

fn readiness(daemon: &(Reconciler, MemoryKernel)) -> Readiness {
    Readiness::of(&daemon.0, &noon())
}

fn published(node: &Node, family: Family) -> Option<Mac> {
    let Wish::Hold(claim) = node.wish() else { return None };
    match claim.published.get(family)?.data {
        BackendData::Vxlan { mac, .. } => Some(mac),
        _ => None,
    }
}

#[test]
fn nothing_is_published_before_it_is_known_what_was_published_last() {
    let mut daemon = assigned(None);
    hear(&mut daemon, [network(NETWORK)]);
    assert_eq!(daemon.0.node.wish(), Wish::Watch);
    // The address may be another since; a Node's name is nobody else's, and peers have its MAC.
    let mut before = lease("a", 1);
    let moved = |_, endpoint: &ipam::Endpoint| ipam::Endpoint { public: [192, 0, 2, 77].into(), ..endpoint.clone() };
    before.endpoints = Stack::V4(moved(Family::V4, before.endpoints.get(Family::V4).unwrap()));
    hear(&mut daemon, [Event::Snapshot(vec![Record::Lease(before), Record::Lease(lease("b", 2))])]);
    assert_eq!(published(&daemon.0.node, Family::V4), Some(Mac([2, 0, 0, 0, 4, 1])));
    assert!(published(&daemon.0.node, Family::V6).is_some(), "one that follows from name and address");
}

#[test]
fn without_a_pod_cidr_the_node_waits_and_says_so() {
    let mut daemon = assigned(None);
    let reason = "Node a has no podCIDR: give kube-controller-manager --allocate-node-cidrs and --cluster-cidr";
    hear(&mut daemon, [network(NETWORK), all(), Event::Unassigned(reason.to_owned())]);
    let said = readiness(&daemon);
    assert!(!said.ready && said.reasons.iter().any(|it| it == reason), "{said:?}");
    assert_eq!(standing(&daemon.0, NOW), Standing::Unavailable(reason.to_owned()));
    assert!(daemon.1.state.links.is_empty(), "the kernel is left alone");
    hear(&mut daemon, [Event::Mine(lease("a", 1))]);
    assert!(readiness(&daemon).ready, "{:?}", readiness(&daemon));
    assert_eq!(standing(&daemon.0, NOW), Standing::Available);
}

#[test]
fn what_runs_keeps_running_when_the_pod_cidr_goes_and_when_it_changes() {
    let mut daemon = settled();
    let before = daemon.1.state.clone();
    hear(&mut daemon, [Event::Unassigned("Node a has no podCIDR".to_owned())]);
    assert_eq!(daemon.1.state, before, "not a thing is removed");
    let said = readiness(&daemon).reasons.join("\n");
    assert!(said.contains("Node a has no podCIDR; pods that run keep 10.244.1.0/24"), "{said}");
    hear(&mut daemon, [Event::Mine(lease("a", 7))]);
    assert_ne!(daemon.1.state, before);
    let said = readiness(&daemon);
    assert!(said.ready, "{said:?}");
    let moved = said.degraded.join("\n");
    assert!(
        moved.contains("podCIDR of node a changed from 10.244.1.0/24 fd00:10:244:1::/64 to 10.244.7.0/24"),
        "{moved}"
    );
    assert!(moved.contains("kubectl drain a"), "{moved}");
    let cluster = daemon.0.node.cluster().unwrap();
    let file = daemon.0.node.subnet_file(&cluster).unwrap();
    assert!(file.to_string().contains("FLANNEL_SUBNET=10.244.7.1/24"), "{file}");
}

#[test]
fn a_pod_network_without_the_pod_cidr_is_refused_until_the_node_has_another() {
    let mut daemon = settled();
    let before = daemon.1.state.clone();
    let other = r#"{"Network": "10.99.0.0/16", "EnableIPv6": true, "IPv6Network": "fd00:10:244::/48"}"#;
    hear(&mut daemon, [network(other)]);
    assert_eq!(daemon.1.state, before);
    let said = readiness(&daemon);
    let degraded = said.degraded.join("\n");
    assert!(said.ready, "{said:?}");
    assert!(
        degraded.contains("pod network cannot change from 10.244.0.0/16 fd00:10:244::/48 to 10.99.0.0/16: node a has"),
        "{degraded}"
    );
    assert!(degraded.contains("the last good one is used"), "{degraded}");
    // The Node is registered anew: first it has no podCIDR, then one of the new network.
    hear(&mut daemon, [Event::Unassigned("Node a has no podCIDR".to_owned())]);
    assert_eq!(daemon.1.state, before, "the kernel is left until there is one");
    let Wish::Hold(claim) = daemon.0.node.wish() else { panic!("{:?}", daemon.0.node.wish()) };
    assert_eq!(claim.pools.get(Family::V4).unwrap().network.to_string(), "10.99.0.0/16");
    let mut new = lease("a", 1);
    let Stack::Dual { v4, .. } = &mut new.endpoints else { panic!("two families") };
    v4.subnet = "10.99.1.0/24".parse().unwrap();
    hear(&mut daemon, [Event::Mine(new)]);
    assert!(readiness(&daemon).ready, "{:?}", readiness(&daemon));
    assert_ne!(daemon.1.state, before);
}

#[test]
fn a_network_may_be_changed_from_either_end() {
    let mut daemon = settled();
    let before = daemon.1.state.clone();
    // The Nodes first: theirs is not in the network yet.
    hear(&mut daemon, [Event::Unassigned("the podCIDR 10.99.1.0/24 is not in 10.244.0.0/16".to_owned())]);
    hear(&mut daemon, [network(&NETWORK.replace("10.244.0.0/16", "10.99.0.0/16"))]);
    assert_eq!(daemon.1.state, before);
    let Wish::Hold(claim) = daemon.0.node.wish() else { panic!("{:?}", daemon.0.node.wish()) };
    assert_eq!(claim.pools.get(Family::V4).unwrap().network.to_string(), "10.99.0.0/16");
    let mut new = lease("a", 1);
    let Stack::Dual { v4, .. } = &mut new.endpoints else { panic!("two families") };
    v4.subnet = "10.99.1.0/24".parse().unwrap();
    hear(&mut daemon, [Event::Mine(new)]);
    assert!(readiness(&daemon).ready, "{:?}", readiness(&daemon));
}

#[test]
fn what_can_change_live_does() {
    let mut daemon = settled();
    hear(&mut daemon, [network(&NETWORK.replace("10.244.0.0/16", "10.0.0.0/8"))]);
    assert_eq!(daemon.0.node.cluster().unwrap().networks.to_string(), "10.0.0.0/8 fd00:10:244::/48");
    hear(&mut daemon, [network(&NETWORK.replace("\"vxlan\"", "\"vxlan\", \"MTU\": 1400"))]);
    assert_eq!(daemon.0.node.cluster().unwrap().pod_mtu(), 1330);
    hear(&mut daemon, [network("{ broken")]);
    assert_eq!(daemon.0.node.cluster().unwrap().pod_mtu(), 1330, "the last good one");
    assert!(readiness(&daemon).degraded[0].contains("it is not JSON"), "{:?}", readiness(&daemon));
    daemon.0.node.on_network_missing("net-conf.json is not there".to_owned(), NOW);
    assert!(readiness(&daemon).degraded[0].contains("is not there; the last good one is used"));
    hear(&mut daemon, [network(NETWORK)]);
    assert_eq!(readiness(&daemon).degraded, Vec::<String>::new());
}

#[test]
fn a_family_without_a_pod_cidr_is_named_and_the_other_works() {
    let mut daemon = assigned(None);
    let mut single = lease("a", 1);
    single.endpoints = Stack::V4(single.endpoints.get(Family::V4).unwrap().clone());
    hear(&mut daemon, [network(NETWORK), all(), Event::Mine(single)]);
    let said = readiness(&daemon);
    assert!(said.ready, "{said:?}");
    assert!(said.degraded[0].contains("pods get no IPv6 address: the network has fd00:10:244::/48"), "{said:?}");
}

#[test]
fn an_instruction_moves_the_uplink_at_once() {
    let mut daemon = settled();
    let public = Stack::Dual { v4: [203, 0, 113, 5].into(), v6: "2001:db8::5".parse().unwrap() };
    hear(&mut daemon, [Event::Instructed(Instructions { public: Some(public), ..Instructions::default() })]);
    assert_eq!(daemon.0.node.uplink().unwrap().public, public);
    let Wish::Hold(claim) = daemon.0.node.wish() else { panic!("it holds") };
    assert_eq!(claim.published.map(|_, published| published.public), public);
    assert_eq!(daemon.0.node.last_known().instructions.public, Some(public), "for the next start");
    hear(&mut daemon, [Event::Instructed(Instructions::default())]);
    assert_ne!(daemon.0.node.uplink().unwrap().public, public);
}

#[test]
fn with_the_api_away_a_node_comes_up_as_it_was_and_says_so() {
    let last_known = {
        let mut daemon = settled();
        let public = Stack::Dual { v4: [203, 0, 113, 5].into(), v6: "2001:db8::5".parse().unwrap() };
        hear(&mut daemon, [Event::Instructed(Instructions { public: Some(public), ..Instructions::default() })]);
        daemon.0.node.last_known()
    };
    let mut daemon = assigned(Some(last_known));
    hear(&mut daemon, [network(NETWORK), Event::Trouble("https://10.96.0.1:443 does not answer".to_owned())]);
    let said = readiness(&daemon);
    assert!(said.ready && daemon.0.record.converged(), "{said:?}");
    assert_eq!(daemon.0.node.uplink().unwrap().public.get(Family::V4).unwrap().to_string(), "203.0.113.5");
    assert!(said.degraded[0].starts_with("API unreachable since 2026-11-21T11:01:40Z"), "{said:?}");
    assert_eq!(standing(&daemon.0, NOW), Standing::Available, "and nothing hides that when it is back");
    hear(&mut daemon, [Event::Refusal("it answers 403".to_owned())]);
    assert!(readiness(&daemon).degraded[0].starts_with("API refuses since 2026-11-21T11:01:40Z"));
    let state = daemon.1.state.clone();
    hear(&mut daemon, [Event::Well, all(), Event::Mine(lease("a", 1))]);
    assert_eq!(readiness(&daemon).degraded, Vec::<String>::new());
    assert_eq!(daemon.1.state.routes, state.routes);
    // Nobody instructs it any more: that was said before the lease.
    let peers: Vec<&Lease> = daemon.0.node.table().leases().collect();
    assert_eq!(peers.len(), 3);
}

#[test]
fn after_a_boot_the_api_has_some_seconds_to_say_that_the_node_was_registered_anew() {
    let last_known = settled().0.node.last_known();
    let second = Duration::from_secs(1);
    let away = || Event::Trouble("https://10.96.0.1:443 does not answer".to_owned());
    let begin = |previous| {
        let mut daemon = newborn_as(Node::new(identity(Division::Assigned), Some(last_known.clone()), previous));
        for event in [network(NETWORK), away()] {
            daemon.0.node.on_event(event, second);
        }
        daemon.0.turn(&mut daemon.1, second);
        daemon
    };
    // A daemon ran here since then: pods do, and nothing is to be waited for.
    assert!(readiness(&begin(Some(lease("a", 1).subnets()))).ready);
    let mut daemon = begin(None);
    assert!(!readiness(&daemon).ready && daemon.1.state.links.is_empty());
    hear(&mut daemon, [Event::Well, all(), Event::Mine(lease("a", 7))]);
    let said = readiness(&daemon);
    assert!(said.ready && said.degraded.is_empty(), "no pod has an address of the old one: {said:?}");
    // And when it goes on saying nothing, there is what it said last.
    let mut daemon = begin(None);
    hear(&mut daemon, []);
    assert!(readiness(&daemon).ready);
}

#[test]
fn a_second_family_takes_nothing_from_the_pods_that_have_one() {
    let mut daemon = assigned(None);
    let both = lease("a", 1);
    let one = Lease { endpoints: Stack::V4(both.endpoints.get(Family::V4).unwrap().clone()), ..both.clone() };
    let text = r#"{"Network": "10.244.0.0/16"}"#;
    hear(&mut daemon, [network(text), Event::Snapshot(Vec::new()), Event::Mine(one.clone())]);
    hear(&mut daemon, [network(NETWORK), Event::Mine(both)]);
    let said = readiness(&daemon);
    assert!(said.ready && said.degraded.is_empty(), "{said:?}");
    // The way back does.
    hear(&mut daemon, [Event::Mine(one)]);
    assert!(readiness(&daemon).degraded.join("").contains("the podCIDR of node a changed"));
}

#[test]
fn a_refusal_that_passes_keeps_no_pod_away_and_one_that_stays_does() {
    let mut daemon = settled();
    daemon.1.refused = Some("ip link");
    daemon.1.state.links.clear();
    daemon.0.look_again();
    daemon.0.turn(&mut daemon.1, NOW + Duration::from_secs(1));
    assert_eq!(standing(&daemon.0, NOW + Duration::from_secs(1)), Standing::Unknown, "what stands in the store stays");
    let later = NOW + Duration::from_secs(12);
    let Standing::Unavailable(reason) = standing(&daemon.0, later) else { panic!("it is lasting") };
    assert!(reason.contains("the kernel does not take what this node needs: Operation not supported"), "{reason}");
    daemon.1.refused = None;
    daemon.0.look_again();
    daemon.0.turn(&mut daemon.1, later);
    assert_eq!(standing(&daemon.0, later), Standing::Available);
    // One peer that cannot be had is no reason.
    daemon.1.refused = Some("ip route");
    hear(&mut daemon, [Event::Changed(vec![Record::Lease(lease("d", 4))])]);
    assert!(!daemon.0.record.failures.is_empty());
    assert_eq!(standing(&daemon.0, later + Duration::from_secs(60)), Standing::Available);
}

/// As under flannel's own manifest, whose container may write no kernel setting.
#[test]
fn a_guard_that_cannot_be_had_is_said_and_keeps_no_pod_away() {
    let mut daemon = assigned(None);
    daemon.1.refused = Some("sysctl -w net.ipv4.conf.flannel");
    daemon.1.state.sysctls.insert("net/ipv4/conf/flannel.1/rp_filter".to_owned(), "0".to_owned());
    hear(&mut daemon, [network(NETWORK), all(), Event::Mine(lease("a", 1))]);
    for later in [1, 60] {
        daemon.0.look_again();
        daemon.0.turn(&mut daemon.1, NOW + Duration::from_secs(later));
        let said = readiness(&daemon);
        assert!(said.ready && said.degraded[0].contains("rp_filter"), "{said:?}");
        assert_eq!(standing(&daemon.0, NOW + Duration::from_secs(later)), Standing::Available);
    }
    // Forwarding is no guard.
    let mut daemon = assigned(None);
    daemon.1.refused = Some("sysctl -w net.ipv4.ip_forward");
    hear(&mut daemon, [network(NETWORK), all(), Event::Mine(lease("a", 1))]);
    assert!(!readiness(&daemon).ready);
}

/// What can be said to a node, in any order.
fn anything() -> impl Strategy<Value = Option<Event>> {
    let texts = [NETWORK.to_owned(), NETWORK.replace("10.244.0.0/16", "10.99.0.0/16"), "{".to_owned()];
    prop_oneof![
        3 => (1_u8..4).prop_map(|number| Some(Event::Mine(lease("a", number)))),
        2 => proptest::sample::select(texts.to_vec()).prop_map(|text| Some(Event::Network(text))),
        1 => Just(Some(Event::Unassigned("no podCIDR".to_owned()))),
        1 => Just(Some(Event::Trouble("no answer".to_owned()))),
        1 => Just(Some(Event::Well)),
        1 => Just(Some(all())),
        // The daemon ends and starts again.
        1 => Just(None),
    ]
}

proptest! {
    #[test]
    fn whatever_is_said_no_pod_loses_its_network_and_all_is_well_in_the_end(said in proptest::collection::vec(anything(), 0..30)) {
        let mut daemon = settled();
        for event in said {
            match event {
                Some(event) => hear(&mut daemon, [event]),
                None => {
                    let kernel = daemon.1.state.clone();
                    daemon = assigned(Some(daemon.0.node.last_known()));
                    daemon.1.state = kernel;
                }
            }
            prop_assert!(!daemon.1.state.links.is_empty() && daemon.1.state.ruleset.is_some(), "what ran was taken away");
            if let Some(cluster) = daemon.0.node.cluster() {
                let outside = cluster.own.endpoints.iter().find(|(family, endpoint)| {
                    !cluster.networks.get(*family).is_some_and(|net| net.contains(&endpoint.subnet))
                });
                prop_assert!(outside.is_none(), "{outside:?} is not in {}", cluster.networks);
            }
        }
        // As the store would, once all is as it should be: what the node claims, it gets.
        hear(&mut daemon, [network(NETWORK), Event::Well, all()]);
        if !matches!(daemon.0.node.wish(), Wish::Hold(_)) {
            daemon.0.node.remember(NOW);
        }
        hear(&mut daemon, [Event::Mine(lease("a", 1))]);
        let said = readiness(&daemon);
        prop_assert!(said.ready, "{said:?}");
        prop_assert_eq!(standing(&daemon.0, NOW), Standing::Available);
        prop_assert_eq!(daemon.0.node.own().map(Lease::subnets), Some(lease("a", 1).subnets()));
    }
}
