//! Every state with every event, against a grid that was written from the RFC and not from the table; timers and collision without waiting.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;

use super::collision::{Identity, Side, kept};
use super::table::find;
use super::*;

/// Where RFC 4271 section 8.2.2 leads. Rows are events 1 to 28, then 29 (RFC 9687), ROUTE-REFRESH, its error, and BFD; columns Idle,
/// Connect, Active, OpenSent, OpenConfirm, Established. `d` and `n` are "with and without DelayOpen", `r` and `s` "with the timer running and
/// stopped".
const GRID: [&str; 32] = [
    /*  1 */ "C C A S O E",
    /*  2 */ "I I I I I I",
    /*  3 */ "C C A S O E",
    /*  4 */ "A C A S O E",
    /*  5 */ "A C A S O E",
    /*  6 */ "C C A S O E",
    /*  7 */ "A C A S O E",
    /*  8 */ "I I I I I I",
    /*  9 */ "I C C I I I",
    /* 10 */ "I I I I I I",
    /* 11 */ "I I I I O E",
    /* 12 */ "I S S I I I",
    /* 13 */ "I I I I I I",
    /* 14 */ "I C A S O E",
    /* 15 */ "I C A S O E",
    /* 16 */ "I dCnS dAnS S O E",
    /* 17 */ "I dCnS dAnS S O E",
    /* 18 */ "I rAsI I A I I",
    /* 19 */ "I I I O O E",
    /* 20 */ "I O O I I I",
    /* 21 */ "I I I I I I",
    /* 22 */ "I I I I I I",
    /* 23 */ "I I I I I I",
    /* 24 */ "I I I I I I",
    /* 25 */ "I I I I I I",
    /* 26 */ "I I I I E E",
    /* 27 */ "I I I I I E",
    /* 28 */ "I I I I I I",
    /* 29 */ "I I I I I I",
    /* refresh */ "I I I I I E",
    /* its error */ "I I I I I I",
    /* BFD */ "I I I I I I",
];

/// What a NOTIFICATION says when one ends the connection: `-` none, `C` Cease, `X` collision, `H` hold, `F` state machine, `e` the error,
/// `W` send hold, `B` BFD.
const NOTIFIES: [&str; 32] = [
    "------", "---CCC", "------", "------", "------", "------", "------", "---CCC", "---FFF", "---HHH", "---F--",
    "---FFF", "---FFF", "------", "------", "------", "------", "------", "------", "---FFF", "---eee", "---eee",
    "---XXX", "------", "---F--", "---F--", "---FF-", "---FFe", "---FFW", "---FF-", "---FFe", "---BBB",
];

fn letter(state: State) -> char {
    match state {
        State::Idle => 'I',
        State::Connect => 'C',
        State::Active => 'A',
        State::OpenSent => 'S',
        State::OpenConfirm => 'O',
        State::Established => 'E',
    }
}

fn expected(cell: &str, (set, runs): (bool, bool)) -> char {
    let after = |mark: char| cell.split(mark).nth(1).and_then(|rest| rest.chars().next());
    let choice = match (cell.len(), cell.starts_with('d')) {
        (1, _) => cell.chars().next(),
        (_, true) => after(if set { 'd' } else { 'n' }),
        (_, false) => after(if runs { 'r' } else { 's' }),
    };
    choice.unwrap()
}

#[test]
fn every_state_and_event_leads_where_the_rfc_says() {
    for (event, cells) in Event::ALL.into_iter().zip(GRID) {
        for (state, cell) in State::ALL.into_iter().zip(cells.split(' ')) {
            for circumstances in [(false, false), (false, true), (true, false), (true, true)] {
                let rows: Vec<_> = find((state, event), circumstances).collect();
                assert_eq!(rows.len(), 1, "{event:?} in {state:?}");
                assert_eq!(letter(rows[0].next), expected(cell, circumstances), "{event:?} in {state:?}");
                assert!(!rows[0].section.is_empty());
            }
        }
    }
}

#[test]
fn every_end_says_what_the_rfc_wants_said() {
    for (event, cells) in Event::ALL.into_iter().zip(NOTIFIES) {
        for (state, cell) in State::ALL.into_iter().zip(cells.chars()) {
            let row = find((state, event), (false, false)).next().unwrap();
            let said = row.actions.iter().find_map(|action| match action {
                Action::Notify(reason) => Some(match reason {
                    Reason::Cease => 'C',
                    Reason::Collision => 'X',
                    Reason::Hold => 'H',
                    Reason::StateMachine => 'F',
                    Reason::Error => 'e',
                    Reason::SendHold => 'W',
                    Reason::PathDown => 'B',
                }),
                _ => None,
            });
            assert_eq!(said.unwrap_or('-'), cell, "{event:?} in {state:?}");
        }
    }
}

#[test]
fn events_are_numbered_as_in_the_rfc_and_each_row_is_needed() {
    for (number, event) in (1..).zip(Event::ALL) {
        assert_eq!(event as u8, number);
    }
    let pairs: BTreeSet<(State, u8)> =
        rows().flat_map(|row| row.events.iter().map(|event| (row.state, *event as u8))).collect();
    assert_eq!(pairs.len(), State::ALL.len() * Event::ALL.len());
}

