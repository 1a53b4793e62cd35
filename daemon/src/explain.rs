//! [`Explanation`]: where a packet for one address goes and why — which lease, which path — and whether the kernel has
//! each object that this needs. It compares the desired state with a fresh look at the kernel, as `reconcile` does, and
//! changes nothing.
//!
//! What it cannot see is what is not ours: the bridge and the veths of this node's pods, other people's routes.

mod learnt;
mod objects;
mod path;
mod place;
mod text;

use std::net::IpAddr;

use backends::KernelState;
use serde::Serialize;

use crate::reconcile::{Kernel, Reconciler};

pub use objects::{Condition, Object};
use path::Path;
use place::Place;

/// Where packets to an address go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The address.
    pub address: IpAddr,
    /// What kind of address it is.
    pub kind: Kind,
    /// The node that has it.
    pub node: Option<String>,
    /// The lease that it lies in: its key in the store.
    pub lease: Option<String>,
    /// One sentence: whose the address is, and the path.
    pub sentence: String,
    /// Whether a packet to the address gets there, as far as this node decides it.
    pub complete: bool,
    /// The kernel objects that the path needs.
    pub objects: Vec<Object>,
}

/// What kinds of addresses there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Of this node's pod subnet.
    OwnPod,
    /// Of another node's pod subnet.
    PeerPod,
    /// This node's own, on its uplink.
    OwnNode,
    /// Another node's, on the underlay.
    PeerNode,
    /// Of the cluster's network, and no node has a lease on it that stands.
    Unclaimed,
    /// Not of the cluster's network.
    Outside,
}

impl Explanation {
    /// Looks at the leases and at the kernel.
    ///
    /// # Errors
    /// One sentence, when the kernel could not be asked.
    pub fn new(address: IpAddr, reconciler: &Reconciler, kernel: &mut impl Kernel) -> Result<Explanation, String> {
        let place = Place::of(address, reconciler);
        let path = Path::to(address, &place, reconciler);
        let objects = match reconciler.node.scope() {
            Some(scope) if path.needs != KernelState::default() => {
                let observed = kernel.observe(&scope);
                let observed = observed.map_err(|reason| format!("the kernel's state cannot be read: {reason}"))?;
                objects::compare(&path.needs, &observed, &scope.table)
            }
            _ => Vec::new(),
        };
        let present = objects.iter().all(|object| object.condition == Condition::Present);
        Ok(Explanation {
            address,
            kind: place.kind(),
            node: place.node(reconciler),
            lease: place.lease().map(|lease| lease.key.to_string()),
            sentence: path.sentence,
            complete: present && path.leads,
            objects,
        })
    }
}

#[cfg(test)]
mod tests;
