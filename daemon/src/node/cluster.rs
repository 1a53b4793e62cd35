//! What follows from the facts: which kernel objects are this daemon's, the cluster that the backends look at, and what other
//! programs on the node are told.

use backends::masquerade::{Exceptions, Masquerade};
use backends::state::Scope;
use backends::{Backend, Cluster, Uplink};
use ipam::Lease;
use ipnet::IpNet;

use super::Node;
use crate::subnet_file::SubnetFile;

impl Node {
    /// The kernel objects that are this daemon's; `None` until the network is known.
    pub fn scope(&self) -> Option<Scope> {
        let network = self.network.as_ref()?;
        let sysctls = self.cluster().map(|cluster| cluster.base().sysctls.into_keys().collect());
        Some(Scope {
            alias: self.identity.instance.alias.clone(),
            table: self.identity.instance.table.clone(),
            links: self.backends().flat_map(Backend::devices).copied().collect(),
            networks: network.networks.values().copied().collect(),
            sysctls: sysctls.unwrap_or_default(),
        })
    }

    /// What the backends look at; `None` while anything is missing, and then the kernel is left as it is.
    pub fn cluster(&self) -> Option<Cluster> {
        let (network, uplink, own) = (self.network.as_ref()?, self.uplink.as_ref()?, self.own.as_ref()?);
        if !self.peers_known || self.position().is_none() {
            return None;
        }
        // Told for what was asked before: the answer to what is asked now is on its way.
        let outside =
            |(family, net): (_, &IpNet)| own.endpoints.get(family).is_some_and(|it| !net.contains(&it.subnet));
        if self.assigned() && network.networks.iter().any(outside) {
            return None;
        }
        let in_network = |family, endpoint: &ipam::Endpoint| network.networks.has(family).then(|| endpoint.clone());
        let own = Lease { endpoints: own.endpoints.filter_map(in_network)?, ..own.clone() };
        Some(self.with_ways(Cluster {
            networks: network.networks,
            backend: self.configured_backend(network),
            uplink: Uplink { mtu: self.room().map_or(uplink.mtu, |room| room.sends), ..uplink.clone() },
            own,
            firewall: self.identity.firewall,
            routes: self.identity.routes,
            own_subnet_route: self.identity.own_subnet_route,
            unclaimed: self.identity.unclaimed,
            exceptions: Exceptions { fixed: self.identity.masquerade_address, ..network.exceptions.clone() },
            segments: network.segments,
            ways: None,
        }))
    }

    /// What other programs on the node are told.
    pub fn subnet_file(&self, cluster: &Cluster) -> Option<SubnetFile> {
        let subnets = cluster.own.subnets();
        let networks = cluster.networks.filter_map(|family, network| subnets.has(family).then_some(*network))?;
        let masquerade = self.identity.firewall.masquerade != Masquerade::Off;
        Some(SubnetFile { networks, subnets, mtu: cluster.pod_mtu(), masquerade, pods: self.identity.pods })
    }
}
