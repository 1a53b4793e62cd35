//! [`Socket`]: a blocking netlink socket in the network namespace of the thread that opened it (it may then be used from
//! any thread). One question at a time: [`Socket::request`], [`Socket::query`], [`Socket::dump`]; and multicast groups.
//!
//! The kernel does what a datagram asks during `sendmsg`, so answers lie ready when that returns: no call here waits for
//! anything but the kernel's own locks. Bulk is [`super::batch`]'s.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::message::{Body, Datagram, Header, Messages};
use crate::error::{Error, Result};

/// Both buffers: 5,000 answers of any kind fit. Beyond the system's limit only with CAP_NET_ADMIN (`SO_RCVBUFFORCE`).
const BUFFER_OCTETS: libc::c_int = 4 << 20;
/// The kernel puts up to 32 kB of a dump into one datagram when it is given the room (`netlink_recvmsg`).
const ROOM: usize = 64 << 10;
/// How often a list that changed while it was written is asked for again.
const DUMP_ATTEMPTS: u32 = 20;
/// Only a lost answer lets us wait at all: better an error than a daemon that hangs.
const PATIENCE_SECS: i32 = 30;

/// Which part of the kernel a socket talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Links, addresses, routes, neighbours: `NETLINK_ROUTE`.
    Route,
    /// nftables and conntrack: `NETLINK_NETFILTER`.
    Netfilter,
    /// Families of messages that have no protocol of their own, WireGuard's for one: `NETLINK_GENERIC`.
    Generic,
    /// Sockets: `NETLINK_SOCK_DIAG`.
    Sockets,
}

/// What is asked: the header's part and, for the error's sentence, what is being done ("making the link flannel.1").
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// `nlmsg_type`.
    pub kind: u16,
    /// `nlmsg_flags` besides `NLM_F_REQUEST`, `NLM_F_ACK` and `NLM_F_DUMP`, which the call adds.
    pub flags: u16,
    /// The beginning of the error's sentence.
    pub doing: &'a str,
}

/// A netlink socket.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    port: u32,
    sequence: u32,
    sent: Datagram,
    received: Vec<u8>,
}

