//! Datagrams of which the hop limit, the link and our address are known: what BFD's are judged by (RFC 5881 sections 3 and 5).
//! `ss -lnup sport = :3784`
//!
//! [`Receiver`] hears for one family and port, many datagrams a system call; [`Sender`] sends to one peer, with hop limit 255 and the
//! precedence of network control. Does not know what is in them.

use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use backends::state::LinkName;
use ipam::Family;

/// Datagrams that one call brings, and the octets that are kept of each.
const SLOTS: usize = 64;
const SLOT: usize = 128;
/// Octets for what the kernel says beside a datagram: `in6_pktinfo` (20) and a number (4), each with its head.
const CONTROL: usize = 128;
/// Octets that the kernel may keep for us while we are busy.
const RECEIVE_BUFFER: libc::c_int = 4 << 20;
/// CS6, network control (RFC 4594 section 3.1), as the byte in the packet.
const NETWORK_CONTROL: libc::c_int = 0xc0;

/// Hears what comes to a port, of one family, by any link.
#[derive(Debug)]
pub struct Receiver {
    socket: UdpSocket,
}

/// How a datagram came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Where it came from.
    pub source: IpAddr,
    /// The address of ours that it was sent to.
    pub destination: IpAddr,
    /// The number of the link that it came by.
    pub link: u32,
    /// Its TTL or hop limit as it came.
    pub hop_limit: u8,
}

impl Receiver {
    /// Hears at a port from now on.
    ///
    /// # Errors
    /// When the port is somebody else's, or the family is switched off.
    pub fn open(family: Family, port: u16) -> io::Result<Receiver> {
        let socket = socket(family)?;
        match family {
            Family::V4 => {
                set(&socket, (libc::IPPROTO_IP, libc::IP_PKTINFO), 1)?;
                set(&socket, (libc::IPPROTO_IP, libc::IP_RECVTTL), 1)?;
            }
            Family::V6 => {
                set(&socket, (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO), 1)?;
                set(&socket, (libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT), 1)?;
            }
        }
        // Without the capability the kernel's own limit has to do.
        if set(&socket, (libc::SOL_SOCKET, libc::SO_RCVBUFFORCE), RECEIVE_BUFFER).is_err() {
            set(&socket, (libc::SOL_SOCKET, libc::SO_RCVBUF), RECEIVE_BUFFER)?;
        }
        bind(&socket, SocketAddr::new(unspecified(family), port))?;
        Ok(Receiver { socket: socket.into() })
    }

    /// Hears with a socket of IPv6 that is somebody else's making.
    pub(crate) fn with(socket: OwnedFd) -> io::Result<Receiver> {
        set(&socket, (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO), 1)?;
        set(&socket, (libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT), 1)?;
        Ok(Receiver { socket: socket.into() })
    }

    /// Sends with the same socket.
    pub(crate) fn send(&self, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
        self.socket.send_to(bytes, to).map(drop)
    }

