//! Generic netlink: `struct genlmsghdr`, and the number that a family of messages has on this kernel (`genl ctrl get name …`).

use crate::netlink::{Body, Message};

/// Octets of `struct genlmsghdr`: command, version, two that are reserved.
pub const HEAD_OCTETS: usize = 4;
/// `GENL_ID_CTRL`: the family that knows the others.
pub const CONTROL: u16 = 0x10;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;

/// What begins every message of a family.
pub fn head(body: &mut Body<'_>, command: u8, version: u8) {
    body.fixed(&[command, version, 0, 0]);
}

/// Asks for a family's number.
pub fn family(body: &mut Body<'_>, name: &str) {
    head(body, GET_FAMILY, 1);
    body.text(FAMILY_NAME, name);
}

/// The number that an answer to [`family`] says: the `nlmsg_type` of that family's messages.
pub fn number(message: &Message<'_>) -> Option<u16> {
    message.attributes(HEAD_OCTETS).get(FAMILY_ID)?.u16()
}
