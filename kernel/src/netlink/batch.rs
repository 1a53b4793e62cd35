//! [`Batch`]: many messages a datagram, one acknowledgement each datagram, and still every refusal known by its message.
//!
//! Half of the kernel's time for small changes goes into acknowledgements, so only a datagram's last message asks for
//! one. A refused message is answered in any case, with its sequence number, and those behind it are still carried out
//! (`netlink_rcv_skb` in the kernel's net/netlink/af_netlink.c).

use super::message::{Body, Datagram, Header};
use super::socket::Socket;
use crate::error::{Error, Refusal};

/// Beyond 16 messages the gain is small, and beyond about 270 answers a receive buffer of the default size overruns.
const MOST_MESSAGES: usize = 64;
/// Well below the default send buffer: a longer datagram is refused whole (EMSGSIZE).
const MOST_OCTETS: usize = 32 << 10;

/// A message that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The key that it was pushed with.
    pub key: usize,
    /// Why.
    pub refusal: Refusal,
}

/// Messages on their way to the kernel, in order. Dropped without [`Batch::finish`], what was not sent yet never is.
pub struct Batch<'s> {
    socket: &'s mut Socket,
    datagram: Datagram,
    /// The keys of the messages in `datagram`, whose sequence numbers are `first` and those that follow it.
    keys: Vec<usize>,
    first: u32,
    refused: Vec<Refused>,
}

impl<'s> Batch<'s> {
    /// An empty one.
    pub fn new(socket: &'s mut Socket) -> Batch<'s> {
        Batch { socket, datagram: Datagram::default(), keys: Vec::new(), first: 0, refused: Vec::new() }
    }

    /// Adds a message of this kind and flags (besides `NLM_F_REQUEST`); `key` is how a refusal will name it. Sends when
    /// enough has come together.
    pub fn push(&mut self, key: usize, (kind, flags): (u16, u16), body: impl FnOnce(&mut Body<'_>)) {
        let sequence = self.socket.next_sequence();
        if self.keys.is_empty() {
            self.first = sequence;
        }
        self.keys.push(key);
        self.datagram.push(Header { kind, flags: flags | libc::NLM_F_REQUEST as u16, sequence }, body);
        if self.keys.len() == MOST_MESSAGES || self.datagram.bytes().len() >= MOST_OCTETS {
            self.flush();
        }
    }

    /// Sends the rest and gives all that was refused, in the order of the messages.
    pub fn finish(mut self) -> Vec<Refused> {
        self.flush();
        self.refused
    }

    fn flush(&mut self) {
        if self.keys.is_empty() {
            return;
        }
        self.datagram.flag_last(libc::NLM_F_ACK as u16);
        let doing = "sending a batch";
        match self.socket.send(&self.datagram, doing) {
            Ok(()) => self.gather(),
            Err(error) => self.refuse_from(0, &error),
        }
        self.datagram.clear();
        self.keys.clear();
    }

    /// Reads verdicts up to the last message's. The kernel wrote them all before `send` came back.
    fn gather(&mut self) {
        let last = self.keys.len() - 1;
        let mut next = 0;
        loop {
            let answers = match self.socket.receive_now("reading a batch's answers") {
                Ok(Some(answers)) => answers,
                Ok(None) => {
                    let what = "the last message was not answered";
                    return self.refuse_from(next, &Error::Malformed { doing: "sending a batch".to_owned(), what });
                }
                // Whatever was not answered before the loss may or may not have been done.
                Err(error) => return self.refuse_from(next, &error),
            };
            for answer in answers {
                let index = answer.header.sequence.wrapping_sub(self.first) as usize;
                let (Some(verdict), Some(key)) = (answer.verdict(), self.keys.get(index)) else { continue };
                if let Err(refusal) = verdict {
                    self.refused.push(Refused { key: *key, refusal });
                }
                next = index + 1;
            }
            if next > last {
                return;
            }
        }
    }

    fn refuse_from(&mut self, index: usize, error: &Error) {
        let refusal = Refusal { errno: error.errno(), words: Some(error.to_string()) };
        self.refused.extend(self.keys[index..].iter().map(|key| Refused { key: *key, refusal: refusal.clone() }));
    }
}
