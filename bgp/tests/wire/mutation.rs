//! Mutated messages, without coverage and with a seed: what libFuzzer does better (`fuzz/`), but on every toolchain and in every run.
//! Also everything that libFuzzer kept.
//!
//! `BGP_MUTATIONS=100000000 cargo test --release -p bgp --test wire mutation` looks for longer.

use bgp::wire::header::{HEADER_BYTES, frame};
use bgp::wire::packing::Sheet;
use bgp::wire::terms::{Neighbour, Terms};
use bgp::wire::{AsPath, Community, LargeCommunity, Update};
use bgp::wire::{
    Attributes, Capability, Family, Message, MessageLimit, NextHop, Nlri, Notification, Open, Refresh, message,
};

use crate::bytes::*;

/// A sequence of numbers that is the same in every run (xorshift, Marsaglia 2003).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// Whole messages of every kind, with every attribute, from which mutation starts.
fn seeds() -> Vec<Vec<u8>> {
    let attributes = Attributes {
        as_path: AsPath::sequence(vec![PEER, 65551, 3]),
        med: Some(1),
        local_pref: Some(100),
        communities: vec![Community::NO_EXPORT, Community(1)],
        clusters: vec![[1, 1, 1, 1].into()],
        originator: Some([2, 2, 2, 2].into()),
        large: vec![LargeCommunity { administrator: 1, data: [2, 3] }],
        only_to_customer: Some(PEER),
        ..Attributes::default()
    };
    let net = |text: &str| (7, Nlri::Prefix(text.parse().unwrap()));
    let (four, six) = ([net("10.0.0.0/8"), net("192.0.2.1/32")], [net("2001:db8::/32"), net("::/0")]);
    let hop = NextHop::V6(NEXT_HOP_V6.into(), Some("fe80::1".parse().unwrap()));
    let mut seeds = vec![message::keepalive(), message::notification(&Notification::cease(2, "maintenance"))];
    for terms in [terms(), with_path_ids(), with_extended_next_hops()] {
        let sheet = |hop, at: usize| Sheet::new(&attributes, hop, terms.families[at], &terms);
        for (sheet, routes) in
            [(sheet(NextHop::V4([192, 0, 2, 1].into()), 0), four), (sheet(hop, 0), four), (sheet(hop, 1), six)]
        {
            let mut out = Vec::new();
            sheet.announce(routes.into_iter(), &mut out).unwrap();
            seeds.push(out);
        }
    }
    let evpn = [&[2, 33][..], &[0; 22], &[48, 1, 2, 3, 4, 5, 6, 0, 0, 0, 9]].concat();
    for body in [
        update(&[ORIGIN, AS_PATH, &mp_reach(Family::EVPN, &[192, 0, 2, 1], &evpn)], &[]),
        body(ROUTE, &mp_unreach(Family::IPV6, &[32, 0x20, 1, 0xd, 0xb8]), &[]),
        with(&[
            &attribute(0xc0, 23, &[0, 8, 0, 1, 1]),
            &attribute(0xc0, 40, &[1, 0, 1, 1]),
            &attribute(0xc0, 128, &[0, 0, 0, 9]),
        ]),
        with(&[
            &attribute(0xc0, 17, &[2, 1, 0, 1, 0, 0]),
            &attribute(0xc0, 18, &[0, 1, 0, 0, 9, 9, 9, 9]),
            &attribute(0xc0, 22, &[0, 6, 0, 0, 9, 1, 2, 3, 4]),
        ]),
    ] {
        let mut out = Vec::new();
        message::write(bgp::wire::Kind::Update, &mut out, |out| out.extend_from_slice(&body));
        seeds.push(out);
    }
    let capabilities = (0..=80).map(|code| Capability::Unknown(code, vec![0, 1, 0, 1])).collect();
    seeds.push(message::open(&Open { asn: 65551, hold_secs: 90, identifier: [1, 2, 3, 4].into(), capabilities }));
    let few = vec![Capability::MultiProtocol(Family::IPV6), Capability::FourOctetAs(65551), Capability::RouteRefresh];
    seeds.push(message::open(&Open { asn: 65551, hold_secs: 90, identifier: [1, 2, 3, 4].into(), capabilities: few }));
    seeds.push([&[0xff; 16][..], &[0, 23, 5, 0, 1, 0, 1]].concat());
    seeds
}

