//! Communities of three kinds: RFC 1997, RFC 4360 with RFC 5701, RFC 8092.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use thiserror::Error;

/// A community of four bytes: an AS of two, and what it means there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Community(pub u32);

impl Community {
    /// Prefer every other path: this one goes away soon (RFC 8326).
    pub const GRACEFUL_SHUTDOWN: Community = Community(0xffff_0000);
    /// Kept from a peer that has been away for long (RFC 9494).
    pub const LLGR_STALE: Community = Community(0xffff_0006);
    /// Not to be kept for long when the peer goes away (RFC 9494).
    pub const NO_LLGR: Community = Community(0xffff_0007);
    /// Discard the traffic (RFC 7999).
    pub const BLACKHOLE: Community = Community(0xffff_029a);
    /// Not beyond our AS.
    pub const NO_EXPORT: Community = Community(0xffff_ff01);
    /// Not to any peer.
    pub const NO_ADVERTISE: Community = Community(0xffff_ff02);
    /// Not beyond our AS, confederation or not.
    pub const NO_EXPORT_SUBCONFED: Community = Community(0xffff_ff03);

    const NAMES: [(Community, &'static str); 7] = [
        (Community::GRACEFUL_SHUTDOWN, "graceful-shutdown"),
        (Community::LLGR_STALE, "llgr-stale"),
        (Community::NO_LLGR, "no-llgr"),
        (Community::BLACKHOLE, "blackhole"),
        (Community::NO_EXPORT, "no-export"),
        (Community::NO_ADVERTISE, "no-advertise"),
        (Community::NO_EXPORT_SUBCONFED, "no-export-subconfed"),
    ];
}

/// A community of twelve bytes: an AS of four, and two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LargeCommunity {
    /// Whose.
    pub administrator: u32,
    /// What, in the administrator's own terms.
    pub data: [u32; 2],
}

/// An extended community of eight bytes: type, often a subtype, value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExtendedCommunity(pub [u8; 8]);

impl ExtendedCommunity {
    /// The route target of an AS of two octets (RFC 4360 section 4).
    pub fn route_target(asn: u16, number: u32) -> ExtendedCommunity {
        let ([a, b], [c, d, e, f]) = (asn.to_be_bytes(), number.to_be_bytes());
        ExtendedCommunity([0x00, 0x02, a, b, c, d, e, f])
    }

    /// VXLAN as encapsulation of an EVPN route (RFC 8365 section 5.1.2.1).
    pub const VXLAN: ExtendedCommunity = ExtendedCommunity([0x03, 0x0c, 0, 0, 0, 0, 0, 8]);

    /// The MAC of the router behind a VTEP (RFC 9135 section 8.1).
    pub fn routers_mac(mac: [u8; 6]) -> ExtendedCommunity {
        let [a, b, c, d, e, f] = mac;
        ExtendedCommunity([0x06, 0x03, a, b, c, d, e, f])
    }

    /// The router's MAC, if it says one.
    pub fn as_routers_mac(self) -> Option<[u8; 6]> {
        match self.0 {
            [0x06, 0x03, a, b, c, d, e, f] => Some([a, b, c, d, e, f]),
            _ => None,
        }
    }

    /// How often a MAC moved; one that is to stay has moved more often than any other ever will (RFC 7432 sections 7.7 and 15.2).
    pub fn as_mobility(self) -> Option<u32> {
        match self.0 {
            [0x06, 0x00, flags, _, ..] if flags & 1 == 1 => Some(u32::MAX),
            [0x06, 0x00, _, _, a, b, c, d] => Some(u32::from_be_bytes([a, b, c, d])),
            _ => None,
        }
    }

    /// Whether an AS may hand it on to the next (RFC 4360 section 2, the T bit).
    pub fn is_transitive(self) -> bool {
        let [kind, ..] = self.0;
        kind & 0x40 == 0
    }
}

/// A text that is no community.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{text}` is no {what}: {form}")]
pub struct NotACommunity {
    text: String,
    what: &'static str,
    form: &'static str,
}

