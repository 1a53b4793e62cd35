//! What this node asks of the store: the wish, and what it publishes.

use ipam::{Family, Lease};

use super::Node;
use crate::store::{Claim, Published, Wish};

impl Node {
    /// What the store is asked to do.
    pub fn wish(&self) -> Wish {
        if self.released {
            return Wish::Release;
        }
        let claim = || {
            // What this node published last is looked at before it is replaced: peers have its MACs (flannel's may be others
            // than we would choose), and may be sending to it in more than one way.
            if !self.peers_known || self.needs_devices() {
                return None;
            }
            let (network, uplink) = (self.network.as_ref()?, self.uplink.as_ref()?);
            let (backend, rollout) = self.published_ways(&uplink.public.map(|_, _| ()))?;
            let published = uplink.public.filter_map(|family, public| {
                Some(Published { public: *public, data: self.data_of(backend, family)? })
            })?;
            let pools = network.pools.filter_map(|family, pool| published.has(family).then(|| pool.clone()))?;
            Some(Claim {
                node: self.identity.name.clone(),
                pools,
                published,
                previous: self.previous,
                rollout: Some(rollout),
            })
        };
        claim().map_or(Wish::Watch, Wish::Hold)
    }

    /// Asks for the lease to be given back.
    pub fn release(&mut self) {
        self.released = true;
    }

    /// Our lease: the one held, else what the store has under our name, else the one held when this daemon ran last.
    pub(super) fn own_or_last(&self) -> Option<&Lease> {
        let named = || self.table.leases().find(|lease| self.is_former(lease));
        let last = || self.last_known.as_ref().and_then(|last| last.own.as_ref());
        self.own.as_ref().or_else(named).or_else(last)
    }

    /// Whether a lease is this node's from an earlier life: of its name (flannel gives its address for one), and with its
    /// address or subnets.
    fn is_former(&self, lease: &Lease) -> bool {
        if self.assigned() {
            // A Node's name is nobody else's.
            return lease.node == self.identity.name;
        }
        let public = |family| self.uplink.as_ref().and_then(|uplink| uplink.public.get(family)).copied();
        let here = lease.endpoints.iter().any(|(family, endpoint)| Some(endpoint.public) == public(family));
        let flannels = public(Family::V4).is_some_and(|public| lease.node.as_str() == public.to_string());
        flannels || lease.node == self.identity.name && (here || Some(lease.subnets()) == self.previous)
    }
}
