//! One peer: its two machines, its connections, and what is remembered of it.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use crate::bmp::End;
use crate::machine::collision::Side;
use crate::machine::{Machine, State, Timing};
use crate::rib::Chunk;
use crate::wire::header::messages;
use crate::wire::notification::{cease, code};
use crate::wire::{Capability, Family, Kind, Notification};

use super::agreement::Agreement;
use super::config::{LocalAddresses, PeerConfig, PrefixLimit};
use super::deferral::Awaited;
use super::marks::Marks;

/// A peer.
#[derive(Debug)]
pub(super) struct Peer {
    pub config: PeerConfig,
    /// Whether there is to be a session.
    pub wanted: bool,
    machines: [Machine; 2],
    connections: [Option<Connection>; 2],
    /// What is said when we end a session.
    pub cease: Notification,
    /// What was wrong with the message at hand.
    pub error: Option<Notification>,
    /// What was wrong with its OPEN, in the words of the configuration.
    pub diagnosis: Option<String>,
    /// Why the session or attempt at hand is ending.
    pub failure: Option<String>,
    /// Why the last one ended.
    pub last_error: Option<String>,
    /// What we said when we ended one.
    pub last_said: Option<String>,
    /// What the peer said when it did.
    pub last_heard: Option<String>,
    pub received: Messages,
    pub sent: Messages,
    /// UPDATEs with something malformed in them (RFC 7606).
    pub malformed: u64,
    /// What was, in the last of this session.
    pub last_fault: Option<String>,
    /// What the last session agreed upon, for as long as its routes are kept.
    pub kept: Option<Agreement>,
    /// When stale routes are swept, or become stale for long.
    pub stale_until: Option<Duration>,
    /// Which families have stale routes.
    pub marks: Marks,
    /// Whether they already are stale for long.
    pub long: bool,
    /// When it is met again that had more routes than it may.
    pub resumes: Option<Duration>,
    /// Families of which it has nearly as many in this session as it may.
    pub near_limit: BTreeSet<Family>,
    /// Whether it is told our routes.
    pub joined: bool,
    /// Of which families it is still to be told that it has heard all.
    pub withheld: BTreeSet<Family>,
    /// Of which it has told all since we started.
    pub heard_all: BTreeSet<Family>,
    /// Of which it is waited for, as that is counted.
    pub awaited: Awaited,
    /// Whether there was a session with it since we started.
    pub had_session: bool,
    pub flaps: u32,
    pub since: Duration,
    pub deadline: Option<Duration>,
    /// How the session at hand ends, for who monitors.
    pub end: Option<End>,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub local: LocalAddresses,
    /// Bytes of a message that is not whole yet.
    pub buffer: Vec<u8>,
    pub agreement: Option<Agreement>,
    control: VecDeque<Chunk>,
    /// The OPENs, ours and the peer's, as they went over the wire.
    pub opens: [Box<[u8]>; 2],
}

/// How a peer fares, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// The state of the connection that is farthest.
    pub state: State,
    /// Since when the session is up or down.
    pub since: Duration,
    /// Paths that are kept of it.
    pub paths: usize,
    /// Bytes of routes that wait for it.
    pub queued: usize,
    /// How often a session was lost.
    pub flaps: u32,
    /// Why the last one was, or an attempt failed.
    pub last_error: Option<String>,
    /// The last NOTIFICATION of ours.
    pub last_said: Option<String>,
    /// The last of the peer's.
    pub last_heard: Option<String>,
    /// Families of which it has nearly as many routes as it may, or more: how many, and what it may.
    pub near_limit: Vec<(Family, usize, PrefixLimit)>,
    /// Routes that it was told.
    pub told: usize,
    /// Messages that came.
    pub received: Messages,
    /// Messages that went, or wait to be written.
    pub sent: Messages,
    /// UPDATEs with something malformed in them, over all sessions.
    pub malformed: u64,
    /// What was malformed in the last of this session.
    pub last_fault: Option<String>,
    /// What both agreed upon, while there is a session or its routes are kept.
    pub agreement: Option<Agreement>,
    /// What it can, as its OPEN said.
    pub capabilities: Vec<Capability>,
    /// The families that are spoken.
    pub families: Vec<Family>,
    /// Whether its routes are kept though it is away.
    pub stale: bool,
}

/// Messages by what they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Messages([u64; 5]);

impl Messages {
    /// Each kind, with how many there were.
    pub fn each(&self) -> impl Iterator<Item = (Kind, u64)> {
        [Kind::Open, Kind::Update, Kind::Notification, Kind::Keepalive, Kind::Refresh].into_iter().zip(self.0)
    }

    /// One more.
    pub(super) fn count(&mut self, kind: Kind) {
        if let Some(count) = self.0.get_mut(usize::from(kind.number()).saturating_sub(1)) {
            *count = count.saturating_add(1);
        }
    }

    /// All of whole messages, which are our own.
    pub(super) fn count_all(&mut self, bytes: &[u8]) {
        messages(bytes).for_each(|(kind, _)| self.count(kind));
    }
}

fn place(side: Side) -> usize {
    match side {
        Side::Outgoing => 0,
        Side::Incoming => 1,
    }
}

