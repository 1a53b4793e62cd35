//! [`Learnt`]: what the speaker tells the node loop of routes that others announced.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use backends::evpn::{RouteId, Station};
pub use backends::learnt::NextHop;
use bgp::wire::Family;
use ipnet::IpNet;

use super::wish::NeighbourName;

/// Prefixes that one message tells of at most.
pub const MOST_ROUTES: usize = 1024;

/// What was learnt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Learnt {
    /// What leads to each of these prefixes now; nothing for one that is gone. At most [`MOST_ROUTES`] of them; what stands
    /// later is what holds. Routes that lead to the same mostly share it.
    Routes(Vec<(IpNet, Arc<BTreeSet<NextHop>>)>),
    /// What each of these EVPN routes says now of who is behind a VTEP; nothing for one that is gone. At most [`MOST_ROUTES`].
    Fabric(Vec<(RouteId, BTreeSet<Station>)>),
    /// BFD says that the path to this router is dead. What leads to it will be told; until then nothing is to be sent to it that can go elsewhere.
    Lost(NextHop),
    /// Everybody who was expected has told all routes of a family, or had the time for it: what the kernel has and nobody announced may go.
    Settled(Family),
}

/// Why peers that this node needs are not up: a sentence each.
pub type Missing = BTreeMap<NeighbourName, String>;
