//! [`Exchange`]: a few messages in one datagram, questions among them, and one look at all the answers.
//!
//! For a pod's wire a message more costs microseconds, a datagram more two system calls. Bulk is [`crate::netlink::batch`]'s.

use crate::error::{Error, Refusal, Result};
use crate::netlink::{Body, Datagram, Header, Message, Socket};

const DOING: &str = "talking to the kernel about a pod's wire";

/// Messages for the kernel, in order.
pub(super) struct Exchange<'s> {
    socket: &'s mut Socket,
    datagram: Datagram,
    first: u32,
    count: usize,
    question_last: bool,
}

/// The messages that were refused, by their place.
pub(super) struct Refusals(Vec<(usize, Refusal)>);

impl<'s> Exchange<'s> {
    pub(super) fn new(socket: &'s mut Socket) -> Exchange<'s> {
        Exchange { socket, datagram: Datagram::default(), first: 0, count: 0, question_last: false }
    }

    /// Adds an order: kind and flags besides `NLM_F_REQUEST`. Returns its place.
    pub(super) fn order(&mut self, (kind, flags): (u16, u16), body: impl FnOnce(&mut Body<'_>)) -> usize {
        self.question_last = false;
        self.push((kind, flags), body)
    }

    /// Adds a question for one object, which the kernel answers with one message.
    pub(super) fn question(&mut self, kind: u16, body: impl FnOnce(&mut Body<'_>)) -> usize {
        self.question_last = true;
        self.push((kind, 0), body)
    }

    /// Sends all and gathers what comes back. An order that is refused does not keep those behind it from being done
    /// (`netlink_rcv_skb` in the kernel's net/netlink/af_netlink.c).
    pub(super) fn finish(mut self, mut answered: impl FnMut(&Message<'_>)) -> Result<Refusals> {
        let mut refusals = Vec::new();
        let Some(last) = self.count.checked_sub(1) else { return Ok(Refusals(refusals)) };
        // The answer to a question ends the exchange as well as an acknowledgement would, and is one system call less.
        if !self.question_last {
            self.datagram.flag_last(libc::NLM_F_ACK as u16);
        }
        self.socket.send(&self.datagram, DOING)?;
        loop {
            for message in self.socket.receive(DOING)? {
                let place = message.header.sequence.wrapping_sub(self.first) as usize;
                if place > last {
                    continue;
                }
                match message.verdict() {
                    Some(Err(refusal)) => refusals.push((place, refusal)),
                    Some(Ok(())) => {}
                    None => answered(&message),
                }
                if place == last {
                    return Ok(Refusals(refusals));
                }
            }
        }
    }

    fn push(&mut self, (kind, flags): (u16, u16), body: impl FnOnce(&mut Body<'_>)) -> usize {
        let sequence = self.socket.next_sequence();
        if self.count == 0 {
            self.first = sequence;
        }
        self.datagram.push(Header { kind, flags: flags | libc::NLM_F_REQUEST as u16, sequence }, body);
        self.count += 1;
        self.count - 1
    }
}

impl Refusals {
    /// Why the message at this place was refused, as an error number; `None` when it was not.
    pub(super) fn errno(&self, place: usize) -> Option<i32> {
        self.0.iter().find(|(refused, _)| *refused == place).map(|(_, refusal)| refusal.errno)
    }

    /// The first refusal: place and error number.
    pub(super) fn first(&self) -> Option<(usize, i32)> {
        self.0.first().map(|(place, refusal)| (*place, refusal.errno))
    }

    /// The refusal at this place as the lack of something in the kernel.
    pub(super) fn unsupported(self, place: usize, doing: String, feature: &'static str) -> Error {
        let refusal = self.0.into_iter().find(|(refused, _)| *refused == place).map(|(_, refusal)| refusal);
        let refusal = refusal.unwrap_or(Refusal { errno: libc::EOPNOTSUPP, words: None });
        Error::Unsupported { doing, feature, refusal }
    }

    /// Forgets refusals that are as good as success.
    pub(super) fn tolerate(mut self, harmless: impl Fn(usize, i32) -> bool) -> Refusals {
        self.0.retain(|(place, refusal)| !harmless(*place, refusal.errno));
        self
    }

    /// Takes in what a later exchange of one message came to, as if that had been at this place.
    pub(super) fn with(mut self, later: Refusals, place: usize) -> Refusals {
        self.0.extend(later.0.into_iter().map(|(_, refusal)| (place, refusal)));
        self
    }

    /// The first refusal left as an error; `doing` begins its sentence.
    pub(super) fn into_result(self, doing: impl Fn(usize) -> String) -> Result<()> {
        match self.0.into_iter().next() {
            Some((place, refusal)) => Err(Error::Refused { doing: doing(place), refusal }),
            None => Ok(()),
        }
    }
}
