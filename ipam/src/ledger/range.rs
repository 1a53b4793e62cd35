//! [`Range`] and [`RangeSet`]: from which addresses pods get theirs, and in which order these are tried. Pure.
//!
//! Rules and order are those of the reference `host-local` plugin, so that both give the same answer over one directory.
//! Which addresses are in use is not known here.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::Family;
use crate::taken::bounds;

/// A range as it is written: everything but the subnet may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeText {
    /// `subnet`: the network that the addresses lie in, host bits zero.
    pub subnet: IpNet,
    /// `rangeStart`: the first address to give; by default the first of the subnet.
    pub start: Option<IpAddr>,
    /// `rangeEnd`: the last address to give; by default the last of the subnet.
    pub end: Option<IpAddr>,
    /// `gateway`: never given; by default the first of the subnet.
    pub gateway: Option<IpAddr>,
}

/// Addresses of one subnet, first to last, and the gateway that serves them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    subnet: IpNet,
    first: u128,
    last: u128,
    gateway: IpAddr,
}

/// Why ranges cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// `10.1.0.5/24`
    #[error("subnet {subnet} has host bits set: write {}", subnet.trunc())]
    HostBits {
        /// As written.
        subnet: IpNet,
    },
    /// A /31, /32, /127 or /128.
    #[error("subnet {subnet} has no room for a gateway and a pod: use a shorter prefix")]
    TooSmall {
        /// As written.
        subnet: IpNet,
    },
    /// An address that does not lie in the subnet.
    #[error("{key} {address} is not in the subnet {subnet}")]
    Outside {
        /// `rangeStart`, `rangeEnd` or `gateway`.
        key: &'static str,
        /// As written.
        address: IpAddr,
        /// As written.
        subnet: IpNet,
    },
    /// The end is before the start.
    #[error("rangeEnd {end} is before rangeStart {start}")]
    Backwards {
        /// First address.
        start: IpAddr,
        /// Last address.
        end: IpAddr,
    },
    /// A set of no ranges.
    #[error("a range set needs at least one range")]
    Empty,
    /// IPv4 and IPv6 in one set: a set gives one address.
    #[error("the ranges {first} and {second} are of different families: write them as two range sets")]
    MixedFamilies {
        /// One range.
        first: Box<Range>,
        /// The other.
        second: Box<Range>,
    },
    /// Two ranges that share addresses.
    #[error("the ranges {first} and {second} overlap")]
    Overlap {
        /// One range.
        first: Box<Range>,
        /// The other.
        second: Box<Range>,
    },
}

impl Range {
    /// Checks a range and fills in what was left out.
    ///
    /// # Errors
    /// [`RangeError`] names the key and what is wrong with it.
    pub fn new(text: RangeText) -> Result<Range, RangeError> {
        let subnet = text.subnet;
        let family = Family::of_net(&subnet);
        if subnet.trunc() != subnet {
            return Err(RangeError::HostBits { subnet });
        }
        if subnet.prefix_len() > family.bits() - 2 {
            return Err(RangeError::TooSmall { subnet });
        }
        let inside = |key, address: Option<IpAddr>| match address {
            Some(address) if !subnet.contains(&address) => Err(RangeError::Outside { key, address, subnet }),
            address => Ok(address.map(number)),
        };
        // Never the network's own address (in IPv6 the routers' anycast address, RFC 4291 section 2.6.1), nor, in IPv4,
        // its broadcast address, whatever is written.
        let (network, top) = bounds(&subnet);
        let top = if family == Family::V4 { top - 1 } else { top };
        let first = inside("rangeStart", text.start)?.unwrap_or(0).max(network + 1);
        let last = inside("rangeEnd", text.end)?.unwrap_or(top).min(top);
        let gateway = inside("gateway", text.gateway)?.unwrap_or(network + 1);
        if first > last {
            return Err(RangeError::Backwards { start: address(family, first), end: address(family, last) });
        }
        Ok(Range { subnet, first, last, gateway: address(family, gateway) })
    }

    /// The network that the range lies in.
    pub fn subnet(&self) -> IpNet {
        self.subnet
    }

    /// The router's address.
    pub fn gateway(&self) -> IpAddr {
        self.gateway
    }

    /// The range's family.
    pub fn family(&self) -> Family {
        Family::of_net(&self.subnet)
    }

    fn contains(&self, address: IpAddr) -> bool {
        Family::of(address) == self.family() && (self.first..=self.last).contains(&number(address))
    }

