//! `Sets`: attributes with a next hop, each kept once however many routes share them, as canonical bytes and what comparisons need.

use std::net::Ipv4Addr;

use hashbrown::HashTable;

use crate::wire::family::Family;
use crate::wire::terms::{AsWidth, FamilyTerms, NextHops};
use crate::wire::update::decode_attributes;
use crate::wire::{Attributes, Community, NextHop, Origin};

use super::key::hash_bytes;

/// A set by number, for as long as a path refers to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetId(pub(super) u32);

/// LOCAL_PREF where nobody said one.
pub const DEFAULT_LOCAL_PREF: u32 = 100;

/// What comparisons and exports ask of a set, without decoding it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// LOCAL_PREF.
    pub local_pref: u32,
    /// MULTI_EXIT_DISC; missing is 0, the best (RFC 4271 section 9.1.2.2 c).
    pub med: u32,
    /// Steps of the path.
    pub path_length: u16,
    /// ORIGIN.
    pub origin: Origin,
    /// The AS that it comes from; 0 for our own.
    pub neighbour: u32,
    /// ORIGINATOR_ID.
    pub originator: Option<Ipv4Addr>,
    /// Reflectors passed.
    pub clusters: u8,
    marks: u8,
}

/// Communities and attributes that decide by being there.
pub mod mark {
    /// Not to any peer.
    pub const NO_ADVERTISE: u8 = 1;
    /// Not across the border.
    pub const NO_EXPORT: u8 = 2;
    /// Kept of a peer that is away for long.
    pub const LLGR_STALE: u8 = 4;
    /// Not to be kept for long.
    pub const NO_LLGR: u8 = 8;
    /// ONLY_TO_CUSTOMER.
    pub const ONLY_TO_CUSTOMER: u8 = 16;
}

impl Summary {
    fn of(attributes: &Attributes) -> Summary {
        let has = |community, bit| if attributes.communities.contains(&community) { bit } else { 0 };
        let otc = if attributes.only_to_customer.is_some() { mark::ONLY_TO_CUSTOMER } else { 0 };
        Summary {
            local_pref: attributes.local_pref.unwrap_or(DEFAULT_LOCAL_PREF),
            med: attributes.med.unwrap_or(0),
            path_length: u16::try_from(attributes.as_path.length()).unwrap_or(u16::MAX),
            origin: attributes.origin,
            neighbour: attributes.as_path.first().unwrap_or(0),
            originator: attributes.originator,
            clusters: u8::try_from(attributes.clusters.len()).unwrap_or(u8::MAX),
            marks: otc
                | has(Community::NO_ADVERTISE, mark::NO_ADVERTISE)
                | has(Community::NO_EXPORT, mark::NO_EXPORT)
                | has(Community::NO_EXPORT_SUBCONFED, mark::NO_EXPORT)
                | has(Community::LLGR_STALE, mark::LLGR_STALE)
                | has(Community::NO_LLGR, mark::NO_LLGR),
        }
    }

    /// Whether a [`mark`] is there.
    pub fn is_marked(&self, mark: u8) -> bool {
        self.marks & mark != 0
    }
}

#[derive(Debug)]
struct Set {
    /// Length and bytes of the next hop, then the attributes.
    bytes: Box<[u8]>,
    references: u32,
    summary: Summary,
}

/// All sets in use.
#[derive(Debug)]
pub(super) struct Sets {
    seed: u64,
    sets: Vec<Option<Set>>,
    free: Vec<u32>,
    index: HashTable<u32>,
    scratch: Vec<u8>,
}

impl Sets {
    pub fn new(seed: u64) -> Sets {
        Sets { seed, sets: Vec::new(), free: Vec::new(), index: HashTable::new(), scratch: Vec::new() }
    }

    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// The set of these, without a reference to it: [`Sets::retain`] adds them, and [`Sets::drop_unused`] takes back what got none.
    pub fn intern(&mut self, attributes: &Attributes, hop: NextHop) -> SetId {
        let mut bytes = std::mem::take(&mut self.scratch);
        bytes.clear();
        hop.encode(&mut bytes);
        attributes.encode(AsWidth::Four, &mut bytes);
        let hash = hash_bytes(&bytes, self.seed);
        let sets = &self.sets;
        let same = |id: &u32| sets.get(*id as usize).and_then(Option::as_ref).is_some_and(|set| *set.bytes == bytes);
        let found = self.index.find(hash, same).copied();
        let id = found.unwrap_or_else(|| {
            let set = Set { bytes: bytes.as_slice().into(), references: 0, summary: Summary::of(attributes) };
            self.insert(hash, set)
        });
        self.scratch = bytes;
        SetId(id)
    }

    fn insert(&mut self, hash: u64, set: Set) -> u32 {
        let next = u32::try_from(self.sets.len()).unwrap_or(u32::MAX);
        let id = self.free.pop().unwrap_or(next);
        match self.sets.get_mut(id as usize) {
            Some(place) => *place = Some(set),
            None => self.sets.push(Some(set)),
        }
        let (sets, seed) = (&self.sets, self.seed);
        let rehash =
            |id: &u32| sets.get(*id as usize).and_then(Option::as_ref).map_or(0, |set| hash_bytes(&set.bytes, seed));
        self.index.insert_unique(hash, id, rehash);
        id
    }

    fn set(&self, id: SetId) -> Option<&Set> {
        self.sets.get(id.0 as usize).and_then(Option::as_ref)
    }

    /// One more path refers to it.
    pub fn retain(&mut self, id: SetId) {
        if let Some(set) = self.sets.get_mut(id.0 as usize).and_then(Option::as_mut) {
            set.references += 1;
        }
    }

    /// One path less does.
    pub fn release(&mut self, id: SetId) {
        if let Some(set) = self.sets.get_mut(id.0 as usize).and_then(Option::as_mut) {
            set.references = set.references.saturating_sub(1);
        }
        self.drop_unused(id);
    }

    /// Takes back a set that no path refers to.
    pub fn drop_unused(&mut self, id: SetId) {
        let Some(set) = self.set(id).filter(|set| set.references == 0) else { return };
        let hash = hash_bytes(&set.bytes, self.seed);
        if let Ok(entry) = self.index.find_entry(hash, |other| *other == id.0) {
            entry.remove();
        }
        if let Some(place) = self.sets.get_mut(id.0 as usize) {
            *place = None;
            self.free.push(id.0);
        }
    }

    pub fn summary(&self, id: SetId) -> Option<&Summary> {
        self.set(id).map(|set| &set.summary)
    }

    /// The attributes and the next hop, decoded.
    pub fn get(&self, id: SetId) -> Option<(Attributes, NextHop)> {
        let (hop, attributes) = split(&self.set(id)?.bytes)?;
        Some((decode_attributes(attributes), hop))
    }

    /// The next hops of all sets, as often as there are sets.
    pub fn hops(&self) -> impl Iterator<Item = NextHop> {
        self.sets.iter().flatten().filter_map(|set| split(&set.bytes).map(|(hop, _)| hop))
    }

    pub fn hop(&self, id: SetId) -> Option<NextHop> {
        split(&self.set(id)?.bytes).map(|(hop, _)| hop)
    }
}

fn split(bytes: &[u8]) -> Option<(NextHop, &[u8])> {
    let (length, rest) = bytes.split_first()?;
    let (hop, attributes) = rest.split_at_checked(usize::from(*length))?;
    let any = FamilyTerms { next_hops: NextHops::AlsoIpv6, ..FamilyTerms::plain(Family::IPV4) };
    Some((NextHop::decode(hop, &any).ok()?, attributes))
}
