//! The proxy's UDP socket: many datagrams a system call (`sendmmsg`, `recvmmsg`), and those of one size to one peer as one
//! for most of the way through the kernel (`UDP_SEGMENT`, Linux 4.18; `UDP_GRO`, 5.0). On the wire each packet is a datagram.

use std::io;
use std::mem;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};

/// `SOL_UDP`'s options (include/uapi/linux/udp.h).
const UDP_SEGMENT: libc::c_int = 103;
const UDP_GRO: libc::c_int = 104;
/// Datagrams in one message: the kernel's `UDP_MAX_SEGMENTS` of old.
const MOST: usize = 64;
/// Octets of payload in one message: 65,535 less the outer headers.
const LONGEST: usize = 65_507;
/// Octets that the kernel may keep for us while we are busy.
const RECEIVE_BUFFER: libc::c_int = 4 << 20;
/// Messages that one call receives, and the octets of each.
const SLOTS: usize = 16;
const SLOT: usize = 65_536;
/// Octets of one control message with a number in it (`CMSG_SPACE(4)`).
const CONTROL: usize = 24;

/// The socket.
#[derive(Debug)]
pub(super) struct Socket {
    socket: UdpSocket,
    /// Whether the kernel divides a message into datagrams.
    divides: AtomicBool,
}

/// One datagram to be sent: headers in one buffer, the rest in another.
#[derive(Clone, Debug)]
pub(super) struct Datagram {
    pub to: SocketAddrV4,
    pub head: Range<usize>,
    pub body: Range<usize>,
}

impl Datagram {
    fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }
}

/// Where datagrams' parts lie.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a> {
    pub heads: &'a [u8],
    pub bodies: &'a [u8],
}

