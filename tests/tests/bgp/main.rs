//! WHAT IS PROMISED of BGP, as sentences, with a router of somebody else at the other end: BIRD 2.
//!
//! It needs root and BIRD (`bird2`, which `make deps` installs). The speaker runs on sockets of these tests' own.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::disallowed_types, reason = "no process on a node; here BIRD is the neighbour")]

mod driver;

use std::net::IpAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use bgp::machine::State;
use bgp::policy::Policy;
use bgp::rib::Settings;
use bgp::speaker::{
    Direction, FamilyConfig, Graceful, LocalAddresses, Output, PeerConfig, Readiness, RemoteAs, Speaker,
};
use bgp::wire::capability::{Forwarding, PathIdMode, Role};
use bgp::wire::notification::cease;
use bgp::wire::terms::NextHops;
use bgp::wire::{Attributes, Community, Family, LargeCommunity, NextHop, Nlri, Notification};
use driver::{Driver, PEER};
use netns_harness::{Lab, Node, wait_for};

const LIMIT: Duration = Duration::from_secs(30);
const OURS: [&str; 2] = ["10.70.0.0/16", "2001:db8:70::/48"];
const THEIRS: [&str; 2] = ["10.80.0.0/16", "2001:db8:80::/48"];

/// A router of BIRD's in a node of its own.
struct Bird {
    node: Node,
}

impl Bird {
    /// One that speaks to us as `options` say.
    fn start(lab: &Lab, us: &Node, options: &str) -> Result<Bird> {
        let there = Command::new("bird").arg("--version").output().is_ok();
        ensure!(there, "BIRD is missing. Run: apt-get install bird2 (or make deps)");
        let node = lab.node("bird")?;
        let [own, own_v6, peer] = [address(&node, 4), address(&node, 6), address(us, 4)];
        let config = format!(
            "router id {own};\nprotocol device {{}}\n\
             protocol static {{ ipv4; route {four} blackhole {{ bgp_large_community.add((65002, 1, 2)); }}; }}\n\
             protocol static {{ ipv6; route {six} blackhole; }}\n\
             protocol bgp towpath {{\n local {own} as 65002;\n neighbor {peer} as 65001;\n connect retry time 1;\n \
             error wait time 1, 2;\n connect delay time 1;\n graceful restart on;\n \
             ipv4 {{ import all; export all; add paths on; extended next hop on; }};\n \
             ipv6 {{ import all; export all; next hop address {own_v6}; }};\n{options}\n}}\n",
            four = THEIRS[0],
            six = THEIRS[1],
        );
        let path = node.directory().join("bird.conf");
        std::fs::write(&path, config)?;
        let mut command = Command::new("bird");
        command.arg("-f").arg("-c").arg(&path).arg("-s").arg(node.directory().join("ctl"));
        command.arg("-P").arg(node.directory().join("pid"));
        node.start("bird", command)?;
        let bird = Bird { node };
        wait_for("BIRD to answer", LIMIT, || bird.ask("show status"))?;
        Ok(bird)
    }

    fn ask(&self, what: &str) -> Result<String> {
        let socket = self.node.directory().join("ctl");
        let mut words = vec!["birdc".to_owned(), "-s".to_owned(), socket.to_string_lossy().into_owned()];
        words.extend(what.split(' ').map(str::to_owned));
        self.node.namespace().run(words)
    }

    /// Whether BIRD says this.
    fn says(&self, what: &str, text: &str) -> bool {
        self.ask(what).is_ok_and(|answer| answer.contains(text))
    }
}

fn address(node: &Node, family: u8) -> IpAddr {
    node.address(if family == 4 { ipam::Family::V4 } else { ipam::Family::V6 }).unwrap()
}

fn v4(address: IpAddr) -> std::net::Ipv4Addr {
    match address {
        IpAddr::V4(address) => address,
        IpAddr::V6(address) => panic!("{address} is no IPv4 address"),
    }
}

fn local(us: &Node) -> LocalAddresses {
    let IpAddr::V6(six) = address(us, 6) else { panic!("no IPv6 address") };
    LocalAddresses { v4: Some(v4(address(us, 4))), v6: Some((six, None)) }
}

fn speaker(us: &Node, readiness: Readiness) -> Speaker {
    let identifier = v4(address(us, 4));
    let settings = Settings { asn: 65001, identifier, cluster: identifier, preferences: Default::default(), seed: 1 };
    Speaker::new(settings, readiness)
}

fn config(bird: &Bird) -> PeerConfig {
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
        ..PeerConfig::new(address(&bird.node, 4), RemoteAs::Exactly(65002))
    }
}

fn nlri(net: &str) -> Nlri<'static> {
    Nlri::Prefix(net.parse().unwrap())
}

fn originate(driver: &mut Driver, us: &Node, nets: &[&str]) {
    let attributes = Attributes {
        communities: vec![Community(0xfde9_0007)],
        large: vec![LargeCommunity { administrator: 65001, data: [3, 4] }],
        ..Attributes::default()
    };
    for net in nets {
        driver.speaker.rib().originate(&nlri(net), &attributes, NextHop::V4(v4(address(us, 4))));
    }
}

fn meet(driver: &mut Driver) {
    driver.until(LIMIT, |driver| driver.speaker.status(PEER).unwrap().state == State::Established).unwrap();
}