impl Peer {
    pub fn new(config: PeerConfig, seed: u64) -> Peer {
        let timing = |salt: u64| {
            let mut timing = Timing::new(config.connect_retry, config.idle_hold, seed.wrapping_mul(salt));
            (timing.send_hold, timing.keepalive) = (config.send_hold, config.keepalive);
            timing
        };
        let machines = [Machine::new(timing(0x9e37_79b9)), Machine::new(timing(0x85eb_ca6b))];
        Peer {
            config,
            wanted: false,
            machines,
            connections: [None, None],
            cease: Notification::new(code::CEASE, cease::SHUTDOWN),
            error: None,
            diagnosis: None,
            failure: None,
            last_error: None,
            last_said: None,
            last_heard: None,
            end: None,
            received: Messages::default(),
            sent: Messages::default(),
            malformed: 0,
            last_fault: None,
            kept: None,
            stale_until: None,
            marks: Marks::default(),
            long: false,
            resumes: None,
            near_limit: BTreeSet::new(),
            joined: false,
            withheld: BTreeSet::new(),
            heard_all: BTreeSet::new(),
            awaited: Awaited::default(),
            had_session: false,
            flaps: 0,
            since: Duration::ZERO,
            deadline: None,
        }
    }

    pub fn machine(&mut self, side: Side) -> &mut Machine {
        let [outgoing, incoming] = &mut self.machines;
        match side {
            Side::Outgoing => outgoing,
            Side::Incoming => incoming,
        }
    }

    /// Connections that it opened and that failed one after another.
    pub fn failures(&self) -> u32 {
        let [_, incoming] = &self.machines;
        incoming.failures()
    }

    /// Whether its connections are not taken for now, for it comes and goes.
    pub fn is_made_to_wait(&self) -> bool {
        let [_, incoming] = &self.machines;
        incoming.timers.idle_hold.is_some()
    }

    pub fn state(&self, side: Side) -> State {
        let [outgoing, incoming] = &self.machines;
        match side {
            Side::Outgoing => outgoing.state,
            Side::Incoming => incoming.state,
        }
    }

    pub fn connection(&self, side: Side) -> Option<&Connection> {
        self.connections.get(place(side))?.as_ref()
    }

    pub fn connection_mut(&mut self, side: Side) -> Option<&mut Connection> {
        self.connections.get_mut(place(side))?.as_mut()
    }

    pub fn open(&mut self, side: Side, local: LocalAddresses) {
        if let Some(connection) = self.connections.get_mut(place(side)) {
            *connection = Some(Connection {
                local,
                buffer: Vec::new(),
                agreement: None,
                control: VecDeque::new(),
                opens: Default::default(),
            });
        }
    }

    /// Forgets a connection; what waits to be written to it is the answer.
    pub fn close(&mut self, side: Side) -> Option<Connection> {
        self.connections.get_mut(place(side))?.take()
    }

    /// The side on which the session is.
    pub fn established(&self) -> Option<Side> {
        Side::ALL.into_iter().find(|side| self.state(*side) == State::Established)
    }

    /// Puts bytes before all routes.
    pub fn say(&mut self, side: Side, bytes: Vec<u8>) {
        self.sent.count_all(&bytes);
        if let Some(connection) = self.connection_mut(side) {
            connection.control.push_back(bytes.into());
        }
    }

    pub fn control(&mut self, side: Side) -> Option<Chunk> {
        self.connection_mut(side)?.control.pop_front()
    }

    /// What the session in force agreed upon, or the one whose routes are kept.
    pub fn agreement(&self) -> Option<&Agreement> {
        let established = self.established().and_then(|side| self.connection(side)?.agreement.as_ref());
        established.or(self.kept.as_ref())
    }

    /// Whether a lost connection is a restart, for which routes are kept.
    pub fn keeps_over_restart(&self) -> bool {
        self.agreement().is_some_and(|agreement| agreement.graceful.is_some())
    }

    /// When something is due.
    pub fn next(&self) -> Option<Duration> {
        self.machines
            .iter()
            .filter_map(|machine| machine.timers.next())
            .chain(self.stale_until)
            .chain(self.resumes)
            .min()
    }

    pub fn status(&self, paths: usize, queued: usize) -> PeerStatus {
        let agreement = self.agreement();
        PeerStatus {
            state: self.machines.iter().map(|machine| machine.state).max().unwrap_or_default(),
            since: self.since,
            paths,
            queued,
            flaps: self.flaps,
            last_error: self.last_error.clone(),
            last_said: self.last_said.clone(),
            last_heard: self.last_heard.clone(),
            near_limit: Vec::new(),
            told: 0,
            received: self.received,
            sent: self.sent,
            malformed: self.malformed,
            last_fault: self.last_fault.clone(),
            agreement: agreement.cloned(),
            capabilities: agreement.map(|agreement| agreement.theirs.capabilities.clone()).unwrap_or_default(),
            families: agreement
                .map(|it| it.terms.families.iter().map(|terms| terms.family).collect())
                .unwrap_or_default(),
            stale: self.kept.is_some(),
        }
    }
}

impl Connection {
    /// The last bytes, for a connection that is closed: all that wait, for a NOTIFICATION is the last of them.
    pub fn farewell(self) -> Option<Chunk> {
        let bytes: Vec<u8> = self.control.iter().flat_map(|chunk| chunk.iter().copied()).collect();
        (!bytes.is_empty()).then(|| bytes.into())
    }
}
