//! [`Cluster`]: a lab with daemons that share a store, as the tests of this binary want it.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ipam::{Family, Stack};
use ipnet::IpNet;
use netns_harness::{
    Binaries, Daemon, DaemonOptions, Etcd, EtcdOptions, Lab, Node, Pace, Pod, Station, Store, Stream, wait_for,
};

use crate::picture::Picture;

/// On a busy machine of two cores things take longer; in a quiet one all of them take milliseconds.
pub const LIMIT: Duration = Duration::from_secs(30);

/// Both families, everything else as it comes.
pub const DUAL: &str = r#"{"Network": "10.244.0.0/16", "IPv6Network": "fd00:10:244::/48", "EnableIPv6": true}"#;

/// IPv4 alone.
pub const SINGLE: &str = r#"{"Network": "10.244.0.0/16"}"#;

/// Where flannel keeps its keys.
pub const PREFIX: &str = "/coreos.com/network";

/// Nodes with daemons on one store.
pub struct Cluster {
    /// The programs.
    pub binaries: Binaries,
    /// Where the leases are.
    pub store: Store,
    /// The daemons in the order in which they joined.
    pub daemons: Vec<Daemon>,
    /// The etcd, if that is the store.
    pub etcd: Option<Etcd>,
    /// The lab; it ends last.
    pub lab: Lab,
}

impl Cluster {
    /// With a directory as the store.
    pub fn on_directory(name: &str, network: &str) -> Result<Cluster> {
        let lab = Lab::new(name)?;
        let store = Store::Directory(lab.store_directory(network)?);
        Ok(Cluster { binaries: Binaries::built()?, store, daemons: Vec::new(), etcd: None, lab })
    }

    /// With etcd as the store.
    pub fn on_etcd(name: &str, network: &str) -> Result<Cluster> {
        let lab = Lab::new(name)?;
        let etcd = lab.etcd(&EtcdOptions::default())?;
        etcd.ctl(&["put", &format!("{PREFIX}/config"), network])?;
        let store = Store::Etcd(etcd.endpoints()?);
        Ok(Cluster { binaries: Binaries::built()?, store, daemons: Vec::new(), etcd: Some(etcd), lab })
    }

    /// A node that nobody runs a daemon on yet joins, and is ready.
    pub fn join(&mut self, name: &str) -> Result<Daemon> {
        let node = self.lab.node(name)?;
        let daemon = self.start(&node, |options| options)?;
        daemon.wait_ready(LIMIT)?;
        Ok(daemon)
    }

    /// Starts a daemon on a node, with other options than the usual.
    pub fn start(&mut self, node: &Node, change: impl FnOnce(DaemonOptions) -> DaemonOptions) -> Result<Daemon> {
        let options = change(DaemonOptions::new(self.store.clone()));
        let daemon = node.towpathd(&self.binaries, &options)?;
        self.daemons.push(daemon.clone());
        Ok(daemon)
    }

    /// Several nodes join, and know each other.
    pub fn join_all<const N: usize>(&mut self, names: [&str; N]) -> Result<[Daemon; N]> {
        let joined = names.map(|name| self.join(name));
        let joined: Vec<Daemon> = joined.into_iter().collect::<Result<_>>()?;
        self.wait_acquainted()?;
        joined.try_into().map_err(|_| anyhow::anyhow!("as many as there were names"))
    }

    /// Waits until every node has a route to every other's pods.
    pub fn wait_acquainted(&self) -> Result<()> {
        let subnets: Vec<Stack<IpNet>> = self.daemons.iter().map(subnets).collect::<Result<_>>()?;
        for (number, daemon) in self.daemons.iter().enumerate() {
            let others = subnets.iter().enumerate().filter(|(other, _)| *other != number);
            for subnet in others.flat_map(|(_, subnets)| subnets.values()) {
                wait_route(daemon.node(), subnet)?;
            }
        }
        Ok(())
    }

    /// The directory of the store.
    pub fn directory(&self) -> Result<PathBuf> {
        match &self.store {
            Store::Directory(path) => Ok(path.clone()),
            _ => anyhow::bail!("the store is no directory"),
        }
    }

    /// The etcd of the store.
    pub fn etcd(&self) -> Result<&Etcd> {
        self.etcd.as_ref().context("the store is a directory")
    }

    /// Writes the network's configuration anew.
    pub fn configure(&self, network: &str) -> Result<()> {
        match &self.store {
            Store::Directory(path) => {
                let (file, new) = (path.join("net-conf.json"), path.join(".net-conf.new"));
                std::fs::write(&new, network)?;
                Ok(std::fs::rename(new, file)?)
            }
            _ => self.etcd()?.ctl(&["put", &format!("{PREFIX}/config"), network]).map(drop),
        }
    }

