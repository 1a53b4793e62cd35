//! [`NextHop`]: where a route leads (RFC 4271 section 5.1.3, RFC 2545 section 3, RFC 8950 section 4).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::family::Family;
use super::reader::Reader;
use super::terms::{FamilyTerms, NextHops};

/// Where a route leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NextHop {
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address, and the link-local one of the same router when it is on our link. The first may be link-local itself, of a
    /// peer without another address.
    V6(Ipv6Addr, Option<Ipv6Addr>),
}

/// Why there is no next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoNextHop {
    /// The length does not suit the family: what follows cannot be found (RFC 7606 section 7.11).
    Length,
    /// The address is not one of a host.
    NotAHost,
}

impl NextHop {
    /// Reads the next hop of a family; `bytes` is exactly it.
    pub fn decode(bytes: &[u8], terms: &FamilyTerms) -> Result<NextHop, NoNextHop> {
        let six = terms.family != Family::IPV4 || terms.next_hops == NextHops::AlsoIpv6;
        let four = terms.family != Family::IPV6;
        let mut reader = Reader::new(bytes);
        let hop = match (bytes.len(), four, six) {
            (4, true, _) => NextHop::V4(reader.array::<4>().map_err(|_| NoNextHop::Length)?.into()),
            (16, _, true) => NextHop::V6(reader.array::<16>().map_err(|_| NoNextHop::Length)?.into(), None),
            (32, _, true) => {
                let global: Ipv6Addr = reader.array::<16>().map_err(|_| NoNextHop::Length)?.into();
                let local: Ipv6Addr = reader.array::<16>().map_err(|_| NoNextHop::Length)?.into();
                NextHop::pair(global, local)
            }
            _ => return Err(NoNextHop::Length),
        };
        if hop.is_a_host() { Ok(hop) } else { Err(NoNextHop::NotAHost) }
    }

    /// Some send `::` or the link-local address twice when they have no other.
    fn pair(global: Ipv6Addr, local: Ipv6Addr) -> NextHop {
        match (global.is_unspecified(), local.is_unicast_link_local()) {
            (true, true) => NextHop::V6(local, None),
            (false, true) if global != local => NextHop::V6(global, Some(local)),
            _ => NextHop::V6(global, None),
        }
    }

    fn is_a_host(self) -> bool {
        match self {
            NextHop::V4(address) => is_a_host(address),
            NextHop::V6(address, _) => !(address.is_unspecified() || address.is_multicast() || address.is_loopback()),
        }
    }

    /// Appends the length and the addresses.
    pub fn encode(self, out: &mut Vec<u8>) {
        match self {
            NextHop::V4(address) => {
                out.push(4);
                out.extend_from_slice(&address.octets());
            }
            NextHop::V6(address, local) => {
                out.push(if local.is_some() { 32 } else { 16 });
                out.extend_from_slice(&address.octets());
                out.extend(local.iter().flat_map(Ipv6Addr::octets));
            }
        }
    }

    /// The address by which the router is known beyond its link, and which routes are looked up for.
    pub fn router(self) -> IpAddr {
        match self {
            NextHop::V4(address) => address.into(),
            NextHop::V6(address, _) => address.into(),
        }
    }

    /// The address that decides: the link-local one when there is one, for it is on the link.
    pub fn address(self) -> IpAddr {
        match self {
            NextHop::V4(address) => address.into(),
            NextHop::V6(address, local) => local.unwrap_or(address).into(),
        }
    }
}

/// Whether packets can be sent to an IPv4 address (RFC 4271 section 6.3: syntax and meaning of NEXT_HOP).
pub fn is_a_host(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    !(first == 0 || first == 127 || first >= 224)
}

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NextHop::V4(address) => address.fmt(f),
            NextHop::V6(address, None) => address.fmt(f),
            NextHop::V6(address, Some(local)) => write!(f, "{address} ({local})"),
        }
    }
}
