//! [`Update`]: routes that come and go (RFC 4271 sections 4.3 and 6.3, RFC 4760), and what of a malformed one still holds (RFC
//! 7606).

use super::attribute::{self, Fault, Handling};
use super::attributes::Attributes;
use super::family::Family;
use super::header::Kind;
use super::message;
use super::next_hop::NextHop;
use super::nlri::NlriList;
use super::notification::{Notification, code, update};
use super::reader::Reader;
use super::terms::{AsWidth, PathIds, Terms};

mod walk;

use walk::Walk;

/// The routes of an UPDATE, as lists that borrow from it.
#[derive(Clone, Debug, PartialEq)]
pub struct Update<'a> {
    /// What is said of the routes that come; nothing when none do.
    pub attributes: Attributes,
    /// Whatever was wrong and did not end the session, for the log and the counters.
    pub faults: Vec<Fault>,
    /// That the peer has sent all routes of a family (RFC 4724 section 2).
    pub end_of_rib: Option<Family>,
    announced: [Option<(NextHop, NlriList<'a>)>; 2],
    withdrawn: [Option<NlriList<'a>>; 4],
}

impl<'a> Update<'a> {
    /// Reads the body. An error is what ends the session; everything milder is in [`Update::faults`] and already done: routes that
    /// RFC 7606 treats as withdrawn are among the withdrawn ones.
    pub fn decode(body: &'a [u8], terms: &Terms) -> Result<Update<'a>, Notification> {
        // The two lengths are compared with what is there, one after the other: their sum is never made, so it cannot wrap.
        let mut reader = Reader::new(body);
        let contradiction = |_| Notification::new(code::UPDATE, update::MALFORMED_ATTRIBUTES);
        let withdrawn = reader.part_u16().map_err(contradiction)?;
        let attributes = reader.part_u16().map_err(contradiction)?;
        let path_ids = terms.of(Family::IPV4).map_or(PathIds::Absent, |terms| terms.receive);
        let list = |bytes| {
            NlriList::check(bytes, Family::IPV4, path_ids)
                .map_err(|_| Notification::new(code::UPDATE, update::INVALID_NETWORK))
        };
        let (withdrawn, announced) = (list(withdrawn.rest())?, list(reader.rest())?);
        let mut walk = Walk::new(terms);
        walk.attributes(attributes)?;
        walk.judge(&announced)?;
        Ok(Update::of(walk, withdrawn, announced))
    }

    /// Puts the lists where they belong, those of families that nobody agreed upon nowhere.
    fn of(walk: Walk<'a, '_>, withdrawn: NlriList<'a>, announced: NlriList<'a>) -> Update<'a> {
        let spoken = |list: &NlriList<'a>| !list.is_empty() && walk.terms.of(list.family).is_some();
        let end_of_rib = walk.end_of_rib(&withdrawn, &announced);
        let reach = walk.reach.filter(|(_, list)| spoken(list));
        let announced = Some(announced).filter(spoken);
        let gone = [Some(withdrawn).filter(spoken), walk.unreach.filter(spoken)];
        let lost = walk.verdict >= Some(Handling::Withdraw);
        let hop = walk.next_hop.map(NextHop::V4);
        let (announced, treated) = match lost {
            true => ([None, None], [announced, reach.map(|(_, list)| list)]),
            false => ([hop.zip(announced), reach.and_then(|(hop, list)| Some((hop?, list)))], [None, None]),
        };
        let [first, second] = gone;
        let [third, fourth] = treated;
        Update {
            attributes: walk.attributes,
            faults: walk.faults,
            end_of_rib,
            announced,
            withdrawn: [first, second, third, fourth],
        }
    }

    /// The lists of routes that come, with their next hops.
    pub fn announced(&self) -> impl Iterator<Item = &(NextHop, NlriList<'a>)> {
        self.announced.iter().flatten()
    }

    /// The lists of routes that go. A route that an UPDATE both withdraws and announces comes: these are first (RFC 4271 section 4.3).
    pub fn withdrawn(&self) -> impl Iterator<Item = &NlriList<'a>> {
        self.withdrawn.iter().flatten()
    }
}

/// A whole UPDATE that says that all routes of a family have been sent (RFC 4724 section 2).
pub fn end_of_rib(family: Family) -> Vec<u8> {
    let mut out = Vec::new();
    message::write(Kind::Update, &mut out, |out| {
        out.extend_from_slice(&[0, 0]);
        if family == Family::IPV4 {
            out.extend_from_slice(&[0, 0]);
            return;
        }
        let mut attributes = Vec::new();
        attribute::write(attribute::OPTIONAL, attribute::kind::MP_UNREACH_NLRI, &mut attributes, |out| {
            family.write(out)
        });
        out.extend_from_slice(&u16::try_from(attributes.len()).unwrap_or(u16::MAX).to_be_bytes());
        out.extend_from_slice(&attributes);
    });
    out
}

/// Reads attributes from the canonical bytes that [`Attributes::encode`] wrote.
pub fn decode_attributes(bytes: &[u8]) -> Attributes {
    let canonical = Terms::canonical();
    let mut walk = Walk::new(&canonical);
    // Our own bytes have no faults; had they, what was read before would be all.
    walk.attributes(Reader::new(bytes)).unwrap_or_default();
    walk.attributes
}

/// Appends attributes and next hop as one message has them: with NEXT_HOP in its place for IPv4 routes with an IPv4 next hop, else
/// without it. The lists of routes are [`super::nlri`]'s.
pub fn encode_attributes(attributes: &Attributes, hop: Option<std::net::Ipv4Addr>, width: AsWidth, out: &mut Vec<u8>) {
    attributes.encode_head(width, out);
    if let Some(hop) = hop {
        let kind = attribute::kind::NEXT_HOP;
        attribute::write(attribute::TRANSITIVE, kind, out, |out| out.extend_from_slice(&hop.octets()));
    }
    attributes.encode_tail(width, out);
}
