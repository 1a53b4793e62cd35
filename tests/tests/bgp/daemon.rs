//! The daemon itself, configured as a user would, beside all five at once: routes in its kernel, and its own death under traffic.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ipam::{Family, Stack};
use ipnet::IpNet;
use netns_harness::{Binaries, Daemon, DaemonOptions, Lab, Node, Pace, Store, Stream, wait_for};
use serde_json::Value;

use crate::neighbour::bird;
use crate::neighbour::exabgp::Exabgp;
use crate::neighbour::frr::Frr;
use crate::neighbour::gobgp::Gobgp;
use crate::neighbour::openbgpd::Openbgpd;
use crate::neighbour::{LIMIT, Neighbour, OUR_AS, THEIR_AS, THEIRS};

/// towpathd on a node, and who it speaks with.
pub struct Speaker {
    binaries: Binaries,
    pub daemon: Daemon,
    pub store: std::path::PathBuf,
}

impl Speaker {
    /// With these neighbours, each said with more keys.
    pub fn start(lab: &Lab, us: &Node, peers: &[(&Node, &str)]) -> Result<Speaker> {
        Speaker::with(lab, us, &network(peers)?)
    }

    /// With this configuration of the network.
    pub fn with(lab: &Lab, us: &Node, network: &str) -> Result<Speaker> {
        let store = lab.store_directory(network)?;
        let binaries = Binaries::built()?;
        let daemon = us.towpathd(&binaries, &DaemonOptions::new(Store::Directory(store.clone())))?;
        daemon.wait_ready(LIMIT)?;
        Ok(Speaker { binaries, daemon, store })
    }

    /// With others from now on.
    fn configure(&self, peers: &[(&Node, &str)]) -> Result<()> {
        self.configure_all(&network(peers)?)
    }

    /// With another configuration of the network from now on.
    pub fn configure_all(&self, network: &str) -> Result<()> {
        let new = self.store.join(".net-conf.new");
        std::fs::write(&new, network)?;
        Ok(std::fs::rename(new, self.store.join("net-conf.json"))?)
    }

    /// Where its pods are.
    pub fn subnets(&self) -> Result<Stack<IpNet>> {
        let text = std::fs::read_to_string(self.daemon.subnet_file())?;
        let of = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key)).with_context(|| text.clone())?;
            anyhow::Ok(line.parse::<IpNet>()?.trunc())
        };
        Stack::from_options(Some(of("FLANNEL_SUBNET=")?), Some(of("FLANNEL_IPV6_SUBNET=")?)).context("no subnets")
    }

    /// What `towpathctl bgp …` says.
    pub fn ask(&self, words: &str) -> Result<String> {
        let program = self.binaries.find("towpathctl")?;
        let socket = self.daemon.status_socket().display().to_string();
        let command = format!("{} bgp {words} --socket={socket} || :", program.display());
        self.daemon.node().run(["sh", "-c", &command])
    }

    /// What is said of a peer.
    pub fn peer(&self, name: &str) -> Result<Value> {
        Ok(serde_json::from_str(&self.ask(&format!("peers {name} -o json"))?)?)
    }

    /// How many routers a prefix leads over in the kernel.
    pub fn ways(&self, prefix: &str) -> Result<usize> {
        let dash = if prefix.contains(':') { "-6" } else { "-4" };
        let shown = self.daemon.node().run(["ip", dash, "route", "show", "proto", "84", "exact", prefix])?;
        Ok(shown.matches("via ").count())
    }

    pub fn wait_ways(&self, count: usize) -> Result<()> {
        wait_for(&format!("{count} ways"), LIMIT, || {
            for prefix in THEIRS {
                let ways = self.ways(prefix)?;
                ensure!(ways == count, "{ways} ways to {prefix}: {}", self.ask("peers")?);
            }
            Ok(())
        })
    }
}

/// GoBGP says of its routes that nobody knows where they come from: with that they are all as good.
fn network(peers: &[(&Node, &str)]) -> Result<String> {
    let peer = |(node, more): &(&Node, &str)| {
        let (name, address) = (node.name(), node.address(Family::V4)?);
        anyhow::Ok(format!(
            r#"{{"Name": "{name}", "Address": "{address}", "AS": {THEIR_AS}, "Import": "alike", "ConnectRetry": 1{more}}}"#
        ))
    };
    let peers = peers.iter().map(peer).collect::<Result<Vec<_>>>()?.join(", ");
    Ok(format!(
        r#"{{"Network": "10.244.0.0/16", "IPv6Network": "fd00:10:244::/48", "EnableIPv6": true,
            "Policies": {{"alike": [{{"Set": {{"Origin": "igp"}}, "Then": "accept"}}]}},
            "Backend": {{"Type": "bgp", "AS": {OUR_AS}, "Announce": {{"LargeCommunities": ["65001:3:4"]}}, "Peers": [{peers}]}}}}"#
    ))
}

/// Waits until a neighbour has a subnet of ours.
pub fn has(neighbour: &dyn Neighbour, subnet: &IpNet) -> Result<()> {
    wait_for(&format!("{} to have {subnet}", neighbour.node().name()), LIMIT, || {
        ensure!(neighbour.has(&subnet.to_string()), "it has not");
        Ok(())
    })
}

