//! [`Peers`]: what was told of each Node, by uid, in as little memory as will do to tell only what is new and to see whose
//! subnets overlap ours. The leases themselves are kept by the daemon's table.

use std::collections::BTreeMap;

use ipam::table::Record;
use ipam::{Family, LeaseKey, Stack};
use ipnet::IpNet;

use super::annotations;
use super::object::Object;
use crate::config::kube::AnnotationPrefix;
use crate::store::attributes::fit;

/// What was told of a Node.
#[derive(Debug)]
enum Told {
    /// Nothing: it is not of this network.
    Nothing,
    /// That it cannot be used.
    Garbage,
    /// Its lease, with these subnets; perhaps a family that its podCIDRs have is not among them.
    Lease(Stack<IpNet>, Option<Family>),
}

#[derive(Debug)]
struct Peer {
    fingerprint: u64,
    /// The list in which it was last seen, or during which it came.
    list: u32,
    since: u64,
    name: Box<str>,
    told: Told,
}

/// Another node, older than this one, with a part of our subnets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rival {
    /// Its name.
    pub name: Box<str>,
    /// Its subnet.
    pub subnet: IpNet,
}

/// Everything told, by the Node's uid: a late deletion cannot harm a successor of the same name or podCIDR.
#[derive(Debug)]
pub struct Peers {
    prefix: AnnotationPrefix,
    networks: Option<Stack<IpNet>>,
    known: BTreeMap<LeaseKey, Peer>,
    list: u32,
}

impl Peers {
    /// Nobody.
    pub fn new(prefix: &AnnotationPrefix) -> Peers {
        Peers { prefix: prefix.clone(), networks: None, known: BTreeMap::new(), list: 0 }
    }

    /// Takes a Node in. `None`: it says nothing else than it did. Else what is to be told, if anything.
    pub fn take(&mut self, node: &Object) -> Option<Vec<Record>> {
        let (mut key, fingerprint) = (LeaseKey::new(&node.metadata.uid), node.fingerprint());
        if let Some(peer) = self.known.get_mut(&key) {
            peer.list = self.list;
            if peer.fingerprint == fingerprint {
                return None;
            }
        }
        let mut records = annotations::records(node, &self.prefix, self.networks.as_ref());
        if let Some((known, _)) = self.known.get_key_value(&key) {
            key = known.clone();
        }
        let told = match records.first_mut() {
            Some(Record::Lease(lease)) => {
                // The daemon's table keeps it too: of many nodes, one text each is a megabyte less.
                lease.key = key.clone();
                let assigned = annotations::subnets(node).ok().flatten();
                let lacks =
                    |family: &Family| assigned.is_some_and(|all| all.has(*family)) && !lease.endpoints.has(*family);
                Told::Lease(lease.subnets(), Family::ALL.into_iter().find(lacks))
            }
            Some(_) => Told::Garbage,
            None => Told::Nothing,
        };
        let (since, name) = (annotations::age(node), node.metadata.name.clone());
        let before = self.known.insert(key.clone(), Peer { fingerprint, list: self.list, since, name, told });
        if records.is_empty() && before.is_some_and(|peer| !matches!(peer.told, Told::Nothing)) {
            records.push(Record::Gone(key));
        }
        Some(records)
    }

    /// The Node of this uid is gone. What is to be told.
    pub fn lose(&mut self, uid: &str) -> Option<Record> {
        let key = LeaseKey::new(uid);
        let peer = self.known.remove(&key)?;
        (!matches!(peer.told, Told::Nothing)).then_some(Record::Gone(key))
    }

    /// What subnets must lie in, if that is known.
    pub fn networks(&self) -> Option<&Stack<IpNet>> {
        self.networks.as_ref()
    }

    /// How many are known.
    pub fn count(&self) -> usize {
        self.known.len()
    }

    /// Forgets everybody.
    pub fn forget(&mut self) {
        self.known.clear();
    }

    /// A list begins: what is seen from now on is in it.
    pub fn begin_list(&mut self) {
        self.list = self.list.wrapping_add(1);
    }

    /// The list is whole: who was not seen in it is gone. Their uids and names.
    pub fn absent(&self) -> Vec<(LeaseKey, Box<str>)> {
        let absent = self.known.iter().filter(|(_, peer)| peer.list != self.list);
        absent.map(|(key, peer)| (key.clone(), peer.name.clone())).collect()
    }

    /// The uids of others that have this name.
    pub fn namesakes(&self, name: &str, uid: &LeaseKey) -> Vec<LeaseKey> {
        let others = self.known.iter().filter(|(key, peer)| *key != uid && *peer.name == *name);
        others.map(|(key, _)| key.clone()).collect()
    }

    /// Whether this uid was seen.
    pub fn knows(&self, uid: &LeaseKey) -> bool {
        self.known.contains_key(uid)
    }

    /// Whether something was told of it.
    pub fn tells_of(&self, uid: &LeaseKey) -> bool {
        self.known.get(uid).is_some_and(|peer| !matches!(peer.told, Told::Nothing))
    }

    /// Says what subnets must lie in. Whether something would be judged otherwise now, and must be seen again.
    pub fn fit_in(&mut self, networks: Stack<IpNet>) -> bool {
        let before = self.networks.replace(networks);
        if before == Some(networks) {
            return false;
        }
        let mut unsettled = false;
        for peer in self.known.values_mut() {
            let again = match &peer.told {
                Told::Nothing => false,
                // Before the networks were known nothing was garbage because of them.
                Told::Garbage => before.is_some(),
                Told::Lease(subnets, lacking) => {
                    fit(subnets, Some(&networks)).is_err() || lacking.is_some_and(|family| networks.has(family))
                }
            };
            if again {
                peer.fingerprint = !peer.fingerprint;
                unsettled = true;
            }
        }
        unsettled
    }

    /// The node that has a part of this Node's subnets and is older: its lease stands with everybody else. Only those count
    /// that are `heard` here.
    pub fn rival(&self, own: &Object, heard: impl Fn(&LeaseKey) -> bool) -> Option<Rival> {
        let subnets = annotations::subnets(own).ok().flatten()?;
        let key = LeaseKey::new(&own.metadata.uid);
        let rank = (annotations::age(own), key.as_str());
        let older = self.known.iter().filter(|(other, peer)| (peer.since, other.as_str()) < rank && heard(other));
        older.into_iter().find_map(|(_, peer)| {
            let Told::Lease(theirs, _) = &peer.told else { return None };
            let subnet = theirs.values().find(|their| overlaps(their, &subnets))?;
            Some(Rival { name: peer.name.clone(), subnet: *subnet })
        })
    }
}

/// Whether a subnet has a part of any of these.
pub fn overlaps(subnet: &IpNet, subnets: &Stack<IpNet>) -> bool {
    subnets.values().any(|own| own.contains(subnet) || subnet.contains(own))
}

#[cfg(test)]
mod tests;
