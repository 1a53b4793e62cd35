//! [`Monitor`]: everything that the kernel says is changed in a namespace, from one moment to another.

use std::process::Command;

use anyhow::{Result, ensure};
use netns_harness::{Node, Process, wait_for};

use crate::cluster::LIMIT;

/// What the ends of the marks look like.
const MARKS: [&str; 2] = ["Deleted blackhole 203.0.113.113", "delete table ip marker"];

/// Listens as long as the lab lives.
pub struct Monitor {
    node: Node,
    listeners: [Process; 2],
}

impl Monitor {
    /// Begins to listen.
    pub fn start(node: &Node) -> Result<Monitor> {
        let mut links = Command::new("ip");
        links.args(["-o", "monitor", "link", "address", "route", "neigh", "nexthop", "rule", "netconf"]);
        let mut rules = Command::new("stdbuf");
        rules.args(["-oL", "nft", "monitor"]);
        let listeners = [node.start("ip-monitor", links)?, node.start("nft-monitor", rules)?];
        let monitor = Monitor { node: node.clone(), listeners };
        monitor.mark()?;
        Ok(monitor)
    }

    /// What was changed while something was done.
    pub fn during(&self, what: impl FnOnce() -> Result<()>) -> Result<Vec<String>> {
        let before = self.lengths();
        what()?;
        self.mark()?;
        let logs = self.listeners.iter().map(|listener| listener.log()).zip(before);
        let lines: Vec<String> =
            logs.flat_map(|(log, begin)| log[begin..].lines().map(str::to_owned).collect::<Vec<_>>()).collect();
        Ok(lines.into_iter().filter(|line| !is_noise(line)).collect())
    }

    /// Makes changes of its own until they are heard: then everything before was heard, too.
    fn mark(&self) -> Result<()> {
        let before = self.lengths();
        wait_for("the monitors to hear a mark", LIMIT, || {
            self.node.ip("route add blackhole 203.0.113.113")?;
            self.node.ip("route del blackhole 203.0.113.113")?;
            self.node.run(["nft", "add table ip marker; delete table ip marker"])?;
            for ((listener, begin), word) in self.listeners.iter().zip(before).zip(MARKS) {
                listener.pid()?;
                ensure!(listener.log()[begin..].contains(word), "{} has not heard of it", listener.name());
            }
            Ok(())
        })
    }

    fn lengths(&self) -> [usize; 2] {
        self.listeners.each_ref().map(|listener| listener.log().len())
    }
}

/// What is said without anybody having changed anything: our own marks, who sent it, and the kernel's learning of
/// neighbours beside our tunnels.
fn is_noise(line: &str) -> bool {
    let states = ["REACHABLE", "STALE", "DELAY", "PROBE", "FAILED", "INCOMPLETE"];
    let learnt = states.iter().any(|state| line.trim_end().ends_with(state)) && !line.contains(" dev flannel");
    let marks =
        line.contains("203.0.113.113") || line.contains("table ip marker") || line.starts_with("# new generation");
    // A link-local address is usable a second after its device came up, and nobody's doing (RFC 4862 section 5.4).
    learnt || marks || line.contains("fe80:") || line.trim().is_empty()
}
