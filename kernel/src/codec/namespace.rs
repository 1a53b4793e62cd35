//! Network namespaces as links name them: by a number that each namespace has for each other (`RTM_*NSID`, ip-netns(8)), and
//! links looked at through it.

use std::os::fd::{AsRawFd, BorrowedFd};

use super::link;
use crate::netlink::{Body, Message};

/// `RTM_GETNSID`, and `RTM_NEWNSID`, which answers it.
pub const GET: u16 = 90;
const NEW: u16 = 88;
/// `NETNSA_NSID`, `NETNSA_FD`.
const NUMBER: u16 = 1;
const FD: u16 = 3;
/// `IFLA_TARGET_NETNSID`
const TARGET: u16 = 46;
/// `RTEXT_FILTER_SKIP_STATS`
const SKIP_STATISTICS: u32 = 1 << 3;

/// The number of a namespace. `ip netns list-id target-nsid …`
pub fn number_of(body: &mut Body<'_>, netns: BorrowedFd<'_>) {
    body.fixed(&[0; 4]);
    body.u32(FD, netns.as_raw_fd() as u32);
}

/// The answer; `None` when it has no number here, or the message is another.
pub fn number(message: &Message<'_>) -> Option<u32> {
    let number = message.attributes(4).get(NUMBER)?.u32()?;
    // `NETNSA_NSID_NOT_ASSIGNED` is -1.
    (message.header.kind == NEW && number != u32::MAX).then_some(number)
}

/// A link of another namespace, by its index there. It takes CAP_NET_ADMIN there, and nothing else. Linux 4.15.
pub fn link_in(body: &mut Body<'_>, namespace: u32, index: u32) {
    link::by_index(body, index);
    body.u32(TARGET, namespace);
    body.u32(libc::IFLA_EXT_MASK, SKIP_STATISTICS);
}

/// The namespace that a link was looked at in.
pub fn looked_in(message: &Message<'_>) -> Option<u32> {
    message.attributes(16).get(TARGET)?.u32()
}

/// The namespace of a veth's other end; `None` when that is this one.
pub fn of_peer(message: &Message<'_>) -> Option<u32> {
    message.attributes(16).get(libc::IFLA_LINK_NETNSID)?.u32()
}
