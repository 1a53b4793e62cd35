//! [`Desired`]: the whole desired state as a sum — the node's base and one contribution per standing lease — kept up to
//! date one lease at a time.
//!
//! Contributions are disjoint in their keys. Where two are not (two peers that publish one VTEP MAC), the elder's
//! stands and the overlap is reported; while there is one, sums are made anew from scratch, so that nothing depends
//! on the order of arrival. Only a next hop may be several leases': it says nothing of any of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipam::{Lease, LeaseKey, LeaseTable};

use crate::cluster::{Cluster, Unusable};
use crate::diff::diff;
use crate::plan::Plan;
use crate::state::{KernelState, Nexthop};

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
    /// How many leases beside the first use a next hop: a node that was set up anew, and its former lease.
    shared: BTreeMap<Nexthop, usize>,
}

impl Desired {
    /// The sum over the table.
    pub fn new(cluster: Cluster, table: &LeaseTable) -> Desired {
        let mut desired = Desired {
            state: cluster.base(),
            cluster,
            counted: BTreeMap::new(),
            unusable: BTreeMap::new(),
            overlapping: BTreeSet::new(),
            shared: BTreeMap::new(),
        };
        let mut elders_first: Vec<_> = table.leases().collect();
        elders_first.sort_by_key(|lease| lease.seniority());
        for lease in elders_first {
            desired.add(&lease.key, table);
        }
        desired.follow_nodes(table);
        desired.pack();
        desired
    }

    /// Builds the large maps anew: a tree that was filled one by one is a third empty, one made from a sorted list is not.
    fn pack(&mut self) {
        fn packed<K: Ord, V>(map: &mut BTreeMap<K, V>) {
            *map = std::mem::take(map).into_iter().collect();
        }
        packed(&mut self.counted);
        packed(&mut self.state.nexthops);
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

    /// Brings the sum up to date with the table for these leases and says what that changes in the kernel.
    pub fn update(&mut self, keys: &BTreeSet<LeaseKey>, table: &LeaseTable) -> Plan {
        if !self.overlapping.is_empty() {
            return self.renew(table);
        }
        let mut before = KernelState::default();
        let mut after = KernelState::default();
        for key in keys {
            self.unusable.remove(key);
            if let Some(lease) = self.counted.remove(key) {
                let (contribution, _) = self.cluster.contribution(&lease);
                self.subtract(&contribution);
                add(&mut before, &contribution);
            }
        }
        for key in keys {
            if let Some(contribution) = self.add(key, table) {
                add(&mut after, &contribution);
            }
        }
        if self.overlapping.is_empty() {
            // Another lease's next hop stays, whoever of the two came first.
            after.nexthops.extend(before.nexthops.iter().filter(|(key, _)| self.state.nexthops.contains_key(key)));
            before.ruleset.clone_from(&self.state.ruleset);
            self.follow_nodes(table);
            after.ruleset.clone_from(&self.state.ruleset);
            return diff(&before, &after);
        }
        // The one that came now may be the elder: begin again, from what the kernel was told before. (A next hop that it has
        // for another lease's sake may be made once more by this: that changes nothing.)
        subtract(&mut self.state, &after);
        add(&mut self.state, &before);
        self.renew(table)
    }

    /// The rules, where they name the other nodes' addresses.
    fn follow_nodes(&mut self, table: &LeaseTable) {
        if let Some(ruleset) = self.cluster.ruleset_with(table.leases().filter(|lease| table.own() != Some(&lease.key)))
        {
            self.state.ruleset = Some(ruleset);
        }
    }

    fn renew(&mut self, table: &LeaseTable) -> Plan {
        let renewed = Desired::new(self.cluster.clone(), table);
        let plan = diff(&self.state, &renewed.state);
        *self = renewed;
        plan
    }

    /// Counts a lease in, if it stands and takes nobody's keys. Returns what it added.
    fn add(&mut self, key: &LeaseKey, table: &LeaseTable) -> Option<KernelState> {
        let lease = table.standing(key)?;
        let (contribution, unusable) = self.cluster.contribution(&lease);
        if !unusable.is_empty() {
            self.unusable.insert(key.clone(), unusable);
        }
        if overlaps(&self.state, &contribution) {
            self.overlapping.insert(key.clone());
            return None;
        }
        self.count(&contribution);
        self.counted.insert(key.clone(), lease);
        Some(contribution)
    }

    fn count(&mut self, contribution: &KernelState) {
        for nexthop in contribution.nexthops.keys().filter(|key| self.state.nexthops.contains_key(key)) {
            *self.shared.entry(*nexthop).or_default() += 1;
        }
        add(&mut self.state, contribution);
    }

    fn subtract(&mut self, contribution: &KernelState) {
        let mut gone = contribution.clone();
        gone.nexthops.retain(|nexthop, _| match self.shared.get_mut(nexthop) {
            None => true,
            Some(count) => {
                *count -= 1;
                if *count == 0 {
                    self.shared.remove(nexthop);
                }
                false
            }
        });
        subtract(&mut self.state, &gone);
    }
}

fn overlaps(state: &KernelState, contribution: &KernelState) -> bool {
    contribution.routes.keys().any(|key| state.routes.contains_key(key))
        || contribution.neighbours.keys().any(|key| state.neighbours.contains_key(key))
        || contribution.fdb.keys().any(|key| state.fdb.contains_key(key))
        || contribution.peers.keys().any(|key| state.peers.contains_key(key))
        || contribution.relays.keys().any(|key| state.relays.contains_key(key))
}

fn add(state: &mut KernelState, contribution: &KernelState) {
    state.nexthops.extend(contribution.nexthops.iter().map(|(key, value)| (*key, *value)));
    state.routes.extend(contribution.routes.iter().map(|(key, value)| (*key, *value)));
    state.neighbours.extend(contribution.neighbours.iter().map(|(key, value)| (*key, *value)));
    state.fdb.extend(contribution.fdb.iter().map(|(key, value)| (*key, *value)));
    state.peers.extend(contribution.peers.iter().map(|(key, value)| (*key, value.clone())));
    state.relays.extend(contribution.relays.iter().map(|(key, value)| (*key, *value)));
}

fn subtract(state: &mut KernelState, contribution: &KernelState) {
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
