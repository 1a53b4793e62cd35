//! [`Shadows`]: what peers are told, as stations hear of it (Adj-RIB-Out, RFC 8671). A shadow is a member of the peer's update group that hears what the peer
//! hears and is written to nobody but its station: what is encoded for the peer is encoded for it. Each takes at its station's pace.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use bgp::bmp::{PeerHeader, Stage};
use bgp::rib::PeerId;

use crate::bgp::shell::Shell;

use super::{MOST, Queue, ROOM, now};

/// Shadows at most. Their numbers are those below stations'.
pub(in crate::bgp) const MOST_SHADOWS: u16 = 16 << 10;

/// All shadows.
#[derive(Debug, Default)]
pub(super) struct Shadows {
    wanted: BTreeSet<Stage>,
    cast: BTreeMap<PeerId, Shadow>,
    /// Numbers that were given back.
    free: Vec<PeerId>,
    /// How many were ever given.
    given: u16,
    /// Whether it was said that there are too many.
    said: bool,
}

/// A peer at a stage, for a station.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shadow {
    pub station: SocketAddr,
    pub peer: PeerId,
    stage: Stage,
}

impl Shadows {
    /// Wants these stages of all peers; whether that is news.
    pub fn want(&mut self, stages: &BTreeSet<Stage>) -> bool {
        let news = self.wanted != *stages;
        self.wanted.clone_from(stages);
        news
    }

    /// Whether there are any.
    pub fn are_cast(&self) -> bool {
        !self.cast.is_empty()
    }

    /// For whom one is.
    pub fn station_of(&self, viewer: PeerId) -> Option<SocketAddr> {
        self.cast.get(&viewer).map(|shadow| shadow.station)
    }

    fn add(&mut self, shadow: Shadow) -> Option<PeerId> {
        let viewer = match self.free.pop() {
            Some(viewer) => viewer,
            None if self.given == MOST_SHADOWS => return None,
            None => {
                self.given += 1;
                PeerId(u16::MAX - MOST - self.given + 1)
            }
        };
        self.cast.insert(viewer, shadow);
        Some(viewer)
    }
}

impl Shell {
    /// Shows a station that has come what all peers are told.
    pub(super) fn cast_shadows_for(&mut self, station: SocketAddr) {
        let peers: Vec<PeerId> = self.stations.headers.keys().copied().collect();
        peers.into_iter().for_each(|peer| self.cast_shadows(station, peer));
    }

    /// Shows all stations what a peer is told.
    pub(super) fn cast_shadows_of(&mut self, peer: PeerId) {
        let there = self.stations.seats.iter().filter(|(_, seat)| seat.queue.is_some());
        let stations: Vec<SocketAddr> = there.map(|(station, _)| *station).collect();
        stations.into_iter().for_each(|station| self.cast_shadows(station, peer));
    }

    fn cast_shadows(&mut self, station: SocketAddr, peer: PeerId) {
        for stage in self.stations.shadows.wanted.clone() {
            match self.stations.shadows.add(Shadow { station, peer, stage }) {
                Some(viewer) => self.speaker.show_told(viewer, (peer, stage)),
                None if !std::mem::replace(&mut self.stations.shadows.said, true) => tracing::warn!(
                    "BMP stations do not hear what all peers are told: {MOST_SHADOWS} is the most, counted for each station and stage; \
                     name fewer stations, or one stage alone (BMPAdjRibOut)"
                ),
                None => {}
            }
        }
    }

    /// Shows no more of what peers are told.
    pub(super) fn end_shadows(&mut self, which: impl Fn(&Shadow) -> bool) {
        let over: Vec<PeerId> =
            self.stations.shadows.cast.iter().filter(|(_, shadow)| which(shadow)).map(|(viewer, _)| *viewer).collect();
        for viewer in over {
            let Some(shadow) = self.stations.shadows.cast.remove(&viewer) else { continue };
            self.speaker.hide_told(viewer, shadow.peer);
            self.stations.shadows.free.push(viewer);
            if let Some(seat) = self.stations.seats.get_mut(&shadow.station) {
                seat.due.remove(&viewer);
            }
        }
    }

    /// Moves more of what peers are told into a station's queue, as far as there is room.
    pub(super) fn pull_told(&mut self, station: SocketAddr, queue: &Queue) {
        while queue.bytes.get() < ROOM {
            let due = self.stations.seats.get(&station).and_then(|seat| seat.due.first().copied());
            let Some(viewer) = due else { return };
            let shadow = self.stations.shadows.cast.get(&viewer).copied();
            let header = shadow.and_then(|it| Some(self.stations.headers.get(&it.peer)?.told(it.stage)));
            match header.and_then(|header| Some((header, self.speaker.pull_chosen(viewer)?))) {
                Some((header, chunk)) => queue.push_all(&PeerHeader { at: now(), ..header }, &chunk),
                None => {
                    if let Some(seat) = self.stations.seats.get_mut(&station) {
                        seat.due.remove(&viewer);
                    }
                }
            }
        }
    }
}
