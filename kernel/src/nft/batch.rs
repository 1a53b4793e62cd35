//! [`Batch`]: one nftables transaction as messages: how it begins, is numbered, ends and is answered. What the messages say, and
//! what a refusal means, is their writers' business.

use super::SUBSYSTEM;
use crate::error::{Refusal, Result};
use crate::netlink::{Body, Datagram, Header, Socket};

/// `NFNL_MSG_BATCH_BEGIN`, `NFNL_MSG_BATCH_END`: what is between them is one transaction.
const BEGIN: u16 = 0x10;
const END: u16 = 0x11;
/// `NFNL_BATCH_GENID`
const GENERATION: u16 = 1;
/// `struct nfgenmsg` of the two: no family, and the subsystem in network byte order.
const GENERIC: [u8; 4] = [0, 0, 0, (SUBSYSTEM >> 8) as u8];

const REQUEST: u16 = libc::NLM_F_REQUEST as u16;

/// The messages, the beginning among them.
pub(super) struct Batch {
    messages: Datagram,
    /// The beginning's number; the others' follow it.
    first: u32,
    count: u32,
}

impl Batch {
    /// `generation` is the one that the transaction is meant for; in another one it is refused as a whole (ERESTART).
    pub(super) fn begin(first: u32, generation: Option<u32>) -> Batch {
        let mut messages = Datagram::default();
        messages.push(Header { kind: BEGIN, flags: REQUEST, sequence: first }, |body| {
            body.fixed(&GENERIC);
            if let Some(generation) = generation {
                body.be32(GENERATION, generation);
            }
        });
        Batch { messages, first, count: 0 }
    }

    /// Adds a message of this kind and flags, besides `NLM_F_REQUEST`.
    pub(super) fn push(&mut self, (kind, flags): (u16, u16), body: impl FnOnce(&mut Body<'_>)) {
        self.count += 1;
        let sequence = self.first.wrapping_add(self.count);
        self.messages.push(Header { kind, flags: flags | REQUEST, sequence }, body);
    }

    /// Whether there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Sends it and waits for the outcome: nothing, or the first message that was refused and why. The beginning is
    /// number 0, and its refusal one of the whole.
    pub(super) fn commit(mut self, socket: &mut Socket, doing: &str) -> Result<Option<(usize, Refusal)>> {
        // Refusals come by themselves; only the last message asks to be acknowledged, and that comes behind them.
        self.messages.flag_last(libc::NLM_F_ACK as u16);
        let sequence = self.first.wrapping_add(self.count + 1);
        self.messages.push(Header { kind: END, flags: REQUEST, sequence }, |body| body.fixed(&GENERIC));
        socket.send(&self.messages, doing)?;
        let mut refused = None;
        loop {
            for message in socket.receive(doing)? {
                let Some(verdict) = message.verdict() else { continue };
                let index = message.header.sequence.wrapping_sub(self.first);
                if index > self.count {
                    continue;
                }
                if let Err(refusal) = verdict {
                    refused.get_or_insert((index as usize, refusal));
                }
                // After a refusal of the beginning nothing comes.
                if index == 0 || index == self.count {
                    return Ok(refused);
                }
            }
        }
    }
}
