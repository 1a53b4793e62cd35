//! Kernel objects as netlink messages, one file a kind: what we write, and what we read of a dump.
//!
//! Here, and nowhere else, are interface indices, nexthop ids, attribute numbers and the two families' layouts. Which
//! objects are ours is [`crate::observe`]'s, what to do about a refusal [`crate::apply`]'s.

pub mod address;
pub mod bridge;
pub mod generic;
pub mod ipip;
pub mod kind;
pub mod link;
pub mod namespace;
pub mod neighbour;
pub mod nexthop;
pub mod pod;
pub mod queue;
pub mod route;
pub mod rule;
pub mod tun;
pub mod tuning;
pub mod vxlan;
pub mod wireguard;

use std::net::IpAddr;

/// `NLM_F_CREATE | NLM_F_EXCL`: make it, and say EEXIST if it is there.
pub const MAKE: u16 = (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;
/// `NLM_F_CREATE | NLM_F_REPLACE`: make it or put it in the place of what is there.
pub const REPLACE: u16 = (libc::NLM_F_CREATE | libc::NLM_F_REPLACE) as u16;
/// `NLM_F_CREATE | NLM_F_APPEND`: make it or add to what is there.
pub const APPEND: u16 = (libc::NLM_F_CREATE | libc::NLM_F_APPEND) as u16;

/// `AF_INET` or `AF_INET6`, as the one octet that most structures begin with.
pub fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { libc::AF_INET as u8 } else { libc::AF_INET6 as u8 }
}

#[cfg(test)]
mod tests;
