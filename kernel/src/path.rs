//! [`largest`]: how large a packet gets to a peer's host over the underlay, asked of the path itself: a datagram that may not be
//! fragmented, to a port where nobody listens, and the peer's kernel says so (RFC 1122 section 4.1.3.1). It takes no rights and no
//! answering program.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

/// Where traceroute begins: a port that nobody listens on.
const PORT: u16 = 33434;
/// How long an answer may take; a peer's kernel gives one for each second, and some more at once (`icmp_ratelimit`).
const PATIENCE: Duration = Duration::from_secs(1);
/// `IP_PMTUDISC_PROBE`, of either family: not to be fragmented, whatever was learnt of the path before.
const PROBE: libc::c_int = 3;

/// What a path carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried {
    /// As much as was asked.
    All,
    /// No more octets than this.
    AtMost(u32),
    /// Not even the least was answered: it cannot be told.
    Silent,
}

/// How large packets to an address may be, up to so many octets, IP header included. It takes a second for each that is lost.
///
/// # Errors
/// When there is no socket or no route.
pub fn largest(peer: IpAddr, most: u32) -> io::Result<Carried> {
    let (mut fits, mut lost) = (if peer.is_ipv4() { 576 } else { 1280 }, most);
    if most <= fits || passes(peer, most)? {
        return Ok(Carried::All);
    }
    if !passes(peer, fits)? {
        return Ok(Carried::Silent);
    }
    while fits + 1 < lost {
        let middle = fits.midpoint(lost);
        if passes(peer, middle)? {
            fits = middle;
        } else {
            lost = middle;
        }
    }
    Ok(Carried::AtMost(fits))
}

/// Any packet may be lost once.
fn passes(peer: IpAddr, size: u32) -> io::Result<bool> {
    Ok(answered(peer, size)? || answered(peer, size)?)
}

fn answered(peer: IpAddr, size: u32) -> io::Result<bool> {
    // An IP header and a UDP header.
    let (any, headers, option) = match peer {
        IpAddr::V4(_) => (IpAddr::V4(Ipv4Addr::UNSPECIFIED), 28, (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER)),
        IpAddr::V6(_) => (IpAddr::V6(Ipv6Addr::UNSPECIFIED), 48, (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER)),
    };
    let socket = UdpSocket::bind((any, 0))?;
    set_option(&socket, option, PROBE)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(SocketAddr::new(peer, PORT))?;
    let payload = vec![0; size.saturating_sub(headers) as usize];
    let result = socket.send(&payload).and_then(|_| socket.recv(&mut [0; 1]));
    match result {
        // Somebody listens there after all.
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(true),
        // It did not come back in time; it is too large for our own link, or a router said that it is for another.
        Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => Ok(false),
        Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => Ok(false),
        Err(error) => Err(error),
    }
}

fn set_option(socket: &UdpSocket, (level, option): (libc::c_int, libc::c_int), value: libc::c_int) -> io::Result<()> {
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: pointer and length are those of one live value, which setsockopt(2) only reads.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