impl Socket {
    /// Opens one in the calling thread's network namespace.
    ///
    /// # Errors
    /// When the system gives no socket.
    pub fn open(protocol: Protocol) -> Result<Socket> {
        let doing = "opening a netlink socket";
        let number = match protocol {
            Protocol::Route => libc::NETLINK_ROUTE,
            Protocol::Netfilter => libc::NETLINK_NETFILTER,
            Protocol::Generic => libc::NETLINK_GENERIC,
            Protocol::Sockets => libc::NETLINK_SOCK_DIAG,
        };
        // SAFETY: socket(2) takes three numbers and no memory of ours.
        let raw = check(unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, number) }, doing)?;
        // SAFETY: `raw` was just given to us by the kernel and nobody else knows it.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        for option in [libc::NETLINK_EXT_ACK, libc::NETLINK_CAP_ACK, libc::NETLINK_GET_STRICT_CHK] {
            // Absent before Linux 4.12, 4.3 and 4.20: then errors have no words and dumps are not filtered, which
            // every reader of a dump stands.
            tolerate(set_option(&fd, (libc::SOL_NETLINK, option), &1));
        }
        for (force, plain) in [(libc::SO_SNDBUFFORCE, libc::SO_SNDBUF), (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF)] {
            // SO_*BUF never fails: it takes what net.core.[rw]mem_max allows.
            if set_option(&fd, (libc::SOL_SOCKET, force), &BUFFER_OCTETS).is_err() {
                tolerate(set_option(&fd, (libc::SOL_SOCKET, plain), &BUFFER_OCTETS));
            }
        }
        let patience = libc::timeval { tv_sec: PATIENCE_SECS.into(), tv_usec: 0 };
        set_option(&fd, (libc::SOL_SOCKET, libc::SO_RCVTIMEO), &patience).map_err(|e| system(doing, e))?;
        let port = bind(&fd, doing)?;
        Ok(Socket { fd, port, sequence: 0, sent: Datagram::default(), received: Vec::new() })
    }

    /// Our address among netlink sockets (`nl_pid`): what the kernel writes as originator into the notices we cause.
    pub fn port(&self) -> u32 {
        self.port
    }

    /// Subscribes to a multicast group by number (`RTNLGRP_*`, `NFNLGRP_*`).
    ///
    /// # Errors
    /// When the kernel refuses, as for a group that it does not have.
    pub fn join(&self, group: u32) -> Result<()> {
        set_option(&self.fd, (libc::SOL_NETLINK, libc::NETLINK_ADD_MEMBERSHIP), &group)
            .map_err(|e| system(&format!("joining the netlink group {group}"), e))
    }

    /// Takes no messages of these two kinds about what another socket did: `port` is that one's. Of hundreds of thousands of routes
    /// a listener then is not even woken.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn ignore(&self, kinds: [u16; 2], port: u32) -> Result<()> {
        // Octets of `struct nlmsghdr`: the kind at 4, whose doing it is at 12. A load gives them as the network has them.
        let load = |size: u32, at: u32| instruction(libc::BPF_LD | size | libc::BPF_ABS, [0, 0], at);
        let equal =
            |value: u32, [yes, no]: [u8; 2]| instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, [yes, no], value);
        let answer = |octets: u32| instruction(libc::BPF_RET | libc::BPF_K, [0, 0], octets);
        let [one, other] = kinds.map(|kind| u32::from(kind.to_be()));
        let program = [
            load(libc::BPF_H, 4),
            equal(one, [1, 0]),
            equal(other, [0, 2]),
            load(libc::BPF_W, 12),
            equal(port.to_be(), [1, 0]),
            answer(u32::MAX),
            answer(0),
        ];
        let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
        // The kernel copies the program, and writes nothing to it.
        set_option(&self.fd, (libc::SOL_SOCKET, libc::SO_ATTACH_FILTER), &filter)
            .map_err(|e| system("choosing which notices are heard", e))
    }

    /// Asks for one thing to be done.
    ///
    /// # Errors
    /// [`Error::Refused`] with the kernel's words, or trouble with the socket.
    pub fn request(&mut self, request: &Request<'_>, body: impl FnOnce(&mut Body<'_>)) -> Result<()> {
        self.query(request, body).map(|_| ())
    }

    /// Asks for one thing and gives the kernel's answers to it, without the acknowledgement.
    ///
    /// # Errors
    /// As [`Socket::request`].
    pub fn query(&mut self, request: &Request<'_>, body: impl FnOnce(&mut Body<'_>)) -> Result<Messages<'_>> {
        let sequence = self.ask(request, libc::NLM_F_ACK as u16, body)?;
        self.collect(request.doing, sequence)?;
        Ok(Messages::new(&self.received))
    }

    /// Asks for a list. It is asked for again when it changed while the kernel wrote it. The answers are whole:
    /// nothing but the entries is in them.
    ///
    /// # Errors
    /// As [`Socket::request`], and [`Error::Unsettled`].
    pub fn dump(&mut self, request: &Request<'_>, body: impl Fn(&mut Body<'_>)) -> Result<Messages<'_>> {
        for _ in 0..DUMP_ATTEMPTS {
            let sequence = self.ask(request, libc::NLM_F_DUMP as u16, &body)?;
            if self.collect(request.doing, sequence)? == Whole::Yes {
                return Ok(Messages::new(&self.received));
            }
        }
        Err(Error::Unsettled { doing: request.doing.to_owned(), attempts: DUMP_ATTEMPTS })
    }

    /// The next free sequence number, for messages that are written outside.
    pub fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    /// Sends a datagram as it is. `doing` begins the error's sentence.
    ///
    /// # Errors
    /// When it is longer than the send buffer, or the system refuses.
    pub fn send(&self, datagram: &Datagram, doing: &str) -> Result<()> {
        if datagram.is_too_long() {
            return Err(Error::TooLong { doing: doing.to_owned() });
        }
        let bytes = datagram.bytes();
        // An unconnected netlink socket sends to port 0, the kernel.
        // SAFETY: pointer and length are those of one live slice, which send(2) only reads.
        let sent = retry(|| unsafe { libc::send(self.fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) });
        match sent {
            Ok(_) => Ok(()),
            Err(source) => Err(system(doing, source)),
        }
    }

    /// Waits for the next datagram of the kernel's.
    ///
    /// # Errors
    /// [`Error::Overrun`] when messages were lost; otherwise what the system says.
    pub fn receive(&mut self, doing: &str) -> Result<Messages<'_>> {
        self.received.clear();
        self.append(doing, 0)?;
        Ok(Messages::new(&self.received))
    }

    /// The next datagram if one lies ready. For sockets that something else polls.
    ///
    /// # Errors
    /// As [`Socket::receive`].
    pub fn receive_now(&mut self, doing: &str) -> Result<Option<Messages<'_>>> {
        self.received.clear();
        match self.append(doing, libc::MSG_DONTWAIT) {
            Ok(_) => Ok(Some(Messages::new(&self.received))),
            Err(Error::System { source, .. }) if source.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn ask(&mut self, request: &Request<'_>, more: u16, body: impl FnOnce(&mut Body<'_>)) -> Result<u32> {
        let sequence = self.next_sequence();
        let flags = request.flags | more | libc::NLM_F_REQUEST as u16;
        let mut datagram = mem::take(&mut self.sent);
        datagram.clear();
        datagram.push(Header { kind: request.kind, flags, sequence }, body);
        let sent = self.send(&datagram, request.doing);
        self.sent = datagram;
        sent.map(|()| sequence)
    }

    /// Gathers the answers to one question into the buffer, until its end.
    fn collect(&mut self, doing: &str, sequence: u32) -> Result<Whole> {
        let mut whole = Whole::Yes;
        self.received.clear();
        loop {
            let start = self.append(doing, 0)?;
            let mut end = None;
            let mut kept = start;
            let filled = self.received.len();
            let mut messages = Messages::new(&self.received[start..]);
            while let Some(message) = messages.next() {
                // What is late from an earlier question is not ours.
                if message.header.sequence != sequence {
                    continue;
                }
                if message.header.flags & libc::NLM_F_DUMP_INTR as u16 != 0 {
                    whole = Whole::No;
                }
                match message.verdict() {
                    Some(verdict) => end = Some(verdict),
                    None => kept = filled - messages.unread(),
                }
            }
            // The verdict comes last in its datagram: cutting it off leaves entries alone.
            self.received.truncate(kept);
            match end {
                None => {}
                Some(Ok(())) => return Ok(whole),
                Some(Err(refusal)) => return Err(Error::Refused { doing: doing.to_owned(), refusal }),
            }
        }
    }

    /// Gives back the room that a long answer took: a dump of a large kernel takes megabytes, once in a while.
    pub fn rest(&mut self) {
        self.received = Vec::new();
    }

    /// Receives one datagram behind what is in the buffer; says where it begins. Nobody but the kernel writes into the room
    /// for it beforehand: most answers are short, and a page that is never touched costs nothing.
    fn append(&mut self, doing: &str, flags: libc::c_int) -> Result<usize> {
        let start = self.received.len();
        self.received.reserve(ROOM);
        loop {
            let room = self.received.spare_capacity_mut();
            // SAFETY: sockaddr_nl is plain numbers, for which all zeros is a value.
            let mut sender: libc::sockaddr_nl = unsafe { mem::zeroed() };
            let mut length = mem::size_of::<libc::sockaddr_nl>() as libc::socklen_t;
            // SAFETY: `room` is live, exclusively borrowed memory of the given length; `sender` is as long as
            // `length` says; the kernel writes into nothing else. MSG_TRUNC: the datagram's true length is returned.
            let received = retry(|| unsafe {
                libc::recvfrom(
                    self.fd.as_raw_fd(),
                    room.as_mut_ptr().cast(),
                    room.len(),
                    flags | libc::MSG_TRUNC,
                    (&raw mut sender).cast(),
                    &raw mut length,
                )
            });
            let octets = received.map_err(|source| match source.raw_os_error() {
                Some(libc::ENOBUFS) => Error::Overrun { doing: doing.to_owned() },
                _ => system(doing, source),
            })?;
            if octets > room.len() {
                return Err(Error::Malformed {
                    doing: doing.to_owned(),
                    what: "a datagram larger than the kernel sends",
                });
            }
            // Any process may write to our port; only port 0 is the kernel.
            if sender.nl_pid == 0 {
                // SAFETY: the kernel has written so many octets behind `start`, no more than there is capacity for.
                unsafe { self.received.set_len(start + octets) };
                return Ok(start);
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Whether a dump describes one moment.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whole {
    Yes,
    No,
}

/// Gives the socket an address of its own; the kernel chooses it.
fn bind(fd: &OwnedFd, doing: &str) -> Result<u32> {
    // SAFETY: sockaddr_nl is plain numbers, for which all zeros is a value.
    let mut address: libc::sockaddr_nl = unsafe { mem::zeroed() };
    address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
    let mut length = mem::size_of::<libc::sockaddr_nl>() as libc::socklen_t;
    // SAFETY: `address` lives through the call and is as long as `length` says.
    check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) }, doing)?;
    // SAFETY: as above; the kernel writes at most `length` octets into `address`.
    check(unsafe { libc::getsockname(fd.as_raw_fd(), (&raw mut address).cast(), &raw mut length) }, doing)?;
    Ok(address.nl_pid)
}

/// One of a filter's instructions (linux/filter.h).
fn instruction(code: u32, [jt, jf]: [u8; 2], k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt, jf, k }
}

fn set_option<T>(fd: &OwnedFd, (level, option): (libc::c_int, libc::c_int), value: &T) -> io::Result<()> {
    let length = mem::size_of::<T>() as libc::socklen_t;
    // SAFETY: pointer and length are those of one live value, which setsockopt(2) only reads.
    let result = unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, (value as *const T).cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// For options that make things better where the kernel has them: the comment at the call says why we can do without.
fn tolerate(_: io::Result<()>) {}

fn check(result: libc::c_int, doing: &str) -> Result<libc::c_int> {
    if result < 0 { Err(system(doing, io::Error::last_os_error())) } else { Ok(result) }
}

/// Calls again when a signal came in between.
fn retry(mut call: impl FnMut() -> isize) -> io::Result<usize> {
    loop {
        match usize::try_from(call()) {
            Ok(octets) => return Ok(octets),
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}

fn system(doing: &str, source: io::Error) -> Error {
    Error::System { doing: doing.to_owned(), source }
}
