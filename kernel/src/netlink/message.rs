//! Netlink messages as bytes: writing them ([`Datagram`], [`Body`]) and reading what arrived ([`Messages`],
//! [`Attributes`]).
//!
//! The reader takes any bytes: what is cut short or lies about its length ends the walk, nothing panics. The writer
//! closes nests and pads by itself. What a kind or an attribute means is not known here. Layout: include/uapi/linux/netlink.h
//! in the kernel; everything is in host byte order unless a method says `be`.

use std::net::IpAddr;

use ipam::Mac;

use crate::error::Refusal;

/// Octets of `struct nlmsghdr`.
pub const HEADER_LEN: usize = 16;
/// Octets of `struct nlattr`.
const ATTRIBUTE_LEN: usize = 4;
/// `NLA_TYPE_MASK`: an attribute's type without the flags "nested" and "network byte order".
const TYPE_MASK: u16 = !(libc::NLA_F_NESTED as u16 | libc::NLA_F_NET_BYTEORDER as u16);
/// `NLM_F_CAPPED`: an error message quotes only the header of what it refuses.
const CAPPED: u16 = 0x100;
/// `NLM_F_ACK_TLVS`: attributes with the kernel's words follow.
const ACK_TLVS: u16 = 0x200;
/// `NLMSGERR_ATTR_MSG`: the words.
const ERROR_WORDS: u16 = 1;

/// Messages and attributes begin at multiples of four octets (`NLMSG_ALIGNTO`, `NLA_ALIGNTO`).
const fn aligned(length: usize) -> usize {
    (length + 3) & !3
}

/// What a message's header says besides its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// `nlmsg_type`.
    pub kind: u16,
    /// `nlmsg_flags`.
    pub flags: u16,
    /// `nlmsg_seq`: an answer repeats it.
    pub sequence: u32,
}

/// Messages being written, one behind the other, to be sent at once.
#[derive(Debug, Default)]
pub struct Datagram {
    bytes: Vec<u8>,
    /// Where the last message begins.
    last: usize,
    too_long: bool,
}

impl Datagram {
    /// Appends one message; `body` writes what follows its header.
    pub fn push(&mut self, header: Header, body: impl FnOnce(&mut Body<'_>)) {
        self.last = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&header.kind.to_ne_bytes());
        self.bytes.extend_from_slice(&header.flags.to_ne_bytes());
        self.bytes.extend_from_slice(&header.sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        body(&mut Body(self));
        let length = self.bytes.len() - self.last;
        self.too_long |= u32::try_from(length).is_err();
        self.bytes[self.last..self.last + 4].copy_from_slice(&(length as u32).to_ne_bytes());
    }

    /// Sets flags on the message written last.
    pub fn flag_last(&mut self, flags: u16) {
        if let Some([low, high]) = self.bytes.get_mut(self.last + 6..self.last + 8) {
            [*low, *high] = (u16::from_ne_bytes([*low, *high]) | flags).to_ne_bytes();
        }
    }

    /// All octets.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether an attribute was longer than its 16-bit length can say: such a datagram must not be sent.
    pub fn is_too_long(&self) -> bool {
        self.too_long
    }

    /// Forgets all messages and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.last = 0;
        self.too_long = false;
    }
}

/// What follows a message's header, being written: first a fixed structure, then attributes.
pub struct Body<'a>(&'a mut Datagram);

