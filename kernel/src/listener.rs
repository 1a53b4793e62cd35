//! [`Listener`]: a socket of the node that has a port which a pod asks for. `ss -lntu sport = :N`
//!
//! Packets for a host port never reach a socket of the node, so a service of the node would go silent: better refuse the
//! pod. Whether a port is free the kernel tells by binding it, at once; only when it is not are sockets listed, because a
//! connection that merely leaves from that port is no obstacle.

use std::fmt;
use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use ipam::Family;

use crate::error::{Error, Result};
use crate::netlink::{Message, Protocol as Netlink, Request, Socket};
use crate::nft::nat::{Mapping, Protocol};

/// `SOCK_DIAG_BY_FAMILY`
const BY_FAMILY: u16 = 20;
/// `TCP_LISTEN` and `TCP_CLOSE` as bits: what listens, and a UDP or SCTP socket that is connected to nobody.
const LISTENING: u32 = 1 << 10;
const UNCONNECTED: u32 = 1 << 7;
/// Octets of `struct inet_diag_msg`.
const HEAD: usize = 72;
/// `INET_DIAG_SKV6ONLY`
const V6_ONLY: u16 = 11;

/// A socket that has a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it listens for.
    pub protocol: Protocol,
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.protocol)
    }
}

/// The socket of the calling thread's network namespace that would lose its packets to this host port.
///
/// # Errors
/// When the kernel does not say.
pub fn in_the_way_of(mapping: &Mapping) -> Result<Option<Listener>> {
    // Only then does the module exist that has such sockets; asking for one would load it.
    if mapping.protocol == Protocol::Sctp && !Path::new("/proc/thread-self/net/sctp").exists() {
        return Ok(None);
    }
    match try_to_bind(mapping) {
        Err(error) if error.raw_os_error() == Some(libc::EADDRINUSE) => find(mapping),
        // Whatever else there is against it: no socket has it.
        _ => Ok(None),
    }
}

fn try_to_bind(mapping: &Mapping) -> io::Result<()> {
    let (domain, wildcard) = match mapping.family() {
        Family::V4 => (libc::AF_INET, IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        Family::V6 => (libc::AF_INET6, IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
    };
    let kind = if mapping.protocol == Protocol::Udp { libc::SOCK_DGRAM } else { libc::SOCK_STREAM };
    let number = libc::c_int::from(mapping.protocol.number());
    // SAFETY: socket(2) takes three numbers and no memory of ours.
    let raw = unsafe { libc::socket(domain, kind | libc::SOCK_CLOEXEC, number) };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `raw` was just given to us by the kernel and nobody else knows it.
    let fd = unsafe { OwnedFd::from_raw_fd(raw) };
    let mut options = vec![(libc::SOL_IP, libc::IP_FREEBIND)];
    if domain == libc::AF_INET6 {
        options.push((libc::IPPROTO_IPV6, libc::IPV6_V6ONLY));
    }
    if mapping.protocol != Protocol::Udp {
        // Connections that have ended are no obstacle, those that listen still are (inet_csk_bind_conflict).
        options.push((libc::SOL_SOCKET, libc::SO_REUSEADDR));
    }
    for (level, option) in options {
        let on: libc::c_int = 1;
        let length = mem::size_of_val(&on) as libc::socklen_t;
        // SAFETY: pointer and length are those of one live number, which setsockopt(2) only reads.
        if unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, (&raw const on).cast(), length) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    bind(&fd, mapping.host.unwrap_or(wildcard), mapping.host_port)
}

fn bind(fd: &OwnedFd, address: IpAddr, port: u16) -> io::Result<()> {
    let result = match address {
        IpAddr::V4(v4) => {
            let address = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: port.to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.octets()) },
                sin_zero: [0; 8],
            };
            let length = mem::size_of_val(&address) as libc::socklen_t;
            // SAFETY: `address` lives through the call and is as long as `length` says.
            unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) }
        }
        IpAddr::V6(v6) => {
            let address = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: port.to_be(),
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr { s6_addr: v6.octets() },
                sin6_scope_id: 0,
            };
            let length = mem::size_of_val(&address) as libc::socklen_t;
            // SAFETY: as above.
            unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) }
        }
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Lists the sockets that have the port, of both families: one of IPv6 mostly hears IPv4 as well.
fn find(mapping: &Mapping) -> Result<Option<Listener>> {
    let mut socket = Socket::open(Netlink::Sockets)?;
    let doing = format!("listing the sockets that have port {}", mapping.host_port);
    let request = Request { kind: BY_FAMILY, flags: 0, doing: &doing };
    let states = if mapping.protocol == Protocol::Tcp { LISTENING } else { LISTENING | UNCONNECTED };
    for family in [libc::AF_INET, libc::AF_INET6] {
        // `struct inet_diag_req_v2`: only the source port is asked for.
        let mut question = [0; 56];
        question[0] = family as u8;
        question[1] = mapping.protocol.number();
        question[4..8].copy_from_slice(&states.to_ne_bytes());
        question[8..10].copy_from_slice(&mapping.host_port.to_be_bytes());
        let answers = match socket.dump(&request, |body| body.fixed(&question)) {
            // This kernel cannot list sockets of that protocol or family: then there is only what binding said.
            Err(Error::Refused { .. }) => {
                let address = SocketAddr::new(mapping.host.unwrap_or(Ipv4Addr::UNSPECIFIED.into()), mapping.host_port);
                return Ok(Some(Listener { address, protocol: mapping.protocol }));
            }
            answers => answers?,
        };
        let mut listeners = answers.filter_map(|message| read(&message, mapping));
        if let Some(listener) = listeners.next() {
            return Ok(Some(listener));
        }
    }
    Ok(None)
}

/// A socket, if the mapping would take packets from it.
fn read(message: &Message<'_>, mapping: &Mapping) -> Option<Listener> {
    let head: [u8; HEAD] = message.fixed()?;
    let port = u16::from_be_bytes([head[4], head[5]]);
    let family = libc::c_int::from(head[0]);
    let address = if family == libc::AF_INET {
        IpAddr::V4(Ipv4Addr::new(head[8], head[9], head[10], head[11]))
    } else {
        let octets: [u8; 16] = head[8..24].try_into().ok()?;
        IpAddr::V6(Ipv6Addr::from(octets))
    };
    let v6_only = message.attributes(HEAD).get(V6_ONLY).and_then(|only| only.u8()) == Some(1);
    let hears = match (mapping.family(), address) {
        (Family::V4, IpAddr::V6(v6)) => v6.to_ipv4_mapped().is_some() || v6.is_unspecified() && !v6_only,
        (Family::V4, IpAddr::V4(_)) | (Family::V6, IpAddr::V6(_)) => true,
        (Family::V6, IpAddr::V4(_)) => false,
    };
    let there =
        address.is_unspecified() || mapping.host.is_none_or(|host| host.to_canonical() == address.to_canonical());
    let listener = Listener { address: SocketAddr::new(address, port), protocol: mapping.protocol };
    (hears && there && port == mapping.host_port).then_some(listener)
}
