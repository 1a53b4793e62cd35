//! Which path is best, and by which step (RFC 4271 section 9.1.2.2, with RFC 4456 section 9 and RFC 9494 section 4.3).
//!
//! Paths are compared all together, step by step, as the RFC has it: comparing them two by two would let MED, which compares within
//! one neighbour AS alone, make the result depend on the order in which they came.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use crate::wire::Origin;

use super::source::Relation;

/// How paths are compared where the RFC leaves a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Preferences {
    /// Which MEDs are compared.
    pub med: MedScope,
    /// How many equal paths are used together; 1 for the best alone.
    pub most_paths: u8,
    /// What equal paths must have in common.
    pub likeness: Likeness,
}

/// Which MEDs are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MedScope {
    /// Those of one neighbour AS.
    SameNeighbour,
    /// All.
    Always,
}

/// What paths that are used together must have in common beside everything that is compared before their routers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Likeness {
    /// The neighbour AS.
    SameNeighbour,
    /// Nothing: their AS paths are equally long, that is enough ("as-path relax").
    Length,
}

impl Default for Preferences {
    fn default() -> Preferences {
        Preferences { med: MedScope::SameNeighbour, most_paths: 64, likeness: Likeness::Length }
    }
}

/// A step of the comparison, in the order in which they are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// There was no other.
    Only,
    /// Not kept of a peer that is away for long (RFC 9494).
    LongLivedStale,
    /// The higher LOCAL_PREF (section 9.1.1).
    LocalPref,
    /// It begins here.
    Local,
    /// a: the shorter AS_PATH.
    PathLength,
    /// b: the lower ORIGIN.
    Origin,
    /// c: the lower MULTI_EXIT_DISC.
    Med,
    /// d: eBGP before iBGP.
    External,
    /// e: the nearer next hop.
    Metric,
    /// f: the lower identifier, or ORIGINATOR_ID (RFC 4456 section 9).
    Router,
    /// Fewer reflectors passed (RFC 4456 section 9).
    Clusters,
    /// g: the lower address of the peer.
    Address,
    /// Of one peer, the lower path identifier (RFC 7911 leaves it open).
    PathId,
}

/// A path as the comparison sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// LLGR_STALE.
    pub long_lived_stale: bool,
    /// LOCAL_PREF.
    pub local_pref: u32,
    /// Steps of AS_PATH.
    pub path_length: u16,
    /// ORIGIN.
    pub origin: Origin,
    /// MULTI_EXIT_DISC.
    pub med: u32,
    /// The neighbour AS; 0 for our own.
    pub neighbour: u32,
    /// What the peer is to us.
    pub relation: Relation,
    /// How far the next hop is.
    pub metric: u32,
    /// ORIGINATOR_ID, or the peer's identifier.
    pub router: Ipv4Addr,
    /// Reflectors passed.
    pub clusters: u8,
    /// The peer's address.
    pub address: IpAddr,
    /// The path identifier.
    pub path_id: u32,
}

/// What came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The place of the best.
    pub best: usize,
    /// The step at which the last other one was out.
    pub step: Step,
    /// Places that are used together with it, it among them, in the order of the candidates.
    pub together: Vec<usize>,
    /// For each candidate the step at which it was out; `None` for the best.
    pub out_at: Vec<Option<Step>>,
}

struct Contest<'c> {
    candidates: &'c [Candidate],
    alive: Vec<usize>,
    out_at: Vec<Option<Step>>,
    last: Step,
}

impl Contest<'_> {
    /// Keeps those with the least value.
    fn least<K: Ord>(&mut self, step: Step, value: impl Fn(&Candidate) -> K) {
        let candidates = self.candidates;
        let of = |place: usize| candidates.get(place).map(&value);
        let least = self.alive.iter().filter_map(|place| of(*place)).min();
        self.keep(step, |place, _| of(place) == least);
    }

    fn keep(&mut self, step: Step, stays: impl Fn(usize, &[usize]) -> bool) {
        let before = std::mem::take(&mut self.alive);
        let (alive, out): (Vec<usize>, Vec<usize>) = before.iter().partition(|place| stays(**place, &before));
        for place in &out {
            if let Some(entry) = self.out_at.get_mut(*place) {
                *entry = Some(step);
                self.last = step;
            }
        }
        self.alive = alive;
    }

    /// One falls to another of the same neighbour AS with a lower MED.
    fn med(&mut self, scope: MedScope) {
        let candidates = self.candidates;
        let beats = |other: &Candidate, one: &Candidate| {
            let comparable = scope == MedScope::Always || other.neighbour == one.neighbour;
            comparable && other.med < one.med
        };
        self.keep(Step::Med, |place, alive| {
            let one = candidates.get(place);
            one.is_some_and(|one| {
                !alive.iter().filter_map(|other| candidates.get(*other)).any(|other| beats(other, one))
            })
        });
    }
}

/// The best of some paths; `None` of none.
pub fn decide(candidates: &[Candidate], preferences: &Preferences) -> Option<Decision> {
    if candidates.is_empty() {
        return None;
    }
    let alive: Vec<usize> = (0..candidates.len()).collect();
    let mut contest = Contest { candidates, alive, out_at: vec![None; candidates.len()], last: Step::Only };
    contest.least(Step::LongLivedStale, |path| path.long_lived_stale);
    contest.least(Step::LocalPref, |path| u32::MAX - path.local_pref);
    contest.least(Step::Local, |path| path.relation != Relation::Local);
    contest.least(Step::PathLength, |path| path.path_length);
    contest.least(Step::Origin, |path| path.origin);
    contest.med(preferences.med);
    contest.least(Step::External, |path| path.relation.is_internal());
    contest.least(Step::Metric, |path| path.metric);
    let equal = contest.alive.clone();
    contest.least(Step::Router, |path| path.router);
    contest.least(Step::Clusters, |path| path.clusters);
    contest.least(Step::Address, |path| path.address);
    contest.least(Step::PathId, |path| path.path_id);
    let best = *contest.alive.first()?;
    let neighbour = |place: &usize| candidates.get(*place).map(|path| path.neighbour);
    let alike = |place: &usize| preferences.likeness == Likeness::Length || neighbour(place) == neighbour(&best);
    let others = equal.into_iter().filter(|place| *place != best && alike(place));
    let mut together: Vec<usize> =
        std::iter::once(best).chain(others).take(preferences.most_paths.max(1).into()).collect();
    together.sort_unstable();
    Some(Decision { best, step: contest.last, together, out_at: contest.out_at })
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Step::Only => "the only path",
            Step::LongLivedStale => "not stale for long",
            Step::LocalPref => "higher local preference",
            Step::Local => "begins here",
            Step::PathLength => "shorter AS path",
            Step::Origin => "lower origin",
            Step::Med => "lower MED",
            Step::External => "eBGP before iBGP",
            Step::Metric => "nearer next hop",
            Step::Router => "lower router identifier",
            Step::Clusters => "fewer reflectors",
            Step::Address => "lower peer address",
            Step::PathId => "lower path identifier",
        })
    }
}