    /// Takes what has come, at most one call's worth, without waiting: how many there were. Of one longer than [`Inbox`] keeps the end is
    /// missing.
    ///
    /// # Errors
    /// When the socket is broken.
    pub fn receive(&self, inbox: &mut Inbox, mut each: impl FnMut(Heard, &[u8])) -> io::Result<usize> {
        // SAFETY: all zeros is a value of these plain structures.
        let (mut pieces, mut headers): ([libc::iovec; SLOTS], [libc::mmsghdr; SLOTS]) = unsafe { mem::zeroed() };
        let slots = headers.iter_mut().zip(&mut pieces).zip(inbox.slots.iter_mut());
        for ((header, piece), slot) in slots {
            *piece = libc::iovec { iov_base: slot.bytes.as_mut_ptr().cast(), iov_len: SLOT };
            header.msg_hdr.msg_iov = piece;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_name = (&raw mut slot.name).cast();
            header.msg_hdr.msg_namelen = mem::size_of::<libc::sockaddr_in6>() as libc::socklen_t;
            header.msg_hdr.msg_control = slot.control.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = CONTROL as _;
        }
        let (fd, flags) = (self.socket.as_raw_fd(), libc::MSG_DONTWAIT);
        // SAFETY: each header points to a piece on this stack and to a name and a control buffer of its slot, each piece to the bytes of its
        // slot; `inbox` is borrowed until after the call and has as many slots as there are headers.
        let came = unsafe { libc::recvmmsg(fd, headers.as_mut_ptr(), SLOTS as _, flags as _, std::ptr::null_mut()) };
        if came < 0 {
            return match io::Error::last_os_error() {
                error if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) => Ok(0),
                error => Err(error),
            };
        }
        for (header, slot) in headers.iter().zip(inbox.slots.iter()).take(came as usize) {
            #[allow(clippy::unnecessary_cast, reason = "of another width with musl")]
            let length = header.msg_hdr.msg_controllen as usize;
            let said = slot.control.get(..length).unwrap_or(&slot.control);
            let bytes = slot.bytes.get(..header.msg_len as usize).unwrap_or(&slot.bytes);
            if let Some(heard) = how(slot.source(), said) {
                each(heard, bytes);
            }
        }
        Ok(came as usize)
    }
}

impl AsFd for Receiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Receiver {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.socket.as_raw_fd()
    }
}

/// Room for as many datagrams as one call brings.
#[derive(Debug)]
pub struct Inbox {
    slots: Vec<Slot>,
}

#[derive(Clone, Debug)]
struct Slot {
    bytes: [u8; SLOT],
    control: [u8; CONTROL],
    /// As long as any: of IPv4 the beginning is another structure.
    name: libc::sockaddr_in6,
}

impl Inbox {
    /// With nothing in it.
    pub fn new() -> Inbox {
        // SAFETY: all zeros is a value of this plain structure.
        let name = unsafe { mem::zeroed() };
        Inbox { slots: vec![Slot { bytes: [0; SLOT], control: [0; CONTROL], name }; SLOTS] }
    }
}

impl Default for Inbox {
    fn default() -> Inbox {
        Inbox::new()
    }
}

impl Slot {
    fn source(&self) -> Option<IpAddr> {
        match libc::c_int::from(self.name.sin6_family) {
            // In `struct sockaddr_in` the address lies where the flow label lies in the other.
            libc::AF_INET => Some(Ipv4Addr::from(self.name.sin6_flowinfo.to_ne_bytes()).into()),
            libc::AF_INET6 => Some(Ipv6Addr::from(self.name.sin6_addr.s6_addr).into()),
            _ => None,
        }
    }
}

/// Reads control messages: each has its length and two numbers, and begins where a length can (cmsg(3)).
fn how(source: Option<IpAddr>, mut said: &[u8]) -> Option<Heard> {
    const HEAD: usize = mem::size_of::<libc::cmsghdr>();
    let (mut place, mut hop_limit) = (None, None);
    while let Some((head, _)) = said.split_at_checked(HEAD) {
        let number = |from: usize| head.get(from..from + 4)?.try_into().ok().map(i32::from_ne_bytes);
        let length = usize::from_ne_bytes(head.get(..HEAD - 8)?.try_into().ok()?);
        let value = said.get(HEAD..length)?;
        match (number(HEAD - 8)?, number(HEAD - 4)?) {
            (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => {
                hop_limit = value.first_chunk().map(|it| i32::from_ne_bytes(*it)).and_then(|it| u8::try_from(it).ok());
            }
            // `struct in_pktinfo`: link, address to answer from, address in the packet.
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                let (link, address) = (value.first_chunk()?, *value.get(8..)?.first_chunk::<4>()?);
                place = Some((u32::from_ne_bytes(*link), IpAddr::from(address)));
            }
            // `struct in6_pktinfo`: address, link.
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                let (address, link) = (*value.first_chunk::<16>()?, value.get(16..)?.first_chunk()?);
                place = Some((u32::from_ne_bytes(*link), IpAddr::from(address)));
            }
            _ => {}
        }
        said = said.get(length.next_multiple_of(mem::size_of::<usize>())..).unwrap_or_default();
    }
    let ((link, destination), source, hop_limit) = (place?, source?, hop_limit?);
    Some(Heard { source, destination, link, hop_limit })
}

