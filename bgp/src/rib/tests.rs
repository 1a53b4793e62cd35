//! Routes through import, decision and export, seen by mirrors: peers that believe what they are told and are compared with what is true.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::IpNet;

use super::explain::Outcome;
use super::export::{HopRule, Hops};
use super::membership::RefreshMarks;
use super::*;
use crate::policy::Policy;
use crate::wire::capability::Role;
use crate::wire::header::frame;
use crate::wire::packing::{Sheet, withdraw};
use crate::wire::terms::{FamilyTerms, PathIds, Terms};
use crate::wire::{AsPath, Attributes, Community, Family, Message, NextHop, Nlri};

mod evpn;
mod mirror;
mod overtaking;
mod rules;

pub(super) const ASN: u32 = 64512;

pub(super) fn rib() -> Rib {
    Rib::new(Settings {
        asn: ASN,
        identifier: [10, 0, 0, 100].into(),
        cluster: [10, 0, 0, 100].into(),
        preferences: Preferences::default(),
        seed: 7,
    })
}

pub(super) fn source(peer: u16, relation: Relation) -> Source {
    let last = u8::try_from(peer).unwrap();
    Source {
        relation,
        asn: if relation == Relation::External { 65000 + u32::from(peer) } else { ASN },
        identifier: [10, 0, 0, last].into(),
        address: Ipv4Addr::new(10, 0, 0, last).into(),
        role: None,
        own_addresses: vec![Ipv4Addr::new(10, 0, 0, 100).into()],
        import: Arc::new(Policy::accept()),
    }
}

pub(super) fn terms(relation: Relation, path_ids: PathIds) -> GroupTerms {
    let family = FamilyTerms { send: path_ids, receive: path_ids, ..FamilyTerms::plain(Family::IPV4) };
    GroupTerms {
        relation,
        role: None,
        wire: Terms { families: vec![family], limit: crate::wire::MessageLimit::Standard, ..Terms::canonical() },
        family,
        hops: Hops {
            v4: Some([10, 0, 0, 100].into()),
            v6: None,
            rule: if relation.is_external() { HopRule::Own } else { HopRule::Keep },
        },
        policy: Arc::new(Policy::accept()),
        long_lived: false,
        most_paths: if path_ids == PathIds::Present { 16 } else { 1 },
    }
}

pub(super) fn path(peer: u16) -> Attributes {
    Attributes { as_path: AsPath::sequence(vec![65000 + u32::from(peer), 9]), ..Attributes::default() }
}

pub(super) fn net(number: usize) -> IpNet {
    let [a, b] = u16::try_from(number).unwrap().to_be_bytes();
    format!("20.{a}.{b}.0/24").parse().unwrap()
}

/// A peer announces or withdraws, by bytes as they would come.
pub(super) fn say(rib: &mut Rib, peer: u16, what: Option<&Attributes>, nets: &[IpNet]) -> usize {
    let family = FamilyTerms::plain(Family::IPV4);
    let terms = Terms { families: vec![family], ..Terms::canonical() };
    let listed = || nets.iter().map(|net| (0, Nlri::Prefix(*net)));
    let hop = NextHop::V4([10, 0, 0, u8::try_from(peer).unwrap()].into());
    let mut bytes = Vec::new();
    match what {
        Some(attributes) => Sheet::new(attributes, hop, family, &terms).announce(listed(), &mut bytes).unwrap(),
        None => withdraw(family, &terms, listed(), &mut bytes),
    }
    let (mut rest, mut rejected) = (&bytes[..], 0);
    while let Some(frame) = frame(rest, terms.limit).unwrap() {
        let Message::Update(update) = Message::decode(&frame, &terms).unwrap() else { panic!("no UPDATE") };
        rejected += rib.update(PeerId(peer), &update);
        rest = &rest[frame.length..];
    }
    rejected
}

pub(super) fn settle(rib: &mut Rib) -> Vec<Change> {
    let mut changes = Vec::new();
    while rib.flush(&mut changes) {}
    changes
}