    /// A pod of a node, made by the project's own plugin.
    pub fn pod(&self, daemon: &Daemon, name: &str) -> Result<Pod> {
        daemon.node().pod(&daemon.plugin(&self.binaries)?, name)
    }
}

/// A pod without a plugin, at the tenth address of the node's subnets.
pub fn bare_pod(daemon: &Daemon, name: &str) -> Result<Pod> {
    let addresses = subnets(daemon)?.map(|_, subnet| nth(subnet, 10));
    daemon.node().bare_pod(name, &addresses)
}

/// A stream between two that talk already: what is lost from now on is somebody's doing, not the first question for a
/// neighbour's.
pub fn stream(from: &Station, to: &Station, family: Family) -> Result<Stream> {
    wait_for("the two to talk", LIMIT, || from.reach(to, family))?;
    let stream = Stream::start(from, to, family, Pace { per_sec: 500, at_most: Duration::from_secs(600) })?;
    stream.wait_more(50, LIMIT)?;
    Ok(stream)
}

/// An address of a subnet by its number.
pub fn nth(subnet: &IpNet, number: u8) -> IpAddr {
    match subnet.network() {
        IpAddr::V4(first) => IpAddr::V4((u32::from(first) + u32::from(number)).into()),
        IpAddr::V6(first) => IpAddr::V6((u128::from(first) + u128::from(number)).into()),
    }
}

/// The value of a key in what the daemon wrote for other programs.
pub fn told(daemon: &Daemon, key: &str) -> Result<String> {
    let text = std::fs::read_to_string(daemon.subnet_file()).context("the daemon wrote no subnet.env")?;
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    Ok(line.with_context(|| format!("no {key} in:\n{text}"))?.to_owned())
}

/// The node's pod subnets, as other programs are told.
pub fn subnets(daemon: &Daemon) -> Result<Stack<IpNet>> {
    let of = |key| told(daemon, key).ok().and_then(|text| text.parse::<IpNet>().ok()).map(|net| net.trunc());
    Stack::from_options(of("FLANNEL_SUBNET"), of("FLANNEL_IPV6_SUBNET")).context("no subnet in subnet.env")
}

/// Waits until a node has a route of ours to these pods.
pub fn wait_route(node: &Node, subnet: &IpNet) -> Result<()> {
    let family = if subnet.addr().is_ipv4() { "-4" } else { "-6" };
    wait_for(&format!("{}'s route to {subnet}", node.name()), LIMIT, || {
        let routes = node.run(["ip", family, "route", "show", "proto", "84", "exact", &subnet.to_string()])?;
        ensure!(!routes.trim().is_empty(), "there is none");
        Ok(())
    })
}

/// Waits until what a node's kernel holds is this again.
pub fn wait_picture(node: &Node, expected: &Picture) -> Result<()> {
    let what = format!("{}'s kernel to be as it was", node.name());
    wait_for(&what, LIMIT, || expected.compare(&Picture::of(node)?))
}

/// Kills a daemon and starts it again: the store has spoken, a whole look came after it, and nothing had to be changed.
pub fn killed_and_back(daemon: &Daemon, expected: &Picture) -> Result<()> {
    daemon.kill()?;
    daemon.restart()?;
    daemon.wait_ready(LIMIT)?;
    daemon.wait_log("leases", LIMIT)?;
    ensure!(counted(daemon, "towpath_kernel_changes_total")? == 0.0, "changes: {}", daemon.log_tail(20));
    wait_picture(daemon.node(), expected)
}

/// Waits until a counter of a daemon is more than it was.
pub fn wait_counted(daemon: &Daemon, metric: &str, before: f64) -> Result<f64> {
    wait_for(&format!("more of {metric} than {before}"), LIMIT, || {
        let now = counted(daemon, metric)?;
        ensure!(now > before, "it is {now}");
        Ok(now)
    })
}

/// A counter of a daemon.
pub fn counted(daemon: &Daemon, metric: &str) -> Result<f64> {
    daemon.metric(metric)?.with_context(|| format!("there is no metric {metric}"))
}

/// What `towpathctl status` says.
pub fn status(cluster: &Cluster, daemon: &Daemon) -> Result<String> {
    let (ctl, socket) =
        (cluster.binaries.find("towpathctl")?, format!("--socket={}", daemon.status_socket().display()));
    daemon.node().run([ctl.as_os_str(), "status".as_ref(), socket.as_ref()])
}
