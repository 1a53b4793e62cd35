//! [`RulesetWatch`]: listens to all nftables, and asks about ours and about what others' firewalls do to our packets.
//!
//! Others may write much: kube-proxy, its rules at each change of a service. So what they did is looked at at most so often,
//! and told only when a passage or a gate is another than before.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use backends::state::{Passage, Scope};
use ipnet::IpNet;

use super::{LISTENING, Notice};
use crate::error::{Error, Result};
use crate::netlink::{Protocol, Socket};
use crate::nft::gate::{self, Gate};
use crate::nft::{self, Table};

/// `NFNLGRP_NFTABLES`
const NFTABLES_GROUP: u32 = 7;
/// The least time between two looks at others' firewalls.
const SPACING: Duration = Duration::from_millis(200);

/// See the module.
#[derive(Debug)]
pub(super) struct RulesetWatch {
    listening: Socket,
    table: Table,
    name: String,
    /// Whose packets; `None` until that is known.
    scope: Option<Scope>,
    /// When to look at others' firewalls; `None` while nobody changed one.
    due: Option<Instant>,
    last: Option<Instant>,
    /// What was found last.
    found: Firewalls,
}

/// What others' firewalls do to our packets.
#[derive(Debug, Default, PartialEq, Eq)]
struct Firewalls {
    passages: BTreeMap<IpNet, Passage>,
    gates: Vec<Gate>,
}

impl RulesetWatch {
    pub(super) fn open(alias: &str, table: &str) -> Result<RulesetWatch> {
        let (name, table) = (table.to_owned(), Table::open(table)?.owned_by(alias));
        let listening = Socket::open(Protocol::Netfilter)?;
        listening.join(NFTABLES_GROUP)?;
        let found = Firewalls::default();
        Ok(RulesetWatch { listening, table, name, scope: None, due: None, last: None, found })
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.listening.as_fd()
    }

    /// Looks at this scope's from now on, and says what it finds there if that is anything.
    pub(super) fn watch(&mut self, scope: Scope) {
        if self.scope.as_ref().is_none_or(|before| before.networks != scope.networks) {
            self.due.get_or_insert_with(Instant::now);
        }
        self.scope = Some(scope);
    }

    /// When others' firewalls want to be looked at.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due.filter(|_| self.scope.is_some())
    }

    /// Reads what lies ready; looks at our table if somebody touched it, we ourselves included: what it is now tells
    /// more than who it was.
    pub(super) fn hear(&mut self, seen: &mut Vec<Notice>) -> Result<()> {
        let (mut ours, mut others) = (false, false);
        loop {
            match self.listening.receive_now(LISTENING) {
                Ok(None) => break,
                Ok(Some(messages)) => {
                    for message in messages {
                        let touched = nft::touches(&message, &self.name);
                        ours |= touched;
                        others |= !touched && nft::may_drop(&message);
                    }
                }
                Err(Error::Overrun { .. }) => (ours, others) = (true, true),
                Err(error) => return Err(error),
            }
        }
        if others {
            let earliest = self.last.map_or_else(Instant::now, |last| last + SPACING);
            self.due.get_or_insert(earliest);
        }
        if ours {
            seen.push(match self.table.observe() {
                Ok(now) => Notice::Ruleset { now: now.map(Box::new) },
                Err(Error::Unsettled { .. }) => Notice::Overrun,
                Err(error) => return Err(error),
            });
        }
        Ok(())
    }

    /// Looks at others' firewalls, if it is time to.
    pub(super) fn look_at_firewalls(&mut self, seen: &mut Vec<Notice>) -> Result<()> {
        let Some(scope) = self.scope.as_ref().filter(|_| self.due.is_some_and(|due| due <= Instant::now())) else {
            return Ok(());
        };
        self.last = Some(Instant::now());
        let found = match (self.table.passages(&scope.networks), gate::gates(scope)) {
            // Somebody is writing: once more when that is over.
            (Err(Error::Unsettled { .. }), _) | (_, Err(Error::Unsettled { .. })) => {
                self.due = Some(Instant::now() + SPACING);
                return Ok(());
            }
            (passages, gates) => Firewalls { passages: passages?, gates: gates? },
        };
        self.due = None;
        if self.found != found {
            self.found = found;
            seen.push(Notice::Firewalls);
        }
        Ok(())
    }
}
