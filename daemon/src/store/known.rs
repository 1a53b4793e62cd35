//! [`Known`]: what a store has told of, in as little memory as will do to tell only what is new, to find this node's own
//! lease again, and to see which subnets are taken. The leases themselves are kept by the daemon's table.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use ipam::table::Record;
use ipam::{Family, LeaseKey, Stack, Taken};
use ipnet::IpNet;

use super::{Claim, subnet_key};

/// Who holds a lease, as a number: a name, or where there is none an underlay address. It is good for finding
/// candidates, which are then read again; nothing is overwritten or deleted because of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Holder(u64);

impl Holder {
    /// Both ways in which a claim's own lease may be signed.
    fn own(claim: &Claim) -> Vec<Holder> {
        let address = claim.published.get(Family::V4).map(|published| published.public.to_string());
        let names = [Some(claim.node.as_str().to_owned()), address];
        names.iter().flatten().map(|name| Holder(hash_of(&name.as_str()))).collect()
    }
}

#[derive(Debug)]
struct Entry {
    /// What was last told, as a number (of two different things it is the same once in 10^19 times); `None`: the lease
    /// is not shown.
    told: Option<u64>,
    /// `None`: it is not known what the key holds.
    holder: Option<Holder>,
    subnets: Option<Stack<IpNet>>,
}

/// Everything told, by key.
#[derive(Debug, Default)]
pub struct Known(BTreeMap<LeaseKey, Entry>);

impl Known {
    /// Takes a record in. Whether it says something new.
    pub fn learn(&mut self, record: &Record) -> bool {
        let told = Some(hash_of(record));
        let (holder, subnets) = match record {
            Record::Gone(key) => return self.0.remove(key).is_some_and(|entry| entry.told.is_some()),
            // What is under the key is unknown; that the key is taken is not.
            Record::Garbage(key, _) => (None, subnet_key::parse(key.as_str().trim_end_matches(".json")).ok()),
            Record::Lease(lease) => (Some(Holder(hash_of(&lease.node.as_str()))), Some(lease.subnets())),
        };
        let before = self.0.insert(record.key().clone(), Entry { told, holder, subnets });
        before.and_then(|entry| entry.told) != told
    }

    /// Stops showing a lease that has expired; it takes its subnets up all the same. Whether it was shown.
    pub fn hide(&mut self, key: &LeaseKey) -> bool {
        self.0.get_mut(key).is_some_and(|entry| entry.told.take().is_some())
    }

    /// Whether something was told of a key that has not been taken back.
    pub fn shows(&self, key: &LeaseKey) -> bool {
        self.0.get(key).is_some_and(|entry| entry.told.is_some())
    }

    /// Takes in a whole list instead of all that was known.
    pub fn replace(&mut self, records: &[Record]) {
        self.0.clear();
        for record in records {
            self.learn(record);
        }
    }

    /// Everything that is known and not among these keys.
    pub fn others(&self, present: &BTreeSet<LeaseKey>) -> Vec<LeaseKey> {
        self.0.keys().filter(|key| !present.contains(*key)).cloned().collect()
    }

    /// The keys of leases that may be the claim's own.
    pub fn own(&self, claim: &Claim) -> Vec<LeaseKey> {
        let own = Holder::own(claim);
        let is_own = |entry: &Entry| entry.holder.is_some_and(|holder| own.contains(&holder));
        self.0.iter().filter(|(_, entry)| is_own(entry)).map(|(key, _)| key.clone()).collect()
    }

    /// What is taken under other keys than these. What takes up a whole network is no lease, whatever it is: it must not
    /// keep everybody from having one.
    pub fn taken(&self, claim: &Claim, but: &[LeaseKey]) -> Taken {
        let whole = |net: &IpNet| claim.pools.values().any(|pool| net.contains(&pool.network));
        let others = self.0.iter().filter(|(key, _)| !but.contains(key));
        let subnets = others.filter_map(|(_, entry)| entry.subnets.as_ref()).flat_map(Stack::values);
        subnets.filter(|net| !whole(net)).collect()
    }

    /// Whether another key's lease has a part of these subnets.
    pub fn has_rival(&self, own: &LeaseKey, subnets: &Stack<IpNet>) -> bool {
        let clash = |other: &IpNet| subnets.values().any(|net| net.contains(other) || other.contains(net));
        let clashes = |entry: &Entry| entry.subnets.as_ref().is_some_and(|subnets| subnets.values().any(clash));
        self.0.iter().any(|(key, entry)| key != own && entry.holder.is_some() && clashes(entry))
    }

    /// Whether anything would be judged otherwise than it was, now that it is known what fits.
    pub fn unsettled_by(&self, fits: impl Fn(&Stack<IpNet>) -> bool) -> bool {
        let settled =
            |entry: &Entry| entry.subnets.as_ref().is_none_or(|subnets| fits(subnets) == entry.holder.is_some());
        !self.0.values().all(settled)
    }
}

fn hash_of(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
