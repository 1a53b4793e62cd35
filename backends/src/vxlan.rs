//! VXLAN: per family one device, per peer one neighbour entry, one FDB entry, one next-hop object and one route.
//!
//! A packet for pod subnet S finds the route `S via S.0 dev flannel.N onlink`; the neighbour entry gives S.0's MAC, which
//! is the peer's VTEP; the FDB entry gives that MAC's underlay address. All three are static: nothing is ever asked
//! on the wire. Wire-compatible with flannel: same device names, same `.0` addresses, same attributes.

use ipam::{BackendData, Endpoint, Family, Mac, Stack};
use std::net::IpAddr;

use crate::cluster::{Cluster, RouteStyle, Way, other_backend};
use crate::offload::TxChecksum;
use crate::state::{
    Fdb, FdbKey, KernelState, Link, LinkKind, LinkName, Neighbour, NeighbourKey, Nexthop, Route, RouteKey, Tag, Via,
    Vxlan,
};
use crate::tunnel;

/// Linux' own default port (drivers/net/vxlan), which flannel uses; IANA's 4789 must be asked for.
pub const DEFAULT_PORT: u16 = 8472;

/// Flannel's default network identifier.
pub const DEFAULT_VNI: u32 = 1;

/// The backend's options of net-conf.json, as used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VxlanSettings {
    vni: u32,
    devices: Stack<LinkName>,
    /// UDP port of the tunnel, the same on all nodes.
    pub port: u16,
    /// The underlay's MTU where it is not the uplink's (`MTU`, outer octets).
    pub mtu: Option<u32>,
    /// Group Based Policy extension, the same on all nodes.
    pub gbp: bool,
    /// Whether the devices learn MACs.
    pub learning: bool,
    /// Whether peers on the uplink's own link are reached without the tunnel (`DirectRouting`).
    pub direct_routing: bool,
    /// Who computes checksums (`TxChecksum`).
    pub tx_checksum: TxChecksum,
}

/// A network identifier that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VniError {
    /// More than the header's 24 bits.
    #[error("{0} is not a VXLAN network identifier: it has 24 bits, so at most 16777215 (RFC 7348 section 5)")]
    TooLarge(u64),
    /// The device's name would be longer than the kernel's 15 bytes.
    #[error("{vni} makes a device name longer than 15 bytes: use at most {most}")]
    NameTooLong {
        /// The identifier.
        vni: u32,
        /// The largest that fits in the families in use.
        most: u32,
    },
}

impl VxlanSettings {
    /// The defaults with a network identifier, for the families in use.
    ///
    /// # Errors
    /// [`VniError`] when the identifier or the device names made from it do not fit.
    pub fn new<T>(vni: u64, families: &Stack<T>) -> Result<VxlanSettings, VniError> {
        let vni = u32::try_from(vni).ok().filter(|vni| *vni < 1 << 24).ok_or(VniError::TooLarge(vni))?;
        let most = if families.has(Family::V6) { 9_999 } else { 9_999_999 };
        let devices = devices(vni, families, '.').ok_or(VniError::NameTooLong { vni, most })?;
        let port = DEFAULT_PORT;
        let (mtu, tx_checksum) = (None, TxChecksum::Auto);
        Ok(VxlanSettings { vni, devices, port, mtu, gbp: false, learning: false, direct_routing: false, tx_checksum })
    }

    /// The same with devices named with another separator: `flannela1` for `flannel.1`.
    pub(crate) fn renamed(&self, separator: char) -> Option<VxlanSettings> {
        Some(VxlanSettings { devices: devices(self.vni, &self.devices, separator)?, ..self.clone() })
    }

    /// The same with the next network identifier: the port is the same, so that whoever lets these packets pass lets those pass, too.
    pub(crate) fn aside(&self) -> Option<VxlanSettings> {
        let named = |vni| Some(VxlanSettings { vni, devices: devices(vni, &self.devices, '.')?, ..self.clone() });
        named(self.vni + 1).filter(|aside| aside.vni < 1 << 24).or_else(|| named(self.vni.checked_sub(1)?))
    }

    /// The network identifier.
    pub fn vni(&self) -> u32 {
        self.vni
    }

    /// The device of each family: `flannel.N` (IPv4 pods over an IPv4 underlay), `flannel-v6.N` (IPv6 over IPv6).
    pub fn devices(&self) -> &Stack<LinkName> {
        &self.devices
    }

    /// Octets of payload that a family's device carries: the underlay's less the outer headers — Ethernet 14, VXLAN 8,
    /// UDP 8 and IPv4 20 or IPv6 40 (the kernel's `VXLAN_HEADROOM`, `VXLAN6_HEADROOM`).
    pub fn device_mtu(&self, family: Family, uplink_mtu: u32) -> u32 {
        let headroom = match family {
            Family::V4 => 50,
            Family::V6 => 70,
        };
        self.mtu.map_or(uplink_mtu, |mtu| mtu.min(uplink_mtu)).saturating_sub(headroom)
    }

