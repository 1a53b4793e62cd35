//! [`Speaker`]: all sessions and all routes of this node, with bytes in and bytes out.
//!
//! Whoever has the sockets and the clock tells it what happened ([`Speaker::connected`], [`Speaker::received`], [`Speaker::closed`],
//! [`Speaker::tick`]), does what it asks ([`Speaker::outputs`]) and takes the bytes for a peer when they can be written
//! ([`Speaker::pull`]). The same inputs at the same times make the same outputs: a session that was recorded can be replayed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::bmp::{End, Stage};
use crate::machine::collision::Side;
use crate::machine::{Event, State};
use crate::rib::{Change, Chunk, PeerId, Rib, Settings};
use crate::wire::notification::{cease, code};
use crate::wire::{Family, Notification};

pub mod agreement;
pub mod config;
mod deferral;
mod diagnosis;
mod limits;
mod marks;
mod monitoring;
mod peer;
mod reflecting;
mod restart;
mod session;
mod telling;

pub use agreement::Agreement;
pub use config::{
    Direction, Excess, FamilyConfig, Graceful, LocalAddresses, PeerConfig, PrefixLimit, RemoteAs, StrictBfd,
};
pub use peer::{Messages, PeerStatus};
pub use restart::Acceptance;
pub use telling::PolicyChange;

use deferral::Deferral;
use peer::Peer;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Open a connection to a peer, and give up an attempt that is under way; [`Speaker::connected`] or [`Speaker::closed`] answers.
    Connect(PeerId),
    /// There are bytes for [`Speaker::pull`].
    Send(PeerId, Side),
    /// Close a connection, after these last bytes.
    Close(PeerId, Side, Option<Chunk>),
    /// This is best now.
    Route(Change),
    /// A peer has told all its routes of a family.
    EndOfRib(PeerId, Family),
    /// A peer sent what is malformed, for the first time in this session, which goes on (RFC 7606): what, in a sentence.
    Malformed(PeerId, String),
    /// A peer has nearly as many routes of a family as it may, which are so many, for the first time in this session.
    NearLimit(PeerId, Family, u32),
    /// A session came up.
    Up(PeerId),
    /// A session went down, or an attempt failed: the reason in a sentence.
    Down(PeerId, String),
    /// An UPDATE came, whole: said while somebody monitors.
    Heard(PeerId, Chunk),
    /// A session that was up has ended: said while somebody monitors.
    Ended(PeerId, End),
    /// There are bytes for [`Speaker::pull_chosen`].
    Chosen(PeerId),
    /// A viewer that takes nothing costs too much: it is to look no more.
    Deaf(PeerId),
}

/// Why an attempt failed that the peer took and ended before its OPEN: less than what was said of an attempt before.
pub const CLOSED_WITHOUT_A_WORD: &str =
    "the peer closed the connection without a word; does its configuration name this node?";

/// Whether our own routes are all there, so that peers can be told that these are all (RFC 4724 section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// They are.
    Complete,
    /// We have just started: routes in the kernel were kept, ours are still being gathered. Peers are told nothing yet.
    Restarting,
}

/// All sessions and routes.
#[derive(Debug)]
pub struct Speaker {
    settings: Settings,
    readiness: Readiness,
    rib: Rib,
    peers: BTreeMap<PeerId, Peer>,
    outputs: Vec<Output>,
    deadlines: BTreeSet<(Duration, PeerId)>,
    more: bool,
    /// Whether somebody monitors.
    monitored: bool,
    /// Who is shown what which peer is told.
    shadows: BTreeMap<(PeerId, PeerId), Stage>,
    /// Who is waited for after a restart.
    deferral: Option<Deferral>,
}

impl Speaker {
    /// Without peers.
    pub fn new(settings: Settings, readiness: Readiness) -> Speaker {
        let rib = Rib::new(settings.clone());
        let (peers, outputs, deadlines) = (BTreeMap::new(), Vec::new(), BTreeSet::new());
        Speaker {
            settings,
            readiness,
            rib,
            peers,
            outputs,
            deadlines,
            more: false,
            monitored: false,
            shadows: BTreeMap::new(),
            deferral: None,
        }
    }

    /// The routes. Routes that begin here are put in with [`Rib::originate`]; [`Speaker::flush`] sends them.
    pub fn rib(&mut self) -> &mut Rib {
        &mut self.rib
    }

    /// The routes, to look at.
    pub fn routes(&self) -> &Rib {
        &self.rib
    }

