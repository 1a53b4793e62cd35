//! Sessions come about, carry routes, are refused, and end.

use super::*;
use crate::machine::Waiting;
use crate::wire::Capability;
use crate::wire::capability::{PathIdMode, Role};
use crate::wire::notification::cease;

const FOUR: &str = "10.1.0.0/16";
const SIX: &str = "2001:db8:1::/48";

#[test]
fn two_speakers_meet_and_exchange_routes_of_both_families() {
    let mut world = World::new(|_, _| ());
    world.originate(0, &[FOUR, SIX]);
    world.pass(secs(1));
    assert!(world.established());
    assert!(world.knows(1, FOUR) && world.knows(1, SIX));
    let explained = world.speakers[1].rib().explain(&nlri(SIX));
    assert_eq!(explained[0].hop, NextHop::V6("2001:db8::1".parse().unwrap(), None));
    assert_eq!(explained[0].attributes.as_path, AsPath::sequence(vec![65001]));
    world.speakers[0].rib().retract(&nlri(FOUR));
    world.pass(secs(1));
    assert!(!world.knows(1, FOUR) && world.knows(1, SIX));
    let routes = |seen: &[Output]| seen.iter().filter(|output| matches!(output, Output::Route(_))).count();
    assert_eq!(routes(&world.seen[1]), 3, "two came, one went");
}

#[test]
fn both_connect_at_once_and_one_connection_stays() {
    for asns in [[65001, 65002], [65002, 65001], [65001, 65001]] {
        let remote = if asns[0] == asns[1] { RemoteAs::Internal } else { RemoteAs::External };
        let mut world = World::with(asns, |_, config| config.remote_as = remote);
        world.pass(secs(30));
        assert!(world.established());
        assert_eq!(world.up.len(), 1);
        let lost = |seen: &[Output]| seen.iter().filter(|output| matches!(output, Output::Up(_))).count();
        assert_eq!([lost(&world.seen[0]), lost(&world.seen[1])], [1, 1]);
    }
}

#[test]
fn a_connection_beside_the_session_that_comes_to_nothing_ends_nothing() {
    let mut world = World::new(|place, config| {
        config.direction = if place == 0 { Direction::Passive } else { Direction::Both };
    });
    // OpenBGPD gives up its own attempt when ours comes, and may say so only after ours has become the session.
    let now = world.now;
    world.speakers[1].connected(PEER, Side::Incoming, local(2), now);
    world.pass(secs(1));
    assert!(world.established());
    assert!(
        world.seen[1].iter().any(|output| matches!(output, Output::Send(_, Side::Incoming))),
        "{:?}",
        world.seen[1]
    );
    let (speaker, now) = (&mut world.speakers[1], world.now);
    speaker.closed(PEER, Side::Incoming, now);
    let said = speaker.outputs();
    let status = speaker.status(PEER).unwrap();
    assert_eq!((status.state, status.flaps, status.last_error), (State::Established, 0, None));
    assert!(!said.iter().any(|output| matches!(output, Output::Down(..))), "{said:?}");
}

#[test]
fn who_says_the_end_before_its_open_is_the_one_who_ended_it() {
    let mut world = World::new(|place, config| {
        config.direction = if place == 0 { Direction::Passive } else { Direction::Both };
    });
    let (speaker, now) = (&mut world.speakers[0], world.now);
    speaker.connected(PEER, Side::Incoming, local(1), now);
    let end = crate::wire::Notification::new(code::STATE_MACHINE, 0);
    speaker.received(PEER, Side::Incoming, &message::notification(&end), now);
    let status = speaker.status(PEER).unwrap();
    assert!(status.last_error.unwrap().starts_with("the peer ended it: "), "{:?}", status.last_heard);
    assert_eq!((status.last_said, status.last_heard.is_some()), (None, true));
}

#[test]
fn an_hour_passes_and_the_session_stays() {
    let mut world = World::new(|_, config| config.hold_secs = 9);
    world.pass(secs(3600));
    assert!(world.established());
    assert_eq!(world.speakers[0].status(PEER).unwrap().flaps, 0);
}

#[test]
fn across_the_border_nothing_goes_without_a_policy() {
    for direction in ["import", "export"] {
        let mut world = World::new(|_, config| match direction {
            "import" => config.import = None,
            _ => config.export = None,
        });
        world.originate(0, &[FOUR]);
        world.pass(secs(1));
        assert!(world.established() && !world.knows(1, FOUR), "{direction}");
    }
    let mut world = World::with([65001, 65001], |_, config| {
        (config.import, config.export, config.remote_as) = (None, None, RemoteAs::Internal);
    });
    world.originate(0, &[FOUR]);
    world.pass(secs(1));
    assert!(world.knows(1, FOUR));
}

