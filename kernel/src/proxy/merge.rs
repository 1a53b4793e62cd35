//! Many packets of one flow as one long one, before the kernel gets them: it then walks its whole path once for up to 64
//! (what GRO does behind a network card). What comes out at the pod is what went in: only packets that differ in nothing but
//! length, place and identification are joined, and only when their checksums are right.
//!
//! The order within a flow stays: a packet is joined to the flow's latest, or comes after it.

use std::io::IoSlice;
use std::ops::Range;

use super::offload::{Division, LENGTH, Offload};
use super::packet::{ADDRESSES, Header, LEAST, Sum, TCP, TOTAL, UDP, number, put, sign};

/// Packets in one long one: the kernel's `UDP_MAX_SEGMENTS` of old.
const MOST: usize = 64;
/// Octets of an IPv4 packet.
const LONGEST: usize = 65_535;
/// So many of the latest are looked through for a packet's flow.
const REACH: usize = 16;
/// TCP's flags: those that may be set in what is joined.
const ACK: u8 = 0x10;
const PSH: u8 = 0x08;
const UDP_HEADER: usize = 8;

/// Which protocols the device takes long packets of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Joins {
    /// TCP alone: kernels before 6.2.
    Tcp,
    /// TCP and UDP.
    TcpAndUdp,
}

/// Packets to be written to the device, in order.
pub(super) struct Merger {
    joins: Joins,
    /// Those from `used` on are kept for their memory.
    outputs: Vec<Output>,
    used: usize,
}

/// One packet, or several that are written as one.
#[derive(Default)]
struct Output {
    /// The first, headers included.
    first: Range<usize>,
    /// The others' payloads.
    rest: Vec<Range<usize>>,
    /// What more can be joined to; `None` when nothing can.
    open: Option<Open>,
    addresses: [u8; 8],
    protocol: u8,
    headers: usize,
    total: usize,
    push: bool,
}

/// What the next packet must be like.
struct Open {
    /// Octets of payload of each but the last.
    size: usize,
    /// TCP: the next sequence number.
    sequence: u32,
    /// Whether the first's checksums were looked at.
    verified: bool,
}

/// A packet that can be joined with others.
struct Candidate {
    protocol: u8,
    headers: usize,
    total: usize,
    sequence: u32,
    push: bool,
}

impl Candidate {
    fn read(packet: &[u8], header: &Header, joins: Joins) -> Option<Candidate> {
        let inner = packet.get(LEAST..header.total)?;
        if header.length != LEAST || !header.is_whole() {
            return None;
        }
        let (length, push) = match header.protocol {
            TCP => {
                let flags = *inner.get(13)?;
                let length = usize::from(inner.get(12)? >> 4) * 4;
                (length, (flags & !PSH == ACK && length >= 20).then_some(flags & PSH != 0)?)
            }
            // Without a checksum there is nothing to join by.
            UDP if joins == Joins::TcpAndUdp => {
                let whole = usize::from(number(inner, 4..6)) == inner.len() && number(inner, 6..8) != 0;
                (UDP_HEADER, whole.then_some(false)?)
            }
            _ => return None,
        };
        let sequence = if header.protocol == TCP { u32::from_be_bytes(*inner.get(4..)?.first_chunk()?) } else { 0 };
        let headers = LEAST + length;
        (header.total > headers).then_some(Candidate {
            protocol: header.protocol,
            headers,
            total: header.total,
            sequence,
            push,
        })
    }

    fn payload(&self) -> usize {
        self.total - self.headers
    }
}

impl Merger {
    /// Nothing yet.
    pub fn new(joins: Joins) -> Merger {
        Merger { joins, outputs: Vec::new(), used: 0 }
    }

    /// Forgets what was written.
    pub fn clear(&mut self) {
        self.used = 0;
    }

    /// Takes a packet that lies at `place` in the buffer.
    pub fn add(&mut self, buffer: &[u8], place: Range<usize>, header: &Header) {
        let Some(packet) = buffer.get(place.clone()) else { return };
        let addresses = packet.get(ADDRESSES).and_then(|octets| octets.try_into().ok()).unwrap_or_default();
        let candidate = Candidate::read(packet, header, self.joins);
        let recent = self.outputs.get_mut(..self.used).unwrap_or_default().iter_mut().rev().take(REACH);
        let mut among = recent.filter(|output| output.open.is_some() && output.addresses == addresses);
        match &candidate {
            None => among.for_each(|output| output.open = None),
            Some(candidate) => {
                let ports = packet.get(LEAST..LEAST + 4);
                let same = |output: &&mut Output| {
                    output.protocol == candidate.protocol
                        && buffer.get(output.first.start + LEAST..output.first.start + LEAST + 4) == ports
                };
                if let Some(output) = among.find(same) {
                    if output.take(buffer, place.clone(), candidate) {
                        return;
                    }
                    output.open = None;
                }
            }
        }
        if self.used == self.outputs.len() {
            self.outputs.push(Output::default());
        }
        if let Some(output) = self.outputs.get_mut(self.used) {
            output.begin(place, candidate, addresses);
            self.used += 1;
        }
    }

