//! WireGuard: a device that encrypts, one peer per node on it, and one route per subnet into it.
//!
//! The device finds a packet's peer by its destination among the prefixes that are allowed to the peers, and takes from a peer
//! only what comes from the peer's own prefixes. A peer is known by its public key, which its lease says. Wire-compatible with
//! flannel: same devices, ports, `.0` addresses and four modes. Unlike flannel's, routes are the peers' own, and what is in the
//! cluster's network and of no peer ends here: in flannel one route sends all of the network into the device.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipam::{BackendData, Carrier, Endpoint, Family, Lease, PublicKey, SecretKey, Stack};
use ipnet::IpNet;

use crate::cluster::{Cluster, Way, other_backend};
use crate::offload::TxChecksum;
use crate::state::{
    KernelState, Link, LinkKind, LinkName, Peer, PeerKey, Remote, Route, RouteKey, Tag, Via, WireGuard,
};
use crate::tunnel;

/// The backend's name in net-conf.json and in leases.
pub const NAME: &str = "wireguard";

/// Flannel's ports: of the only device or the one for IPv4, and of the one for IPv6.
pub const DEFAULT_PORTS: [u16; 2] = [51820, 51821];

/// Octets that a packet grows by: IPv6 40, UDP 8, WireGuard's header 16 and tag 16; flannel counts so for IPv4 too.
pub const OVERHEAD: u32 = 80;

/// Which device carries which family, over which family (`Mode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Each family by a device of its own, over itself.
    Separate,
    /// Both by one device, over the one that suits: IPv6 where the peer's addresses are no private ones but its IPv4.
    Auto,
    /// Both by one device, over this family.
    Over(Family),
}

/// What becomes of packets for the cluster's network that no peer takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strays {
    /// They end here, and whoever sent them is told: nothing of the pods' leaves this node in clear.
    Refused,
    /// They follow the host's other routes.
    Forwarded,
}

/// Which of a node's keys: it grows by one with each rotation, on all nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation(pub u32);

impl Generation {
    /// That of a way of carrying packets by this backend.
    pub fn of(carrier: &Carrier) -> Generation {
        Generation(carrier.setting("key").and_then(|number| number.parse().ok()).unwrap_or(0))
    }

    /// The one after it.
    pub fn next(self) -> Generation {
        Generation(self.0.saturating_add(1))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The backend's options of net-conf.json, as used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireGuardSettings {
    devices: Stack<LinkName>,
    /// Which device carries which family.
    pub mode: Mode,
    /// UDP ports: of the only device or the one for IPv4, and of the one for IPv6; those of every second generation of keys are
    /// two higher, or as many as it takes to be others (`step`).
    pub ports: [u16; 2],
    /// Which of the node's keys.
    pub generation: Generation,
    /// Seconds between packets that keep a NAT's mapping alive; 0: none.
    pub keepalive_secs: u16,
    /// Whether sessions are agreed upon before a packet needs one, and kept.
    pub wakes: bool,
    /// The key that all nodes have beside their own.
    pub preshared: Option<SecretKey>,
    /// The underlay's MTU where it is not the uplink's (`MTU`, outer octets).
    pub mtu: Option<u32>,
    /// What becomes of packets that no peer takes.
    pub strays: Strays,
    /// Who computes the checksums of what is encrypted (`TxChecksum`).
    pub tx_checksum: TxChecksum,
}

impl WireGuardSettings {
    /// The defaults of a mode, for the families in use. `None` where the mode's family is none of them: the nodes' addresses
    /// in it would not be known.
    pub fn new<T>(mode: Mode, families: &Stack<T>) -> Option<WireGuardSettings> {
        if matches!(mode, Mode::Over(family) if !families.has(family)) {
            return None;
        }
        Some(WireGuardSettings {
            devices: devices(mode, families, "")?,
            mode,
            ports: DEFAULT_PORTS,
            generation: Generation::default(),
            keepalive_secs: 0,
            wakes: false,
            preshared: None,
            mtu: None,
            strays: Strays::Refused,
            tx_checksum: TxChecksum::Auto,
        })
    }

