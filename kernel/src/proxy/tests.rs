//! What is done to packets, without a device or a socket.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::icmp::unreachable;
use super::merge::{Joins, Merger};
use super::offload::{Division, LENGTH, Offload};
use super::packet::{ADDRESSES, CHECKSUM, Header, ICMP, LEAST, Sum, TCP, UDP, age, number, put, sign};
use super::segment::{complete, segments};
use super::table::Table;

const FROM: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 2);
const TO: Ipv4Addr = Ipv4Addr::new(10, 1, 2, 9);

/// A packet with right checksums.
fn packet(protocol: u8, (sequence, flags): (u32, u8), payload: &[u8]) -> Vec<u8> {
    let header = if protocol == TCP { 32 } else { 8 };
    let total = LEAST + header + payload.len();
    let mut packet = vec![0; LEAST + header];
    packet[0] = 0x45;
    put(&mut packet, 2..4, (total as u16).to_be_bytes());
    put(&mut packet, 4..6, [0x12, 0xff]);
    put(&mut packet, 6..8, [0x40, 0]);
    packet[8] = 64;
    packet[9] = protocol;
    packet[12..16].copy_from_slice(&FROM.octets());
    packet[16..20].copy_from_slice(&TO.octets());
    packet[20..24].copy_from_slice(&[0x80, 0x01, 0x1f, 0x90]);
    if protocol == TCP {
        packet[24..28].copy_from_slice(&sequence.to_be_bytes());
        packet[28..32].copy_from_slice(&77_u32.to_be_bytes());
        packet[32] = 8 << 4;
        packet[33] = flags;
        packet[40..52].copy_from_slice(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
    } else {
        put(&mut packet, 24..26, ((total - LEAST) as u16).to_be_bytes());
    }
    packet.extend_from_slice(payload);
    sign(&mut packet[..LEAST]);
    let place = if protocol == TCP { 36..38 } else { 26..28 };
    let sum = Sum::of_pseudo_header(&packet[ADDRESSES], protocol, (total - LEAST) as u16).add(&packet[LEAST..]);
    put(&mut packet, place, sum.checksum());
    packet
}

fn is_right(packet: &[u8]) -> bool {
    let header = Header::read(packet).expect("a packet");
    let inner = &packet[header.length..header.total];
    let pseudo = Sum::of_pseudo_header(&packet[ADDRESSES], header.protocol, inner.len() as u16);
    Sum::default().add(&packet[..header.length]).is_right() && pseudo.add(inner).is_right()
}

/// What the device would get: each packet with its offload.
fn merged(packets: &[Vec<u8>], joins: Joins) -> Vec<(Offload, Vec<u8>)> {
    let mut buffer = packets.concat();
    let mut merger = Merger::new(joins);
    let mut at = 0;
    for packet in packets {
        let header = Header::read(packet).expect("a packet");
        merger.add(&buffer, at..at + header.total, &header);
        at += packet.len();
    }
    let mut written = Vec::new();
    merger.write(&mut buffer, |pieces| {
        let all: Vec<u8> = pieces.iter().flat_map(|piece| piece.to_vec()).collect();
        let (head, packet) = all.split_first_chunk::<LENGTH>().unwrap();
        written.push((Offload::read(head).unwrap(), packet.to_vec()));
    });
    written
}

/// What a peer would get of it.
fn divided((offload, packet): &(Offload, Vec<u8>)) -> Vec<Vec<u8>> {
    if offload.division == Division::Whole {
        return vec![packet.clone()];
    }
    let (mut heads, mut places) = (Vec::new(), Vec::new());
    segments(offload, packet, &mut heads, |head, body| places.push((head, body)));
    places.into_iter().map(|(head, body)| [&heads[head], &packet[body]].concat()).collect()
}

#[test]
fn a_long_tcp_packet_becomes_segments_as_a_network_card_makes_them() {
    let payload: Vec<u8> = (0..3500_u32).map(|n| n as u8).collect();
    // CWR, ACK, PSH and FIN.
    let long = packet(TCP, (u32::MAX - 999, 0x80 | 0x10 | 0x08 | 0x01), &payload);
    let offload = Offload { division: Division::Tcp(1000), checksum: Some((20, 16)) };
    let pieces = divided(&(offload, long));
    assert_eq!(pieces.iter().map(|piece| piece.len() - 52).collect::<Vec<_>>(), [1000, 1000, 1000, 500]);
    assert!(pieces.iter().all(|piece| is_right(piece)));
    let sequences: Vec<_> = pieces.iter().map(|piece| u32::from_be_bytes(piece[24..28].try_into().unwrap())).collect();
    assert_eq!(sequences, [u32::MAX - 999, 0, 1000, 2000]);
    assert_eq!(pieces.iter().map(|piece| piece[33]).collect::<Vec<_>>(), [0x90, 0x10, 0x10, 0x19]);
    assert_eq!(pieces.iter().map(|piece| number(piece, 4..6)).collect::<Vec<_>>(), [0x12ff, 0x1300, 0x1301, 0x1302]);
    assert_eq!(pieces.iter().flat_map(|piece| piece[52..].to_vec()).collect::<Vec<_>>(), payload);
}

#[test]
fn a_checksum_left_to_the_device_is_completed() {
    for (protocol, place) in [(TCP, 16), (UDP, 6)] {
        let whole = packet(protocol, (5, 0x10), b"some payload");
        let mut left = whole.clone();
        let inside = (whole.len() - LEAST) as u16;
        let partial = Sum::of_pseudo_header(&whole[ADDRESSES], protocol, inside).partial();
        put(&mut left, LEAST + place..LEAST + place + 2, partial);
        complete(&Offload { division: Division::Whole, checksum: Some((20, place as u16)) }, &mut left);
        assert_eq!(left, whole);
    }
}

#[test]
fn the_time_to_live_ends_at_one_and_the_checksum_follows() {
    let mut packet = packet(UDP, (0, 0), b"x");
    for left in (1..64).rev() {
        assert!(age(&mut packet));
        assert_eq!(packet[8], left);
        assert!(Sum::default().add(&packet[..LEAST]).is_right());
    }
    assert!(!age(&mut packet));
    // flannel's own counts 0 down to 255: a packet would go round for ever.
    packet[8] = 0;
    assert!(!age(&mut packet) && !age(&mut []));
    // The sum that carries over (RFC 1624).
    packet[8] = 64;
    for identification in 0..=u16::MAX {
        put(&mut packet, 4..6, identification.to_be_bytes());
        packet[8] = 64;
        sign(&mut packet[..LEAST]);
        assert!(age(&mut packet) && Sum::default().add(&packet[..LEAST]).is_right(), "{identification:x}");
    }
}

#[test]
fn packets_of_a_flow_are_joined_and_come_apart_as_they_were() {
    let stream: Vec<_> = (0..40).map(|n| packet(TCP, (1000 + n * 100, 0x10), &[n as u8; 100])).collect();
    let written = merged(&stream, Joins::Tcp);
    assert_eq!((written.len(), written[0].0.division), (1, Division::Tcp(100)));
    assert_eq!(written[0].0.checksum, Some((20, 16)));
    let apart = divided(&written[0]);
    assert_eq!(apart.len(), 40);
    for (before, after) in stream.iter().zip(&apart) {
        assert!(is_right(after));
        assert_eq!((&before[20..36], &before[38..]), (&after[20..36], &after[38..]));
    }
    let datagrams: Vec<_> = (0..100).map(|n| packet(UDP, (0, 0), &[n; 64])).collect();
    let written = merged(&datagrams, Joins::TcpAndUdp);
    assert_eq!(written.len(), 2, "64 and 36");
    assert_eq!(merged(&datagrams, Joins::Tcp).len(), 100, "an older kernel takes no long UDP packets");
    let apart: Vec<_> = written.iter().flat_map(divided).collect();
    assert_eq!(
        apart.iter().map(|packet| packet[28..].to_vec()).collect::<Vec<_>>(),
        datagrams.iter().map(|packet| packet[28..].to_vec()).collect::<Vec<_>>()
    );
}

#[test]
fn what_differs_is_not_joined_and_the_order_within_a_flow_stays() {
    let next = |sequence, flags| packet(TCP, (sequence, flags), &[7; 100]);
    let mut corrupt = next(1200, 0x10);
    corrupt[60] ^= 1;
    let mut fragment = next(1200, 0x10);
    put(&mut fragment, 6..8, [0x20, 0]);
    sign(&mut fragment[..LEAST]);
    let mut other_service = next(1200, 0x10);
    other_service[1] = 4;
    sign(&mut other_service[..LEAST]);
    for third in [corrupt, fragment, other_service, next(1300, 0x10), next(1200, 0x11), next(1200, 0x90)] {
        let stream = [next(1000, 0x10), next(1100, 0x10), third.clone(), next(1300, 0x10)];
        let written = merged(&stream, Joins::TcpAndUdp);
        let apart: Vec<_> = written.iter().flat_map(divided).collect();
        assert_eq!(written.len(), 3, "{third:?}");
        assert_eq!(
            apart.iter().map(|it| it[24..28].to_vec()).collect::<Vec<_>>(),
            stream.map(|it| it[24..28].to_vec())
        );
        assert_eq!(apart[2], third, "untouched");
    }
    // PSH ends what is joined, and is kept.
    let pushed = merged(&[next(1000, 0x10), next(1100, 0x18), next(1200, 0x10)], Joins::Tcp);
    assert_eq!((pushed.len(), pushed[0].1[33]), (2, 0x18));
}

#[test]
fn a_sender_is_told_of_a_packet_that_has_no_way_but_not_of_what_must_not_be_answered() {
    let told = unreachable(&packet(TCP, (9, 2), &[0; 500])).unwrap();
    let header = Header::read(&told).unwrap();
    assert_eq!((header.source, header.destination, header.protocol), (TO, FROM, ICMP));
    assert_eq!((told.len(), told[20], told[21]), (56, 3, 0));
    assert!(Sum::default().add(&told[..20]).is_right() && Sum::default().add(&told[20..]).is_right());
    let mut quiet = vec![packet(ICMP, (0, 0), b"x"); 4];
    quiet[1] = packet(UDP, (0, 0), b"x");
    put(&mut quiet[1], 6..8, [0, 9]);
    quiet[2] = packet(UDP, (0, 0), b"x");
    quiet[2][16] = 224;
    quiet[3] = packet(UDP, (0, 0), b"x");
    quiet[3][12] = 127;
    assert!(quiet.iter().all(|packet| unreachable(packet).is_none()));
}

#[test]
fn the_table_gives_each_address_its_peer() {
    let peer = |n| Ipv4Addr::new(192, 0, 2, n);
    let mut table = Table::default();
    for (subnet, whose) in [("10.1.2.0/24", Some(3)), ("10.1.1.0/24", Some(1)), ("10.1.3.0/25", Some(4))] {
        table.set(subnet.parse().unwrap(), whose.map(peer));
    }
    for (subnet, whose) in [("10.1.2.0/24", Some(2)), ("10.1.3.0/25", None), ("10.1.3.0/24", None)] {
        table.set(subnet.parse().unwrap(), whose.map(peer));
    }
    let found = |text: &str| table.peer(text.parse().unwrap());
    assert_eq!(
        (found("10.1.1.0"), found("10.1.1.255"), found("10.1.2.7")),
        (Some(peer(1)), Some(peer(1)), Some(peer(2)))
    );
    assert_eq!((found("10.1.0.255"), found("10.1.3.0"), found("255.255.255.255")), (None, None, None));
    assert_eq!(Table::default().peer(TO), None);
}

proptest! {
    /// Whatever the network or the kernel says, nothing panics, and nothing longer than a packet comes out.
    #[test]
    fn octets_of_any_kind_do_no_harm(
        mut octets in proptest::collection::vec(any::<u8>(), 0..200),
        mend in any::<bool>(),
        (kind, size, begin, place) in (0..7_u8, any::<u16>(), any::<u16>(), any::<u16>()),
    ) {
        if mend && octets.len() > LEAST {
            let total = octets.len() as u16;
            octets[0] = 0x45 + (octets[0] & 3);
            put(&mut octets, 2..4, total.to_be_bytes());
            octets[9] = [TCP, UDP, ICMP, 0][usize::from(octets[9] % 4)];
        }
        let [s0, s1] = size.to_ne_bytes();
        let [b0, b1] = begin.to_ne_bytes();
        let [p0, p1] = place.to_ne_bytes();
        let offload = Offload::read(&[1, kind, 0, 0, s0, s1, b0, b1, p0, p1]);
        let mut packet = octets.clone();
        age(&mut packet);
        unreachable(&packet);
        if let Some(offload) = offload {
            complete(&offload, &mut packet);
            let (mut heads, mut total) = (Vec::new(), 0);
            segments(&offload, &packet, &mut heads, |head, body| total += head.len() + body.len());
            prop_assert!(total <= packet.len() * 121);
        }
        if Header::read(&octets).is_some() {
            let written = merged(&[octets.clone(), octets], Joins::TcpAndUdp);
            prop_assert!(!written.is_empty());
        }
    }
}

#[test]
fn the_sum_of_odd_pieces_is_the_sum_of_their_words() {
    assert_eq!(Sum::default().add(&[0x12]).partial(), [0x12, 0]);
    assert_eq!(Sum::default().add(&[0xff; 65535]).checksum(), [0, 0xff]);
    assert_eq!(CHECKSUM, 10..12);
}
