//! Peers that mean no good within what the protocol allows: what they cost is bounded.

use super::*;
use crate::machine::Waiting;
use crate::wire::capability::{GracefulRestart, PathIdMode};
use crate::wire::refresh::Subtype;
use crate::wire::{Capability, Kind, Open, Refresh};

const FOUR: &str = "10.1.0.0/16";

fn refresh(subtype: Subtype) -> Vec<u8> {
    message::refresh(&Refresh { family: Family::IPV4, subtype })
}

impl World {
    /// The first speaker hears these bytes of the other.
    fn hear(&mut self, bytes: &[u8]) {
        let (side, now) = (*self.up.first().unwrap(), self.now);
        self.speakers[0].received(PEER, side, bytes, now);
    }
}

/// An UPDATE of AS 65002 with this ORIGIN.
fn update(origin: u8, routes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    message::write(Kind::Update, &mut out, |out| {
        let attributes =
            [&[0x40, 1, 1, origin, 0x40, 2, 6, 2, 1][..], &65002_u32.to_be_bytes(), &[0x40, 3, 4, 10, 0, 0, 2]];
        let attributes = attributes.concat();
        out.extend([0, 0, 0, attributes.len() as u8]);
        out.extend(attributes);
        out.extend_from_slice(routes);
    });
    out
}

#[test]
fn who_asks_for_all_routes_again_and_again_and_takes_none_has_no_queue() {
    let mut world = World::new(|_, _| ());
    world.originate(0, &[FOUR, "10.2.0.0/16"]);
    world.pass(secs(1));
    for _ in 0..10_000 {
        world.hear(&refresh(Subtype::Request));
    }
    let queued = world.speakers[0].status(PEER).unwrap().queued;
    assert!(queued < 100, "{queued} bytes");
    let before = world.bytes[0].len();
    world.run();
    assert!(world.bytes[0].len() - before < 300, "the mark, two routes, the mark");
    assert!(world.established() && world.knows(1, FOUR));
}

#[test]
fn all_routes_of_a_peer_are_looked_through_once_a_second_at_most() {
    let mut world = World::new(|_, _| ());
    world.originate(1, &[FOUR]);
    world.pass(secs(1));
    let again = |world: &mut World| {
        let side = World::side(1, *world.up.first().unwrap());
        let now = world.now;
        world.speakers[1].received(PEER, side, &refresh(Subtype::Request), now);
        world.run();
        assert!(world.knows(0, FOUR));
    };
    let pair = [refresh(Subtype::Begin), refresh(Subtype::End)].concat();
    world.hear(&pair);
    assert!(!world.knows(0, FOUR), "what is not said again goes");
    again(&mut world);
    world.hear(&pair);
    assert!(world.knows(0, FOUR), "too soon: neither is heard");
    world.pass(secs(1));
    world.hear(&refresh(Subtype::End));
    assert!(world.knows(0, FOUR), "an end without a beginning");
    world.hear(&pair);
    assert!(!world.knows(0, FOUR));
}

#[test]
fn a_destination_has_255_paths_of_a_peer_at_most() {
    let mut world = World::new(|_, config| config.families[0].path_ids = Some(PathIdMode::Both));
    world.pass(secs(1));
    let route = |path_id: u32| [&path_id.to_be_bytes()[..], &[16, 10, 1]].concat();
    let paths = |world: &World| world.speakers[0].status(PEER).unwrap().paths;
    for first in (0..20_000).step_by(100) {
        world.hear(&update(0, &(first..first + 100).flat_map(route).collect::<Vec<u8>>()));
    }
    assert_eq!((paths(&world), world.established()), (255, true));
    // Those that it has it may replace, and in the place of one that goes comes another.
    world.hear(&update(1, &route(7)));
    assert_eq!(paths(&world), 255);
    let mut gone = Vec::new();
    message::write(Kind::Update, &mut gone, |out| out.extend([&[0, 7][..], &route(7), &[0, 0]].concat()));
    world.hear(&gone);
    assert_eq!(paths(&world), 254);
    world.hear(&update(0, &route(30_000)));
    assert_eq!(paths(&world), 255);
    world.run();
}

#[test]
fn the_first_malformed_update_of_a_session_is_said_and_all_are_counted() {
    let mut world = World::new(|_, _| ());
    world.pass(secs(1));
    world.hear(&update(9, &[16, 10, 1]));
    world.hear(&update(8, &[16, 10, 1]));
    world.hear(&update(0, &[16, 10, 2]));
    world.run();
    let said = world.seen[0].iter().filter(|output| matches!(output, Output::Malformed(..)));
    assert_eq!(said.count(), 1);
    let status = world.speakers[0].status(PEER).unwrap();
    assert_eq!((status.malformed, status.paths, world.established()), (2, 1, true));
    let fault = status.last_fault.unwrap();
    assert!(fault.contains("ORIGIN") && fault.contains("treated as withdrawn"), "{fault}");
}

#[test]
fn who_takes_nothing_while_others_come_and_go_is_given_up_before_memory_is() {
    let mut world = World::new(|_, _| ());
    world.pass(secs(1));
    let (now, side) = (world.now, *world.up.first().unwrap());
    world.speakers[0].sending(PEER, side, Waiting::Something, now);
    let net = |number: u32| {
        let [_, a, b, c] = number.to_be_bytes();
        nlri(&format!("2001:db8:{:x}:{:x}::/64", u16::from(a), u16::from_be_bytes([b, c])))
    };
    let hop = NextHop::V6("2001:db8::1".parse().unwrap(), None);
    let mut number = 0;
    while world.established() {
        let span = number..number + 4096;
        for number in span.clone() {
            // Each with attributes of its own, so that what waits is soon too much.
            let attributes = Attributes { med: Some(number), ..Attributes::default() };
            world.speakers[0].rib().originate(&net(number), &attributes, hop);
        }
        world.speakers[0].flush();
        span.for_each(|number| world.speakers[0].rib().retract(&net(number)));
        world.speakers[0].flush();
        world.speakers[0].tick(now);
        number += 4096;
        assert!(number < 1 << 18, "its destinations are kept for ever");
    }
    assert!(world.error(0).contains("out of resources"), "{}", world.error(0));
}

#[test]
fn who_connects_anew_again_and_again_under_graceful_restart_has_to_wait() {
    let mut world = World::new(|_, config| config.direction = Direction::Passive);
    world.pass(secs(1));
    let open = {
        let capabilities =
            vec![Capability::FourOctetAs(65002), Capability::GracefulRestart(GracefulRestart::default())];
        message::open(&Open { asn: 65002, hold_secs: 90, identifier: [10, 0, 0, 2].into(), capabilities })
    };
    let speaker = &mut world.speakers[0];
    let mut sessions = 0;
    for _ in 0..20 {
        if speaker.may_accept(PEER, secs(2)) {
            speaker.connected(PEER, Side::Incoming, local(1), secs(2));
            speaker.received(PEER, Side::Incoming, &[open.clone(), message::keepalive()].concat(), secs(2));
            sessions += 1;
        }
    }
    assert_eq!(sessions, 4, "three are forgiven");
    assert!(speaker.status(PEER).unwrap().state < State::Established && !speaker.rests(PEER));
}
