//! [`Proxy`]: the `udp` backend's way for packets — what the kernel routes into the TUN device goes to the peer that has its
//! subnet, and what peers send goes into the device. A datagram is one IPv4 packet and nothing else, as flannel's is.
//!
//! Two threads, one a direction, and nothing shared but the table: the node loop is never in the way of a packet. Owned
//! here are descriptors; the device is the hand's to make, and stays when we go, so that a restart costs no connection.
//!
//! What comes from the network is trusted with nothing. It goes to this node's own subnet or nowhere, so that no datagram
//! makes this node send one: no loop, no way around a firewall, no answer that is longer than the question.

mod icmp;
mod inward;
mod merge;
mod offload;
mod outward;
mod packet;
mod segment;
mod socket;
mod table;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::Add;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use backends::LinkName;
use ipnet::Ipv4Net;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

use crate::error::{Error, Result};
use crate::tun::Tun;
use socket::Socket;
use table::Table;

/// Where a proxy stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The TUN device.
    pub device: LinkName,
    /// The address and port that peers send to; the port is theirs too.
    pub local: SocketAddrV4,
    /// This node's own subnet: what comes is for it, or for nobody.
    pub subnet: Ipv4Net,
}

/// What became of packets since the proxy began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Packets sent to peers.
    pub sent: u64,
    /// Packets received from peers and passed on.
    pub received: u64,
    /// Packets from this node for an address that no peer has.
    pub no_node: u64,
    /// Packets whose time to live was over.
    pub aged: u64,
    /// What came and is no IPv4 packet, or none for this node's subnet from another.
    pub foreign: u64,
    /// Packets that the kernel did not take.
    pub refused: u64,
}

impl Add for Traffic {
    type Output = Traffic;
    fn add(self, more: Traffic) -> Traffic {
        Traffic {
            sent: self.sent + more.sent,
            received: self.received + more.received,
            no_node: self.no_node + more.no_node,
            aged: self.aged + more.aged,
            foreign: self.foreign + more.foreign,
            refused: self.refused + more.refused,
        }
    }
}

#[derive(Debug, Default)]
struct Counters {
    sent: AtomicU64,
    received: AtomicU64,
    no_node: AtomicU64,
    aged: AtomicU64,
    foreign: AtomicU64,
    refused: AtomicU64,
}

fn count(counter: &AtomicU64, more: usize) {
    counter.fetch_add(more as u64, Ordering::Relaxed);
}

/// A proxy that runs until it is dropped, or its device goes.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// What both threads and the owner have.
#[derive(Debug)]
struct Shared {
    place: Place,
    tun: Tun,
    socket: Socket,
    table: Mutex<Arc<Table>>,
    counters: Counters,
    /// Readable once it is time to stop.
    stop: OwnedFd,
}

impl Proxy {
    /// Takes the device, which must be there, and begins.
    ///
    /// # Errors
    /// When the device or the address cannot be had; nothing runs then.
    pub fn start(place: Place) -> Result<Proxy> {
        let system = |source: io::Error| Error::System { doing: "starting the udp backend's proxy".to_owned(), source };
        let shared = Arc::new(Shared {
            place,
            socket: Socket::bind(place.local)?,
            tun: Tun::attach(place.device)?,
            table: Mutex::default(),
            counters: Counters::default(),
            stop: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(|error| system(error.into()))?,
        });
        let mut proxy = Proxy { shared, threads: Vec::new() };
        for (name, run) in [("udp-outward", outward::run as fn(&Shared)), ("udp-inward", inward::run)] {
            let shared = Arc::clone(&proxy.shared);
            // When one ends for want of a device the other has no use: the owner sees that the proxy does not run.
            let thread = Builder::new().name(name.to_owned()).spawn(move || {
                run(&shared);
                shared.end();
            });
            proxy.threads.push(thread.map_err(system)?);
        }
        Ok(proxy)
    }

    /// Where it stands.
    pub fn place(&self) -> Place {
        self.shared.place
    }

    /// Whether it runs: not when its device was deleted.
    pub fn runs(&self) -> bool {
        self.threads.iter().all(|thread| !thread.is_finished())
    }

    /// Tells it who has which subnet, or that nobody has it, from the next packet on.
    pub fn tell(&self, changes: impl IntoIterator<Item = (Ipv4Net, Option<Ipv4Addr>)>) {
        let mut table = self.shared.table.lock().unwrap_or_else(PoisonError::into_inner);
        // A copy only while packets are on their way by the one that was.
        let table = Arc::make_mut(&mut table);
        changes.into_iter().for_each(|(subnet, peer)| table.set(subnet, peer));
    }

    /// What became of packets.
    pub fn traffic(&self) -> Traffic {
        let Counters { sent, received, no_node, aged, foreign, refused } = &self.shared.counters;
        let [sent, received, no_node, aged, foreign, refused] =
            [sent, received, no_node, aged, foreign, refused].map(|counter| counter.load(Ordering::Relaxed));
        Traffic { sent, received, no_node, aged, foreign, refused }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.end();
        for thread in self.threads.drain(..) {
            thread.join().ok();
        }
    }
}

impl Shared {
    fn table(&self) -> Arc<Table> {
        Arc::clone(&self.table.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn end(&self) {
        // It fails only when the number in it is at its largest, and then it is readable already.
        rustix::io::write(&self.stop, &1_u64.to_ne_bytes()).ok();
    }

    /// Waits until there is something to read. `false`: it is time to stop.
    fn wait(&self, on: BorrowedFd<'_>) -> bool {
        let mut wanted = [PollFd::from_borrowed_fd(on, PollFlags::IN), PollFd::new(&self.stop, PollFlags::IN)];
        match poll(&mut wanted, None) {
            Ok(_) => wanted[1].revents().is_empty(),
            Err(rustix::io::Errno::INTR) => true,
            Err(_) => false,
        }
    }

    /// Whether the other thread or the owner wants us to stop: asked between batches, for under load nobody waits.
    fn stopped(&self) -> bool {
        let mut wanted = [PollFd::new(&self.stop, PollFlags::IN)];
        let at_once = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut wanted, Some(&at_once)).is_ok_and(|ready| ready > 0)
    }
}
