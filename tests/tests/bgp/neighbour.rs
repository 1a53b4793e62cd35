//! [`Neighbour`]: a router of somebody else's in a node of its own, which has routes for us and takes ours.

use std::net::IpAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use netns_harness::Node;

pub mod bird;
pub mod exabgp;
pub mod frr;
pub mod gobgp;
pub mod openbgpd;

/// How long anything may take that a router does.
pub const LIMIT: Duration = Duration::from_secs(30);
/// Our AS.
pub const OUR_AS: u32 = 65001;
/// The neighbour's.
pub const THEIR_AS: u32 = 65002;
/// What a neighbour has for us; the first with the large community 65002:1:2.
pub const THEIRS: [&str; 2] = ["10.80.0.0/16", "2001:db8:80::/48"];

/// A router of somebody else's.
pub trait Neighbour {
    /// Where it is.
    fn node(&self) -> &Node;

    /// What it says of a route; nothing when it has none.
    fn route(&self, net: &str) -> Result<String>;

    /// Takes back what it has told us.
    fn withdraw(&self) -> Result<()>;

    /// Whether it has a route.
    fn has(&self, net: &str) -> bool {
        self.route(net).is_ok_and(|answer| !answer.is_empty())
    }
}

/// The address of one family.
pub fn address(node: &Node, family: ipam::Family) -> IpAddr {
    node.address(family).unwrap()
}

/// A program, or a sentence that says which package brings it.
fn program(path: &str, package: &str) -> Result<Command> {
    let directories = std::env::var_os("PATH").unwrap_or_default();
    let all = std::env::split_paths(&directories).chain(["/usr/sbin".into()]);
    let there = all.map(|directory| directory.join(path)).any(|file| file.is_file());
    ensure!(there, "{path} is missing. Run: apt-get install {package} (or make deps)");
    Ok(Command::new(path))
}
