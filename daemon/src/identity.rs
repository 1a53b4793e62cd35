//! [`Identity`]: what a node is before it knows anything of the cluster. It does not change while the daemon runs.

use std::net::IpAddr;

use backends::cluster::{OwnSubnetRoute, RouteStyle, UnclaimedAddresses};
use backends::masquerade::Firewall;
use ipam::{NodeName, Stack};

use crate::config::{Instance, Settings};
use crate::labels::Labels;
use crate::netconf::Division;
use crate::subnet_file::PodMode;

/// What of the configuration decides what a node is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// This node's name.
    pub name: NodeName,
    /// What tells this daemon's kernel objects from another's.
    pub instance: Instance,
    /// Masquerade and forwarding.
    pub firewall: Firewall,
    /// Blackhole or not.
    pub own_subnet_route: OwnSubnetRoute,
    /// What becomes of packets to addresses of no node.
    pub unclaimed: UnclaimedAddresses,
    /// The address that masqueraded packets get, where not the interface's.
    pub masquerade_address: Option<Stack<IpAddr>>,
    /// This node's AS, where not the network's.
    pub bgp_as: Option<u32>,
    /// What an operator says of it in keys and values, where the store has no place for that.
    pub labels: Labels,
    /// What the plugin hangs pods on.
    pub pods: PodMode,
    /// How routes to peers are written: what the kernel can do.
    pub routes: RouteStyle,
    /// Who gives this node its subnets.
    pub division: Division,
}

impl Identity {
    /// From the daemon's settings and what was found out about the kernel.
    pub fn new(settings: &Settings, instance: &Instance, routes: RouteStyle) -> Identity {
        Identity {
            name: settings.node.clone(),
            instance: instance.clone(),
            firewall: settings.firewall,
            own_subnet_route: settings.own_subnet_route,
            unclaimed: settings.unclaimed,
            masquerade_address: settings.masquerade_address,
            bgp_as: settings.bgp_as,
            labels: settings.labels.clone(),
            pods: settings.pods,
            routes,
            division: Division::of(&settings.store),
        }
    }
}
