//! [`LeaseTable`]: all leases that the store told us of, which of them stand, and what is wrong with the others.
//!
//! Two claims on overlapping subnets cannot both stand: the older one does, and this node's own lease always does
//! (a tunnel's route must never replace the one to our own pods). Garbage leaves the node as it was last good.
//! The table does not know what a lease is good for; see `backends`.

mod mtus;
mod stances;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{Endpoint, Family, Lease, LeaseKey};
use mtus::Mtus;
pub use stances::Stance;
use stances::Stances;

/// One thing that a store says of one key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Record {
    /// A lease, new or changed.
    Lease(Lease),
    /// Something that should be a lease and is not: the key and the reason.
    Garbage(LeaseKey, String),
    /// The key is gone.
    Gone(LeaseKey),
}

impl Record {
    /// The key that the record is about.
    pub fn key(&self) -> &LeaseKey {
        match self {
            Record::Lease(lease) => &lease.key,
            Record::Garbage(key, _) | Record::Gone(key) => key,
        }
    }
}

/// A claim that does not stand, and the one that stands in its way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Conflict {
    /// The claim that is not honoured.
    pub loser: LeaseKey,
    /// The claim that is.
    pub winner: LeaseKey,
    /// The loser's subnet.
    pub subnet: IpNet,
}

#[derive(Debug)]
struct Entry {
    /// Shared with whoever keeps what stood last, so that a lease is in memory once.
    lease: Arc<Lease>,
    /// Who stands in the way in which family: nearly always nobody.
    shadow: Box<[(Family, LeaseKey)]>,
}

impl Entry {
    fn winner(&self, family: Family) -> Option<&LeaseKey> {
        self.shadow.iter().find_map(|(in_family, winner)| (*in_family == family).then_some(winner))
    }

    fn stands(&self, family: Family) -> bool {
        self.lease.endpoints.get(family).is_some() && self.winner(family).is_none()
    }
}

/// All leases by key, with what stands and what does not.
#[derive(Debug, Default)]
pub struct LeaseTable {
    entries: BTreeMap<LeaseKey, Entry>,
    /// Who claims which subnet, by subnet.
    claims: BTreeSet<(IpNet, LeaseKey)>,
    /// How many claims there are of each (family, prefix length): which ancestors are worth looking up.
    lengths: BTreeMap<(Family, u8), usize>,
    garbage: BTreeMap<LeaseKey, String>,
    stances: Stances,
    mtus: Mtus,
    own: Option<LeaseKey>,
}

impl LeaseTable {
    /// Says which lease is this node's own. Returns the keys whose standing changed.
    pub fn set_own(&mut self, own: Option<LeaseKey>) -> BTreeSet<LeaseKey> {
        if self.own == own {
            return BTreeSet::new();
        }
        let mut touched: BTreeSet<LeaseKey> = self.own.iter().chain(&own).cloned().collect();
        self.own = own;
        let component = self.component(touched.iter().cloned());
        touched.extend(self.settle(component));
        touched
    }

    /// The key of this node's own lease.
    pub fn own(&self) -> Option<&LeaseKey> {
        self.own.as_ref()
    }

    /// Takes one record. Returns the keys whose lease, standing or garbage changed (the record's own key among them
    /// only if it did change).
    pub fn apply(&mut self, record: Record) -> BTreeSet<LeaseKey> {
        let key = record.key().clone();
        let lease = match record {
            Record::Garbage(key, reason) => {
                let known = self.garbage.insert(key.clone(), reason.clone()) == Some(reason);
                return (!known).then_some(key).into_iter().collect();
            }
            Record::Lease(lease) => Some(lease),
            Record::Gone(_) => None,
        };
        let was_garbage = self.garbage.remove(&key).is_some();
        if self.get(&key) == lease.as_ref() {
            return was_garbage.then_some(key).into_iter().collect();
        }
        let mut affected = self.component([key.clone()]);
        self.remove(&key);
        if let Some(lease) = lease {
            self.insert(lease);
            affected.extend(self.component([key.clone()]));
        }
        let mut touched = self.settle(affected);
        touched.insert(key);
        touched
    }

