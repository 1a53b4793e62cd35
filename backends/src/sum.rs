//! [`Desired`]: the whole desired state as a sum — the node's base, one contribution per standing lease and one per learnt prefix
//! (`learnt_routes`) — kept up to date one of them at a time.
//!
//! Contributions are disjoint in their keys. Where two are not (two peers that publish one VTEP MAC), the elder's
//! stands and the overlap is reported; while there is one, sums are made anew from scratch, so that nothing depends
//! on the order of arrival. Only a next hop may be several's: it says nothing of any of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipam::{Lease, LeaseKey, LeaseTable};
use ipnet::IpNet;

use crate::cluster::{Cluster, Unusable};
use crate::diff::diff;
use crate::learnt::Learnt;
use crate::plan::Plan;
use crate::state::{Group, KernelState, Nexthop, Tag};
use learnt_routes::LearntRoutes;
use stations::Stations;
use step::{Added, Step};

mod learnt_routes;
mod stations;
mod step;

/// The desired state of the whole node, and which leases add nothing (or not all) to it, with the reason.
#[derive(Clone, Debug)]
pub struct Desired {
    cluster: Cluster,
    state: KernelState,
    /// The leases whose contributions are in `state`. What they contributed is computed again when they change: 15,000
    /// small maps would weigh more than all the rest.
    counted: BTreeMap<LeaseKey, Arc<Lease>>,
    unusable: BTreeMap<LeaseKey, Vec<Unusable>>,
    overlapping: BTreeSet<LeaseKey>,
    routes: LearntRoutes,
    stations: Stations,
    /// How many beside the first use a next hop: a node that was set up anew, and its former lease; routes learnt of one router.
    shared: BTreeMap<Nexthop, usize>,
    /// The same of groups.
    shared_groups: BTreeMap<Group, usize>,
}

/// All that the sum is over.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'f> {
    /// The leases.
    pub table: &'f LeaseTable,
    /// The routes that others announced.
    pub learnt: &'f Learnt,
}

impl Desired {
    /// The sum over the table, where nothing is learnt.
    pub fn new(cluster: Cluster, table: &LeaseTable) -> Desired {
        Desired::of(cluster, Facts { table, learnt: &Learnt::default() })
    }

    /// The sum over all.
    pub fn of(cluster: Cluster, facts: Facts<'_>) -> Desired {
        let state = cluster.base();
        let routes = LearntRoutes::beside(state.routes.keys().copied().collect());
        let mut desired = Desired {
            state,
            cluster,
            counted: BTreeMap::new(),
            unusable: BTreeMap::new(),
            overlapping: BTreeSet::new(),
            routes,
            stations: Stations::default(),
            shared: BTreeMap::new(),
            shared_groups: BTreeMap::new(),
        };
        let mut elders_first: Vec<_> = facts.table.leases().collect();
        elders_first.sort_by_key(|lease| lease.seniority());
        for lease in elders_first {
            desired.add(&lease.key, facts.table);
        }
        desired.learn_all(facts.learnt.prefixes(), facts, None);
        desired.meet_stations(facts);
        desired.follow_nodes(facts.table);
        desired.pack();
        desired
    }

    /// Builds the large maps anew: a tree that was filled one by one in order is half empty, one made from a sorted list is not.
    pub fn pack(&mut self) {
        fn packed<K: Ord, V>(map: &mut BTreeMap<K, V>) {
            *map = std::mem::take(map).into_iter().collect();
        }
        packed(&mut self.counted);
        packed(&mut self.state.nexthops);
        packed(&mut self.state.groups);
        packed(&mut self.state.routes);
        packed(&mut self.state.neighbours);
        packed(&mut self.state.fdb);
        packed(&mut self.state.peers);
        packed(&mut self.state.relays);
    }

    /// The node that it is the desired state of.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The state.
    pub fn state(&self) -> &KernelState {
        &self.state
    }

