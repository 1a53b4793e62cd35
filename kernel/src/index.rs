//! [`Index`]: the kernel's numbers for what everybody else knows by name: link indices and next-hop ids.
//!
//! It is a cache: [`crate::observe`] fills it anew each time, [`crate::apply`] keeps it right for what it does itself and
//! asks for a new one when the kernel does not know a number.

use std::collections::{BTreeSet, HashMap, HashSet};

use backends::LinkName;
use backends::state::{FdbKey, Nexthop};

/// Where our ids lie: 24 bits below this one. The kernel and other programs count from 1.
const FIRST_ID: u32 = 0x5400_0000;
const IDS: u32 = 1 << 24;

/// Numbers by name, and back.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// Every link's index.
    links: HashMap<LinkName, u32>,
    /// The id of each next hop of ours.
    ids: HashMap<Nexthop, u32>,
    /// Every id in use, whosever it is.
    taken: BTreeSet<u32>,
    /// Further objects of ours that say the same as one in `ids`: they go when that goes.
    doubles: Vec<(Nexthop, u32)>,
    /// Forwarding entries that stand without our tag on links of ours.
    untagged: HashSet<FdbKey>,
    /// Where the search for a free id goes on.
    next: u32,
}

impl Index {
    /// An empty one for an instance: where it looks for ids first depends on its name, so that two that start at the
    /// same time do not choose the same.
    pub(crate) fn of(instance: &str) -> Index {
        let hash = instance.bytes().fold(0x811c_9dc5_u32, |h, byte| (h ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        Index { next: hash % IDS, ..Index::default() }
    }

    /// A link's index.
    pub(crate) fn link(&self, name: LinkName) -> Option<u32> {
        self.links.get(&name).copied()
    }

    /// Notes a link.
    pub(crate) fn note_link(&mut self, name: LinkName, index: u32) {
        self.links.insert(name, index);
    }

    /// Forgets a link, and the next hops on it: the kernel has removed them with it.
    pub(crate) fn forget_link(&mut self, name: LinkName) {
        self.links.remove(&name);
        let gone = self.ids.extract_if(|nexthop, _| nexthop.link == name);
        let gone = gone.chain(self.doubles.extract_if(.., |(nexthop, _)| nexthop.link == name));
        for (_, id) in gone {
            self.taken.remove(&id);
        }
    }

    /// Notes an object that exists; `nexthop` when it is ours.
    pub(crate) fn note_object(&mut self, id: u32, nexthop: Option<Nexthop>) {
        self.taken.insert(id);
        let Some(nexthop) = nexthop else { return };
        if let Some(known) = self.ids.insert(nexthop, id).filter(|known| *known != id) {
            self.doubles.push((nexthop, known));
        }
    }

    /// Whether an id is one that we would choose.
    pub(crate) fn is_own_id(&self, id: u32) -> bool {
        (FIRST_ID..FIRST_ID + IDS).contains(&id)
    }

    /// The id of a next hop of ours.
    pub(crate) fn id(&self, nexthop: Nexthop) -> Option<u32> {
        self.ids.get(&nexthop).copied()
    }

    /// The id of a next hop: the one that it has, or a free one that is its own from now on.
    pub(crate) fn id_or_new(&mut self, nexthop: Nexthop) -> u32 {
        if let Some(id) = self.id(nexthop) {
            return id;
        }
        // 2^24 ids are never all in use: each would be a kernel object of 200 octets, 3 GB.
        while self.taken.contains(&(FIRST_ID + self.next)) {
            self.next = (self.next + 1) % IDS;
        }
        let id = FIRST_ID + self.next;
        self.note_object(id, Some(nexthop));
        id
    }

    /// Forgets a next hop; gives all ids that it had.
    pub(crate) fn forget_nexthop(&mut self, nexthop: Nexthop) -> Vec<u32> {
        let mut ids: Vec<u32> = self.ids.remove(&nexthop).into_iter().collect();
        if !self.doubles.is_empty() {
            ids.extend(self.doubles.extract_if(.., |(double, _)| *double == nexthop).map(|(_, id)| id));
        }
        for id in &ids {
            self.taken.remove(id);
        }
        ids
    }

    /// Notes a forwarding entry that stands without our tag.
    pub(crate) fn note_untagged(&mut self, key: FdbKey) {
        self.untagged.insert(key);
    }

    /// Whether a forwarding entry was seen without our tag; forgets it.
    pub(crate) fn take_untagged(&mut self, key: FdbKey) -> bool {
        !self.untagged.is_empty() && self.untagged.remove(&key)
    }
}