    /// Replaces everything by a snapshot. Returns the keys whose lease, standing or garbage changed, those that
    /// vanished included. A key that is garbage in the snapshot keeps the lease it had.
    pub fn replace(&mut self, snapshot: Vec<Record>) -> BTreeSet<LeaseKey> {
        let mut touched = BTreeSet::new();
        let named: BTreeSet<LeaseKey> =
            snapshot.iter().filter(|r| !matches!(r, Record::Gone(_))).map(|r| r.key().clone()).collect();
        for key in self.entries.keys().filter(|key| !named.contains(key)).cloned().collect::<Vec<_>>() {
            self.remove(&key);
            touched.insert(key);
        }
        touched.extend(self.garbage.keys().filter(|key| !named.contains(key)).cloned());
        self.garbage.retain(|key, _| named.contains(key));
        for record in snapshot {
            match record {
                Record::Lease(lease) => {
                    let was_garbage = self.garbage.remove(&lease.key).is_some();
                    if self.get(&lease.key) == Some(&lease) {
                        touched.extend(was_garbage.then(|| lease.key.clone()));
                        continue;
                    }
                    touched.insert(lease.key.clone());
                    self.remove(&lease.key.clone());
                    self.insert(lease);
                }
                garbage @ Record::Garbage(..) => touched.extend(self.apply(garbage)),
                Record::Gone(_) => {}
            }
        }
        // A tree that was filled in order is half empty, one made from a sorted list is not.
        self.entries = std::mem::take(&mut self.entries).into_iter().collect();
        self.claims = std::mem::take(&mut self.claims).into_iter().collect();
        touched.extend(self.settle(self.entries.keys().cloned().collect()));
        touched
    }

    /// The lease under a key, standing or not.
    pub fn get(&self, key: &LeaseKey) -> Option<&Lease> {
        self.entries.get(key).map(|entry| &*entry.lease)
    }

