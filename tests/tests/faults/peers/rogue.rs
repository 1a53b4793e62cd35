//! Ends of BGP sessions by hand: a [`Rogue`] that says and hears octets from an address of its own, and a [`Witness`] that does what it should and
//! looks when it hears from the other end.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bgp::wire::capability::GracefulRestart;
use bgp::wire::refresh::Subtype;
use bgp::wire::{Capability, Family, Kind, Open, Refresh, message};
use netns_harness::{Namespace, wait_for};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket, sockopt};

use crate::cluster::LIMIT;

/// The hold time of everybody here, the least that there is (RFC 4271 section 4.2).
pub const HOLD: Duration = Duration::from_secs(3);

const HEADER: usize = 19;

/// One end of a connection with the speaker.
pub struct Rogue {
    /// The connection.
    pub stream: TcpStream,
    /// Where it comes from.
    pub address: Ipv4Addr,
    rest: Vec<u8>,
}

/// How much a rogue lets the kernel hold for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// As much as usual.
    Usual,
    /// As little as may be.
    Least,
}

impl Rogue {
    /// A connection from an address of the namespace's.
    pub fn connect(from: (&Namespace, Ipv4Addr), to: Ipv4Addr, window: Window) -> Result<Rogue> {
        let (namespace, address) = from;
        let fd = namespace.within(|| {
            let fd = socket(AddressFamily::INET, SocketType::STREAM, None)?;
            if window == Window::Least {
                sockopt::set_socket_recv_buffer_size(&fd, 1)?;
            }
            bind(&fd, &SocketAddr::from((address, 0)))?;
            Ok(fd)
        })?;
        connect(&fd, &SocketAddr::from((to, 179)))?;
        let stream = TcpStream::from(fd);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        Ok(Rogue { stream, address, rest: Vec::new() })
    }

    /// A session of this AS, tried until it is up.
    pub fn meet(from: (&Namespace, Ipv4Addr), to: Ipv4Addr, (asn, window): (u32, Window)) -> Result<Rogue> {
        wait_for(&format!("a session of {}", from.1), LIMIT, || {
            let mut rogue = Rogue::connect(from, to, window)?;
            rogue.say(&open(asn, rogue.address))?;
            rogue.hear(Kind::Open)?;
            rogue.say(&message::keepalive())?;
            rogue.hear(Kind::Keepalive)?;
            Ok(rogue)
        })
    }

    /// Says something.
    pub fn say(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// The next message: its kind and body. Nothing at the end.
    pub fn next(&mut self) -> Result<Option<(u8, Vec<u8>)>> {
        loop {
            let length = self.rest.get(16..18).map(|length| usize::from(u16::from_be_bytes([length[0], length[1]])));
            if let Some(length) = length.filter(|length| self.rest.len() >= *length) {
                let whole: Vec<u8> = self.rest.drain(..length).collect();
                return Ok(Some((whole[18], whole[HEADER..].to_vec())));
            }
            let mut buffer = [0; 16 << 10];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(None),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error.into()),
                Ok(count) => self.rest.extend(&buffer[..count]),
            }
        }
    }

    /// Waits for a message of a kind, past all others.
    pub fn hear(&mut self, kind: Kind) -> Result<Vec<u8>> {
        loop {
            let (number, body) = self.next()?.context("the connection ended")?;
            if number == kind.number() {
                return Ok(body);
            }
            if number == Kind::Notification.number() {
                bail!("refused: {body:?}");
            }
        }
    }

    /// Listens to the end: code and subcode of the last words, if there were any.
    pub fn farewell(mut self) -> Result<Option<(u8, u8)>> {
        let mut last = None;
        while let Some((kind, body)) = self.next()? {
            if kind == Kind::Notification.number() {
                last = Some((body[0], body[1]));
            }
        }
        Ok(last)
    }

    /// Says from now on that it is there, three times in each hold time.
    pub fn beat(&self) -> Result<()> {
        let mut voice = self.stream.try_clone()?;
        std::thread::spawn(move || {
            while voice.write_all(&message::keepalive()).is_ok() {
                std::thread::park_timeout(HOLD / 3);
            }
        });
        Ok(())
    }

    /// Says the same for so long, as fast as it is taken, and keeps the session meanwhile; how much was taken is the answer. What comes is thrown away.
    pub fn flood(&mut self, span: Duration, feed: &[u8]) -> Result<usize> {
        let mut reader = self.stream.try_clone()?;
        std::thread::spawn(move || {
            let mut buffer = vec![0; 256 << 10];
            while reader.read(&mut buffer).is_ok_and(|count| count > 0) {}
        });
        let (end, mut said) = (Instant::now() + span, 0);
        while Instant::now() < end {
            self.say(feed)?;
            self.say(&message::keepalive())?;
            said += feed.len();
        }
        Ok(said)
    }
}

