//! [`Key`]: a prefix or another thing that routes lead to, in eighteen bytes; and the hash by which things are found.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{Ipv4Addr, Ipv6Addr};

use hashbrown::HashTable;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::wire::evpn::Route;
use crate::wire::{Family, Nlri};

/// What a route is about. An EVPN route, longer than this, is a number in `Keys`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    address: [u8; 16],
    length: u8,
    kind: u8,
}

const V4: u8 = 4;
const V6: u8 = 6;
const EVPN: u8 = 25;

impl Key {
    /// What nothing leads to.
    pub(super) const GONE: Key = Key { address: [0; 16], length: 0, kind: 0 };

    /// The family.
    pub fn family(&self) -> Family {
        match self.kind {
            V4 => Family::IPV4,
            V6 => Family::IPV6,
            _ => Family::EVPN,
        }
    }

    /// Its hash. Sixteen prefixes that differ in their last four bits have hashes beside each other, and so lie in one line of the processor's
    /// cache: routes mostly come in the order of their prefixes. Which line that is nobody can foresee who does not know the seed.
    pub(super) fn hash(&self, seed: u64) -> u64 {
        let prefix = u128::from_be_bytes(self.address).checked_shr(128 - u32::from(self.length)).unwrap_or(0);
        let (near, far) = (prefix as u64 & 15, prefix >> 4);
        let far = mix(mix(seed ^ far as u64, (far >> 64) as u64) ^ u64::from(self.length), u64::from(self.kind));
        // The table finds the place by the lowest bits, and tells neighbours from each other by the highest.
        (far << 4 | near) ^ near << 60
    }
}

/// Mixes two words into one, so that no bit of either is lost (the folded multiplication of wyhash).
fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a ^ 0x9e37_79b9_7f4a_7c15) * u128::from(b ^ 0xe703_7ed1_a0b4_28db);
    (product as u64) ^ ((product >> 64) as u64)
}

/// The hash of bytes.
pub(super) fn hash_bytes(bytes: &[u8], seed: u64) -> u64 {
    let (chunks, rest) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    let hash = chunks.iter().fold(seed, |hash, chunk| mix(hash ^ u64::from_le_bytes(*chunk), seed));
    mix(hash ^ u64::from_le_bytes(last), bytes.len() as u64)
}

/// Keys from routes and back.
#[derive(Debug)]
pub(super) struct Keys {
    seed: u64,
    evpn: Vec<Box<[u8]>>,
    index: HashTable<u32>,
    free: Vec<u32>,
    /// The numbers of those that are one route to a peer and differ in what is said of it.
    alike: HashMap<Route, Vec<u32>>,
}

impl Keys {
    pub fn new(seed: u64) -> Keys {
        Keys { seed, evpn: Vec::new(), index: HashTable::new(), free: Vec::new(), alike: HashMap::new() }
    }

    /// The key of a route; an EVPN route gets a number, which it keeps.
    pub fn key(&mut self, nlri: &Nlri<'_>) -> Key {
        match nlri {
            Nlri::Prefix(net) => prefix_key(net),
            Nlri::Evpn(route) => evpn_key(self.number(route)),
        }
    }

    /// The key of a route that may not be known.
    pub fn find(&self, nlri: &Nlri<'_>) -> Option<Key> {
        match nlri {
            Nlri::Prefix(net) => Some(prefix_key(net)),
            Nlri::Evpn(route) => {
                let hash = hash_bytes(route, self.seed);
                self.index.find(hash, |number| self.is(*number, route)).map(|number| evpn_key(*number))
            }
        }
    }

    fn is(&self, number: u32, route: &[u8]) -> bool {
        self.evpn.get(number as usize).is_some_and(|known| **known == *route)
    }

    fn number(&mut self, route: &[u8]) -> u32 {
        let hash = hash_bytes(route, self.seed);
        if let Some(number) = self.index.find(hash, |number| self.is(*number, route)) {
            return *number;
        }
        let next = u32::try_from(self.evpn.len()).unwrap_or(u32::MAX);
        let number = self.free.pop().unwrap_or(next);
        match self.evpn.get_mut(number as usize) {
            Some(place) => *place = route.into(),
            None => self.evpn.push(route.into()),
        }
        if let Some(bare) = Route::decode(route).map(Route::bare) {
            self.alike.entry(bare).or_default().push(number);
        }
        let (known, seed) = (&self.evpn, self.seed);
        self.index.insert_unique(hash, number, |number| {
            known.get(*number as usize).map_or(0, |route| hash_bytes(route, seed))
        });
        number
    }

    /// Nothing leads to this any more: its number can be another's.
    pub fn forget(&mut self, key: &Key) {
        let Nlri::Evpn(route) = self.nlri(key) else { return };
        let (hash, [a, b, c, d, ..]) = (hash_bytes(route, self.seed), key.address);
        let number = u32::from_be_bytes([a, b, c, d]);
        if let Some(bare) = Route::decode(route).map(Route::bare)
            && let Entry::Occupied(mut alike) = self.alike.entry(bare)
        {
            alike.get_mut().retain(|other| *other != number);
            if alike.get().is_empty() {
                alike.remove();
            }
        }
        if let Ok(entry) = self.index.find_entry(hash, |known| *known == number) {
            entry.remove();
            self.free.push(number);
        }
    }

    /// The keys of all that are one EVPN route to a peer with this one.
    pub fn alike(&self, route: &[u8]) -> Vec<Key> {
        let numbers = Route::decode(route).and_then(|route| self.alike.get(&route.bare()));
        numbers.into_iter().flatten().map(|number| evpn_key(*number)).collect()
    }

    /// EVPN routes that have a number, or had one that is free now.
    pub fn evpn(&self) -> impl Iterator<Item = &[u8]> {
        self.evpn.iter().map(|route| &**route)
    }

    /// The route of a key.
    pub fn nlri(&self, key: &Key) -> Nlri<'_> {
        let [a, b, c, d, ..] = key.address;
        match key.kind {
            V4 => Nlri::Prefix(Ipv4Net::new(Ipv4Addr::new(a, b, c, d), key.length).unwrap_or_default().into()),
            V6 => Nlri::Prefix(Ipv6Net::new(Ipv6Addr::from(key.address), key.length).unwrap_or_default().into()),
            _ => Nlri::Evpn(self.evpn.get(u32::from_be_bytes([a, b, c, d]) as usize).map_or(&[], |route| route)),
        }
    }
}

fn prefix_key(net: &IpNet) -> Key {
    match net {
        IpNet::V4(net) => {
            let [a, b, c, d] = net.network().octets();
            Key { address: [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], length: net.prefix_len(), kind: V4 }
        }
        IpNet::V6(net) => Key { address: net.network().octets(), length: net.prefix_len(), kind: V6 },
    }
}

fn evpn_key(number: u32) -> Key {
    let [a, b, c, d] = number.to_be_bytes();
    Key { address: [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], length: 32, kind: EVPN }
}
