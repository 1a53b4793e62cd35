//! Two ends in a time that only counts, and packets that nobody should send.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::num::{NonZeroU8, NonZeroU32};
use std::time::Duration;

use super::*;

mod ends;
mod packets;

pub(super) const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

pub(super) fn every(interval: Duration, multiplier: u8) -> Settings {
    Settings::symmetric(interval, NonZeroU8::new(multiplier).unwrap())
}

pub(super) fn us(count: u32) -> NonZeroU32 {
    NonZeroU32::new(count).unwrap()
}

pub(super) const ADDRESSES: [&str; 2] = ["192.0.2.1", "192.0.2.2"];

pub(super) fn path(own: usize, hops: Hops) -> Path {
    Path { local: None, remote: ADDRESSES[1 - own].parse().unwrap(), link: Some(7), hops }
}

/// How a packet of the other end comes to this one.
pub(super) fn arrival(own: usize, hops: Hops) -> Arrival {
    Arrival {
        source: ADDRESSES[1 - own].parse().unwrap(),
        destination: ADDRESSES[own].parse().unwrap(),
        link: 7,
        ttl: 255,
        port: hops.port(),
    }
}

/// Two ends of a wire that loses nothing while it is whole.
pub(super) struct Wire {
    pub ends: [Sessions; 2],
    pub ids: [SessionId; 2],
    pub now: Duration,
    /// Whether packets of an end arrive.
    pub carries: [bool; 2],
    /// Packets that were sent: when, by whom, what.
    pub sent: Vec<(Duration, usize, Packet)>,
    /// Changes that were told.
    pub told: [Vec<Change>; 2],
}

impl Wire {
    pub fn new(settings: [Settings; 2]) -> Wire {
        let mut ends = [Sessions::new(1), Sessions::new(2)];
        let ids = [0, 1].map(|own| ends[own].add(path(own, Hops::One), settings[own], Duration::ZERO));
        let told = [Vec::new(), Vec::new()];
        Wire { ends, ids, now: Duration::ZERO, carries: [true; 2], sent: Vec::new(), told }
    }

    /// Both are up, and have agreed upon the intervals of that state.
    pub fn up(settings: [Settings; 2]) -> Wire {
        let mut wire = Wire::new(settings);
        wire.run(Duration::from_secs(3));
        for own in [0, 1] {
            assert_eq!((wire.status(own).state, wire.status(own).polling), (State::Up, false));
            assert_eq!(wire.told[own], [Change::Up]);
        }
        wire.sent.clear();
        wire
    }

    pub fn status(&self, own: usize) -> Status {
        self.ends[own].status(self.ids[own]).unwrap()
    }

    /// Lets so much time pass.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.deliver();
            let next = self.ends.iter().filter_map(Sessions::deadline).min().filter(|at| *at <= end);
            let Some(next) = next else { break };
            self.now = self.now.max(next);
            for own in [0, 1] {
                self.ends[own].tick(self.now);
                assert!(self.ends[own].deadline().is_none_or(|at| at > self.now), "something is due for ever");
            }
        }
        self.now = end;
    }

    /// Takes what was sent to the other end, until nobody has anything to say at once.
    pub fn deliver(&mut self) {
        loop {
            let outputs = [0, 1].map(|own| self.ends[own].outputs().collect::<Vec<_>>());
            if outputs.iter().all(Vec::is_empty) {
                return;
            }
            for (own, outputs) in outputs.into_iter().enumerate() {
                for output in outputs {
                    match output {
                        Output::Changed(id, change) => {
                            assert_eq!(id, self.ids[own]);
                            self.told[own].push(change);
                        }
                        Output::Send(_, bytes) => {
                            self.sent.push((self.now, own, Packet::decode(&bytes).unwrap()));
                            if self.carries[own] {
                                self.ends[1 - own].receive(&arrival(1 - own, Hops::One), &bytes, self.now);
                            }
                        }
                    }
                }
            }
        }
    }

    /// From one packet of an end to its next.
    pub fn pauses(&self, own: usize) -> Vec<Duration> {
        let times: Vec<Duration> = self.sent.iter().filter(|(_, who, _)| *who == own).map(|(at, ..)| *at).collect();
        times.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }
}
