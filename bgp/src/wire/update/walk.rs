//! The walk over the path attributes of one UPDATE, and the judgement over what it found (RFC 7606 sections 3 to 5).

use std::net::Ipv4Addr;

use crate::wire::as_path::AsPath;
use crate::wire::attribute::{EXTENDED_LENGTH, Fault, Handling, OPTIONAL, PARTIAL, TRANSITIVE, kind, rule_of};
use crate::wire::attributes::{Aggregator, Attributes, Wrong, aggregator};
use crate::wire::family::Family;
use crate::wire::next_hop::{NextHop, NoNextHop, is_a_host};
use crate::wire::nlri::NlriList;
use crate::wire::notification::{Notification, code, update};
use crate::wire::reader::{Reader, Short};
use crate::wire::terms::{AsSets, AsWidth, FamilyTerms, Neighbour, Terms};

/// Faults that are kept of one UPDATE; what follows counts for the verdict alone.
const FAULTS: usize = 16;

/// One attribute as it stands in the message.
#[derive(Clone, Copy)]
struct Tlv<'a> {
    flags: u8,
    attribute: u8,
    value: &'a [u8],
    whole: &'a [u8],
}

impl Tlv<'_> {
    fn fault(&self, handling: Handling, subcode: u8) -> Fault {
        Fault { attribute: self.attribute, handling, subcode, data: self.whole.to_vec() }
    }
}

/// What has been found so far.
pub(super) struct Walk<'a, 't> {
    pub terms: &'t Terms,
    pub attributes: Attributes,
    pub faults: Vec<Fault>,
    /// The strongest handling that a fault asked for.
    pub verdict: Option<Handling>,
    pub next_hop: Option<Ipv4Addr>,
    /// `None` inside when the family is not spoken or the next hop is no host: the list is then not announced.
    pub reach: Option<(Option<NextHop>, NlriList<'a>)>,
    pub unreach: Option<NlriList<'a>>,
    as4_path: Option<AsPath>,
    as4_aggregator: Option<Aggregator>,
    seen: [u64; 4],
    attributes_seen: usize,
}

impl<'a, 't> Walk<'a, 't> {
    pub fn new(terms: &'t Terms) -> Walk<'a, 't> {
        Walk {
            terms,
            attributes: Attributes::default(),
            faults: Vec::new(),
            verdict: None,
            next_hop: None,
            reach: None,
            unreach: None,
            as4_path: None,
            as4_aggregator: None,
            seen: [0; 4],
            attributes_seen: 0,
        }
    }

    /// Walks all attributes. One that runs past their end makes the routes withdrawn ones, for the lists outside can still be read
    /// (RFC 7606 section 4).
    pub fn attributes(&mut self, mut reader: Reader<'a>) -> Result<(), Notification> {
        while !reader.is_empty() {
            let from = reader.rest();
            self.attributes_seen += 1;
            match tlv(&mut reader) {
                Ok(tlv) => self.attribute(tlv)?,
                Err(Short) => {
                    let attribute = from.get(1).copied().unwrap_or(0);
                    let tlv = Tlv { flags: 0, attribute, value: &[], whole: from };
                    self.note(tlv.fault(Handling::Withdraw, update::LENGTH));
                    break;
                }
            }
        }
        if self.terms.width == AsWidth::Two {
            self.attributes.merge(self.as4_path.take(), self.as4_aggregator.take());
        }
        Ok(())
    }

    fn note(&mut self, fault: Fault) {
        self.verdict = self.verdict.max(Some(fault.handling));
        if self.faults.len() < FAULTS {
            self.faults.push(fault);
        }
    }

    fn attribute(&mut self, tlv: Tlv<'a>) -> Result<(), Notification> {
        if self.seen_before(tlv.attribute) {
            return match tlv.attribute {
                // Section 3 g: these two change what the message is about, the others are ignored.
                kind::MP_REACH_NLRI | kind::MP_UNREACH_NLRI => {
                    Err(Notification::new(code::UPDATE, update::MALFORMED_ATTRIBUTES))
                }
                _ => {
                    self.note(tlv.fault(Handling::Discard, update::MALFORMED_ATTRIBUTES));
                    Ok(())
                }
            };
        }
        let Some(rule) = rule_of(tlv.attribute) else { return self.unknown(tlv) };
        if (tlv.flags ^ rule.flags) & (OPTIONAL | TRANSITIVE) != 0 {
            self.note(tlv.fault(Handling::Withdraw, update::FLAGS)); // section 3 c
            if !matches!(tlv.attribute, kind::MP_REACH_NLRI | kind::MP_UNREACH_NLRI) {
                return Ok(());
            }
        }
        match self.known(tlv) {
            Ok(()) => {}
            Err(Wrong(subcode)) if rule.malformed == Handling::Reset => {
                return Err(tlv.fault(Handling::Reset, subcode).notification());
            }
            Err(Wrong(subcode)) => self.note(tlv.fault(rule.malformed, subcode)),
        }
        Ok(())
    }

