//! [`Step`]: what a change of some contributions changes in the kernel, which has next hops once, whoever uses them.

use std::collections::BTreeSet;

use super::learnt_routes::LearntRoutes;
use super::{add, subtract};
use crate::state::{Group, KernelState, Nexthop, Tag};

/// Both sides of a difference in the making.
#[derive(Default)]
pub(super) struct Step {
    pub before: KernelState,
    pub after: KernelState,
    nexthops: BTreeSet<Nexthop>,
    groups: BTreeSet<Group>,
}

/// What was counted in, and which of its next hops were there for another's sake.
pub(super) struct Added {
    pub contribution: KernelState,
    pub there: KernelState,
}

impl Step {
    /// A contribution that was there is taken out.
    pub fn removed(&mut self, contribution: &KernelState) {
        // Those of an earlier part of this step are no longer what there was before it.
        let mut before = contribution.clone();
        before.nexthops.retain(|key, _| !self.nexthops.contains(key));
        before.groups.retain(|key, _| !self.groups.contains(key));
        self.touch(contribution);
        add(&mut self.before, &before);
    }

    /// One was counted in.
    pub fn added(&mut self, added: Option<Added>) {
        let Some(Added { contribution, mut there }) = added else { return };
        there.nexthops.retain(|key, _| !self.nexthops.contains(key));
        there.groups.retain(|key, _| !self.groups.contains(key));
        self.touch(&contribution);
        add(&mut self.before, &there);
        add(&mut self.after, &contribution);
    }

    /// All are: next hops are there after it if anybody uses them.
    pub fn end(&mut self, state: &KernelState, routes: &LearntRoutes) {
        let used = |key: &&Nexthop| state.nexthops.contains_key(key) || routes.found.nexthops.contains_key(key);
        self.after.nexthops = self.nexthops.iter().filter(used).map(|key| (*key, Tag::Ours)).collect();
        let used = |key: &&Group| state.groups.contains_key(key) || routes.found.groups.contains_key(key);
        self.after.groups = self.groups.iter().filter(used).map(|key| (key.clone(), Tag::Ours)).collect();
        // What was found is there already.
        let found = |key: &&Nexthop| routes.found.nexthops.contains_key(key);
        self.before.nexthops.extend(self.nexthops.iter().filter(found).map(|key| (*key, Tag::Ours)));
        let found = |key: &&Group| routes.found.groups.contains_key(key);
        self.before.groups.extend(self.groups.iter().filter(found).map(|key| (key.clone(), Tag::Ours)));
    }

    /// Puts a state that has taken all this in back to what it was.
    pub fn undo(&self, state: &mut KernelState) {
        subtract(state, &self.after);
        state.nexthops.retain(|key, _| !self.nexthops.contains(key));
        state.groups.retain(|key, _| !self.groups.contains(key));
        add(state, &self.before);
    }

    fn touch(&mut self, contribution: &KernelState) {
        self.nexthops.extend(contribution.nexthops.keys());
        self.groups.extend(contribution.groups.keys().cloned());
    }
}
