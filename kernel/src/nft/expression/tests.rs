//! What is written comes back, and what is cut or altered is nothing of ours.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use proptest::prelude::*;

use super::*;
use crate::netlink::{Datagram, Header, Messages};

fn every_kind() -> Vec<Expression> {
    let payload = |base, offset, length| Expression::Payload { base, offset, length };
    vec![
        Expression::Meta(MetaKey::Mark),
        Expression::Meta(MetaKey::NfProto),
        Expression::Meta(MetaKey::L4Proto),
        payload(Base::Network, 12, 4),
        payload(Base::Transport, 2, 2),
        Expression::Mask(vec![255, 255, 254, 0]),
        Expression::equal(&[10, 244, 0, 0]),
        Expression::Compare { equal: false, value: vec![255] },
        Expression::FibDestinationType,
        Expression::Verdict(-5),
        Expression::Masquerade { flags: 0 },
        Expression::Masquerade { flags: 16 },
        Expression::NoTrack,
        Expression::Load(vec![192, 0, 2, 1]),
        Expression::SourceNat { family: 2, flags: 0 },
        Expression::SourceNat { family: 10, flags: 16 },
        Expression::RouteSegment,
        Expression::NetworkOrder,
        Expression::SegmentOption,
    ]
}

fn bytes(expression: &Expression) -> Vec<u8> {
    let mut datagram = Datagram::default();
    datagram.push(Header { kind: 0, flags: 0, sequence: 0 }, |body| expression.encode(body));
    Messages::new(datagram.bytes()).next().unwrap().body.to_vec()
}

#[test]
fn every_expression_comes_back_as_it_was_written() {
    for expression in every_kind() {
        assert_eq!(Expression::decode(Attributes::new(&bytes(&expression))), Some(expression));
    }
}

/// Cut short at any place it is unknown, but where what is cut is padding or the empty data of an expression
/// without options.
#[test]
fn an_expression_cut_short_is_never_another_one() {
    for expression in every_kind() {
        let whole = bytes(&expression);
        for length in 0..whole.len() {
            let read = Expression::decode(Attributes::new(&whole[..length]));
            let bare = matches!(expression, Expression::Masquerade { .. } | Expression::NoTrack);
            assert!(read.is_none() || read == Some(expression.clone()) || bare, "{expression:?} at {length}: {read:?}");
        }
    }
}

proptest! {
    #[test]
    fn any_octets_can_be_read(octets in proptest::collection::vec(any::<u8>(), 0..96)) {
        Expression::decode(Attributes::new(&octets));
    }

    #[test]
    fn an_expression_with_any_octet_altered_can_be_read(
        which in 0..19usize,
        at: prop::sample::Index,
        octet: u8,
    ) {
        let mut octets = bytes(&every_kind()[which]);
        let at = at.index(octets.len());
        octets[at] = octet;
        Expression::decode(Attributes::new(&octets));
    }
}
