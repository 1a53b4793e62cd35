//! [`ModelStore`]: one map of leases that all nodes share, and each node's line to it, which can be cut, stall, bring
//! news late and in another order, or lose them and begin again with a snapshot.

use std::collections::{BTreeMap, BTreeSet};

use ipam::table::Record;
use ipam::{Endpoint, Lease, LeaseKey, NodeName, Stack};
use ipnet::IpNet;
use towpathd::store::{Claim, Event, Wish};

use crate::dice::Dice;

/// What is in the store.
#[derive(Debug)]
pub struct ModelStore {
    leases: BTreeMap<LeaseKey, Lease>,
    network: String,
    clock: u64,
    dice: Dice,
}

impl ModelStore {
    /// A store with a network's configuration and no lease.
    pub fn new(network: &str, seed: u64) -> ModelStore {
        ModelStore { leases: BTreeMap::new(), network: network.to_owned(), clock: 0, dice: Dice::new(seed) }
    }

    /// An operator writes another configuration.
    pub fn configure(&mut self, network: &str) {
        self.network = network.to_owned();
    }

    /// The network's configuration.
    pub fn network(&self) -> &str {
        &self.network
    }

    /// All leases.
    pub fn leases(&self) -> &BTreeMap<LeaseKey, Lease> {
        &self.leases
    }

    /// An operator deletes a lease (or it expires).
    pub fn delete(&mut self, key: &LeaseKey) {
        self.leases.remove(key);
    }

    /// Holds what a node wishes: the same rules as the real stores'. `None` when it holds none.
    fn hold(&mut self, wish: &Wish, node: &NodeName) -> Option<Lease> {
        let held = self.leases.values().find(|lease| lease.node == *node).map(|lease| lease.key.clone());
        let claim = match wish {
            Wish::Hold(claim) => claim,
            Wish::Watch => return held.and_then(|key| self.leases.get(&key).cloned()),
            Wish::Release => {
                held.iter().for_each(|key| self.delete(key));
                return None;
            }
        };
        let subnets = match held.as_ref().and_then(|key| self.leases.get(key)) {
            Some(lease) => lease.subnets(),
            None => self.choose(claim)?,
        };
        let endpoints = claim.published.filter_map(|family, published| {
            let subnet = *subnets.get(family)?;
            Some(Endpoint { subnet, public: published.public, data: published.data.clone() })
        })?;
        self.clock += 1;
        let key = held.unwrap_or_else(|| LeaseKey::new(&subnets.to_string().replace('/', "-")));
        let since = self.leases.get(&key).map_or(self.clock, |lease| lease.since);
        let lease = Lease {
            key: key.clone(),
            node: node.clone(),
            since,
            endpoints,
            rollout: claim.rollout.clone().map(Box::new),
        };
        self.leases.insert(key, lease.clone());
        Some(lease)
    }

    fn choose(&mut self, claim: &Claim) -> Option<Stack<IpNet>> {
        let taken: BTreeSet<IpNet> =
            self.leases.values().filter_map(|l| l.subnets().get(ipam::Family::V4).copied()).collect();
        if let Some(previous) = claim.previous.filter(|previous| previous.values().all(|net| !taken.contains(net))) {
            return Some(previous);
        }
        let free: Vec<u8> = (1..64).filter(|i| !taken.contains(&subnets_of(*i).0)).collect();
        let (v4, v6) = subnets_of(*free.get(self.dice.below(free.len()))?);
        Some(Stack::Dual { v4, v6 })
    }
}

fn subnets_of(index: u8) -> (IpNet, IpNet) {
    let v4 = ipnet::Ipv4Net::new_assert(std::net::Ipv4Addr::new(10, 244, index, 0), 24);
    let v6 = ipnet::Ipv6Net::new_assert(std::net::Ipv6Addr::new(0xfd44, 0, 0, u16::from(index), 0, 0, 0, 0), 64);
    (v4.into(), v6.into())
}

/// A node's line to the store.
#[derive(Debug, Default)]
pub struct Line {
    /// Nothing goes through.
    pub cut: bool,
    told_trouble: bool,
    told_network: Option<String>,
    /// What the node was told last; `None`: it must be told everything.
    told: Option<BTreeMap<LeaseKey, Lease>>,
    told_own: Option<Lease>,
}

impl Line {
    /// The node's watch broke with history lost: it begins again with a snapshot.
    pub fn lose_history(&mut self) {
        self.told = None;
    }

    /// Brings some of the news to the node and its wish to the store. `late` of a hundred news wait for another time.
    pub fn exchange(&mut self, store: &mut ModelStore, wish: &Wish, node: &NodeName, late: usize) -> Vec<Event> {
        if self.cut {
            let first = !std::mem::replace(&mut self.told_trouble, true);
            return first.then(|| Event::Trouble("the store is away".into())).into_iter().collect();
        }
        let mut events: Vec<Event> =
            std::mem::take(&mut self.told_trouble).then_some(Event::Well).into_iter().collect();
        // It comes to each node in its own time, as a ConfigMap does.
        let stale = self.told_network.as_ref() != Some(&store.network);
        if stale && (self.told_network.is_none() || !store.dice.chance(late)) {
            self.told_network = Some(store.network.clone());
            events.push(Event::Network(store.network.clone()));
        }
        let own = store.hold(wish, node);
        match &mut self.told {
            None => {
                self.told = Some(store.leases.clone());
                events.push(Event::Snapshot(store.leases.values().cloned().map(Record::Lease).collect()));
            }
            Some(told) => events.extend(news(told, store, late)),
        }
        if own != self.told_own {
            events.extend(own.clone().map(Event::Mine));
            self.told_own = own;
        }
        events
    }
}

/// The differences between what was told and what is, each key's latest only, in any order, some of them later.
fn news(told: &mut BTreeMap<LeaseKey, Lease>, store: &mut ModelStore, late: usize) -> Option<Event> {
    let keys: BTreeSet<LeaseKey> = told.keys().chain(store.leases.keys()).cloned().collect();
    let mut records = Vec::new();
    for key in keys {
        let is = store.leases.get(&key);
        if told.get(&key) == is || store.dice.chance(late) {
            continue;
        }
        match is {
            Some(lease) => {
                told.insert(key, lease.clone());
                records.push(Record::Lease(lease.clone()));
            }
            None => {
                told.remove(&key);
                records.push(Record::Gone(key));
            }
        }
    }
    for i in (1..records.len()).rev() {
        records.swap(i, store.dice.below(i + 1));
    }
    (!records.is_empty()).then_some(Event::Changed(records))
}
