//! Neighbour entries and forwarding-database entries: both are `RTM_*NEIGH`, `struct ndmsg`.

use std::net::IpAddr;

use backends::PROTOCOL;
use ipam::Mac;

use super::family;
use crate::netlink::{Body, Message};

/// `RTM_NEWNEIGH`.
pub const NEW: u16 = libc::RTM_NEWNEIGH;
/// `RTM_DELNEIGH`.
pub const DELETE: u16 = libc::RTM_DELNEIGH;
/// `RTM_GETNEIGH`.
pub const GET: u16 = libc::RTM_GETNEIGH;

const BRIDGE: u8 = libc::AF_BRIDGE as u8;
/// `NDA_PORT`, `NDA_VNI`, `NDA_IFINDEX`, `NDA_NH_ID`: what a forwarding entry of ours never has.
const DETOURS: [u16; 4] = [libc::NDA_PORT, libc::NDA_VNI, libc::NDA_IFINDEX, 13];
/// `NDA_PROTOCOL`: the tag on neighbours. The vxlan driver drops it; there NTF_EXT_LEARNED is the tag.
const TAG: u16 = 12;
/// `NTF_EXT_LEARNED`, which libc has for glibc alone.
const LEARNED: u8 = 0x10;

/// The key of the entry for frames that have none of their own (`vxlan_xmit`).
const NO_MAC: Mac = Mac([0; 6]);

/// An entry of either kind as the kernel lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Index of its link.
    pub link: u32,
    /// A neighbour's address, or a forwarding entry's outer destination.
    pub address: Option<IpAddr>,
    /// The link-layer address.
    pub mac: Mac,
    /// Whether it never ages (`NUD_PERMANENT`).
    pub permanent: bool,
    /// Whether it carries our tag.
    pub tagged: bool,
    /// Whether a forwarding entry says more than a destination: another port, VNI, interface, or a next-hop object.
    pub detour: bool,
}

impl Entry {
    /// Reads a dump's message; `None` when it is another kind of message, too short or without link-layer address.
    pub fn read(message: &Message<'_>) -> Option<Entry> {
        if message.header.kind != NEW {
            return None;
        }
        let [family, _, _, _, i0, i1, i2, i3, s0, s1, flags, _] = message.fixed()?;
        let (mut address, mut mac, mut protocol, mut detour) = (None, None, 0, false);
        for attribute in message.attributes(12) {
            match attribute.kind {
                libc::NDA_DST => address = attribute.address(),
                libc::NDA_LLADDR => mac = attribute.mac(),
                TAG => protocol = attribute.u8()?,
                kind => detour |= DETOURS.contains(&kind),
            }
        }
        let learned = flags & LEARNED != 0;
        Some(Entry {
            link: u32::from_ne_bytes([i0, i1, i2, i3]),
            address,
            mac: mac?,
            permanent: u16::from_ne_bytes([s0, s1]) & libc::NUD_PERMANENT != 0,
            tagged: if family == BRIDGE { learned } else { protocol == PROTOCOL },
            detour,
        })
    }
}

/// Whether a notice about a forwarding entry is the second of two: before 6.13 the kernel tells of each once more than its
/// driver does, without destination, tag and age (`rtnl_fdb_notify`, `nlmsg_populate_fdb_fill`).
pub fn is_second_telling(message: &Message<'_>) -> bool {
    message.attributes(12).get(libc::NDA_CACHEINFO).is_none()
}

/// The link and the address that a notice is about: an entry that is going has no link-layer address any more.
pub fn subject(message: &Message<'_>) -> Option<(u32, IpAddr)> {
    let [_, _, _, _, i0, i1, i2, i3, ..]: [u8; 12] = message.fixed()?;
    Some((u32::from_ne_bytes([i0, i1, i2, i3]), message.attributes(12).get(libc::NDA_DST)?.address()?))
}

