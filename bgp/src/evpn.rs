//! [`Vtep`]: one VNI of a VXLAN overlay as EVPN says it, so that a fabric can be the other end: which routes a node originates, and what a learnt one
//! means for forwarding entries, neighbours and routes.
//!
//! The model is that of a routed overlay without an interface of its own between routers (RFC 9136 section 4.4.1): a prefix lies behind a VTEP, whose
//! router's MAC is the inner destination. Which tables hold it is not decided here, nor what lies on the wire ([`crate::wire::evpn`]).

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use crate::wire::evpn::{Route, RouteDistinguisher};
use crate::wire::{Attributes, ExtendedCommunity, NextHop, Origin};

/// The highest VNI.
const MOST_VNI: u32 = (1 << 24) - 1;

/// Ingress replication: who has something for everybody sends it to each (RFC 6514 section 5, RFC 8365 section 9).
const INGRESS_REPLICATION: u8 = 6;

/// An end of the overlay's tunnels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vtep {
    address: IpAddr,
    mac: [u8; 6],
    vni: u32,
    distinguisher: RouteDistinguisher,
    target: ExtendedCommunity,
}

/// What a learnt route means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Frames to a MAC go to a VTEP; a neighbour with an address has it: `bridge fdb replace MAC dev VXLAN dst VTEP`, `ip neigh replace ADDRESS lladdr MAC`.
    Host {
        /// Its MAC.
        mac: [u8; 6],
        /// Its address, where one was said.
        address: Option<IpAddr>,
        /// Behind which VTEP.
        vtep: IpAddr,
    },
    /// A VTEP wants what is for everybody: `bridge fdb append 00:00:00:00:00:00 dev VXLAN dst VTEP`.
    Everybody {
        /// Which.
        vtep: IpAddr,
    },
    /// A prefix is routed by a VTEP, whose router has this MAC: an FDB entry, a neighbour `vtep` with the MAC, and `ip route replace PREFIX via VTEP onlink`.
    Prefix {
        /// The prefix.
        prefix: IpNet,
        /// By which VTEP.
        vtep: IpAddr,
        /// Its router's MAC.
        mac: [u8; 6],
    },
}

impl Vtep {
    /// This node's: its address outside, the MAC of its device, the VNI; and AS and identifier of its speaker, from which the route distinguisher and the target
    /// follow. `None` for what no VTEP can have.
    pub fn new(address: IpAddr, mac: [u8; 6], vni: u32, (asn, identifier): (u32, Ipv4Addr)) -> Option<Vtep> {
        let sound = is_host(address) && is_station(mac) && (1..=MOST_VNI).contains(&vni);
        let [a, b, c, d] = identifier.octets();
        let [_, _, high, low] = vni.to_be_bytes();
        // RFC 7432 section 7.9: of type 1, the speaker's own address and a number of its choice.
        let distinguisher = RouteDistinguisher([0, 1, a, b, c, d, high, low]);
        sound.then(|| Vtep { address, mac, vni, distinguisher, target: target(asn, vni) })
    }

    /// The community by which others know that a route is of the overlay: the AS and the VNI.
    pub fn target(&self) -> ExtendedCommunity {
        self.target
    }

    /// Where its routes lead.
    pub fn hop(&self) -> NextHop {
        match self.address {
            IpAddr::V4(address) => NextHop::V4(address),
            IpAddr::V6(address) => NextHop::V6(address, None),
        }
    }

    /// All that this VTEP says of itself: that it is there (type 3), its own inner addresses (type 2), the prefixes behind it (type 5).
    pub fn routes(&self, inner: &[IpAddr], prefixes: &[IpNet]) -> Vec<(Route, Attributes)> {
        let Vtep { address, mac, vni, distinguisher, .. } = *self;
        let (segment, tag) = ([0; 10], 0);
        let everybody = Route::Multicast { distinguisher, tag, originator: address };
        let host =
            |address: Option<IpAddr>| Route::Mac { distinguisher, segment, tag, mac, address, vni, routing_vni: None };
        // Without an address the MAC alone is said: others may learn of no other way.
        let hosts: Vec<Route> = match inner {
            [] => vec![host(None)],
            inner => inner.iter().map(|address| host(Some(*address))).collect(),
        };
        let prefix = |prefix: &IpNet| {
            let gateway = if prefix.addr().is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
            Route::Prefix { distinguisher, segment, tag, prefix: prefix.trunc(), gateway, vni }
        };
        let routes = std::iter::once(everybody).chain(hosts).chain(prefixes.iter().map(prefix));
        routes.map(|route| (self.attributes(&route), route)).map(|(attributes, route)| (route, attributes)).collect()
    }

