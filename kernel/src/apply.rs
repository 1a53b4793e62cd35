//! What to do, done: a [`Plan`] in, batched netlink out. The first failure is named, the rest is tried.
//!
//! A change is done when afterwards things are as it says: adding what is there and deleting what is gone succeed. No
//! change hits what is not ours. Nothing is decided and nothing is tried later: the next look at the kernel is the retry.

mod bulk;
mod leave;
mod link;
mod reach;

use std::collections::BTreeMap;
use std::ops::Range;

use backends::plan::{Change, Failure, Outcome, Plan};
use backends::state::{KernelState, LinkName, Scope, Tag};

use crate::error::{Error, Result};
use crate::hand::Hand;
use crate::sysctl;

impl Hand {
    /// Does all changes of a plan, in order.
    pub fn apply(&mut self, scope: &Scope, plan: &Plan) -> Outcome {
        let mut course =
            Course { hand: self, scope, changes: &plan.changes, failures: BTreeMap::new(), unsigned: Vec::new() };
        course.run();
        let failures = course.failures;
        let named = |(at, (errno, reason)): (usize, _)| Failure { change: plan.changes[at].clone(), errno, reason };
        Outcome { done: plan.changes.len() - failures.len(), failures: failures.into_iter().map(named).collect() }
    }
}

/// A plan being done.
struct Course<'a> {
    hand: &'a mut Hand,
    scope: &'a Scope,
    changes: &'a [Change],
    /// Error number and reason of what failed, by its place in the plan.
    failures: BTreeMap<usize, (i32, String)>,
    /// Adopted links that do not carry our alias yet, by the place of their change.
    unsigned: Vec<(usize, LinkName)>,
}

impl Course<'_> {
    fn run(&mut self) {
        if self.hand.instance.as_ref() != Some(&self.scope.alias)
            && let Err(error) = self.hand.survey(self.scope, &mut KernelState::default())
        {
            return (0..self.changes.len()).for_each(|at| self.fail(at, &error));
        }
        let mut at = 0;
        while at < self.changes.len() {
            // What is set is all there before anything is removed: a route that could be put into its place only at the second go
            // still needs its old next hop.
            let removes = self.changes[at].removes();
            let alike = |change: &&Change| bulk::takes(change) && change.removes() == removes;
            let run = self.changes[at..].iter().take_while(alike).count();
            let peers = self.changes[at..].iter().take_while(|change| is_peer(change)).count();
            if peers > 0 {
                self.peers(at..at + peers);
            } else if run > 0 {
                self.bulk(at..at + run);
            } else if let Err(error) = self.single(at) {
                self.fail(at, &error);
            }
            at += run.max(peers).max(1);
        }
        self.hand.tell_relays();
        self.sign();
    }

    fn peers(&mut self, run: Range<usize>) {
        for refused in self.hand.set_peers(self.changes, run) {
            self.failures.entry(refused.key).or_insert_with(|| (refused.refusal.errno, refused.refusal.to_string()));
        }
    }

    fn single(&mut self, at: usize) -> Result<()> {
        match &self.changes[at] {
            Change::LinkAdd(name, link) => link::make(self.hand, self.scope, *name, link),
            Change::LinkSet { name, from, to } => {
                link::change(self.hand, self.scope, *name, (from, to))?;
                if from.tag != Tag::Ours {
                    self.unsigned.push((at, *name));
                }
                Ok(())
            }
            Change::OffloadSet(name, wanted) => link::set_offload(self.hand, self.scope, *name, *wanted),
            Change::LinkDelete(name) => link::delete(self.hand, self.scope, *name),
            Change::RelaySet(key, peer) => self.hand.set_relay(*key, Some(*peer)),
            Change::RelayDelete(key) => self.hand.set_relay(*key, None),
            Change::SysctlSet(path, value) => {
                self.hand.writes += 1;
                Ok(sysctl::write(path, value)?)
            }
            Change::RulesetSet(ruleset) => {
                self.hand.writes += 1;
                self.hand.table(self.scope)?.replace(ruleset.as_ref())
            }
            Change::PassageSet(network) => {
                self.hand.writes += 1;
                self.hand.table(self.scope)?.open_passage(network)
            }
            Change::PassageDelete(network) => {
                self.hand.writes += 1;
                self.hand.table(self.scope)?.close_passage(network)
            }
            _ => Ok(()),
        }
    }

    /// Puts our alias on adopted links, last and only when all went well on them: until then what an earlier owner left
    /// there is still to be adopted, and must still be seen if we die here.
    fn sign(&mut self) {
        for (at, name) in std::mem::take(&mut self.unsigned) {
            if self.failures.keys().any(|failed| link_of(&self.changes[*failed]) == Some(name)) {
                continue;
            }
            if let Err(error) = link::sign(self.hand, self.scope, name) {
                self.fail(at, &error);
            }
        }
    }

    fn fail(&mut self, at: usize, error: &Error) {
        self.failures.entry(at).or_insert_with(|| (error.errno(), error.to_string()));
    }
}

fn is_peer(change: &Change) -> bool {
    matches!(change, Change::PeerSet { .. } | Change::PeerDelete(_))
}

/// The link that a change is on.
fn link_of(change: &Change) -> Option<LinkName> {
    match change {
        Change::LinkAdd(name, _)
        | Change::LinkSet { name, .. }
        | Change::OffloadSet(name, _)
        | Change::LinkDelete(name)
        | Change::AddressAdd(name, _)
        | Change::AddressDelete(name, _) => Some(*name),
        Change::NexthopAdd(nexthop) | Change::NexthopDelete(nexthop) => Some(nexthop.link),
        Change::GroupAdd(group) | Change::GroupDelete(group) => group.link(),
        Change::RouteSet(_, route) | Change::RouteDelete(_, route) => route.via.link(),
        Change::NeighbourSet(key, _) | Change::NeighbourDelete(key, _) => Some(key.link),
        Change::FdbSet(key, _) | Change::FdbDelete(key, _) => Some(key.link),
        Change::PeerSet { key, .. } | Change::PeerDelete(key) => Some(key.link),
        Change::RelaySet(key, _) | Change::RelayDelete(key) => Some(key.link),
        Change::SysctlSet(..) | Change::RulesetSet(_) | Change::PassageSet(_) | Change::PassageDelete(_) => None,
    }
}