/// Sends to one peer.
#[derive(Debug)]
pub struct Sender {
    socket: UdpSocket,
    to: SocketAddr,
}

/// Whom a [`Sender`] sends to, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Course {
    /// From where; the unspecified address for whatever the kernel chooses.
    pub from: SocketAddr,
    /// To whom.
    pub to: SocketAddr,
    /// By this link and no other.
    pub link: Option<LinkName>,
}

impl Sender {
    /// A socket for it: the number of the link, if there is one, is known from here on.
    ///
    /// # Errors
    /// When the address is not ours, the port is in use, or there is no such link.
    pub fn open(course: &Course) -> io::Result<(Sender, Option<u32>)> {
        let family = if course.to.is_ipv4() { Family::V4 } else { Family::V6 };
        let socket = socket(family)?;
        let mut to = course.to;
        let mut link = None;
        if let Some(name) = course.link {
            let index = rustix::net::netdevice::name_to_index(&socket, &name.to_string())?;
            bind_to_link(&socket, name)?;
            if let SocketAddr::V6(v6) = &mut to {
                v6.set_scope_id(index);
            }
            link = Some(index);
        }
        match family {
            Family::V4 => {
                set(&socket, (libc::IPPROTO_IP, libc::IP_TTL), 255)?;
                set(&socket, (libc::IPPROTO_IP, libc::IP_TOS), NETWORK_CONTROL)?;
            }
            Family::V6 => {
                set(&socket, (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS), 255)?;
                set(&socket, (libc::IPPROTO_IPV6, libc::IPV6_TCLASS), NETWORK_CONTROL)?;
            }
        }
        let from = match course.from {
            SocketAddr::V6(v6) => SocketAddrV6::new(*v6.ip(), v6.port(), 0, link.unwrap_or(0)).into(),
            v4 => v4,
        };
        bind(&socket, from)?;
        Ok((Sender { socket: socket.into(), to }, link))
    }

    /// Sends one datagram, without waiting.
    ///
    /// # Errors
    /// When the kernel cannot: no route, the link is gone or down, its queue is full.
    pub fn send(&self, bytes: &[u8]) -> io::Result<()> {
        self.socket.send_to(bytes, self.to).map(drop)
    }
}

fn unspecified(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// A socket that does not wait and hears its own family alone.
fn socket(family: Family) -> io::Result<OwnedFd> {
    let domain = if family == Family::V4 { libc::AF_INET } else { libc::AF_INET6 };
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: socket(2) takes three numbers and no memory of ours.
    let raw = unsafe { libc::socket(domain, kind, libc::IPPROTO_UDP) };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `raw` was just given to us by the kernel and nobody else knows it.
    let fd = unsafe { OwnedFd::from_raw_fd(raw) };
    if family == Family::V6 {
        set(&fd, (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY), 1)?;
    }
    Ok(fd)
}

fn set(fd: &OwnedFd, (level, option): (libc::c_int, libc::c_int), value: libc::c_int) -> io::Result<()> {
    let length = mem::size_of_val(&value) as libc::socklen_t;
    // SAFETY: the descriptor is open, and the option's value is a number that lives longer than the call.
    let result = unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, (&raw const value).cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// `SO_BINDTODEVICE`
fn bind_to_link(fd: &OwnedFd, name: LinkName) -> io::Result<()> {
    let name = name.to_string();
    let (pointer, length) = (name.as_ptr().cast(), name.len() as libc::socklen_t);
    // SAFETY: the descriptor is open, and the name's bytes live longer than the call, which reads as many as it is told.
    let result = unsafe { libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_BINDTODEVICE, pointer, length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn bind(fd: &OwnedFd, address: SocketAddr) -> io::Result<()> {
    Ok(rustix::net::bind(fd, &address)?)
}
