//! A speaker on sockets of the standard library, for tests: one thread that decides, one a connection that reads.

use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use bgp::machine::collision::Side;
use bgp::rib::PeerId;
use bgp::speaker::{LocalAddresses, Output, PeerConfig, Speaker};
use netns_harness::Namespace;

/// The peer of a test with one.
pub const PEER: PeerId = PeerId(1);

/// One end of one of a peer's connections.
type End = (PeerId, Side);

/// What the sockets say.
enum Event {
    Accepted(TcpStream),
    Connected(PeerId, std::io::Result<TcpStream>),
    Bytes(End, u64, Vec<u8>),
    Closed(End, u64),
}

/// A speaker and its sockets.
pub struct Driver {
    pub speaker: Speaker,
    /// Everything that the speaker said but for bytes to send.
    pub seen: Vec<Output>,
    namespace: Namespace,
    local: LocalAddresses,
    peers: BTreeMap<PeerId, IpAddr>,
    streams: HashMap<End, (u64, TcpStream)>,
    events: (Sender<Event>, Receiver<Event>),
    begun: Instant,
    connections: u64,
}

impl Driver {
    /// Listens at the namespace's port 179 from now on.
    pub fn new(speaker: Speaker, namespace: Namespace, local: LocalAddresses) -> Result<Driver> {
        let listener = namespace.within(|| Ok(TcpListener::bind(("::", 179))?))?;
        let events = channel();
        let sender: Sender<Event> = events.0.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if sender.send(Event::Accepted(stream)).is_err() {
                    return;
                }
            }
        });
        let (seen, peers, streams, begun) = (Vec::new(), BTreeMap::new(), HashMap::new(), Instant::now());
        Ok(Driver { speaker, seen, namespace, local, peers, streams, events, begun, connections: 0 })
    }

    /// One more peer, or another one in its place.
    pub fn add_peer(&mut self, id: PeerId, config: PeerConfig) {
        self.peers.insert(id, config.address);
        let now = self.now();
        self.speaker.add_peer(id, config, now);
    }

    /// Our IPv4 address.
    pub fn ours(&self) -> IpAddr {
        self.local.v4.unwrap().into()
    }

    /// The time, as the speaker counts it.
    pub fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Another speaker in place of this one, which dies without a word: its connections are reset.
    pub fn replace(&mut self, speaker: Speaker) {
        for (_, (_, stream)) in self.streams.drain() {
            stream.shutdown(std::net::Shutdown::Both).ok();
        }
        self.speaker = speaker;
    }

    /// Lets the speaker speak until something is so.
    pub fn until(&mut self, limit: Duration, mut so: impl FnMut(&mut Driver) -> bool) -> Result<()> {
        let end = Instant::now() + limit;
        loop {
            while self.speaker.flush() {}
            self.obey();
            if so(self) {
                return Ok(());
            }
            if Instant::now() > end {
                let all: Vec<_> = self.peers.keys().map(|id| self.speaker.status(*id)).collect();
                bail!("after {limit:?}: {all:?}, seen {:?}", self.seen);
            }
            let due = self.speaker.deadline().map_or(limit, |at| at.saturating_sub(self.now()));
            match self.events.1.recv_timeout(due.min(Duration::from_millis(50))) {
                Ok(event) => self.take(event),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => bail!("nobody listens"),
            }
            let now = self.now();
            self.speaker.tick(now);
        }
    }

    fn take(&mut self, event: Event) {
        let now = self.now();
        match event {
            Event::Accepted(stream) => {
                let from = stream.peer_addr().map(|from| from.ip().to_canonical()).ok();
                let id = self.peers.iter().find(|(_, address)| Some(**address) == from).map(|(id, _)| *id);
                if let Some(id) = id.filter(|id| self.speaker.may_accept(*id, now)) {
                    self.add((id, Side::Incoming), stream);
                }
            }
            Event::Connected(id, Ok(stream)) => self.add((id, Side::Outgoing), stream),
            Event::Connected(id, Err(_)) => self.speaker.closed(id, Side::Outgoing, now),
            Event::Bytes(end, number, bytes) if self.is(end, number) => {
                self.speaker.received(end.0, end.1, &bytes, now);
            }
            Event::Closed(end, number) if self.is(end, number) => {
                self.streams.remove(&end);
                self.speaker.closed(end.0, end.1, now);
            }
            Event::Bytes(..) | Event::Closed(..) => {}
        }
    }

    fn is(&self, end: End, number: u64) -> bool {
        self.streams.get(&end).is_some_and(|(known, _)| *known == number)
    }

    fn add(&mut self, end: End, stream: TcpStream) {
        self.connections += 1;
        let (number, sender) = (self.connections, self.events.0.clone());
        let mut reader = stream.try_clone().unwrap();
        stream.set_nodelay(true).unwrap();
        std::thread::spawn(move || {
            let mut buffer = vec![0; 64 << 10];
            loop {
                let event = match reader.read(&mut buffer) {
                    Ok(0) | Err(_) => Event::Closed(end, number),
                    Ok(count) => Event::Bytes(end, number, buffer[..count].to_vec()),
                };
                let last = matches!(event, Event::Closed(..));
                if sender.send(event).is_err() || last {
                    return;
                }
            }
        });
        self.streams.insert(end, (number, stream));
        let now = self.now();
        self.speaker.connected(end.0, end.1, self.local, now);
    }

    fn obey(&mut self) {
        for output in self.speaker.outputs() {
            match &output {
                Output::Connect(id) => self.connect(*id),
                Output::Send(id, side) => {
                    while let Some(chunk) = self.speaker.pull(*id, *side) {
                        self.write((*id, *side), &chunk);
                    }
                    continue;
                }
                Output::Close(id, side, farewell) => {
                    farewell.iter().for_each(|chunk| self.write((*id, *side), chunk));
                    if let Some((_, stream)) = self.streams.remove(&(*id, *side)) {
                        stream.shutdown(std::net::Shutdown::Both).ok();
                    }
                }
                _ => {}
            }
            self.seen.push(output);
        }
    }

    fn write(&mut self, end: End, bytes: &[u8]) {
        // A connection that broke is told by its reader.
        self.streams.get_mut(&end).map(|(_, stream)| stream.write_all(bytes).ok());
    }

    fn connect(&self, id: PeerId) {
        let Some(address) = self.peers.get(&id) else { return };
        let (namespace, sender, to) = (self.namespace.clone(), self.events.0.clone(), SocketAddr::new(*address, 179));
        std::thread::spawn(move || {
            let tried = namespace.within(|| Ok(TcpStream::connect_timeout(&to, Duration::from_secs(3))));
            let stream = tried.unwrap_or_else(|error| Err(std::io::Error::other(error.to_string())));
            sender.send(Event::Connected(id, stream)).ok();
        });
    }
}