    /// Adds a peer and starts its sessions. A number that is in use is replaced: the other ends first.
    pub fn add_peer(&mut self, id: PeerId, config: PeerConfig, now: Duration) {
        self.remove_peer(id, Notification::new(code::CEASE, cease::CONFIGURATION), now);
        let mut peer = Peer::new(config, self.settings.seed ^ u64::from(id.0));
        peer.since = now;
        self.expect_no_longer(id);
        self.peers.insert(id, peer);
        self.with(id, now, |speaker, peer| speaker.start(id, peer, now));
    }

    /// Ends a peer's sessions with this, and forgets it and its routes.
    pub fn remove_peer(&mut self, id: PeerId, why: Notification, now: Duration) {
        self.stop(id, why, now);
        if let Some(peer) = self.peers.remove(&id) {
            self.deadlines.extract_deadline(&peer, id);
            self.rib.lose(id);
        }
        self.expect_no_longer(id);
    }

    /// Ends a peer's sessions with this, until [`Speaker::resume`].
    pub fn stop(&mut self, id: PeerId, why: Notification, now: Duration) {
        self.with(id, now, |speaker, peer| {
            (peer.wanted, peer.resumes) = (false, None);
            peer.cease = why;
            for side in Side::ALL {
                speaker.step(id, peer, (side, Event::ManualStop), now);
            }
            peer.forget_restart();
            speaker.rib.lose(id);
        });
    }

    /// Starts a peer's sessions again.
    pub fn resume(&mut self, id: PeerId, now: Duration) {
        self.with(id, now, |speaker, peer| speaker.start(id, peer, now));
    }

    /// BFD says that the path to a peer is down.
    pub fn path_down(&mut self, id: PeerId, now: Duration) {
        self.with(id, now, |speaker, peer| {
            for side in Side::ALL {
                speaker.step(id, peer, (side, Event::PathDown), now);
            }
        });
    }

    /// BFD says that it is up: whoever waited for it tries at once. A peer that is stopped stays so.
    pub fn path_up(&mut self, id: PeerId, now: Duration) {
        self.with(id, now, |speaker, peer| {
            if peer.wanted && peer.established().is_none() {
                speaker.start(id, peer, now);
            }
        });
    }

    /// Our own routes are complete: peers are told them, and then that these were all; after a restart, as soon as those have told all whose routes they
    /// hear by us. `expected` are peers that will be added, each by its number, and by [`PeerId::LOCAL`] what is known of those that may come unknown.
    pub fn complete(&mut self, expected: Vec<(PeerId, PeerConfig)>, now: Duration) {
        self.readiness = Readiness::Complete;
        self.defer(expected, now);
        let ids: Vec<PeerId> = self.peers.keys().copied().collect();
        for id in ids {
            self.with(id, now, |speaker, peer| speaker.join(id, peer));
        }
        self.flush();
    }

    /// A connection is there, with our addresses on it.
    pub fn connected(&mut self, id: PeerId, side: Side, local: LocalAddresses, now: Duration) {
        let event = match side {
            Side::Outgoing => Event::TcpAcknowledged,
            Side::Incoming => Event::TcpConfirmed,
        };
        self.with(id, now, |speaker, peer| {
            peer.open(side, local);
            speaker.step(id, peer, (side, event), now);
        });
    }

    /// A connection is gone, or did not come.
    pub fn closed(&mut self, id: PeerId, side: Side, now: Duration) {
        self.with(id, now, |speaker, peer| {
            let there = peer.connection(side).is_some();
            let why = match (there, peer.state(side) >= State::OpenConfirm) {
                (true, true) => "the peer closed the connection",
                (true, false) => CLOSED_WITHOUT_A_WORD,
                (false, _) => "the connection did not come about",
            };
            peer.failure.get_or_insert_with(|| why.into());
            speaker.step(id, peer, (side, Event::TcpFails), now);
            // What ended a session says more than that nobody is there since; and beside one that is up nothing is wrong.
            if peer.established().is_none() {
                peer.last_error = peer.last_error.take().or(peer.failure.take());
            }
            peer.failure = None;
        });
        self.flush();
    }

    /// Bytes came from a peer.
    pub fn received(&mut self, id: PeerId, side: Side, bytes: &[u8], now: Duration) {
        self.with(id, now, |speaker, peer| speaker.read(id, peer, (side, bytes), now));
    }

    /// Whether bytes wait to be written to a peer: called when some were written, and when none could be.
    pub fn sending(&mut self, id: PeerId, side: Side, waiting: crate::machine::Waiting, now: Duration) {
        self.with(id, now, |_, peer| peer.machine(side).sending(waiting, now));
    }

