//! Graceful restart (RFC 4724) in both roles.

use anyhow::Result;
use bgp::speaker::Readiness;
use netns_harness::Lab;

use crate::driver::{Driver, PEER};
use crate::neighbour::bird;
use crate::neighbour::frr::Frr;
use crate::neighbour::{LIMIT, Neighbour, THEIRS};
use crate::speaker::{OURS, config, exchange, has, meet, nlri, originate, speaker, start};

/// We die and come back with one route less; at no look in between has the neighbour lost the one that stays.
fn we_die(driver: &mut Driver, us: &netns_harness::Node, neighbour: &impl Neighbour) -> Result<()> {
    exchange(driver, neighbour)?;
    driver.replace(speaker(us, Readiness::Restarting));
    driver.add_peer(PEER, config(neighbour.node()));
    driver.until(LIMIT, |driver| {
        assert!(neighbour.has(OURS[0]), "it was forgotten while we were away");
        crate::speaker::is_up(driver, PEER)
    })?;
    assert!(OURS.iter().all(|net| neighbour.has(net)));
    originate(driver, us, &OURS[..1]);
    let now = driver.now();
    driver.speaker.complete(Vec::new(), now);
    driver.until(LIMIT, |_| {
        assert!(neighbour.has(OURS[0]), "it was forgotten after we came back");
        !neighbour.has(OURS[1])
    })
}

#[test]
fn bird_forgets_of_a_speaker_that_died_only_what_it_no_longer_says() -> Result<()> {
    let lab = Lab::new("bgprestart")?;
    let us = lab.node("us")?;
    let bird = bird::start(&lab, &us, "")?;
    let mut driver = start(&us, bird.node(), |_| ())?;
    we_die(&mut driver, &us, &bird)
}

#[test]
fn frr_forgets_of_a_speaker_that_died_only_what_it_no_longer_says() -> Result<()> {
    let lab = Lab::new("bgprestartfrr")?;
    let us = lab.node("us")?;
    let frr = Frr::start(&lab, &us, ("", "", ""))?;
    let mut driver = start(&us, frr.node(), |_| ())?;
    we_die(&mut driver, &us, &frr)
}

#[test]
fn the_routes_of_a_bird_that_dies_stay_and_are_marked_stale() -> Result<()> {
    let lab = Lab::new("bgphelper")?;
    let us = lab.node("us")?;
    let bird = bird::start(&lab, &us, "")?;
    let mut driver = start(&us, bird.node(), |_| ())?;
    exchange(&mut driver, &bird)?;
    bird.process.kill()?;
    driver.until(LIMIT, |driver| driver.speaker.status(PEER).unwrap().stale)?;
    assert!(THEIRS.iter().all(|net| driver.speaker.rib().explain(&nlri(net))[0].stale));
    Ok(())
}

#[test]
fn the_routes_of_an_frr_that_dies_stay_until_it_is_back_and_are_fresh_then() -> Result<()> {
    let lab = Lab::new("bgphelperfrr")?;
    let us = lab.node("us")?;
    let frr = Frr::start(&lab, &us, (" bgp graceful-restart preserve-fw-state", "", ""))?;
    let mut driver = start(&us, frr.node(), |_| ())?;
    exchange(&mut driver, &frr)?;
    frr.bgpd.kill()?;
    driver.until(LIMIT, |driver| driver.speaker.status(PEER).unwrap().stale)?;
    assert!(THEIRS.iter().all(|net| driver.speaker.rib().explain(&nlri(net))[0].stale));
    frr.bgpd.restart()?;
    meet(&mut driver)?;
    driver.until(LIMIT, |driver| {
        assert!(THEIRS.iter().all(|net| has(driver, net)), "it was forgotten");
        THEIRS.iter().all(|net| !driver.speaker.rib().explain(&nlri(net))[0].stale)
    })
}