#[test]
fn a_stranger_is_refused_with_the_right_words() {
    let refused = |change: fn(usize, &mut PeerConfig), said: &str| {
        let mut world = World::new(change);
        world.pass(secs(1));
        assert!(!world.established());
        let errors = [world.error(0), world.error(1)].join(" | ");
        assert!(errors.contains(said), "{errors} lacks {said}");
    };
    let seven: fn(usize, &mut PeerConfig) = |place, config| {
        if place == 0 {
            config.remote_as = RemoteAs::Exactly(7);
        }
    };
    refused(seven, "we ended it: the peer is AS 65002, 7 was configured (2/2)");
    refused(seven, "the AS number is not the one expected (2/2); it expects us in another AS than 65002");
    refused(|_, config| config.remote_as = RemoteAs::Internal, "and one of our own AS, 65001, was configured (2/2)");
    refused(
        |_, config| config.role = Some(Role::Customer),
        "our role is customer and the peer's customer, which do not",
    );
    let mut world =
        World::new(|place, config| config.role = Some(if place == 0 { Role::Customer } else { Role::Provider }));
    world.pass(secs(1));
    assert!(world.established());
}

#[test]
fn a_session_that_is_stopped_says_why_and_stays_down_until_it_is_resumed() {
    let mut world = World::new(|_, _| ());
    world.originate(0, &[FOUR]);
    world.pass(secs(1));
    let now = world.now;
    world.speakers[0].stop(PEER, Notification::cease(cease::SHUTDOWN, "maintenance until noon"), now);
    world.pass(secs(100));
    assert_eq!(world.state(0), State::Idle);
    assert!(world.error(1).contains("maintenance until noon"), "{}", world.error(1));
    assert!(!world.knows(1, FOUR), "a hard reset keeps nothing");
    let now = world.now;
    world.speakers[0].resume(PEER, now);
    world.pass(secs(100));
    assert!(world.established() && world.knows(1, FOUR));
}

#[test]
fn more_routes_than_allowed_end_the_session_for_good() {
    let mut world = World::new(|_, config| config.families[0].limit = Some(PrefixLimit::of(2)));
    world.originate(0, &["10.1.0.0/16", "10.2.0.0/16"]);
    world.originate(0, &["2001:db8:1::/48"]);
    world.pass(secs(1));
    assert!(world.established());
    world.originate(0, &["10.3.0.0/16"]);
    world.pass(secs(300));
    assert_eq!(world.state(1), State::Idle);
    assert!(world.error(0).contains("too many prefixes"), "{}", world.error(0));
}

#[test]
fn who_has_nearly_too_many_is_said_and_who_had_too_many_is_met_again_after_a_while() {
    let mut world = World::new(|place, config| {
        let excess = if place == 1 { Excess::Ended(Some(secs(300))) } else { Excess::Warned };
        config.families[0].limit = Some(PrefixLimit { excess, ..PrefixLimit::of(2) });
    });
    world.originate(0, &[FOUR]);
    world.originate(1, &["10.4.0.0/16", "10.5.0.0/16", "10.6.0.0/16"]);
    world.pass(secs(1));
    assert!(world.established(), "more than were allowed are only said");
    let near = |world: &World, place: usize| world.speakers[place].status(PEER).unwrap().near_limit;
    assert_eq!((near(&world, 0)[0].1, near(&world, 1).len()), (3, 0));
    world.originate(0, &["10.2.0.0/16"]);
    world.pass(secs(1));
    assert!(world.established() && near(&world, 1)[0].1 == 2);
    let said = world.seen[1].iter().filter(|output| matches!(output, Output::NearLimit(..))).count();
    assert_eq!(said, 1);
    world.originate(0, &["10.3.0.0/16"]);
    world.pass(secs(200));
    assert_eq!(world.state(1), State::Idle);
    assert!(
        world.error(1).contains("more than 2 ipv4 routes") && world.error(1).contains("in 300 s"),
        "{}",
        world.error(1)
    );
    ["10.2.0.0/16", "10.3.0.0/16"].iter().for_each(|net| world.speakers[0].rib().retract(&nlri(net)));
    world.pass(secs(200));
    assert!(world.established());
}

