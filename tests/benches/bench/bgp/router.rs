//! [`Router`]: what is measured, in a namespace of its own, with as many peers as a row needs.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use netns_harness::{Binaries, Bird, DaemonOptions, Lab, Node, Process, Store, wait_for};

use super::session::{Peer, ROUTER, ROUTER_AS};

const LIMIT: Duration = Duration::from_secs(30);
const FRR: &str = "/usr/lib/frr";

/// Whose router it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Make {
    /// BIRD 2.
    Bird,
    /// FRR.
    Frr,
    /// Ours.
    Ours,
}

impl Make {
    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Make::Bird => "BIRD",
            Make::Frr => "FRR",
            Make::Ours => "ours",
        }
    }
}

/// Who may speak to it.
#[derive(Clone, Copy, Debug)]
pub enum Peers {
    /// So many, each named in its configuration.
    Named(u16),
    /// Whoever comes from their range.
    Any,
}

/// Whether it brings routes to its kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// It does.
    Written,
    /// It only speaks.
    Untouched,
}

/// A router that runs.
pub struct Router {
    processes: Vec<Process>,
    node: Node,
}

impl Router {
    /// Starts one.
    pub fn start(
        lab: &Lab,
        tester: &Node,
        (make, number): (Make, usize),
        (peers, kernel): (Peers, Kernel),
    ) -> Result<Router> {
        let node = lab.node(&format!("{}{number}", make.name().to_lowercase()))?;
        node.ip(&format!("address add {ROUTER}/16 dev eth0"))?;
        if let Peers::Any = peers {
            // Thousands of neighbours on a link are more than a kernel remembers.
            let via = tester.address(ipam::Family::V4)?;
            node.ip(&format!("route add 198.18.128.0/17 via {via} dev eth0"))?;
        }
        let processes = match make {
            Make::Bird => vec![bird(&node, (peers, kernel))?],
            Make::Frr => frr(&node, (peers, kernel))?,
            Make::Ours if kernel == Kernel::Written => vec![daemon(&node, peers)?],
            Make::Ours => vec![ours(&node, peers)?],
        };
        Ok(Router { processes, node })
    }

    /// Processor time, seconds, to the nanosecond that the scheduler counts.
    pub fn cpu(&self) -> Result<f64> {
        let mut nanos = 0_u64;
        for process in &self.processes {
            for thread in std::fs::read_dir(format!("/proc/{}/task", process.pid()?.as_raw_nonzero()))? {
                let text = std::fs::read_to_string(thread?.path().join("schedstat"))?;
                nanos += text.split(' ').next().context("no time")?.parse::<u64>()?;
            }
        }
        Ok(nanos as f64 / 1e9)
    }

    /// The most memory that it ever had, MiB.
    pub fn peak(&self) -> Result<f64> {
        self.memory("VmHWM:")
    }

    /// The memory that it has, MiB.
    pub fn rss(&self) -> Result<f64> {
        self.memory("VmRSS:")
    }

    fn memory(&self, key: &str) -> Result<f64> {
        let mut kibibytes = 0.0;
        for process in &self.processes {
            let text = std::fs::read_to_string(format!("/proc/{}/status", process.pid()?.as_raw_nonzero()))?;
            let value = text.lines().find_map(|line| line.strip_prefix(key)).context("no memory")?;
            kibibytes += value.trim().trim_end_matches(" kB").trim().parse::<f64>()?;
        }
        Ok(kibibytes / 1024.0)
    }

    /// Routes of IPv4 in its kernel's main table, as the kernel counts them.
    pub fn kernel_routes(&self) -> Result<usize> {
        kernel_routes(&self.node)
    }

    /// What it said last.
    pub fn log(&self) -> String {
        self.processes.iter().map(|process| process.log_tail(20)).collect()
    }

    /// Ends it, and takes it off the wire.
    pub fn end(self) -> Result<()> {
        self.processes.iter().try_for_each(Process::kill)?;
        self.node.ip("link set eth0 down").map(drop)
    }
}

/// Routes of IPv4 in a kernel's main table, as it counts them.
pub fn kernel_routes(node: &Node) -> Result<usize> {
    let text = node.namespace().within(|| Ok(std::fs::read_to_string("/proc/thread-self/net/fib_triestat")?))?;
    let main = text.split_once("Main:").context("no table")?.1;
    let line = main.lines().find_map(|line| line.trim().strip_prefix("Prefixes:")).context("no count")?;
    Ok(line.trim().parse()?)
}

