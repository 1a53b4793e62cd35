//! [`Stations`]: who is told by BMP what peers say and what is chosen (RFC 7854, RFC 9069), each over a connection that we open. What peers are told is in
//! [`shadows`].
//!
//! Nothing is kept for a station that is not there: when one comes, peers are asked to say everything again (RFC 7854 section 5), and the chosen
//! routes are walked at its pace. One that takes too slowly is given up and comes again: no peer waits for it, and memory is bounded.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use bgp::bmp::{self, End, PeerHeader, Statistic, View};
use bgp::machine::collision::Side;
use bgp::rib::{Chunk, PeerId};
use bgp::wire::header::messages;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::ground::Ground;
use super::shell::Shell;

mod shadows;

pub(super) use shadows::MOST_SHADOWS;
use shadows::Shadows;

/// Stations at most. Each has a number among peers' of its own, from the highest down.
pub(super) const MOST: u16 = 16;
/// Bytes that may wait for one.
const MOST_QUEUED: usize = 32 << 20;
/// Bytes below which one is told more of what is chosen.
const ROOM: usize = 256 << 10;
/// How long an attempt may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The pause before the next one, at first and at last (RFC 7854 section 3.2).
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(720));
/// How often numbers are told.
const REPORTS: Duration = Duration::from_secs(60);

/// All stations, and the sessions that they have heard of.
#[derive(Debug, Default)]
pub(super) struct Stations {
    seats: BTreeMap<SocketAddr, Seat>,
    headers: BTreeMap<PeerId, PeerHeader>,
    shadows: Shadows,
    reported: Duration,
}

#[derive(Debug)]
struct Seat {
    viewer: PeerId,
    task: AbortHandle,
    /// What is to be written, while it is connected.
    queue: Option<Rc<Queue>>,
    /// Shadows of peers that there is more of.
    due: BTreeSet<PeerId>,
}

/// What is to be written to a station.
#[derive(Debug, Default)]
struct Queue {
    chunks: RefCell<VecDeque<Chunk>>,
    bytes: Cell<usize>,
    overflown: Cell<bool>,
    wake: Notify,
}

impl Queue {
    fn push(&self, message: Vec<u8>) {
        if self.overflown.get() {
            return;
        }
        self.bytes.set(self.bytes.get() + message.len());
        self.overflown.set(self.bytes.get() > MOST_QUEUED);
        self.chunks.borrow_mut().push_back(message.into());
        self.wake.notify_one();
    }

    /// Routes, as many messages as there are UPDATEs.
    fn push_all(&self, header: &PeerHeader, chunk: &Chunk) {
        let updates = messages(chunk).map(|(_, update)| bmp::route_monitoring(header, update));
        updates.for_each(|message| self.push(message));
    }

    fn pop(&self) -> Option<Chunk> {
        let chunk = self.chunks.borrow_mut().pop_front()?;
        self.bytes.set(self.bytes.get() - chunk.len());
        Some(chunk)
    }
}

impl Stations {
    fn tell(&self, message: impl FnOnce() -> Vec<u8>) {
        let mut queues = self.seats.values().filter_map(|seat| seat.queue.as_ref()).peekable();
        if queues.peek().is_none() {
            return;
        }
        let message = message();
        queues.for_each(|queue| queue.push(message.clone()));
    }

    /// Gives all of them up.
    pub fn end(&mut self) {
        self.seats.values().for_each(|seat| seat.task.abort());
        *self = Stations::default();
    }

    /// Whose viewer somebody is: its own, or that of a shadow.
    fn seat_of(&mut self, viewer: PeerId) -> Option<&mut Seat> {
        let station = self.shadows.station_of(viewer);
        self.seats.iter_mut().find(|(at, seat)| seat.viewer == viewer || Some(**at) == station).map(|(_, seat)| seat)
    }

    fn is_watched(&self) -> bool {
        self.seats.values().any(|seat| seat.queue.is_some())
    }
}

/// The time of day, which stations want to know and nothing here depends on.
fn now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

