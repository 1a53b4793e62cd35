//! What two ends do with each other as time passes.

use super::*;

/// RFC 5880 section 6.2's picture, written from it: our state down, what is received across; A, D, I, U.
const GRID: [(State, &str); 4] =
    [(State::AdminDown, "AAAA"), (State::Down, "DIUD"), (State::Init, "DIUU"), (State::Up, "DDUU")];

#[test]
fn every_state_and_received_state_leads_where_the_rfc_says() {
    for (state, cells) in GRID {
        for (received, cell) in State::ALL.into_iter().zip(cells.chars()) {
            let rows: Vec<_> =
                state::ROWS.iter().filter(|row| (row.state, row.received) == (state, received)).collect();
            assert_eq!(rows.len(), 1, "{state} {received}");
            assert_eq!(rows[0].next.to_string().chars().next(), Some(cell), "{state} {received}");
            let falls = rows[0].next == State::Down && state != State::Down;
            assert_eq!(rows[0].diagnostic, falls.then_some(Diagnostic::NEIGHBOUR_DOWN), "{state} {received}");
            assert_eq!(state::step(state, received), *rows[0]);
        }
    }
}

#[test]
fn both_come_up_and_take_the_slower_of_what_each_wants() {
    let slow = Settings { transmit_us: us(20_000), receive_us: us(80_000), multiplier: NonZeroU8::new(5).unwrap() };
    let mut wire = Wire::up([every(ms(50), 3), slow]);
    // 6.8.2: the greater of what one wants to send and the other takes; 6.8.4: by the multiplier of who sends.
    assert_eq!(wire.status(0).interval, Some(ms(80)));
    assert_eq!(wire.status(1).interval, Some(ms(50)));
    assert_eq!(wire.status(0).detection, Some(ms(250)));
    assert_eq!(wire.status(1).detection, Some(ms(240)));
    wire.run(Duration::from_secs(60));
    assert_eq!([wire.status(0).flaps, wire.status(1).flaps], [0, 0]);
}

#[test]
fn packets_are_jittered_as_the_rfc_asks_and_slow_until_up() {
    let mut wire = Wire::up([every(ms(100), 3), every(ms(100), 1)]);
    wire.run(Duration::from_secs(200));
    for (own, most) in [(0, 100), (1, 90)] {
        let pauses = wire.pauses(own);
        let (least, longest) = (pauses.iter().min().unwrap(), pauses.iter().max().unwrap());
        assert!(
            (ms(75)..ms(76)).contains(least) && (ms(most - 1)..=ms(most)).contains(longest),
            "{least:?} {longest:?}"
        );
    }
    let mut alone = Wire::new([every(ms(50), 3), every(ms(50), 3)]);
    alone.carries = [false; 2];
    alone.run(Duration::from_secs(20));
    assert!(alone.pauses(0).iter().all(|pause| (ms(750)..=ms(1000)).contains(pause)));
    assert!(alone.sent.iter().all(|(.., it)| it.transmit_us == 1_000_000 && it.your_discriminator == 0 && !it.poll));
}

#[test]
fn silence_is_noticed_when_the_detection_time_is_over_and_told_once() {
    let mut wire = Wire::up([every(ms(50), 3), every(ms(50), 3)]);
    wire.run(ms(500));
    wire.carries[1] = false;
    let last = wire.sent.iter().rfind(|(_, own, _)| *own == 1).unwrap().0;
    wire.run(last + ms(150) - wire.now - Duration::from_micros(1));
    assert_eq!(wire.status(0).state, State::Up);
    wire.run(Duration::from_micros(1));
    assert_eq!(wire.status(0).state, State::Down);
    wire.deliver();
    let down = Change::Down { diagnostic: Diagnostic::TIME_EXPIRED, theirs: Diagnostic::NONE, silence: ms(150) };
    assert_eq!(wire.told[0], [Change::Up, down]);
    // The other end hears that, at once.
    let down =
        Change::Down { diagnostic: Diagnostic::NEIGHBOUR_DOWN, theirs: Diagnostic::TIME_EXPIRED, silence: ms(0) };
    assert_eq!(wire.told[1], [Change::Up, down]);
    wire.run(Duration::from_secs(10));
    assert_eq!((wire.told[0].len(), wire.status(0).detection), (2, None));
    wire.carries[1] = true;
    wire.run(Duration::from_secs(3));
    assert_eq!(wire.told[0].last(), Some(&Change::Up));
    assert_eq!(wire.status(0).flaps, 1);
}

