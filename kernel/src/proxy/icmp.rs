//! What a sender on this node is told of a packet for an address that no node has: destination unreachable, network (RFC 792,
//! RFC 1812 section 4.3). Never of what came from another node: nothing that the network sends us makes us send.

use std::time::{Duration, Instant};

use super::packet::{Header, ICMP, LEAST, Sum, put, sign};

/// Octets of an ICMP message's own header.
const HEADER: usize = 8;
/// Its type; code 0 is the network.
const UNREACHABLE: u8 = 3;
/// Octets of the offender's payload that are given back.
const GIVEN_BACK: usize = 8;
/// RFC 1812 section 4.3.2.8: how often at most.
const A_SECOND: u32 = 100;

/// The message; `None` where none may be sent (RFC 1122 section 3.2.2): about ICMP, about a later fragment, to or about more
/// than one host.
///
/// It comes from where the packet was to go. An address of this node, which flannel takes, is one that the kernel believes
/// nobody who sends from outside (`fib_validate_source`): such a message is never seen.
pub(super) fn unreachable(packet: &[u8]) -> Option<Vec<u8>> {
    let header = Header::read(packet)?;
    let source = header.source;
    let nobody = source.is_unspecified() || source.is_loopback() || source.is_multicast() || source.is_broadcast();
    let many = header.destination.is_multicast() || header.destination.is_broadcast();
    if header.protocol == ICMP || !header.is_first() || nobody || many {
        return None;
    }
    let back = packet.get(..header.total.min(header.length + GIVEN_BACK))?;
    let total = LEAST + HEADER + back.len();
    let mut message = vec![0; LEAST + HEADER];
    message.extend_from_slice(back);
    let (head, body) = message.split_at_mut_checked(LEAST)?;
    head[0] = 0x45;
    put(head, 2..4, (total as u16).to_be_bytes());
    head[8] = 64;
    head[9] = ICMP;
    head[12..16].copy_from_slice(&header.destination.octets());
    head[16..20].copy_from_slice(&source.octets());
    sign(head);
    body[0] = UNREACHABLE;
    let checksum = Sum::default().add(body).checksum();
    put(body, 2..4, checksum);
    Some(message)
}

/// How many messages may still be sent.
#[derive(Debug)]
pub(super) struct Allowance {
    left: u32,
    since: Instant,
}

impl Allowance {
    /// All of them.
    pub fn new() -> Allowance {
        Allowance { left: A_SECOND, since: Instant::now() }
    }

    /// Takes one.
    pub fn take(&mut self) -> bool {
        if self.since.elapsed() >= Duration::from_secs(1) {
            *self = Allowance::new();
        }
        let any = self.left > 0;
        self.left = self.left.saturating_sub(1);
        any
    }
}
