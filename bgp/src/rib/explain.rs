//! Why a path is best, for a person who asks.

use std::fmt;

use crate::wire::{Attributes, NextHop, Nlri};

use super::Rib;
use super::change::Destination;
use super::decision::Step;
use super::source::PeerId;
use super::table::DestinationId;

/// A path and how it fared.
#[derive(Clone, Debug, PartialEq)]
pub struct Explained {
    /// Whom it comes from.
    pub peer: PeerId,
    /// The identifier that the peer gave it.
    pub path_id: u32,
    /// What is said of it.
    pub attributes: Attributes,
    /// Where it leads.
    pub hop: NextHop,
    /// Whether it is kept of a peer that is away.
    pub stale: bool,
    /// How it fared.
    pub outcome: Outcome,
}

/// How a path fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Best, and the step at which the last other was out.
    Best(Step),
    /// As good as the best but for its router: used together with it.
    Together(Step),
    /// Out at this step.
    Out(Step),
    /// Its next hop cannot be reached.
    Unreachable,
}

/// A piece of the table: destinations, and where the next piece begins.
pub type Page = (Vec<Destination>, Option<u32>);

impl Rib {
    /// All paths to a destination, the best first.
    pub fn explain(&self, nlri: &Nlri<'_>) -> Vec<Explained> {
        let id = self.keys.find(nlri).and_then(|key| self.table.find(&key));
        id.map_or_else(Vec::new, |id| self.explain_id(id))
    }

    /// What there are paths to in so many places of the table from one on, in no order. What changes between two pieces may be missing or stand twice:
    /// somebody who looks at a table of a million does not stop it.
    pub fn page(&self, first: u32, places: u32) -> Page {
        let end = first.saturating_add(places).min(self.table.bound());
        let destination = |id: DestinationId| {
            let key = self.table.key(id).filter(|_| self.table.paths(id).next().is_some())?;
            Some(Destination::from(self.keys.nlri(&key)))
        };
        let page = (first..end).map(DestinationId).filter_map(destination).collect();
        (page, Some(end).filter(|end| *end < self.table.bound()))
    }

    /// EVPN routes that there are, and some that were there: [`Rib::explain`] has no paths to those.
    pub fn evpn(&self) -> impl Iterator<Item = &[u8]> {
        self.keys.evpn()
    }

    fn explain_id(&self, id: DestinationId) -> Vec<Explained> {
        let (reachable, decision) = self.contest(id);
        let outcome = |peer: PeerId, path_id: u32| {
            let place = reachable.iter().position(|path| (path.peer, path.path_id) == (peer, path_id))?;
            let decision = decision.as_ref()?;
            let out_at = decision.out_at.get(place).copied().flatten();
            Some(match out_at {
                None => Outcome::Best(decision.step),
                Some(step) if decision.together.contains(&place) => Outcome::Together(step),
                Some(step) => Outcome::Out(step),
            })
        };
        let mut explained: Vec<Explained> = self
            .table
            .paths(id)
            .filter_map(|path| {
                let (attributes, hop) = self.sets.get(path.set)?;
                let outcome = outcome(path.peer, path.path_id).unwrap_or(Outcome::Unreachable);
                let stale = Rib::is_stale(path);
                Some(Explained { peer: path.peer, path_id: path.path_id, attributes, hop, stale, outcome })
            })
            .collect();
        explained.sort_by_key(|path| match path.outcome {
            Outcome::Best(_) => 0,
            Outcome::Together(_) => 1,
            Outcome::Out(_) => 2,
            Outcome::Unreachable => 3,
        });
        explained
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Best(step) => write!(f, "best: {step}"),
            Outcome::Together(step) => write!(f, "used too; not best: {step}"),
            Outcome::Out(step) => write!(f, "not best: {step}"),
            Outcome::Unreachable => f.write_str("its next hop cannot be reached"),
        }
    }
}
