//! One peer: its two machines, its connections, and what is remembered of it.

use std::collections::VecDeque;
use std::time::Duration;

use crate::machine::collision::Side;
use crate::machine::{Machine, State, Timing};
use crate::rib::Chunk;
use crate::wire::notification::{cease, code};
use crate::wire::{Capability, Family, Notification};

use super::agreement::Agreement;
use super::config::{LocalAddresses, PeerConfig};

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
    /// Why the session or attempt at hand is ending.
    pub failure: Option<String>,
    /// Why the last one ended.
    pub last_error: Option<String>,
    /// What the last session agreed upon, for as long as its routes are kept.
    pub kept: Option<Agreement>,
    /// When stale routes are swept, or become stale for long.
    pub stale_until: Option<Duration>,
    /// Whether they already are stale for long.
    pub long: bool,
    /// Whether it is told our routes.
    pub joined: bool,
    pub flaps: u32,
    pub since: Duration,
    pub deadline: Option<Duration>,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub local: LocalAddresses,
    /// Bytes of a message that is not whole yet.
    pub buffer: Vec<u8>,
    pub agreement: Option<Agreement>,
    control: VecDeque<Chunk>,
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
    /// What it can, as its OPEN said.
    pub capabilities: Vec<Capability>,
    /// The families that are spoken.
    pub families: Vec<Family>,
    /// Whether its routes are kept though it is away.
    pub stale: bool,
}

fn place(side: Side) -> usize {
    match side {
        Side::Outgoing => 0,
        Side::Incoming => 1,
    }
}

impl Peer {
    pub fn new(config: PeerConfig, seed: u64) -> Peer {
        let timing = |salt: u64| Timing::new(config.connect_retry, config.idle_hold, seed.wrapping_mul(salt));
        let machines = [Machine::new(timing(0x9e37_79b9)), Machine::new(timing(0x85eb_ca6b))];
        Peer {
            config,
            wanted: false,
            machines,
            connections: [None, None],
            cease: Notification::new(code::CEASE, cease::SHUTDOWN),
            error: None,
            failure: None,
            last_error: None,
            kept: None,
            stale_until: None,
            long: false,
            joined: false,
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
            *connection = Some(Connection { local, buffer: Vec::new(), agreement: None, control: VecDeque::new() });
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
        self.machines.iter().filter_map(|machine| machine.timers.next()).chain(self.stale_until).min()
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
