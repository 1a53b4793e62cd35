//! Speakers that talk to each other in memory, by a clock that is a number.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use super::*;
use crate::policy::Policy;
use crate::wire::{AsPath, Attributes, Community, Family, NextHop, Nlri, message};

mod deferral;
mod hostile;
mod reflecting;
mod restarts;
mod sessions;

pub(super) const PEER: PeerId = PeerId(1);

/// Two speakers, each with the other as its peer 1, and the connections between them.
pub(super) struct World {
    pub speakers: [Speaker; 2],
    pub now: Duration,
    /// Connections by the side of the first speaker.
    pub up: BTreeSet<Side>,
    /// Whether connections come about at all.
    pub reachable: bool,
    /// What each speaker was told to do, but for bytes.
    pub seen: [Vec<Output>; 2],
    /// Bytes that went from each.
    pub bytes: [Vec<u8>; 2],
}

pub(super) fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

pub(super) fn settings(last: u8, asn: u32) -> Settings {
    Settings {
        asn,
        identifier: [10, 0, 0, last].into(),
        cluster: [10, 0, 0, last].into(),
        preferences: Default::default(),
        seed: u64::from(last),
    }
}

pub(super) fn config(last: u8) -> PeerConfig {
    PeerConfig {
        import: Some(Arc::new(Policy::accept())),
        export: Some(Arc::new(Policy::accept())),
        ..PeerConfig::new(std::net::Ipv4Addr::new(10, 0, 0, last).into(), RemoteAs::External)
    }
}

pub(super) fn local(last: u8) -> LocalAddresses {
    let six = format!("2001:db8::{last}").parse().unwrap();
    LocalAddresses { v4: Some([10, 0, 0, last].into()), v6: Some((six, None)) }
}

impl World {
    /// Both know each other, with these changes to the configuration; nothing has happened yet.
    pub fn new(change: impl Fn(usize, &mut PeerConfig)) -> World {
        World::with([65001, 65002], change)
    }

    pub fn with(asns: [u32; 2], change: impl Fn(usize, &mut PeerConfig)) -> World {
        let mut speakers =
            [1, 2].map(|last| Speaker::new(settings(last, asns[usize::from(last) - 1]), Readiness::Complete));
        for (place, speaker) in speakers.iter_mut().enumerate() {
            let mut config = config(2 - u8::try_from(place).unwrap());
            change(place, &mut config);
            speaker.add_peer(PEER, config, secs(0));
        }
        let (seen, bytes) = Default::default();
        World { speakers, now: secs(0), up: BTreeSet::new(), reachable: true, seen, bytes }
    }

    fn side(place: usize, side: Side) -> Side {
        if place == 0 { side } else { side.other() }
    }

    /// Does what the speakers want until they want nothing more.
    pub fn run(&mut self) {
        loop {
            let mut quiet = true;
            for place in [0, 1] {
                let more = self.speakers[place].flush();
                let outputs = self.speakers[place].outputs();
                quiet &= outputs.is_empty() && !more;
                outputs.into_iter().for_each(|output| self.follow(place, output));
            }
            if quiet {
                return;
            }
        }
    }

    fn follow(&mut self, place: usize, output: Output) {
        let (other, now) = (1 - place, self.now);
        match &output {
            Output::Connect(_) => self.connect(place),
            Output::Send(_, side) => {
                while let Some(chunk) = self.speakers[place].pull(PEER, *side) {
                    self.carry(place, *side, &chunk);
                }
                self.speakers[place].sending(PEER, *side, crate::machine::Waiting::Nothing, now);
            }
            Output::Close(_, side, farewell) => {
                farewell.iter().for_each(|chunk| self.carry(place, *side, chunk));
                if self.up.remove(&World::side(place, *side)) {
                    self.speakers[other].closed(PEER, side.other(), now);
                }
            }
            _ => {}
        }
        self.seen[place].push(output);
    }

    fn connect(&mut self, place: usize) {
        let (other, now) = (1 - place, self.now);
        if self.reachable && self.speakers[other].may_accept(PEER, now) {
            self.up.insert(World::side(place, Side::Outgoing));
            self.speakers[other].connected(PEER, Side::Incoming, local(2 - place as u8), now);
            self.speakers[place].connected(PEER, Side::Outgoing, local(1 + place as u8), now);
        } else {
            self.speakers[place].closed(PEER, Side::Outgoing, now);
        }
    }

    fn carry(&mut self, place: usize, side: Side, chunk: &[u8]) {
        if self.up.contains(&World::side(place, side)) {
            self.bytes[place].extend_from_slice(chunk);
            self.speakers[1 - place].received(PEER, side.other(), chunk, self.now);
        }
    }

    /// Time passes, and what is due is done when it is due.
    pub fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        self.run();
        while let Some(at) = self.speakers.iter().filter_map(Speaker::deadline).min().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            let now = self.now;
            self.speakers
                .iter_mut()
                .filter(|speaker| speaker.deadline() == Some(at))
                .for_each(|speaker| speaker.tick(now));
            self.run();
        }
        self.now = end;
    }

    /// All connections break, and none comes about until `reachable` is set again.
    pub fn cut(&mut self) {
        self.reachable = false;
        for side in std::mem::take(&mut self.up) {
            self.speakers[0].closed(PEER, side, self.now);
            self.speakers[1].closed(PEER, side.other(), self.now);
        }
        self.run();
    }

    pub fn state(&self, place: usize) -> State {
        self.speakers[place].status(PEER).unwrap().state
    }

    pub fn established(&self) -> bool {
        [0, 1].iter().all(|place| self.state(*place) == State::Established)
    }

    pub fn error(&self, place: usize) -> String {
        self.speakers[place].status(PEER).unwrap().last_error.unwrap_or_default()
    }

    pub fn originate(&mut self, place: usize, nets: &[&str]) {
        let hop = NextHop::V4([10, 0, 0, 1 + place as u8].into());
        for net in nets {
            self.speakers[place].rib().originate(&nlri(net), &Attributes::default(), hop);
        }
    }

    pub fn knows(&mut self, place: usize, net: &str) -> bool {
        !self.speakers[place].rib().explain(&nlri(net)).is_empty()
    }
}

pub(super) fn nlri(net: &str) -> Nlri<'static> {
    Nlri::Prefix(net.parse().unwrap())
}
