//! [`Family`]: which kind of routes, as AFI and SAFI (RFC 4760 section 3, IANA's registries).

use std::fmt;

use super::reader::{Reader, Short};

/// An address family and what is said of it, as two numbers. Any pair can exist: a peer may offer what we do not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Family {
    /// Address Family Identifier: 1 IPv4, 2 IPv6, 25 L2VPN.
    pub afi: u16,
    /// Subsequent Address Family Identifier: 1 unicast, 70 EVPN.
    pub safi: u8,
}

impl Family {
    /// IPv4 unicast.
    pub const IPV4: Family = Family { afi: 1, safi: 1 };
    /// IPv6 unicast.
    pub const IPV6: Family = Family { afi: 2, safi: 1 };
    /// Ethernet VPN (RFC 7432).
    pub const EVPN: Family = Family { afi: 25, safi: 70 };
    /// The families whose routes this speaker carries.
    pub const ALL: [Family; 3] = [Family::IPV4, Family::IPV6, Family::EVPN];

    /// Whether routes of this family can be decoded and carried.
    pub fn is_known(self) -> bool {
        Family::ALL.contains(&self)
    }

    /// Reads AFI and SAFI, three bytes.
    pub fn read(reader: &mut Reader<'_>) -> Result<Family, Short> {
        Ok(Family { afi: reader.u16()?, safi: reader.u8()? })
    }

    /// Reads AFI, a reserved byte and SAFI, as MP capability and ROUTE-REFRESH have it (RFC 4760 section 8, RFC 2918 section 3).
    pub fn read_wide(reader: &mut Reader<'_>) -> Result<(Family, u8), Short> {
        let (afi, between, safi) = (reader.u16()?, reader.u8()?, reader.u8()?);
        Ok((Family { afi, safi }, between))
    }

    /// Appends AFI and SAFI, three bytes.
    pub fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.afi.to_be_bytes());
        out.push(self.safi);
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Family::IPV4 => f.write_str("ipv4"),
            Family::IPV6 => f.write_str("ipv6"),
            Family::EVPN => f.write_str("evpn"),
            Family { afi, safi } => write!(f, "afi {afi} safi {safi}"),
        }
    }
}
