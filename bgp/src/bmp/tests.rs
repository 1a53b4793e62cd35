//! Messages byte by byte, as RFC 7854 draws them.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::wire::header::frame;
use crate::wire::{Kind, Notification};

fn header() -> PeerHeader {
    PeerHeader {
        view: View::Peer { address: Ipv4Addr::new(192, 0, 2, 1).into(), width: AsWidth::Four },
        asn: 65_001,
        identifier: Ipv4Addr::new(10, 0, 0, 1),
        at: Duration::new(0x0102_0304, 5_000),
    }
}

/// Version, length, type, and what follows; the length is that of the whole.
fn body(message: &[u8], number: u8) -> &[u8] {
    assert_eq!((message[0], message[5]), (3, number));
    assert_eq!(u32::from_be_bytes(message[1..5].try_into().unwrap()) as usize, message.len());
    &message[6..]
}

const HEADER: [u8; 42] = [
    0, 0, // peer type, flags
    0, 0, 0, 0, 0, 0, 0, 0, // distinguisher
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 192, 0, 2, 1, // address
    0, 0, 0xfd, 0xe9, // AS
    10, 0, 0, 1, // identifier
    1, 2, 3, 4, 0, 0, 0, 5, // seconds, microseconds
];

#[test]
fn routes_stand_behind_the_header_of_their_peer() {
    let update = [0xff; 23];
    let message = route_monitoring(&header(), &update);
    let body = body(&message, 0);
    assert_eq!(body[..42], HEADER);
    assert_eq!(body[42..], update);
}

#[test]
fn flags_say_what_the_address_and_the_as_numbers_are() {
    let view = View::Peer { address: "2001:db8::1".parse().unwrap(), width: AsWidth::Two };
    let message = route_monitoring(&PeerHeader { view, ..header() }, &[]);
    assert_eq!(message[6..8], [0, 0xa0]);
    assert_eq!(message[16..20], [0x20, 1, 0xd, 0xb8]);
}

#[test]
fn a_session_is_told_with_its_ends_and_both_opens() {
    let ends = ("192.0.2.9:179".parse().unwrap(), "192.0.2.1:40000".parse().unwrap());
    let message = peer_up(&header(), ends, [b"ours", b"theirs"]);
    let body = body(&message, 3);
    assert_eq!(body[42..58], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 192, 0, 2, 9]);
    assert_eq!(body[58..62], [0, 179, 0x9c, 0x40]);
    assert_eq!(&body[62..], b"ourstheirs");
}

#[test]
fn the_chosen_routes_have_a_peer_of_their_own() {
    let message = table_up(&PeerHeader { view: View::Chosen, ..header() });
    let body = body(&message, 3);
    assert_eq!(body[..26], [3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let opens = &body[62..];
    let first = frame(opens, crate::wire::MessageLimit::Standard).unwrap().unwrap();
    assert_eq!(first.kind, Kind::Open);
    let open = Open::decode(first.body).unwrap();
    assert_eq!((open.asn, open.capabilities.len()), (65_001, Family::ALL.len() + 2));
    assert_eq!(opens[first.length * 2..], [0, 3, 0, 4, b'm', b'a', b'i', b'n']);
}

#[test]
fn each_end_has_its_reason() {
    let notification = message::notification(&Notification::new(6, 2));
    for (end, reason, rest) in [
        (End::Said(notification.clone()), 1, notification.clone()),
        (End::Heard(notification.clone()), 3, notification),
        (End::Closed, 4, Vec::new()),
        (End::Forgotten, 5, Vec::new()),
    ] {
        let message = peer_down(&header(), &end);
        let body = body(&message, 2);
        assert_eq!((body[42], &body[43..]), (reason, rest.as_slice()));
    }
}

#[test]
fn numbers_are_counted_and_typed() {
    let message = statistics(&header(), &[Statistic::RoutesIn(7), Statistic::RoutesChosen(9)]);
    let body = body(&message, 1);
    assert_eq!(body[42..46], [0, 0, 0, 2]);
    assert_eq!(body[46..58], [0, 7, 0, 8, 0, 0, 0, 0, 0, 0, 0, 7]);
    assert_eq!(body[58..70], [0, 8, 0, 8, 0, 0, 0, 0, 0, 0, 0, 9]);
}

#[test]
fn a_name_is_cut_between_characters() {
    let message = initiation(&"ü".repeat(200), "towpathd");
    let body = body(&message, 4);
    assert_eq!(body[..12], [0, 1, 0, 8, b't', b'o', b'w', b'p', b'a', b't', b'h', b'd']);
    assert_eq!(body[12..16], [0, 2, 0, 254]);
    assert_eq!(body.len(), 16 + 254);
    assert_eq!(termination(), [3, 0, 0, 0, 12, 5, 0, 1, 0, 2, 0, 0]);
}

#[test]
fn what_a_peer_is_told_has_flags_of_its_own() {
    let told = |stage| route_monitoring(&header().told(stage), &[]);
    // After the common header: the peer's type and its flags.
    let [before, after] = [Stage::BeforePolicy, Stage::AfterPolicy].map(told);
    let plain = route_monitoring(&header(), &[]);
    assert_eq!((before[7] ^ plain[7], after[7] ^ plain[7]), (0x10, 0x50));
    assert_eq!((&before[8..44], &after[8..44]), (&plain[8..44], &plain[8..44]));
    let chosen = PeerHeader { view: View::Chosen, ..header() };
    assert_eq!(chosen.told(Stage::AfterPolicy), chosen);
    let numbers = statistics(&header(), &[Statistic::RoutesOut(5)]);
    assert!(numbers.ends_with(&[0, 15, 0, 8, 0, 0, 0, 0, 0, 0, 0, 5]));
}
