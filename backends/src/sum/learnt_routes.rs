//! The sum's part that is learnt: which prefixes are in it, which are not and why, and what the kernel had of an earlier life of this
//! daemon, which stays until all is learnt again.

use std::collections::{BTreeMap, BTreeSet};

use ipam::LeaseKey;
use ipnet::IpNet;

use super::step::Added;
use super::{Desired, Facts};
use crate::cluster::Backend;
use crate::evpn;
use crate::learnt::{Learnt, Unwanted, state_of};
use crate::state::{KernelState, LinkName, Route, RouteKey, Tag, Via};

/// Sentences that are kept of refused prefixes; of a full table more would be of no use to anybody.
const MOST_REFUSED: usize = 100;

/// What there is of learnt routes.
#[derive(Clone, Debug, Default)]
pub(super) struct LearntRoutes {
    /// Prefixes whose routes are in the state.
    taken: BTreeSet<IpNet>,
    refused: BTreeMap<IpNet, String>,
    /// What the kernel had before anything was learnt: routes, and next hops that they use.
    pub found: KernelState,
}

impl LearntRoutes {
    /// Notes on the one side of a difference that a route was there, though not for what this daemon learnt.
    pub fn note_found(&mut self, key: RouteKey, before: &mut KernelState) {
        if !self.taken.contains(&key.destination) {
            if before.routes.contains_key(&key) {
                // What was learnt is gone again, and with it what was found.
                self.found.routes.remove(&key);
            }
        } else if let Some(route) = self.found.routes.get(&key) {
            before.routes.entry(key).or_insert_with(|| route.clone());
        }
    }

    /// The same of neighbours and forwarding entries.
    pub fn note_found_stations(&mut self, there: &KernelState, before: &mut KernelState) {
        for key in before.neighbours.keys() {
            self.found.neighbours.remove(key);
        }
        for key in before.fdb.keys() {
            self.found.fdb.remove(key);
        }
        for (key, found) in self.found.neighbours.iter().filter(|(key, _)| there.neighbours.contains_key(key)) {
            before.neighbours.insert(*key, *found);
        }
        for (key, found) in self.found.fdb.iter().filter(|(key, _)| there.fdb.contains_key(key)) {
            before.fdb.insert(*key, *found);
        }
    }

    /// The route that was found, if it leads where this one does and elsewhere too: who has not spoken yet may say so.
    fn wider(&self, contribution: &KernelState, key: RouteKey) -> Option<&Via> {
        let found = &self.found.routes.get(&key)?.via;
        let Via::Group(group) = found else { return None };
        let has = |nexthop| group.members().any(|member| member == nexthop);
        contribution.nexthops.keys().all(has).then_some(found)
    }
}

impl Desired {
    /// Why prefixes that were announced are not in the kernel: one sentence each, of the first hundred.
    pub fn refused(&self) -> impl Iterator<Item = (&IpNet, &str)> {
        self.routes.refused.iter().map(|(prefix, reason)| (prefix, reason.as_str()))
    }

    /// What the learnt route to exactly this prefix adds, if there is one.
    pub fn learnt_contribution(&self, prefix: IpNet) -> Option<KernelState> {
        let route = self.state.routes.get(&RouteKey::new(prefix)).filter(|_| self.routes.taken.contains(&prefix))?;
        Some(state_of(prefix, route.via.clone()))
    }

    /// How many learnt prefixes have a route.
    pub fn learnt_routes(&self) -> usize {
        self.routes.taken.len()
    }

