//! What an operator is told, and that it is told once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use ipam::table::Record;
use ipam::{BackendData, Family, Stack};

use super::Occurrences;
use crate::ask::fixture::{MemoryKernel, lease, settled, tell};
use crate::reconcile::Reconciler;
use crate::store::Event;
use crate::trigger::Moment;

const START: Moment = Duration::from_secs(4000);

fn said(occurrences: &mut Occurrences, reconciler: &Reconciler, now: Moment) -> Vec<(&'static str, String)> {
    occurrences.of(reconciler, now).into_iter().map(|it| (it.reason, it.message)).collect()
}

fn reasons(occurrences: &mut Occurrences, reconciler: &Reconciler, now: Moment) -> Vec<&'static str> {
    said(occurrences, reconciler, now).into_iter().map(|(reason, _)| reason).collect()
}

#[test]
fn a_node_that_is_well_says_nothing() {
    let (reconciler, _) = settled();
    assert_eq!(reasons(&mut Occurrences::default(), &reconciler, START), Vec::<&str>::new());
}

#[test]
fn what_lasts_is_said_once_and_again_when_it_is_another() {
    let (mut reconciler, _) = settled();
    let mut occurrences = Occurrences::default();
    tell(&mut reconciler, Event::Unassigned("no podCIDR".into()));
    assert_eq!(said(&mut occurrences, &reconciler, START), [("PodCIDRUnusable", "no podCIDR".to_owned())]);
    assert_eq!(reasons(&mut occurrences, &reconciler, START), Vec::<&str>::new());
    tell(&mut reconciler, Event::Unassigned("outside".into()));
    assert_eq!(said(&mut occurrences, &reconciler, START), [("PodCIDRUnusable", "outside".to_owned())]);
    tell(&mut reconciler, Event::Mine(lease("a", 1)));
    tell(&mut reconciler, Event::Network("{".into()));
    assert_eq!(reasons(&mut occurrences, &reconciler, START), ["NetworkConfigRefused"]);
}

#[test]
fn that_the_api_was_away_is_said_when_it_is_back() {
    let (mut reconciler, _) = settled();
    let mut occurrences = Occurrences::default();
    tell(&mut reconciler, Event::Trouble("no answer".into()));
    assert_eq!(reasons(&mut occurrences, &reconciler, START), Vec::<&str>::new());
    tell(&mut reconciler, Event::Well);
    let [(reason, message)] = &said(&mut occurrences, &reconciler, START)[..] else { panic!("one") };
    assert_eq!((*reason, message.contains("unreachable for ")), ("StoreReachable", true), "{message}");
    assert_eq!(reasons(&mut occurrences, &reconciler, START), Vec::<&str>::new());
}

#[test]
fn a_quarrel_about_the_kernel_is_said_and_one_accident_is_not() {
    let (mut reconciler, mut kernel) = settled();
    let mut occurrences = Occurrences::default();
    let mut told = Vec::new();
    for round in 0..3 {
        let now = START + Duration::from_secs(round);
        break_rules(&mut reconciler, &mut kernel, now);
        told.extend(said(&mut occurrences, &reconciler, now));
        assert_eq!(told.len(), usize::from(round == 2), "{told:?}");
    }
    assert!(told[0].0 == "DriftRepaired" && told[0].1.contains("the whole nftables table"), "{told:?}");
}

fn break_rules(reconciler: &mut Reconciler, kernel: &mut MemoryKernel, now: Moment) {
    kernel.state.ruleset = None;
    reconciler.look_again();
    reconciler.turn(kernel, now);
    assert!(kernel.state.ruleset.is_some());
}

#[test]
fn a_peer_of_another_backend_is_named() {
    let (mut reconciler, mut kernel) = settled();
    let mut occurrences = Occurrences::default();
    let mut other = lease("d", 4);
    let mut endpoint = other.endpoints.get(Family::V4).unwrap().clone();
    endpoint.data = BackendData::Other("host-gw".into());
    other.endpoints = Stack::V4(endpoint);
    tell(&mut reconciler, Event::Changed(vec![Record::Lease(other)]));
    reconciler.turn(&mut kernel, START);
    let [(reason, message)] = &said(&mut occurrences, &reconciler, START)[..] else { panic!("one") };
    assert!(*reason == "PeerUnusable" && message.contains(": node d: ") && message.contains("host-gw"), "{message}");
    assert_eq!(reasons(&mut occurrences, &reconciler, START), Vec::<&str>::new());
}