    /// What one lease adds, if it adds anything.
    pub fn contribution(&self, key: &LeaseKey) -> Option<KernelState> {
        self.counted.get(key).map(|lease| self.cluster.contribution(lease).0)
    }

    /// Leases that add less than they should, with the reason per family.
    pub fn unusable(&self) -> impl Iterator<Item = (&LeaseKey, &[Unusable])> {
        self.unusable.iter().map(|(key, reasons)| (key, reasons.as_slice()))
    }

    /// Whether some peer can be reached by an older way only.
    pub fn lags(&self) -> bool {
        self.unusable.values().flatten().any(|unusable| unusable.instead.is_some())
    }

    /// Why one lease adds less than it should: one sentence.
    pub fn fault(&self, key: &LeaseKey) -> Option<String> {
        if self.overlapping.contains(key) {
            return Some(
                "it publishes a VTEP MAC or public key that an older lease has; restart that node with a device or key file of its own"
                    .into(),
            );
        }
        let reasons: Vec<String> = self.unusable.get(key)?.iter().map(ToString::to_string).collect();
        Some(reasons.join("; "))
    }

    /// Leases of which a key was already taken by an elder's.
    pub fn overlapping(&self) -> &BTreeSet<LeaseKey> {
        &self.overlapping
    }

    /// Brings the sum up to date with the table for these leases and says what that changes in the kernel, where nothing is learnt.
    pub fn update(&mut self, keys: &BTreeSet<LeaseKey>, table: &LeaseTable) -> Plan {
        self.follow((keys, &[]), Facts { table, learnt: &Learnt::default() })
    }

    /// Brings the sum up to date with the facts for these leases and learnt prefixes and says what that changes in the kernel.
    pub fn follow(&mut self, touched: (&BTreeSet<LeaseKey>, &[IpNet]), facts: Facts<'_>) -> Plan {
        if !self.overlapping.is_empty() {
            return self.renew(facts);
        }
        let (keys, table) = (touched.0, facts.table);
        let prefixes = self.prefixes_of(touched, facts);
        let mut step = Step::default();
        // What leases say of a MAC comes first: it is put in before what a fabric says.
        let stations = !keys.is_empty() || self.is_behind(facts);
        if stations {
            self.leave_stations(&mut step);
        }
        // Leases have the first word on each prefix of theirs.
        for prefix in prefixes.iter().filter(|_| !keys.is_empty()) {
            self.unlearn(*prefix, &mut step);
        }
        for key in keys {
            self.unusable.remove(key);
            if let Some(lease) = self.counted.remove(key) {
                let (contribution, _) = self.cluster.contribution(&lease);
                step.removed(&contribution);
                self.subtract(&contribution);
            }
        }
        for key in keys {
            step.added(self.add(key, table));
        }
        self.learn_all(prefixes.iter().copied(), facts, Some(&mut step));
        if stations {
            let there = self.meet_stations(facts);
            self.routes.note_found_stations(&there, &mut step.before);
            step.added(Some(Added { contribution: there, there: KernelState::default() }));
        }
        if self.overlapping.is_empty() {
            step.end(&self.state, &self.routes);
            step.before.ruleset.clone_from(&self.state.ruleset);
            self.follow_nodes(table);
            step.after.ruleset.clone_from(&self.state.ruleset);
            return diff(&step.before, &step.after);
        }
        // The one that came now may be the elder: begin again, from what the kernel was told before.
        step.undo(&mut self.state);
        self.renew(facts)
    }

    /// The rules, where they name the other nodes' addresses.
    fn follow_nodes(&mut self, table: &LeaseTable) {
        if let Some(ruleset) = self.cluster.ruleset_with(table.leases().filter(|lease| table.own() != Some(&lease.key)))
        {
            self.state.ruleset = Some(ruleset);
        }
    }

    fn renew(&mut self, facts: Facts<'_>) -> Plan {
        let renewed = Desired::of(self.cluster.clone(), facts);
        let plan = diff(&self.state, &renewed.state);
        let found = std::mem::take(&mut self.routes).found;
        *self = renewed;
        self.routes.found = found;
        plan
    }

