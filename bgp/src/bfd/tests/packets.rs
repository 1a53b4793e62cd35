//! Packets as bytes: ours, everybody's and nobody's.

use proptest::prelude::*;

use super::*;

/// Ours, up, 3 × 50 ms, as other implementations write it.
const UP: [u8; 24] =
    [0x20, 0xc0, 3, 24, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0, 0, 0xc3, 0x50, 0, 0, 0xc3, 0x50, 0, 0, 0, 0];

fn changed(at: usize, byte: u8) -> Vec<u8> {
    let mut bytes = UP.to_vec();
    bytes[at] = byte;
    bytes
}

#[test]
fn a_packet_is_what_the_rfc_draws() {
    let packet = Packet::decode(&UP).unwrap();
    let expected = Packet {
        state: State::Up,
        multiplier: 3,
        my_discriminator: 0x1122_3344,
        your_discriminator: 0x5566_7788,
        transmit_us: 50_000,
        receive_us: 50_000,
        ..Packet::default()
    };
    assert_eq!(packet, expected);
    assert_eq!(packet.encode(), UP);
    let all = Packet::decode(&changed(1, 0x7a)).unwrap();
    assert_eq!((all.state, all.poll, all.is_final, all.independent, all.demand), (State::Down, true, true, true, true));
}

#[test]
fn each_check_of_6_8_6_discards_what_it_is_for() {
    let zero = |from: usize, bytes: &[u8]| [&bytes[..from], &[0; 4], &bytes[from + 4..]].concat();
    let long = [&changed(3, 25)[..], &[9]].concat();
    assert!(Packet::decode(&long).is_ok(), "what is longer than we know is read as far as we know it");
    for (bytes, why) in [
        (vec![], Discard::Length),
        (UP[..3].to_vec(), Discard::Length),
        (UP[..23].to_vec(), Discard::Length),
        (changed(3, 23), Discard::Length),
        (changed(3, 25), Discard::Length),
        (changed(0, 0x00), Discard::Version),
        (changed(0, 0x40), Discard::Version),
        (changed(2, 0), Discard::Multiplier),
        (changed(1, 0xc1), Discard::Multipoint),
        (zero(4, &UP), Discard::NoDiscriminator),
        (zero(8, &UP), Discard::Unaddressed),
        (zero(8, &changed(1, 0x80)), Discard::Unaddressed),
        // A bit set: 26 bytes at least, and then no authentication is in use.
        (changed(1, 0xc4), Discard::Length),
        ([&changed(1, 0xc4)[..3], &[28], &UP[4..], &[1, 4, 1, 65]].concat(), Discard::Authentication),
    ] {
        assert_eq!(Packet::decode(&bytes), Err(why), "{bytes:02x?}");
    }
    for state in [0x00, 0x40] {
        assert!(Packet::decode(&zero(8, &changed(1, state))).is_ok(), "who is down may not know us");
    }
}

/// A session that is up, and what its peer would say next.
fn up(hops: Hops) -> (Sessions, SessionId, Packet) {
    let mut ends = Sessions::new(5);
    let id = ends.add(path(0, hops), every(ms(50), 3), Duration::ZERO);
    let down =
        Packet { my_discriminator: 9, multiplier: 3, transmit_us: 50_000, receive_us: 50_000, ..Packet::default() };
    ends.receive(&arrival(0, hops), &down.encode(), Duration::ZERO);
    let up = Packet { state: State::Up, your_discriminator: id.0, ..down };
    ends.receive(&arrival(0, hops), &up.encode(), Duration::ZERO);
    assert_eq!(ends.status(id).unwrap().state, State::Up);
    assert_eq!(ends.discards(), Discards::default());
    (ends, id, up)
}