/// The whole daemon, beside a backend that has nothing to do with it.
fn daemon(node: &Node, peers: Peers) -> Result<Process> {
    let Peers::Named(count) = peers else { bail!("a daemon with peers that nobody names") };
    let peer = |peer: Peer| {
        let (address, asn) = (peer.address(), peer.asn());
        format!(r#"{{"Address": "{address}", "AS": {asn}, "Passive": true, "Import": "accept"}}"#)
    };
    let peers: Vec<String> = (0..count).map(Peer).map(peer).collect();
    let bgp = format!(r#"{{"AS": {ROUTER_AS}, "Peers": [{}]}}"#, peers.join(", "));
    let network = format!(r#"{{"Network": "10.244.0.0/16", "Backend": {{"Type": "host-gw"}}, "BGP": {bgp}}}"#);
    let store = node.directory().join("store");
    std::fs::create_dir(&store)?;
    std::fs::write(store.join("net-conf.json"), network)?;
    let options = DaemonOptions::new(Store::Directory(store)).flag(format!("--iface={ROUTER}"));
    let daemon = node.towpathd(&Binaries::built()?, &options)?;
    daemon.wait_ready(LIMIT)?;
    Ok(Process::clone(&daemon))
}

fn ours(node: &Node, peers: Peers) -> Result<Process> {
    let peers = match peers {
        Peers::Named(count) => count.to_string(),
        Peers::Any => "any".to_owned(),
    };
    let mut command = Command::new(std::env::current_exe()?);
    command.args([super::ours::WORD, &peers]);
    node.start("ours", command)
}

fn bird(node: &Node, (peers, kernel): (Peers, Kernel)) -> Result<Process> {
    let mut text = format!("router id {ROUTER};\nprotocol device {{}}\n");
    if kernel == Kernel::Written {
        text.push_str("protocol kernel { ipv4 { export all; import none; }; }\n");
    }
    let rest = "ipv4 { import all; export all; };\n passive;\n hold time 180;\n error wait time 1, 1;\n";
    match peers {
        Peers::Named(count) => {
            for peer in (0..count).map(Peer) {
                let (address, asn) = (peer.address(), peer.asn());
                writeln!(
                    text,
                    "protocol bgp {{ local {ROUTER} as {ROUTER_AS}; neighbor {address} as {asn};\n {rest} }}"
                )?;
            }
        }
        Peers::Any => writeln!(
            text,
            "protocol bgp {{ local {ROUTER} as {ROUTER_AS}; neighbor range 198.18.128.0/17 external; multihop 2;\n {rest} }}"
        )?,
    }
    Ok(Bird::start(node.clone(), &text)?.process)
}

fn frr(node: &Node, (peers, kernel): (Peers, Kernel)) -> Result<Vec<Process>> {
    ensure!(Path::new(FRR).join("bgpd").is_file(), "FRR is missing. Run: apt-get install frr (or make deps)");
    let mut text = format!(
        "router bgp {ROUTER_AS}\n bgp router-id {ROUTER}\n no bgp ebgp-requires-policy\n bgp listen limit 5000\n \
         neighbor ALL peer-group\n neighbor ALL passive\n neighbor ALL timers 60 180\n"
    );
    match peers {
        Peers::Named(count) => {
            for peer in (0..count).map(Peer) {
                let (address, asn) = (peer.address(), peer.asn());
                writeln!(text, " neighbor {address} remote-as {asn}\n neighbor {address} peer-group ALL")?;
            }
        }
        Peers::Any => text.push_str(
            " neighbor ALL remote-as external\n neighbor ALL ebgp-multihop 2\n bgp listen range 198.18.128.0/17 peer-group ALL\n",
        ),
    }
    let directory = node.directory().join("frr");
    std::fs::create_dir_all(&directory)?;
    written(node, "frr/bgpd.conf", &text)?;
    written(node, "frr/zebra.conf", "")?;
    node.namespace().run(["chown", "-R", "frr:frr", &directory.to_string_lossy()])?;
    let start = |name: &str, more: &[&str]| {
        let mut command = Command::new(format!("{FRR}/{name}"));
        command.args(["-u", "frr", "-g", "frr", "-z"]).arg(directory.join("zserv.api")).args(more);
        command.arg("--vty_socket").arg(&directory).arg("-i").arg(directory.join(format!("{name}.pid")));
        command.arg("-f").arg(directory.join(format!("{name}.conf")));
        node.start(name, command)
    };
    let zebra = start("zebra", &[])?;
    wait_for("zebra to listen", LIMIT, || {
        ensure!(directory.join("zserv.api").exists(), "no socket");
        Ok(())
    })?;
    Ok(match kernel {
        Kernel::Written => vec![start("bgpd", &[])?, zebra],
        Kernel::Untouched => vec![start("bgpd", &["--no_kernel"])?],
    })
}

fn written(node: &Node, name: &str, text: &str) -> Result<PathBuf> {
    let path = node.directory().join(name);
    std::fs::write(&path, text)?;
    Ok(path)
}