    fn overlaps(&self, other: &Range) -> bool {
        self.family() == other.family() && self.first <= other.last && other.first <= self.last
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", address(self.family(), self.first), address(self.family(), self.last))
    }
}

/// Ranges of one family that a pod gets one address of. Never empty, never overlapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeSet(Vec<Range>);

impl RangeSet {
    /// Takes ranges together.
    ///
    /// # Errors
    /// When there are none, or two that do not go together.
    pub fn new(ranges: Vec<Range>) -> Result<RangeSet, RangeError> {
        let Some(family) = ranges.first().map(Range::family) else { return Err(RangeError::Empty) };
        for (index, &second) in ranges.iter().enumerate() {
            if let Some(&first) = ranges[..index].iter().find(|first| first.overlaps(&second)) {
                return Err(RangeError::Overlap { first: first.into(), second: second.into() });
            }
            if second.family() != family {
                return Err(RangeError::MixedFamilies { first: ranges[0].into(), second: second.into() });
            }
        }
        Ok(RangeSet(ranges))
    }

    /// Checks that no address is in two sets: two would be given from them, and one of them twice.
    ///
    /// # Errors
    /// The first two ranges that overlap.
    pub fn check_disjoint(sets: &[RangeSet]) -> Result<(), RangeError> {
        for (index, set) in sets.iter().enumerate() {
            for &second in &set.0 {
                let mut others = sets[..index].iter().flat_map(|set| &set.0);
                if let Some(&first) = others.find(|first| first.overlaps(&second)) {
                    return Err(RangeError::Overlap { first: first.into(), second: second.into() });
                }
            }
        }
        Ok(())
    }

    /// The ranges, in the order in which they are used.
    pub fn ranges(&self) -> &[Range] {
        &self.0
    }

    /// The range that an address may be given from, if it is none of the gateways.
    pub fn range_of(&self, address: IpAddr) -> Option<&Range> {
        self.0.iter().find(|range| range.contains(address)).filter(|_| !self.is_gateway(address))
    }

    /// Whether an address lies in one of the ranges, be it a gateway's or not.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|range| range.contains(address))
    }

    /// How many addresses there are to give, at most `u128::MAX`.
    pub fn len(&self) -> u128 {
        let sizes = self.0.iter().map(|range| (range.last - range.first).saturating_add(1));
        let gateways = self.0.iter().enumerate().filter(|(index, range)| {
            let again = self.0[..*index].iter().any(|earlier| earlier.gateway == range.gateway);
            !again && self.0.iter().any(|other| other.contains(range.gateway))
        });
        sizes.fold(0_u128, u128::saturating_add) - gateways.count() as u128
    }

    /// Whether nothing is left to give, as where the one address of a range is the gateway.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every address once, in the order in which they are tried: round robin from behind the one given last, so that a
    /// pod that dies and comes back meets no traffic meant for its former self.
    pub fn candidates(&self, last_given: Option<IpAddr>) -> impl Iterator<Item = (IpAddr, &Range)> {
        let held = last_given.and_then(|address| {
            let index = self.0.iter().position(|range| range.contains(address))?;
            Some((index, number(address)))
        });
        // No address is 0, so the one before the first can be written down too: then all of it is still to come.
        let (start, given) = held.unwrap_or((0, self.0[0].first - 1));
        let (before, behind) = self.0.split_at(start);
        let current = &behind[0];
        let rest = (given < current.last).then(|| (current, given + 1, current.last));
        let whole = behind[1..].iter().chain(before).map(|range| (range, range.first, range.last));
        let begun = (current, current.first, given);
        rest.into_iter()
            .chain(whole)
            .chain(std::iter::once(begun))
            .flat_map(|(range, first, last)| (first..=last).map(move |number| (address(range.family(), number), range)))
            .filter(|(address, _)| !self.is_gateway(*address))
    }

    /// Whether an address is the gateway of one of the ranges.
    pub fn is_gateway(&self, address: IpAddr) -> bool {
        self.0.iter().any(|range| range.gateway == address)
    }
}

impl fmt::Display for RangeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{range}")?;
        }
        Ok(())
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The inverse of [`number`]: the low 32 bits are all there is of an IPv4 address.
fn address(family: Family, number: u128) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::from_bits(number as u32)),
        Family::V6 => IpAddr::V6(Ipv6Addr::from_bits(number)),
    }
}

#[cfg(test)]
mod tests;
