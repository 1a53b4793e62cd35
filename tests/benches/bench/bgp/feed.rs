//! Routes as bytes: what a sender says, and which of it a receiver has heard. Made and counted here by hand, so that a mistake of our own codec's
//! does not cancel out.

use std::net::Ipv4Addr;

/// Routes of one UPDATE: they share their attributes.
const A_MESSAGE: u32 = 20;
/// The first route is 16.0.0.0/24, the next 16.0.1.0/24.
const FIRST: u32 = 16 << 16;
/// Octets of marker, length and type.
const HEADER: usize = 19;

/// Who sends routes: its AS, the address that they lead to, and a number that tells one round of announcements from another.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// The first AS of each path.
    pub asn: u32,
    /// The next hop.
    pub hop: Ipv4Addr,
    /// A part of the community that routes carry.
    pub round: u32,
}

/// UPDATEs that announce so many routes from one on: twenty each, with a path of four systems and a community.
pub fn announce(origin: Origin, routes: std::ops::Range<u32>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut first = routes.start;
    while first < routes.end {
        let last = routes.end.min(first + A_MESSAGE);
        let set = first / A_MESSAGE;
        message(2, &mut out, |out| {
            let attributes = attributes(origin, set);
            out.extend([0, 0]);
            out.extend((attributes.len() as u16).to_be_bytes());
            out.extend(attributes);
            (first..last).for_each(|route| prefix(route, out));
        });
        first = last;
    }
    out
}

/// One whole message.
pub fn message(kind: u8, out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([0xff; 16]);
    out.extend([0, 0, kind]);
    body(out);
    let length = (out.len() - start) as u16;
    out[start + 16..start + 18].copy_from_slice(&length.to_be_bytes());
}

fn attributes(origin: Origin, set: u32) -> Vec<u8> {
    let mut out = vec![0x40, 1, 1, 0, 0x40, 2, 18, 2, 4];
    for asn in [origin.asn, 3_000 + set % 97, 70_000 + set, 4_200_000_000] {
        out.extend(asn.to_be_bytes());
    }
    out.extend([0x40, 3, 4]);
    out.extend(origin.hop.octets());
    out.extend([0xc0, 8, 4]);
    out.extend((origin.round << 24 | set).to_be_bytes());
    out
}

fn prefix(route: u32, out: &mut Vec<u8>) {
    let [_, a, b, c] = (FIRST + route).to_be_bytes();
    out.extend([24, a, b, c]);
}

/// Which routes somebody has been told of.
pub struct Heard {
    bits: Vec<u64>,
    held: usize,
    /// Of which round the last announcement of the route in question was.
    pub round: Option<u8>,
    watch: Option<u32>,
}

impl Heard {
    /// Of none.
    pub fn nothing() -> Heard {
        Heard { bits: vec![0; 1 << 15], held: 0, round: None, watch: None }
    }

    /// Of none, and one of them is looked at.
    pub fn watching(route: u32) -> Heard {
        Heard { watch: Some(route), ..Heard::nothing() }
    }

    /// Distinct routes that stand.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Takes whole messages; how many octets they were is the answer.
    pub fn take(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while let Some(header) = bytes.get(at..at + HEADER) {
            let length = usize::from(u16::from_be_bytes([header[16], header[17]]));
            let Some(whole) = bytes.get(at..at + length) else { break };
            if header[18] == 2 {
                self.update(&whole[HEADER..]);
            }
            at += length;
        }
        at
    }

    fn update(&mut self, body: &[u8]) {
        let part = |bytes: &[u8]| usize::from(u16::from_be_bytes([bytes[0], bytes[1]])) + 2;
        let (withdrawn, rest) = body.split_at(part(body));
        let (attributes, announced) = rest.split_at(part(rest));
        self.list(&withdrawn[2..], None);
        self.list(announced, Some(attributes));
    }

    fn list(&mut self, mut list: &[u8], attributes: Option<&[u8]>) {
        while let Some((length, rest)) = list.split_first() {
            let octets = usize::from(length.div_ceil(8));
            if let [a, b, c] = &rest[..octets] {
                let route = u32::from_be_bytes([0, *a, *b, *c]).wrapping_sub(FIRST);
                if self.watch == Some(route) {
                    self.round = attributes.and_then(round);
                }
                self.set(route, attributes.is_some());
            }
            list = &rest[octets..];
        }
    }

    fn set(&mut self, route: u32, stands: bool) {
        let Some(word) = self.bits.get_mut((route / 64) as usize) else { return };
        let bit = 1 << (route % 64);
        match (*word & bit != 0, stands) {
            (false, true) => self.held += 1,
            (true, false) => self.held -= 1,
            _ => return,
        }
        *word ^= bit;
    }
}

/// The first octet of the community, wherever it stands.
fn round(attributes: &[u8]) -> Option<u8> {
    attributes.windows(4).find_map(|window| window.strip_prefix(&[0xc0, 8, 4])?.first().copied())
}