    /// The same with devices of other names: `flannel-wga` for `flannel-wg`.
    pub(crate) fn renamed(&self, separator: char) -> Option<WireGuardSettings> {
        let mark = if separator == '.' { String::new() } else { separator.to_string() };
        Some(WireGuardSettings { devices: devices(self.mode, &self.devices, &mark)?, ..self.clone() })
    }

    /// The device that carries each family: `flannel-wg`, and `flannel-wg-v6` for IPv6 where it has its own.
    pub fn devices(&self) -> &Stack<LinkName> {
        &self.devices
    }

    /// The port that a family's device listens on, which is also the one that is published for the family. (Flannel publishes
    /// the second device's even where there is none, and cannot be reached by IPv6 then.)
    pub fn port(&self, family: Family) -> u16 {
        let port = self.first_port(family);
        // So that the devices of two generations can stand side by side.
        match self.generation.0 % 2 {
            0 => port,
            _ => higher(port, self.step()),
        }
    }

    /// By how much the ports of odd generations are higher: so that they are none of the even ones'.
    fn step(&self) -> u16 {
        let [first, second] = self.ports;
        let apart = |step: &u16| {
            let [first_higher, second_higher] = [first, second].map(|port| higher(port, *step));
            first == second || first_higher != second && second_higher != first && first_higher != second_higher
        };
        [2, 4, 6].into_iter().find(apart).unwrap_or(2)
    }

    /// The same on the ports that the next generation of keys would have.
    pub(crate) fn aside(&self) -> WireGuardSettings {
        let step = self.step();
        let aside = |port: u16| match self.generation.0 % 2 {
            0 => higher(port, step),
            _ => port.checked_sub(step).unwrap_or(port.saturating_add(step)),
        };
        WireGuardSettings { ports: self.ports.map(aside), ..self.clone() }
    }

    /// The port of the first generation, which is also flannel's.
    fn first_port(&self, family: Family) -> u16 {
        match (self.mode, family) {
            (Mode::Separate, Family::V6) => self.ports[1],
            _ => self.ports[0],
        }
    }

    /// Whether its devices and another's would listen on one port.
    pub(crate) fn collides(&self, other: &WireGuardSettings) -> bool {
        let ports = |of: &WireGuardSettings| of.devices.families().map(|family| of.port(family)).collect::<Vec<_>>();
        let theirs = ports(other);
        ports(self).iter().any(|port| theirs.contains(port))
    }