    fn seen_before(&mut self, attribute: u8) -> bool {
        let [word, bit] = [usize::from(attribute >> 6), usize::from(attribute & 63)];
        let Some(word) = self.seen.get_mut(word) else { return false };
        let before = *word;
        *word |= 1 << bit;
        *word == before
    }

    fn known(&mut self, tlv: Tlv<'a>) -> Result<(), Wrong> {
        let external = self.terms.neighbour != Neighbour::Internal;
        match tlv.attribute {
            kind::NEXT_HOP => {
                let address = <[u8; 4]>::try_from(tlv.value).map_err(|_| Wrong(update::LENGTH))?;
                self.next_hop = Some(Ipv4Addr::from(address));
                Ok(())
            }
            kind::MP_REACH_NLRI => self.mp_reach(tlv),
            kind::MP_UNREACH_NLRI => self.mp_unreach(tlv),
            // From a NEW speaker these say nothing (RFC 6793 section 3).
            kind::AS4_PATH | kind::AS4_AGGREGATOR if self.terms.width == AsWidth::Four => Ok(()),
            kind::AS4_PATH => {
                let path = AsPath::decode(tlv.value, AsWidth::Four);
                self.as4_path = Some(path.map_err(|_| Wrong(update::OPTIONAL_ATTRIBUTE))?);
                Ok(())
            }
            kind::AS4_AGGREGATOR => {
                self.as4_aggregator = Some(aggregator(tlv.value, AsWidth::Four)?);
                Ok(())
            }
            // Section 7.5, 7.9 and 7.10: from across the border these are nobody's business here. So is a segment identifier
            // (RFC 8669 section 4).
            kind::LOCAL_PREF | kind::ORIGINATOR_ID | kind::CLUSTER_LIST | kind::PREFIX_SID if external => Ok(()),
            // The sum of metrics of an administration that we are not part of (RFC 7311 section 3.4).
            kind::AIGP => Ok(()),
            attribute => {
                self.attributes.set(attribute, tlv.value, self.terms.width)?;
                self.remember_partial(tlv);
                Ok(())
            }
        }
    }

    fn remember_partial(&mut self, tlv: Tlv<'a>) {
        if tlv.flags & (PARTIAL | OPTIONAL) == PARTIAL | OPTIONAL {
            self.attributes.partial |= 1_u64.checked_shl(tlv.attribute.into()).unwrap_or(0);
        }
    }

    /// RFC 4271 section 6.3: well-known and unknown ends the session, RFC 7606 has not changed that; optional is handed on if it is
    /// transitive, else dropped.
    fn unknown(&mut self, tlv: Tlv<'a>) -> Result<(), Notification> {
        match (tlv.flags & OPTIONAL != 0, tlv.flags & TRANSITIVE != 0) {
            (false, _) => Err(tlv.fault(Handling::Reset, update::UNRECOGNIZED_WELL_KNOWN).notification()),
            (true, false) => Ok(()),
            (true, true) => {
                // No rule, so no value is wrong.
                self.attributes.set(tlv.attribute, tlv.value, self.terms.width).unwrap_or_default();
                Ok(())
            }
        }
    }

    fn mp_reach(&mut self, tlv: Tlv<'a>) -> Result<(), Wrong> {
        let wrong = |_| Wrong(update::OPTIONAL_ATTRIBUTE);
        let mut reader = Reader::new(tlv.value);
        let family = Family::read(&mut reader).map_err(wrong)?;
        let hop = reader.part_u8().map_err(wrong)?;
        reader.u8().map_err(wrong)?; // reserved
        let Some(terms) = self.terms.of(family) else { return self.not_spoken(tlv, family) };
        let list = NlriList::check(reader.rest(), family, terms.receive);
        let list = list.map_err(|_| Wrong(update::OPTIONAL_ATTRIBUTE))?;
        let hop = match NextHop::decode(hop.rest(), terms) {
            Ok(hop) => Some(hop),
            Err(NoNextHop::Length) => return Err(Wrong(update::OPTIONAL_ATTRIBUTE)),
            Err(NoNextHop::NotAHost) => {
                self.note(tlv.fault(Handling::Withdraw, update::INVALID_NEXT_HOP));
                None
            }
        };
        self.reach = Some((hop, list));
        Ok(())
    }