impl Ground {
    /// Has the stations that are wished for.
    pub(super) fn seat_stations(self: &Rc<Self>, shell: &mut Shell) {
        let wanted: BTreeSet<SocketAddr> = shell.wish.monitoring.stations.iter().copied().take(MOST.into()).collect();
        // What is told begins anew where it is to be something else.
        let other = shell.stations.shadows.want(&shell.wish.monitoring.told);
        let is_gone = |station: &&SocketAddr| other || !wanted.contains(*station);
        let gone: Vec<SocketAddr> = shell.stations.seats.keys().filter(is_gone).copied().collect();
        for station in gone {
            shell.dismiss(station);
        }
        for station in wanted {
            let taken: BTreeSet<PeerId> = shell.stations.seats.values().map(|seat| seat.viewer).collect();
            let free = (0..MOST).map(|number| PeerId(u16::MAX - number)).find(|viewer| !taken.contains(viewer));
            if shell.stations.seats.contains_key(&station) {
                continue;
            }
            let Some(viewer) = free else { continue };
            let task = tokio::task::spawn_local(serve(Rc::clone(self), station)).abort_handle();
            shell.stations.seats.insert(station, Seat { viewer, task, queue: None, due: BTreeSet::new() });
        }
    }
}

impl Shell {
    fn dismiss(&mut self, station: SocketAddr) {
        self.station_left(station);
        if let Some(seat) = self.stations.seats.remove(&station) {
            seat.task.abort();
            tracing::info!("BMP station {station} is told nothing any more");
        }
    }

    /// A station is connected: it is told who we are, which sessions there are, and then everything.
    fn station_came(&mut self, station: SocketAddr, at: Duration) -> Option<Rc<Queue>> {
        let queue = Rc::new(Queue::default());
        let software = concat!("towpathd ", env!("CARGO_PKG_VERSION"));
        queue.push(bmp::initiation(&self.wish.monitoring.name, software));
        let up: Vec<PeerId> = self.roster.seats().filter(|(_, seat)| seat.up).map(|(id, _)| id).collect();
        for id in up {
            if let Some((header, message)) = self.session_up(id) {
                self.stations.headers.insert(id, header);
                queue.push(message);
            }
        }
        queue.push(bmp::table_up(&self.chosen_header()));
        let seat = self.stations.seats.get_mut(&station)?;
        seat.queue = Some(Rc::clone(&queue));
        let viewer = seat.viewer;
        self.speaker.show_peers(at);
        self.speaker.show_chosen(viewer);
        self.cast_shadows_for(station);
        Some(queue)
    }

    fn station_left(&mut self, station: SocketAddr) {
        let Some(seat) = self.stations.seats.get_mut(&station) else { return };
        seat.queue = None;
        let viewer = seat.viewer;
        self.speaker.hide_chosen(viewer);
        self.end_shadows(|shadow| shadow.station == station);
        if !self.stations.is_watched() {
            self.speaker.hide_peers();
            self.stations.headers.clear();
        }
    }

    fn chosen_header(&self) -> PeerHeader {
        PeerHeader { view: View::Chosen, asn: self.wish.asn, identifier: self.wish.router_id, at: now() }
    }

    /// What is said of a session that is up, and the header of all that is said of it later.
    fn session_up(&self, id: PeerId) -> Option<(PeerHeader, Vec<u8>)> {
        let seat = self.roster.seat(id)?;
        let connection = Side::ALL.into_iter().find_map(|side| seat.connection(side))?;
        let local = connection.stream().local_addr().ok()?;
        let agreement = self.speaker.agreement(id)?;
        let view = View::Peer { address: connection.remote.ip(), width: agreement.terms.width };
        let theirs = &agreement.theirs;
        let header = PeerHeader { view, asn: theirs.asn, identifier: theirs.identifier, at: now() };
        let message = bmp::peer_up(&header, (local, connection.remote), self.speaker.opens(id)?);
        Some((header, message))
    }

    /// A session is up.
    pub(super) fn show_session(&mut self, id: PeerId) {
        if !self.stations.is_watched() {
            return;
        }
        if let Some((header, message)) = self.session_up(id) {
            self.stations.headers.insert(id, header);
            self.stations.tell(|| message);
            self.cast_shadows_of(id);
        }
    }

    /// A peer said this.
    pub(super) fn show_update(&mut self, id: PeerId, update: &[u8]) {
        if let Some(header) = self.stations.headers.get(&id) {
            self.stations.tell(|| bmp::route_monitoring(&PeerHeader { at: now(), ..*header }, update));
        }
    }

    /// A session has ended.
    pub(super) fn show_end(&mut self, id: PeerId, end: &End) {
        self.end_shadows(|shadow| shadow.peer == id);
        if let Some(header) = self.stations.headers.remove(&id) {
            self.stations.tell(|| bmp::peer_down(&PeerHeader { at: now(), ..header }, end));
        }
    }

    /// There is more of what is chosen for a viewer.
    pub(super) fn show_more(&mut self, viewer: PeerId) {
        if let Some(seat) = self.stations.seat_of(viewer) {
            if seat.viewer != viewer {
                seat.due.insert(viewer);
            }
            seat.queue.iter().for_each(|queue| queue.wake.notify_one());
        }
    }