#[test]
fn garbage_ends_the_session_and_bytes_one_by_one_do_not() {
    let mut world = World::new(|_, _| ());
    world.pass(secs(1));
    let side = *world.up.first().unwrap();
    let now = world.now;
    for byte in message::keepalive().iter().chain(&crate::wire::update::end_of_rib(Family::IPV6)) {
        world.speakers[0].received(PEER, side, &[*byte], now);
    }
    assert!(world.established());
    world.speakers[0].received(PEER, side, &[0; 19], now);
    world.run();
    assert!(world.error(1).contains("(1/1)"), "{}", world.error(1));
}

#[test]
fn half_a_message_for_ever_is_no_sign_of_life() {
    let mut world = World::new(|_, _| ());
    world.pass(secs(1));
    let (now, side) = (world.now, *world.up.first().unwrap());
    let half = &message::keepalive()[..18];
    world.speakers[0].received(PEER, side, half, now);
    world.speakers[0].tick(now + secs(90));
    assert!(world.error(0).contains("(4/0)"), "{}", world.error(0));
}

#[test]
fn a_peer_that_takes_nothing_is_given_up() {
    let mut world = World::new(|_, _| ());
    world.pass(secs(1));
    let (now, side) = (world.now, *world.up.first().unwrap());
    let speaker = &mut world.speakers[0];
    speaker.sending(PEER, side, Waiting::Something, now);
    // It goes on talking, so the hold time does not end it.
    for later in (0..=480).step_by(20) {
        speaker.received(PEER, side, &message::keepalive(), now + secs(later));
        speaker.tick(now + secs(later));
    }
    assert!(world.error(0).contains("(8/0)"), "{}", world.error(0));
}

#[test]
fn a_refresh_sends_everything_again() {
    let mut world = World::new(|_, _| ());
    world.originate(0, &[FOUR]);
    world.pass(secs(1));
    let before = world.bytes[0].len();
    let (now, side) = (world.now, World::side(0, *world.up.first().unwrap()));
    let refresh = crate::wire::Refresh { family: Family::IPV4, subtype: crate::wire::refresh::Subtype::Request };
    world.speakers[0].received(PEER, side, &message::refresh(&refresh), now);
    world.run();
    assert!(world.bytes[0].len() > before + 2 * 23, "begin, the route, end");
    assert!(world.established() && world.knows(1, FOUR));
}

#[test]
fn several_paths_travel_with_their_identifiers() {
    let mut world = World::with([65001, 65001], |_, config| {
        config.remote_as = RemoteAs::Internal;
        config.families[0].path_ids = Some(PathIdMode::Both);
    });
    world.originate(0, &[FOUR]);
    world.pass(secs(1));
    let explained = world.speakers[1].rib().explain(&nlri(FOUR));
    assert_eq!((explained.len(), explained[0].path_id), (1, 1));
}

#[test]
fn bfd_down_ends_it_at_once_and_nothing_is_kept_of_it() {
    let mut world = World::new(|place, config| {
        config.strict_bfd = if place == 0 { StrictBfd::Offered } else { StrictBfd::No };
    });
    world.originate(0, &[FOUR]);
    world.originate(1, &[SIX]);
    world.pass(secs(1));
    assert!(world.knows(0, SIX) && world.knows(1, FOUR));
    let offers = |world: &World, to: usize| {
        world.speakers[to].status(PEER).unwrap().capabilities.contains(&Capability::BfdStrict)
    };
    assert_eq!((offers(&world, 1), offers(&world, 0)), (true, false));
    let now = world.now;
    world.reachable = false;
    world.speakers[0].path_down(PEER, now);
    world.run();
    // As a hard reset: both offer graceful restart, and what led nowhere must not be used over it.
    assert!(world.error(1).contains("BFD says that the path is down (6/9)"), "{}", world.error(1));
    assert!([0, 1].iter().all(|place| !world.speakers[*place].status(PEER).unwrap().stale));
    assert_eq!((world.established(), world.knows(0, SIX), world.knows(1, FOUR)), (false, false, false));
}

#[test]
fn bfd_up_starts_at_once_who_waits_and_nobody_who_is_stopped() {
    let mut world = World::new(|_, _| ());
    world.reachable = false;
    world.pass(secs(1));
    let now = world.now;
    world.reachable = true;
    world.speakers[0].path_up(PEER, now);
    world.run();
    assert!(world.established(), "without the pause for who did not answer");
    world.pass(secs(200));
    assert_eq!(world.speakers[0].status(PEER).unwrap().flaps, 0, "nor does the pause end what has begun meanwhile");
    let now = world.now;
    world.speakers[0].stop(PEER, Notification::cease(cease::SHUTDOWN, ""), now);
    world.speakers[0].path_up(PEER, now);
    world.pass(secs(60));
    assert!(!world.established());
}