#[test]
fn who_is_late_itself_and_reads_before_it_judges_finds_nobody_missing() {
    let mut wire = Wire::up([every(ms(50), 3), every(ms(50), 3)]);
    wire.run(ms(500));
    let packet = wire.sent.iter().rfind(|(_, own, _)| *own == 1).unwrap().2;
    wire.now += Duration::from_secs(5);
    wire.ends[0].receive(&arrival(0, Hops::One), &packet.encode(), wire.now);
    wire.ends[0].tick(wire.now);
    assert_eq!(wire.status(0).state, State::Up);
    assert_eq!(wire.ends[0].outputs().filter(|it| matches!(it, Output::Send(..))).count(), 1, "no burst");
}

#[test]
fn intervals_change_both_ways_while_it_is_up() {
    let mut wire = Wire::up([every(ms(50), 3), every(ms(50), 3)]);
    wire.run(ms(500));
    // The peer hears us, and we do not hear its answer: we go on as it was told before (6.8.3).
    wire.carries[1] = false;
    let now = wire.now;
    wire.ends[0].configure(wire.ids[0], every(ms(400), 3), now);
    wire.run(ms(100));
    assert!(wire.status(0).polling);
    assert_eq!((wire.status(0).interval, wire.status(0).announced_us), (Some(ms(50)), (400_000, 400_000)));
    wire.carries[1] = true;
    wire.run(ms(500));
    assert!(!wire.status(0).polling);
    assert_eq!([wire.status(0).interval, wire.status(1).interval], [Some(ms(400)); 2]);
    assert_eq!([wire.status(0).detection, wire.status(1).detection], [Some(ms(1200)); 2]);
    let now = wire.now;
    wire.ends[0].configure(wire.ids[0], every(ms(10), 3), now);
    wire.ends[0].configure(wire.ids[0], every(ms(20), 4), now);
    wire.ends[1].configure(wire.ids[1], every(ms(10), 3), now);
    // Until the peer knows, its packets are expected no faster than it sends them.
    assert_eq!(wire.status(0).detection, Some(ms(1200)));
    wire.run(ms(2000));
    assert_eq!([wire.status(0).interval, wire.status(1).interval], [Some(ms(20)); 2]);
    assert_eq!([wire.status(0).detection, wire.status(1).detection], [Some(ms(60)), Some(ms(80))]);
    assert_eq!([wire.status(0).flaps, wire.status(1).flaps, 0], [0; 3]);
    let both = wire.sent.iter().filter(|(.., it)| it.poll && it.is_final).count();
    assert_eq!(both, 0, "no packet asks and answers");
}

#[test]
fn who_is_wanted_no_longer_says_so_and_takes_nothing_down() {
    let mut wire = Wire::up([every(ms(50), 3), every(ms(50), 3)]);
    let now = wire.now;
    wire.ends[0].remove(wire.ids[0], now);
    wire.run(ms(100));
    assert_eq!(wire.told, [vec![Change::Up], vec![Change::Up, Change::AdminDown]]);
    assert_eq!(wire.status(0).diagnostic, Diagnostic::ADMINISTRATIVE);
    wire.run(Duration::from_secs(5));
    let packets = wire.sent.iter().filter(|(.., it)| it.state == State::AdminDown).count();
    assert!((3..6).contains(&packets), "for a detection time: {packets}");
    assert_eq!(wire.ends[0].status(wire.ids[0]), None, "and then it is forgotten");
    assert_eq!(wire.told[1].len(), 2, "silence after that is no news");
    let now = wire.now;
    wire.ids[0] = wire.ends[0].add(path(0, Hops::One), every(ms(50), 3), now);
    wire.run(Duration::from_secs(3));
    assert_eq!(wire.told[1], [Change::Up, Change::AdminDown, Change::Up]);
}

