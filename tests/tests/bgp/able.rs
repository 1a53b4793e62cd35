//! What a router can, cannot, or says in another form, and the daemon beside it: old speakers, long OPENs, resets that keep routes and resets that do not.

use anyhow::{Result, ensure};
use netns_harness::{Lab, wait_for};

use crate::daemon::{Speaker, has};
use crate::neighbour::frr::Frr;
use crate::neighbour::{LIMIT, Neighbour, THEIRS, address, bird};

/// Waits until a peer is up, and what was agreed upon has this in it.
fn wait_agreed(us: &Speaker, name: &str, text: &str) -> Result<()> {
    wait_for(&format!("{name} to agree upon: {text}"), LIMIT, || {
        let peer = us.peer(name)?;
        let agreed = peer["agreed"].to_string() + &peer["capabilities"].to_string();
        ensure!(peer["state"] == "Established" && agreed.contains(text), "{peer:#}");
        Ok(())
    })
}

#[test]
fn an_frr_that_says_little_or_much_and_resets_softly_or_hard_is_understood() -> Result<()> {
    let lab = Lab::new("bgpablefrr")?;
    let node = lab.node("us")?;
    let own = address(&node, ipam::Family::V4);
    let frr = Frr::start(
        &lab,
        &node,
        (" bgp graceful-restart notification\n bgp graceful-restart preserve-fw-state", "", ""),
    )?;
    let us = Speaker::start(&lab, &node, &[(frr.node(), "")])?;
    us.wait_ways(1)?;
    wait_agreed(&us, "frr", "with marks where they begin and end")?;
    // FRR asks for everything again, and hears it between two marks (RFC 7313).
    frr.ask(&format!("clear bgp ipv4 unicast {own} soft in"))?;
    wait_for("FRR's question", LIMIT, || {
        let peer = us.peer("frr")?;
        ensure!(peer["messages_in"]["refresh"].as_u64() > Some(0), "{peer:#}");
        Ok(())
    })?;
    for subnet in us.subnets()?.values() {
        has(&frr, subnet)?;
    }
    // A hard reset takes the routes along, one that is not leaves them (RFC 8538 section 3).
    frr.configure(&[&format!("neighbor {own} shutdown message gone")])?;
    us.wait_ways(0)?;
    frr.configure(&[&format!("no neighbor {own} shutdown")])?;
    us.wait_ways(1)?;
    let heard = us.peer("frr")?["last_heard"].to_string();
    assert!(heard.contains("6/9") && heard.contains("gone"), "{heard}");
    frr.configure(&["no bgp hard-administrative-reset"])?;
    let flaps = us.peer("frr")?["flaps"].as_u64();
    frr.ask(&format!("clear bgp {own}"))?;
    wait_for("the reset", LIMIT, || {
        assert_eq!(us.ways(THEIRS[0])?, 1, "the route went");
        let peer = us.peer("frr")?;
        ensure!(peer["flaps"].as_u64() > flaps && peer["state"] == "Established" && peer["stale"] == false, "{peer:#}");
        Ok(())
    })?;
    // No capability at all: IPv4 alone, AS numbers of two octets, nothing again.
    frr.configure(&[&format!("neighbor {own} dont-capability-negotiate")])?;
    frr.ask(&format!("clear bgp {own}"))?;
    wait_agreed(&us, "frr", "no route refresh")?;
    wait_for("the one route", LIMIT, || {
        ensure!(us.ways(THEIRS[0])? == 1 && us.ways(THEIRS[1])? == 0, "{}", us.ask("routes")?);
        Ok(())
    })?;
    Ok(())
}

#[test]
fn a_bird_with_numbers_of_two_octets_large_messages_and_a_long_absence_is_understood() -> Result<()> {
    let lab = Lab::new("bgpablebird")?;
    let node = lab.node("us")?;
    let options = "enable as4 off; enable extended messages on; graceful restart time 1; \
                   long lived graceful restart on; long lived stale time 60;";
    let bird = bird::start(&lab, &node, options)?;
    let us = Speaker::start(&lab, &node, &[(bird.node(), r#", "LongLived": 60"#)])?;
    us.wait_ways(1)?;
    wait_agreed(&us, "bird", "the peer is an old speaker")?;
    wait_agreed(&us, "bird", "65535")?;
    for subnet in us.subnets()?.values() {
        has(&bird, subnet)?;
    }
    bird.process.kill()?;
    wait_for("its routes to be the last choice, and stay", LIMIT, || {
        let explained = us.ask(&format!("routes --explain {}", THEIRS[0]))?;
        ensure!(us.ways(THEIRS[0])? == 1 && explained.contains("llgr-stale"), "{explained}");
        Ok(())
    })
}
