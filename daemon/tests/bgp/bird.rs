//! A router of BIRD's in a node of its own.

use std::net::IpAddr;

use anyhow::Result;
use netns_harness::{Bird, Lab, Node};

use crate::{v4, v6};

pub const THEIRS: [&str; 2] = ["10.80.0.0/16", "2001:db8:80::/48"];

/// One in AS 65002 that speaks to `peer` as `options` say.
pub fn start(lab: &Lab, called: &str, peer: IpAddr, options: &str) -> Result<Bird> {
    let node = lab.node(called)?;
    let config = config(&node, peer, options);
    Bird::start(node, &config)
}

/// It speaks to `peer` as these options say from now on.
pub fn configure(bird: &Bird, peer: IpAddr, options: &str) -> Result<()> {
    bird.configure(&config(&bird.node, peer, options))
}

fn config(node: &Node, peer: IpAddr, options: &str) -> String {
    let (own, own_v6) = (v4(node), v6(node));
    let local = if peer.is_ipv4() { IpAddr::from(own) } else { own_v6 };
    format!(
        "router id {own};\nprotocol device {{}}\n\
         protocol static {{ ipv4; route {four} blackhole; }}\n\
         protocol static {{ ipv6; route {six} blackhole; }}\n\
         protocol bgp towpath {{\n local {local} as 65002;\n neighbor {peer} as 65001;\n connect retry time 1;\n \
         error wait time 1, 2;\n connect delay time 1;\n graceful restart on;\n \
         ipv4 {{ import all; export all; next hop address {own}; extended next hop on; }};\n \
         ipv6 {{ import all; export all; next hop address {own_v6}; }};\n{options}\n}}\n",
        four = THEIRS[0],
        six = THEIRS[1],
    )
}
