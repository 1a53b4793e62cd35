//! Peers that go and come back, and sessions that are played again.

use super::*;
use crate::wire::capability::Forwarding;
use crate::wire::notification::cease;

const ONE: &str = "10.1.0.0/16";
const TWO: &str = "10.2.0.0/16";

fn graceful(long_lived_secs: u32) -> impl Fn(usize, &mut PeerConfig) {
    move |_, config| {
        config.graceful = Some(Graceful { restart_secs: 30, long_lived_secs });
        config.families.iter_mut().for_each(|family| family.forwarding = Forwarding::Kept);
    }
}

/// The first speaker dies and a new one takes its place, its routes still being gathered.
fn restart(world: &mut World) {
    world.cut();
    world.speakers[0] = Speaker::new(settings(1, 65001), Readiness::Restarting);
    let mut its = config(2);
    graceful(0)(0, &mut its);
    world.speakers[0].add_peer(PEER, its, world.now);
    world.reachable = true;
}

#[test]
fn routes_of_a_peer_that_restarts_stay_and_what_it_no_longer_says_goes_at_its_end_of_rib() {
    let mut world = World::new(graceful(0));
    world.originate(0, &[ONE, TWO]);
    world.pass(secs(1));
    restart(&mut world);
    assert!(world.knows(1, ONE) && world.knows(1, TWO));
    world.pass(secs(20));
    assert!(world.established() && world.knows(1, TWO), "it is back, and has said nothing yet");
    world.originate(0, &[ONE]);
    let now = world.now;
    world.speakers[0].complete(Vec::new(), now);
    world.pass(secs(1));
    assert!(world.knows(1, ONE) && !world.knows(1, TWO));
    let changes = world.seen[1].iter().filter(|output| matches!(output, Output::Route(_))).count();
    assert_eq!(changes, 3, "two came, one went; the other was never touched");
}

#[test]
fn a_peer_that_does_not_come_back_in_time_loses_its_routes() {
    let mut world = World::new(graceful(0));
    world.originate(0, &[ONE]);
    world.pass(secs(1));
    world.cut();
    world.pass(secs(29));
    assert!(world.knows(1, ONE));
    world.pass(secs(2));
    assert!(!world.knows(1, ONE));
}

#[test]
fn for_long_its_routes_are_the_last_choice_and_then_they_go() {
    let mut world = World::new(graceful(1000));
    world.originate(0, &[ONE]);
    world.pass(secs(1));
    world.cut();
    world.pass(secs(31));
    let explained = world.speakers[1].rib().explain(&nlri(ONE));
    assert!(explained[0].stale && explained[0].attributes.communities.contains(&Community::LLGR_STALE));
    world.pass(secs(1001));
    assert!(!world.knows(1, ONE));
}

#[test]
fn without_graceful_restart_and_without_forwarding_nothing_stays() {
    let mut world = World::new(|_, config| config.graceful = None);
    world.originate(0, &[ONE]);
    world.pass(secs(1));
    world.cut();
    assert!(!world.knows(1, ONE));

    let mut world = World::new(graceful(0));
    world.originate(0, &[ONE]);
    world.pass(secs(1));
    world.cut();
    world.speakers[0] = Speaker::new(settings(1, 65001), Readiness::Restarting);
    world.speakers[0].add_peer(PEER, config(2), world.now);
    world.reachable = true;
    world.pass(secs(10));
    assert!(world.established() && !world.knows(1, ONE), "it is back without what it forwarded");
}

#[test]
fn an_expired_hold_timer_keeps_routes_and_a_hard_reset_does_not() {
    let mut world = World::new(graceful(0));
    world.originate(0, &[ONE]);
    world.pass(secs(1));
    let now = world.now;
    world.reachable = false;
    world.speakers[1].tick(now + secs(90));
    assert!(world.error(1).contains("(4/0)") && world.knows(1, ONE), "{}", world.error(1));

    let mut world = World::new(graceful(0));
    world.originate(0, &[ONE]);
    world.pass(secs(1));
    let now = world.now;
    world.speakers[0].stop(PEER, Notification::cease(cease::SHUTDOWN, ""), now);
    world.run();
    assert!(!world.knows(1, ONE) && world.error(1).contains("(6/9)"), "{}", world.error(1));
}

