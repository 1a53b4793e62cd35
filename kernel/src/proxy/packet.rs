//! An IPv4 packet (RFC 791): its header read, aged and summed. Only what the proxy decides by.

use std::net::Ipv4Addr;
use std::ops::Range;

/// Octets of a header without options.
pub(super) const LEAST: usize = 20;
/// Protocol numbers (IANA).
pub(super) const ICMP: u8 = 1;
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
/// Where the header has its fields.
pub(super) const TOTAL: Range<usize> = 2..4;
pub(super) const IDENTIFICATION: Range<usize> = 4..6;
const TTL: usize = 8;
pub(super) const CHECKSUM: Range<usize> = 10..12;
/// Source and destination together: the beginning of a pseudo header.
pub(super) const ADDRESSES: Range<usize> = 12..20;
/// `more fragments` and the offset: neither is there in a whole packet.
const FRAGMENT: u16 = 0x3fff;
const OFFSET: u16 = 0x1fff;

/// A header that is sound: version 4, and its lengths fit into what was received.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    /// Octets of the header, options included.
    pub length: usize,
    /// Octets of the packet.
    pub total: usize,
    /// What is in it.
    pub protocol: u8,
    /// Where it comes from.
    pub source: Ipv4Addr,
    /// Where it goes.
    pub destination: Ipv4Addr,
    fragment: u16,
}

impl Header {
    /// Reads it; `None` when it is no IPv4 packet, or not all of one.
    pub fn read(bytes: &[u8]) -> Option<Header> {
        let head: &[u8; LEAST] = bytes.first_chunk()?;
        let length = usize::from(head[0] & 0x0f) * 4;
        let total = usize::from(u16::from_be_bytes([head[2], head[3]]));
        if head[0] >> 4 != 4 || length < LEAST || total < length || bytes.len() < total {
            return None;
        }
        let [.., s0, s1, s2, s3, d0, d1, d2, d3] = *head;
        Some(Header {
            length,
            total,
            protocol: head[9],
            source: Ipv4Addr::new(s0, s1, s2, s3),
            destination: Ipv4Addr::new(d0, d1, d2, d3),
            fragment: u16::from_be_bytes([head[6], head[7]]),
        })
    }

    /// Whether it is all of what was sent.
    pub fn is_whole(&self) -> bool {
        self.fragment & FRAGMENT == 0
    }

    /// Whether it has the beginning of what was sent.
    pub fn is_first(&self) -> bool {
        self.fragment & OFFSET == 0
    }
}

/// Takes one from the time to live and corrects the checksum (RFC 1624 section 3). `false` when nothing is left: the packet
/// must not go on (RFC 1812 section 5.3.1).
pub(super) fn age(packet: &mut [u8]) -> bool {
    let Some(head) = packet.first_chunk_mut::<LEAST>() else { return false };
    if head[TTL] <= 1 {
        return false;
    }
    head[TTL] -= 1;
    let sum = u32::from(u16::from_be_bytes([head[10], head[11]])) + 0x100;
    let sum = (sum & 0xffff) + (sum >> 16);
    head[CHECKSUM].copy_from_slice(&(sum as u16).to_be_bytes());
    true
}

/// The sum of 16-bit words that Internet checksums are made of (RFC 1071), in the machine's own byte order: section 2 (B)
/// says why that is right. Each piece added begins at an even place.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sum(u64);

impl Sum {
    /// With these octets too.
    pub fn add(self, bytes: &[u8]) -> Sum {
        let (words, rest) = bytes.as_chunks::<4>();
        // At most 65,535 octets in a packet: no carry is lost.
        let mut total: u64 = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
        let mut last = [0; 4];
        if let Some(place) = last.get_mut(..rest.len()) {
            place.copy_from_slice(rest);
        }
        total += u64::from(u32::from_ne_bytes(last));
        Sum(self.0 + total)
    }

    /// With the pseudo header of what an IPv4 packet carries (RFC 9293 section 3.1): addresses, protocol, length.
    pub fn of_pseudo_header(addresses: &[u8], protocol: u8, length: u16) -> Sum {
        let [high, low] = length.to_be_bytes();
        Sum::default().add(addresses).add(&[0, protocol, high, low])
    }

    /// The sum itself, as it stands where a device is to add the rest.
    pub fn partial(self) -> [u8; 2] {
        let mut sum = self.0;
        while sum >> 16 != 0 {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        (sum as u16).to_ne_bytes()
    }

    /// Its complement: the checksum.
    pub fn checksum(self) -> [u8; 2] {
        self.partial().map(|octet| !octet)
    }

    /// Whether the sum over all, checksum included, is as it must be.
    pub fn is_right(self) -> bool {
        self.checksum() == [0, 0]
    }
}

/// Writes a header's checksum anew.
pub(super) fn sign(header: &mut [u8]) {
    if let Some(place) = header.get_mut(CHECKSUM) {
        place.fill(0);
    }
    let checksum = Sum::default().add(header).checksum();
    if let Some(place) = header.get_mut(CHECKSUM) {
        place.copy_from_slice(&checksum);
    }
}

/// Puts octets in their place; what does not fit is left.
pub(super) fn put(bytes: &mut [u8], place: Range<usize>, value: [u8; 2]) {
    if let Some(place) = bytes.get_mut(place) {
        place.copy_from_slice(&value);
    }
}

/// The number in a place of two octets.
pub(super) fn number(bytes: &[u8], place: Range<usize>) -> u16 {
    bytes.get(place).and_then(|octets| octets.try_into().ok()).map_or(0, u16::from_be_bytes)
}
