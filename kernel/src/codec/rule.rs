//! Policy rules: `RTM_*RULE`, `struct fib_rule_hdr`. Only read: which tables a packet to an address is looked up in.

use ipam::Family;
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::netlink::{Body, Message};

/// `RTM_NEWRULE`.
pub const NEW: u16 = libc::RTM_NEWRULE;
/// `RTM_DELRULE`.
pub const DELETE: u16 = libc::RTM_DELRULE;
/// `RTM_GETRULE`.
pub const GET: u16 = libc::RTM_GETRULE;

/// `FIB_RULE_INVERT`: it applies to what does not match.
const INVERT: u32 = 2;
/// `FR_ACT_TO_TBL`, `FR_ACT_BLACKHOLE` to `FR_ACT_PROHIBIT`.
const TO_TABLE: u8 = 1;
const REFUSING: std::ops::RangeInclusive<u8> = 6..=8;
/// `FRA_DST`, `FRA_PRIORITY`, `FRA_FWMARK`, `FRA_SUPPRESS_PREFIXLEN`, `FRA_TABLE`, `FRA_FWMASK`.
const DST: u16 = 1;
const PRIORITY: u16 = 6;
const MARK: u16 = 10;
const SUPPRESS: u16 = 14;
const TABLE: u16 = 15;
const MASK: u16 = 16;
/// What a look-up by destination alone does not have: `FRA_SRC`, `FRA_IIFNAME`, `FRA_TUN_ID`, `FRA_OIFNAME`, `FRA_L3MDEV`,
/// `FRA_UID_RANGE`, `FRA_IP_PROTO`, `FRA_SPORT_RANGE`, `FRA_DPORT_RANGE`.
const OF_OTHERS: [u16; 9] = [2, 3, 12, 17, 19, 20, 22, 23, 24];

/// A rule that a look-up by destination alone meets. `ip rule`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place among the rules of its family.
    pub priority: u32,
    /// The destinations that it is for.
    pub destination: IpNet,
    /// Where it sends the look-up; `None`: nowhere (`blackhole`, `unreachable`, `prohibit`).
    pub table: Option<u32>,
    /// Routes of prefixes up to this length do not count (`suppress_prefixlength`).
    pub suppressed: Option<u8>,
}

impl Entry {
    /// Reads a dump's message; `None` when it is another kind of message, too short, or no rule for an unmarked packet of no
    /// known source.
    pub fn read(message: &Message<'_>) -> Option<Entry> {
        let [family, length, _, tos, table, _, _, action, f0, f1, f2, f3] = message.fixed()?;
        if message.header.kind != NEW {
            return None;
        }
        let everywhere = match i32::from(family) {
            libc::AF_INET => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            libc::AF_INET6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            _ => return None,
        };
        let (mut destination, mut priority, mut table) = (None, 0, u32::from(table));
        let (mut mark, mut mask, mut suppressed, mut of_others) = (0, u32::MAX, None, tos != 0);
        for attribute in message.attributes(12) {
            match attribute.kind {
                DST => destination = attribute.address(),
                PRIORITY => priority = attribute.u32()?,
                TABLE => table = attribute.u32()?,
                MARK => mark = attribute.u32()?,
                MASK => mask = attribute.u32()?,
                // -1 is none.
                SUPPRESS => suppressed = attribute.u32().and_then(|length| u8::try_from(length).ok()),
                kind => of_others |= OF_OTHERS.contains(&kind),
            }
        }
        let inverted = u32::from_ne_bytes([f0, f1, f2, f3]) & INVERT != 0;
        let met = !of_others && mark & mask == 0;
        // One for all but some destinations counts for all: then a peer is reached by the way that is always right.
        let all = inverted && destination.is_some();
        if met == inverted && !all {
            return None;
        }
        let destination = match destination.filter(|_| !all) {
            Some(address) => IpNet::new(address, length).ok()?.trunc(),
            None => IpNet::new(everywhere, 0).ok()?,
        };
        let table = match action {
            TO_TABLE => Some(table),
            action if REFUSING.contains(&action) => None,
            _ => return None,
        };
        Some(Entry { priority, destination, table, suppressed })
    }
}

/// The rules of a family. `ip rule`, `ip -6 rule`
pub fn of_family(body: &mut Body<'_>, family: Family) {
    let family = match family {
        Family::V4 => libc::AF_INET as u8,
        Family::V6 => libc::AF_INET6 as u8,
    };
    body.fixed(&[family, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
}
