//! The sum's part that is learnt: which prefixes are in it, which are not and why, and what the kernel had of an earlier life of this
//! daemon, which stays until all is learnt again.

use std::borrow::Cow;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use ipam::{Lease, LeaseKey};
use ipnet::IpNet;

use super::step::{Presence, Step};
use super::{Desired, Facts, one_less};
use crate::cluster::Backend;
use crate::evpn;
use crate::learnt::{Asked, Learnt, Unwanted, state_of};
use crate::state::{Group, KernelState, LinkName, Nexthop, Route, RouteKey, Tag, Via};

/// Sentences that are kept of refused prefixes; of a full table more would be of no use to anybody.
const MOST_REFUSED: usize = 100;

/// What there is of learnt routes.
#[derive(Clone, Debug, Default)]
pub(super) struct LearntRoutes {
    /// Routes of the state that are not learnt, of which there are few.
    others: BTreeSet<RouteKey>,
    refused: BTreeMap<IpNet, String>,
    /// What the kernel had before anything was learnt: routes, and next hops that they use.
    pub found: KernelState,
}

impl LearntRoutes {
    /// None, in a state that has these routes.
    pub fn beside(others: BTreeSet<RouteKey>) -> LearntRoutes {
        LearntRoutes { others, ..LearntRoutes::default() }
    }

    /// The state has these routes too, which are not learnt.
    pub fn note_others<'k>(&mut self, keys: impl Iterator<Item = &'k RouteKey>) {
        self.others.extend(keys);
    }

    /// It has them no longer.
    pub fn forget_others<'k>(&mut self, keys: impl Iterator<Item = &'k RouteKey>) {
        for key in keys {
            self.others.remove(key);
        }
    }

    /// Notes on the one side of a difference that a route was there, though not for what this daemon learnt.
    pub fn note_found(&mut self, (key, stands): (RouteKey, Standing), before: &mut KernelState) {
        if self.found.routes.is_empty() {
            return;
        }
        if stands == Standing::Not {
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
    fn wider(&self, via: &Via, key: RouteKey) -> Option<&Via> {
        let found = &self.found.routes.get(&key)?.via;
        let Via::Group(group) = found else { return None };
        let has = |nexthop| group.members().any(|member| member == nexthop);
        via.nexthops().all(has).then_some(found)
    }
}

/// Whether a learnt prefix has a route in the state after it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// As before.
    Same,
    /// It has one, which it had not.
    New,
    /// It has none.
    Not,
}

impl Desired {
    /// Why prefixes that were announced are not in the kernel: one sentence each, of the first hundred.
    pub fn refused(&self) -> impl Iterator<Item = (&IpNet, &str)> {
        self.routes.refused.iter().map(|(prefix, reason)| (prefix, reason.as_str()))
    }

    /// Peers' subnets to which nothing that is learnt leads by the backend itself, while it takes the place of an older one; none where that is not
    /// learnt.
    pub fn unlearnt<'f>(&'f self, facts: Facts<'f>) -> impl Iterator<Item = (&'f Lease, IpNet)> {
        let Desired { cluster, counted, .. } = self;
        let learns = cluster.ways.is_some() && matches!(cluster.backend, Backend::Bgp(_));
        let subnets = move |lease: &'f Lease| {
            let shared = lease.endpoints.iter().filter(|(family, _)| cluster.own.endpoints.has(*family));
            shared.map(move |(_, endpoint)| (lease, endpoint.subnet))
        };
        let mut asked = Asked::new(cluster, facts);
        let leases = counted.values().filter(move |_| learns).map(|lease| &**lease);
        leases.flat_map(subnets).filter(move |(_, subnet)| !asked.leads(*subnet))
    }

    /// What the learnt route to exactly this prefix adds, if there is one.
    pub fn learnt_contribution(&self, prefix: IpNet) -> Option<KernelState> {
        let key = RouteKey::new(prefix);
        let route = self.state.routes.get(&key).filter(|_| !self.routes.others.contains(&key))?;
        Some(state_of(prefix, route.via.clone()))
    }

    /// How many learnt prefixes have a route.
    pub fn learnt_routes(&self) -> usize {
        self.state.routes.len().saturating_sub(self.routes.others.len())
    }

    /// Prefixes that lead elsewhere, too, than was learnt, for the sake of those who have not spoken yet.
    pub fn widened(&self) -> impl Iterator<Item = IpNet> {
        let found = self.routes.found.routes.iter();
        let wide =
            found.filter(|(key, route)| route.via.group().is_some() && self.state.routes.get(key) == Some(route));
        wide.map(|(key, _)| *key).filter(|key| !self.routes.others.contains(key)).map(|key| key.destination)
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
        let by_leases = |net: &IpNet| self.cluster.holds_pods(net) && !self.cluster.learns_pods();
        let usual = |(key, _): &(&RouteKey, &Route)| **key == RouteKey::new(key.destination);
        for (key, route) in observed.routes.iter().filter(usual) {
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
    pub(super) fn prefixes_of<'p>(
        &self,
        (keys, prefixes): (&BTreeSet<LeaseKey>, &'p [IpNet]),
        facts: Facts<'_>,
    ) -> Cow<'p, [IpNet]> {
        if keys.is_empty() || (facts.learnt.is_empty() && self.learnt_routes() == 0) {
            return Cow::Borrowed(prefixes);
        }
        let mut all: BTreeSet<IpNet> = prefixes.iter().copied().collect();
        for key in keys {
            let leases = [self.counted.get(key).cloned(), facts.table.standing(key)];
            let subnets = leases.iter().flatten().flat_map(|lease| lease.endpoints.values()).map(|end| end.subnet);
            all.extend(subnets.flat_map(|subnet| facts.learnt.within(subnet)));
        }
        Cow::Owned(all.into_iter().collect())
    }

    /// Brings prefixes to what is learnt of them: in, if they may be taken and the backend has no route to them, else out.
    pub(super) fn learn_all(
        &mut self,
        prefixes: impl Iterator<Item = IpNet>,
        facts: Facts<'_>,
        mut step: Option<&mut Step>,
    ) {
        let Desired { cluster, state, routes, shared, shared_groups, .. } = self;
        let mut asked = Asked::new(cluster, facts);
        let mut account = Account { state, routes, shared, shared_groups };
        for prefix in prefixes {
            if !account.routes.refused.is_empty() {
                account.routes.refused.remove(&prefix);
            }
            let via = match asked.way(prefix) {
                Some(Ok(via)) => Some(via),
                Some(Err(Unwanted::Refused(reason))) if account.routes.refused.len() < MOST_REFUSED => {
                    account.routes.refused.insert(prefix, reason);
                    None
                }
                Some(Err(_)) | None => None,
            };
            account.learn((prefix, via), facts.learnt, step.as_deref_mut());
        }
    }

    /// Counts a prefix out.
    pub(super) fn unlearn(&mut self, prefix: IpNet, step: &mut Step) {
        self.routes.refused.remove(&prefix);
        let Desired { state, routes, shared, shared_groups, .. } = self;
        Account { state, routes, shared, shared_groups }.exchange((RouteKey::new(prefix), None), Some(step));
    }
}

