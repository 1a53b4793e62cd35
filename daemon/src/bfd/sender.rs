//! [`PathSender`]: the socket that one session sends from, at a port of its own (RFC 5881 section 4), opened again when its link or
//! address was away.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use bgp::bfd::{Hops, SOURCE_PORTS};
use kernel::datagram::{Course, Sender};

use crate::bgp::liveness::{BfdHops, BfdKey};

/// Ports that are tried before we give up for now.
const ATTEMPTS: u16 = 64;

/// Where a session's packets leave.
#[derive(Debug)]
pub struct PathSender {
    key: BfdKey,
    socket: Option<Sender>,
    /// Why the last packet did not leave, if it did not.
    trouble: Option<io::ErrorKind>,
    port: u16,
}

impl PathSender {
    /// For this path; the number chooses where the search for a free port begins.
    pub fn new(key: BfdKey, number: u32) -> PathSender {
        let span = u32::from(SOURCE_PORTS.end() - SOURCE_PORTS.start()) + 1;
        let port = SOURCE_PORTS.start() + u16::try_from(number % span).unwrap_or(0);
        PathSender { key, socket: None, trouble: None, port }
    }

    /// Sees to it that there is a socket; the number of the link that it is bound to, if it was opened now and there is one.
    pub fn open(&mut self) -> Option<u32> {
        if self.socket.is_some() {
            return None;
        }
        match self.find_port() {
            Ok((socket, link)) => {
                self.socket = Some(socket);
                link
            }
            Err(error) => {
                self.complain(&error);
                None
            }
        }
    }

    /// Sends a packet, if it can be sent. Each kind of trouble is said once, until it is over.
    pub fn send(&mut self, bytes: &[u8]) {
        let Some(socket) = &self.socket else { return };
        let Err(error) = socket.send(bytes) else {
            self.trouble = None;
            return;
        };
        // A full queue is what BFD is there to notice; with anything else the link or the address may be another now.
        if error.kind() != io::ErrorKind::WouldBlock {
            self.socket = None;
            self.complain(&error);
        }
    }

    fn find_port(&mut self) -> io::Result<(Sender, Option<u32>)> {
        let mut attempts = ATTEMPTS;
        loop {
            let course =
                Course { from: SocketAddr::new(self.key.local, self.port), to: to(&self.key), link: self.key.link };
            match Sender::open(&course) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempts > 0 => {
                    attempts -= 1;
                    self.port = self.port.checked_add(1).unwrap_or(*SOURCE_PORTS.start());
                }
                result => return result,
            }
        }
    }

    fn complain(&mut self, error: &io::Error) {
        if self.trouble.replace(error.kind()) != Some(error.kind()) {
            let link = self.key.link.map(|link| link.to_string());
            tracing::warn!(peer = %self.key.remote, link, %error, "BFD cannot send to this peer; it is tried again");
        }
    }
}

fn to(key: &BfdKey) -> SocketAddr {
    let port = hops(key).port();
    match key.remote {
        IpAddr::V4(address) => SocketAddr::new(address.into(), port),
        IpAddr::V6(address) => SocketAddrV6::new(address, port, 0, 0).into(),
    }
}

/// How far the peer is.
pub fn hops(key: &BfdKey) -> Hops {
    match key.hops {
        BfdHops::Single => Hops::One,
        BfdHops::Multi { least_ttl } => Hops::Many { least_ttl },
    }
}

/// Our address, if it matters which.
pub fn local(key: &BfdKey) -> Option<IpAddr> {
    let none = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
    (!none.contains(&key.local)).then_some(key.local)
}