fn start(lab: &Lab, options: &str, change: impl FnOnce(&mut PeerConfig)) -> Result<(Node, Bird, Driver)> {
    let us = lab.node("us")?;
    let bird = Bird::start(lab, &us, options)?;
    let addresses = (address(&bird.node, 4), local(&us));
    let mut driver = Driver::new(speaker(&us, Readiness::Complete), us.namespace().clone(), addresses)?;
    let mut config = config(&bird);
    change(&mut config);
    let now = driver.now();
    driver.speaker.add_peer(PEER, config, now);
    originate(&mut driver, &us, &OURS);
    Ok((us, bird, driver))
}

#[test]
fn routes_of_both_families_go_both_ways_with_what_is_said_of_them_and_are_withdrawn() -> Result<()> {
    let lab = Lab::new("bgproutes")?;
    let (_us, bird, mut driver) = start(&lab, "local role customer; enable extended messages on;", |config| {
        config.role = Some(Role::Provider);
    })?;
    meet(&mut driver);
    driver.until(LIMIT, |_| OURS.iter().all(|net| bird.says("show route", net)))?;
    let answer = bird.ask(&format!("show route all {}", OURS[0]))?;
    for text in
        ["BGP.as_path: 65001", "BGP.community: (65001,7)", "BGP.large_community: (65001, 3, 4)", "BGP.otc: 65001"]
    {
        assert!(answer.contains(text), "{text} is not in {answer}");
    }
    driver.until(LIMIT, |driver| THEIRS.iter().all(|net| !driver.speaker.rib().explain(&nlri(net)).is_empty()))?;
    let explained = driver.speaker.rib().explain(&nlri(THEIRS[0]));
    assert_eq!(explained[0].attributes.large, [LargeCommunity { administrator: 65002, data: [1, 2] }]);
    assert_ne!(explained[0].path_id, 0, "path identifiers were agreed upon");
    let protocol = bird.ask("show protocols all towpath")?;
    for text in ["Extended message", "Enhanced refresh", "Extended next hop", "ADD-PATH", "4-octet AS numbers", "Role"]
    {
        assert!(protocol.contains(text), "{text} is not in {protocol}");
    }
    OURS.iter().for_each(|net| driver.speaker.rib().retract(&nlri(net)));
    driver.until(LIMIT, |_| OURS.iter().all(|net| !bird.says("show route", net)))?;
    bird.ask("disable static1")?;
    driver.until(LIMIT, |driver| driver.speaker.rib().explain(&nlri(THEIRS[0])).is_empty())?;
    assert_eq!(driver.speaker.status(PEER).unwrap().flaps, 0);
    Ok(())
}

#[test]
fn a_speaker_that_waits_is_found_and_says_goodbye_in_words() -> Result<()> {
    let lab = Lab::new("bgpwords")?;
    let (_us, bird, mut driver) = start(&lab, "", |config| config.direction = Direction::Passive)?;
    meet(&mut driver);
    let now = driver.now();
    driver.speaker.stop(PEER, Notification::cease(cease::SHUTDOWN, "back at noon"), now);
    driver.until(LIMIT, |_| bird.says("show protocols all towpath", "Administrative shutdown"))?;
    let now = driver.now();
    driver.speaker.resume(PEER, now);
    meet(&mut driver);
    bird.ask("disable towpath \"until tomorrow\"")?;
    driver.until(LIMIT, |driver| {
        driver.seen.iter().any(|it| matches!(it, Output::Down(_, why) if why.contains("until tomorrow")))
    })?;
    Ok(())
}

#[test]
fn a_speaker_that_dies_and_comes_back_withdraws_only_what_it_no_longer_says() -> Result<()> {
    let lab = Lab::new("bgprestart")?;
    let (us, bird, mut driver) = start(&lab, "", |_| ())?;
    meet(&mut driver);
    driver.until(LIMIT, |_| OURS.iter().all(|net| bird.says("show route", net)))?;
    let mut other = speaker(&us, Readiness::Restarting);
    let now = driver.now();
    other.add_peer(PEER, config(&bird), now);
    driver.replace(other);
    driver.until(LIMIT, |_| bird.says("show route", OURS[0]))?;
    meet(&mut driver);
    assert!(OURS.iter().all(|net| bird.says("show route", net)), "{}", bird.ask("show route")?);
    originate(&mut driver, &us, &OURS[..1]);
    let now = driver.now();
    driver.speaker.complete(now);
    driver.until(LIMIT, |_| bird.says("show route", OURS[0]) && !bird.says("show route", OURS[1]))?;
    Ok(())
}

#[test]
fn the_routes_of_a_router_that_dies_stay_and_are_marked_stale() -> Result<()> {
    let lab = Lab::new("bgphelper")?;
    let (_us, bird, mut driver) = start(&lab, "", |_| ())?;
    meet(&mut driver);
    driver.until(LIMIT, |driver| THEIRS.iter().all(|net| !driver.speaker.rib().explain(&nlri(net)).is_empty()))?;
    let pid: i32 = std::fs::read_to_string(bird.node.directory().join("pid"))?.trim().parse()?;
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL)?;
    driver.until(LIMIT, |driver| driver.speaker.status(PEER).unwrap().stale)?;
    assert!(THEIRS.iter().all(|net| driver.speaker.rib().explain(&nlri(net))[0].stale));
    Ok(())
}