/// What a learnt route is counted in.
struct Account<'d> {
    state: &'d mut KernelState,
    routes: &'d mut LearntRoutes,
    shared: &'d mut BTreeMap<Nexthop, usize>,
    shared_groups: &'d mut BTreeMap<Group, usize>,
}

impl Account<'_> {
    fn learn(&mut self, (prefix, via): (IpNet, Option<Via>), learnt: &Learnt, mut step: Option<&mut Step>) {
        let key = RouteKey::new(prefix);
        let wider = |via: &Via| self.routes.wider(via, key).filter(|_| learnt.waits(&prefix)).cloned();
        let via = via.map(|via| wider(&via).unwrap_or(via));
        let standing = self.exchange((key, via), step.as_deref_mut());
        if let Some(step) = step.filter(|_| standing != Standing::Same) {
            self.routes.note_found((key, standing), &mut step.before);
        }
    }

    /// Puts a route in the place of the one that was learnt before, or none. What is not learnt stands.
    fn exchange(&mut self, (key, via): (RouteKey, Option<Via>), mut step: Option<&mut Step>) -> Standing {
        if !self.routes.others.is_empty() && self.routes.others.contains(&key) {
            return Standing::Not;
        }
        let route = via.map(|via| Route { via, tag: Tag::Ours });
        let (before, standing) = match (self.state.routes.entry(key), &route) {
            (Entry::Vacant(_), None) => (None, Standing::Not),
            (Entry::Occupied(there), Some(route)) if there.get() == route => return Standing::Same,
            (Entry::Vacant(place), Some(route)) => {
                place.insert(route.clone());
                (None, Standing::New)
            }
            (Entry::Occupied(mut there), Some(route)) => (Some(there.insert(route.clone())), Standing::New),
            (Entry::Occupied(there), None) => (Some(there.remove()), Standing::Not),
        };
        if let Some(before) = before {
            self.count_out(&before.via);
            step.iter_mut().for_each(|step| step.removed_route(key, before.clone()));
        }
        if let Some(route) = route {
            self.count_in(&route.via, step.as_deref_mut());
            step.into_iter().for_each(|step| step.added_route(key, route.clone()));
        }
        standing
    }

    fn count_in(&mut self, via: &Via, mut step: Option<&mut Step>) {
        for nexthop in via.nexthops() {
            let presence = one_more(&mut self.state.nexthops, self.shared, nexthop);
            step.iter_mut().for_each(|step| step.uses_nexthop(*nexthop, presence));
        }
        if let Some(group) = via.group() {
            let presence = one_more(&mut self.state.groups, self.shared_groups, group);
            step.iter_mut().for_each(|step| step.uses_group(group, presence));
        }
    }

    fn count_out(&mut self, via: &Via) {
        for nexthop in via.nexthops() {
            if !one_less(self.shared, nexthop) {
                self.state.nexthops.remove(nexthop);
            }
        }
        if let Some(group) = via.group().filter(|group| !one_less(self.shared_groups, group)) {
            self.state.groups.remove(group);
        }
    }
}

/// Notes that one more uses a next hop, and whether somebody did.
fn one_more<K: Ord + Clone>(state: &mut BTreeMap<K, Tag>, shared: &mut BTreeMap<K, usize>, key: &K) -> Presence {
    if !state.contains_key(key) {
        state.insert(key.clone(), Tag::Ours);
        return Presence::New;
    }
    match shared.get_mut(key) {
        Some(count) => *count += 1,
        None => drop(shared.insert(key.clone(), 1)),
    }
    Presence::There
}
