//! [`Step`]: what a change of some contributions changes in the kernel, which has next hops once, whoever uses them.

use std::collections::BTreeSet;

use super::learnt_routes::LearntRoutes;
use super::{add, subtract};
use crate::state::{Group, KernelState, Nexthop, Route, RouteKey, Tag};

/// Both sides of a difference in the making.
#[derive(Default)]
pub(super) struct Step {
    pub before: KernelState,
    pub after: KernelState,
    nexthops: BTreeSet<Nexthop>,
    groups: BTreeSet<Group>,
}

/// Whether a next hop was there already.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    There,
    New,
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

    /// A learnt route that was there is taken out.
    pub fn removed_route(&mut self, key: RouteKey, route: Route) {
        route.via.nexthops().for_each(|nexthop| self.uses_nexthop(*nexthop, Presence::There));
        route.via.group().into_iter().for_each(|group| self.uses_group(group, Presence::There));
        self.before.routes.insert(key, route);
    }

    /// One was counted in.
    pub fn added_route(&mut self, key: RouteKey, route: Route) {
        self.after.routes.insert(key, route);
    }

    /// Somebody of this step uses a next hop.
    pub fn uses_nexthop(&mut self, nexthop: Nexthop, presence: Presence) {
        if self.nexthops.insert(nexthop) && presence == Presence::There {
            self.before.nexthops.insert(nexthop, Tag::Ours);
        }
    }

    /// The same of a group.
    pub fn uses_group(&mut self, group: &Group, presence: Presence) {
        if !self.groups.contains(group) {
            self.groups.insert(group.clone());
            if presence == Presence::There {
                self.before.groups.insert(group.clone(), Tag::Ours);
            }
        }
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