impl Socket {
    /// A socket on an address of this node.
    pub fn bind(local: SocketAddrV4) -> Result<Socket> {
        let doing = || format!("listening for the udp backend on {local}");
        let socket = UdpSocket::bind(local).map_err(|source| Error::System { doing: doing(), source })?;
        let socket = Socket { socket, divides: AtomicBool::new(true) };
        // What the kernel does not know or allow costs speed alone.
        socket.set(libc::SOL_UDP, UDP_GRO, 1);
        if !socket.set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, RECEIVE_BUFFER) {
            socket.set(libc::SOL_SOCKET, libc::SO_RCVBUF, RECEIVE_BUFFER);
        }
        // 0 is the default, and refused by kernels that know no such option.
        let divides = socket.set(libc::SOL_UDP, UDP_SEGMENT, 0);
        socket.divides.store(divides, Ordering::Relaxed);
        Ok(socket)
    }

    fn set(&self, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> bool {
        let length = mem::size_of_val(&value) as libc::socklen_t;
        // SAFETY: the descriptor is open, and the option's value is a number that lives longer than the call.
        unsafe { libc::setsockopt(self.socket.as_raw_fd(), level, option, (&raw const value).cast(), length) == 0 }
    }

    /// Sends datagrams in order; waits while the socket is full. Returns how many the kernel refused.
    pub fn send(&self, datagrams: &[Datagram], parts: Parts<'_>) -> usize {
        let mut messages = Messages::default();
        let mut rest = datagrams;
        while !rest.is_empty() {
            let many = if self.divides.load(Ordering::Relaxed) { alike(rest) } else { 1 };
            let (group, after) = rest.split_at(many);
            messages.add(group, parts);
            rest = after;
        }
        let mut refused = 0;
        messages.send(self.socket.as_fd(), |error, group| {
            let group = datagrams.get(group).unwrap_or_default();
            if group.len() < 2 {
                refused += 1;
                return;
            }
            if error == libc::EIO {
                // The device cannot write checksums, and then the kernel does not divide.
                self.divides.store(false, Ordering::Relaxed);
            }
            // A path that carries less than the uplink, mostly: one by one they are fragmented.
            let mut singles = Messages::default();
            group.iter().for_each(|datagram| singles.add(std::slice::from_ref(datagram), parts));
            singles.send(self.socket.as_fd(), |_, _| refused += 1);
        });
        refused
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// How many of the first datagrams can go as one message: to one peer, of one size but for the last.
fn alike(datagrams: &[Datagram]) -> usize {
    let Some(first) = datagrams.first() else { return 0 };
    let size = first.len();
    let (mut many, mut total) = (0, 0);
    for datagram in datagrams.iter().take(MOST) {
        if datagram.to != first.to || datagram.len() > size || total + datagram.len() > LONGEST {
            break;
        }
        (many, total) = (many + 1, total + datagram.len());
        if datagram.len() < size {
            break;
        }
    }
    many.max(1)
}

/// Messages for one system call, as the kernel wants them. The pointers in them are made last, when nothing moves any more.
#[derive(Default)]
struct Messages {
    pieces: Vec<libc::iovec>,
    groups: Vec<Group>,
}

struct Group {
    to: SocketAddrV4,
    /// Which of the datagrams, and which of the pieces.
    datagrams: Range<usize>,
    pieces: Range<usize>,
    size: u16,
}

impl Messages {
    fn add(&mut self, group: &[Datagram], parts: Parts<'_>) {
        let Some(first) = group.first() else { return };
        let begin = self.pieces.len();
        for datagram in group {
            let head = parts.heads.get(datagram.head.clone()).unwrap_or_default();
            let body = parts.bodies.get(datagram.body.clone()).unwrap_or_default();
            for part in [head, body] {
                if !part.is_empty() {
                    self.pieces.push(libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() });
                }
            }
        }
        let before = self.groups.last().map_or(0, |group| group.datagrams.end);
        self.groups.push(Group {
            to: first.to,
            datagrams: before..before + group.len(),
            pieces: begin..self.pieces.len(),
            size: first.len() as u16,
        });
    }

    /// Sends all; tells which were refused, and why.
    fn send(&mut self, socket: BorrowedFd<'_>, mut refused: impl FnMut(i32, Range<usize>)) {
        let mut names: Vec<libc::sockaddr_in> = self.groups.iter().map(|group| name(group.to)).collect();
        let mut controls: Vec<[u8; CONTROL]> = self.groups.iter().map(|group| segment(group.size)).collect();
        let mut headers = Vec::with_capacity(self.groups.len());
        for ((group, name), control) in self.groups.iter().zip(&mut names).zip(&mut controls) {
            // SAFETY: all zeros is a value of this plain structure.
            let mut header: libc::mmsghdr = unsafe { mem::zeroed() };
            header.msg_hdr.msg_name = (&raw mut *name).cast();
            header.msg_hdr.msg_namelen = mem::size_of::<libc::sockaddr_in>() as libc::socklen_t;
            let pieces = self.pieces.get_mut(group.pieces.clone()).unwrap_or_default();
            header.msg_hdr.msg_iov = pieces.as_mut_ptr();
            header.msg_hdr.msg_iovlen = pieces.len() as _;
            if group.datagrams.len() > 1 {
                header.msg_hdr.msg_control = control.as_mut_ptr().cast();
                header.msg_hdr.msg_controllen = CONTROL as _;
            }
            headers.push(header);
        }
        let mut at = 0;
        while let Some(left) = headers.get_mut(at..).filter(|left| !left.is_empty()) {
            // SAFETY: every header points to a name, a control message and pieces in vectors of this function or of `self`
            // that nobody grows meanwhile, and the pieces to slices that the caller of `add` holds until after this call:
            // `Socket::send` borrows them throughout. The kernel only reads what they point to.
            let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), left.as_mut_ptr(), left.len() as libc::c_uint, 0) };
            if sent > 0 {
                at += sent as usize;
                continue;
            }
            let error = io::Error::last_os_error().raw_os_error().unwrap_or(0);
            if error != libc::EINTR {
                if let Some(group) = self.groups.get(at) {
                    refused(error, group.datagrams.clone());
                }
                at += 1;
            }
        }
    }
}

