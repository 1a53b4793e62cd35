//! The same with each of them: routes of both families go both ways and are taken back.

use anyhow::Result;
use bgp::wire::LargeCommunity;
use bgp::wire::capability::Role;
use netns_harness::Lab;

use crate::driver::{Driver, PEER};
use crate::neighbour::bird;
use crate::neighbour::exabgp::Exabgp;
use crate::neighbour::frr::Frr;
use crate::neighbour::gobgp::Gobgp;
use crate::neighbour::openbgpd::Openbgpd;
use crate::neighbour::{LIMIT, Neighbour, THEIRS};
use crate::speaker::{OURS, exchange, has, nlri, start};

/// What all must do, and what `words` they use for what we say of our IPv4 route.
fn both_ways(driver: &mut Driver, neighbour: &impl Neighbour, words: &[&str]) -> Result<()> {
    exchange(driver, neighbour)?;
    let answer = neighbour.route(OURS[0])?;
    for word in words {
        assert!(answer.contains(word), "{word} is not in {answer}");
    }
    let explained = driver.speaker.rib().explain(&nlri(THEIRS[0]));
    assert_eq!(explained[0].attributes.large, [LargeCommunity { administrator: 65002, data: [1, 2] }]);
    OURS.iter().for_each(|net| driver.speaker.rib().retract(&nlri(net)));
    driver.until(LIMIT, |_| !OURS.iter().any(|net| neighbour.has(net)))?;
    neighbour.withdraw()?;
    driver.until(LIMIT, |driver| !THEIRS.iter().any(|net| has(driver, net)))?;
    assert_eq!(driver.speaker.status(PEER).unwrap().flaps, 0);
    Ok(())
}

#[test]
fn bird_and_we_tell_each_other_routes_of_both_families() -> Result<()> {
    let lab = Lab::new("bgpbird")?;
    let us = lab.node("us")?;
    let bird = bird::start(&lab, &us, "local role customer; enable extended messages on;")?;
    let mut driver = start(&us, bird.node(), |config| config.role = Some(Role::Provider))?;
    exchange(&mut driver, &bird)?;
    assert_ne!(driver.speaker.rib().explain(&nlri(THEIRS[0]))[0].path_id, 0, "path identifiers were agreed upon");
    let protocol = bird.ask("show protocols all towpath")?;
    for text in ["Extended message", "Enhanced refresh", "Extended next hop", "ADD-PATH", "4-octet AS numbers", "Role"]
    {
        assert!(protocol.contains(text), "{text} is not in {protocol}");
    }
    let words = ["as_path: 65001", "BGP.community: (65001,7)", "large_community: (65001, 3, 4)", "BGP.otc: 65001"];
    both_ways(&mut driver, &bird, &words)
}

#[test]
fn frr_and_we_tell_each_other_routes_of_both_families() -> Result<()> {
    let lab = Lab::new("bgpfrr")?;
    let us = lab.node("us")?;
    let about_us = " neighbor US capability extended-nexthop\n neighbor US local-role customer";
    let frr = Frr::start(&lab, &us, (about_us, "  neighbor US addpath-tx-all-paths", ""))?;
    let mut driver = start(&us, frr.node(), |config| config.role = Some(Role::Provider))?;
    exchange(&mut driver, &frr)?;
    let answer = frr.ask("show bgp neighbors")?;
    for text in ["Local Role: customer", "Remote Role: provider", "AddPath", "Extended nexthop", "4 Byte AS"] {
        assert!(answer.contains(text), "{text} is not in {answer}");
    }
    assert_ne!(driver.speaker.rib().explain(&nlri(THEIRS[0]))[0].path_id, 0, "path identifiers were agreed upon");
    both_ways(&mut driver, &frr, &["65001", "Community: 65001:7", "Large Community: 65001:3:4"])
}

#[test]
fn gobgp_and_we_tell_each_other_routes_of_both_families() -> Result<()> {
    let lab = Lab::new("bgpgobgp")?;
    let us = lab.node("us")?;
    let gobgp = Gobgp::start(&lab, &us, "")?;
    let mut driver = start(&us, gobgp.node(), |_| ())?;
    both_ways(&mut driver, &gobgp, &["65001", "65001:7", "65001:3:4"])
}

#[test]
fn openbgpd_and_we_tell_each_other_routes_of_both_families() -> Result<()> {
    let lab = Lab::new("bgpopen")?;
    let us = lab.node("us")?;
    let openbgpd = Openbgpd::start(&lab, &us, "passive\nannounce add-path recv yes\nannounce add-path send all")?;
    let mut driver = start(&us, openbgpd.node(), |_| ())?;
    both_ways(&mut driver, &openbgpd, &["65001", "65001:7", "65001:3:4"])
}

#[test]
fn exabgp_and_we_tell_each_other_routes_of_both_families() -> Result<()> {
    let lab = Lab::new("bgpexa")?;
    let us = lab.node("us")?;
    let exabgp = Exabgp::start(&lab, &us, "")?;
    let mut driver = start(&us, exabgp.node(), |_| ())?;
    both_ways(&mut driver, &exabgp, &["65001", "[65001,7]", "[65001,3,4]"])
}
