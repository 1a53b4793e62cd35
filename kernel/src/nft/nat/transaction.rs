//! [`Transaction`]: changes of the table that the kernel does all or none of, if the ruleset is still the one that was
//! looked at.

use super::TABLE;
use super::element::{Element, Set};
use crate::error::{Refusal, Result};
use crate::netlink::{Body, Socket};
use crate::nft::batch::Batch;
use crate::nft::{GENERIC, Kind};

/// What came of a transaction.
pub(in crate::nft) enum Outcome {
    Done,
    /// Somebody's transaction came between the look and this one: nothing was changed.
    Stale,
    /// Nothing was changed.
    Refused {
        /// What was being done.
        doing: String,
        refusal: Refusal,
        /// Whether it was a network that does not fit among the others.
        near: bool,
    },
}

/// What one message is for.
struct Step {
    doing: String,
    near: bool,
}

/// The changes.
pub(in crate::nft) struct Transaction {
    batch: Batch,
    /// What each message of the batch is for, its beginning among them.
    steps: Vec<Step>,
    /// `struct nfgenmsg` of the table's family.
    family: [u8; 4],
    /// Family and name of the table, for sentences.
    table: String,
}

impl Transaction {
    /// Begins one for the ruleset as it is now.
    pub(in crate::nft) fn begin(
        socket: &mut Socket,
        generation: impl FnOnce(&mut Socket) -> Result<Option<u32>>,
    ) -> Result<Transaction> {
        let generation = generation(socket)?;
        // Questions that are asked while it is written take the numbers that come next.
        let first = socket.next_sequence() | 1 << 31;
        let batch = Batch::begin(first, generation);
        let table = format!("inet {TABLE}");
        let whole = Step { doing: format!("writing the nftables table {table}"), near: false };
        Ok(Transaction { batch, steps: vec![whole], family: GENERIC, table })
    }

    /// The same for a table of another family.
    pub(in crate::nft) fn about(self, family: [u8; 4], table: &str) -> Transaction {
        let doing = format!("writing the nftables table {table}");
        Transaction { steps: vec![Step { doing, near: false }], family, table: table.to_owned(), ..self }
    }

    /// Whether there is nothing to do.
    pub(in crate::nft) fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// Makes or deletes an element.
    pub(in crate::nft) fn element(&mut self, kind: Kind, element: &Element) {
        let near = matches!(element.set, Set::Near(_));
        let flags = match kind {
            // The network of a pod is that of its neighbours, too.
            Kind::NewElement if near => libc::NLM_F_CREATE,
            Kind::NewElement => libc::NLM_F_CREATE | libc::NLM_F_EXCL,
            _ => 0,
        };
        let doing = format!("writing the element {} of {} in inet {TABLE}", element.tag, element.set.name());
        self.push((kind, flags), Step { doing, near }, |body| element.encode(body));
    }

    /// Adds a message about a table, set, chain or rule, all of whose attributes `body` writes.
    pub(in crate::nft) fn order(&mut self, (kind, flags): (Kind, i32), what: &str, body: impl FnOnce(&mut Body<'_>)) {
        let doing = format!("writing {what} of the nftables table {}", self.table);
        self.push((kind, flags), Step { doing, near: false }, body);
    }

    fn push(&mut self, (kind, flags): (Kind, i32), step: Step, body: impl FnOnce(&mut Body<'_>)) {
        let family = self.family;
        self.batch.push((kind.number(), flags as u16), |whole| {
            whole.fixed(&family);
            body(whole);
        });
        self.steps.push(step);
    }

    /// Sends it and waits for the outcome.
    pub(in crate::nft) fn commit(mut self, socket: &mut Socket) -> Result<Outcome> {
        if self.is_empty() {
            return Ok(Outcome::Done);
        }
        let doing = format!("writing the nftables table {}", self.table);
        Ok(match self.batch.commit(socket, &doing)? {
            None => Outcome::Done,
            Some((_, refusal)) if refusal.errno == libc::ERESTART => Outcome::Stale,
            Some((at, refusal)) => {
                // Cannot be out of bounds: each message of the batch has its step.
                let Step { doing, near } = self.steps.swap_remove(at);
                Outcome::Refused { doing, refusal, near }
            }
        })
    }
}