    /// When [`Speaker::tick`] is due.
    pub fn deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(at, _)| *at).into_iter().chain(self.deferred_until()).min()
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Duration) {
        while let Some((_, id)) = self.deadlines.first().filter(|(at, _)| *at <= now).copied() {
            self.with(id, now, |speaker, peer| speaker.expire(id, peer, now));
        }
        for id in self.rib.hinderers() {
            if !self.peers.contains_key(&id) {
                self.outputs.push(Output::Deaf(id));
            }
            self.with(id, now, |speaker, peer| speaker.give_up(id, peer, now));
        }
        self.wait_at_most_until(now);
        self.flush();
    }

    /// Decides and encodes what changed. Called after everything that is at hand was put in; while it answers `true`, members that are behind
    /// can be told more, and it is called again.
    pub fn flush(&mut self) -> bool {
        self.tell_ends();
        let mut changes = Vec::new();
        self.more = self.rib.flush(&mut changes);
        self.outputs.extend(changes.into_iter().map(Output::Route));
        for id in self.rib.ready() {
            self.outputs.extend(match self.peers.get(&id) {
                Some(peer) => peer.established().map(|side| Output::Send(id, side)),
                None => Some(Output::Chosen(id)),
            });
        }
        self.more
    }

    /// What is to be done, in its order.
    pub fn outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    /// The next bytes for a connection: what the protocol says first, then routes.
    pub fn pull(&mut self, id: PeerId, side: Side) -> Option<Chunk> {
        let peer = self.peers.get_mut(&id)?;
        if let Some(chunk) = peer.control(side) {
            return Some(chunk);
        }
        let chunk = if peer.established() == Some(side) { self.rib.take(id) } else { None };
        chunk.iter().for_each(|chunk| peer.sent.count_all(chunk));
        chunk
    }

    /// Whether there is neither a session with a peer nor one about to be, and nothing is kept of it. One that comes and goes is remembered for as long as it
    /// has to wait, and one that must not come again for good.
    pub fn rests(&self, id: PeerId) -> bool {
        let busy = |peer: &Peer| {
            Side::ALL.into_iter().any(|side| peer.state(side) >= State::OpenSent)
                || !peer.wanted
                || peer.is_made_to_wait()
        };
        self.peers.get(&id).is_none_or(|peer| !busy(peer) && peer.kept.is_none())
    }

    /// Connections of a peer's own that failed one after another: what is to be remembered of one that is forgotten ([`Speaker::recall`]).
    pub fn failures(&self, id: PeerId) -> u32 {
        self.peers.get(&id).map_or(0, Peer::failures)
    }

    /// A peer that was forgotten and had failed so often is here again.
    pub fn recall(&mut self, id: PeerId, failures: u32) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.machine(Side::Incoming).recall_failures(failures);
        }
    }

    /// How a peer fares.
    pub fn status(&self, id: PeerId) -> Option<PeerStatus> {
        self.peers.get(&id).map(|peer| {
            let told = self.rib.told(id);
            let near = |config: &FamilyConfig| {
                let (limit, count) = (config.limit?, self.rib.paths_in_family(id, config.family));
                limit.is_near(count).then_some((config.family, count, limit))
            };
            let near_limit = peer.config.families.iter().filter_map(near).collect();
            PeerStatus { told, near_limit, ..peer.status(self.rib.paths_of(id), self.rib.queued(id)) }
        })
    }

    /// Does something with a peer, and keeps its deadline.
    fn with(&mut self, id: PeerId, now: Duration, act: impl FnOnce(&mut Speaker, &mut Peer)) {
        let Some(mut peer) = self.peers.remove(&id) else { return };
        self.deadlines.extract_deadline(&peer, id);
        act(self, &mut peer);
        self.settle(id, &mut peer, now);
        self.count_awaited(&mut peer);
        peer.deadline = peer.next();
        self.deadlines.extend(peer.deadline.map(|at| (at, id)));
        self.peers.insert(id, peer);
    }
}

/// A peer's place in the row of deadlines.
trait Deadlines {
    fn extract_deadline(&mut self, peer: &Peer, id: PeerId);
}

impl Deadlines for BTreeSet<(Duration, PeerId)> {
    fn extract_deadline(&mut self, peer: &Peer, id: PeerId) {
        if let Some(at) = peer.deadline {
            self.remove(&(at, id));
        }
    }
}

#[cfg(test)]
mod tests;