    /// All leases, standing or not, this node's own included.
    pub fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.entries.values().map(|entry| &*entry.lease)
    }

    /// All keys, those that hold garbage included.
    pub fn keys(&self) -> BTreeSet<LeaseKey> {
        self.entries.keys().chain(self.garbage.keys()).cloned().collect()
    }

    /// How many leases there are, standing or not, this node's own included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no lease at all.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What stands of a peer's lease: the lease reduced to the families in which nobody older claims the subnet.
    /// `None` for an unknown key, for this node's own lease, and when nothing of it stands.
    pub fn standing(&self, key: &LeaseKey) -> Option<Arc<Lease>> {
        if self.own.as_ref() == Some(key) {
            return None;
        }
        let entry = self.entries.get(key)?;
        let lease = &entry.lease;
        if entry.shadow.is_empty() {
            return Some(Arc::clone(lease));
        }
        let endpoints =
            lease.endpoints.filter_map(|family, endpoint| entry.stands(family).then(|| endpoint.clone()))?;
        Some(Arc::new(Lease { endpoints, ..Lease::clone(lease) }))
    }

    /// The lease whose subnet holds an address: the standing one, this node's own included.
    pub fn lease_of(&self, address: IpAddr) -> Option<&Lease> {
        let family = Family::of(address);
        let host = IpNet::from(address);
        let claims = self.overlapping(&host);
        claims
            .iter()
            .filter_map(|key| self.entries.get(key))
            .find_map(|entry| entry.stands(family).then_some(&*entry.lease))
    }

    /// What is wrong with one key: what it holds is no lease, or its claim does not stand. One sentence.
    pub fn fault(&self, key: &LeaseKey) -> Option<String> {
        if let Some(reason) = self.garbage.get(key) {
            return Some(format!("{reason}; what was last good of it is kept"));
        }
        let entry = self.entries.get(key)?;
        let (family, winner) = entry.shadow.first()?;
        let (subnet, older) = (entry.lease.subnet(*family)?, self.get(winner)?);
        let whose = if self.own.as_ref() == Some(winner) { "this node's own" } else { "an older" };
        Some(format!("its subnet {subnet} overlaps {whose} lease, {} of node {}, which stands", winner, older.node))
    }

    /// What the other nodes' leases say of their ways of carrying packets: each thing once.
    pub fn stances(&self) -> impl Iterator<Item = &Stance> {
        self.stances.without(self.own.as_ref().and_then(|own| self.get(own)))
    }

    /// What the other nodes' leases say of the largest outer packet that they take, octets, the least first: each thing once.
    /// `None` before all, where some do not say.
    pub fn mtus(&self) -> impl Iterator<Item = Option<u32>> {
        self.mtus.without(self.own.as_ref().and_then(|own| self.get(own)))
    }

    /// Keys that hold no lease, with the reason.
    pub fn garbage(&self) -> impl Iterator<Item = (&LeaseKey, &str)> {
        self.garbage.iter().map(|(key, reason)| (key, reason.as_str()))
    }

    /// Claims that do not stand.
    pub fn conflicts(&self) -> Vec<Conflict> {
        let of_entry = |entry: &Entry| {
            let lease = &entry.lease;
            let conflict = |(family, winner): &(Family, LeaseKey)| {
                Some(Conflict { loser: lease.key.clone(), winner: winner.clone(), subnet: lease.subnet(*family)? })
            };
            entry.shadow.iter().filter_map(conflict).collect::<Vec<_>>()
        };
        self.entries.values().flat_map(of_entry).collect()
    }

    fn insert(&mut self, lease: Lease) {
        for subnet in lease.subnets().values() {
            self.claims.insert((*subnet, lease.key.clone()));
            *self.lengths.entry((Family::of_net(subnet), subnet.prefix_len())).or_default() += 1;
        }
        self.stances.add(&lease);
        self.mtus.add(&lease);
        self.entries.insert(lease.key.clone(), Entry { lease: Arc::new(lease), shadow: Box::default() });
    }

    fn remove(&mut self, key: &LeaseKey) {
        let Some(Entry { lease, .. }) = self.entries.remove(key) else { return };
        self.stances.remove(&lease);
        self.mtus.remove(&lease);
        for subnet in lease.subnets().values() {
            self.claims.remove(&(*subnet, key.clone()));
            let length = (Family::of_net(subnet), subnet.prefix_len());
            if let Some(count) = self.lengths.get_mut(&length) {
                *count -= 1;
                if *count == 0 {
                    self.lengths.remove(&length);
                }
            }
        }
    }

    /// Keys of the claims that overlap a prefix: the same, the wider and the narrower ones.
    fn overlapping(&self, net: &IpNet) -> BTreeSet<LeaseKey> {
        let family = Family::of_net(net);
        // The empty key is the least, so a subnet with it is where that subnet's claims begin.
        let from = |net: IpNet| self.claims.range((net, LeaseKey::new(""))..);
        let mut keys = BTreeSet::new();
        for (_, length) in self.lengths.range((family, 0)..(family, net.prefix_len())).map(|(length, _)| *length) {
            let Ok(wider) = IpNet::new(net.addr(), length).map(|wider| wider.trunc()) else { continue };
            keys.extend(from(wider).take_while(|(claimed, _)| *claimed == wider).map(|(_, key)| key.clone()));
        }
        let last = IpNet::new(net.broadcast(), family.bits()).unwrap_or(*net);
        keys.extend(from(net.trunc()).take_while(|(claimed, _)| *claimed <= last).map(|(_, key)| key.clone()));
        keys
    }

    /// All keys that a chain of overlaps connects with the given ones.
    fn component(&self, keys: impl IntoIterator<Item = LeaseKey>) -> BTreeSet<LeaseKey> {
        let mut component = BTreeSet::new();
        let mut open: Vec<LeaseKey> = keys.into_iter().collect();
        while let Some(key) = open.pop() {
            let Some(entry) = self.entries.get(&key) else { continue };
            if component.insert(key) {
                open.extend(entry.lease.subnets().values().flat_map(|subnet| self.overlapping(subnet)));
            }
        }
        component
    }

    /// Decides anew who stands among the given keys (whole components): oldest first, this node's own before all.
    /// Returns those for which it came out otherwise than before.
    fn settle(&mut self, keys: BTreeSet<LeaseKey>) -> BTreeSet<LeaseKey> {
        let mut order: Vec<&Lease> = keys.iter().filter_map(|key| self.get(key)).collect();
        order.sort_by_key(|lease| (self.own.as_ref() != Some(&lease.key), lease.seniority()));
        let mut standing = Standing::default();
        let mut verdicts = Vec::new();
        for lease in order {
            let lost =
                |(family, endpoint): (Family, &Endpoint)| Some((family, standing.claim(endpoint.subnet, &lease.key)?));
            verdicts.push((lease.key.clone(), lease.endpoints.iter().filter_map(lost).collect::<Box<[_]>>()));
        }
        let mut changed = BTreeSet::new();
        for (key, verdict) in verdicts {
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            if entry.shadow != verdict {
                entry.shadow = verdict;
                changed.insert(key);
            }
        }
        changed
    }
}

/// The subnets that are taken so far, none overlapping another.
#[derive(Default)]
struct Standing(BTreeMap<IpNet, LeaseKey>);

impl Standing {
    /// Takes the subnet, or says who has it (or a part of it) already.
    fn claim(&mut self, net: IpNet, key: &LeaseKey) -> Option<LeaseKey> {
        // None of the subnets here overlap, so only the neighbours in order can: the last one that starts at or
        // before the end of `net` is the only candidate that holds it or lies in it.
        let last = IpNet::new(net.broadcast(), Family::of_net(&net).bits()).unwrap_or(net);
        let candidate = self.0.range(..=last).next_back();
        if let Some((_, winner)) = candidate.filter(|(other, _)| other.contains(&net) || net.contains(*other)) {
            return Some(winner.clone());
        }
        self.0.insert(net, key.clone());
        None
    }
}

#[cfg(test)]
mod tests;
