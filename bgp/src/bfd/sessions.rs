//! [`Sessions`]: all sessions of this node. Finds the one that a packet is for (RFC 5880 section 6.3), and keeps what is due.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hasher};
use std::net::IpAddr;
use std::time::Duration;

use super::packet::{BYTES, Packet};
use super::session::{Session, Status};
use super::state::Diagnostic;
use super::{Arrival, Discard, Discards, Hops, Path, Settings};

/// A session: its discriminator, which nobody else on this node has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u32);

/// What has become of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It carries packets both ways.
    Up,
    /// It did, and does not.
    Down {
        /// How we know.
        diagnostic: Diagnostic,
        /// What the peer says.
        theirs: Diagnostic,
        /// How long nothing was heard, if that is how.
        silence: Duration,
    },
    /// Somebody at the other end wants no BFD: nothing is known of the path, and nothing is wrong with it (RFC 5882 section 3.2).
    AdminDown,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send these bytes to the peer of a session.
    Send(SessionId, [u8; BYTES]),
    /// Tell whoever wanted the session.
    Changed(SessionId, Change),
}

/// All sessions.
#[derive(Debug)]
pub struct Sessions {
    sessions: HashMap<u32, Session>,
    /// By the peer's address, for packets that do not know our discriminator.
    peers: HashMap<IpAddr, Vec<u32>>,
    deadlines: BTreeSet<(Duration, u32)>,
    outputs: Vec<Output>,
    packets: Vec<Packet>,
    discards: Discards,
    received: u64,
    seed: u64,
    count: u64,
}

impl Sessions {
    /// None. Discriminators follow from the seed: whoever can guess it can end sessions over many hops.
    pub fn new(seed: u64) -> Sessions {
        Sessions {
            sessions: HashMap::new(),
            peers: HashMap::new(),
            deadlines: BTreeSet::new(),
            outputs: Vec::new(),
            packets: Vec::new(),
            discards: Discards::default(),
            received: 0,
            seed,
            count: 0,
        }
    }

    /// A session that is wanted from now on.
    pub fn add(&mut self, path: Path, settings: Settings, now: Duration) -> SessionId {
        // One that is saying goodbye to the same peer would be heard against it.
        let goodbye = |id: &u32| self.sessions.get(id).is_some_and(|it| it.is_ending() && it.path.hops == path.hops);
        let gone: Vec<u32> = self.peers.get(&path.remote).into_iter().flatten().copied().filter(goodbye).collect();
        gone.into_iter().for_each(|id| self.forget(id));
        let (id, seed) = self.discriminator();
        self.sessions.insert(id, Session::new((id, seed), path, settings, now));
        self.peers.entry(path.remote).or_default().push(id);
        self.queue(id);
        SessionId(id)
    }

    /// A session that is wanted no longer: it says AdminDown for a while, and no change of it is told.
    pub fn remove(&mut self, id: SessionId, now: Duration) {
        self.with(id.0, |session, out| session.stop(now, out));
    }

    /// Other intervals for a session, which stays up.
    pub fn configure(&mut self, id: SessionId, settings: Settings, now: Duration) {
        self.with(id.0, |session, _| session.configure(settings, now));
    }

    /// The link of a session has another number: it was made anew.
    pub fn set_link(&mut self, id: SessionId, link: Option<u32>) {
        if let Some(session) = self.sessions.get_mut(&id.0) {
            session.path.link = link;
        }
    }

    /// A datagram came.
    pub fn receive(&mut self, arrival: &Arrival, bytes: &[u8], now: Duration) {
        self.received = self.received.saturating_add(1);
        if let Err(why) = self.take(arrival, bytes, now) {
            self.discards.count(why);
        }
    }

    fn take(&mut self, arrival: &Arrival, bytes: &[u8], now: Duration) -> Result<(), Discard> {
        // What no router may have touched is looked at first: it costs strangers most and us least.
        if arrival.port == Hops::One.port() && arrival.ttl < Hops::One.least_ttl() {
            return Err(Discard::HopLimit);
        }
        let packet = Packet::decode(bytes)?;
        let id = self.find(arrival, &packet)?;
        let mut taken = Ok(());
        self.with(id, |session, out| taken = session.receive(&packet, now, out));
        taken
    }