impl FromStr for Community {
    type Err = NotACommunity;

    /// `64512:100`, or the name of a well-known one.
    fn from_str(text: &str) -> Result<Community, NotACommunity> {
        if let Some((community, _)) = Community::NAMES.iter().find(|(_, name)| *name == text) {
            return Ok(*community);
        }
        let parts = text.split_once(':').and_then(|(asn, value)| Some((asn.parse::<u16>().ok()?, value.parse().ok()?)));
        let (asn, value): (u16, u16) = parts.ok_or_else(|| NotACommunity {
            text: text.to_owned(),
            what: "community",
            form: "write AS:number, both below 65536, or a name like no-export",
        })?;
        Ok(Community(u32::from(asn) << 16 | u32::from(value)))
    }
}

impl FromStr for LargeCommunity {
    type Err = NotACommunity;

    /// `64512:1:2`.
    fn from_str(text: &str) -> Result<LargeCommunity, NotACommunity> {
        let numbers: Option<Vec<u32>> = text.split(':').map(|part| part.parse().ok()).collect();
        match numbers.as_deref() {
            Some([administrator, first, second]) => {
                Ok(LargeCommunity { administrator: *administrator, data: [*first, *second] })
            }
            _ => Err(NotACommunity {
                text: text.to_owned(),
                what: "large community",
                form: "write three numbers, like 64512:1:2",
            }),
        }
    }
}

impl FromStr for ExtendedCommunity {
    type Err = NotACommunity;

    /// `rt:64512:100`, `rt:10.0.0.1:100`, or sixteen hexadecimal digits.
    fn from_str(text: &str) -> Result<ExtendedCommunity, NotACommunity> {
        let target = text.strip_prefix("rt:").and_then(route_target);
        let raw = || Some(text).filter(|text| text.len() == 16).and_then(|text| u64::from_str_radix(text, 16).ok());
        target.or_else(|| raw().map(|raw| ExtendedCommunity(raw.to_be_bytes()))).ok_or_else(|| NotACommunity {
            text: text.to_owned(),
            what: "extended community",
            form: "write rt:AS:number, rt:address:number or sixteen hexadecimal digits",
        })
    }
}

fn route_target(text: &str) -> Option<ExtendedCommunity> {
    let (who, number) = text.rsplit_once(':')?;
    if let Ok(asn) = who.parse::<u16>() {
        return Some(ExtendedCommunity::route_target(asn, number.parse().ok()?));
    }
    let (kind, four) = match who.parse::<Ipv4Addr>() {
        Ok(address) => (0x01, u32::from(address)),
        Err(_) => (0x02, who.parse().ok()?),
    };
    let ([a, b, c, d], [e, f]) = (four.to_be_bytes(), number.parse::<u16>().ok()?.to_be_bytes());
    Some(ExtendedCommunity([kind, 0x02, a, b, c, d, e, f]))
}

impl fmt::Display for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Community::NAMES.iter().find(|(community, _)| community == self) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "{}:{}", self.0 >> 16, self.0 & 0xffff),
        }
    }
}

impl fmt::Display for LargeCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second] = self.data;
        write!(f, "{}:{first}:{second}", self.administrator)
    }
}

impl fmt::Display for ExtendedCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [kind, subtype, a, b, c, d, e, g] = self.0;
        let four = u32::from_be_bytes([a, b, c, d]);
        let last = u16::from_be_bytes([e, g]);
        match (kind, subtype) {
            (0x00, 0x02) => write!(f, "rt:{}:{}", u16::from_be_bytes([a, b]), u32::from_be_bytes([c, d, e, g])),
            (0x01, 0x02) => write!(f, "rt:{}:{last}", Ipv4Addr::from(four)),
            (0x02, 0x02) => write!(f, "rt:{four}:{last}"),
            _ => write!(f, "{:016x}", u64::from_be_bytes(self.0)),
        }
    }
}
