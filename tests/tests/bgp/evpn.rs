//! EVPN (RFC 7432, RFC 8365) with FRR: its VTEP is known to us and ours to its kernel, with the hosts behind both.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use bgp::rib::change::Destination;
use bgp::speaker::{FamilyConfig, Output};
use bgp::wire::evpn::{Route, RouteDistinguisher};
use bgp::wire::{Attributes, ExtendedCommunity, Family, NextHop, Nlri};
use ipam::Family::V4;
use netns_harness::Lab;

use crate::driver::Driver;
use crate::neighbour::frr::Frr;
use crate::neighbour::{LIMIT, Neighbour, OUR_AS, address};
use crate::speaker::{start, v4};

const VNI: u32 = 100;
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

#[test]
fn frr_sends_to_our_vtep_what_is_for_everybody_and_to_our_hosts_what_is_theirs() -> Result<()> {
    let lab = Lab::new("bgpevpn")?;
    let us = lab.node("us")?;
    let evpn = " address-family l2vpn evpn\n  neighbor US activate\n  advertise-all-vni\n exit-address-family";
    let frr = Frr::start(&lab, &us, ("", "", &format!("router bgp 65002\n{evpn}\nexit")))?;
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
    let mut driver = start(&us, frr.node(), |config| {
        config.families.push(FamilyConfig::plain(Family::EVPN));
    })?;
    let hop: IpAddr = v4(&us).into();
    let distinguisher = RouteDistinguisher([0, 1, 192, 0, 2, 11, 0, 100]);
    let routes = [
        Route::Multicast { distinguisher, tag: 0, originator: hop },
        Route::Mac {
            distinguisher,
            segment: [0; 10],
            tag: 0,
            mac: HOST,
            address: Some([10, 70, 0, 9].into()),
            vni: VNI,
            routing_vni: None,
        },
    ];
    let target = ExtendedCommunity::route_target(OUR_AS as u16, VNI);
    // The tunnel of type 3: ingress replication, label, endpoint (RFC 6514 section 5).
    let tunnel = [&[0, 6][..], &VNI.to_be_bytes()[1..], &v4(&us).octets()].concat();
    let attributes = |route: &Route| Attributes {
        extended: vec![target, ExtendedCommunity::VXLAN],
        pmsi_tunnel: matches!(route, Route::Multicast { .. }).then(|| tunnel.clone().into()),
        ..Attributes::default()
    };
    let encoded = |route: &Route| {
        let mut bytes = Vec::new();
        route.encode(&mut bytes);
        bytes
    };
    for route in &routes {
        driver.speaker.rib().originate(&Nlri::Evpn(&encoded(route)), &attributes(route), NextHop::V4(v4(&us)));
    }
    driver.until(LIMIT, |driver| {
        told(driver, |it| matches!(it, Route::Multicast { originator, .. } if *originator == own))
    })?;
    let entries = || frr.node().run(["bridge", "fdb", "show", "dev", "vxlan100"]);
    let (flood, host) = (format!("00:00:00:00:00:00 dst {hop}"), format!("02:00:00:00:00:70 dst {hop}"));
    let has = |text: &str| entries().is_ok_and(|entries| entries.contains(text));
    driver.until(LIMIT, |_| has(&flood) && has(&host))?;
    driver.speaker.rib().retract(&Nlri::Evpn(&encoded(&routes[1])));
    driver.until(LIMIT, |_| !has(&host))?;
    ensure!(has(&flood), "the VTEP went with its host: {}", entries()?);
    frr.node().ip("link add host0 type veth peer name host1")?;
    frr.node().ip("link set host0 master br100 up")?;
    frr.node().run(["bridge", "fdb", "add", "02:00:00:00:00:80", "dev", "host0", "master", "static"])?;
    driver.until(LIMIT, |driver| told(driver, |it| matches!(it, Route::Mac { mac: [2, 0, 0, 0, 0, 0x80], .. })))
}