    /// A viewer takes nothing, and what is kept for it is too much.
    pub(super) fn give_up_station(&mut self, viewer: PeerId) {
        if let Some(queue) = self.stations.seat_of(viewer).and_then(|seat| seat.queue.as_ref()) {
            queue.overflown.set(true);
            queue.wake.notify_one();
        }
    }

    /// Numbers, now and then.
    pub(super) fn report_to_stations(&mut self, at: Duration) {
        if !self.stations.is_watched() || at < self.stations.reported + REPORTS {
            return;
        }
        self.stations.reported = at;
        for (id, header) in &self.stations.headers {
            let routes = self.speaker.routes().paths_of(*id) as u64;
            let header = PeerHeader { at: now(), ..*header };
            let mut numbers = vec![Statistic::RoutesIn(routes)];
            if self.stations.shadows.are_cast() {
                numbers.push(Statistic::RoutesOut(self.speaker.routes().told(*id) as u64));
            }
            self.stations.tell(|| bmp::statistics(&header, &numbers));
        }
        let chosen = self.speaker.routes().destinations() as u64;
        self.stations.tell(|| bmp::statistics(&self.chosen_header(), &[Statistic::RoutesChosen(chosen)]));
    }

    /// Moves more of what is chosen, and of what peers are told, into a station's queue, as far as there is room.
    fn pull_chosen(&mut self, station: SocketAddr) {
        let Some(seat) = self.stations.seats.get(&station) else { return };
        let (Some(queue), viewer) = (seat.queue.clone(), seat.viewer) else { return };
        let header = self.chosen_header();
        while queue.bytes.get() < ROOM {
            let Some(chunk) = self.speaker.pull_chosen(viewer) else { break };
            queue.push_all(&header, &chunk);
        }
        self.pull_told(station, &queue);
    }
}

/// Connects to a station as often as it takes.
async fn serve(ground: Rc<Ground>, station: SocketAddr) {
    let mut pause = PAUSES.0;
    let mut said = String::new();
    loop {
        let why = match tokio::time::timeout(PATIENCE, TcpStream::connect(station)).await {
            Ok(Ok(stream)) => {
                let Some(queue) = ground.with(|shell, now| shell.station_came(station, now)) else { return };
                tracing::info!("BMP station {station} is connected");
                let why = talk(&ground, station, (&stream, &queue)).await;
                ground.with(|shell, _| shell.station_left(station));
                // One that took everything until now is tried again soon.
                if !queue.overflown.get() {
                    pause = PAUSES.0;
                }
                said.clear();
                why
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it does not answer".to_owned(),
        };
        if said != why {
            tracing::warn!("no connection with BMP station {station}: {why}");
            said = why;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// Writes what there is until the connection ends: the reason in a sentence.
async fn talk(ground: &Rc<Ground>, station: SocketAddr, (stream, queue): (&TcpStream, &Queue)) -> String {
    let mut first: Option<(Chunk, usize)> = None;
    loop {
        if queue.overflown.get() {
            return format!("it takes too slowly: more than {} MiB waited", MOST_QUEUED >> 20);
        }
        if queue.bytes.get() < ROOM {
            ground.with(|shell, _| shell.pull_chosen(station));
        }
        first = first.or_else(|| queue.pop().map(|chunk| (chunk, 0)));
        let ready = tokio::select! {
            readable = stream.readable() => readable.map(|()| None),
            writable = stream.writable(), if first.is_some() => writable.map(|()| first.take()),
            () = queue.wake.notified(), if first.is_none() => continue,
        };
        let done = match ready {
            Ok(None) => hear(stream),
            Ok(Some((chunk, offset))) => write(stream, &chunk, offset).map(|offset| {
                first = (offset < chunk.len()).then_some((chunk, offset));
            }),
            Err(error) => Err(error),
        };
        if let Err(error) = done {
            return error.to_string();
        }
        tokio::task::yield_now().await;
    }
}

/// A station has nothing to say: what it says is thrown away (RFC 7854 section 3.1).
fn hear(stream: &TcpStream) -> io::Result<()> {
    match stream.try_read(&mut [0; 512]) {
        Ok(0) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection")),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(error),
    }
}

/// How far a chunk is written.
fn write(stream: &TcpStream, chunk: &[u8], offset: usize) -> io::Result<usize> {
    match stream.try_write(chunk.get(offset..).unwrap_or_default()) {
        Ok(written) => Ok(offset + written),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(offset),
        Err(error) => Err(error),
    }
}