    /// Octets of payload that a device carries.
    pub fn device_mtu(&self, uplink_mtu: u32) -> u32 {
        self.mtu.map_or(uplink_mtu, |mtu| mtu.min(uplink_mtu)).saturating_sub(OVERHEAD)
    }
}

/// A port that is so much higher, or lower where there are no higher ones.
fn higher(port: u16, step: u16) -> u16 {
    port.checked_add(step).unwrap_or(port.saturating_sub(step))
}

/// The devices of the families in use, with a mark in their names.
fn devices<T>(mode: Mode, families: &Stack<T>, mark: &str) -> Option<Stack<LinkName>> {
    let name = |family| match (mode, family) {
        (Mode::Separate, Family::V6) => LinkName::new(&format!("flannel-wg{mark}-v6")),
        _ => LinkName::new(&format!("flannel-wg{mark}")),
    };
    families.filter_map(|family, _| name(family).ok())
}

/// What the node needs without any peer.
pub(crate) fn base(cluster: &Cluster, settings: &WireGuardSettings) -> KernelState {
    let mut state = KernelState::default();
    for (family, own) in cluster.own.endpoints.iter() {
        let (Some(device), BackendData::WireGuard { key, .. }) = (settings.devices.get(family), &own.data) else {
            continue;
        };
        let kind = LinkKind::WireGuard(WireGuard { port: settings.port(family), key: Some(**key), mark: 0 });
        let mtu = settings.device_mtu(cluster.uplink.mtu);
        // It carries packets, not frames, so it has no address of its own.
        let link = Link { kind, mac: ipam::Mac([0; 6]), mtu, up: true, link_local: false, tag: Tag::Ours };
        state.links.insert(*device, link);
        // The source of traffic from this host to remote pods, as in flannel: peers let it in as part of the subnet.
        state.addresses.insert((*device, IpNet::from(own.subnet.network())), Tag::Ours);
        state.sysctls.insert(format!("net/ipv6/conf/{device}/accept_ra"), "0".to_owned());
        match family {
            // Loose: who may send what is the device's own business, and it is stricter than any route.
            Family::V4 => drop(state.sysctls.insert(format!("net/ipv4/conf/{device}/rp_filter"), "2".to_owned())),
            Family::V6 => state.sysctls.extend([tunnel::enabled(*device)]),
        }
        if let Some(network) = cluster.networks.get(family).filter(|_| settings.strays == Strays::Refused) {
            state.routes.insert(RouteKey::new(*network), Route { via: Via::Unreachable, tag: Tag::Ours });
        }
    }
    state
}

/// Which way a family of a peer goes.
pub(crate) fn way(cluster: &Cluster, endpoint: &Endpoint) -> Result<Way, String> {
    peer_key(cluster, endpoint).map(|_| Way::Tunnel)
}

/// What one family of a peer adds; where one device carries both, to the same peer.
pub(crate) fn add_peer(
    cluster: &Cluster,
    settings: &WireGuardSettings,
    (lease, endpoint): (&Lease, &Endpoint),
    state: &mut KernelState,
) -> Result<(), String> {
    let family = Family::of_net(&endpoint.subnet);
    let Some(link) = settings.devices.get(family).copied() else {
        return Err(format!("the network has no {family} part"));
    };
    let key = peer_key(cluster, endpoint)?;
    let remote = Remote::Told(remote(cluster, settings, (lease, family))?);
    let via = Via::Device(link);
    state.routes.insert(RouteKey::new(endpoint.subnet), Route { via, tag: Tag::Ours });
    let peer = state.peers.entry(PeerKey { link, key }).or_insert(Peer {
        remote,
        keepalive_secs: keepalive(cluster, settings, &key),
        preshared: settings.preshared,
        allowed: Vec::new(),
        tag: Tag::Ours,
    });
    // IPv4 comes first, as in the order of prefixes.
    peer.allowed.push(endpoint.subnet);
    Ok(())
}

/// Seconds between packets to a peer that keep its session. Of two ends that are to agree upon one, that with the lesser key asks:
/// two that ask in the same instant refuse each other's answer and wait five seconds (`wg_noise_handshake_consume_response`).
fn keepalive(cluster: &Cluster, settings: &WireGuardSettings, peer: &PublicKey) -> u16 {
    const WAKING_SECS: u16 = 5;
    let asks = |own: &Endpoint| matches!(&own.data, BackendData::WireGuard { key, .. } if **key < *peer);
    match settings.keepalive_secs {
        0 if settings.wakes && cluster.own.endpoints.values().any(asks) => WAKING_SECS,
        configured => configured,
    }
}

/// The peer's key, if it is one that is its own.
fn peer_key(cluster: &Cluster, endpoint: &Endpoint) -> Result<PublicKey, String> {
    let BackendData::WireGuard { key, .. } = &endpoint.data else {
        return Err(other_backend(endpoint.data.backend_type(), NAME));
    };
    let is_own = |data: &BackendData| matches!(data, BackendData::WireGuard { key: own, .. } if own == key);
    if cluster.own.endpoints.values().any(|own| is_own(&own.data)) {
        return Err(format!(
            "it publishes this node's own public key {key}: two nodes have one key file; remove it on one of them and restart \
             towpathd there"
        ));
    }
    Ok(**key)
}

/// Where the packets of one family of a peer are sent to.
fn remote(cluster: &Cluster, settings: &WireGuardSettings, peer: (&Lease, Family)) -> Result<SocketAddr, String> {
    let (lease, family) = peer;
    let outer = outer_family(cluster, settings, peer)?;
    let Some(address) = lease.endpoints.get(outer).map(|endpoint| endpoint.public) else {
        return Err(format!("it has no {outer} address, over which its {family} packets would go"));
    };
    if Family::of(address) != outer {
        return Err(format!("its {outer} subnet comes with the address {address}"));
    }
    Ok(SocketAddr::new(address, port(settings, lease, outer)))
}

/// The port that the peer's device listens on.
fn port(settings: &WireGuardSettings, lease: &Lease, outer: Family) -> u16 {
    let published = |family| match lease.endpoints.get(family).map(|endpoint| &endpoint.data) {
        Some(BackendData::WireGuard { port, .. }) => *port,
        _ => None,
    };
    if settings.mode == Mode::Separate {
        // Flannel before 0.26 publishes none: there all nodes have the same.
        return published(outer).unwrap_or(settings.first_port(outer));
    }
    // There is one device, and flannel says its port with the IPv4 data only: with the IPv6 data it says that of a second
    // device, which it does not have.
    let [first, second] = settings.ports;
    let of_v6 = published(Family::V6).map(|port| if port == second { first } else { port });
    published(Family::V4).or(of_v6).unwrap_or(first)
}

/// The family that a peer's packets go over: flannel's rules.
fn outer_family(cluster: &Cluster, settings: &WireGuardSettings, peer: (&Lease, Family)) -> Result<Family, String> {
    let (lease, family) = peer;
    match settings.mode {
        Mode::Separate => return Ok(family),
        Mode::Over(outer) => return Ok(outer),
        Mode::Auto => {}
    }
    let theirs = |family| lease.endpoints.get(family).map(|endpoint| endpoint.public);
    let ours = |family| cluster.uplink.public.get(family).copied();
    let usable = |family| theirs(family).is_some() && ours(family).is_some();
    match (usable(Family::V4), usable(Family::V6)) {
        (true, false) => Ok(Family::V4),
        (false, true) => Ok(Family::V6),
        (false, false) => Err("it has no address of a family in which this node has one".to_owned()),
        (true, true) if !theirs(Family::V4).is_some_and(is_private) => Ok(Family::V4),
        (true, true) => {
            let global = |address: Option<IpAddr>| address.is_some_and(|address| !is_private(address));
            let both = global(theirs(Family::V6)) && global(ours(Family::V6));
            Ok(if both { Family::V6 } else { Family::V4 })
        }
    }
}

/// Whether an address means something only where it is (RFC 1918, RFC 4193).
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => Ipv4Addr::is_private(&address),
        IpAddr::V6(address) => Ipv6Addr::is_unique_local(&address),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::cluster::Backend;

    #[test]
    fn two_generations_and_the_way_round_have_ports_of_their_own_whatever_is_configured() {
        let families = Stack::Dual { v4: (), v6: () };
        for ports in
            [[51820, 51821], [51820, 51822], [51822, 51820], [51820, 51824], [u16::MAX, u16::MAX - 2], [65535, 65531]]
        {
            for generation in [Generation(0), Generation(1)] {
                let current = WireGuardSettings {
                    ports,
                    generation,
                    ..WireGuardSettings::new(Mode::Separate, &families).unwrap()
                };
                let next = WireGuardSettings { generation: generation.next(), ..current.clone() };
                let aside = current.aside();
                for (other, what) in [(&next, "the next generation"), (&aside, "the way round")] {
                    let excludes = Backend::WireGuard(current.clone()).excludes(&Backend::WireGuard(other.clone()));
                    assert!(!excludes, "{ports:?} {generation} and {what}: {other:?}");
                    let [first, second] = Family::ALL.map(|family| other.port(family));
                    assert_ne!(first, second, "{ports:?} {generation}: {what}");
                }
            }
        }
    }
}
