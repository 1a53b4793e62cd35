//! [`Shell`]: the speaker with its peers and their sockets, and how they become what is wished.
//!
//! Does not wait for anything: that is for the tasks that stand on its [`Ground`](super::ground::Ground).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bgp::machine::collision::Side;
use bgp::rib::change::Destination;
use bgp::rib::{Change, Chunk, PeerId, Settings};
use bgp::speaker::{Output, PeerConfig, Readiness, Speaker};
use bgp::wire::notification::{cease, code};
use bgp::wire::{Family, Nlri, Notification};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::addresses::Addresses;
use super::connection::Written;
use super::guests::Guests;
use super::keys::Keys;
use super::leaving::Leaving;
use super::listener::Listener;
use super::liveness::{BfdKey, BfdState};
use super::patience::Patience;
use super::roster::{Roster, Seat};
use super::settling::Settling;
use super::stations::Stations;
use super::tidings::Tidings;
use super::tracking::Tracking;
use super::views::Happening;
use super::wish::{Completeness, Neighbour, NeighbourName, Range, Wish};

/// Bytes that are read at once, by all connections into one buffer. They are decided within half a millisecond; then others have a turn.
pub(super) const READ_BYTES: usize = 16 << 10;

/// The speaker, its peers and their sockets.
#[derive(Debug)]
pub(super) struct Shell {
    pub speaker: Speaker,
    pub roster: Roster,
    pub wish: Arc<Wish>,
    pub addresses: Addresses,
    pub keys: Keys,
    pub listeners: Vec<Listener>,
    /// Where it cannot be listened, and why, as it was said.
    pub deaf: HashMap<SocketAddr, String>,
    pub guests: Guests,
    pub leaving: Option<Leaving>,
    /// Who looks for peers on links.
    pub seeker: Option<JoinHandle<()>>,
    pub tidings: Tidings,
    pub settling: Settling,
    pub tracking: Tracking,
    /// EVPN routes of which the node was told something.
    pub overlay_routes: BTreeSet<Box<[u8]>>,
    pub watchers: Vec<mpsc::Sender<Happening>>,
    pub stations: Stations,
    /// What BFD said last of the paths that it watches.
    pub heard_paths: BTreeMap<BfdKey, BfdState>,
    /// Who waits for that before its first session.
    pub patience: Patience,
    pub buffer: Vec<u8>,
    pub begun: Instant,
    /// Bytes that came since routes were last decided.
    pub fresh: usize,
    /// What the speaker asked for while something else was done.
    pub postponed: Vec<Output>,
    /// Families of which peers said that these were all, since routes were last decided.
    pub ends: Vec<(PeerId, Family)>,
    /// Families of which everybody did.
    pub settled: Vec<Family>,
}

impl Shell {
    /// A speaker as it is wished, without peers: they come with the first [`Shell::wish_for`].
    pub fn new(wish: &Wish, seed: u64, tidings: Tidings) -> Shell {
        let settings = Settings {
            asn: wish.asn,
            identifier: wish.router_id,
            cluster: wish.cluster,
            preferences: wish.preferences,
            seed,
        };
        let readiness = match wish.completeness {
            Completeness::Complete => Readiness::Complete,
            Completeness::Gathering => Readiness::Restarting,
        };
        let bare = Wish {
            neighbours: BTreeMap::new(),
            ranges: Vec::new(),
            announced: BTreeMap::new(),
            overlays: Vec::new(),
            ..Wish::clone(wish)
        };
        Shell {
            speaker: Speaker::new(settings, readiness),
            roster: Roster::default(),
            wish: Arc::new(bare),
            addresses: Addresses::default(),
            keys: Keys::default(),
            listeners: Vec::new(),
            deaf: HashMap::new(),
            guests: Guests::default(),
            leaving: None,
            seeker: None,
            tidings,
            settling: Settling::default(),
            tracking: Tracking::default(),
            overlay_routes: BTreeSet::new(),
            watchers: Vec::new(),
            stations: Stations::default(),
            heard_paths: BTreeMap::new(),
            patience: Patience::default(),
            buffer: vec![0; READ_BYTES],
            begun: Instant::now(),
            fresh: 0,
            postponed: Vec::new(),
            ends: Vec::new(),
            settled: Vec::new(),
        }
    }