fn name(address: SocketAddrV4) -> libc::sockaddr_in {
    // SAFETY: all zeros is a value of this plain structure.
    let mut name: libc::sockaddr_in = unsafe { mem::zeroed() };
    name.sin_family = libc::AF_INET as libc::sa_family_t;
    name.sin_port = address.port().to_be();
    name.sin_addr.s_addr = u32::from_ne_bytes(address.ip().octets());
    name
}

/// `struct cmsghdr` with the size of a datagram: `UDP_SEGMENT` takes 16 bits.
fn segment(size: u16) -> [u8; CONTROL] {
    let mut control = [0; CONTROL];
    let head = mem::size_of::<libc::cmsghdr>();
    let length = head + mem::size_of::<u16>();
    let fields: [&[u8]; 4] =
        [&length.to_ne_bytes(), &libc::SOL_UDP.to_ne_bytes(), &UDP_SEGMENT.to_ne_bytes(), &size.to_ne_bytes()];
    for (place, octet) in control.iter_mut().zip(fields.into_iter().flatten()) {
        *place = *octet;
    }
    control
}

/// What is received into: a slot for each message.
pub(super) struct Inbox {
    /// The slots, one after another.
    pub buffer: Vec<u8>,
    /// Of each message that came: where it lies, and the size of the datagrams in it.
    pub messages: Vec<(Range<usize>, usize)>,
}

impl Inbox {
    /// Room for as many as one call brings. Pages that nothing is received into cost nothing.
    pub fn new() -> Inbox {
        Inbox { buffer: vec![0; SLOTS * SLOT], messages: Vec::with_capacity(SLOTS) }
    }

    /// Takes what has come, without waiting.
    pub fn receive(&mut self, socket: &Socket) -> io::Result<()> {
        self.messages.clear();
        let mut controls = [[0_u8; CONTROL]; SLOTS];
        // SAFETY: all zeros is a value of these plain structures.
        let (mut pieces, mut headers): ([libc::iovec; SLOTS], [libc::mmsghdr; SLOTS]) = unsafe { mem::zeroed() };
        let slots = self.buffer.chunks_exact_mut(SLOT).zip(&mut controls);
        for ((header, piece), (slot, control)) in headers.iter_mut().zip(&mut pieces).zip(slots) {
            *piece = libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: slot.len() };
            header.msg_hdr.msg_iov = piece;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = control.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = CONTROL as _;
        }
        let flags = libc::MSG_DONTWAIT;
        // SAFETY: each header points to one piece and one control message on this stack, each piece to a slot of the buffer;
        // all of them live until after the call, and nothing else reads or writes them meanwhile.
        let came = unsafe {
            let (fd, headers) = (socket.as_fd().as_raw_fd(), headers.as_mut_ptr());
            libc::recvmmsg(fd, headers, SLOTS as libc::c_uint, flags as _, std::ptr::null_mut())
        };
        if came < 0 {
            return match io::Error::last_os_error() {
                error if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) => Ok(()),
                error => Err(error),
            };
        }
        for (index, (header, control)) in headers.iter().zip(&controls).take(came as usize).enumerate() {
            let length = (header.msg_len as usize).min(SLOT);
            let size = divided(control).unwrap_or(length);
            self.messages.push((index * SLOT..index * SLOT + length, size.max(1)));
        }
        Ok(())
    }
}

/// The size in a `UDP_GRO` control message, a number of 32 bits. Where there is none, zeros stand.
fn divided(control: &[u8; CONTROL]) -> Option<usize> {
    let head = mem::size_of::<libc::cmsghdr>();
    let (kind, value) = (control.get(head - 4..head)?, control.get(head..head + 4)?);
    let size = i32::from_ne_bytes(value.try_into().ok()?);
    (kind == UDP_GRO.to_ne_bytes()).then(|| usize::try_from(size).ok())?.filter(|size| *size > 0)
}

/// The address that a peer's datagrams are sent to.
pub(super) fn to(peer: Ipv4Addr, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(peer, port)
}
