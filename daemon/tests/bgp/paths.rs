//! Sessions whose paths BFD watches, ours and BIRD's.

use std::time::{Duration, Instant};

use anyhow::Result;
use netns_harness::{Bird, Lab, Node};
use towpathd::bgp::liveness::{self, BfdSettings, Liveness, Strictness};
use towpathd::bgp::wish::Neighbour;

use crate::bird::{self, THEIRS};
use crate::{Speaker, hops, neighbour, v4};

/// BIRD's BFD beside its BGP.
const WATCHED: &str = "bfd on;\n}\nprotocol bfd {\n interface \"*\" { interval 50 ms; multiplier 3; };";
/// The same, of which the session knows nothing.
const UNWATCHED: &str = "}\nprotocol bfd {\n interface \"*\" { interval 50 ms; multiplier 3; };";

fn watched(bird: &Bird, strictness: Strictness) -> Neighbour {
    let interval = Duration::from_millis(50);
    let settings = BfdSettings { transmit: interval, receive: interval, multiplier: hops(3) };
    Neighbour { liveness: Some(Liveness { settings, strictness }), ..neighbour(v4(&bird.node).into()) }
}

/// A speaker with BFD beside it, as in the daemon.
fn start(us: &Node) -> Result<Speaker> {
    let mut speaker = Speaker::start(us)?;
    let nobody = liveness::talk().1;
    let end = std::mem::replace(&mut speaker.bfd, nobody);
    us.namespace().within(|| Ok(towpathd::bfd::start(end)?))?;
    Ok(speaker)
}

#[test]
fn routes_over_a_dead_path_are_gone_long_before_the_hold_time_and_none_is_kept() -> Result<()> {
    let lab = Lab::new("shelldead")?;
    let us = lab.node("us")?;
    let bird = bird::start(&lab, "bird", v4(&us).into(), WATCHED)?;
    let mut speaker = start(&us)?;
    speaker.want("bird", watched(&bird, Strictness::Loose));
    speaker.until("their routes", |it| THEIRS.iter().all(|net| it.knows(net)))?;
    speaker.until("BFD to be up", |_| bird.says("show bfd sessions", " Up "))?;
    let begun = Instant::now();
    bird.node.wire().unplug()?;
    // Both offer graceful restart; the hold time is 90 s.
    speaker.until("their routes to be gone", |it| it.learnt.is_empty())?;
    assert!(begun.elapsed() < Duration::from_secs(30));
    let peer = speaker.peer("bird").unwrap();
    assert!(!peer.stale && peer.flaps == 1, "{peer:?}");
    assert!(peer.trouble.as_ref().is_some_and(|why| why.contains("BFD says that the path is down")), "{peer:?}");
    speaker.until("BIRD to have noticed", |_| !bird.says("show bfd sessions", " Up "))?;
    bird.node.wire().plug()?;
    speaker.until("them to be back", |it| THEIRS.iter().all(|net| it.knows(net)))
}

#[test]
fn of_two_ways_the_dead_one_is_left_and_the_other_used() -> Result<()> {
    let lab = Lab::new("shelltwoways")?;
    let us = lab.node("us")?;
    let birds = ["one", "two"].map(|name| bird::start(&lab, name, v4(&us).into(), WATCHED).unwrap());
    let mut speaker = start(&us)?;
    for (name, bird) in ["one", "two"].into_iter().zip(&birds) {
        speaker.want(name, watched(bird, Strictness::Strict));
    }
    let ways =
        |it: &mut Speaker, count: usize| it.learnt.len() == 2 && it.learnt.values().all(|hops| hops.len() == count);
    speaker.until("both ways", |it| ways(it, 2))?;
    birds[0].node.wire().unplug()?;
    speaker.until("one way", |it| ways(it, 1))?;
    assert!(speaker.is_up("two") && speaker.peer("two").is_some_and(|peer| peer.flaps == 0));
    Ok(())
}

#[test]
fn a_strict_session_waits_for_bfd_also_after_it_was_configured_otherwise() -> Result<()> {
    let lab = Lab::new("shellstrict")?;
    let us = lab.node("us")?;
    let bird = bird::start(&lab, "bird", v4(&us).into(), UNWATCHED)?;
    let mut speaker = start(&us)?;
    speaker.want("bird", watched(&bird, Strictness::Strict));
    let waits = |it: &mut Speaker| {
        it.peer("bird").and_then(|peer| peer.trouble).is_some_and(|why| why.contains("waits for BFD"))
    };
    speaker.until("the session to wait", waits)?;
    assert!(!speaker.is_up("bird"));
    bird::configure(&bird, v4(&us).into(), WATCHED)?;
    speaker.until("the session", |it| it.is_up("bird"))?;
    // Another session over the same path, which is up and of which nothing new is heard.
    let mut other = watched(&bird, Strictness::Strict);
    other.session.hold_secs = 30;
    speaker.want("bird", other);
    speaker.until("the session anew", |it| it.is_up("bird") && bird.says("show protocols all towpath", "/30"))?;
    // Without BFD at the other end it is over, and waits again.
    bird::configure(&bird, v4(&us).into(), UNWATCHED)?;
    speaker.until("the session to wait", waits)?;
    assert!(!speaker.is_up("bird"));
    Ok(())
}

#[test]
fn after_a_start_a_session_waits_for_bfd_but_not_for_one_that_never_comes() -> Result<()> {
    let lab = Lab::new("shellfirst")?;
    let us = lab.node("us")?;
    let bird = bird::start(&lab, "bird", v4(&us).into(), WATCHED)?;
    let mut speaker = start(&us)?;
    speaker.want("bird", watched(&bird, Strictness::Loose));
    speaker.until("the session", |it| {
        let up = it.is_up("bird");
        assert!(!up || bird.says("show bfd sessions", " Up "), "the session came before BFD");
        up
    })?;
    bird::configure(&bird, v4(&us).into(), UNWATCHED)?;
    drop(speaker);
    let mut speaker = start(&us)?;
    speaker.want("bird", watched(&bird, Strictness::Loose));
    speaker.until("the session to wait", |it| {
        it.peer("bird").and_then(|peer| peer.trouble).is_some_and(|why| why.contains("waits a few seconds for BFD"))
    })?;
    speaker.until("the session", |it| it.is_up("bird"))?;
    assert!(!bird.says("show bfd sessions", " Up "));
    Ok(())
}