    fn mp_unreach(&mut self, tlv: Tlv<'a>) -> Result<(), Wrong> {
        let mut reader = Reader::new(tlv.value);
        let family = Family::read(&mut reader).map_err(|_| Wrong(update::OPTIONAL_ATTRIBUTE))?;
        let Some(FamilyTerms { receive, .. }) = self.terms.of(family) else { return self.not_spoken(tlv, family) };
        let list = NlriList::check(reader.rest(), family, *receive);
        self.unreach = Some(list.map_err(|_| Wrong(update::OPTIONAL_ATTRIBUTE))?);
        Ok(())
    }

    /// Routes of a family that was not agreed upon are ignored, and with them nothing else (RFC 4760 section 6).
    fn not_spoken(&mut self, tlv: Tlv<'a>, family: Family) -> Result<(), Wrong> {
        self.note(tlv.fault(Handling::Discard, update::OPTIONAL_ATTRIBUTE));
        if tlv.attribute == kind::MP_REACH_NLRI {
            self.reach = Some((None, NlriList::empty(family)));
        }
        Ok(())
    }

    /// What can be said only when all attributes have been seen.
    pub fn judge(&mut self, announced: &NlriList<'a>) -> Result<(), Notification> {
        let reach =
            self.reach.as_ref().is_some_and(|(_, list)| !list.is_empty() || self.terms.of(list.family).is_none());
        if !announced.is_empty() || reach {
            self.judge_mandatory(!announced.is_empty());
            self.judge_path();
            return Ok(());
        }
        // Section 5.2: attributes without routes, and something wrong with them: who knows where the routes went.
        let only_unreach = self.unreach.is_some() && self.attributes_seen == 1;
        let worst = self.faults.iter().find(|fault| fault.handling > Handling::Discard);
        match worst {
            Some(fault) if !only_unreach => Err(fault.notification()),
            _ => Ok(()),
        }
    }

    /// Section 3 d, and the meaning of NEXT_HOP (RFC 4271 section 6.3).
    fn judge_mandatory(&mut self, in_the_old_field: bool) {
        let absent = |attribute: u8, seen: &[u64; 4]| seen.first().is_some_and(|word| word & (1 << attribute) == 0);
        let needed = [(kind::ORIGIN, true), (kind::AS_PATH, true), (kind::NEXT_HOP, in_the_old_field)];
        for (attribute, needed) in needed {
            if needed && absent(attribute, &self.seen) {
                let subcode = update::MISSING_WELL_KNOWN;
                self.note(Fault { attribute, handling: Handling::Withdraw, subcode, data: vec![attribute] });
            }
        }
        if in_the_old_field && self.next_hop.is_some_and(|hop| !is_a_host(hop)) {
            let data = self.next_hop.map(|hop| [&[TRANSITIVE, kind::NEXT_HOP, 4][..], &hop.octets()].concat());
            self.note(Fault {
                attribute: kind::NEXT_HOP,
                handling: Handling::Withdraw,
                subcode: update::INVALID_NEXT_HOP,
                data: data.unwrap_or_default(),
            });
        }
    }

    /// A path with a set (RFC 9774), or from a neighbour that is not at its beginning (RFC 4271 section 6.3).
    fn judge_path(&mut self) {
        if self.verdict >= Some(Handling::Withdraw) {
            return;
        }
        let path = &self.attributes.as_path;
        let set = self.terms.as_sets == AsSets::Refused && path.has_set();
        let stranger = match self.terms.neighbour {
            Neighbour::External(Some(asn)) => path.first() != Some(asn),
            _ => false,
        };
        if set || stranger {
            self.note(Fault {
                attribute: kind::AS_PATH,
                handling: Handling::Withdraw,
                subcode: update::MALFORMED_AS_PATH,
                data: Vec::new(),
            });
        }
    }

    /// RFC 4724 section 2: an UPDATE with nothing in it, or with one empty MP_UNREACH_NLRI and nothing else. One in which something
    /// was wrong says nothing.
    pub fn end_of_rib(&self, withdrawn: &NlriList<'a>, announced: &NlriList<'a>) -> Option<Family> {
        let bare = withdrawn.is_empty() && announced.is_empty() && self.faults.is_empty();
        match (self.attributes_seen, &self.unreach) {
            _ if !bare => None,
            (0, None) => Some(Family::IPV4),
            (1, Some(list)) if list.is_empty() => Some(list.family),
            _ => None,
        }
    }
}

fn tlv<'a>(reader: &mut Reader<'a>) -> Result<Tlv<'a>, Short> {
    let from = reader.rest();
    let (flags, attribute) = (reader.u8()?, reader.u8()?);
    let value = if flags & EXTENDED_LENGTH != 0 { reader.part_u16() } else { reader.part_u8() }?;
    let whole = from.get(..from.len().saturating_sub(reader.len())).ok_or(Short)?;
    Ok(Tlv { flags, attribute, value: value.rest(), whole })
}