    /// Takes out of what was observed what is of an earlier life and may still be learnt again: it is neither looked at nor changed.
    pub fn keep_unsettled(&mut self, observed: &mut KernelState, learnt: &Learnt) {
        self.routes.found = KernelState::default();
        if learnt.fabric_unsettled {
            self.keep_stations(observed);
        }
        if learnt.unsettled.is_empty() && !learnt.fabric_unsettled {
            return;
        }
        let by_leases = |net: &IpNet| {
            let of_pods = self.cluster.networks.values().any(|network| network.contains(net));
            of_pods && !matches!(self.cluster.backend, Backend::Bgp(_))
        };
        for (key, route) in &observed.routes {
            let Route { via, tag } = route;
            let through = matches!(via, Via::Object(_) | Via::Group(_) | Via::Gateway(_) | Via::Encapsulated(_));
            let waits = *tag == Tag::Ours && learnt.awaits(key, (via, &self.cluster));
            if through && waits && !by_leases(&key.destination) {
                self.routes.found.extend(state_of(key.destination, via.clone()));
                self.routes.found.routes.insert(*key, route.clone());
            }
        }
        let found = &self.routes.found.routes;
        observed.routes.retain(|key, _| self.state.routes.contains_key(key) || !found.contains_key(key));
        // Of next hops there is no more than what the kernel has; and what is desired besides is compared like all else.
        let state = &self.state;
        self.routes.found.nexthops.retain(|key, _| observed.nexthops.contains_key(key));
        self.routes.found.groups.retain(|key, _| observed.groups.contains_key(key));
        let only_found = |key: &_| self.routes.found.nexthops.contains_key(key) && !state.nexthops.contains_key(key);
        observed.nexthops.retain(|key, _| !only_found(key));
        let only_found = |key: &_| self.routes.found.groups.contains_key(key) && !state.groups.contains_key(key);
        observed.groups.retain(|key, _| !only_found(key));
    }

    /// Entries of the overlay's devices that no lease has are a fabric's, of whom more may still be told.
    fn keep_stations(&mut self, observed: &mut KernelState) {
        let devices: Vec<LinkName> =
            evpn::overlay(&self.cluster.backend).iter().flat_map(|it| it.devices().values()).copied().collect();
        let (state, found) = (&self.state, &mut self.routes.found);
        observed.neighbours.retain(|key, neighbour| {
            let waits = neighbour.tag == Tag::Ours && devices.contains(&key.link);
            found.neighbours.extend(waits.then_some((*key, *neighbour)));
            !waits || state.neighbours.contains_key(key)
        });
        observed.fdb.retain(|key, fdb| {
            let waits = fdb.tag == Tag::Ours && devices.contains(&key.link);
            found.fdb.extend(waits.then_some((*key, *fdb)));
            !waits || state.fdb.contains_key(key)
        });
    }

    /// Learnt prefixes that a change is about: those said, and those into the subnets of leases that changed.
    pub(super) fn prefixes_of(
        &self,
        (keys, prefixes): (&BTreeSet<LeaseKey>, &BTreeSet<IpNet>),
        facts: Facts<'_>,
    ) -> BTreeSet<IpNet> {
        let mut all = prefixes.clone();
        if facts.learnt.is_empty() && self.routes.taken.is_empty() {
            return all;
        }
        for key in keys {
            let leases = [self.counted.get(key).cloned(), facts.table.standing(key)];
            let subnets = leases.iter().flatten().flat_map(|lease| lease.endpoints.values()).map(|end| end.subnet);
            all.extend(subnets.flat_map(|subnet| facts.learnt.within(subnet)));
        }
        all
    }

    /// Counts a prefix in, if it may be taken and the backend has no route to it. What it added.
    pub(super) fn learn(&mut self, prefix: IpNet, facts: Facts<'_>) -> Option<Added> {
        match facts.learnt.contribution(&self.cluster, (prefix, facts.table))? {
            Ok(contribution) => {
                let key = RouteKey::new(prefix);
                if self.state.routes.contains_key(&key) {
                    return None;
                }
                let wider = self.routes.wider(&contribution, key).filter(|_| facts.learnt.waits(&prefix)).cloned();
                self.routes.taken.insert(prefix);
                Some(self.count(wider.map_or(contribution, |via| state_of(prefix, via))))
            }
            Err(Unwanted::OfBackend) => None,
            Err(Unwanted::Refused(reason)) => {
                if self.routes.refused.len() < MOST_REFUSED {
                    self.routes.refused.insert(prefix, reason);
                }
                None
            }
        }
    }

    /// Counts a prefix out. What it had added.
    pub(super) fn unlearn(&mut self, prefix: IpNet) -> KernelState {
        self.routes.refused.remove(&prefix);
        if !self.routes.taken.remove(&prefix) {
            return KernelState::default();
        }
        let route = self.state.routes.get(&RouteKey::new(prefix));
        route.map(|route| state_of(prefix, route.via.clone())).unwrap_or_default()
    }
}
