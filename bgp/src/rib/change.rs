//! [`Change`]: what is best now for one destination, for whoever brings it to the kernel; and how far next hops are.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use crate::wire::{NextHop, Nlri};

use super::decision::{Candidate, Decision, Step, decide};
use super::sets::{SetId, Sets, mark};
use super::source::PeerId;
use super::table::{CHANGED, DestinationId, Path, STALE, UNREACHABLE};
use super::{Relation, Rib};

/// What is best now for a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The destination, as bytes of a list of routes are read: a prefix, or an EVPN route.
    pub destination: Destination,
    /// The paths that are used together, each with whom it is from; none when there is no way any more. Changes that lead to the same
    /// places mostly share it.
    pub paths: Arc<[(PeerId, NextHop)]>,
}

/// What a change is about, owned.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Destination {
    /// A prefix.
    Prefix(ipnet::IpNet),
    /// An EVPN route, type and length first.
    Evpn(Box<[u8]>),
}

impl Destination {
    /// The same as it is asked for.
    pub fn nlri(&self) -> Nlri<'_> {
        match self {
            Destination::Prefix(net) => Nlri::Prefix(*net),
            Destination::Evpn(route) => Nlri::Evpn(route),
        }
    }
}

impl From<Nlri<'_>> for Destination {
    fn from(nlri: Nlri<'_>) -> Destination {
        match nlri {
            Nlri::Prefix(net) => Destination::Prefix(net),
            Nlri::Evpn(route) => Destination::Evpn(route.into()),
        }
    }
}

/// A destination in a flush: whether its best path is another one, or says something else.
#[derive(Clone, Copy)]
pub(super) struct Touched {
    pub id: DestinationId,
    pub best_changed: bool,
}

/// Where the last destination of a flush led: the next mostly leads there too.
#[derive(Default)]
pub(super) struct Ways {
    through: Vec<(PeerId, SetId)>,
    lead_to: Arc<[(PeerId, NextHop)]>,
}

impl Ways {
    fn of(&mut self, paths: impl Iterator<Item = (PeerId, SetId)> + Clone, sets: &Sets) -> Arc<[(PeerId, NextHop)]> {
        if !paths.clone().eq(self.through.iter().copied()) {
            self.through.clear();
            self.through.extend(paths);
            let hop = |(peer, set): &(PeerId, SetId)| Some((*peer, sets.hop(*set)?));
            let hops = self.through.iter().filter_map(hop);
            if !hops.clone().eq(self.lead_to.iter().copied()) {
                self.lead_to = hops.collect();
            }
        }
        Arc::clone(&self.lead_to)
    }
}

impl Rib {
    /// Decides a destination; what is best now is appended to `changes`.
    pub(super) fn decide(&mut self, id: DestinationId, (changes, ways): (&mut Vec<Change>, &mut Ways)) -> Touched {
        self.note_reachability(id);
        let Some(destination) = self.table.key(id).map(|key| self.keys.nlri(&key).into()) else {
            return Touched { id, best_changed: true };
        };
        // Whatever was touched is told: one of two paths that were used together may be gone though the best is the same.
        if let Some(only) = self.only_path(id) {
            let paths = ways.of(std::iter::once((only.peer, only.set)), &self.sets);
            changes.push(Change { destination, paths });
            return Touched { id, best_changed: self.table.has_moved(id) || only.flags & CHANGED != 0 };
        }
        let (paths, decision) = self.contest(id);
        let best = decision.as_ref().and_then(|decision| paths.get(decision.best)).copied();
        let same = |head: &Path, best: &Path| (head.peer, head.path_id) == (best.peer, best.path_id);
        let best_changed = self.table.has_moved(id)
            || match (self.table.best(id), best) {
                (Some(head), Some(best)) => !same(head, &best) || best.flags & CHANGED != 0,
                _ => true,
            };
        let together = decision.as_ref().map_or(&[][..], |decision| &decision.together);
        let together = together.iter().filter_map(|place| paths.get(*place));
        let paths = ways.of(together.map(|path| (path.peer, path.set)), &self.sets);
        changes.push(Change { destination, paths });
        if let Some(best) = best {
            self.table.promote(id, best);
        }
        Touched { id, best_changed }
    }

