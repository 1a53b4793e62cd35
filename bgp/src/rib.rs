//! Routes: what peers said ([`Rib::update`]), which of it is best ([`decision`]), and what each group of peers is told ([`group`]).
//!
//! One owner, no locks, driven by batches: changes are noted, and [`Rib::flush`] decides and encodes for all of them at once, so that what came and
//! went in between costs nothing. A route is some forty bytes ([`table`]): attributes are shared ([`sets`]), and nothing is
//! kept per route and peer. Does not know sessions, sockets or time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};

mod catch_up;
pub mod change;
pub mod decision;
pub mod explain;
pub mod export;
pub mod flush;
pub mod group;
pub mod import;
mod index;
pub mod key;
pub mod membership;
mod overtaking;
mod regroup;
pub mod sets;
pub mod source;
pub mod stale;
pub mod table;

pub use change::Change;
pub use decision::Step;
pub use export::{GroupTerms, HopRule, Hops};
pub use source::{PeerId, Relation, Source};

use crate::wire::Family;

use decision::Preferences;
use group::Group;
use key::Keys;
use sets::Sets;
use source::Sources;
use table::{DestinationId, Table};

/// Who we are, and how paths are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Our AS.
    pub asn: u32,
    /// Our identifier.
    pub identifier: Ipv4Addr,
    /// The cluster that we reflect for; our identifier if nobody says otherwise (RFC 4456 section 7).
    pub cluster: Ipv4Addr,
    /// How paths are compared.
    pub preferences: Preferences,
    /// Chance for the hash tables: a peer that knew it could choose prefixes that collide.
    pub seed: u64,
}

/// All routes.
#[derive(Debug)]
pub struct Rib {
    settings: Settings,
    keys: Keys,
    table: Table,
    sets: Sets,
    sources: Sources,
    groups: Vec<Group>,
    /// Destinations whose paths changed since the last flush.
    dirty: VecDeque<DestinationId>,
    /// Destinations without paths, which a peer may still have to be told of.
    unused: Vec<DestinationId>,
    /// Whether members are behind, as far as was looked.
    lagging: bool,
    /// Peers that there are new bytes for.
    ready: BTreeSet<PeerId>,
    /// How far next hops are that somebody looked for; `None` for one that cannot be reached.
    metrics: BTreeMap<IpAddr, Option<u32>>,
}

/// Bytes for a peer: shared by all members of its group.
pub type Chunk = std::sync::Arc<[u8]>;

impl Rib {
    /// Without routes and peers.
    pub fn new(settings: Settings) -> Rib {
        let seed = settings.seed;
        Rib {
            settings,
            keys: Keys::new(seed),
            table: Table::new(seed),
            sets: Sets::new(seed),
            sources: Sources::default(),
            groups: Vec::new(),
            dirty: VecDeque::new(),
            unused: Vec::new(),
            lagging: false,
            ready: BTreeSet::new(),
            metrics: BTreeMap::new(),
        }
    }

    /// Prefixes and other things that there are paths to.
    pub fn destinations(&self) -> usize {
        self.table.len()
    }

    /// Distinct sets of attributes in use.
    pub fn attribute_sets(&self) -> usize {
        self.sets.len()
    }

    /// Makes a peer known, before its first route.
    pub fn add_source(&mut self, peer: PeerId, source: Source) {
        self.sources.add(peer, source);
    }

    /// What is known of a peer.
    pub fn source(&self, peer: PeerId) -> Option<&Source> {
        self.sources.get(peer).map(std::convert::AsRef::as_ref)
    }

    /// Another policy for what a peer says from now on; what it said before stays as it was judged.
    pub fn set_import(&mut self, peer: PeerId, policy: std::sync::Arc<crate::policy::Policy>) {
        self.sources.set_import(peer, policy);
    }

    /// What a peer is to us from now on: whoever is told its routes is to be told again ([`Rib::retell`]).
    pub fn set_relation(&mut self, peer: PeerId, relation: Relation) {
        self.sources.set_relation(peer, relation);
    }

    /// The cluster that we reflect for from now on. What was taken before it was stays.
    pub fn set_cluster(&mut self, cluster: Ipv4Addr) {
        self.settings.cluster = cluster;
    }

    /// Our own addresses on a peer's session are these from now on.
    pub fn set_own_addresses(&mut self, peer: PeerId, addresses: Vec<IpAddr>) {
        self.sources.set_own_addresses(peer, addresses);
    }

    /// Paths that are kept of a peer, over all families.
    pub fn paths_of(&self, peer: PeerId) -> usize {
        self.sources.paths(peer).iter().sum::<u32>() as usize
    }

    /// Paths that are kept of a peer in one family.
    pub fn paths_in_family(&self, peer: PeerId, family: Family) -> usize {
        let counts = Family::ALL.into_iter().zip(self.sources.paths(peer));
        counts.into_iter().find(|(known, _)| *known == family).map_or(0, |(_, count)| count as usize)
    }

    fn touch(&mut self, destination: DestinationId) {
        if self.table.mark_dirty(destination) {
            self.dirty.push_back(destination);
        }
    }
}

#[cfg(test)]
mod tests;