#[test]
fn one_that_comes_back_while_it_says_goodbye_is_another() {
    let mut wire = Wire::up([every(ms(50), 3), every(ms(50), 3)]);
    let (now, old) = (wire.now, wire.ids[0]);
    wire.ends[0].remove(old, now);
    wire.deliver();
    wire.ids[0] = wire.ends[0].add(path(0, Hops::One), every(ms(50), 3), now);
    assert_eq!(wire.ends[0].status(old), None);
    wire.run(Duration::from_secs(4));
    assert_eq!([wire.status(0).state, wire.status(1).state], [State::Up; 2]);
}

#[test]
fn a_peer_that_restarts_takes_its_session_down_and_up_again() {
    let mut wire = Wire::up([every(ms(50), 3), every(ms(50), 3)]);
    let now = wire.now;
    wire.ends[1] = Sessions::new(99);
    wire.ids[1] = wire.ends[1].add(path(1, Hops::One), every(ms(50), 3), now);
    wire.run(Duration::from_secs(4));
    assert_eq!([wire.status(0).state, wire.status(1).state], [State::Up; 2]);
    assert_eq!(wire.status(0).flaps, 1);
}

#[test]
fn a_peer_that_wants_no_packets_gets_none_but_answers() {
    let mut wire = Wire::up([every(ms(50), 3), every(ms(50), 3)]);
    let theirs = wire.sent.iter().rfind(|(_, own, _)| *own == 1);
    assert!(theirs.is_none());
    wire.run(ms(100));
    let theirs = wire.sent.iter().rfind(|(_, own, _)| *own == 1).unwrap().2;
    wire.carries = [false; 2];
    for quiet in [Packet { demand: true, ..theirs }, Packet { receive_us: 0, ..theirs }] {
        wire.ends[0].receive(&arrival(0, Hops::One), &quiet.encode(), wire.now);
        wire.sent.clear();
        wire.run(ms(140));
        assert!(wire.sent.iter().all(|(_, own, _)| *own == 1), "{:?}", wire.sent);
        let asks = Packet { poll: true, ..quiet };
        wire.ends[0].receive(&arrival(0, Hops::One), &asks.encode(), wire.now);
        wire.sent.clear();
        wire.deliver();
        let [(_, 0, answer)] = wire.sent[..] else { panic!("{:?}", wire.sent) };
        assert!(answer.is_final && !answer.poll);
        // A change of ours is asked for even so, and not where nothing at all is taken.
        let now = wire.now;
        let other = if quiet.demand { 60 } else { 70 };
        wire.ends[0].configure(wire.ids[0], every(ms(other), 3), now);
        wire.run(ms(100));
        assert_eq!(wire.sent.iter().any(|(_, own, it)| *own == 0 && it.poll), quiet.demand);
        let answers = Packet { is_final: true, ..theirs };
        wire.ends[0].receive(&arrival(0, Hops::One), &answers.encode(), wire.now);
    }
}

#[test]
fn five_thousand_are_each_sent_to_in_time() {
    let mut ends = Sessions::new(1);
    for number in 0..5000_u32 {
        let remote = std::net::Ipv4Addr::from(0x0a00_0000 + number).into();
        ends.add(Path { local: None, remote, link: None, hops: Hops::One }, every(ms(300), 3), Duration::ZERO);
    }
    let mut sent = std::collections::BTreeMap::<SessionId, u32>::new();
    for now in (0..10_000).map(ms) {
        ends.tick(now);
        for output in ends.outputs() {
            if let Output::Send(id, _) = output {
                *sent.entry(id).or_default() += 1;
            }
        }
    }
    assert_eq!(sent.len(), 5000);
    assert!(sent.values().all(|count| (10..=14).contains(count)));
}