#[test]
fn forged_packets_do_nothing_and_are_counted() {
    let far = Hops::Many { least_ttl: 250 };
    let here = arrival(0, Hops::One);
    let there = arrival(0, far);
    let stranger = "198.51.100.1".parse().unwrap();
    let mut tried = 0;
    for (hops, came, yours, why) in [
        (Hops::One, Arrival { ttl: 254, ..here }, None, Discard::HopLimit),
        (Hops::One, Arrival { ttl: 254, ..here }, Some(0), Discard::HopLimit),
        (Hops::One, here, Some(4711), Discard::UnknownDiscriminator),
        (Hops::One, there, None, Discard::UnknownDiscriminator),
        (Hops::One, there, Some(0), Discard::UnknownPeer),
        (Hops::One, Arrival { source: stranger, ..here }, Some(0), Discard::UnknownPeer),
        (Hops::One, Arrival { link: 8, ..here }, Some(0), Discard::UnknownPeer),
        (far, Arrival { ttl: 249, ..there }, None, Discard::HopLimit),
        (far, Arrival { ttl: 249, ..there }, Some(0), Discard::HopLimit),
        (far, Arrival { source: stranger, ..there }, None, Discard::UnknownPeer),
        (far, here, None, Discard::UnknownDiscriminator),
        (far, there, Some(4711), Discard::UnknownDiscriminator),
    ] {
        let (mut ends, id, packet) = up(hops);
        let before = ends.status(id);
        let forged = Packet { state: State::Down, ..packet };
        let forged = Packet { your_discriminator: yours.unwrap_or(packet.your_discriminator), ..forged };
        ends.outputs().for_each(drop);
        ends.receive(&came, &forged.encode(), ms(1));
        assert_eq!(
            (ends.status(id), ends.discards().of(why), ends.outputs().count()),
            (before, 1, 0),
            "{came:?} {why}"
        );
        tried += 1;
    }
    assert_eq!(tried, 12);
}

#[test]
fn two_paths_to_one_address_are_told_apart() {
    let mut ends = Sessions::new(5);
    let by = |link: u32, hops: Hops| Path { link: Some(link), ..path(0, hops) };
    let far = Hops::Many { least_ttl: 1 };
    let ids = [by(7, Hops::One), by(8, Hops::One), by(7, far)].map(|path| ends.add(path, every(ms(50), 3), ms(0)));
    let down = Packet { my_discriminator: 9, multiplier: 3, receive_us: 1, ..Packet::default() }.encode();
    ends.receive(&Arrival { link: 8, ..arrival(0, Hops::One) }, &down, ms(1));
    ends.receive(&Arrival { ttl: 3, ..arrival(0, far) }, &down, ms(1));
    let states = ids.map(|id| ends.status(id).unwrap().state);
    assert_eq!(states, [State::Down, State::Init, State::Init]);
    ends.set_link(ids[0], Some(17));
    ends.receive(&Arrival { link: 17, ..arrival(0, Hops::One) }, &down, ms(1));
    assert_eq!(ends.status(ids[0]).unwrap().state, State::Init);
}

fn any_packet() -> impl Strategy<Value = Packet> {
    let numbers = (any::<u32>(), any::<u32>(), any::<u32>(), prop_oneof![Just(0), Just(1), any::<u32>()]);
    let bits = any::<(bool, bool, bool, bool)>();
    (0..32_u8, 0..4_u8, 1..=255_u8, numbers, bits).prop_map(|(diagnostic, state, multiplier, numbers, bits)| Packet {
        diagnostic: Diagnostic(diagnostic),
        state: State::of_bits(state),
        poll: bits.0,
        is_final: bits.1,
        independent: bits.2,
        demand: bits.3,
        multiplier,
        my_discriminator: numbers.0.max(1),
        your_discriminator: numbers.1.max(1),
        transmit_us: numbers.2,
        receive_us: numbers.3,
        echo_us: numbers.1,
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read(packet in any_packet()) {
        prop_assert_eq!(Packet::decode(&packet.encode()), Ok(packet));
    }

    #[test]
    fn any_bytes_end_in_a_packet_or_a_reason(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(packet) = Packet::decode(&bytes) {
            prop_assert_eq!(Packet::decode(&packet.encode()), Ok(packet));
        }
    }

    /// Whatever a peer says, and whenever: one answer a packet, nothing is due for ever, and we never send faster than we want.
    #[test]
    fn no_peer_makes_a_session_do_more_than_it_should(
        packets in proptest::collection::vec((any_packet(), 0..3_u8, 0..200_u64), 1..60),
    ) {
        let mut ends = Sessions::new(3);
        let id = ends.add(path(0, Hops::One), every(ms(50), 3), Duration::ZERO);
        let mut now = Duration::ZERO;
        for (packet, yours, pause) in packets {
            ends.tick(now);
            prop_assert!(ends.deadline().is_none_or(|at| at > now));
            ends.outputs().for_each(drop);
            let your_discriminator = [0, id.0, packet.your_discriminator][usize::from(yours)];
            ends.receive(&arrival(0, Hops::One), &Packet { your_discriminator, ..packet }.encode(), now);
            let sent = ends.outputs().filter(|it| matches!(it, Output::Send(..))).count();
            prop_assert!(sent <= 1);
            let end = now + ms(pause);
            let mut periodic = 0;
            while let Some(at) = ends.deadline().filter(|at| *at <= end) {
                ends.tick(at);
                periodic += ends.outputs().filter(|it| matches!(it, Output::Send(..))).count();
            }
            prop_assert!(periodic <= pause as usize / 37 + 2);
            now = end;
        }
    }
}