    /// Bytes came: they are decided together with what else comes.
    pub fn heard(&mut self, bytes: usize) {
        self.fresh += bytes;
    }

    /// Decides what came; whether there is more to do at once.
    pub fn decide(&mut self) -> bool {
        self.fresh = 0;
        let more = self.speaker.flush();
        // What a peer said to be all is decided by now, and told behind it.
        for (id, family) in std::mem::take(&mut self.ends) {
            self.settling.told_all(id, family);
        }
        let now = self.begun.elapsed();
        let settled = self.settling.settled(now);
        self.settled.extend(settled);
        more
    }

    /// When the next timer ends, of the speaker's and ours.
    pub fn due(&self) -> Option<Instant> {
        let waits = [self.settling.deadline(), self.leaves_at(), self.patience.deadline()];
        let timers = [self.speaker.deadline(), self.tidings.deadline()].into_iter().chain(waits);
        timers.flatten().min().map(|at| self.begun + at)
    }

    /// Ends everything; what was learnt is told to be gone.
    pub fn end(&mut self, now: Duration) -> Tidings {
        let ids: Vec<PeerId> = self.roster.seats().map(|(id, _)| id).collect();
        ids.into_iter().for_each(|id| self.remove(id, cease::DECONFIGURED, now));
        self.listeners.clear();
        self.stations.end();
        while self.speaker.flush() {}
        for output in self.speaker.outputs() {
            if let Output::Route(change) = output {
                self.learn(change);
            }
        }
        self.tidings.hand_over()
    }

    /// Writes what there is for a connection.
    pub fn write(&mut self, (id, side): (PeerId, Side), now: Duration) {
        let Some(connection) = self.roster.seat(id).and_then(|seat| seat.connection(side)).cloned() else { return };
        let (_, bytes): (Written, usize) = connection.write(&mut self.speaker, (id, side), now);
        if let Some(seat) = self.roster.seat_mut(id) {
            seat.traffic.bytes_out += bytes as u64;
        }
    }

    pub fn close(&mut self, (id, side): (PeerId, Side), farewell: Option<Chunk>) {
        let Some(seat) = self.roster.seat_mut(id) else { return };
        if let Some(attempt) = seat.attempt.take_if(|_| side == Side::Outgoing) {
            attempt.abort();
        }
        if let Some(connection) = seat.put(side, None) {
            connection.close(farewell);
        }
    }

    /// A connection is gone: closed by the peer, or broken.
    pub fn broken(&mut self, (id, side): (PeerId, Side), error: Option<std::io::Error>, now: Duration) {
        let Some(seat) = self.roster.seat_mut(id) else { return };
        seat.put(side, None);
        if let Some(error) = error {
            tracing::debug!("the BGP connection with {} broke: {error}", seat.label());
        }
        self.speaker.closed(id, side, now);
    }

    pub fn learn(&mut self, change: Change) {
        self.watchers.retain(|watcher| match Happening::of(&change, &self.tidings) {
            Some(happening) => watcher.try_send(happening).is_ok(),
            None => true,
        });
        match &change.destination {
            Destination::Evpn(bytes) => self.learn_of_overlay(bytes),
            Destination::Prefix(_) => self.tidings.learn(change),
        }
    }

    /// Adds a peer.
    pub fn add(&mut self, name: NeighbourName, neighbour: Neighbour, now: Duration) -> Option<PeerId> {
        let id = self.roster.add(name, neighbour)?;
        self.weigh(id);
        let seat = self.roster.seat(id)?;
        self.tidings.place(id, seat.link());
        // One on a link is waited for until its advertisement says where it is.
        self.begin(id, now);
        Some(id)
    }

    /// Ends a peer's sessions and forgets it.
    pub fn remove(&mut self, id: PeerId, subcode: u8, now: Duration) {
        self.speaker.remove_peer(id, Notification::new(code::CEASE, subcode), now);
        let closes = self.speaker.outputs();
        // Its last words are said while it is still known.
        for output in closes {
            match output {
                Output::Close(peer, side, farewell) => self.close((peer, side), farewell),
                Output::Route(change) => self.learn(change),
                Output::Down(peer, reason) => self.down(peer, reason, now),
                Output::Send(peer, side) => self.write((peer, side), now),
                Output::Ended(peer, end) => self.show_end(peer, &end),
                // The rest is of others.
                later => self.postponed.push(later),
            }
        }
        self.unsign(id);
        self.settling.forget(id);
        self.patience.forget(id);
        let Some(seat) = self.roster.remove(id) else { return };
        self.tidings.need(&seat.name, None);
        seat.attempt.into_iter().chain(seat.waiting).for_each(|task| task.abort());
    }