/// Everything that can be asked of the bytes of one message, in every kind of terms.
fn look(bytes: &[u8], all_terms: &[Terms]) {
    for terms in all_terms {
        let Ok(Some(frame)) = frame(bytes, terms.limit) else { continue };
        match Message::decode(&frame, terms) {
            Ok(Message::Update(update)) => look_at_update(&update, bytes),
            Ok(Message::Open(open)) => assert!(message::open(&open).len() > HEADER_BYTES),
            Ok(Message::Notification(notification)) => assert!(!notification.to_string().is_empty()),
            Ok(Message::Keepalive | Message::Refresh(_)) => {}
            Err(error) => assert!((1..=7).contains(&error.code), "{error:?}"),
        }
    }
}

fn look_at_update(update: &Update<'_>, bytes: &[u8]) {
    let routes =
        update.announced().flat_map(|(_, list)| list.iter()).chain(update.withdrawn().flat_map(|list| list.iter()));
    assert!(routes.count() <= bytes.len());
    assert!(update.faults.iter().map(|fault| fault.data.len()).sum::<usize>() <= 2 * bytes.len());
    // What was taken can be kept and sent: canonical bytes mean the same.
    let canonical = Terms::canonical();
    let mut kept = Vec::new();
    bgp::wire::update::encode_attributes(&update.attributes, Some([192, 0, 2, 1].into()), canonical.width, &mut kept);
    let Ok(length) = u16::try_from(kept.len()) else { return };
    let body = [&[0, 0][..], &length.to_be_bytes(), &kept, ROUTE].concat();
    let again = Update::decode(&body, &canonical).unwrap();
    assert_eq!(again.faults, [], "{:?}", update.attributes);
    let partial = again.attributes.partial;
    assert_eq!(again.attributes, Attributes { partial, ..update.attributes.clone() });
}

fn all_terms() -> Vec<Terms> {
    let old = Terms { width: bgp::wire::AsWidth::Two, limit: MessageLimit::Extended, ..terms() };
    let inside = Terms { neighbour: Neighbour::Internal, ..with_extended_next_hops() };
    vec![terms(), with_path_ids(), old, inside, Terms::canonical()]
}

fn mutate(seed: &[u8], other: &[u8], dice: &mut Dice) -> Vec<u8> {
    const BOUNDARIES: [u8; 12] = [0, 1, 2, 3, 4, 0x0f, 0x10, 0x40, 0x7f, 0x80, 0xfe, 0xff];
    let mut bytes = seed.to_vec();
    for _ in 0..=dice.below(3) {
        let at = HEADER_BYTES + dice.below(bytes.len().saturating_sub(HEADER_BYTES));
        let at = at.min(bytes.len());
        match dice.below(7) {
            0 => bytes.truncate(at.max(HEADER_BYTES)),
            1 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
            2 if at < bytes.len() => bytes[at] = BOUNDARIES[dice.below(BOUNDARIES.len())],
            3 => bytes.insert(at, dice.next() as u8),
            4 if at < bytes.len() => drop(bytes.remove(at)),
            5 => {
                let from = dice.below(other.len());
                let to = from + dice.below(other.len() - from).min(40);
                bytes.splice(at..at, other[from..to].iter().copied());
            }
            _ if at < bytes.len() => bytes[at] = dice.next() as u8,
            _ => {}
        }
    }
    // Mostly with the length that it has, or nothing behind the header would be seen.
    if dice.below(20) != 0 && bytes.len() >= HEADER_BYTES {
        let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        bytes[16..18].copy_from_slice(&length.to_be_bytes());
    }
    bytes
}

#[test]
#[allow(clippy::disallowed_methods)] // how long to look is asked by who runs the test
fn mutated_messages_are_taken_or_refused() {
    let count = std::env::var("BGP_MUTATIONS").map_or(20_000, |count| count.parse().unwrap());
    let (seeds, terms, mut dice) = (seeds(), all_terms(), Dice(0x9e37_79b9_7f4a_7c15));
    seeds.iter().for_each(|seed| look(seed, &terms));
    for _ in 0..count {
        let (seed, other) = (&seeds[dice.below(seeds.len())], &seeds[dice.below(seeds.len())]);
        let bytes = mutate(seed, other, &mut dice);
        look(&bytes, &terms);
    }
}

#[test]
#[allow(clippy::disallowed_methods)] // the corpus is on disk
fn what_the_fuzzer_kept_is_taken_or_refused() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let (terms, mut seen) = (all_terms(), 0);
    for target in std::fs::read_dir(corpus).unwrap() {
        for file in std::fs::read_dir(target.unwrap().path()).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            look(&bytes, &terms);
            for terms in &terms {
                drop(Update::decode(&bytes, terms));
            }
            drop((Open::decode(&bytes), Refresh::decode(&bytes), Notification::decode(&bytes)));
            seen += 1;
        }
    }
    assert!(seen > 0, "the corpus is empty");
}