    /// The paths of a destination that lead somewhere, and what comes out of comparing them.
    pub(super) fn contest(&self, id: DestinationId) -> (Vec<Path>, Option<Decision>) {
        if let Some(path) = self.only_path(id) {
            return (vec![path], Some(Decision { best: 0, step: Step::Only, together: vec![0], out_at: vec![None] }));
        }
        let paths: Vec<Path> = self.table.paths(id).copied().filter(|path| self.metric(path).is_some()).collect();
        let candidates: Vec<Candidate> = paths.iter().filter_map(|path| self.candidate(path)).collect();
        let decision = decide(&candidates, &self.settings.preferences);
        (paths, decision)
    }

    /// Notes with each path whether its next hop can be reached.
    fn note_reachability(&mut self, id: DestinationId) {
        // What could not be reached a while ago is still marked so, though nothing is known to be out of reach any more.
        if self.metrics.is_empty() && self.table.paths(id).all(|path| path.flags & UNREACHABLE == 0) {
            return;
        }
        let paths: Vec<Path> = self.table.paths(id).copied().collect();
        for path in paths {
            let unreachable = if self.metric(&path).is_none() { UNREACHABLE } else { 0 };
            self.table.flag(id, (path.peer, path.path_id), path.flags & !UNREACHABLE | unreachable);
        }
    }

    /// The path of a destination with one, whose next hop nobody looks for: there is nothing to compare.
    fn only_path(&self, id: DestinationId) -> Option<Path> {
        let mut paths = self.table.paths(id);
        let first = paths.next().filter(|_| self.metrics.is_empty())?;
        paths.next().is_none().then_some(*first)
    }

    /// How far the next hop of a path is: 0 when nobody looked; `None` when it cannot be reached.
    fn metric(&self, path: &Path) -> Option<u32> {
        if self.metrics.is_empty() || path.peer == PeerId::LOCAL {
            return Some(0);
        }
        let hop = self.sets.hop(path.set)?;
        self.metrics.get(&hop.router()).copied().unwrap_or(Some(0))
    }

    fn candidate(&self, path: &Path) -> Option<Candidate> {
        let summary = self.sets.summary(path.set)?;
        let source = self.sources.get(path.peer);
        let local = (self.settings.identifier, IpAddr::from(self.settings.identifier));
        let (identifier, address) = source.map_or(local, |source| (source.identifier, source.address));
        Some(Candidate {
            long_lived_stale: summary.is_marked(mark::LLGR_STALE),
            local_pref: summary.local_pref,
            path_length: summary.path_length,
            origin: summary.origin,
            med: summary.med,
            neighbour: summary.neighbour,
            relation: source.map_or(Relation::Local, |source| source.relation),
            metric: self.metric(path)?,
            router: summary.originator.unwrap_or(identifier),
            clusters: summary.clusters,
            address,
            path_id: path.path_id,
        })
    }

    /// Somebody looked for a next hop: this far it is, or `None` when it cannot be reached.
    pub fn set_metric(&mut self, hop: IpAddr, metric: Option<u32>) {
        // What is not known is as near as can be, and with nothing known there is nothing to look up.
        let before = match metric {
            Some(0) => self.metrics.remove(&hop).unwrap_or(Some(0)),
            metric => self.metrics.insert(hop, metric).unwrap_or(Some(0)),
        };
        if before == metric {
            return;
        }
        let through = |path: &Path| self.sets.hop(path.set).is_some_and(|its| its.router() == hop);
        let ids: Vec<_> = self.table.ids().filter(|id| self.table.paths(*id).any(through)).collect();
        ids.into_iter().for_each(|id| self.touch(id));
    }

    /// The addresses that routes lead to, each once.
    pub fn next_hops(&self) -> BTreeSet<IpAddr> {
        self.sets.hops().map(NextHop::router).collect()
    }

    /// Whether a path is stale, for people.
    pub(super) fn is_stale(path: &Path) -> bool {
        path.flags & STALE != 0
    }
}
