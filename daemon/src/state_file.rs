//! [`LastKnown`]: what the store last said, on disk, so that a node that starts while the store is away comes up as it was.
//!
//! It is a memory of the store, not of the kernel: nothing is deleted because it stands here or does not.

use ipam::Lease;

/// What the store last said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LastKnown {
    /// net-conf.json as written.
    pub network: Option<String>,
    /// The lease that this node held.
    pub own: Option<Lease>,
    /// All leases, this node's own included.
    pub leases: Vec<Lease>,
}
