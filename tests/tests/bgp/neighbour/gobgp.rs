//! GoBGP, whose routes are put in over its own gRPC.

use anyhow::Result;
use ipam::Family::{V4, V6};
use netns_harness::{Lab, Node, wait_for};

use super::{LIMIT, Neighbour, OUR_AS, THEIR_AS, THEIRS, address, program};

/// A router of GoBGP's.
pub struct Gobgp {
    node: Node,
}

impl Gobgp {
    /// One that speaks to us; `options` are tables of the neighbour.
    pub fn start(lab: &Lab, us: &Node, options: &str) -> Result<Gobgp> {
        let mut command = program("gobgpd", "gobgpd")?;
        let node = lab.node("gobgp")?;
        let [own, ours] = [address(&node, V4), address(us, V4)];
        let family =
            |name: &str| format!("[[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"{name}\"\n");
        let config = format!(
            "[global.config]\nas = {THEIR_AS}\nrouter-id = \"{own}\"\n[[neighbors]]\n[neighbors.config]\n\
             neighbor-address = \"{ours}\"\npeer-as = {OUR_AS}\n[neighbors.timers.config]\nconnect-retry = 1\n\
             idle-hold-time-after-reset = 1\n{options}\n{}{}",
            family("ipv4-unicast"),
            family("ipv6-unicast"),
        );
        let path = node.directory().join("gobgpd.toml");
        std::fs::write(&path, config)?;
        command.arg("-f").arg(&path).args(["-t", "toml", "--api-hosts", "127.0.0.1:50051"]);
        node.start("gobgpd", command)?;
        let gobgp = Gobgp { node };
        wait_for("GoBGP to answer", LIMIT, || gobgp.ask("neighbor"))?;
        let hop = address(&gobgp.node, V6);
        gobgp.ask(&format!("global rib add {} large-community 65002:1:2", THEIRS[0]))?;
        gobgp.ask(&format!("global rib add {} nexthop {hop} -a ipv6", THEIRS[1]))?;
        Ok(gobgp)
    }

    /// What `gobgp` answers.
    pub fn ask(&self, what: &str) -> Result<String> {
        self.node.namespace().run(["gobgp"].into_iter().chain(what.split(' ')))
    }
}

impl Neighbour for Gobgp {
    fn node(&self) -> &Node {
        &self.node
    }

    fn route(&self, net: &str) -> Result<String> {
        let family = if net.contains(':') { "ipv6" } else { "ipv4" };
        let answer = self.ask(&format!("global rib {net} -a {family}"))?;
        Ok(if answer.contains("Network not in table") { String::new() } else { answer })
    }

    fn withdraw(&self) -> Result<()> {
        self.ask(&format!("global rib del {}", THEIRS[0]))?;
        self.ask(&format!("global rib del {} -a ipv6", THEIRS[1])).map(drop)
    }
}