/// An OPEN with everything that makes work.
pub fn open(asn: u32, identifier: Ipv4Addr) -> Vec<u8> {
    let capabilities = vec![
        Capability::MultiProtocol(Family::IPV4),
        Capability::RouteRefresh,
        Capability::EnhancedRefresh,
        Capability::FourOctetAs(asn),
        Capability::GracefulRestart(GracefulRestart::default()),
    ];
    message::open(&Open { asn, hold_secs: 3, identifier, capabilities })
}

/// UPDATEs that announce 10.x.y.0/24 by number, each with attributes of its own, or withdraw them.
pub fn routes(rogue: &Rogue, asn: u32, (numbers, round): (std::ops::Range<u32>, Option<u32>)) -> Vec<u8> {
    let mut out = Vec::new();
    for number in numbers {
        let [_, a, b, _] = (number << 8).to_be_bytes();
        let prefix = [24, 100 + a, b, number as u8];
        message::write(Kind::Update, &mut out, |out| match round {
            None => out.extend([&[0, 4][..], &prefix, &[0, 0]].concat()),
            Some(round) => {
                let path = [asn, 64_900 + round, number + 1].map(u32::to_be_bytes).concat();
                let attributes =
                    [&[0x40, 1, 1, 0, 0x40, 2, 14, 2, 3][..], &path, &[0x40, 3, 4], &rogue.address.octets()].concat();
                out.extend([&[0, 0, 0, attributes.len() as u8][..], &attributes, &prefix].concat());
            }
        });
    }
    out
}

/// The beginning and the end of a refresh, a request for one, and an End-of-RIB: each asks for a look at all routes.
pub fn refreshes() -> Vec<u8> {
    let marker = |subtype| message::refresh(&Refresh { family: Family::IPV4, subtype });
    let all = [marker(Subtype::Request), marker(Subtype::Begin), marker(Subtype::End)].concat();
    [all, bgp::wire::update::end_of_rib(Family::IPV4)].concat().repeat(1000)
}

/// A peer that does what it should: it says that it is there three times in each hold time, and looks when it hears the same.
pub struct Witness {
    ends: Arc<AtomicBool>,
    looks: JoinHandle<Result<Vec<Duration>>>,
}

impl Witness {
    /// Begins to look.
    pub fn begin(mut session: Rogue) -> Result<Witness> {
        let ends = Arc::new(AtomicBool::new(false));
        session.stream.set_read_timeout(Some(HOLD))?;
        session.beat()?;
        let over = Arc::clone(&ends);
        let looks = std::thread::spawn(move || {
            let (mut gaps, mut last) = (Vec::new(), Instant::now());
            while !over.load(Ordering::Relaxed) {
                session.hear(Kind::Keepalive).context("the witness heard nothing for the hold time, or its end")?;
                gaps.push(last.elapsed());
                last = Instant::now();
            }
            Ok(gaps)
        });
        Ok(Witness { ends, looks })
    }

    /// The times from one keepalive to the next, the longest last; an error if the session ended.
    pub fn end(self) -> Result<Vec<Duration>> {
        self.ends.store(true, Ordering::Relaxed);
        let mut gaps = self.looks.join().map_err(|_| anyhow::anyhow!("the witness panicked"))??;
        gaps.sort();
        Ok(gaps)
    }
}
