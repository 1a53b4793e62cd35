//! IPIP: per family one device, per peer one route that says where the outer packet goes. IPv4 in IPv4 (RFC 2003, protocol 4) as
//! flannel and Calico have it, and IPv6 in IPv6 (RFC 2473, protocol 41, no options), which they have not.
//!
//! There is nothing to agree on but the protocol, and nothing is published beside the address. The two families' routes differ
//! because the kernel's do: see [`crate::state::Encapsulation`].

use std::net::{IpAddr, Ipv4Addr};

use ipam::{Endpoint, Family, Mac, Stack};

use crate::cluster::{Cluster, RouteStyle, Way, other_backend};
use crate::offload::TxChecksum;
use crate::state::{Encapsulation, Ipip, KernelState, Link, LinkKind, LinkName, Nexthop, Route, RouteKey, Tag, Via};
use crate::tunnel;

/// The name in net-conf.json and in leases.
pub const NAME: &str = "ipip";

/// The backend's options of net-conf.json, as used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpipSettings {
    devices: Stack<LinkName>,
    /// The underlay's MTU where it is not the uplink's (`MTU`, outer octets).
    pub mtu: Option<u32>,
    /// Whether peers on the uplink's own link are reached without the tunnel (`DirectRouting`).
    pub direct_routing: bool,
    /// Who computes checksums (`TxChecksum`).
    pub tx_checksum: TxChecksum,
}

impl IpipSettings {
    /// The defaults, for the families in use.
    pub fn new<T>(families: &Stack<T>) -> IpipSettings {
        let device = |family, _: &T| match family {
            Family::V4 => LinkName::literal("flannel.ipip"),
            Family::V6 => LinkName::literal("flannel-v6.ipip"),
        };
        let tx_checksum = TxChecksum::Auto;
        IpipSettings { devices: families.map(device), mtu: None, direct_routing: false, tx_checksum }
    }

    /// The device of each family: `flannel.ipip` (IPv4 pods over an IPv4 underlay), `flannel-v6.ipip` (IPv6 over IPv6).
    pub fn devices(&self) -> &Stack<LinkName> {
        &self.devices
    }

    /// Octets of payload that a family's device carries: the underlay's less an IPv4 or an IPv6 header.
    pub fn device_mtu(&self, family: Family, uplink_mtu: u32) -> u32 {
        let header = match family {
            Family::V4 => 20,
            Family::V6 => 40,
        };
        self.mtu.map_or(uplink_mtu, |mtu| mtu.min(uplink_mtu)).saturating_sub(header)
    }
}

/// What the node needs without any peer.
pub(crate) fn base(cluster: &Cluster, settings: &IpipSettings) -> KernelState {
    let mut state = KernelState::default();
    for (family, own) in cluster.own.endpoints.iter() {
        let device = settings.devices.get(family);
        let (Some(device), Some(local)) = (device, cluster.uplink.local.get(family)) else { continue };
        let kind = match *local {
            IpAddr::V4(local) => LinkKind::Ipip(Ipip { local, plain: true }),
            IpAddr::V6(_) => LinkKind::Ip6Tunnel,
        };
        let mtu = settings.device_mtu(family, cluster.uplink.mtu);
        let link = Link { kind, mac: Mac([0; 6]), mtu, up: true, link_local: false, tag: Tag::Ours };
        tunnel::add_device(own, (*device, link), &mut state);
    }
    state
}

/// The way to one family of a peer. What comes by the other way is taken in any case: the device asks for no entry of the sender.
pub(crate) fn way(cluster: &Cluster, settings: &IpipSettings, peer: &Endpoint) -> Result<Way, String> {
    let theirs = peer.data.backend_type();
    if theirs != NAME {
        return Err(other_backend(theirs, NAME));
    }
    let (family, public) = (Family::of_net(&peer.subnet), peer.public);
    if !settings.devices.has(family) {
        return Err(format!("the network has no {family} part"));
    }
    if Family::of(public) != family {
        return Err(format!("its {family} subnet comes with the address {public}"));
    }
    let nowhere = public.is_unspecified() || public.is_multicast() || public == IpAddr::V4(Ipv4Addr::BROADCAST);
    if nowhere || public.is_loopback() {
        // As an outer destination the kernel would take it.
        return Err(format!("its address {public} is no single node's; correct its lease"));
    }
    let direct = settings.direct_routing && cluster.uplink.on_link.has(public);
    Ok(if direct { Way::Direct } else { Way::Tunnel })
}

/// What one family of a peer adds that is reached through the tunnel.
pub(crate) fn add_peer(cluster: &Cluster, settings: &IpipSettings, peer: &Endpoint, state: &mut KernelState) {
    let Some(link) = settings.devices.get(Family::of_net(&peer.subnet)).copied() else { return };
    let nexthop = Nexthop { link, gateway: peer.public };
    let source = cluster.uplink.local.get(Family::of(peer.public));
    let via = match (peer.public, source, cluster.routes) {
        (IpAddr::V6(destination), Some(IpAddr::V6(source)), _) => {
            // IPv6 needs no objects: its routes do not get slower with their number.
            Via::Encapsulated(Box::new(Encapsulation { link, source: *source, destination }))
        }
        (_, _, RouteStyle::Objects) => {
            state.nexthops.insert(nexthop, Tag::Ours);
            Via::Object(nexthop)
        }
        (_, _, RouteStyle::Gateways) => Via::Gateway(nexthop),
    };
    state.routes.insert(RouteKey::new(peer.subnet), Route { via, tag: Tag::Ours });
}
