//! [`Receivers`]: the ports that control packets come to, open while a path of their kind is watched.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::net::IpAddr;
use std::task::Poll;
use std::time::Duration;

use bgp::bfd::Arrival;
use ipam::Family;
use kernel::datagram::{Inbox, Receiver};
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

/// From one attempt to open a port that somebody else has to the next.
const RETRY: Duration = Duration::from_secs(5);
/// Packets that are read of one port before the time is looked at again: what the socket can hold, so that a flood hides nobody's.
const MOST: usize = 8192;

/// A kind of path, by what it needs open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    is_v6: bool,
    number: u16,
}

impl Port {
    /// What a path to this address needs.
    pub fn of(remote: IpAddr, number: u16) -> Port {
        Port { is_v6: remote.is_ipv6(), number }
    }

    fn family(self) -> Family {
        if self.is_v6 { Family::V6 } else { Family::V4 }
    }
}

/// A port that is not open.
#[derive(Clone, Copy, Debug)]
struct Closed {
    until: Instant,
    why: Option<std::io::ErrorKind>,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Receivers {
    open: BTreeMap<Port, AsyncFd<Receiver>>,
    /// Those that could not be opened.
    closed: BTreeMap<Port, Closed>,
    inbox: Inbox,
    /// A port had more than was read of it.
    more: bool,
}

impl Receivers {
    /// These ports are needed, and no others.
    pub fn want(&mut self, ports: &BTreeSet<Port>) {
        self.open.retain(|port, _| ports.contains(port));
        self.closed.retain(|port, _| ports.contains(port));
        for port in ports {
            if !self.open.contains_key(port) {
                self.closed.entry(*port).or_insert_with(|| Closed { until: Instant::now(), why: None });
            }
        }
        self.retry();
    }

    /// When a port is tried again.
    pub fn due(&self) -> Option<Instant> {
        self.closed.values().map(|closed| closed.until).min()
    }

    /// Tries those whose time has come. A failure is said once, until it is over.
    pub fn retry(&mut self) {
        let now = Instant::now();
        let due: Vec<Port> =
            self.closed.iter().filter(|(_, closed)| closed.until <= now).map(|(port, _)| *port).collect();
        for port in due {
            // `new` is deprecated because a type of one's own may close its descriptor while it is registered; a `Receiver`
            // has one socket for as long as it lives.
            #[allow(deprecated)]
            let opened = Receiver::open(port.family(), port.number).and_then(AsyncFd::new);
            match opened {
                Ok(receiver) => {
                    self.closed.remove(&port);
                    self.open.insert(port, receiver);
                }
                Err(error) => {
                    let before = self.closed.insert(port, Closed { until: now + RETRY, why: Some(error.kind()) });
                    if before.is_none_or(|before| before.why != Some(error.kind())) {
                        let (port, family) = (port.number, port.family());
                        tracing::warn!(port, %family, %error, "BFD hears nothing: its port cannot be opened; it is tried again");
                    }
                }
            }
        }
    }

    /// Waits until something may have come.
    pub async fn heard(&self) {
        if self.more {
            return tokio::task::yield_now().await;
        }
        poll_fn(|context| {
            for receiver in self.open.values() {
                // Cleared before it is read: what comes from here on wakes again.
                if let Poll::Ready(Ok(mut ready)) = receiver.poll_read_ready(context) {
                    ready.clear_ready();
                    return Poll::Ready(());
                }
            }
            Poll::Pending
        })
        .await;
    }

    /// Reads what has come.
    pub fn read(&mut self, mut each: impl FnMut(&Arrival, &[u8])) {
        self.more = false;
        let mut broken = None;
        for (port, receiver) in &self.open {
            let mut count = 0;
            loop {
                let came = receiver.get_ref().receive(&mut self.inbox, |heard, bytes| {
                    let arrival = Arrival {
                        source: heard.source,
                        destination: heard.destination,
                        link: heard.link,
                        ttl: heard.hop_limit,
                        port: port.number,
                    };
                    each(&arrival, bytes);
                });
                match came {
                    Ok(0) => break,
                    Ok(came) => count += came,
                    Err(error) => {
                        tracing::warn!(port = port.number, %error, "the socket of BFD broke and is opened again");
                        broken = Some(*port);
                        break;
                    }
                }
                if count >= MOST {
                    self.more = true;
                    break;
                }
            }
        }
        if let Some(port) = broken {
            self.open.remove(&port);
            self.closed.insert(port, Closed { until: Instant::now() + RETRY, why: None });
        }
    }
}