    /// The MAC that a VTEP gets when neither its lease nor an existing device has one: the same after every reboot,
    /// different between nodes, families and networks.
    pub fn vtep_mac(&self, family: Family, identity: &str) -> Mac {
        Mac::derived_from(&format!("{identity} {family} {} {}", self.vni, self.port))
    }
}

/// The devices of the families in use, if their names are not too long.
fn devices<T>(vni: u32, families: &Stack<T>, separator: char) -> Option<Stack<LinkName>> {
    let name = |family: Family| match family {
        Family::V4 => LinkName::new(&format!("flannel{separator}{vni}")),
        Family::V6 => LinkName::new(&format!("flannel-v6{separator}{vni}")),
    };
    let devices = families.filter_map(|family, _| name(family).ok())?;
    (devices.families().count() == families.families().count()).then_some(devices)
}

/// What the node needs without any peer.
pub(crate) fn base(cluster: &Cluster, settings: &VxlanSettings) -> KernelState {
    let mut state = KernelState::default();
    for (family, own) in cluster.own.endpoints.iter() {
        let device = settings.devices.get(family);
        let (Some(device), Some(local)) = (device, cluster.uplink.local.get(family)) else { continue };
        let BackendData::Vxlan { mac, .. } = own.data else { continue };
        let vxlan = Vxlan {
            vni: settings.vni,
            port: settings.port,
            underlay: Some(cluster.uplink.link),
            local: *local,
            learning: settings.learning,
            gbp: settings.gbp,
        };
        let mtu = settings.device_mtu(family, cluster.uplink.mtu);
        let kind = LinkKind::Vxlan(vxlan);
        let link = Link { kind, mac, mtu, up: true, link_local: false, tag: Tag::Ours };
        tunnel::add_device(own, (*device, link), &mut state);
    }
    state
}

/// The way to one family of a peer. What comes by the other way is taken in any case: the device is there, and it asks for no
/// entry of the sender.
pub(crate) fn way(cluster: &Cluster, settings: &VxlanSettings, peer: &Endpoint) -> Result<Way, String> {
    peer_mac(cluster, settings, peer)?;
    let direct = settings.direct_routing && cluster.uplink.on_link.has(peer.public);
    Ok(if direct { Way::Direct } else { Way::Tunnel })
}

/// What one family of a peer adds that is reached through the tunnel.
pub(crate) fn add_peer(cluster: &Cluster, settings: &VxlanSettings, peer: &Endpoint, state: &mut KernelState) {
    let BackendData::Vxlan { mac, .. } = peer.data else { return };
    let Some(link) = settings.devices.get(Family::of_net(&peer.subnet)).copied() else { return };
    let gateway = peer.subnet.network();
    let nexthop = Nexthop { link, gateway };
    let via = match cluster.routes {
        RouteStyle::Objects => {
            state.nexthops.insert(nexthop, Tag::Ours);
            Via::Object(nexthop)
        }
        RouteStyle::Gateways => Via::Gateway(nexthop),
    };
    state.neighbours.insert(NeighbourKey { link, address: gateway }, Neighbour { mac, tag: Tag::Ours });
    state.fdb.insert(FdbKey { link, mac }, Fdb { remote: peer.public, tag: Tag::Ours });
    state.routes.insert(RouteKey::new(peer.subnet), Route { via, tag: Tag::Ours });
}

/// The peer's VTEP MAC, if it is one that we can send to.
fn peer_mac(cluster: &Cluster, settings: &VxlanSettings, peer: &Endpoint) -> Result<Mac, String> {
    let family = Family::of_net(&peer.subnet);
    let BackendData::Vxlan { vni, mac } = peer.data else {
        return Err(other_backend(peer.data.backend_type(), "vxlan"));
    };
    if vni != settings.vni {
        return Err(format!("its VNI is {vni}, this node's is {}; they must be the same", settings.vni));
    }
    let own_mac = cluster.own.endpoints.get(family).map(|own| &own.data);
    if own_mac == Some(&peer.data) {
        return Err(format!(
            "it publishes this node's own VTEP MAC {mac}; delete its lease, or its device and restart it"
        ));
    }
    if !settings.devices.has(family) {
        return Err(format!("the network has no {family} part"));
    }
    match peer.public {
        IpAddr::V4(_) if family == Family::V6 => {
            Err(format!("its {family} subnet comes with the address {}", peer.public))
        }
        IpAddr::V6(_) if family == Family::V4 => {
            Err(format!("its {family} subnet comes with the address {}", peer.public))
        }
        _ => Ok(mac),
    }
}