#[test]
fn a_peer_that_goes_takes_nothing_of_others_with_it() {
    let mut world = World::new(|_, _| ());
    world.originate(0, &[FOUR]);
    world.pass(secs(1));
    let now = world.now;
    let passive = PeerConfig { direction: Direction::Passive, ..config(9) };
    world.speakers[0].add_peer(PeerId(2), passive, now);
    world.speakers[0].remove_peer(PeerId(2), Notification::cease(cease::DECONFIGURED, ""), now);
    world.run();
    assert!(world.established() && world.knows(1, FOUR));
}

fn without(net: &str) -> Option<Arc<Policy>> {
    let range = crate::policy::PrefixRange::exactly(net.parse().unwrap());
    let rule = crate::policy::Rule {
        name: "not this".into(),
        conditions: vec![crate::policy::Condition::Prefix(crate::policy::Prefixes(vec![range]))],
        actions: vec![],
        then: crate::policy::Then::Reject,
    };
    Some(Arc::new(Policy::new(vec![rule], crate::policy::Verdict::Accept).unwrap()))
}

fn accept() -> Option<Arc<Policy>> {
    Some(Arc::new(Policy::accept()))
}

#[test]
fn another_import_policy_asks_for_the_routes_again_and_the_session_stays() {
    let mut world = World::new(|_, _| ());
    world.originate(0, &[FOUR, SIX]);
    world.pass(secs(1));
    let now = world.now;
    let done = world.speakers[1].set_policies(PEER, (without(FOUR), accept()), now);
    assert_eq!(done, PolicyChange::Refreshed);
    world.run();
    assert!(!world.knows(1, FOUR) && world.knows(1, SIX), "what the new policy rejects is gone");
    assert_eq!(world.speakers[1].set_policies(PEER, (accept(), accept()), now), PolicyChange::Refreshed);
    world.run();
    assert!(world.knows(1, FOUR) && world.knows(1, SIX), "what the old one rejected is there again");
    let again = world.speakers[1].set_policies(PEER, (accept(), accept()), now);
    assert_eq!(again, PolicyChange::Nothing);
    assert_eq!([0, 1].map(|place| world.speakers[place].status(PEER).unwrap().flaps), [0, 0]);
}

#[test]
fn another_export_policy_withdraws_what_is_not_told_any_longer() {
    for ids in [None, Some(PathIdMode::Both)] {
        let mut world = World::with([65001, 65001], |_, config| {
            config.remote_as = RemoteAs::Internal;
            config.families[0].path_ids = ids;
        });
        world.originate(0, &[FOUR, SIX, "203.0.113.0/24"]);
        world.pass(secs(1));
        assert_eq!(world.speakers[0].status(PEER).unwrap().told, 3);
        let now = world.now;
        let done = world.speakers[0].set_policies(PEER, (accept(), without(FOUR)), now);
        assert_eq!(done, PolicyChange::Refreshed);
        world.run();
        assert!(!world.knows(1, FOUR) && world.knows(1, SIX) && world.knows(1, "203.0.113.0/24"), "{ids:?}");
        assert_eq!(world.speakers[0].status(PEER).unwrap().told, 2);
        world.speakers[0].set_policies(PEER, (accept(), accept()), now);
        world.run();
        assert!(world.knows(1, FOUR), "{ids:?}");
        assert!(world.established());
        assert_eq!(world.speakers[0].status(PEER).unwrap().flaps, 0);
    }
}

#[test]
fn messages_and_last_words_are_counted_both_ways() {
    use crate::wire::Kind;
    let mut world = World::new(|_, _| ());
    world.originate(0, &[FOUR]);
    world.pass(secs(1));
    let count = |world: &World, place: usize, kind: Kind| {
        let status = world.speakers[place].status(PEER).unwrap();
        let of = |messages: Messages| messages.each().find(|(known, _)| *known == kind).unwrap().1;
        (of(status.sent), of(status.received))
    };
    assert_eq!(count(&world, 0, Kind::Update), (3, 2), "a route and two End-of-RIBs");
    assert_eq!(count(&world, 1, Kind::Update), (2, 3));
    let now = world.now;
    world.speakers[0].stop(PEER, Notification::new(code::CEASE, cease::SHUTDOWN), now);
    world.run();
    let [said, heard] = [0, 1].map(|place| world.speakers[place].status(PEER).unwrap());
    assert!(said.last_said.is_some_and(|words| words.contains("6/")) && said.last_heard.is_none());
    assert!(heard.last_heard.is_some_and(|words| words.contains("6/")) && heard.last_said.is_none());
}
