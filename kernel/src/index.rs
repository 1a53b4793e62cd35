//! [`Index`]: the kernel's numbers for what everybody else knows by name: link indices and next-hop ids.
//!
//! It is a cache: [`crate::observe`] fills it anew each time, [`crate::apply`] keeps it right for what it does itself and
//! asks for a new one when the kernel does not know a number.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use backends::LinkName;
use backends::state::{FdbKey, Group, Nexthop};

/// Where ids of ours lie, whatever instance's: 30 bits above this one. The kernel and other programs count from 1.
const FIRST_ID: u32 = 1 << 30;
/// Of those, how many an instance has for itself. Which 17 bits say, and whose they are the 13 above.
const IDS: u32 = 1 << 17;
const INSTANCES: u32 = 1 << 13;

/// Numbers by name, and back.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// Every link's index.
    links: HashMap<LinkName, u32>,
    /// The id of each next hop of ours, by link and gateway: a link has thousands, whose name would stand in each.
    ids: HashMap<LinkName, BTreeMap<IpAddr, u32>>,
    /// The ids of each group of ours: the first is used, the others say the same and go when it goes.
    groups: BTreeMap<Group, Vec<u32>>,
    /// By the id of a group, members that it is without because they are dead.
    left: HashMap<u32, BTreeSet<Nexthop>>,
    /// Every id in use, whosever it is.
    taken: BTreeSet<u32>,
    /// Further objects of ours that say the same as one in `ids`: they go when that goes.
    doubles: Vec<(Nexthop, u32)>,
    /// Forwarding entries that stand without our tag on links of ours.
    untagged: HashSet<FdbKey>,
    /// The first id of this instance's.
    first: u32,
    /// Where the search for a free id goes on, from there.
    next: u32,
}

impl Index {
    /// An empty one for an instance. Its ids follow from its name, so that what it puts on a link that is not its own says
    /// whose it is.
    pub(crate) fn of(instance: &str) -> Index {
        let hash = instance.bytes().fold(0x811c_9dc5_u32, |h, byte| (h ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        Index { first: FIRST_ID + hash % INSTANCES * IDS, ..Index::default() }
    }

    /// A link's index.
    pub(crate) fn link(&self, name: LinkName) -> Option<u32> {
        self.links.get(&name).copied()
    }

    /// The name of the link with an index: a search.
    pub(crate) fn name(&self, index: u32) -> Option<LinkName> {
        self.links.iter().find(|(_, known)| **known == index).map(|(name, _)| *name)
    }

    /// Notes a link.
    pub(crate) fn note_link(&mut self, name: LinkName, index: u32) {
        self.links.insert(name, index);
    }

    /// Forgets a link, and the next hops on it: the kernel has removed them with it.
    pub(crate) fn forget_link(&mut self, name: LinkName) {
        self.links.remove(&name);
        let gone = self.ids.remove(&name).into_iter().flat_map(BTreeMap::into_values);
        let doubles = self.doubles.extract_if(.., |(nexthop, _)| nexthop.link == name);
        for id in gone.chain(doubles.map(|(_, id)| id)) {
            self.taken.remove(&id);
        }
    }

    /// Notes an object that exists; `nexthop` when it is ours.
    pub(crate) fn note_object(&mut self, id: u32, nexthop: Option<Nexthop>) {
        self.taken.insert(id);
        let Some(nexthop) = nexthop else { return };
        let of_link = self.ids.entry(nexthop.link).or_default();
        if let Some(known) = of_link.insert(nexthop.gateway, id).filter(|known| *known != id) {
            self.doubles.push((nexthop, known));
        }
    }

    /// Whether an id is one that this instance would choose.
    pub(crate) fn is_own_id(&self, id: u32) -> bool {
        (self.first..self.first + IDS).contains(&id)
    }

    /// The id of a next hop of ours.
    pub(crate) fn id(&self, nexthop: Nexthop) -> Option<u32> {
        self.ids.get(&nexthop.link)?.get(&nexthop.gateway).copied()
    }

    /// The id of a next hop: the one that it has, or a free one that is its own from now on; `None` when all are taken.
    pub(crate) fn id_or_new(&mut self, nexthop: Nexthop) -> Option<u32> {
        if let Some(id) = self.id(nexthop) {
            return Some(id);
        }
        let id = self.free()?;
        self.note_object(id, Some(nexthop));
        Some(id)
    }

    /// A number that nobody has.
    fn free(&mut self) -> Option<u32> {
        let turns = (0..IDS).map(|turn| (self.next + turn) % IDS);
        self.next = turns.into_iter().find(|turn| !self.taken.contains(&(self.first + turn)))?;
        Some(self.first + self.next)
    }

    /// Notes a group that exists and is ours.
    pub(crate) fn note_group(&mut self, id: u32, group: Group) {
        self.taken.insert(id);
        self.groups.entry(group).or_default().push(id);
    }

    /// The id of a group of ours.
    pub(crate) fn group(&self, group: &Group) -> Option<u32> {
        self.groups.get(group)?.first().copied()
    }

    /// The id of a group: the one that it has, or a free one that is its own from now on; `None` when all are taken.
    pub(crate) fn group_or_new(&mut self, group: &Group) -> Option<u32> {
        if let Some(id) = self.group(group) {
            return Some(id);
        }
        let id = self.free()?;
        self.note_group(id, group.clone());
        Some(id)
    }

    /// Notes that a next hop is sent to no longer. The groups that it is in and that have others, by id, and the ids of what is left of
    /// them; their names stay what they were.
    pub(crate) fn leave(&mut self, lost: Nexthop) -> Vec<(u32, Vec<u32>)> {
        let mut left = Vec::new();
        for (group, ids) in self.groups.iter().filter(|(group, _)| group.members().any(|member| *member == lost)) {
            for id in ids {
                let gone = self.left.entry(*id).or_default();
                gone.insert(lost);
                let others = group.members().filter(|member| !gone.contains(member));
                let others: Vec<u32> =
                    others.filter_map(|member| self.ids.get(&member.link)?.get(&member.gateway).copied()).collect();
                left.extend((!others.is_empty()).then_some((*id, others)));
            }
        }
        left
    }

    /// Forgets a group; gives all ids that it had.
    pub(crate) fn forget_group(&mut self, group: &Group) -> Vec<u32> {
        let ids = self.groups.remove(group).unwrap_or_default();
        for id in &ids {
            self.left.remove(id);
            self.taken.remove(id);
        }
        ids
    }

    /// Forgets a next hop; gives all ids that it had.
    pub(crate) fn forget_nexthop(&mut self, nexthop: Nexthop) -> Vec<u32> {
        let mut ids: Vec<u32> =
            self.ids.get_mut(&nexthop.link).and_then(|of_link| of_link.remove(&nexthop.gateway)).into_iter().collect();
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
