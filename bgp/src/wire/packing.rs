//! Routes into as few UPDATEs as will hold them: what goes and what comes, each a list of its own.

use super::attribute::{EXTENDED_LENGTH, OPTIONAL, kind};
use super::attributes::Attributes;
use super::family::Family;
use super::header::{self, Kind};
use super::next_hop::NextHop;
use super::nlri::{self, Listed, Nlri};
use super::terms::{FamilyTerms, Terms};
use super::update::encode_attributes;

/// The attributes leave no room for a route in a message of the agreed length: it cannot be announced to this peer, and has to be
/// withdrawn if it was (RFC 8654 section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// Everything of an UPDATE but its routes, encoded once for all that share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sheet {
    /// The old field holds the routes, or MP_REACH_NLRI with this next hop does.
    hop: Option<NextHop>,
    attributes: Vec<u8>,
    terms: FamilyTerms,
    limit: usize,
}

impl Sheet {
    /// For routes of the family of `of`, with these attributes and this next hop, in the terms agreed upon.
    pub fn new(attributes: &Attributes, hop: NextHop, of: FamilyTerms, terms: &Terms) -> Sheet {
        let mut bytes = Vec::new();
        let old_field = match hop {
            NextHop::V4(address) if of.family == Family::IPV4 => Some(address),
            _ => None,
        };
        encode_attributes(attributes, old_field, terms.width, &mut bytes);
        let hop = if old_field.is_some() { None } else { Some(hop) };
        Sheet { hop, attributes: bytes, terms: of, limit: terms.limit.bytes() }
    }

    /// Appends UPDATEs that announce all these routes.
    pub fn announce<'n>(&self, routes: impl Iterator<Item = Listed<'n>>, out: &mut Vec<u8>) -> Result<(), TooLong> {
        let mut routes = routes.peekable();
        while routes.peek().is_some() {
            let before = out.len();
            header::begin(Kind::Update, out);
            out.extend_from_slice(&[0, 0]);
            let list = self.open_list(out);
            let full = before.saturating_add(self.limit).saturating_sub(list.behind.len());
            let empty = out.len();
            while let Some(listed) = routes.next_if(|listed| out.len().saturating_add(room(listed)) <= full) {
                nlri::write(&listed, self.terms.send, out);
            }
            if out.len() == empty {
                out.truncate(before);
                return Err(TooLong);
            }
            list.close(out);
            header::close(before, out);
        }
        Ok(())
    }

    fn open_list(&self, out: &mut Vec<u8>) -> List<'_> {
        let attributes = out.len();
        out.extend_from_slice(&[0, 0]);
        let Some(hop) = self.hop else {
            out.extend_from_slice(&self.attributes);
            write_length(attributes, out);
            return List { attributes: None, multi_protocol: None, behind: &[] };
        };
        // MP_REACH_NLRI is the very first attribute (RFC 7606 section 5.1).
        out.extend_from_slice(&[OPTIONAL | EXTENDED_LENGTH, kind::MP_REACH_NLRI]);
        let multi_protocol = Some(out.len());
        out.extend_from_slice(&[0, 0]);
        self.terms.family.write(out);
        hop.encode(out);
        out.push(0);
        List { attributes: Some(attributes), multi_protocol, behind: &self.attributes }
    }
}

/// Appends UPDATEs that withdraw all these routes.
pub fn withdraw<'n>(of: FamilyTerms, terms: &Terms, routes: impl Iterator<Item = Listed<'n>>, out: &mut Vec<u8>) {
    let mut routes = routes.peekable();
    while routes.peek().is_some() {
        let before = out.len();
        let full = before.saturating_add(terms.limit.bytes()).saturating_sub(2);
        header::begin(Kind::Update, out);
        let mut list = List { attributes: Some(out.len()), multi_protocol: None, behind: &[] };
        out.extend_from_slice(&[0, 0]);
        if of.family != Family::IPV4 {
            list.attributes = Some(out.len());
            out.extend_from_slice(&[0, 0, OPTIONAL | EXTENDED_LENGTH, kind::MP_UNREACH_NLRI]);
            list.multi_protocol = Some(out.len());
            out.extend_from_slice(&[0, 0]);
            of.family.write(out);
        }
        // Every route fits into an empty message: the longest, of EVPN, has 261 bytes with its path identifier.
        while let Some(listed) = routes.next_if(|listed| out.len().saturating_add(room(listed)) <= full) {
            nlri::write(&listed, of.send, out);
        }
        list.close(out);
        if of.family == Family::IPV4 {
            out.extend_from_slice(&[0, 0]);
        }
        header::close(before, out);
    }
}

/// Bytes that a route takes at most.
fn room((_, nlri): &Listed<'_>) -> usize {
    let path_id = 4;
    path_id
        + match nlri {
            Nlri::Prefix(ipnet::IpNet::V4(_)) => 5,
            Nlri::Prefix(ipnet::IpNet::V6(_)) => 17,
            Nlri::Evpn(route) => route.len(),
        }
}

/// A list of routes that is being written: where its lengths go, and what comes behind it.
struct List<'a> {
    attributes: Option<usize>,
    multi_protocol: Option<usize>,
    behind: &'a [u8],
}

impl List<'_> {
    fn close(self, out: &mut Vec<u8>) {
        self.multi_protocol.iter().for_each(|at| write_length(*at, out));
        out.extend_from_slice(self.behind);
        self.attributes.iter().for_each(|at| write_length(*at, out));
    }
}

/// Writes how long everything behind the field of two octets at `at` is.
fn write_length(at: usize, out: &mut [u8]) {
    let length = u16::try_from(out.len().saturating_sub(at).saturating_sub(2)).unwrap_or(u16::MAX);
    if let Some(field) = out.get_mut(at..at.saturating_add(2)) {
        field.copy_from_slice(&length.to_be_bytes());
    }
}
