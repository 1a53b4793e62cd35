//! Routes as UPDATE lists them: prefixes (RFC 4271 section 4.3), with path identifiers (RFC 7911), and EVPN's typed ones.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::evpn;
use super::family::Family;
use super::reader::Reader;
use super::terms::PathIds;

/// What a route is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Nlri<'a> {
    /// A prefix, its host bits zero.
    Prefix(IpNet),
    /// An EVPN route: type, length and value as on the wire; [`evpn::Route::decode`] says what it means.
    Evpn(&'a [u8]),
}

/// A list of routes of one family, each already found to be well-formed. Walking it allocates nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NlriList<'a> {
    /// The family.
    pub family: Family,
    path_ids: PathIds,
    bytes: &'a [u8],
}

/// A route of a list and the identifier of its path; 0 where there is none.
pub type Listed<'a> = (u32, Nlri<'a>);

/// The list cannot be walked to its end, so nobody knows which routes are meant (RFC 7606 section 5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl<'a> NlriList<'a> {
    /// No routes.
    pub fn empty(family: Family) -> NlriList<'a> {
        NlriList { family, path_ids: PathIds::Absent, bytes: &[] }
    }

    /// Looks through a list once. An EVPN route that is malformed inside its length, or of an unknown type, is no fault of the
    /// list: it is passed over (RFC 7606 section 5.4).
    pub fn check(bytes: &'a [u8], family: Family, path_ids: PathIds) -> Result<NlriList<'a>, Malformed> {
        let list = NlriList { family, path_ids, bytes };
        let mut reader = Reader::new(bytes);
        while !reader.is_empty() {
            list.next(&mut reader)?;
        }
        Ok(list)
    }

    /// Whether no route is listed.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The routes in their order.
    pub fn iter(&self) -> impl Iterator<Item = Listed<'a>> + use<'a> {
        let (list, mut reader) = (*self, Reader::new(self.bytes));
        std::iter::from_fn(move || {
            while !reader.is_empty() {
                // `check` has walked the same bytes: an error cannot come here, and would end the list.
                if let Some(listed) = list.next(&mut reader).ok()? {
                    return Some(listed);
                }
            }
            None
        })
    }

    fn next(&self, reader: &mut Reader<'a>) -> Result<Option<Listed<'a>>, Malformed> {
        let path_id = match self.path_ids {
            PathIds::Absent => 0,
            PathIds::Present => reader.u32().map_err(|_| Malformed)?,
        };
        let nlri = match self.family {
            Family::IPV4 => Some(Nlri::Prefix(prefix_v4(reader)?.into())),
            Family::IPV6 => Some(Nlri::Prefix(prefix_v6(reader)?.into())),
            Family::EVPN => {
                let whole = reader.rest();
                reader.u8().map_err(|_| Malformed)?;
                let value = reader.part_u8().map_err(|_| Malformed)?;
                let route = whole.get(..value.len().saturating_add(2)).ok_or(Malformed)?;
                evpn::is_sound(route).then_some(Nlri::Evpn(route))
            }
            _ => return Err(Malformed),
        };
        Ok(nlri.map(|nlri| (path_id, nlri)))
    }
}

fn prefix_v4(reader: &mut Reader<'_>) -> Result<Ipv4Net, Malformed> {
    let (length, address) = prefix(reader, 32)?;
    Ipv4Net::new(Ipv4Addr::from((address >> 96) as u32), length).map_err(|_| Malformed)
}

fn prefix_v6(reader: &mut Reader<'_>) -> Result<Ipv6Net, Malformed> {
    let (length, address) = prefix(reader, 128)?;
    Ipv6Net::new(Ipv6Addr::from(address), length).map_err(|_| Malformed)
}

/// The length, and the address from the highest bit on: arithmetic, for to copy three bytes costs more.
fn prefix(reader: &mut Reader<'_>, longest: u8) -> Result<(u8, u128), Malformed> {
    let length = reader.u8().map_err(|_| Malformed)?;
    if length > longest {
        return Err(Malformed);
    }
    let bytes = reader.take(usize::from(length).div_ceil(8)).map_err(|_| Malformed)?;
    let octets = bytes.iter().fold(0_u128, |address, octet| address << 8 | u128::from(*octet));
    let address = octets.checked_shl(128 - 8 * bytes.len() as u32).unwrap_or(0);
    let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
    Ok((length, address & mask))
}

/// Appends a route as it stands in a list.
pub fn write(listed: &Listed<'_>, path_ids: PathIds, out: &mut Vec<u8>) {
    let (path_id, nlri) = listed;
    if path_ids == PathIds::Present {
        out.extend_from_slice(&path_id.to_be_bytes());
    }
    let (length, longest) = match nlri {
        Nlri::Prefix(IpNet::V4(net)) => {
            out.push(net.prefix_len());
            out.extend_from_slice(&net.network().octets());
            (net.prefix_len(), 4)
        }
        Nlri::Prefix(IpNet::V6(net)) => {
            out.push(net.prefix_len());
            out.extend_from_slice(&net.network().octets());
            (net.prefix_len(), 16)
        }
        Nlri::Evpn(route) => return out.extend_from_slice(route),
    };
    // All octets at once, and back to those that count.
    let spare = longest - usize::from(length).div_ceil(8).min(longest);
    out.truncate(out.len().saturating_sub(spare));
}

impl Nlri<'_> {
    /// The family that this is a route of.
    pub fn family(&self) -> Family {
        match self {
            Nlri::Prefix(IpNet::V4(_)) => Family::IPV4,
            Nlri::Prefix(IpNet::V6(_)) => Family::IPV6,
            Nlri::Evpn(_) => Family::EVPN,
        }
    }
}
