//! [`Session`]: one end of a session, of an address and an AS of its own, up to Established; then octets.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bgp::wire::{Capability, Family, Open, message};
use netns_harness::{Namespace, wait_for};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

use super::feed::Heard;

/// Where the router under test is.
pub const ROUTER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// Its AS.
pub const ROUTER_AS: u32 = 65_000;

const LIMIT: Duration = Duration::from_secs(60);
const OPEN: u8 = 1;
const NOTIFICATION: u8 = 3;
const KEEPALIVE: u8 = 4;

/// A peer of the router's by number.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub u16);

impl Peer {
    /// Where it is: 198.18.128.1 and on.
    pub fn address(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 128, 1)) + u32::from(self.0))
    }

    /// Its AS.
    pub fn asn(self) -> u32 {
        100_001 + u32::from(self.0)
    }
}

/// A session that is up.
pub struct Session {
    stream: TcpStream,
    rest: Vec<u8>,
    /// From the connection's first packet to Established.
    pub took: Duration,
}

impl Session {
    /// Tries until the router takes it.
    pub fn open(namespace: &Namespace, peer: Peer) -> Result<Session> {
        Session::open_with_hold(namespace, peer, 180)
    }

    /// The same with another hold time than 180 seconds.
    pub fn open_with_hold(namespace: &Namespace, peer: Peer, hold_secs: u16) -> Result<Session> {
        wait_for(&format!("a session of {}", peer.address()), LIMIT, || Session::once(namespace, (peer, hold_secs)))
    }

    /// A connection on which nothing was said yet, and when its first packet went.
    pub fn connect(namespace: &Namespace, peer: Peer) -> Result<(TcpStream, Instant)> {
        let fd = namespace.within(|| {
            let fd = socket(AddressFamily::INET, SocketType::STREAM, None)?;
            bind(&fd, &SocketAddr::from((peer.address(), 0)))?;
            Ok(fd)
        })?;
        let began = Instant::now();
        connect(&fd, &SocketAddr::from((ROUTER, 179)))?;
        Ok((TcpStream::from(fd), began))
    }

    fn once(namespace: &Namespace, (peer, hold_secs): (Peer, u16)) -> Result<Session> {
        let (stream, began) = Session::connect(namespace, peer)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut session = Session { stream, rest: Vec::new(), took: Duration::ZERO };
        let capabilities = vec![Capability::MultiProtocol(Family::IPV4), Capability::FourOctetAs(peer.asn())];
        let open = Open { asn: peer.asn(), hold_secs, identifier: peer.address(), capabilities };
        session.send(&message::open(&open))?;
        session.expect(OPEN)?;
        session.send(&message::keepalive())?;
        session.expect(KEEPALIVE)?;
        session.took = began.elapsed();
        session.stream.set_read_timeout(Some(LIMIT))?;
        Ok(session)
    }

    fn expect(&mut self, kind: u8) -> Result<()> {
        loop {
            if let Some(length) =
                self.rest.get(16..18).map(|length| usize::from(u16::from_be_bytes([length[0], length[1]])))
                && self.rest.len() >= length
            {
                let message: Vec<u8> = self.rest.drain(..length).collect();
                match message[18] {
                    NOTIFICATION => bail!("refused: {:?}", &message[19..]),
                    other if other == kind => return Ok(()),
                    _ => continue,
                }
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> Result<()> {
        let mut buffer = [0; 4096];
        let count = self.stream.read(&mut buffer)?;
        ensure!(count > 0, "closed");
        self.rest.extend(&buffer[..count]);
        Ok(())
    }

    /// Says something.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).context("the router does not read")
    }

    /// Lets a thread read what it is told and throw it away, for whoever only speaks.
    pub fn deaf(self) -> Result<Session> {
        let mut stream = self.stream.try_clone()?;
        std::thread::spawn(move || {
            let mut buffer = vec![0; 256 << 10];
            while stream.read(&mut buffer).is_ok_and(|count| count > 0) {}
        });
        Ok(self)
    }

    /// The same session, for another thread that speaks.
    pub fn speaker(&self) -> Result<Session> {
        Ok(Session { stream: self.stream.try_clone()?, rest: Vec::new(), took: self.took })
    }

    /// Ends it, whoever else has it.
    pub fn close(self) -> Result<()> {
        Ok(self.stream.shutdown(std::net::Shutdown::Both)?)
    }

    /// Reads until enough is heard. The answer is `false` when the session ended before.
    pub fn listen(&mut self, heard: &mut Heard, enough: impl Fn(&Heard) -> bool) -> Result<bool> {
        let mut buffer = vec![0; 256 << 10];
        loop {
            let taken = heard.take(&self.rest);
            self.rest.drain(..taken);
            if enough(heard) {
                return Ok(true);
            }
            let count = match self.stream.read(&mut buffer) {
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Ok(false),
                other => other.context("nothing more was heard")?,
            };
            if count == 0 {
                return Ok(false);
            }
            self.rest.extend(&buffer[..count]);
        }
    }

    /// Says that it is there once a second, for so long. The times from one keepalive of the router's to the next, milliseconds.
    pub fn beats(mut self, span: Duration) -> Result<Vec<f64>> {
        self.stream.set_read_timeout(Some(Duration::from_millis(50)))?;
        let (began, mut said, mut heard) = (Instant::now(), Instant::now(), Instant::now());
        let (mut beats, mut buffer) = (Vec::new(), vec![0; 256 << 10]);
        while began.elapsed() < span {
            if said.elapsed() >= Duration::from_secs(1) {
                self.send(&message::keepalive())?;
                said = Instant::now();
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => bail!("the router ended a session that did nothing"),
                Ok(count) => self.rest.extend(&buffer[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error.into()),
            }
            let mut at = 0;
            while let Some(header) = self.rest.get(at..at + 19) {
                let length = usize::from(u16::from_be_bytes([header[16], header[17]]));
                if self.rest.len() < at + length {
                    break;
                }
                if header[18] == KEEPALIVE {
                    beats.push(heard.elapsed().as_secs_f64() * 1000.0);
                    heard = Instant::now();
                }
                at += length;
            }
            self.rest.drain(..at);
        }
        // The first began before anybody looked.
        beats.drain(..beats.len().min(1));
        Ok(beats)
    }
}
