//! Paths that are watched together with others' BFD.

use std::net::IpAddr;

use anyhow::Result;
use ipam::Family::{self, V4, V6};
use netns_harness::{Lab, Node};
use towpathd::bgp::liveness::{BfdKey, BfdState};

use crate::neighbour::{Neighbour, Peer, Place, bird, frr};
use crate::ours::{Ours, direct, every, far};

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Bird,
    Frr,
}

fn meet(who: Who, node: &Node, peer: &Peer, interval: u32) -> Result<Neighbour> {
    match who {
        Who::Bird => bird(node, peer, interval),
        Who::Frr => frr(node, peer, interval),
    }
}

/// Two nodes on a link whose session is up, with 3 × so many milliseconds: many enough, where nothing may go down by itself, for a router that
/// has to share its processor.
fn up(lab: &Lab, who: Who, (family, interval): (Family, u32)) -> Result<(Ours, Neighbour, Peer, BfdKey)> {
    let [us, them] = [lab.node("us")?, lab.node("them")?];
    let peer = Peer { local: them.address(family)?, remote: us.address(family)?, place: Place::OnLink };
    let mut ours = Ours::start(us)?;
    let key = direct(peer.local);
    ours.watch(key, every(interval.into(), 3));
    let neighbour = meet(who, &them, &peer, interval)?;
    ours.next(&key, BfdState::Up)?;
    neighbour.until(&peer, neighbour.up())?;
    Ok((ours, neighbour, peer, key))
}

fn a_router_that_is_killed_is_missed(who: Who, family: Family) -> Result<()> {
    let lab = Lab::new("bfdkill")?;
    let (mut ours, neighbour, _, key) = up(&lab, who, (family, 50))?;
    neighbour.process().kill()?;
    let news = ours.next(&key, BfdState::Down)?;
    assert!(news.reason.starts_with("no packet for "), "{news:?}");
    neighbour.process().restart()?;
    ours.next(&key, BfdState::Up)?;
    Ok(())
}

#[test]
fn a_bird_that_is_killed_is_missed_and_found_again() -> Result<()> {
    a_router_that_is_killed_is_missed(Who::Bird, V4)
}

#[test]
fn a_bfdd_that_is_killed_is_missed_and_found_again() -> Result<()> {
    a_router_that_is_killed_is_missed(Who::Frr, V6)
}

fn a_path_that_is_cut_is_missed_by_both(who: Who, family: Family) -> Result<()> {
    let lab = Lab::new("bfdcut")?;
    let (mut ours, neighbour, peer, key) = up(&lab, who, (family, 200))?;
    neighbour.node().wire().unplug()?;
    ours.next(&key, BfdState::Down)?;
    neighbour.until(&peer, "own")?;
    neighbour.node().wire().plug()?;
    ours.next(&key, BfdState::Up)?;
    // Our own link: what cannot be sent is tried again when it can.
    ours.node.wire().down()?;
    ours.next(&key, BfdState::Down)?;
    ours.node.wire().up()?;
    ours.next(&key, BfdState::Up)?;
    neighbour.until(&peer, neighbour.up())
}

#[test]
fn a_cable_between_us_and_bird_that_is_pulled_is_missed() -> Result<()> {
    a_path_that_is_cut_is_missed_by_both(Who::Bird, V4)
}

#[test]
fn a_cable_between_us_and_bfdd_that_is_pulled_is_missed() -> Result<()> {
    a_path_that_is_cut_is_missed_by_both(Who::Frr, V4)
}

fn intervals_change_and_nothing_goes_down(who: Who, family: Family) -> Result<()> {
    let lab = Lab::new("bfdtimes")?;
    let (mut ours, neighbour, peer, key) = up(&lab, who, (family, 300))?;
    ours.watch(key, every(800, 5));
    let slow = if who == Who::Bird { "0.800    4.000" } else { "Receive interval: 800ms" };
    neighbour.until(&peer, slow)?;
    ours.until(&key, "silence is noticed after 2.4s")?;
    neighbour.retime(&peer, 500)?;
    ours.watch(key, every(500, 3));
    ours.until(&key, "silence is noticed after 1.5s")?;
    ours.watch(key, every(400, 3));
    ours.watch(key, every(200, 3));
    neighbour.retime(&peer, 200)?;
    let fast = if who == Who::Bird { "0.200    0.600" } else { "Transmission interval: 200ms" };
    neighbour.until(&peer, fast)?;
    ours.until(&key, "silence is noticed after 600ms")?;
    assert_eq!(ours.told.len(), 1, "{:?}", ours.told);
    // And it is still watched.
    neighbour.process().kill()?;
    let news = ours.next(&key, BfdState::Down)?;
    assert_eq!(news.reason, "no packet for 600ms");
    Ok(())
}

