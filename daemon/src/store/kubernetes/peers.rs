//! [`Peers`]: what was told of each Node, by uid, in as little memory as will do to tell only what is new and to see whose
//! subnets overlap ours. The leases themselves are kept by the daemon's table.

use std::collections::BTreeMap;

use ipam::table::Record;
use ipam::{LeaseKey, Stack};
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
    /// Its lease, with these subnets.
    Lease(Stack<IpNet>),
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
    pub fn take(&mut self, node: &Object) -> Option<Option<Record>> {
        let (mut key, fingerprint) = (LeaseKey::new(&node.metadata.uid), node.fingerprint());
        if let Some(peer) = self.known.get_mut(&key) {
            peer.list = self.list;
            if peer.fingerprint == fingerprint {
                return None;
            }
        }
        let mut record = annotations::record(node, &self.prefix, self.networks.as_ref());
        if let Some((known, _)) = self.known.get_key_value(&key) {
            key = known.clone();
        }
        // The daemon's table keeps it too: of many nodes, one text each is a megabyte less.
        if let Some(Record::Lease(lease)) = &mut record {
            lease.key = key.clone();
        }
        let told = match &record {
            Some(Record::Lease(lease)) => Told::Lease(lease.subnets()),
            Some(_) => Told::Garbage,
            None => Told::Nothing,
        };
        let (since, name) = (annotations::age(node), node.metadata.name.clone());
        let before = self.known.insert(key.clone(), Peer { fingerprint, list: self.list, since, name, told });
        let withdrawn = before.filter(|peer| !matches!(peer.told, Told::Nothing)).map(|_| Record::Gone(key));
        Some(record.or(withdrawn))
    }

    /// The Node of this uid is gone. What is to be told.
    pub fn lose(&mut self, uid: &str) -> Option<Record> {
        let key = LeaseKey::new(uid);
        let peer = self.known.remove(&key)?;
        (!matches!(peer.told, Told::Nothing)).then_some(Record::Gone(key))
    }

    /// Forgets everybody.
    pub fn forget(&mut self) {
        self.known.clear();
    }

    /// A list begins: what is seen from now on is in it.
    pub fn begin_list(&mut self) {
        self.list = self.list.wrapping_add(1);
    }

    /// The list is whole: who was not seen in it is gone.
    pub fn end_list(&mut self) -> Vec<Record> {
        let list = self.list;
        let absent = self.known.iter().filter(|(_, peer)| peer.list != list);
        let absent: Vec<LeaseKey> = absent.map(|(key, _)| key.clone()).collect();
        absent.iter().filter_map(|key| self.lose(key.as_str())).collect()
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
                Told::Lease(subnets) => fit(subnets, Some(&networks)).is_err(),
            };
            if again {
                peer.fingerprint = !peer.fingerprint;
                unsettled = true;
            }
        }
        unsettled
    }

    /// The node that has a part of this Node's subnets and is older: its lease stands with everybody else.
    pub fn rival(&self, own: &Object) -> Option<Rival> {
        let subnets = annotations::subnets(own).ok().flatten()?;
        let key = LeaseKey::new(&own.metadata.uid);
        let rank = (annotations::age(own), key.as_str());
        self.known.iter().filter(|(other, peer)| (peer.since, other.as_str()) < rank).find_map(|(_, peer)| {
            let Told::Lease(theirs) = &peer.told else { return None };
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
