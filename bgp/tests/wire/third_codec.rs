//! rustbgpd-wire, which obeys RFC 7606 as ours does: it reads what ours writes, and both judge alike what is malformed.

use std::net::Ipv4Addr;

use bgp::wire::packing::Sheet;
use bgp::wire::terms::{Neighbour, Terms};
use bgp::wire::{AsPath, Attributes, Family, NextHop, Nlri, Segment, Update};
use proptest::collection::vec;
use proptest::prelude::*;
use rustbgpd_wire::{ErrorDisposition, Ipv4UnicastMode, Message, UpdateMessage, decode_message, encode_message};

use crate::bytes::{AS_PATH, NEXT_HOP, ORIGIN, ROUTE, attribute, update};
use crate::round_trip::{attributes, messages, prefix, terms};

/// The same message, read, understood and written again by rustbgpd-wire.
fn through_rustbgpd(mut bytes: &[u8]) -> Vec<u8> {
    let mut written = Vec::new();
    while !bytes.is_empty() {
        let length = usize::from(u16::from_be_bytes([bytes[16], bytes[17]]));
        let (one, rest) = bytes.split_at(length);
        let message = decode_message(&mut bytes::Bytes::copy_from_slice(one), 4096).unwrap();
        let Message::Update(update) = message else { panic!("{message:?}") };
        let read = update.parse(true, false, &[]).unwrap_or_else(|error| panic!("refused {one:02x?}: {error}"));
        let built = UpdateMessage::build(
            &read.announced,
            &read.withdrawn,
            &read.attributes,
            true,
            false,
            Ipv4UnicastMode::Body,
        );
        written.extend_from_slice(&encode_message(&Message::Update(built)).unwrap());
        bytes = rest;
    }
    written
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rustbgpd_reads_our_updates_as_we_mean_them(
        attributes in attributes(), six: bool, routes in vec((prefix(Family::IPV4), prefix(Family::IPV6)), 1..8),
    ) {
        let family = if six { Family::IPV6 } else { Family::IPV4 };
        let (terms, of) = terms(family, (false, false, false));
        let hop = if six { NextHop::V6("2001:db8::1".parse().unwrap(), None) } else { NextHop::V4(Ipv4Addr::new(192, 0, 2, 1)) };
        // It writes no sets (RFC 9774), and each large community once.
        let as_path = AsPath { segments: attributes.as_path.segments.into_iter().filter(|it| matches!(it, Segment::Sequence(_))).collect() };
        let attributes = Attributes { pmsi_tunnel: None, as_path, ..attributes };
        let mut bytes = Vec::new();
        let listed = routes.iter().map(|(four, other)| (0, Nlri::Prefix(if six { *other } else { *four })));
        Sheet::new(&attributes, hop, of, &terms).announce(listed, &mut bytes).unwrap();
        let written = through_rustbgpd(&bytes);
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        messages(&bytes, &terms, |update| ours.push(crate::other_codecs::spelled(&update)));
        messages(&written, &terms, |update| theirs.push(crate::other_codecs::spelled(&update)));
        prop_assert_eq!(ours, theirs);
    }
}

/// What becomes of an UPDATE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Taken,
    Discarded,
    Withdrawn,
    Reset,
}

fn ours(body: &[u8], terms: &Terms) -> Verdict {
    match Update::decode(body, terms) {
        Err(_) => Verdict::Reset,
        Ok(update) if update.announced().next().is_none() => Verdict::Withdrawn,
        Ok(update) if update.faults.is_empty() => Verdict::Taken,
        Ok(_) => Verdict::Discarded,
    }
}

fn theirs(body: &[u8], internal: bool) -> Verdict {
    let mut bytes = bytes::Bytes::copy_from_slice(body);
    let Ok(update) = UpdateMessage::decode(&mut bytes, body.len()) else { return Verdict::Reset };
    let Ok(read) = update.parse_revised(true, internal, false, &[]) else { return Verdict::Reset };
    let worst = read.malformed.iter().map(|one| match one.disposition {
        ErrorDisposition::AttributeDiscard => Verdict::Discarded,
        ErrorDisposition::TreatAsWithdraw => Verdict::Withdrawn,
        ErrorDisposition::SessionReset => Verdict::Reset,
    });
    worst.max().unwrap_or(Verdict::Taken)
}

/// Attributes that both know, with all flags and lengths that there are and some contents. What neither knows, or one alone, each carries or refuses in
/// its own way.
#[test]
fn rustbgpd_and_we_judge_alike_what_is_malformed() {
    let known = (1..=10).chain([16, 23, 25, 32, 35, 40]);
    let neighbours = [Neighbour::Internal, Neighbour::External(None)];
    for (kind, neighbour) in known.flat_map(|kind| neighbours.map(|neighbour| (kind, neighbour))) {
        let terms = Terms { neighbour, ..crate::bytes::terms() };
        let rest: Vec<&[u8]> = [ORIGIN, AS_PATH, NEXT_HOP].into_iter().filter(|bytes| bytes[1] != kind).collect();
        // The bit Partial where it has no business is no fault to RFC 7606 section 3 (c), nor to ours; theirs takes it for one.
        let flags = [0x00, 0x40, 0x80, 0xc0, 0xe0];
        for (flags, fill) in flags.into_iter().flat_map(|flags| [0, 1, 2, 0xff].map(|fill| (flags, fill))) {
            for length in 0..=40 {
                // A next hop that is no host's (RFC 4271 section 6.3): ours takes none, theirs leaves it to whoever uses it.
                if kind == 3 && length == 4 && [0, 0xff].contains(&fill) {
                    continue;
                }
                // What belongs inside an AS is thrown away unread (RFC 7606 sections 7.5, 7.9, 7.10; RFC 8669 section 4), which theirs counts as a fault.
                if neighbour != Neighbour::Internal && [5, 9, 10, 40].contains(&kind) {
                    continue;
                }
                let one = attribute(flags, kind, &vec![fill; length]);
                let body = update(&[&rest.concat(), &one], ROUTE);
                let verdicts = (ours(&body, &terms), theirs(&body, neighbour == Neighbour::Internal));
                assert_eq!(verdicts.0, verdicts.1, "{neighbour:?}: {}", format_args!("{one:02x?}"));
            }
        }
    }
}