impl Body<'_> {
    /// The structure that begins the body (`struct ifinfomsg` and the like).
    pub fn fixed(&mut self, bytes: &[u8]) {
        self.0.bytes.extend_from_slice(bytes);
        self.pad();
    }

    /// An attribute with these octets.
    pub fn bytes(&mut self, kind: u16, bytes: &[u8]) {
        let start = self.open(kind);
        self.0.bytes.extend_from_slice(bytes);
        self.close(start);
    }

    /// An attribute whose presence is its value.
    pub fn flag(&mut self, kind: u16) {
        self.bytes(kind, &[]);
    }

    /// An 8-bit attribute.
    pub fn u8(&mut self, kind: u16, value: u8) {
        self.bytes(kind, &[value]);
    }

    /// A 16-bit attribute in host byte order.
    pub fn u16(&mut self, kind: u16, value: u16) {
        self.bytes(kind, &value.to_ne_bytes());
    }

    /// A 32-bit attribute in host byte order.
    pub fn u32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_ne_bytes());
    }

    /// A 16-bit attribute in network byte order.
    pub fn be16(&mut self, kind: u16, value: u16) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// A 32-bit attribute in network byte order.
    pub fn be32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// A 64-bit attribute in network byte order.
    pub fn be64(&mut self, kind: u16, value: u64) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// A text with the NUL that ends it.
    pub fn text(&mut self, kind: u16, text: &str) {
        let start = self.open(kind);
        self.0.bytes.extend_from_slice(text.as_bytes());
        self.0.bytes.push(0);
        self.close(start);
    }

    /// An address: 4 or 16 octets.
    pub fn address(&mut self, kind: u16, address: IpAddr) {
        match address {
            IpAddr::V4(v4) => self.bytes(kind, &v4.octets()),
            IpAddr::V6(v6) => self.bytes(kind, &v6.octets()),
        }
    }

    /// A link-layer address.
    pub fn mac(&mut self, kind: u16, mac: Mac) {
        self.bytes(kind, &mac.0);
    }

    /// An attribute that holds attributes, or a structure and then attributes.
    pub fn nest(&mut self, kind: u16, inside: impl FnOnce(&mut Body<'_>)) {
        let start = self.open(kind | libc::NLA_F_NESTED as u16);
        inside(&mut Body(self.0));
        self.close(start);
    }

    fn open(&mut self, kind: u16) -> usize {
        let start = self.0.bytes.len();
        self.0.bytes.extend_from_slice(&[0; 2]);
        self.0.bytes.extend_from_slice(&kind.to_ne_bytes());
        start
    }

    /// The length counts the attribute's header and not the padding behind it.
    fn close(&mut self, start: usize) {
        let length = self.0.bytes.len() - start;
        self.0.too_long |= u16::try_from(length).is_err();
        self.0.bytes[start..start + 2].copy_from_slice(&(length as u16).to_ne_bytes());
        self.pad();
    }

    fn pad(&mut self) {
        let padded = aligned(self.0.bytes.len());
        self.0.bytes.resize(padded, 0);
    }
}

/// A message that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Its header.
    pub header: Header,
    /// `nlmsg_pid`: in a notice, the port of the socket whose request caused it, 0 when it was nobody's.
    pub port: u32,
    /// What follows the header.
    pub body: &'a [u8],
}

impl<'a> Message<'a> {
    /// The structure that begins the body, `None` when the body is shorter.
    pub fn fixed<const N: usize>(&self) -> Option<[u8; N]> {
        first(self.body)
    }

    /// The attributes behind a structure of `fixed` octets.
    pub fn attributes(&self, fixed: usize) -> Attributes<'a> {
        Attributes(self.body.get(aligned(fixed)..).unwrap_or_default())
    }

    /// What the kernel says of an earlier request: `None` when this is another kind of message, else whether it was
    /// done. `NLMSG_ERROR` with number 0 is the acknowledgement; `NLMSG_DONE` ends a dump.
    pub fn verdict(&self) -> Option<Result<(), Refusal>> {
        let kind = i32::from(self.header.kind);
        if kind != libc::NLMSG_ERROR && kind != libc::NLMSG_DONE {
            return None;
        }
        // A dump may end with NLMSG_DONE without a number.
        let number = self.fixed().map_or(0, i32::from_ne_bytes);
        if number == 0 {
            return Some(Ok(()));
        }
        let quoted = match self.body.get(4..).and_then(first) {
            Some(length) if kind == libc::NLMSG_ERROR && self.header.flags & CAPPED == 0 => {
                u32::from_ne_bytes(length) as usize
            }
            _ if kind == libc::NLMSG_ERROR => HEADER_LEN,
            _ => 0,
        };
        let mut words = None;
        if self.header.flags & ACK_TLVS != 0 {
            let said = self.attributes(quoted.saturating_add(4).min(self.body.len())).find(|a| a.kind == ERROR_WORDS);
            words = said.and_then(|a| a.text()).map(str::to_owned);
        }
        Some(Err(Refusal { errno: number.saturating_neg(), words }))
    }
}

