//! [`Place`]: whose an address is. Which path leads there is `path`'s.

use std::net::IpAddr;

use backends::Uplink;
use ipam::{Family, Lease};

use super::Kind;
use crate::reconcile::Reconciler;

/// Whose an address is.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// In this node's own pod subnet.
    OwnPod(&'a Lease),
    /// In a peer's pod subnet.
    PeerPod(&'a Lease),
    /// This node's own.
    OwnNode,
    /// A peer's, on the underlay.
    PeerNode(&'a Lease),
    /// In a subnet that somebody claims without standing: the claim's lease.
    Refused(&'a Lease),
    /// In the network, in nobody's subnet.
    Unclaimed,
    /// Not in the network, as far as it is known.
    Outside,
}

impl<'a> Place<'a> {
    /// Whose the address is.
    pub fn of(address: IpAddr, reconciler: &'a Reconciler) -> Place<'a> {
        let node = &reconciler.node;
        let family = Family::of(address);
        let holds = |lease: &Lease| lease.subnet(family).is_some_and(|subnet| subnet.contains(&address));
        if let Some(own) = node.own().filter(|own| holds(own)) {
            return Place::OwnPod(own);
        }
        if let Some(lease) = node.table().lease_of(address) {
            return if node.table().own() == Some(&lease.key) { Place::OwnPod(lease) } else { Place::PeerPod(lease) };
        }
        let is_public = |lease: &&Lease| lease.endpoints.get(family).is_some_and(|end| end.public == address);
        let own = |uplink: &Uplink| [uplink.local.get(family), uplink.public.get(family)].contains(&Some(&address));
        if node.uplink().is_some_and(own) {
            return Place::OwnNode;
        }
        if let Some(lease) = node.table().leases().find(is_public) {
            return Place::PeerNode(lease);
        }
        if let Some(lease) = node.table().leases().find(|lease| holds(lease)) {
            return Place::Refused(lease);
        }
        let network = node.network().and_then(|network| network.networks.get(family));
        if network.is_some_and(|network| network.contains(&address)) { Place::Unclaimed } else { Place::Outside }
    }

    /// What kind of address it is.
    pub fn kind(&self) -> Kind {
        match self {
            Place::OwnPod(_) => Kind::OwnPod,
            Place::PeerPod(_) => Kind::PeerPod,
            Place::OwnNode => Kind::OwnNode,
            Place::PeerNode(_) => Kind::PeerNode,
            Place::Refused(_) | Place::Unclaimed => Kind::Unclaimed,
            Place::Outside => Kind::Outside,
        }
    }

    /// The lease that it lies in.
    pub fn lease(&self) -> Option<&'a Lease> {
        match *self {
            Place::OwnPod(lease) | Place::PeerPod(lease) | Place::Refused(lease) => Some(lease),
            Place::OwnNode | Place::PeerNode(_) | Place::Unclaimed | Place::Outside => None,
        }
    }

    /// The node that has it.
    pub fn node(&self, reconciler: &Reconciler) -> Option<String> {
        match self {
            Place::OwnPod(_) | Place::OwnNode => Some(reconciler.node.name().to_string()),
            Place::PeerPod(lease) | Place::PeerNode(lease) => Some(lease.node.to_string()),
            Place::Refused(_) | Place::Unclaimed | Place::Outside => None,
        }
    }
}
