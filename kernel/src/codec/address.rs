//! Addresses on links: `RTM_*ADDR`, `struct ifaddrmsg`.

use std::net::IpAddr;

use backends::PROTOCOL;
use ipnet::IpNet;

use super::family;
use crate::netlink::{Body, Message};

/// `RTM_NEWADDR`.
pub const NEW: u16 = libc::RTM_NEWADDR;
/// `RTM_DELADDR`.
pub const DELETE: u16 = libc::RTM_DELADDR;
/// `RTM_GETADDR`.
pub const GET: u16 = libc::RTM_GETADDR;

/// `IFA_PROTO`, since Linux 5.18; older kernels overlook it.
const PROTO: u16 = 11;

/// An address as the kernel lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Index of its link.
    pub link: u32,
    /// The address with the prefix length that it stands with.
    pub net: IpNet,
    /// Who put it there (`IFA_PROTO`), 0 when the kernel does not say.
    pub protocol: u8,
    /// How far it is valid: `RT_SCOPE_*`.
    pub scope: u8,
    /// `IFA_F_*`.
    pub flags: u32,
    /// Whether it is of global scope and not made up by autoconfiguration.
    pub lasting: bool,
}

impl Entry {
    /// Reads a dump's message; `None` when it is another kind of message or too short.
    pub fn read(message: &Message<'_>) -> Option<Entry> {
        if message.header.kind != NEW {
            return None;
        }
        let [_, prefix, flags, scope, i0, i1, i2, i3] = message.fixed()?;
        let (mut address, mut local, mut protocol, mut flags) = (None, None, 0, u32::from(flags));
        for attribute in message.attributes(8) {
            match attribute.kind {
                libc::IFA_ADDRESS => address = attribute.address(),
                libc::IFA_LOCAL => local = attribute.address(),
                libc::IFA_FLAGS => flags = attribute.u32()?,
                PROTO => protocol = attribute.u8()?,
                _ => {}
            }
        }
        Some(Entry {
            link: u32::from_ne_bytes([i0, i1, i2, i3]),
            // With a peer, IFA_ADDRESS is the peer's and IFA_LOCAL ours.
            net: IpNet::new(local.or(address)?, prefix).ok()?,
            protocol,
            scope,
            flags,
            lasting: flags & libc::IFA_F_PERMANENT != 0 && scope == libc::RT_SCOPE_UNIVERSE,
        })
    }
}

/// The addresses of one link, both families.
pub fn of_link(body: &mut Body<'_>, link: u32) {
    head(body, (0, 0, 0), link);
}

/// `ip address replace NET dev … nodad proto 84`
pub fn add(body: &mut Body<'_>, link: u32, net: IpNet) {
    // Nobody else on the device can answer for it: without NODAD an IPv6 address is useless for a second.
    let flags = if net.addr().is_ipv4() { 0 } else { libc::IFA_F_NODAD as u8 };
    head(body, (family(net.addr()), net.prefix_len(), flags), link);
    both(body, net.addr());
    body.u8(PROTO, PROTOCOL);
}

/// `ip address delete NET dev …`
pub fn delete(body: &mut Body<'_>, link: u32, net: IpNet) {
    head(body, (family(net.addr()), net.prefix_len(), 0), link);
    both(body, net.addr());
}

fn head(body: &mut Body<'_>, (family, prefix, flags): (u8, u8, u8), link: u32) {
    let [i0, i1, i2, i3] = link.to_ne_bytes();
    body.fixed(&[family, prefix, flags, libc::RT_SCOPE_UNIVERSE, i0, i1, i2, i3]);
}

fn both(body: &mut Body<'_>, address: IpAddr) {
    body.address(libc::IFA_LOCAL, address);
    body.address(libc::IFA_ADDRESS, address);
}
