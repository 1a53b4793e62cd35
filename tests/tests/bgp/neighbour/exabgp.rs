//! ExaBGP, which keeps no routes: what it was told is in a file, as JSON, a line a message.

use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result};
use ipam::Family::{V4, V6};
use netns_harness::{Lab, Node, Process};
use rustix::process::Signal;
use serde_json::Value;

use super::{Neighbour, OUR_AS, THEIR_AS, THEIRS, address, program};

/// A speaker of ExaBGP's.
pub struct Exabgp {
    node: Node,
    config: String,
    process: Process,
}

impl Exabgp {
    /// One that speaks to us; `options` are lines about us.
    pub fn start(lab: &Lab, us: &Node, options: &str) -> Result<Exabgp> {
        let mut command = program("exabgp", "exabgp")?;
        let node = lab.node("exabgp")?;
        let [own, own_v6, ours] = [address(&node, V4), address(&node, V6), address(us, V4)];
        let [four, six] = THEIRS;
        let seen = node.directory().join("seen");
        // Whoever closes its standard output is taken for dead.
        let watch = node.directory().join("watch");
        std::fs::write(
            &watch,
            format!("#!/bin/sh\nwhile IFS= read -r line; do echo \"$line\" >>{}; done\n", seen.display()),
        )?;
        std::fs::set_permissions(&watch, PermissionsExt::from_mode(0o755))?;
        let config = format!(
            "process watch {{\n run {};\n encoder json;\n}}\n\
             neighbor {ours} {{\n router-id {own};\n local-address {own};\n local-as {THEIR_AS};\n peer-as {OUR_AS};\n \
             family {{\n  ipv4 unicast;\n  ipv6 unicast;\n }}\n \
             api {{\n  processes [ watch ];\n  receive {{\n   parsed;\n   update;\n  }}\n }}\n{options}\n \
             static {{\n  route {four} next-hop self large-community [ 65002:1:2 ];\n  route {six} next-hop {own_v6};\n }}\n}}\n",
            watch.display()
        );
        let path = node.directory().join("exabgp.conf");
        std::fs::write(&path, &config)?;
        std::fs::write(&seen, "")?;
        command.env("exabgp.daemon.user", "root").env("exabgp.api.cli", "false").arg(&path);
        let process = node.start("exabgp", command)?;
        Ok(Exabgp { node, config, process })
    }

    fn updates(&self) -> Result<Vec<Value>> {
        let text = std::fs::read_to_string(self.node.directory().join("seen"))?;
        // The last line may not be whole yet.
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        Ok(lines.filter_map(|line| line.pointer("/neighbor/message/update").cloned()).collect())
    }
}

impl Neighbour for Exabgp {
    fn node(&self) -> &Node {
        &self.node
    }

    fn route(&self, net: &str) -> Result<String> {
        let mut held = String::new();
        for update in self.updates()? {
            let quoted = format!("\"{net}\"");
            let part = |name: &str| update.get(name).map(Value::to_string).unwrap_or_default();
            if part("withdraw").contains(&quoted) {
                held.clear();
            }
            if part("announce").contains(&quoted) {
                held = update.to_string();
            }
        }
        Ok(held)
    }

    fn withdraw(&self) -> Result<()> {
        let begin = self.config.find(" static {").context("no routes")?;
        let rest = self.config.get(..begin).context("no routes")?;
        std::fs::write(self.node.directory().join("exabgp.conf"), format!("{rest}}}\n"))?;
        self.process.signal(Signal::USR1)
    }
}
