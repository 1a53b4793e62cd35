//! [`Nodes`]: a few nodes with daemons on one directory and a pod on each, and how they are told of another network.

use std::io::{Read, Write};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ipam::{Family, Stack};
use ipnet::IpNet;
use netns_harness::{Binaries, Daemon, DaemonOptions, Lab, Pod, Store, wait_for};
use serde_json::Value;

/// On a busy machine.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Nodes, daemons, pods.
pub struct Nodes {
    /// One a node.
    pub daemons: Vec<Daemon>,
    /// One a node, with the MTU that the daemon says.
    pub pods: Vec<Pod>,
    store: PathBuf,
    /// It ends last.
    pub lab: Lab,
}

/// IPv4 by this backend.
pub fn network(backend: &str) -> String {
    format!(r#"{{"Network": "10.244.0.0/16", "Backend": {backend}}}"#)
}

impl Nodes {
    /// So many nodes that can reach each other's pods; flags beside the usual ones.
    pub fn new(name: &str, (backend, flags): (&str, &[&str]), count: usize) -> Result<Nodes> {
        let lab = Lab::new(name)?;
        let store = lab.store_directory(&network(backend))?;
        let options = DaemonOptions::new(Store::Directory(store.clone()));
        let options = flags.iter().fold(options, |options, flag| options.flag(*flag));
        let binaries = Binaries::built()?;
        let mut nodes = Nodes { daemons: Vec::new(), pods: Vec::new(), store, lab };
        for number in 0..count {
            let daemon = nodes.lab.node(&format!("node{number}"))?.towpathd(&binaries, &options)?;
            daemon.wait_ready(LIMIT)?;
            let (subnet, mtu) = (told(&daemon, "FLANNEL_SUBNET")?, told(&daemon, "FLANNEL_MTU")?);
            let pod = daemon.node().bare_pod("pod", &Stack::V4(tenth(&subnet.parse()?)))?;
            pod.ip(&format!("link set eth0 mtu {mtu}"))?;
            nodes.pods.push(pod);
            nodes.daemons.push(daemon);
        }
        for (from, to) in nodes.pairs() {
            wait_for("the pods to talk", LIMIT, || from.reach(to, Family::V4))?;
        }
        Ok(nodes)
    }

    /// Each pod with the next one.
    pub fn pairs(&self) -> impl Iterator<Item = (&Pod, &Pod)> {
        self.pods.iter().zip(self.pods.iter().cycle().skip(1)).take(self.pods.len())
    }

    /// Writes the network's configuration anew.
    pub fn configure(&self, backend: &str) -> Result<()> {
        let new = self.store.join(".net-conf.new");
        std::fs::write(&new, network(backend))?;
        Ok(std::fs::rename(new, self.store.join("net-conf.json"))?)
    }

    /// Octets that each daemon has logged.
    pub fn log_lengths(&self) -> Vec<usize> {
        self.daemons.iter().map(|daemon| daemon.log().len()).collect()
    }

    /// What each daemon has logged since.
    pub fn logs_since(&self, lengths: &[usize]) -> String {
        let log = |(daemon, length): (&Daemon, &usize)| {
            let log = daemon.log();
            format!("  {}:\n{}", daemon.node().name(), log.get(*length..).unwrap_or_default())
        };
        self.daemons.iter().zip(lengths).map(log).collect()
    }

    /// Waits until every node sends by this way and has no other.
    pub fn wait_settled(&self, way: &str) -> Result<()> {
        self.daemons.iter().try_for_each(|daemon| {
            wait_for(&format!("{} to have {way} alone", daemon.node().name()), LIMIT, || {
                let status = rollout(daemon)?;
                ensure!(status["changing"] == false && status["from"] == way, "{status:#}");
                Ok(())
            })
        })
    }
}

/// What `towpathctl rollout status` is answered, without a process for it.
fn rollout(daemon: &Daemon) -> Result<Value> {
    let mut socket = UnixStream::connect(daemon.status_socket())?;
    socket.set_read_timeout(Some(LIMIT))?;
    socket.write_all(b"{\"ask\":\"rollout\",\"output\":\"json\"}\n")?;
    let mut line = String::new();
    socket.read_to_string(&mut line)?;
    let reply: Value = serde_json::from_str(&line)?;
    let text = reply["text"].as_str().context("no text")?;
    serde_json::from_str(text).with_context(|| text.to_owned())
}

/// The value of a key in what the daemon wrote for other programs.
pub fn told(daemon: &Daemon, key: &str) -> Result<String> {
    let text = std::fs::read_to_string(daemon.subnet_file())?;
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    Ok(line.with_context(|| format!("no {key} in:\n{text}"))?.to_owned())
}

/// The tenth address of a subnet.
pub fn tenth(subnet: &IpNet) -> IpAddr {
    match subnet.network() {
        IpAddr::V4(first) => IpAddr::V4((u32::from(first) + 10).into()),
        IpAddr::V6(first) => IpAddr::V6((u128::from(first) + 10).into()),
    }
}
