//! [`Network`]: what the whole cluster's network is like, read from net-conf.json as flannel writes it.
//!
//! Keys match without regard to case and the last of several wins, because flannel's parser does so and users bring
//! its files. Keys that nobody knows are warned about, not refused. Where the text comes from is the store's business.

use backends::Backend;
use ipam::{Pool, Stack};
use ipnet::IpNet;

use crate::config::Mistakes;

/// The cluster's network.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// The cluster's networks: `Network` and `IPv6Network`, host bits zero.
    pub networks: Stack<IpNet>,
    /// Where nodes' subnets are taken from, in the same families.
    pub pools: Stack<Pool>,
    /// How packets get from node to node.
    pub backend: Backend,
    /// What was read and looks wrong but harms nothing: one sentence each.
    pub warnings: Vec<String>,
}

/// Reads net-conf.json.
///
/// # Errors
/// [`Mistakes`]: all of them, each with its key.
pub fn read(text: &str) -> Result<Network, Mistakes> {
    todo!("{text}")
}
