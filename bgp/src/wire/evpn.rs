//! EVPN routes of the types that a VXLAN overlay uses: MAC/IP (2), inclusive multicast (3), IP prefix (5): RFC 7432 section 7,
//! RFC 8365 section 5.1, RFC 9136 section 3.1.
//!
//! The label fields hold a VNI of 24 bits, not an MPLS label: that is why zettabgp's types do not serve here, see
//! `docs/adr/0015-our-own-bgp-wire-layer.md`.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::reader::{Reader, Short};

/// The eight bytes that keep routes of different sources apart (RFC 4364 section 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteDistinguisher(pub [u8; 8]);

/// The ten bytes that name a segment to which a host has several links; zero for one link.
pub type SegmentId = [u8; 10];

/// An EVPN route.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Route {
    /// Type 2: behind which VTEP a MAC address, and perhaps an IP address, is.
    Mac {
        /// Whose.
        distinguisher: RouteDistinguisher,
        /// On which segment.
        segment: SegmentId,
        /// In which bridge domain.
        tag: u32,
        /// The MAC address.
        mac: [u8; 6],
        /// The IP address of the same host.
        address: Option<IpAddr>,
        /// The VNI for bridging.
        vni: u32,
        /// The VNI for routing, when there are two.
        routing_vni: Option<u32>,
    },
    /// Type 3: which VTEP wants what is for everybody.
    Multicast {
        /// Whose.
        distinguisher: RouteDistinguisher,
        /// In which bridge domain.
        tag: u32,
        /// The VTEP.
        originator: IpAddr,
    },
    /// Type 5: a prefix behind a VTEP.
    Prefix {
        /// Whose.
        distinguisher: RouteDistinguisher,
        /// On which segment.
        segment: SegmentId,
        /// In which bridge domain.
        tag: u32,
        /// The prefix.
        prefix: IpNet,
        /// The gateway, of the family of the prefix; unspecified when the next hop decides.
        gateway: IpAddr,
        /// The VNI.
        vni: u32,
    },
}

const MAC: u8 = 2;
const MULTICAST: u8 = 3;
const PREFIX: u8 = 5;

/// Whether a route, type and length first, is of a type that we know and well-formed. Types 1 and 4 serve hosts with several
/// links, which a node's VTEP is not.
pub fn is_sound(route: &[u8]) -> bool {
    Route::decode(route).is_some()
}

impl Route {
    /// Reads one route, type and length first; `None` when it is of another type or malformed.
    pub fn decode(route: &[u8]) -> Option<Route> {
        let mut reader = Reader::new(route);
        let kind = reader.u8().ok()?;
        let mut value = reader.part_u8().ok().filter(|_| reader.is_empty())?;
        let length = value.len();
        let decoded = match (kind, length) {
            (MAC, 33 | 36 | 37 | 40 | 49 | 52) => mac(&mut value),
            (MULTICAST, 17 | 29) => multicast(&mut value),
            (PREFIX, 34) => prefix::<4>(&mut value),
            (PREFIX, 58) => prefix::<16>(&mut value),
            _ => Err(Short),
        };
        decoded.ok().filter(|_| value.is_empty())
    }

    /// The same without what is only said of it: two routes that are the same then are one to a peer, and a withdrawal need not say the rest (RFC 7432
    /// sections 7.2 and 7.3, RFC 9136 section 3.1).
    #[must_use]
    pub fn bare(self) -> Route {
        let segment = [0; 10];
        match self {
            Route::Mac { distinguisher, tag, mac, address, .. } => {
                Route::Mac { distinguisher, segment, tag, mac, address, vni: 0, routing_vni: None }
            }
            Route::Prefix { distinguisher, tag, prefix, .. } => {
                let gateway = if prefix.addr().is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
                Route::Prefix { distinguisher, segment, tag, prefix, gateway, vni: 0 }
            }
            whole @ Route::Multicast { .. } => whole,
        }
    }

    /// Appends the route, type and length first.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        match self {
            Route::Mac { distinguisher, segment, tag, mac, address, vni, routing_vni } => {
                out.extend_from_slice(&[MAC, 0]);
                out.extend_from_slice(&distinguisher.0);
                out.extend_from_slice(segment);
                out.extend_from_slice(&tag.to_be_bytes());
                out.push(48);
                out.extend_from_slice(mac);
                match address {
                    Some(address) => write_sized(*address, out),
                    None => out.push(0),
                }
                write_vni(*vni, out);
                routing_vni.iter().for_each(|vni| write_vni(*vni, out));
            }
            Route::Multicast { distinguisher, tag, originator } => {
                out.extend_from_slice(&[MULTICAST, 0]);
                out.extend_from_slice(&distinguisher.0);
                out.extend_from_slice(&tag.to_be_bytes());
                write_sized(*originator, out);
            }
            Route::Prefix { distinguisher, segment, tag, prefix, gateway, vni } => {
                out.extend_from_slice(&[PREFIX, 0]);
                out.extend_from_slice(&distinguisher.0);
                out.extend_from_slice(segment);
                out.extend_from_slice(&tag.to_be_bytes());
                out.push(prefix.prefix_len());
                write_address(prefix.network(), out);
                // A gateway of the other family has no place in the format: the next hop decides then.
                let same = prefix.addr().is_ipv4() == gateway.is_ipv4();
                let none = if prefix.addr().is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
                write_address(if same { *gateway } else { none }, out);
                write_vni(*vni, out);
            }
        }
        let length = out.len().saturating_sub(start).saturating_sub(2);
        if let Some(field) = out.get_mut(start.saturating_add(1)) {
            // At most 52 for type 2, 29 for type 3 and 58 for type 5.
            *field = u8::try_from(length).unwrap_or(u8::MAX);
        }
    }
}

