//! The speaker of these tests: one that has two routes, and what it is told of a neighbour.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use bgp::machine::State;
use bgp::policy::Policy;
use bgp::rib::{PeerId, Settings};
use bgp::speaker::{FamilyConfig, Graceful, LocalAddresses, PeerConfig, Readiness, RemoteAs, Speaker};
use bgp::wire::capability::{Forwarding, PathIdMode};
use bgp::wire::terms::NextHops;
use bgp::wire::{Attributes, Community, Family, LargeCommunity, NextHop, Nlri};
use ipam::Family::{V4, V6};
use netns_harness::Node;

use crate::driver::{Driver, PEER};
use crate::neighbour::{LIMIT, Neighbour, OUR_AS, THEIR_AS, THEIRS, address};

/// What we have for a neighbour.
pub const OURS: [&str; 2] = ["10.70.0.0/16", "2001:db8:70::/48"];

pub fn v4(node: &Node) -> Ipv4Addr {
    match address(node, V4) {
        std::net::IpAddr::V4(address) => address,
        std::net::IpAddr::V6(address) => panic!("{address} is no IPv4 address"),
    }
}

pub fn local(us: &Node) -> LocalAddresses {
    let std::net::IpAddr::V6(six) = address(us, V6) else { panic!("no IPv6 address") };
    LocalAddresses { v4: Some(v4(us)), v6: Some((six, None)) }
}

pub fn speaker(us: &Node, readiness: Readiness) -> Speaker {
    let identifier = v4(us);
    let settings = Settings { asn: OUR_AS, identifier, cluster: identifier, preferences: Default::default(), seed: 1 };
    Speaker::new(settings, readiness)
}

/// Everything that can be offered, and every route in and out.
pub fn config(neighbour: &Node) -> PeerConfig {
    let four = FamilyConfig {
        path_ids: Some(PathIdMode::Both),
        next_hops: NextHops::AlsoIpv6,
        forwarding: Forwarding::Kept,
        ..FamilyConfig::plain(Family::IPV4)
    };
    let six = FamilyConfig { forwarding: Forwarding::Kept, ..FamilyConfig::plain(Family::IPV6) };
    PeerConfig {
        import: Some(Arc::new(Policy::accept())),
        export: Some(Arc::new(Policy::accept())),
        families: vec![four, six],
        graceful: Some(Graceful { restart_secs: 60, long_lived_secs: 0 }),
        connect_retry: Duration::from_secs(1),
        ..PeerConfig::new(address(neighbour, V4), RemoteAs::Exactly(THEIR_AS))
    }
}

pub fn nlri(net: &str) -> Nlri<'static> {
    Nlri::Prefix(net.parse().unwrap())
}

pub fn originate(driver: &mut Driver, us: &Node, nets: &[&str]) {
    let attributes = Attributes {
        communities: vec![Community(0xfde9_0007)],
        large: vec![LargeCommunity { administrator: OUR_AS, data: [3, 4] }],
        ..Attributes::default()
    };
    for net in nets {
        driver.speaker.rib().originate(&nlri(net), &attributes, NextHop::V4(v4(us)));
    }
}

/// A speaker with [`OURS`] that begins to speak to a neighbour.
pub fn start(us: &Node, neighbour: &Node, change: impl FnOnce(&mut PeerConfig)) -> Result<Driver> {
    let mut driver = Driver::new(speaker(us, Readiness::Complete), us.namespace().clone(), local(us))?;
    let mut config = config(neighbour);
    change(&mut config);
    driver.add_peer(PEER, config);
    originate(&mut driver, us, &OURS);
    Ok(driver)
}

pub fn is_up(driver: &Driver, id: PeerId) -> bool {
    driver.speaker.status(id).unwrap().state == State::Established
}

/// Until the session is up.
pub fn meet(driver: &mut Driver) -> Result<()> {
    driver.until(LIMIT, |driver| is_up(driver, PEER))
}

/// Until each end has the other's routes.
pub fn exchange(driver: &mut Driver, neighbour: &impl Neighbour) -> Result<()> {
    meet(driver)?;
    driver.until(LIMIT, |_| OURS.iter().all(|net| neighbour.has(net)))?;
    driver.until(LIMIT, |driver| THEIRS.iter().all(|net| has(driver, net)))
}

/// Whether we have a path to this.
pub fn has(driver: &mut Driver, net: &str) -> bool {
    !driver.speaker.rib().explain(&nlri(net)).is_empty()
}