#[test]
fn bird_and_we_change_intervals_while_it_is_up() -> Result<()> {
    intervals_change_and_nothing_goes_down(Who::Bird, V6)
}

#[test]
fn bfdd_and_we_change_intervals_while_it_is_up() -> Result<()> {
    intervals_change_and_nothing_goes_down(Who::Frr, V4)
}

fn either_end_may_switch_it_off_and_nothing_was_wrong(who: Who) -> Result<()> {
    let lab = Lab::new("bfdoff")?;
    let (mut ours, neighbour, peer, key) = up(&lab, who, (V4, 300))?;
    neighbour.switch_off(&peer)?;
    // BIRD says no AdminDown: it falls silent.
    ours.next(&key, if who == Who::Bird { BfdState::Down } else { BfdState::AdminDown })?;
    neighbour.switch_on(&peer)?;
    ours.next(&key, BfdState::Up)?;
    neighbour.until(&peer, neighbour.up())?;
    ours.leave(&key);
    let off = if who == Who::Bird { "Down" } else { "Remote diagnostics: administratively down" };
    neighbour.until(&peer, off)?;
    ours.watch(key, every(300, 3));
    ours.next(&key, BfdState::Up)?;
    neighbour.until(&peer, neighbour.up())?;
    // The daemon ends: that is no failure either.
    ours.end()?;
    neighbour.until(&peer, off)
}

#[test]
fn bird_and_we_may_switch_it_off() -> Result<()> {
    either_end_may_switch_it_off_and_nothing_was_wrong(Who::Bird)
}

#[test]
fn bfdd_and_we_may_switch_it_off() -> Result<()> {
    either_end_may_switch_it_off_and_nothing_was_wrong(Who::Frr)
}

/// A node beyond a router, and routes there and back.
fn beyond(lab: &Lab) -> Result<([Node; 2], [IpAddr; 2])> {
    let [us, router, them] = [lab.node("us")?, lab.node("router")?, lab.node("them")?];
    router.set_sysctl("net/ipv4/ip_forward", "1")?;
    // Addresses that are of no link, so that the router is in between.
    let addresses = ["10.99.0.1", "10.99.0.2"];
    for (node, own, other) in [(&us, 0, 1), (&them, 1, 0)] {
        node.ip(&format!("address add {}/32 dev lo", addresses[own]))?;
        router.ip(&format!("route add {}/32 via {}", addresses[own], node.address(V4)?))?;
        node.ip(&format!("route add {}/32 via {} src {}", addresses[other], router.address(V4)?, addresses[own]))?;
    }
    Ok(([us, them], addresses.map(|address| address.parse().unwrap())))
}

fn many_hops_are_watched_within_the_limit(who: Who) -> Result<()> {
    let lab = Lab::new("bfdfar")?;
    let ([us, them], [near, there]) = beyond(&lab)?;
    let peer = Peer { local: there, remote: near, place: Place::Far };
    let neighbour = meet(who, &them, &peer, 200)?;
    let mut ours = Ours::start(us)?;
    // BIRD sends with the TTL of everything else; what has passed one router has one less left.
    let sent = if who == Who::Bird { 64 } else { 255 };
    let key = far(near, there, sent - 1);
    ours.watch(key, every(200, 3));
    ours.next(&key, BfdState::Up)?;
    neighbour.until(&peer, neighbour.up())?;
    neighbour.process().kill()?;
    ours.next(&key, BfdState::Down)?;
    neighbour.process().restart()?;
    ours.next(&key, BfdState::Up)?;
    ours.leave(&key);
    let nearer = far(near, there, sent);
    ours.watch(nearer, every(50, 3));
    assert_eq!(ours.wait(std::time::Duration::from_secs(3), &nearer)?, None);
    Ok(())
}

#[test]
fn bird_beyond_a_router_is_watched() -> Result<()> {
    many_hops_are_watched_within_the_limit(Who::Bird)
}

#[test]
fn bfdd_beyond_a_router_is_watched() -> Result<()> {
    many_hops_are_watched_within_the_limit(Who::Frr)
}