    fn attributes(&self, route: &Route) -> Attributes {
        let mut extended = vec![self.target, ExtendedCommunity::VXLAN];
        if matches!(route, Route::Prefix { .. }) {
            extended.push(ExtendedCommunity::routers_mac(self.mac));
        }
        let tunnel = matches!(route, Route::Multicast { .. }).then(|| self.tunnel().into());
        Attributes { origin: Origin::Igp, extended, pmsi_tunnel: tunnel, ..Attributes::default() }
    }

    fn tunnel(&self) -> Vec<u8> {
        let [_, vni @ ..] = self.vni.to_be_bytes();
        let mut value = vec![0, INGRESS_REPLICATION];
        value.extend_from_slice(&vni);
        match self.address {
            IpAddr::V4(address) => value.extend_from_slice(&address.octets()),
            IpAddr::V6(address) => value.extend_from_slice(&address.octets()),
        }
        value
    }

    /// What a learnt route means here; `None` when it is of another overlay, our own come back, or nothing that a VTEP could follow.
    pub fn learn(&self, route: &Route, attributes: &Attributes, hop: NextHop) -> Option<Entry> {
        let vtep = hop.address();
        let carried = attributes.extended.contains(&ExtendedCommunity::VXLAN);
        let meant = attributes.extended.iter().any(|community| names(*community, self.vni));
        if !(carried && meant && vtep != self.address && is_host(vtep)) {
            return None;
        }
        match *route {
            Route::Mac { mac, address, vni, routing_vni, .. } => {
                let in_overlay = vni == self.vni || routing_vni == Some(self.vni);
                let sound = in_overlay && is_station(mac) && mac != self.mac && address.is_none_or(is_host);
                sound.then_some(Entry::Host { mac, address, vtep })
            }
            // The tunnel's end is what the attribute says, and it says the originator (RFC 8365 section 5.1.3).
            Route::Multicast { .. } => Some(Entry::Everybody { vtep }),
            Route::Prefix { prefix, gateway, vni, .. } => {
                // One with a gateway is found by that gateway's type 2 (RFC 9136 section 4.1): not the model here.
                let mac = attributes.extended.iter().find_map(|community| community.as_routers_mac())?;
                let sound = vni == self.vni && gateway.is_unspecified() && is_station(mac) && mac != self.mac;
                sound.then_some(Entry::Prefix { prefix, vtep, mac })
            }
        }
    }
}

/// Of an AS of two octets the type of two, else of four, where the VNI keeps its low sixteen bits (RFC 5668).
fn target(asn: u32, vni: u32) -> ExtendedCommunity {
    match u16::try_from(asn) {
        Ok(asn) => ExtendedCommunity::route_target(asn, vni),
        Err(_) => {
            let ([a, b, c, d], [_, _, high, low]) = (asn.to_be_bytes(), vni.to_be_bytes());
            ExtendedCommunity([0x02, 0x02, a, b, c, d, high, low])
        }
    }
}

/// Whether a community is the target of this VNI, of whatever AS: in a fabric each router may have one of its own, and who derives the target from
/// AS and VNI means the VNI (RFC 8365 section 5.1.2.1: the lowest 24 bits are the VNI, those above say how it is to be read).
fn names(community: ExtendedCommunity, vni: u32) -> bool {
    match community.0 {
        [0x00, 0x02, _, _, _, a, b, c] => u32::from_be_bytes([0, a, b, c]) == vni,
        [0x02, 0x02, _, _, _, _, a, b] => u32::from(u16::from_be_bytes([a, b])) == vni & 0xffff,
        _ => false,
    }
}

/// Whether a MAC is of one station: frames to all and to groups are nobody's.
fn is_station(mac: [u8; 6]) -> bool {
    let [first, ..] = mac;
    first & 1 == 0 && mac != [0; 6]
}

fn is_host(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    !(address.is_unspecified() || address.is_multicast() || address.is_loopback() || broadcast)
}

#[cfg(test)]
mod tests;
