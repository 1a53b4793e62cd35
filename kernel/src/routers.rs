//! [`Routers`]: who else is a router on a link, as router advertisements say it, and saying that we are one (RFC 4861 sections 4.1 and 4.2). This is how
//! routers without addresses of their own find each other. `rdisc6 LINK`
//!
//! What is advertised makes nobody a default router and gives nobody an address.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use rustix::net::sockopt::{set_ipv6_add_membership, set_ipv6_multicast_hops, set_ipv6_multicast_loop};
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with};

use crate::datagram::{Inbox, Receiver};
use crate::tcp;

/// ICMPv6 types.
const SOLICITATION: u8 = 133;
const ADVERTISEMENT: u8 = 134;
/// `ICMP6_FILTER`: a bit for each type that is not heard.
const FILTER: i32 = 1;
/// All nodes, and all routers, of a link (RFC 4291 section 2.7.1).
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// Type, code, checksum (the kernel's), no hop limit to use, no flags, not a default router, nothing of timers.
const WE_ARE_ONE: [u8; 16] = [ADVERTISEMENT, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const WHO_IS: [u8; 8] = [SOLICITATION, 0, 0, 0, 0, 0, 0, 0];

/// A socket for router advertisements.
#[derive(Debug)]
pub struct Routers {
    receiver: Receiver,
    /// Links on which we are a router.
    joined: BTreeSet<u32>,
}

/// What somebody said on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// It is a router.
    Here,
    /// It asks for routers.
    WhoIs,
}

impl Routers {
    /// Hears from now on.
    ///
    /// # Errors
    /// `EPERM` without CAP_NET_RAW, `EAFNOSUPPORT` without IPv6.
    pub fn open() -> io::Result<Routers> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::INET6, SocketType::RAW, flags, Some(ipproto::ICMPV6))?;
        let mut blocked = [u32::MAX; 8];
        for kind in [SOLICITATION, ADVERTISEMENT] {
            blocked[usize::from(kind >> 5)] &= !(1 << (kind & 31));
        }
        tcp::set(socket.as_fd(), (libc::IPPROTO_ICMPV6, FILTER), &blocked)?;
        set_ipv6_multicast_hops(&socket, 255)?;
        set_ipv6_multicast_loop(&socket, false)?;
        Ok(Routers { receiver: Receiver::with(socket)?, joined: BTreeSet::new() })
    }

    /// Says on a link that we are a router, and asks who else is one.
    ///
    /// # Errors
    /// When the link is down, gone, or has no link-local address yet.
    pub fn advertise(&mut self, link: u32) -> io::Result<()> {
        if !self.joined.contains(&link) {
            set_ipv6_add_membership(&self.receiver, &ALL_ROUTERS, link)?;
            self.joined.insert(link);
            self.receiver.send(&WHO_IS, SocketAddrV6::new(ALL_ROUTERS, 0, 0, link).into())?;
        }
        self.receiver.send(&WE_ARE_ONE, SocketAddrV6::new(ALL_NODES, 0, 0, link).into())
    }

    /// Forgets links that are none of these: one that comes back has another number.
    pub fn keep(&mut self, links: &BTreeSet<u32>) {
        self.joined.retain(|link| links.contains(link));
    }

    /// Takes what was said, without waiting: by which link, by whom, and what; how many there were. What came over a router, or
    /// from no link-local address, is nobody's of the link (RFC 4861 section 6.1).
    ///
    /// # Errors
    /// When the socket is broken.
    pub fn receive(&self, inbox: &mut Inbox, mut each: impl FnMut(u32, Ipv6Addr, Said)) -> io::Result<usize> {
        self.receiver.receive(inbox, |heard, bytes| {
            let IpAddr::V6(source) = heard.source else { return };
            let said = match bytes {
                [ADVERTISEMENT, 0, ..] if bytes.len() >= WE_ARE_ONE.len() => Said::Here,
                [SOLICITATION, 0, ..] if bytes.len() >= WHO_IS.len() => Said::WhoIs,
                _ => return,
            };
            if heard.hop_limit == 255 && source.is_unicast_link_local() {
                each(heard.link, source, said);
            }
        })
    }
}

impl AsFd for Routers {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.receiver.as_fd()
    }
}

impl AsRawFd for Routers {
    fn as_raw_fd(&self) -> RawFd {
        self.receiver.as_raw_fd()
    }
}