#[test]
fn all_five_at_once_are_one_route_over_all_of_them_and_none_is_touched_when_another_changes() -> Result<()> {
    let lab = Lab::new("bgpdaemon")?;
    let us = lab.node("us")?;
    let bird = bird::start(&lab, &us, "local role provider;")?;
    let frr = Frr::start(&lab, &us, (" neighbor US local-role provider", "", ""))?;
    let gobgp = Gobgp::start(&lab, &us, "")?;
    let openbgpd = Openbgpd::start(&lab, &us, "")?;
    let exabgp = Exabgp::start(&lab, &us, "")?;
    let all: [&dyn Neighbour; 5] = [&bird, &frr, &gobgp, &openbgpd, &exabgp];
    let role = r#", "Role": "customer""#;
    let peers = all.map(|one| (one.node(), if ["bird", "frr"].contains(&one.node().name()) { role } else { "" }));
    let us = Speaker::start(&lab, &us, &peers)?;
    us.wait_ways(5)?;
    for subnet in us.subnets()?.values() {
        all.iter().try_for_each(|one| has(*one, subnet))?;
    }
    let explained = us.ask(&format!("routes --explain {}", THEIRS[0]))?;
    assert_eq!(explained.matches("65002:1:2").count(), 5, "{explained}");
    let said = frr.route(&us.subnets()?.get(Family::V4).context("a subnet")?.to_string())?;
    assert!(said.contains("Large Community: 65001:3:4"), "{said}");
    // One is configured otherwise, and one is wanted no longer.
    let mut changed = peers.to_vec();
    changed[2].1 = r#", "HoldTime": 30"#;
    changed.pop();
    us.configure(&changed)?;
    us.wait_ways(4)?;
    wait_for("GoBGP to be met anew", LIMIT, || {
        let peer = us.peer(gobgp.node().name())?;
        let anew = peer["agreed"].as_array().is_some_and(|agreed| agreed.contains(&"hold time 30 s".into()));
        ensure!(anew, "{peer}");
        Ok(())
    })?;
    for one in [&bird as &dyn Neighbour, &frr, &openbgpd] {
        let peer = us.peer(one.node().name())?;
        assert_eq!((&peer["flaps"], &peer["state"]), (&0.into(), &"Established".into()), "{peer}");
    }
    // What they take back is gone from the kernel.
    all[..4].iter().try_for_each(|one| one.withdraw())?;
    us.wait_ways(0)
}

#[test]
fn the_daemon_dies_under_traffic_and_nothing_is_lost_and_a_neighbour_dies_and_nothing_is_touched() -> Result<()> {
    let lab = Lab::new("bgpdeath")?;
    let us = lab.node("us")?;
    let frr = Frr::start(&lab, &us, (" bgp graceful-restart preserve-fw-state", "", ""))?;
    let us = Speaker::start(&lab, &us, &[(frr.node(), r#", "BFD": {"Interval": 300}"#)])?;
    let subnets = us.subnets()?;
    let addresses = subnets.map(|_, subnet| subnet.hosts().nth(9).unwrap_or(subnet.addr()));
    let pod = us.daemon.node().bare_pod("web", &addresses)?;
    let mut streams = Vec::new();
    for subnet in subnets.values() {
        has(&frr, subnet)?;
        let family = if subnet.addr().is_ipv4() { Family::V4 } else { Family::V6 };
        wait_for("the pod to answer the router", LIMIT, || frr.node().reach(&pod, family))?;
        let pace = Pace { per_sec: 500, at_most: Duration::from_secs(600) };
        streams.push(Stream::start(frr.node(), &pod, family, pace)?);
    }
    us.daemon.kill()?;
    streams.iter().try_for_each(|stream| stream.wait_more(500, LIMIT))?;
    us.daemon.restart()?;
    us.daemon.wait_ready(LIMIT)?;
    for family in ["IPv4", "IPv6"] {
        us.daemon.wait_log(&format!("all {family} routes are learnt"), LIMIT)?;
    }
    us.wait_ways(1)?;
    for stream in streams {
        stream.wait_more(50, LIMIT)?;
        let report = stream.stop()?;
        assert_eq!(report.lost(), 0, "{report:?}: {}", us.daemon.log_tail(30));
    }
    // Now the other end. It takes its own routes out of its own kernel for 50 ms when it is back (FRR 8.4, seen with `ip monitor`), so
    // what counts is ours, where nothing is touched.
    let written = us.daemon.metric("towpath_kernel_changes_total")?;
    frr.bgpd.kill()?;
    wait_for("its routes to be kept", LIMIT, || {
        let peer = us.peer("frr")?;
        ensure!(peer["stale"] == true, "{peer}");
        Ok(())
    })?;
    us.wait_ways(1)?;
    frr.bgpd.restart()?;
    wait_for("it to be back", LIMIT, || {
        let peer = us.peer("frr")?;
        ensure!(peer["stale"] == false && peer["state"] == "Established", "{peer}");
        Ok(())
    })?;
    us.wait_ways(1)?;
    wait_for("the pod to answer the router again", LIMIT, || frr.node().reach(&pod, Family::V4))?;
    assert_eq!(us.daemon.metric("towpath_kernel_changes_total")?, written, "{}", us.daemon.log_tail(30));
    Ok(())
}