fn mac(value: &mut Reader<'_>) -> Result<Route, Short> {
    let distinguisher = RouteDistinguisher(value.array()?);
    let (segment, tag) = (value.array()?, value.u32()?);
    if value.u8()? != 48 {
        return Err(Short);
    }
    let mac = value.array()?;
    let address = sized(value)?;
    let vni = read_vni(value)?;
    let routing_vni = if value.is_empty() { None } else { Some(read_vni(value)?) };
    Ok(Route::Mac { distinguisher, segment, tag, mac, address, vni, routing_vni })
}

fn multicast(value: &mut Reader<'_>) -> Result<Route, Short> {
    let (distinguisher, tag) = (RouteDistinguisher(value.array()?), value.u32()?);
    Ok(Route::Multicast { distinguisher, tag, originator: sized(value)?.ok_or(Short)? })
}

/// A prefix length beyond the family's is malformed though the length of the route is right (RFC 9136 section 3.1).
fn prefix<const N: usize>(value: &mut Reader<'_>) -> Result<Route, Short>
where
    IpAddr: From<[u8; N]>,
{
    let distinguisher = RouteDistinguisher(value.array()?);
    let (segment, tag, length) = (value.array()?, value.u32()?, value.u8()?);
    let address = IpAddr::from(value.array::<N>()?);
    let prefix = IpNet::new(address, length).map_err(|_| Short)?.trunc();
    Ok(Route::Prefix {
        distinguisher,
        segment,
        tag,
        prefix,
        gateway: IpAddr::from(value.array::<N>()?),
        vni: read_vni(value)?,
    })
}

fn sized(value: &mut Reader<'_>) -> Result<Option<IpAddr>, Short> {
    match value.u8()? {
        0 => Ok(None),
        32 => value.array::<4>().map(|address| Some(address.into())),
        128 => value.array::<16>().map(|address| Some(address.into())),
        _ => Err(Short),
    }
}

fn read_vni(value: &mut Reader<'_>) -> Result<u32, Short> {
    let [high, middle, low] = value.array()?;
    Ok(u32::from_be_bytes([0, high, middle, low]))
}

fn write_vni(vni: u32, out: &mut Vec<u8>) {
    let [_, bytes @ ..] = vni.to_be_bytes();
    out.extend_from_slice(&bytes);
}

fn write_address(address: IpAddr, out: &mut Vec<u8>) {
    match address {
        IpAddr::V4(address) => out.extend_from_slice(&address.octets()),
        IpAddr::V6(address) => out.extend_from_slice(&address.octets()),
    }
}

fn write_sized(address: IpAddr, out: &mut Vec<u8>) {
    out.push(if address.is_ipv4() { 32 } else { 128 });
    write_address(address, out);
}

impl fmt::Display for RouteDistinguisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [t0, t1, a, b, c, d, e, g] = self.0;
        let high = u32::from_be_bytes([a, b, c, d]);
        match u16::from_be_bytes([t0, t1]) {
            0 => write!(f, "{}:{}", u16::from_be_bytes([a, b]), u32::from_be_bytes([c, d, e, g])),
            1 => write!(f, "{}:{}", std::net::Ipv4Addr::from(high), u16::from_be_bytes([e, g])),
            2 => write!(f, "{high}:{}", u16::from_be_bytes([e, g])),
            kind => write!(f, "{kind}:{:02x}{:02x}{:02x}{:02x}{:02x}{:02x}", a, b, c, d, e, g),
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Route::Mac { distinguisher, mac, address, vni, .. } => {
                let [a, b, c, d, e, g] = mac;
                write!(f, "mac {distinguisher} {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")?;
                address.iter().try_for_each(|address| write!(f, " {address}"))?;
                write!(f, " vni {vni}")
            }
            Route::Multicast { distinguisher, originator, .. } => write!(f, "multicast {distinguisher} {originator}"),
            Route::Prefix { distinguisher, prefix, vni, .. } => write!(f, "prefix {distinguisher} {prefix} vni {vni}"),
        }
    }
}
