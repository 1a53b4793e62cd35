//! A speaker on sockets of the standard library, for tests: one peer, one thread that decides, one a connection that reads.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use bgp::machine::collision::Side;
use bgp::rib::PeerId;
use bgp::speaker::{LocalAddresses, Output, Speaker};
use netns_harness::Namespace;

pub const PEER: PeerId = PeerId(1);

/// What the sockets say.
enum Event {
    Accepted(TcpStream),
    Connected(std::io::Result<TcpStream>),
    Bytes(Side, u64, Vec<u8>),
    Closed(Side, u64),
}

/// A speaker and its sockets.
pub struct Driver {
    pub speaker: Speaker,
    /// Everything that the speaker said but for bytes to send.
    pub seen: Vec<Output>,
    namespace: Namespace,
    addresses: (IpAddr, LocalAddresses),
    streams: HashMap<Side, (u64, TcpStream)>,
    events: (Sender<Event>, Receiver<Event>),
    begun: Instant,
    connections: u64,
}

impl Driver {
    /// Listens at the namespace's port 179 from now on.
    pub fn new(speaker: Speaker, namespace: Namespace, addresses: (IpAddr, LocalAddresses)) -> Result<Driver> {
        let listener = namespace.within(|| Ok(TcpListener::bind(("0.0.0.0", 179))?))?;
        let events = channel();
        let sender: Sender<Event> = events.0.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if sender.send(Event::Accepted(stream)).is_err() {
                    return;
                }
            }
        });
        let (seen, streams, begun) = (Vec::new(), HashMap::new(), Instant::now());
        Ok(Driver { speaker, seen, namespace, addresses, streams, events, begun, connections: 0 })
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
                bail!("after {limit:?}: {:?}, seen {:?}", self.speaker.status(PEER), self.seen);
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
            Event::Accepted(stream) if self.speaker.may_accept(PEER, now) => self.add(Side::Incoming, stream),
            Event::Accepted(_) => {}
            Event::Connected(Ok(stream)) => self.add(Side::Outgoing, stream),
            Event::Connected(Err(_)) => self.speaker.closed(PEER, Side::Outgoing, now),
            Event::Bytes(side, number, bytes) if self.is(side, number) => {
                self.speaker.received(PEER, side, &bytes, now);
            }
            Event::Closed(side, number) if self.is(side, number) => {
                self.streams.remove(&side);
                self.speaker.closed(PEER, side, now);
            }
            Event::Bytes(..) | Event::Closed(..) => {}
        }
    }

    fn is(&self, side: Side, number: u64) -> bool {
        self.streams.get(&side).is_some_and(|(known, _)| *known == number)
    }

    fn add(&mut self, side: Side, stream: TcpStream) {
        self.connections += 1;
        let (number, sender) = (self.connections, self.events.0.clone());
        let mut reader = stream.try_clone().unwrap();
        stream.set_nodelay(true).unwrap();
        std::thread::spawn(move || {
            let mut buffer = vec![0; 64 << 10];
            loop {
                let event = match reader.read(&mut buffer) {
                    Ok(0) | Err(_) => Event::Closed(side, number),
                    Ok(count) => Event::Bytes(side, number, buffer[..count].to_vec()),
                };
                let last = matches!(event, Event::Closed(..));
                if sender.send(event).is_err() || last {
                    return;
                }
            }
        });
        self.streams.insert(side, (number, stream));
        let now = self.now();
        self.speaker.connected(PEER, side, self.addresses.1, now);
    }

    fn obey(&mut self) {
        for output in self.speaker.outputs() {
            match &output {
                Output::Connect(_) => self.connect(),
                Output::Send(_, side) => {
                    while let Some(chunk) = self.speaker.pull(PEER, *side) {
                        self.write(*side, &chunk);
                    }
                    continue;
                }
                Output::Close(_, side, farewell) => {
                    farewell.iter().for_each(|chunk| self.write(*side, chunk));
                    if let Some((_, stream)) = self.streams.remove(side) {
                        stream.shutdown(std::net::Shutdown::Both).ok();
                    }
                }
                _ => {}
            }
            self.seen.push(output);
        }
    }

    fn write(&mut self, side: Side, bytes: &[u8]) {
        // A connection that broke is told by its reader.
        self.streams.get_mut(&side).map(|(_, stream)| stream.write_all(bytes).ok());
    }

    fn connect(&self) {
        let (namespace, sender, to) =
            (self.namespace.clone(), self.events.0.clone(), SocketAddr::new(self.addresses.0, 179));
        std::thread::spawn(move || {
            let tried = namespace.within(|| Ok(TcpStream::connect_timeout(&to, Duration::from_secs(3))));
            let stream = tried.unwrap_or_else(|error| Err(std::io::Error::other(error.to_string())));
            sender.send(Event::Connected(stream)).ok();
        });
    }
}
