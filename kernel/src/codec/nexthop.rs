//! Next-hop objects: `RTM_*NEXTHOP`, `struct nhmsg` (include/uapi/linux/nexthop.h, since Linux 5.3).

use std::net::IpAddr;

use backends::PROTOCOL;

use super::{family, route::ONLINK};
use crate::netlink::{Body, Message};

/// `RTM_NEWNEXTHOP`.
pub const NEW: u16 = 104;
/// `RTM_DELNEXTHOP`.
pub const DELETE: u16 = 105;
/// `RTM_GETNEXTHOP`.
pub const GET: u16 = 106;

const ID: u16 = 1;
/// `NHA_GROUP`: the numbers of its members, each a `struct nexthop_grp`.
const GROUP: u16 = 2;
const OIF: u16 = 5;
const GATEWAY: u16 = 6;

/// An object as the kernel lists it: its id at least, for a blackhole no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub id: u32,
    /// Who made it.
    pub protocol: u8,
    /// Index of the device.
    pub link: Option<u32>,
    /// The gateway.
    pub gateway: Option<IpAddr>,
    /// Of a group, the members.
    pub members: Vec<u32>,
}

impl Entry {
    /// Reads a dump's message; `None` when it is another kind of message or too short.
    pub fn read(message: &Message<'_>) -> Option<Entry> {
        if message.header.kind != NEW {
            return None;
        }
        let [_, _, protocol, ..]: [u8; 8] = message.fixed()?;
        let (mut id, mut link, mut gateway, mut members) = (None, None, None, Vec::new());
        for attribute in message.attributes(8) {
            match attribute.kind {
                ID => id = attribute.u32(),
                OIF => link = attribute.u32(),
                GATEWAY => gateway = attribute.address(),
                GROUP => members = attribute.bytes.chunks_exact(8).filter_map(member).collect(),
                _ => {}
            }
        }
        Some(Entry { id: id?, protocol, link, gateway, members })
    }
}

/// `struct nexthop_grp`: id, weight less one, padding. One that is to be used more than others is none of ours.
fn member(bytes: &[u8]) -> Option<u32> {
    let [i0, i1, i2, i3, ..]: [u8; 8] = bytes.try_into().ok()?;
    Some(u32::from_ne_bytes([i0, i1, i2, i3]))
}

/// All objects. `ip nexthop`
pub fn all(body: &mut Body<'_>) {
    body.fixed(&[0; 8]);
}

/// `ip nexthop add id ID via GATEWAY dev … onlink proto 84`
pub fn make(body: &mut Body<'_>, id: u32, link: u32, gateway: IpAddr) {
    let [f0, f1, f2, f3] = ONLINK.to_ne_bytes();
    body.fixed(&[family(gateway), libc::RT_SCOPE_UNIVERSE, PROTOCOL, 0, f0, f1, f2, f3]);
    body.u32(ID, id);
    body.u32(OIF, link);
    body.address(GATEWAY, gateway);
}

/// `ip nexthop add id ID group A/B/… proto 84`
pub fn make_group(body: &mut Body<'_>, id: u32, members: &[u32]) {
    body.fixed(&[libc::AF_UNSPEC as u8, 0, PROTOCOL, 0, 0, 0, 0, 0]);
    body.u32(ID, id);
    let entries: Vec<u8> = members.iter().flat_map(|member| entry_of(*member)).collect();
    body.bytes(GROUP, &entries);
}

/// A member that is used as much as any other.
fn entry_of(member: u32) -> [u8; 8] {
    let [i0, i1, i2, i3] = member.to_ne_bytes();
    [i0, i1, i2, i3, 0, 0, 0, 0]
}

/// `ip nexthop delete id ID`
pub fn delete(body: &mut Body<'_>, id: u32) {
    body.fixed(&[0; 8]);
    body.u32(ID, id);
}
