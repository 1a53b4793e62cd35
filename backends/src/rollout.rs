//! [`Position`]: where a node stands on the way from one [`Carrier`] to another, and what follows: by which ways it must be able
//! to receive ([`Position::held`]), by which it sends to whom ([`Position::choice`]), and what it may say next
//! ([`Position::next`]). No step takes time or memory: all follows from leases, configuration and what the kernel holds.
//!
//! A node (1) first holds what the new way needs, then says that this is its target; (2) says that it is ready, once all say that
//! they have the same target and its kernel has what it needs of each; (3) sends by the target to whoever is ready; (4) once all
//! are, says that this is its main way; (5) drops the old one when it is nobody's any more. In the state of every node:
//!
//! * Whoever sends by a way says so before: it is its main one, or its target.
//! * Nobody begins to send to a node by a target before that node, having seen that target or a later word, said that it is ready.
//! * Nobody drops a way before each other node, having seen the last promise of it, says that it neither uses nor wants it.
//!
//! "Having seen" is told from clocks, so that it does not matter which lease is known how late (docs/adr/0017-the-way-is-changed-by-leases.md).

use ipam::table::Stance;
use ipam::{Carrier, Lease, LeaseTable, Rollout};
use std::collections::BTreeSet;

/// What a node says of its ways; its own data aside, which is the daemon's to add.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// By which it may send to anybody.
    pub main: Carrier,
    /// By which it wants to.
    pub target: Carrier,
    /// Whether it receives by that from everybody.
    pub ready: bool,
    /// Its clock.
    pub clock: u64,
    /// The other ways by which it can receive, and the clock when others were last told that they may use it; 0: never.
    pub spares: Vec<(Carrier, u64)>,
}

/// How much of what is desired the kernel holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Made {
    /// Not known, or not even what the node itself needs.
    Nothing,
    /// What the node itself needs, by all its ways.
    Base,
    /// And all else, but by the target some peer cannot be reached.
    Lagging,
    /// All, and by the target every peer can be reached.
    Whole,
}

/// A node has few ways at a time; of more that others say they use none is taken up.
const MOST_WAYS: usize = 6;

impl Position {
    /// Of a node that says nothing yet: what all others use, if that is one thing, so that they reach it at once.
    pub fn first(target: &Carrier, table: &LeaseTable) -> Position {
        let mains: BTreeSet<Option<&Carrier>> = table.stances().map(main_of).collect();
        let main = match mains.into_iter().collect::<Vec<_>>().as_slice() {
            [Some(main)] => (*main).clone(),
            _ => target.clone(),
        };
        let elsewhere = main != *target;
        let clock = latest(table) + u64::from(elsewhere);
        let spares = if elsewhere { vec![(target.clone(), 0)] } else { Vec::new() };
        Position { main, target: target.clone(), ready: !elsewhere, clock, spares }
    }

    /// As a lease tells it.
    pub fn of(rollout: &Rollout) -> Position {
        let spares = rollout.spares.iter().map(|spare| (spare.carrier.clone(), spare.promised)).collect();
        let (main, target) = (rollout.main.clone(), rollout.target.clone());
        Position { main, target, ready: rollout.ready, clock: rollout.clock, spares }
    }

    /// The ways by which this node must be able to receive: the target, the main one, those that it promised, and those that
    /// others use.
    pub fn held(&self, target: &Carrier, table: &LeaseTable) -> Vec<Carrier> {
        let mut held = vec![target.clone()];
        let own = [&self.main, &self.target].into_iter().chain(self.spares.iter().map(|(carrier, _)| carrier));
        let others = table.stances().filter_map(main_of);
        for carrier in own.filter(|carrier| self.must_keep(carrier, table)).chain(others) {
            if !held.contains(carrier) && held.len() < MOST_WAYS {
                held.push(carrier.clone());
            }
        }
        held
    }

