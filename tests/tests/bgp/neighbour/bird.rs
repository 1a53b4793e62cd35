//! BIRD 2, with one static route of each family and one session.

use anyhow::Result;
use netns_harness::{Bird, Lab, Node};

use ipam::Family::{V4, V6};

use super::{Neighbour, OUR_AS, THEIR_AS, THEIRS, address};

/// One that speaks to us as `options` say.
pub fn start(lab: &Lab, us: &Node, options: &str) -> Result<Bird> {
    let node = lab.node("bird")?;
    let [own, own_v6, peer] = [address(&node, V4), address(&node, V6), address(us, V4)];
    let [four, six] = THEIRS;
    let config = format!(
        "router id {own};\nprotocol device {{}}\n\
         protocol static {{ ipv4; route {four} blackhole {{ bgp_large_community.add((65002, 1, 2)); }}; }}\n\
         protocol static {{ ipv6; route {six} blackhole; }}\n\
         protocol bgp towpath {{\n local {own} as {THEIR_AS};\n neighbor {peer} as {OUR_AS};\n connect retry time 1;\n \
         error wait time 1, 2;\n connect delay time 1;\n graceful restart on;\n \
         ipv4 {{ import all; export all; add paths on; extended next hop on; }};\n \
         ipv6 {{ import all; export all; next hop address {own_v6}; }};\n{options}\n}}\n",
    );
    Bird::start(node, &config)
}

impl Neighbour for Bird {
    fn node(&self) -> &Node {
        &self.node
    }

    fn route(&self, net: &str) -> Result<String> {
        let answer = self.ask(&format!("show route all {net}"))?;
        Ok(if answer.contains(net) { answer } else { String::new() })
    }

    fn withdraw(&self) -> Result<()> {
        self.ask("disable static1")?;
        self.ask("disable static2").map(drop)
    }
}