/// The messages of a datagram, in order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Messages<'a>(&'a [u8]);

impl<'a> Messages<'a> {
    /// Reads these octets.
    pub fn new(bytes: &'a [u8]) -> Messages<'a> {
        Messages(bytes)
    }

    /// How many octets are left behind what was read.
    pub fn unread(&self) -> usize {
        self.0.len()
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let head: [u8; HEADER_LEN] = first(self.0)?;
        let [l0, l1, l2, l3, k0, k1, f0, f1, s0, s1, s2, s3, p0, p1, p2, p3] = head;
        let length = usize::try_from(u32::from_ne_bytes([l0, l1, l2, l3])).ok()?;
        let body = self.0.get(HEADER_LEN..length)?;
        self.0 = self.0.get(aligned(length)..).unwrap_or_default();
        let header = Header {
            kind: u16::from_ne_bytes([k0, k1]),
            flags: u16::from_ne_bytes([f0, f1]),
            sequence: u32::from_ne_bytes([s0, s1, s2, s3]),
        };
        Some(Message { header, port: u32::from_ne_bytes([p0, p1, p2, p3]), body })
    }
}

/// An attribute that arrived. The readers give `None` when it is too short for what is asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Its type, without the flag bits.
    pub kind: u16,
    /// Its value.
    pub bytes: &'a [u8],
}

impl<'a> Attribute<'a> {
    /// An 8-bit value.
    pub fn u8(&self) -> Option<u8> {
        self.bytes.first().copied()
    }

    /// A 16-bit value in host byte order.
    pub fn u16(&self) -> Option<u16> {
        first(self.bytes).map(u16::from_ne_bytes)
    }

    /// A 32-bit value in host byte order.
    pub fn u32(&self) -> Option<u32> {
        first(self.bytes).map(u32::from_ne_bytes)
    }

    /// A 16-bit value in network byte order.
    pub fn be16(&self) -> Option<u16> {
        first(self.bytes).map(u16::from_be_bytes)
    }

    /// A 32-bit value in network byte order.
    pub fn be32(&self) -> Option<u32> {
        first(self.bytes).map(u32::from_be_bytes)
    }

    /// A 64-bit value in network byte order.
    pub fn be64(&self) -> Option<u64> {
        first(self.bytes).map(u64::from_be_bytes)
    }

    /// A text, up to its NUL; `None` when it is not UTF-8.
    pub fn text(&self) -> Option<&'a str> {
        let text = self.bytes.split(|byte| *byte == 0).next()?;
        std::str::from_utf8(text).ok()
    }

    /// An address: which family is told by the length.
    pub fn address(&self) -> Option<IpAddr> {
        match self.bytes.len() {
            4 => first::<4>(self.bytes).map(IpAddr::from),
            16 => first::<16>(self.bytes).map(IpAddr::from),
            _ => None,
        }
    }

    /// A link-layer address.
    pub fn mac(&self) -> Option<Mac> {
        if self.bytes.len() == 6 { first(self.bytes).map(Mac) } else { None }
    }

    /// The attributes inside.
    pub fn nested(&self) -> Attributes<'a> {
        Attributes(self.bytes)
    }
}

/// Attributes, in order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// Reads these octets.
    pub fn new(bytes: &'a [u8]) -> Attributes<'a> {
        Attributes(bytes)
    }

    /// The first attribute of this type.
    pub fn get(mut self, kind: u16) -> Option<Attribute<'a>> {
        self.find(|attribute| attribute.kind == kind)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        let [l0, l1, k0, k1] = first(self.0)?;
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let bytes = self.0.get(ATTRIBUTE_LEN..length)?;
        self.0 = self.0.get(aligned(length)..).unwrap_or_default();
        Some(Attribute { kind: u16::from_ne_bytes([k0, k1]) & TYPE_MASK, bytes })
    }
}

/// The first N octets, when there are so many.
fn first<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.get(..N)?.try_into().ok()
}

#[cfg(test)]
mod tests;
