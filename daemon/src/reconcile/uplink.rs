//! [`WantedUplink`]: which uplink the reconciler asks the kernel for.

use std::net::IpAddr;

use backends::Uplink;
use ipam::{Family, Stack};
use ipnet::IpNet;

use super::Kernel;
use crate::node::Node;

/// What the uplink must have, beside what the daemon's own settings say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WantedUplink {
    /// The families of the network.
    pub families: Vec<Family>,
    /// Public addresses that the store has for this node: they override those of the settings.
    pub public: Option<Stack<IpAddr>>,
    /// The networks of the pods: routes into them say nothing of what is on the uplink's link.
    pub pods: Vec<IpNet>,
    /// The backend that it is for.
    pub backend: &'static str,
    /// Which of the node's links may lead to its peers.
    pub links: Links,
}

/// Which of a node's links matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Links {
    /// The uplink alone.
    #[default]
    Uplink,
    /// All that others can be reached by: next hops of routes learnt by BGP may be on any.
    All,
}

impl WantedUplink {
    /// What a node wants; nothing before it knows its network.
    pub(super) fn of(node: &Node) -> Option<WantedUplink> {
        let network = node.network()?;
        Some(WantedUplink {
            families: network.networks.families().collect(),
            public: node.instructed().copied(),
            pods: network.networks.values().copied().collect(),
            backend: network.backend.name(),
            links: if node.learns() { Links::All } else { Links::Uplink },
        })
    }

    /// The uplink as one of two families has it.
    pub(super) fn half(&self, kernel: &mut impl Kernel) -> Option<Uplink> {
        let mut alone = |family: &Family| kernel.uplink(&WantedUplink { families: vec![*family], ..self.clone() }).ok();
        self.families.iter().filter(|_| self.families.len() > 1).find_map(&mut alone)
    }
}
