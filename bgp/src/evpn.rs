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
    accepted: Targets,
}

/// Which targets name the overlay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Targets {
    /// Those that end in the VNI, of whatever AS: in a fabric each router may have one of its own.
    OfVni,
    /// The one that was said.
    Exactly,
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
        /// How often it moved: where several VTEPs have it, it is at the one with the highest (RFC 7432 section 15).
        moves: u32,
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
        let (target, accepted) = (target(asn, vni), Targets::OfVni);
        sound.then_some(Vtep { address, mac, vni, distinguisher, target, accepted })
    }

    /// The same with a target of somebody's choice, which alone is believed, too.
    #[must_use]
    pub fn with_target(self, target: ExtendedCommunity) -> Vtep {
        Vtep { target, accepted: Targets::Exactly, ..self }
    }

    /// The same with another number behind the identifier in its distinguisher.
    #[must_use]
    pub fn with_number(self, number: u16) -> Vtep {
        let ([kind, two, a, b, c, d, ..], [high, low]) = (self.distinguisher.0, number.to_be_bytes());
        Vtep { distinguisher: RouteDistinguisher([kind, two, a, b, c, d, high, low]), ..self }
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
        // Without an address the MAC alone is said: others may learn of no other way.
        let hosts: Vec<Option<IpAddr>> = match inner {
            [] => vec![None],
            inner => inner.iter().copied().map(Some).collect(),
        };
        let hosts = hosts.into_iter().map(|address| self.host(address));
        let all =
            std::iter::once(self.presence()).chain(hosts).chain(prefixes.iter().map(|prefix| self.prefix(prefix)));
        all.collect()
    }

    /// That it is there, for who has something for everybody (type 3).
    pub fn presence(&self) -> (Route, Attributes) {
        let Vtep { address: originator, distinguisher, .. } = *self;
        self.said(Route::Multicast { distinguisher, tag: 0, originator })
    }

    /// Its own MAC, and an inner address that has it (type 2).
    pub fn host(&self, address: Option<IpAddr>) -> (Route, Attributes) {
        let Vtep { mac, vni, distinguisher, .. } = *self;
        self.said(Route::Mac { distinguisher, segment: [0; 10], tag: 0, mac, address, vni, routing_vni: None })
    }

    /// A prefix behind it (type 5).
    pub fn prefix(&self, prefix: &IpNet) -> (Route, Attributes) {
        let Vtep { vni, distinguisher, .. } = *self;
        let gateway = if prefix.addr().is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
        self.said(Route::Prefix { distinguisher, segment: [0; 10], tag: 0, prefix: prefix.trunc(), gateway, vni })
    }

    fn said(&self, route: Route) -> (Route, Attributes) {
        let attributes = self.attributes(&route);
        (route, attributes)
    }

    fn attributes(&self, route: &Route) -> Attributes {
        let mut extended = vec![self.target, ExtendedCommunity::VXLAN];
        // Of an address, too: who routes in the overlay makes a route to it, and where that has no MAC of the router, FRR takes the one of the
        // prefixes away with it (RFC 9135 section 5.1).
        if matches!(route, Route::Prefix { .. } | Route::Mac { address: Some(_), .. }) {
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
        let meant = attributes.extended.iter().any(|community| self.is_named_by(*community));
        if !(carried && meant && vtep != self.address && is_host(vtep)) {
            return None;
        }
        let routers_mac = || {
            let mac = attributes.extended.iter().find_map(|community| community.as_routers_mac())?;
            self.may_be_behind(mac).then_some(mac)
        };
        match *route {
            Route::Mac { mac, address, vni, .. } if vni == self.vni => {
                let sound = self.may_be_behind(mac) && address.is_none_or(is_host);
                let moves = attributes.extended.iter().find_map(|community| community.as_mobility()).unwrap_or(0);
                sound.then_some(Entry::Host { mac, address, vtep, moves })
            }
            // Of a bridge that we have no part in, and reached by its router (RFC 9135 section 5).
            Route::Mac { address, routing_vni, .. } => {
                let address = address.filter(|address| routing_vni == Some(self.vni) && is_host(*address))?;
                Some(Entry::Prefix { prefix: address.into(), vtep, mac: routers_mac()? })
            }
            // The tunnel's end is what the attribute says, and it says the originator (RFC 8365 section 5.1.3).
            Route::Multicast { .. } => Some(Entry::Everybody { vtep }),
            Route::Prefix { prefix, gateway, vni, .. } => {
                // One with a gateway is found by that gateway's type 2 (RFC 9136 section 4.1): not the model here.
                let sound = vni == self.vni && gateway.is_unspecified();
                sound.then(routers_mac).flatten().map(|mac| Entry::Prefix { prefix, vtep, mac })
            }
        }
    }

    fn may_be_behind(&self, mac: [u8; 6]) -> bool {
        is_station(mac) && mac != self.mac
    }

    fn is_named_by(&self, community: ExtendedCommunity) -> bool {
        match self.accepted {
            Targets::OfVni => names(community, self.vni),
            Targets::Exactly => community == self.target,
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
