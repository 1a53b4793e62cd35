//! What this node asks of the store: the wish, and what it publishes.

use std::collections::BTreeMap;

use backends::{Backend, LinkName};
use ipam::{BackendData, Family, Lease, Mac};

use super::Node;
use crate::netconf::Network;
use crate::store::{Claim, Published, Wish};

impl Node {
    /// What the store is asked to do.
    pub fn wish(&self) -> Wish {
        if self.released {
            return Wish::Release;
        }
        let claim = || {
            // Where a node has one object for life, what it published there last is looked at before it is replaced: peers
            // have its MAC, and flannel's may be another than the one that we would choose.
            if self.assigned() && !self.peers_known {
                return None;
            }
            let (network, uplink) = (self.network.as_ref()?, self.uplink.as_ref()?);
            let macs = self.device_macs.as_ref()?;
            let published = uplink.public.filter_map(|family, public| {
                let data = self.published_data(network, macs, family)?;
                Some(Published { public: *public, data })
            })?;
            let pools = network.pools.filter_map(|family, pool| published.has(family).then(|| pool.clone()))?;
            Some(Claim { node: self.identity.name.clone(), pools, published, previous: self.previous, rollout: None })
        };
        claim().map_or(Wish::Watch, Wish::Hold)
    }

    /// Asks for the lease to be given back.
    pub fn release(&mut self) {
        self.released = true;
    }

    /// A VTEP keeps the MAC that its lease says (peers have it as permanent), else the one its device has, else it gets
    /// one that follows from the node's name.
    fn published_data(&self, network: &Network, macs: &BTreeMap<LinkName, Mac>, family: Family) -> Option<BackendData> {
        let settings = match &network.backend {
            Backend::Vxlan(settings) => settings,
            Backend::WireGuard(settings) => {
                let key = self.keys.as_ref()?.public;
                return Some(BackendData::WireGuard { key, port: Some(settings.port(family)) });
            }
            other => return Some(BackendData::Other(other.published_name().into())),
        };
        let device = settings.devices().get(family)?;
        let leased = || match self.own_or_last()?.endpoints.get(family)?.data {
            BackendData::Vxlan { mac, .. } => Some(mac),
            BackendData::WireGuard { .. } | BackendData::Other(_) => None,
        };
        // Two hosts that were cloned from one have one name, but not one address.
        let public = self.uplink.as_ref().and_then(|uplink| uplink.public.get(family));
        let identity = public.map_or_else(String::new, |public| format!("{} {public}", self.identity.name));
        let derived = || settings.vtep_mac(family, &identity);
        let mac = leased().or_else(|| macs.get(device).copied()).unwrap_or_else(derived);
        Some(BackendData::Vxlan { vni: settings.vni(), mac })
    }

    /// Our lease: the one held, else what the store has under our name, else the one held when this daemon ran last.
    fn own_or_last(&self) -> Option<&Lease> {
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