#[test]
fn a_peer_that_flaps_every_second_is_met_more_and_more_rarely() {
    let mut world = World::new(|_, config| config.graceful = None);
    for _ in 0..60 {
        world.pass(secs(1));
        if world.established() {
            world.cut();
            world.reachable = true;
        }
    }
    let ups = world.seen[0].iter().filter(|output| matches!(output, Output::Up(_))).count();
    assert!((3..30).contains(&ups), "{ups} sessions in a minute");
}

/// What happened to a speaker.
#[derive(Clone)]
enum Input {
    Connected(Side),
    Received(Side, Vec<u8>),
    Tick,
    Pull(Side),
}

fn play(inputs: &[(Duration, Input)]) -> (Vec<u8>, Vec<Output>) {
    let mut speaker = Speaker::new(settings(2, 65002), Readiness::Complete);
    let (mut bytes, mut outputs) = (Vec::new(), Vec::new());
    speaker.add_peer(PEER, config(1), secs(0));
    for (now, input) in inputs {
        match input {
            Input::Connected(side) => speaker.connected(PEER, *side, local(2), *now),
            Input::Received(side, chunk) => speaker.received(PEER, *side, chunk, *now),
            Input::Tick => speaker.tick(*now),
            Input::Pull(side) => {
                speaker.flush();
                while let Some(chunk) = speaker.pull(PEER, *side) {
                    bytes.extend_from_slice(&chunk);
                }
            }
        }
        outputs.extend(speaker.outputs());
    }
    (bytes, outputs)
}

#[test]
fn a_recorded_session_is_replayed_to_the_same_bytes() {
    let mut world = World::new(|place, config| {
        config.direction = if place == 0 { Direction::Both } else { Direction::Passive };
    });
    world.originate(0, &[ONE, TWO, "2001:db8::/32"]);
    world.pass(secs(200));
    let said = world.bytes[0].clone();
    let side = Side::Incoming;
    let mut inputs = vec![(secs(0), Input::Connected(side)), (secs(0), Input::Pull(side))];
    for (number, chunk) in said.chunks(7).enumerate() {
        let now = Duration::from_millis(number as u64 * 5);
        inputs
            .extend([Input::Received(side, chunk.to_vec()), Input::Tick, Input::Pull(side)].map(|input| (now, input)));
    }
    inputs.push((secs(1000), Input::Tick));
    let first = play(&inputs);
    assert_eq!(first, play(&inputs));
    assert!(first.0.len() > 100 && first.1.iter().any(|output| matches!(output, Output::Up(_))));
    assert!(
        first.1.iter().any(|output| matches!(output, Output::Close(_, _, Some(last)) if last[18] == 3)),
        "at last it gave up"
    );
}

#[test]
fn a_host_whose_addresses_change_under_a_session_says_where_it_is_now() {
    let mut world = World::new(|_, _| ());
    world.originate(0, &[ONE]);
    world.pass(secs(1));
    let (now, before) = (world.now, local(1));
    let moved = LocalAddresses { v4: Some([10, 0, 0, 77].into()), ..before };
    assert!(!world.speakers[0].readdress(PEER, before, now), "they are the old ones");
    assert!(world.speakers[0].readdress(PEER, moved, now));
    world.run();
    let paths = world.speakers[1].rib().explain(&nlri(ONE));
    assert_eq!(paths.iter().map(|path| path.hop).collect::<Vec<_>>(), [NextHop::V4([10, 0, 0, 77].into())]);
    assert!(world.established());
    assert_eq!(world.speakers[0].status(PEER).unwrap().flaps, 0);
}