    /// Writes all of them, in order: each as the pieces of one packet.
    pub fn write(&self, buffer: &mut [u8], mut write: impl FnMut(&[IoSlice<'_>])) {
        let Some(outputs) = self.outputs.get(..self.used) else { return };
        for output in outputs {
            let head = output.finish(buffer);
            let Some(first) = buffer.get(output.first.clone()) else { continue };
            if output.rest.is_empty() {
                write(&[IoSlice::new(&head), IoSlice::new(first)]);
                continue;
            }
            let mut pieces = Vec::with_capacity(2 + output.rest.len());
            pieces.extend([IoSlice::new(&head), IoSlice::new(first)]);
            pieces.extend(output.rest.iter().filter_map(|place| buffer.get(place.clone())).map(IoSlice::new));
            write(&pieces);
        }
    }
}

impl Output {
    fn begin(&mut self, place: Range<usize>, candidate: Option<Candidate>, addresses: [u8; 8]) {
        self.total = place.len();
        self.first = place;
        self.rest.clear();
        self.addresses = addresses;
        self.push = false;
        self.open = None;
        let Some(candidate) = candidate else { return };
        (self.protocol, self.headers) = (candidate.protocol, candidate.headers);
        if !candidate.push {
            let size = candidate.payload();
            let sequence = candidate.sequence.wrapping_add(size as u32);
            self.open = Some(Open { size, sequence, verified: false });
        }
    }

    /// Joins a packet of the same flow, if it is the next and like the first.
    fn take(&mut self, buffer: &[u8], place: Range<usize>, candidate: &Candidate) -> bool {
        let Some(open) = &mut self.open else { return false };
        let (Some(first), Some(packet)) = (buffer.get(self.first.clone()), buffer.get(place.clone())) else {
            return false;
        };
        let fits = candidate.headers == self.headers
            && candidate.payload() <= open.size
            && self.total + candidate.payload() <= LONGEST
            && self.rest.len() + 1 < MOST
            && (candidate.protocol != TCP || candidate.sequence == open.sequence);
        if !fits || !alike(first, packet, candidate) {
            return false;
        }
        if !open.verified && !is_right(first, candidate.protocol) || !is_right(packet, candidate.protocol) {
            return false;
        }
        open.verified = true;
        open.sequence = open.sequence.wrapping_add(candidate.payload() as u32);
        self.total += candidate.payload();
        self.push |= candidate.push;
        let ends = candidate.push || candidate.payload() < open.size;
        self.rest.push(place.start + candidate.headers..place.start + candidate.total);
        if ends {
            self.open = None;
        }
        true
    }

    /// Makes the first's headers those of the whole, and says what the kernel is to do with it.
    fn finish(&self, buffer: &mut [u8]) -> [u8; LENGTH] {
        if self.rest.is_empty() {
            return Offload::NONE.written(0);
        }
        let size = (self.first.len() - self.headers) as u16;
        let inside = (self.total - LEAST) as u16;
        let Some(packet) = buffer.get_mut(self.first.clone()) else { return Offload::NONE.written(0) };
        put(packet, TOTAL, (self.total as u16).to_be_bytes());
        let pseudo = Sum::of_pseudo_header(packet.get(ADDRESSES).unwrap_or_default(), self.protocol, inside);
        if let Some((outer, inner)) = packet.split_at_mut_checked(LEAST) {
            sign(outer);
            if self.protocol == UDP {
                put(inner, 4..6, inside.to_be_bytes());
                put(inner, 6..8, pseudo.partial());
            } else {
                put(inner, 16..18, pseudo.partial());
                if let Some(flags) = inner.get_mut(13).filter(|_| self.push) {
                    *flags |= PSH;
                }
            }
        }
        let (division, at) = if self.protocol == UDP { (Division::Udp(size), 6) } else { (Division::Tcp(size), 16) };
        Offload { division, checksum: Some((LEAST as u16, at)) }.written(self.headers as u16)
    }
}

/// Whether two packets of one flow differ only where packets of one stream do.
fn alike(first: &[u8], packet: &[u8], candidate: &Candidate) -> bool {
    let same = |place: Range<usize>| first.get(place.clone()) == packet.get(place);
    // Version, length, service; fragmentation, time to live, protocol. Of TCP the acknowledgement; window; urgent pointer and
    // options: its flags differ in PSH alone.
    let network = same(0..2) && same(6..10);
    network && (candidate.protocol != TCP || same(28..32) && same(34..36) && same(38..candidate.headers))
}

/// Whether both checksums are right: the kernel is told to write new ones, so nobody after us would see a wrong one.
fn is_right(packet: &[u8], protocol: u8) -> bool {
    let Some((outer, inner)) = packet.split_at_checked(LEAST) else { return false };
    let pseudo = Sum::of_pseudo_header(outer.get(ADDRESSES).unwrap_or_default(), protocol, inner.len() as u16);
    Sum::default().add(outer).is_right() && pseudo.add(inner).is_right()
}
