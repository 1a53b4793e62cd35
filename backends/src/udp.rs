//! udp: pods' packets in datagrams of the daemon's own proxy, for places where nothing else passes. One TUN device, one route for
//! the whole network, and per peer a row in the proxy's table; while there is another way beside it, a route per peer, too. Wire-compatible with flannel's: same device, port and `.0` address,
//! and a datagram is one packet.
//!
//! IPv4 alone: a datagram says nothing of its contents, and flannel's proxy sends and takes no other.

use std::net::{IpAddr, SocketAddrV4};

use ipam::{BackendData, Endpoint, Family, Mac, Stack};
use ipnet::IpNet;

use crate::cluster::{Cluster, Way, other_backend};
use crate::state::{KernelState, Link, LinkKind, LinkName, Proxy, RelayKey, Route, RouteKey, Tag, Via};

/// The name in net-conf.json.
pub const NAME: &str = "udp";

/// Flannel's default port.
pub const DEFAULT_PORT: u16 = 8285;

/// Octets of the outer headers: IPv4 20, UDP 8.
const HEADROOM: u32 = 28;

/// The backend's options of net-conf.json, as used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UdpSettings {
    devices: Stack<LinkName>,
    /// UDP port, the same on all nodes.
    pub port: u16,
    /// Whether each peer has a route of its own, by which it can be sent to this way or another.
    pub by_peer: bool,
}

impl UdpSettings {
    /// With a port.
    pub fn new(port: u16) -> UdpSettings {
        UdpSettings { devices: Stack::V4(LinkName::FLANNEL0), port, by_peer: false }
    }

    /// The same with a device of another name: `flannela0` for `flannel0`.
    pub(crate) fn renamed(&self, separator: char) -> Option<UdpSettings> {
        let mark = if separator == '.' { String::new() } else { separator.to_string() };
        let device = LinkName::new(&format!("flannel{mark}0")).ok()?;
        Some(UdpSettings { devices: Stack::V4(device), ..self.clone() })
    }

    /// The device: `flannel0`.
    pub fn devices(&self) -> &Stack<LinkName> {
        &self.devices
    }

    /// Octets of payload that its packets may have over an uplink that carries so many.
    pub fn device_mtu(&self, family: Family, uplink: u32) -> u32 {
        match family {
            Family::V4 => uplink.saturating_sub(HEADROOM),
            Family::V6 => uplink,
        }
    }
}

/// What the node needs without any peer.
pub(crate) fn base(cluster: &Cluster, settings: &UdpSettings) -> KernelState {
    let mut state = KernelState::default();
    let v4 = Family::V4;
    let parts = (cluster.own.endpoints.get(v4), cluster.networks.get(v4), cluster.uplink.local.get(v4));
    let (Some(own), Some(network), Some(IpAddr::V4(local))) = parts else { return state };
    let (Some(device), IpNet::V4(subnet)) = (settings.devices.get(v4).copied(), own.subnet) else { return state };
    let kind = LinkKind::Tun(Some(Proxy { local: SocketAddrV4::new(*local, settings.port), subnet }));
    let mtu = settings.device_mtu(v4, cluster.uplink.mtu);
    state.links.insert(device, Link { kind, mac: Mac([0; 6]), mtu, up: true, link_local: false, tag: Tag::Ours });
    state.addresses.insert((device, IpNet::from(own.subnet.network())), Tag::Ours);
    // All of it: what no peer has comes back as unreachable and does not leave by the default route. It stays while no proxy
    // is behind the device, unlike a next-hop object, which the kernel takes away with the carrier (`nexthop_flush_dev`).
    state.routes.insert(RouteKey::new(*network), Route { via: Via::Device(device), tag: Tag::Ours });
    state.sysctls.insert(format!("net/ipv6/conf/{device}/accept_ra"), "0".to_owned());
    // Loose, never strict, as with VXLAN.
    state.sysctls.insert(format!("net/ipv4/conf/{device}/rp_filter"), "2".to_owned());
    state
}

/// The way to one family of a peer. Flannel's publishes no name for this backend.
pub(crate) fn way(peer: &Endpoint) -> Result<Way, String> {
    let theirs = peer.data.backend_type();
    match (&peer.subnet, &peer.public, &peer.data) {
        (IpNet::V6(_), ..) => {
            Err("the udp backend carries IPv4 alone; use vxlan or wireguard to reach pods by IPv6".to_owned())
        }
        (_, IpAddr::V6(_), _) => Err(format!("its subnet {} comes with the address {}", peer.subnet, peer.public)),
        (_, _, BackendData::Other(name)) if ["", NAME].contains(&name.as_ref()) => Ok(Way::Tunnel),
        _ => Err(other_backend(theirs, NAME)),
    }
}

/// What one family of a peer adds.
pub(crate) fn add_peer(settings: &UdpSettings, peer: &Endpoint, state: &mut KernelState) {
    let device = settings.devices.get(Family::V4).copied();
    if let (Some(link), IpNet::V4(subnet), IpAddr::V4(public)) = (device, peer.subnet, peer.public) {
        state.relays.insert(RelayKey { link, subnet }, public);
        if settings.by_peer {
            state.routes.insert(RouteKey::new(peer.subnet), Route { via: Via::Device(link), tag: Tag::Ours });
        }
    }
}
