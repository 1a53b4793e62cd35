//! OpenBGPD, as Debian has it.

use std::os::unix::fs::PermissionsExt;

use anyhow::Result;
use ipam::Family::{V4, V6};
use netns_harness::{Lab, Node, wait_for};

use super::{LIMIT, Neighbour, OUR_AS, THEIR_AS, THEIRS, address, program};

/// A router of OpenBGPD's.
pub struct Openbgpd {
    node: Node,
}

impl Openbgpd {
    /// One that speaks to us; `options` are lines about us.
    pub fn start(lab: &Lab, us: &Node, options: &str) -> Result<Openbgpd> {
        let mut command = program("bgpctl", "openbgpd").map(|_| std::process::Command::new("/usr/sbin/bgpd"))?;
        let node = lab.node("openbgpd")?;
        let [own, ours] = [address(&node, V4), address(us, V4)];
        let [four, six] = THEIRS;
        let socket = node.directory().join("ctl");
        let config = format!(
            "AS {THEIR_AS}\nrouter-id {own}\nfib-update no\nsocket \"{}\"\n\
             network {four} set large-community 65002:1:2\nnetwork {six}\n\
             neighbor {ours} {{\nremote-as {OUR_AS}\nannounce IPv4 unicast\nannounce IPv6 unicast\n{options}\n}}\n\
             allow from any\nallow to any\n",
            socket.display()
        );
        let path = node.directory().join("bgpd.conf");
        std::fs::write(&path, config)?;
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600))?;
        // What it finds there it takes for the next hop of IPv6 routes that are told over IPv4.
        node.ip("-6 address del ::1/128 dev lo")?;
        node.ip(&format!("-6 address add {}/128 dev lo", address(&node, V6)))?;
        // It locks itself in there.
        std::fs::create_dir_all("/run/openbgpd")?;
        command.arg("-d").arg("-f").arg(&path);
        node.start("bgpd", command)?;
        let openbgpd = Openbgpd { node };
        wait_for("OpenBGPD to answer", LIMIT, || openbgpd.ask("show neighbor"))?;
        Ok(openbgpd)
    }

    /// What `bgpctl` answers.
    pub fn ask(&self, what: &str) -> Result<String> {
        let socket = self.node.directory().join("ctl");
        let socket = socket.to_string_lossy();
        self.node.namespace().run(["bgpctl", "-s", &socket].into_iter().chain(what.split(' ')))
    }
}

impl Neighbour for Openbgpd {
    fn node(&self) -> &Node {
        &self.node
    }

    fn route(&self, net: &str) -> Result<String> {
        let answer = self.ask(&format!("show rib detail {net}"))?;
        Ok(if answer.contains(net) { answer } else { String::new() })
    }

    fn withdraw(&self) -> Result<()> {
        THEIRS.iter().try_for_each(|net| self.ask(&format!("network delete {net}")).map(drop))
    }
}