    /// By our discriminator; by where it came from when the peer does not know that (RFC 5881 section 3, RFC 5883 section 4.1).
    fn find(&self, arrival: &Arrival, packet: &Packet) -> Result<u32, Discard> {
        let port = |session: &Session| session.path.hops.port() == arrival.port;
        let id = match packet.your_discriminator {
            0 => {
                let ids = self.peers.get(&arrival.source).ok_or(Discard::UnknownPeer)?;
                let fits = |id: &&u32| self.sessions.get(id).is_some_and(|it| port(it) && came_by(&it.path, arrival));
                *ids.iter().find(fits).ok_or(Discard::UnknownPeer)?
            }
            yours => yours,
        };
        let session = self.sessions.get(&id).filter(|session| port(session)).ok_or(Discard::UnknownDiscriminator)?;
        // "the source address field can change", but TTL 255 vouches for a neighbour alone: over many hops a stranger needs the address too.
        if session.path.hops != Hops::One && session.path.remote != arrival.source {
            return Err(Discard::UnknownPeer);
        }
        if arrival.ttl < session.path.hops.least_ttl() {
            return Err(Discard::HopLimit);
        }
        Ok(id)
    }

    /// When [`Sessions::tick`] is due.
    pub fn deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Time has passed. What came before `now` must have been given to [`Sessions::receive`]: who is late itself must not find others missing.
    pub fn tick(&mut self, now: Duration) {
        while let Some((at, id)) = self.deadlines.first().copied().filter(|(at, _)| *at <= now) {
            self.deadlines.remove(&(at, id));
            match self.sessions.get_mut(&id) {
                Some(session) => session.queued = None,
                None => continue,
            }
            self.with(id, |session, out| session.tick(now, out));
            if self.sessions.get(&id).is_some_and(|session| session.has_ended(now)) {
                self.forget(id);
            }
        }
    }

    /// What is to be done since the last time.
    pub fn outputs(&mut self) -> std::vec::Drain<'_, Output> {
        self.outputs.drain(..)
    }

    /// How a session fares.
    pub fn status(&self, id: SessionId) -> Option<Status> {
        self.sessions.get(&id.0).map(Session::status)
    }

    /// Packets that came, of all kinds.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// What of them was discarded, and why.
    pub fn discards(&self) -> Discards {
        self.discards
    }

    fn with(&mut self, id: u32, does: impl FnOnce(&mut Session, &mut Vec<Packet>)) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        does(session, &mut self.packets);
        let sends = self.packets.drain(..).map(|packet| Output::Send(SessionId(id), packet.encode()));
        self.outputs.extend(sends);
        self.outputs.extend(session.change().map(|change| Output::Changed(SessionId(id), change)));
        self.queue(id);
    }

    /// Sees to it that a session is looked at no later than something of it is due. What was put off meanwhile, as the detection time is by
    /// each packet, is not queued anew: it is looked at too early, once.
    fn queue(&mut self, id: u32) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Some(next) = session.next().filter(|next| session.queued.is_none_or(|queued| *next < queued)) else {
            return;
        };
        if let Some(before) = session.queued.replace(next) {
            self.deadlines.remove(&(before, id));
        }
        self.deadlines.insert((next, id));
    }

    fn forget(&mut self, id: u32) {
        let Some(session) = self.sessions.remove(&id) else { return };
        session.queued.map(|at| self.deadlines.remove(&(at, id)));
        if let Some(ids) = self.peers.get_mut(&session.path.remote) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.peers.remove(&session.path.remote);
            }
        }
    }

    /// A number that is nobody's, not 0 and not to be guessed (section 6.8.1, bfd.LocalDiscr); and one for jitter.
    fn discriminator(&mut self) -> (u32, u64) {
        loop {
            self.count = self.count.wrapping_add(1);
            let mut hasher = DefaultHasher::new();
            hasher.write_u64(self.seed);
            hasher.write_u64(self.count);
            let random = hasher.finish();
            let id = (random >> 32) as u32;
            if id != 0 && !self.sessions.contains_key(&id) {
                return (id, random);
            }
        }
    }
}

fn came_by(path: &Path, arrival: &Arrival) -> bool {
    path.local.is_none_or(|local| local == arrival.destination) && path.link.is_none_or(|link| link == arrival.link)
}
