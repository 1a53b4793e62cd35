//! Bodies of UPDATE in several terms, which the first byte chooses; what is taken is encoded and means the same.
#![no_main]
#![forbid(unsafe_code)]

use bgp::wire::terms::{AsWidth, Neighbour, NextHops, PathIds};
use bgp::wire::update::encode_attributes;
use bgp::wire::{Attributes, Terms, Update};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, body)) = bytes.split_first() else { return };
    let canonical = Terms::canonical();
    let mut terms = canonical.clone();
    terms.width = if choice & 1 == 0 { AsWidth::Four } else { AsWidth::Two };
    terms.neighbour = if choice & 2 == 0 { Neighbour::Internal } else { Neighbour::External(None) };
    for family in &mut terms.families {
        family.receive = if choice & 4 == 0 { PathIds::Absent } else { PathIds::Present };
        family.next_hops = if choice & 8 == 0 { NextHops::OfFamily } else { NextHops::AlsoIpv6 };
    }
    let Ok(update) = Update::decode(body, &terms) else { return };
    let mut kept = Vec::new();
    encode_attributes(&update.attributes, Some([192, 0, 2, 1].into()), AsWidth::Four, &mut kept);
    let Ok(length) = u16::try_from(kept.len()) else { return };
    let body = [&[0, 0][..], &length.to_be_bytes(), &kept, &[24, 198, 51, 100]].concat();
    let again = Update::decode(&body, &canonical).expect("our own bytes");
    assert!(again.faults.is_empty());
    let partial = again.attributes.partial;
    assert_eq!(again.attributes, Attributes { partial, ..update.attributes.clone() });
});
