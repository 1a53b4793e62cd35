//! Sessions that end in words, ours and theirs; and a neighbour that says too much.

use anyhow::Result;
use bgp::speaker::{Direction, Output, PrefixLimit};
use bgp::wire::Notification;
use bgp::wire::notification::cease;
use netns_harness::Lab;

use crate::driver::{Driver, PEER};
use crate::neighbour::bird;
use crate::neighbour::frr::Frr;
use crate::neighbour::openbgpd::Openbgpd;
use crate::neighbour::{LIMIT, Neighbour};
use crate::speaker::{exchange, meet, start};

fn said(driver: &Driver, words: &str) -> bool {
    driver.seen.iter().any(|it| matches!(it, Output::Down(_, why) if why.contains(words)))
}

fn stop(driver: &mut Driver, words: &str) {
    let now = driver.now();
    driver.speaker.stop(PEER, Notification::cease(cease::SHUTDOWN, words), now);
}

#[test]
fn a_speaker_that_waits_is_found_by_bird_and_both_say_goodbye_in_words() -> Result<()> {
    let lab = Lab::new("bgpwords")?;
    let us = lab.node("us")?;
    let bird = bird::start(&lab, &us, "")?;
    let mut driver = start(&us, bird.node(), |config| config.direction = Direction::Passive)?;
    meet(&mut driver)?;
    stop(&mut driver, "back at noon");
    driver.until(LIMIT, |_| bird.says("show protocols all towpath", "Administrative shutdown"))?;
    let now = driver.now();
    driver.speaker.resume(PEER, now);
    meet(&mut driver)?;
    bird.ask("disable towpath \"until tomorrow\"")?;
    driver.until(LIMIT, |driver| said(driver, "until tomorrow"))
}

#[test]
fn frr_and_we_say_goodbye_in_words() -> Result<()> {
    let lab = Lab::new("bgpwordsfrr")?;
    let us = lab.node("us")?;
    let frr = Frr::start(&lab, &us, ("", "", ""))?;
    let mut driver = start(&us, frr.node(), |config| config.graceful = None)?;
    meet(&mut driver)?;
    stop(&mut driver, "back at noon");
    driver.until(LIMIT, |_| frr.bgpd.log().contains("back at noon"))?;
    let now = driver.now();
    driver.speaker.resume(PEER, now);
    meet(&mut driver)?;
    let ours = driver.ours();
    frr.configure(&[&format!("neighbor {ours} shutdown message until tomorrow")])?;
    driver.until(LIMIT, |driver| said(driver, "until tomorrow"))
}

#[test]
fn openbgpd_and_we_say_goodbye_in_words() -> Result<()> {
    let lab = Lab::new("bgpwordsopen")?;
    let us = lab.node("us")?;
    let openbgpd = Openbgpd::start(&lab, &us, "")?;
    let mut driver = start(&us, openbgpd.node(), |_| ())?;
    meet(&mut driver)?;
    stop(&mut driver, "back at noon");
    driver.until(LIMIT, |_| openbgpd.ask("show neighbor").is_ok_and(|it| it.contains("back at noon")))?;
    let now = driver.now();
    driver.speaker.resume(PEER, now);
    meet(&mut driver)?;
    let ours = driver.ours();
    openbgpd.ask(&format!("neighbor {ours} down until-tomorrow"))?;
    driver.until(LIMIT, |driver| said(driver, "until-tomorrow"))
}

#[test]
fn a_neighbour_with_more_routes_than_it_may_have_is_told_so_and_not_met_again() -> Result<()> {
    let lab = Lab::new("bgpmost")?;
    let us = lab.node("us")?;
    let frr = Frr::start(&lab, &us, ("", "", ""))?;
    let mut driver = start(&us, frr.node(), |config| config.families[0].limit = Some(PrefixLimit::of(1)))?;
    exchange(&mut driver, &frr)?;
    frr.configure(&["address-family ipv4 unicast", "network 10.81.0.0/16"])?;
    driver.until(LIMIT, |_| frr.says("show bgp neighbors", "Cease/Maximum Number of Prefixes Reached"))?;
    assert!(said(&driver, "prefixes"), "{:?}", driver.seen);
    Ok(())
}
