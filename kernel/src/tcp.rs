//! What a TCP connection must be told that the standard library cannot say: how far its packets go and may come from, and the keys
//! that sign its segments (RFC 5082, RFC 2385, RFC 5925). `ss -tie` shows the result.
//!
//! Keys go to the kernel and nowhere else; which peer has which is not known here. Those of TCP-AO, of which a socket has several, are in [`ao`].

use std::io;
use std::mem::size_of;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use ipam::Family;
use ipnet::IpNet;

pub mod ao;

/// Octets of a key, of MD5 and of TCP-AO (`TCP_MD5SIG_MAXKEYLEN`, `TCP_AO_MAXKEYLEN`).
pub const MOST_KEY_OCTETS: usize = 80;

/// `TCP_MD5SIG_EXT` in include/uapi/linux/tcp.h.
const MD5SIG_EXT: i32 = 32;
/// `IPV6_MINHOPCOUNT` in include/uapi/linux/in6.h.
const IPV6_MINHOPCOUNT: i32 = 73;
/// `TCP_MD5SIG_FLAG_PREFIX`
const PREFIX: u8 = 1;
/// The hop limit of packets that are sent. `IP_TTL`, `IPV6_UNICAST_HOPS`
///
/// # Errors
/// setsockopt(2)'s.
pub fn set_hop_limit(socket: BorrowedFd<'_>, family: Family, hops: u8) -> io::Result<()> {
    match family {
        Family::V4 => set(socket, (libc::IPPROTO_IP, libc::IP_TTL), &i32::from(hops)),
        Family::V6 => set(socket, (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS), &i32::from(hops)),
    }
}

/// Packets that come with less are dropped: who sends 255 and is asked for 255 is on the link (GTSM, RFC 5082). `IP_MINTTL`,
/// `IPV6_MINHOPCOUNT`
///
/// # Errors
/// setsockopt(2)'s.
pub fn set_least_hop_limit(socket: BorrowedFd<'_>, family: Family, hops: u8) -> io::Result<()> {
    match family {
        Family::V4 => set(socket, (libc::IPPROTO_IP, libc::IP_MINTTL), &i32::from(hops)),
        Family::V6 => set(socket, (libc::IPPROTO_IPV6, IPV6_MINHOPCOUNT), &i32::from(hops)),
    }
}

/// The kernel takes no more once it has so many bytes that it has not sent: what is still to be said stays with who says it, who knows best by then
/// what it should be. `TCP_NOTSENT_LOWAT`
///
/// # Errors
/// setsockopt(2)'s.
pub fn set_most_unsent(socket: BorrowedFd<'_>, bytes: u32) -> io::Result<()> {
    set(socket, (libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT), &bytes)
}

/// An IPv6 socket that leaves IPv4 to another one. `IPV6_V6ONLY`
///
/// # Errors
/// setsockopt(2)'s.
pub fn leave_ipv4_alone(socket: BorrowedFd<'_>) -> io::Result<()> {
    set(socket, (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY), &1_i32)
}

/// Segments to and from these addresses are signed with this key (RFC 2385), on a connection or on a socket that listens; with an empty key they
/// no longer are. `TCP_MD5SIG_EXT`
///
/// # Errors
/// setsockopt(2)'s: `ENOENT` when a key is taken away that is not there, `ENOPROTOOPT` when the kernel has no CONFIG_TCP_MD5SIG.
pub fn set_md5_key(socket: BorrowedFd<'_>, peers: IpNet, key: &[u8]) -> io::Result<()> {
    let mut octets = [0; MOST_KEY_OCTETS];
    let length = put(&mut octets, key)?;
    let wanted = Md5Key {
        address: Address::of(peers.network()),
        flags: PREFIX,
        prefix: peers.prefix_len(),
        length: length.into(),
        link: 0,
        octets,
    };
    set(socket, (libc::IPPROTO_TCP, MD5SIG_EXT), &wanted)
}

fn put(octets: &mut [u8; MOST_KEY_OCTETS], key: &[u8]) -> io::Result<u8> {
    let place = octets.get_mut(..key.len()).ok_or(io::ErrorKind::InvalidInput)?;
    place.copy_from_slice(key);
    u8::try_from(key.len()).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// `struct sockaddr_storage` with an address and no port.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Address([u8; 128]);

impl Address {
    fn of(address: IpAddr) -> Address {
        let mut octets = [0; 128];
        let (family, at) = match address {
            // `struct sockaddr_in`: family, port, address.
            IpAddr::V4(_) => (libc::AF_INET, 4),
            // `struct sockaddr_in6`: family, port, flow information, address.
            IpAddr::V6(_) => (libc::AF_INET6, 8),
        };
        let family = u16::try_from(family).unwrap_or_default().to_ne_bytes();
        let written: Vec<u8> = match address {
            IpAddr::V4(address) => address.octets().into(),
            IpAddr::V6(address) => address.octets().into(),
        };
        octets[..2].copy_from_slice(&family);
        octets[at..at + written.len()].copy_from_slice(&written);
        Address(octets)
    }

    fn read(&self) -> Option<IpAddr> {
        let (family, rest) = self.0.split_first_chunk()?;
        match i32::from(u16::from_ne_bytes(*family)) {
            libc::AF_INET => Some(IpAddr::from(*rest.get(2..)?.first_chunk::<4>()?)),
            libc::AF_INET6 => Some(IpAddr::from(*rest.get(6..)?.first_chunk::<16>()?)),
            _ => None,
        }
    }
}

/// `struct tcp_md5sig`
#[repr(C)]
struct Md5Key {
    address: Address,
    flags: u8,
    prefix: u8,
    length: u16,
    link: i32,
    octets: [u8; MOST_KEY_OCTETS],
}

/// setsockopt(2) with a plain value.
pub(crate) fn set<T>(socket: BorrowedFd<'_>, (level, name): (i32, i32), value: &T) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the descriptor is open as long as it is borrowed, `value` is a value of `length` octets that is only read, and setsockopt keeps
    // no pointer to it.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, std::ptr::from_ref(value).cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    use super::*;

    /// As include/uapi/linux/tcp.h has them.
    #[test]
    fn keys_are_as_long_as_the_kernel_has_them() {
        assert_eq!(size_of::<Md5Key>(), 216);
    }

    #[test]
    fn a_key_too_long_is_refused_and_one_that_was_never_there_is_not_taken_away() {
        let socket = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let peers: IpNet = "192.0.2.0/24".parse().unwrap();
        assert_eq!(set_md5_key(socket.as_fd(), peers, &[7; 81]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        set_md5_key(socket.as_fd(), peers, &[]).unwrap_err();
    }

    #[test]
    fn a_connection_comes_about_only_with_the_key_and_from_near_enough() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        set_hop_limit(near.as_fd(), Family::V4, 1).unwrap();
        assert_eq!(near.ttl().unwrap(), 1);
        set_least_hop_limit(near.as_fd(), Family::V4, 255).unwrap();
        let six = TcpListener::bind(("::1", 0)).unwrap();
        set_hop_limit(six.as_fd(), Family::V6, 255).unwrap();
        set_least_hop_limit(six.as_fd(), Family::V6, 254).unwrap();
    }
}
