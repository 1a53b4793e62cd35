//! The sum's part that a fabric says by EVPN of hosts and routers: neighbours and forwarding entries, made anew as a whole when anything of it
//! changes. Leases come first: a key that one has is its.

use super::step::Step;
use super::{Desired, Facts, add, subtract};
use crate::state::KernelState;

/// What there is of it in the state.
#[derive(Clone, Debug, Default)]
pub(super) struct Stations {
    counted: KernelState,
    /// The version of what it was made of.
    version: u64,
}

impl Desired {
    /// Whether the fabric says something that is not in the sum yet.
    pub fn is_behind(&self, facts: Facts<'_>) -> bool {
        self.stations.version != facts.learnt.fabric.version()
    }

    /// Takes all of it out.
    pub(super) fn leave_stations(&mut self, step: &mut Step) {
        let counted = std::mem::take(&mut self.stations.counted);
        step.removed(&counted);
        subtract(&mut self.state, &counted);
    }

    /// Puts in what is said now. What it was.
    pub(super) fn meet_stations(&mut self, facts: Facts<'_>) -> KernelState {
        let mut stations = facts.learnt.stations(&self.cluster);
        stations.neighbours.retain(|key, _| !self.state.neighbours.contains_key(key));
        stations.fdb.retain(|key, _| !self.state.fdb.contains_key(key));
        add(&mut self.state, &stations);
        self.stations = Stations { counted: stations.clone(), version: facts.learnt.fabric.version() };
        stations
    }
}