    /// Makes the speaker what it is to be; only what differs is touched.
    pub fn wish_for(&mut self, wish: &Arc<Wish>, now: Duration) {
        let before = std::mem::replace(&mut self.wish, Arc::clone(wish));
        for net in before.announced.keys().filter(|net| !wish.announced.contains_key(*net)) {
            self.speaker.rib().retract(&Nlri::Prefix(*net));
        }
        let changed =
            wish.announced.iter().filter(|(net, announcement)| before.announced.get(*net) != Some(*announcement));
        changed.for_each(|(net, announcement)| self.announce(*net, announcement));
        if before.overlays != wish.overlays {
            self.follow_overlays(&before.overlays);
            self.learn_of_overlay_again();
        }
        self.listen(&before);
        let difference = self.roster.difference(&wish.neighbours, &wish.ranges);
        for id in difference.removed {
            self.remove(id, cease::DECONFIGURED, now);
        }
        self.keep(difference.kept, before.cluster, now);
        for (id, neighbour) in difference.changed {
            let Some(name) = self.roster.seat(id).map(|seat| seat.name.clone()) else { continue };
            self.remove(id, cease::CONFIGURATION, now);
            self.add(name, neighbour, now);
        }
        for (name, neighbour) in difference.added {
            if self.add(name.clone(), neighbour, now).is_none() {
                tracing::warn!("BGP neighbour {name} is one too many: there are 49135");
            }
        }
        if wish.completeness == Completeness::Complete {
            if !self.settling.is_complete() {
                self.speaker.complete(self.acquaintances(), now);
            }
            let known =
                self.roster.seats().filter_map(|(id, seat)| Some((id, seat.neighbour.session.graceful?.restart_secs)));
            // Who may come from a range is nobody yet, and so tells nothing: the time alone ends the waiting.
            let secs = |range: &Range| range.template.session.graceful.map(|graceful| graceful.restart_secs);
            let strangers = wish.ranges.iter().filter_map(secs).max().map(|secs| (PeerId::LOCAL, secs));
            self.settling.expect(known.chain(strangers).collect(), now);
        }
    }

    /// Whoever is to be spoken with, as far as it is known who that is: of some it is not known yet where they are, and some come after BFD.
    fn acquaintances(&self) -> Vec<(PeerId, PeerConfig)> {
        let named = self.roster.seats().map(|(id, seat)| (id, &seat.neighbour));
        let strangers = self.wish.ranges.iter().map(|range| (PeerId::LOCAL, &range.template));
        named.chain(strangers).map(|(id, neighbour)| (id, neighbour.session.clone())).collect()
    }

    /// Changes what can be changed under sessions.
    fn keep(&mut self, kept: Vec<(PeerId, Neighbour)>, cluster: Ipv4Addr, now: Duration) {
        let reflects = |seat: Option<&Seat>| seat.map(|seat| seat.neighbour.session.reflects);
        let differs =
            |(id, wanted): &&(PeerId, Neighbour)| reflects(self.roster.seat(*id)) != Some(wanted.session.reflects);
        let clients: Vec<_> = kept.iter().filter(differs).map(|(id, wanted)| (*id, wanted.session.reflects)).collect();
        if !clients.is_empty() || cluster != self.wish.cluster {
            self.speaker.reflect(&clients, self.wish.cluster, now);
        }
        for (id, neighbour) in kept {
            let Some(seat) = self.roster.seat_mut(id) else { continue };
            let policies = (neighbour.session.import.clone(), neighbour.session.export.clone());
            let before = std::mem::replace(&mut seat.neighbour, neighbour);
            self.weigh(id);
            if before.session.import != policies.0 || before.session.export != policies.1 {
                self.speaker.set_policies(id, policies, now);
            }
            if before.authentication != self.roster.seat(id).and_then(|seat| seat.neighbour.authentication.clone()) {
                self.resign(id, before.authentication.as_ref());
            }
        }
    }
}