#[test]
fn what_ends_a_connection_closes_it_and_what_ends_a_session_loses_its_routes() {
    for row in rows() {
        let ends = row.state >= State::OpenSent && row.next == State::Idle;
        assert!(!ends || row.actions.contains(&Action::CloseConnection), "{row:?}");
        let loses = row.actions.iter().any(|action| matches!(action, Action::LoseRoutes(_)));
        assert_eq!(loses, row.state == State::Established && row.next == State::Idle, "{row:?}");
        // The counter is cleared by what somebody wants, and counts what fails (8.2.2).
        let counted = row.actions.contains(&Action::CountRetry);
        assert!(!(counted && row.actions.contains(&Action::ClearRetries)), "{row:?}");
        if row.events == [Event::ManualStop] && row.state != State::Idle {
            assert!(row.actions.contains(&Action::ClearRetries) && !row.actions.contains(&Action::IdleHold), "{row:?}");
        }
    }
}

fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn machine() -> Machine {
    Machine::new(Timing::new(secs(4), secs(1), 7))
}

fn established(now: Duration) -> Machine {
    let mut machine = machine();
    machine.step(Event::ManualStart, now);
    machine.step(Event::TcpAcknowledged, now);
    machine.agree(secs(90));
    machine.step(Event::Open, now);
    machine.step(Event::Keepalive, now);
    assert_eq!(machine.state, State::Established);
    machine
}

#[test]
fn a_session_that_hears_nothing_ends_after_the_hold_time_and_keeps_saying_that_it_is_there() {
    let mut machine = established(secs(1000));
    let mut keepalives = 0;
    loop {
        let now = machine.timers.next().unwrap();
        assert!(now <= secs(1090));
        match machine.timers.expired(now).unwrap() {
            Event::KeepaliveExpires => {
                keepalives += 1;
                machine.step(Event::KeepaliveExpires, now);
            }
            event => {
                assert_eq!((event, now), (Event::HoldExpires, secs(1090)));
                assert_eq!(machine.step(event, now).next, State::Idle);
                break;
            }
        }
    }
    assert!((3..=4).contains(&keepalives), "{keepalives} in 90 s, each after 22.5 to 30 s");
    assert_eq!(machine.timers, Timers { idle_hold: machine.timers.idle_hold, ..Timers::default() });
}

#[test]
fn a_clock_that_jumps_ends_the_session_once() {
    let mut machine = established(secs(1000));
    let mut events = Vec::new();
    while let Some(event) = machine.timers.expired(secs(1_000_000)) {
        machine.step(event, secs(1_000_000));
        events.push(event);
    }
    assert_eq!(events, [Event::HoldExpires]);
}

#[test]
fn a_peer_that_takes_nothing_is_given_up_and_one_that_takes_a_little_is_not() {
    let mut machine = established(secs(0));
    machine.sending(Waiting::Something, secs(10));
    machine.sending(Waiting::Something, secs(400));
    assert_eq!(machine.timers.send_hold, Some(secs(880)), "eight minutes from what it took last");
    machine.sending(Waiting::Nothing, secs(500));
    assert_eq!(machine.timers.send_hold, None);
}

#[test]
fn a_hold_time_of_zero_never_ends() {
    let mut machine = machine();
    machine.step(Event::ManualStart, secs(0));
    machine.step(Event::TcpAcknowledged, secs(0));
    machine.agree(Duration::ZERO);
    machine.step(Event::Open, secs(0));
    machine.step(Event::Keepalive, secs(0));
    machine.sending(Waiting::Something, secs(0));
    assert_eq!(machine.timers.next(), None);
}

#[test]
fn a_peer_that_comes_and_goes_is_tried_more_and_more_rarely() {
    let mut machine = machine();
    let mut pauses = Vec::new();
    for _ in 0..12 {
        machine.step(Event::AutomaticStartDampedPassive, secs(0));
        machine.step(Event::TcpConfirmed, secs(0));
        machine.step(Event::HeaderError, secs(0));
        pauses.push(machine.timers.idle_hold.unwrap());
    }
    assert!(pauses[0] <= secs(1) && pauses[0] >= Duration::from_millis(750));
    assert!(pauses[4] > pauses[1] && pauses[11] <= secs(60) && pauses[11] >= secs(45));
}

#[test]
fn the_connection_of_the_greater_speaker_is_kept_by_both() {
    let speaker = |id: [u8; 4], asn| Identity { identifier: id.into(), asn };
    for (ours, theirs, side) in [
        (speaker([10, 0, 0, 2], 1), speaker([10, 0, 0, 1], 2), Side::Outgoing),
        (speaker([9, 255, 255, 255], 1), speaker([10, 0, 0, 0], 1), Side::Incoming),
        (speaker([1, 1, 1, 1], 65001), speaker([1, 1, 1, 1], 65000), Side::Outgoing),
        (speaker([200, 0, 0, 1], 1), speaker([100, 0, 0, 1], 1), Side::Outgoing),
    ] {
        assert_eq!((kept(ours, theirs), kept(theirs, ours)), (side, side.other()));
    }
}
