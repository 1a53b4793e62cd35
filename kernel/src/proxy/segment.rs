//! One long packet as many that fit a datagram each: what a network card does with the kernel's long packets (TSO, USO), done
//! here because each datagram of this backend is one packet. The payload is not copied: a segment is a header of its own and
//! a range of the long packet.

use std::ops::Range;

use super::offload::{Division, Offload};
use super::packet::{ADDRESSES, Header, IDENTIFICATION, Sum, TCP, TOTAL, UDP, number, put, sign};

/// TCP's flags that only the last segment keeps (FIN, PSH) and only the first (CWR): RFC 9293, RFC 3168.
const LAST_ONLY: u8 = 0x01 | 0x08;
const FIRST_ONLY: u8 = 0x80;
/// Octets of UDP's header.
const UDP_HEADER: usize = 8;

/// Writes a packet's segments: the headers one after another into `heads`, and for each `tell(its header, its payload)`.
/// Nothing at all when the packet is not what its offload says.
pub(super) fn segments(
    offload: &Offload,
    packet: &[u8],
    heads: &mut Vec<u8>,
    mut tell: impl FnMut(Range<usize>, Range<usize>),
) {
    let Some(long) = Long::read(offload, packet) else { return };
    let Some(payload) = packet.get(long.headers..long.header.total) else { return };
    let mut at = long.headers;
    for (index, piece) in payload.chunks(long.size).enumerate() {
        let begin = heads.len();
        heads.extend_from_slice(packet.get(..long.headers).unwrap_or_default());
        let last = at + piece.len() == long.header.total;
        if let Some(head) = heads.get_mut(begin..) {
            long.write(head, piece, Place { index, offset: at - long.headers, last });
        }
        tell(begin..heads.len(), at..at + piece.len());
        at += piece.len();
    }
}

/// Completes the checksum of a packet that goes as it is.
pub(super) fn complete(offload: &Offload, packet: &mut [u8]) {
    let Some((begin, place)) = offload.checksum.map(|(begin, place)| (usize::from(begin), usize::from(place))) else {
        return;
    };
    let Some(covered) = packet.get_mut(begin..) else { return };
    // What stands in the checksum's place is the pseudo header's sum.
    let checksum = match Sum::default().add(covered).checksum() {
        // Of UDP zero means that there is none (RFC 768); for the others both zeros are the same.
        [0, 0] => [0xff, 0xff],
        checksum => checksum,
    };
    put(covered, place..place + 2, checksum);
}

/// A segment among the others.
struct Place {
    index: usize,
    /// Octets of payload before it.
    offset: usize,
    last: bool,
}

/// A long packet, understood.
struct Long {
    header: Header,
    /// Octets of all headers.
    headers: usize,
    /// Octets of payload a segment.
    size: usize,
    first_identification: u16,
    sequence: u32,
}

impl Long {
    fn read(offload: &Offload, packet: &[u8]) -> Option<Long> {
        let header = Header::read(packet)?;
        let inner = packet.get(header.length..header.total)?;
        let (size, length) = match offload.division {
            Division::Tcp(size) if header.protocol == TCP => (size, usize::from(inner.get(12)? >> 4) * 4),
            Division::Udp(size) if header.protocol == UDP => (size, UDP_HEADER),
            _ => return None,
        };
        let least = if header.protocol == TCP { 20 } else { UDP_HEADER };
        if length < least || inner.len() <= length || size == 0 {
            return None;
        }
        Some(Long {
            header,
            headers: header.length + length,
            size: size.into(),
            first_identification: number(packet, IDENTIFICATION),
            sequence: u32::from_be_bytes(*inner.get(4..)?.first_chunk()?),
        })
    }

    /// One segment's headers, from a copy of the long packet's.
    fn write(&self, head: &mut [u8], payload: &[u8], place: Place) {
        let total = (head.len() + payload.len()) as u16;
        let inside = total - self.header.length as u16;
        put(head, TOTAL, total.to_be_bytes());
        let identification = self.first_identification.wrapping_add(place.index as u16);
        put(head, IDENTIFICATION, identification.to_be_bytes());
        let pseudo = Sum::of_pseudo_header(head.get(ADDRESSES).unwrap_or_default(), self.header.protocol, inside);
        let Some((outer, inner)) = head.split_at_mut_checked(self.header.length) else { return };
        sign(outer);
        let at = if self.header.protocol == TCP {
            let sequence = self.sequence.wrapping_add(place.offset as u32);
            if let Some(octets) = inner.get_mut(4..8) {
                octets.copy_from_slice(&sequence.to_be_bytes());
            }
            if let Some(flags) = inner.get_mut(13) {
                *flags &= if place.last { 0xff } else { !LAST_ONLY };
                *flags &= if place.index == 0 { 0xff } else { !FIRST_ONLY };
            }
            16..18
        } else {
            put(inner, 4..6, inside.to_be_bytes());
            6..8
        };
        put(inner, at.clone(), [0, 0]);
        let checksum = match pseudo.add(inner).add(payload).checksum() {
            [0, 0] => [0xff, 0xff],
            checksum => checksum,
        };
        put(inner, at, checksum);
    }
}
