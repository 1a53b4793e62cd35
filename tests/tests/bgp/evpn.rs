//! EVPN (RFC 7432, RFC 8365) with FRR: its VTEP is known to us and ours to its kernel, with the hosts behind both.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use bgp::evpn::{Entry, Vtep};
use bgp::rib::Change;
use bgp::rib::change::Destination;
use bgp::speaker::{FamilyConfig, Output};
use bgp::wire::evpn::Route;
use bgp::wire::{Family, Nlri};
use ipam::Family::V4;
use ipnet::IpNet;
use netns_harness::{Lab, Node};

use crate::driver::Driver;
use crate::neighbour::frr::Frr;
use crate::neighbour::{LIMIT, Neighbour, OUR_AS, address};
use crate::speaker::{start, v4};

/// The overlay's identifier.
pub const VNI: u32 = 100;
/// A host of ours.
const HOST: [u8; 6] = [2, 0, 0, 0, 0, 0x70];

/// Whether we were told such a route, and not told since that it is gone.
fn told(driver: &Driver, is: impl Fn(&Route) -> bool) -> bool {
    let of_it = driver.seen.iter().filter_map(|output| match output {
        Output::Route(change) => match &change.destination {
            Destination::Evpn(route) => Route::decode(route).filter(&is).map(|_| !change.paths.is_empty()),
            Destination::Prefix(_) => None,
        },
        _ => None,
    });
    of_it.last().unwrap_or(false)
}

/// FRR with a VTEP of its own, told also this of its EVPN.
pub fn fabric(lab: &Lab, us: &Node, more: &str) -> Result<Frr> {
    let evpn = format!(
        " address-family l2vpn evpn\n  neighbor US activate\n  advertise-all-vni\n  {more}\n exit-address-family"
    );
    let frr = Frr::start(lab, us, ("", "", &format!("router bgp 65002\n{evpn}\nexit")))?;
    let own = address(frr.node(), V4);
    for words in [
        &format!("link add vxlan100 type vxlan id {VNI} dstport 4789 local {own} nolearning"),
        "link add br100 type bridge",
        "link set vxlan100 master br100",
        "link set br100 up",
        "link set vxlan100 up",
    ] {
        frr.node().ip(words)?;
    }
    Ok(frr)
}

#[test]
fn frr_sends_to_our_vtep_what_is_for_everybody_and_to_our_hosts_what_is_theirs() -> Result<()> {
    let lab = Lab::new("bgpevpn")?;
    let us = lab.node("us")?;
    let frr = fabric(&lab, &us, "")?;
    let own = address(frr.node(), V4);
    let mut driver = start(&us, frr.node(), |config| {
        config.families.push(FamilyConfig::plain(Family::EVPN));
    })?;
    let hop: IpAddr = v4(&us).into();
    let vtep = Vtep::new(hop, HOST, VNI, (OUR_AS, v4(&us))).context("a VTEP")?;
    let routes = vtep.routes(&[[10, 70, 0, 9].into()], &[]);
    let encoded = |route: &Route| {
        let mut bytes = Vec::new();
        route.encode(&mut bytes);
        bytes
    };
    for (route, attributes) in &routes {
        driver.speaker.rib().originate(&Nlri::Evpn(&encoded(route)), attributes, vtep.hop());
    }
    driver.until(LIMIT, |driver| {
        told(driver, |it| matches!(it, Route::Multicast { originator, .. } if *originator == own))
    })?;
    let entries = || frr.node().run(["bridge", "fdb", "show", "dev", "vxlan100"]);
    let (flood, host) = (format!("00:00:00:00:00:00 dst {hop}"), format!("02:00:00:00:00:70 dst {hop}"));
    let has = |text: &str| entries().is_ok_and(|entries| entries.contains(text));
    driver.until(LIMIT, |_| has(&flood) && has(&host))?;
    driver.speaker.rib().retract(&Nlri::Evpn(&encoded(&routes[1].0)));
    driver.until(LIMIT, |_| !has(&host))?;
    ensure!(has(&flood), "the VTEP went with its host: {}", entries()?);
    frr.node().ip("link add host0 type veth peer name host1")?;
    frr.node().ip("link set host0 master br100 up")?;
    frr.node().run(["bridge", "fdb", "add", "02:00:00:00:00:80", "dev", "host0", "master", "static"])?;
    driver.until(LIMIT, |driver| told(driver, |it| matches!(it, Route::Mac { mac: [2, 0, 0, 0, 0, 0x80], .. })))?;
    let entries = learnt(&driver, &vtep);
    ensure!(entries.contains(&Entry::Everybody { vtep: own }), "its VTEP is not understood: {entries:?}");
    let host = |entry: &Entry| matches!(entry, Entry::Host { mac: [2, 0, 0, 0, 0, 0x80], vtep, .. } if *vtep == own);
    ensure!(entries.iter().any(host), "its host is not understood: {entries:?}");
    Ok(())
}

/// What all EVPN routes mean that lead somewhere.
fn learnt(driver: &Driver, vtep: &Vtep) -> Vec<Entry> {
    let mut routes = BTreeSet::new();
    for output in &driver.seen {
        if let Output::Route(Change { destination: Destination::Evpn(route), .. }) = output {
            routes.insert(route.clone());
        }
    }
    let entry = |route: &[u8]| {
        let best = driver.speaker.routes().explain(&Nlri::Evpn(route)).into_iter().next()?;
        vtep.learn(&Route::decode(route)?, &best.attributes, best.hop)
    };
    routes.iter().filter_map(|route| entry(route)).collect()
}

#[test]
fn frr_routes_our_pods_through_our_vtep_and_we_its_prefixes_through_its() -> Result<()> {
    let lab = Lab::new("bgpevpn5")?;
    let us = lab.node("us")?;
    let frr = fabric(&lab, &us, "advertise ipv4 unicast")?;
    let own = address(frr.node(), V4);
    frr.told(&["configure terminal", &format!("vni {VNI}")])?;
    let mut driver = start(&us, frr.node(), |config| {
        config.families.push(FamilyConfig::plain(Family::EVPN));
    })?;
    let hop: IpAddr = v4(&us).into();
    let vtep = Vtep::new(hop, HOST, VNI, (OUR_AS, v4(&us))).context("a VTEP")?;
    let pods: IpNet = "10.244.7.0/24".parse()?;
    for (route, attributes) in vtep.routes(&[], &[pods]) {
        let mut bytes = Vec::new();
        route.encode(&mut bytes);
        driver.speaker.rib().originate(&Nlri::Evpn(&bytes), &attributes, vtep.hop());
    }
    let run = |words: &[&str]| frr.node().run(words).unwrap_or_default();
    let way = || run(&["ip", "route", "show", "10.244.7.0/24"]);
    driver.until(LIMIT, |_| way().contains(&format!("via {hop} dev br100")) && way().contains("onlink"))?;
    driver.until(LIMIT, |_| run(&["ip", "neigh", "show", "dev", "br100"]).contains("02:00:00:00:00:70"))?;
    driver.until(LIMIT, |_| {
        run(&["bridge", "fdb", "show", "dev", "vxlan100"]).contains(&format!("02:00:00:00:00:70 dst {hop}"))
    })?;
    let prefix = |entry: &Entry| matches!(entry, Entry::Prefix { vtep, .. } if *vtep == own);
    driver.until(LIMIT, |driver| learnt(driver, &vtep).iter().any(prefix))?;
    Ok(())
}