/// The neighbours of one link, both families.
pub fn of_link(body: &mut Body<'_>, link: u32) {
    // The strict check wants the filter as an attribute here (`neigh_valid_dump_req`).
    head(body, 0, 0, (0, 0));
    body.u32(libc::NDA_IFINDEX, link);
}

/// The addresses that links answer for in another's name. `ip neigh show proxy`
pub fn proxies(body: &mut Body<'_>) {
    head(body, 0, 0, (0, libc::NTF_PROXY));
}

/// The forwarding database of one link. `bridge fdb show dev …`
pub fn forwarding_of_link(body: &mut Body<'_>, link: u32) {
    // And in the header here (`valid_fdb_dump_strict`).
    head(body, BRIDGE, link, (0, 0));
}

/// `ip neigh replace ADDRESS lladdr MAC dev … nud permanent protocol 84`
pub fn set(body: &mut Body<'_>, link: u32, address: IpAddr, mac: Mac) {
    head(body, family(address), link, (libc::NUD_PERMANENT, 0));
    body.address(libc::NDA_DST, address);
    body.mac(libc::NDA_LLADDR, mac);
    body.u8(TAG, PROTOCOL);
}

/// `ip neigh replace ADDRESS lladdr MAC dev … nud stale`: used at once, and soon asked whether it is still so (RFC 4861
/// section 7.3.3).
pub fn introduce(body: &mut Body<'_>, link: u32, address: IpAddr, mac: Mac) {
    head(body, family(address), link, (libc::NUD_STALE, 0));
    body.address(libc::NDA_DST, address);
    body.mac(libc::NDA_LLADDR, mac);
}

/// One neighbour: `RTM_GETNEIGH` without a list, since Linux 5.0. `ip neigh get ADDRESS dev …`
pub fn one(body: &mut Body<'_>, link: u32, address: IpAddr) {
    head(body, family(address), link, (0, 0));
    body.address(libc::NDA_DST, address);
}

/// `ip neigh delete ADDRESS dev …`
pub fn delete(body: &mut Body<'_>, link: u32, address: IpAddr) {
    head(body, family(address), link, (0, 0));
    body.address(libc::NDA_DST, address);
}

/// `bridge fdb replace MAC dev … dst REMOTE self permanent extern_learn`
pub fn set_forwarding(body: &mut Body<'_>, link: u32, mac: Mac, remote: IpAddr) {
    let flags = libc::NTF_SELF | LEARNED;
    head(body, BRIDGE, link, (libc::NUD_PERMANENT | libc::NUD_NOARP, flags));
    body.mac(libc::NDA_LLADDR, mac);
    body.address(libc::NDA_DST, remote);
}

/// `bridge fdb delete MAC dev … self`: whatever its destination.
pub fn delete_forwarding(body: &mut Body<'_>, link: u32, mac: Mac) {
    head(body, BRIDGE, link, (0, libc::NTF_SELF));
    body.mac(libc::NDA_LLADDR, mac);
}

/// Sends frames that have no entry of their own here, too.
/// `bridge fdb append 00:00:00:00:00:00 dev … dst REMOTE self permanent extern_learn`
pub fn add_catch_all(body: &mut Body<'_>, link: u32, remote: IpAddr) {
    set_forwarding(body, link, NO_MAC, remote);
}

/// `bridge fdb delete 00:00:00:00:00:00 dev … dst REMOTE self`: this destination and no other.
pub fn delete_catch_all(body: &mut Body<'_>, link: u32, remote: IpAddr) {
    head(body, BRIDGE, link, (0, libc::NTF_SELF));
    body.mac(libc::NDA_LLADDR, NO_MAC);
    body.address(libc::NDA_DST, remote);
}

fn head(body: &mut Body<'_>, family: u8, link: u32, (state, flags): (u16, u8)) {
    let ([i0, i1, i2, i3], [s0, s1]) = (link.to_ne_bytes(), state.to_ne_bytes());
    body.fixed(&[family, 0, 0, 0, i0, i1, i2, i3, s0, s1, flags, 0]);
}