    /// By which of the ways that it holds this node sends to a peer; `None`: they have none in common.
    pub fn choice<'h>(&self, held: &'h [Carrier], peer: &Lease) -> Option<&'h Carrier> {
        let target = held.first()?;
        let stance = Stance::of(peer);
        if *target != self.main && *target == self.target && self.is_ready(&stance) {
            return Some(target);
        }
        let of_ours = |wanted: &Carrier| held.iter().find(|carrier| *carrier == wanted);
        match &peer.rollout {
            Some(rollout) => {
                // Its own main way it keeps as long as it says so, whoever knows of whom.
                of_ours(&self.main).filter(|main| has_promised(rollout, main)).or_else(|| of_ours(&rollout.main))
            }
            None => {
                let main = of_ours(&self.main).filter(|main| says(&stance, main));
                main.or_else(|| held.iter().find(|carrier| says(&stance, carrier)))
            }
        }
    }

    /// What this node may say next, with so much in its kernel; the same when there is nothing new to say.
    pub fn next(&self, target: &Carrier, table: &LeaseTable, made: Made) -> Position {
        let mut next = self.clone();
        if made == Made::Nothing {
            return next;
        }
        if *target != self.target {
            // By a target that is given up nothing may be sent any more; it is by the main way that all is sent then.
            if self.target == self.main || made >= Made::Lagging {
                next.turn_to(target, latest(table));
            }
        } else if made == Made::Whole && table.stances().all(|stance| self.wants_the_same(stance)) {
            let changing = self.main != *target || table.stances().any(is_changing);
            if changing && (!self.ready || latest(table) > self.clock) {
                (next.ready, next.clock) = (true, self.clock.max(latest(table)));
            } else if self.main != *target && table.stances().all(|stance| self.is_ready(stance)) {
                next.spares.retain(|(carrier, _)| carrier != target);
                next.spares.push((std::mem::replace(&mut next.main, target.clone()), self.clock));
            }
        }
        let held = next.held(target, table);
        next.spares.retain(|(carrier, _)| held.contains(carrier));
        for carrier in held {
            if carrier != next.main && !next.spares.iter().any(|(spare, _)| *spare == carrier) {
                next.spares.push((carrier, 0));
            }
        }
        next
    }

    /// What this node waits for of another before it can go on.
    pub fn waits_for(&self, peer: &Lease) -> Option<Wait> {
        let stance = Stance::of(peer);
        if !self.wants_the_same(&stance) {
            return Some(if peer.rollout.is_some() { Wait::Target } else { Wait::Silent });
        }
        if self.main == self.target {
            return is_changing(&stance).then_some(Wait::End);
        }
        (self.ready && !self.is_ready(&stance)).then_some(Wait::Ready)
    }

    fn turn_to(&mut self, target: &Carrier, latest: u64) {
        let before = self.target.clone();
        let promised = self.promised(&before);
        self.spares.retain(|(carrier, _)| *carrier != before);
        if before != self.main {
            self.spares.push((before, promised));
        }
        self.target = target.clone();
        self.ready = *target == self.main;
        self.clock = self.clock.max(latest) + 1;
    }

    /// The clock when others were last told that they may send by it.
    fn promised(&self, carrier: &Carrier) -> u64 {
        if *carrier == self.main || (*carrier == self.target && self.ready) {
            return self.clock;
        }
        self.spares.iter().find(|(spare, _)| spare == carrier).map_or(0, |(_, promised)| *promised)
    }

    fn must_keep(&self, carrier: &Carrier, table: &LeaseTable) -> bool {
        let promised = self.promised(carrier);
        let done_with = |stance: &Stance| match stance {
            Stance::Silent { .. } => !says(stance, carrier),
            Stance::Told { main, target, clock, .. } => {
                main != carrier && (promised == 0 || (target == main && *clock >= promised))
            }
        };
        *carrier == self.main || !table.stances().all(done_with)
    }

    fn wants_the_same(&self, stance: &Stance) -> bool {
        match stance {
            Stance::Told { target, .. } => *target == self.target,
            // Of two ways that it may mean it is the old one.
            Stance::Silent { .. } => {
                says(stance, &self.target) && (self.main == self.target || !says(stance, &self.main))
            }
        }
    }

    /// Whether one with this stance can be sent to by our target.
    fn is_ready(&self, stance: &Stance) -> bool {
        match stance {
            Stance::Told { main, target, ready, clock, .. } => {
                (*main == self.target || (*target == self.target && *ready)) && *clock >= self.clock
            }
            Stance::Silent { .. } => self.wants_the_same(stance),
        }
    }
}

/// What a node waits for of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// That it has the same target.
    Target,
    /// The same, of one that says nothing: flannel's, which must be restarted with the new configuration.
    Silent,
    /// That it is ready.
    Ready,
    /// That it has come to its end too.
    End,
}

/// The greatest clock of the others.
fn latest(table: &LeaseTable) -> u64 {
    let clock = |stance: &Stance| match stance {
        Stance::Told { clock, .. } => *clock,
        Stance::Silent { .. } => 0,
    };
    table.stances().map(clock).max().unwrap_or(0)
}

fn main_of(stance: &Stance) -> Option<&Carrier> {
    match stance {
        Stance::Told { main, .. } => Some(main),
        Stance::Silent { .. } => None,
    }
}

fn is_changing(stance: &Stance) -> bool {
    matches!(stance, Stance::Told { settled: false, .. })
}

/// Whether others were told that they may send by it.
fn has_promised(rollout: &Rollout, carrier: &Carrier) -> bool {
    let spare = || rollout.spare(carrier).is_some_and(|spare| spare.promised > 0);
    rollout.main == *carrier || (rollout.target == *carrier && rollout.ready) || spare()
}

/// Whether flannel's words may mean this way.
fn says(stance: &Stance, carrier: &Carrier) -> bool {
    match stance {
        Stance::Silent { backend, vni } => carrier.fits_words(backend, *vni),
        Stance::Told { main, .. } => main == carrier,
    }
}

#[cfg(test)]
mod tests;