    /// Counts a lease in, if it stands and takes nobody's keys. Returns what it added.
    fn add(&mut self, key: &LeaseKey, table: &LeaseTable) -> Option<Added> {
        let lease = table.standing(key)?;
        let (contribution, unusable) = self.cluster.contribution(&lease);
        if !unusable.is_empty() {
            self.unusable.insert(key.clone(), unusable);
        }
        if overlaps(&self.state, &contribution) {
            self.overlapping.insert(key.clone());
            return None;
        }
        self.counted.insert(key.clone(), lease);
        Some(self.count(contribution))
    }

    fn count(&mut self, contribution: KernelState) -> Added {
        let mut there = KernelState::default();
        for nexthop in contribution.nexthops.keys().filter(|key| self.state.nexthops.contains_key(key)) {
            *self.shared.entry(*nexthop).or_default() += 1;
            there.nexthops.insert(*nexthop, Tag::Ours);
        }
        for group in contribution.groups.keys().filter(|key| self.state.groups.contains_key(key)) {
            *self.shared_groups.entry(group.clone()).or_default() += 1;
            there.groups.insert(group.clone(), Tag::Ours);
        }
        self.routes.note_others(contribution.routes.keys());
        add(&mut self.state, &contribution);
        Added { contribution, there }
    }

    fn subtract(&mut self, contribution: &KernelState) {
        let mut gone = contribution.clone();
        gone.nexthops.retain(|nexthop, _| !one_less(&mut self.shared, nexthop));
        gone.groups.retain(|group, _| !one_less(&mut self.shared_groups, group));
        self.routes.forget_others(gone.routes.keys());
        subtract(&mut self.state, &gone);
    }
}

/// Whether others still use it.
fn one_less<K: Ord>(shared: &mut BTreeMap<K, usize>, key: &K) -> bool {
    let Some(count) = shared.get_mut(key) else { return false };
    *count -= 1;
    if *count == 0 {
        shared.remove(key);
    }
    true
}

fn overlaps(state: &KernelState, contribution: &KernelState) -> bool {
    contribution.routes.keys().any(|key| state.routes.contains_key(key))
        || contribution.neighbours.keys().any(|key| state.neighbours.contains_key(key))
        || contribution.fdb.keys().any(|key| state.fdb.contains_key(key))
        || contribution.peers.keys().any(|key| state.peers.contains_key(key))
        || contribution.relays.keys().any(|key| state.relays.contains_key(key))
}

fn add(state: &mut KernelState, contribution: &KernelState) {
    state.groups.extend(contribution.groups.iter().map(|(key, value)| (key.clone(), *value)));
    state.nexthops.extend(contribution.nexthops.iter().map(|(key, value)| (*key, *value)));
    state.routes.extend(contribution.routes.iter().map(|(key, value)| (*key, value.clone())));
    state.neighbours.extend(contribution.neighbours.iter().map(|(key, value)| (*key, *value)));
    state.fdb.extend(contribution.fdb.iter().map(|(key, value)| (*key, *value)));
    state.peers.extend(contribution.peers.iter().map(|(key, value)| (*key, value.clone())));
    state.relays.extend(contribution.relays.iter().map(|(key, value)| (*key, *value)));
}

fn subtract(state: &mut KernelState, contribution: &KernelState) {
    state.groups.retain_not(&contribution.groups);
    state.nexthops.retain_not(&contribution.nexthops);
    state.routes.retain_not(&contribution.routes);
    state.neighbours.retain_not(&contribution.neighbours);
    state.fdb.retain_not(&contribution.fdb);
    state.peers.retain_not(&contribution.peers);
    state.relays.retain_not(&contribution.relays);
}

trait RetainNot {
    fn retain_not(&mut self, others: &Self);
}

impl<K: Ord, V> RetainNot for BTreeMap<K, V> {
    fn retain_not(&mut self, others: &Self) {
        for key in others.keys() {
            self.remove(key);
        }
    }
}
