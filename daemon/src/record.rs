//! [`Record`]: what happened, for status, metrics, readiness and the log. It decides nothing.
//!
//! Everything is logged when it becomes true and once: what was put back, what the kernel refuses, which lease is unusable.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use backends::sum::Desired;
use backends::{Change, Outcome, Plan, Uplink};
use ipam::{Family, LeaseKey, LeaseTable};
use ipnet::IpNet;
use kernel::wireguard::Session;

use crate::bfd::Tally;
use crate::trigger::Moment;

/// Why something was done to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// What this node needs changed: start, uplink, network, own lease.
    Change,
    /// A peer's lease changed.
    Lease,
    /// A look at the whole without a reason of our own: what differs was changed by somebody else.
    Drift,
}

/// One thing that somebody else broke and that was put back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    /// When.
    pub at: Moment,
    /// The change, as a command.
    pub change: String,
}

/// A file that the daemon keeps on the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LocalFile {
    /// `subnet.env`: without it no plugin can give a pod an address.
    Subnet,
    /// The memory of the store, for the next start.
    State,
}

/// How many repairs are remembered, and how many changes of one look are spelt out in the log.
const REMEMBERED: usize = 32;

/// What happened.
#[derive(Debug, Default)]
pub struct Record {
    /// Looks at the whole kernel.
    pub looks: u64,
    /// When the last was.
    pub last_look: Option<Moment>,
    /// Changes made to the kernel.
    pub changes: u64,
    /// When the last was made.
    pub last_change: Option<Moment>,
    /// Changes that the kernel refused.
    pub refusals: u64,
    /// What the kernel refuses now: one sentence each. Empty when it is as desired.
    pub failures: Vec<String>,
    /// The only family that these are about, where this node has another, which goes on.
    pub half_refused: Option<Family>,
    /// Settings that only guard, and cannot be made: one sentence each.
    pub unguarded: Vec<String>,
    /// Why the kernel could not even be looked at.
    pub blind: Option<String>,
    /// Things put back since the start.
    pub repaired: u64,
    /// The last of them.
    pub repairs: VecDeque<Repair>,
    /// Whether the whole has been as desired since the start.
    pub settled: bool,
    /// Whether what the node itself needs has been as desired since the start, whatever became of some peer's route.
    pub founded: bool,
    /// Whether devices were found at the start that another program had made under the names of ours: flannel's.
    pub found_foreign: bool,
    /// Since when the kernel cannot be looked at, or refuses something that the node itself needs.
    pub unfounded: Option<Moment>,
    /// How many looks found something that somebody else had changed.
    pub drifts: u64,
    /// Sessions that are not agreed upon yet and that a change of the backend waits for.
    pub sessionless: Vec<Session>,
    /// What is wrong with peers' leases, by key.
    pub complaints: BTreeMap<LeaseKey, String>,
    /// Other programs' firewalls that let pods' packets fall: one sentence each.
    pub gates: Vec<String>,
    /// Kernel settings that are not as they should be and cannot be written: one sentence each.
    pub missed_settings: Vec<String>,
    /// What is wrong with the plugin and the configuration that the container runtime is given: one sentence each.
    pub installation: Vec<String>,
    /// Why BGP peers that this node needs are not up: one sentence each.
    pub missing_peers: Vec<String>,
    /// Pods that keep another MTU, and paths that carry less: one sentence each.
    pub pods: Vec<String>,
    /// Why routes that were announced are not taken: one sentence each.
    pub refused_routes: BTreeMap<IpNet, String>,
    /// What BFD counts, once it was wanted.
    pub bfd: Option<Arc<Tally>>,
    /// What cannot be written to disk now: one sentence each.
    pub unwritten: BTreeMap<LocalFile, String>,
}

/// Refused routes that one change spells out in the log.
const ROUTES_SHOWN: usize = 8;

impl Record {
    /// Whether the kernel is as desired, as far as is known.
    pub fn converged(&self) -> bool {
        self.settled && self.failures.is_empty() && self.blind.is_none()
    }

    /// A look at the whole ended.
    pub fn looked(&mut self, cause: Cause, plan: &Plan, outcome: Outcome, now: Moment) {
        self.looks += 1;
        self.last_look = Some(now);
        self.blind = None;
        let drift = cause == Cause::Drift && self.converged();
        let half = self.half_refused.is_some();
        self.settled |= half || outcome.failures.iter().all(|failure| failure.change.only_guards());
        let bearable = |change: &Change| half || change.concerns_ways() || change.only_guards();
        if outcome.failures.iter().all(|failure| bearable(&failure.change)) {
            self.founded = true;
            self.unfounded = None;
        } else {
            self.unfounded.get_or_insert(now);
        }
        if plan.is_empty() {
            self.failures.clear();
            self.unguarded.clear();
            return;
        }
        if drift {
            self.repaired(plan, &outcome, now);
        } else if outcome.done > 0 {
            tracing::info!("made {} changes to bring the kernel to what is desired", outcome.done);
        }
        self.applied(cause, plan, outcome, now);
    }

    /// Changes were made.
    pub fn applied(&mut self, cause: Cause, plan: &Plan, outcome: Outcome, now: Moment) {
        tracing::debug!("{cause:?}: {} changes\n{plan}", plan.changes.len());
        self.changes += outcome.done as u64;
        self.refusals += outcome.failures.len() as u64;
        if outcome.done > 0 {
            self.last_change = Some(now);
        }
        let sentence =
            |failure: &backends::Failure| format!("{} (by `{}`)", failure.reason, first_line(&failure.change));
        let (guards, needed): (Vec<_>, Vec<_>) = outcome.failures.iter().partition(|it| it.change.only_guards());
        // Leases bring none.
        if cause != Cause::Lease {
            let unguarded: Vec<String> = guards.into_iter().map(sentence).collect();
            if let Some(first) = unguarded.first().filter(|_| unguarded != self.unguarded) {
                tracing::warn!("a setting that guards the tunnel cannot be made: {first}");
            }
            self.unguarded = unguarded;
        }
        let failures: Vec<String> = needed.into_iter().map(sentence).collect();
        if let Some(first) = failures.first().filter(|_| failures != self.failures) {
            let more = if failures.len() > 1 { format!(", and {} more", failures.len() - 1) } else { String::new() };
            tracing::error!("the kernel refuses: {first}{more}; it is tried again");
        }
        self.failures = failures;
    }

    fn repaired(&mut self, plan: &Plan, outcome: &Outcome, now: Moment) {
        // Failures come in the plan's order: what the kernel refused was not put back.
        let mut refused = outcome.failures.iter().map(|failure| &failure.change).peekable();
        let made = plan.changes.iter().filter(|change| refused.next_if(|it| it == change).is_none());
        // A firewall that came, or that forgot us, broke nothing of ours.
        let (passages, made): (Vec<_>, Vec<_>) =
            made.partition(|change| matches!(change, Change::PassageSet(_) | Change::PassageDelete(_)));
        for change in passages {
            tracing::info!("iptables' chain FORWARD drops what is forwarded; before that it accepts: {change}");
        }
        let count = made.len();
        self.drifts += u64::from(count > 0);
        self.repaired += count as u64;
        for change in made.into_iter().take(REMEMBERED) {
            let change = first_line(change);
            tracing::warn!("somebody changed what is ours; put back: {change}");
            self.repairs.push_back(Repair { at: now, change });
        }
        if count > REMEMBERED {
            tracing::warn!("and {} more", count - REMEMBERED);
        }
        self.repairs.drain(..self.repairs.len().saturating_sub(REMEMBERED));
    }

    /// The kernel could not be looked at.
    pub fn failed_to_look(&mut self, reason: &str, now: Moment) {
        self.unfounded.get_or_insert(now);
        if self.blind.as_deref() != Some(reason) {
            tracing::error!("the kernel's state cannot be read: {reason}");
            self.blind = Some(reason.to_owned());
        }
    }

    /// Other programs' firewalls were looked at.
    pub fn gates(&mut self, gates: Vec<String>) {
        gates.iter().filter(|gate| !self.gates.contains(gate)).for_each(|gate| tracing::warn!("{gate}"));
        if gates.is_empty() && !self.gates.is_empty() {
            tracing::info!("no other program's firewall drops pods' packets any more");
        }
        self.gates = gates;
    }

    /// Settings were looked at: those that cannot be made.
    pub fn missed_settings(&mut self, missed: Vec<String>) {
        missed.iter().filter(|it| !self.missed_settings.contains(it)).for_each(|it| tracing::warn!("{it}"));
        self.missed_settings = missed;
    }

    /// A file was written, or could not be.
    pub fn wrote(&mut self, file: LocalFile, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => {
                if self.unwritten.remove(&file).is_some() {
                    let name = match file {
                        LocalFile::Subnet => "the subnet file",
                        LocalFile::State => "the state file",
                    };
                    tracing::info!("{name} is written again");
                }
            }
            Err(sentence) if self.unwritten.get(&file) == Some(&sentence) => {}
            Err(sentence) => {
                tracing::error!("{sentence}");
                self.unwritten.insert(file, sentence);
            }
        }
    }

    /// The uplink was looked at: another one is worth a line.
    pub fn uplink(&self, found: &Result<Uplink, String>, before: Option<&Uplink>) {
        // What else is on its link shows in the ways of the peers.
        let said = |uplink: &Uplink| (uplink.link, uplink.mtu, uplink.local, uplink.public);
        if let Ok(now) = found
            && before.map(said) != Some(said(now))
        {
            tracing::info!("uplink {}: MTU {}, local {}, public {}", now.link, now.mtu, now.local, now.public);
        }
    }

    /// Something about these leases changed: says what is wrong with them now, once, and what is mended.
    pub fn complaints(&mut self, keys: &BTreeSet<LeaseKey>, table: &LeaseTable, desired: &Desired) {
        for key in keys {
            let own = table.own() == Some(key);
            match table.fault(key).or_else(|| desired.fault(key)).filter(|_| !own) {
                Some(fault) if self.complaints.get(key) != Some(&fault) => {
                    let node = table.get(key).map_or_else(String::new, |lease| format!(" of node {}", lease.node));
                    tracing::warn!("lease {key}{node}: {fault}");
                    self.complaints.insert(key.clone(), fault);
                }
                Some(_) => {}
                None => {
                    if self.complaints.remove(key).is_some() {
                        tracing::info!("lease {key}: no fault any more");
                    }
                }
            }
        }
    }

    /// What became of learnt prefixes.
    pub fn routes(&mut self, prefixes: &[IpNet], desired: &Desired) {
        if prefixes.is_empty() {
            return;
        }
        let refused = desired.refused().map(|(prefix, reason)| (*prefix, reason.to_owned())).collect();
        let before = std::mem::replace(&mut self.refused_routes, refused);
        let fresh = self.refused_routes.iter().filter(|(prefix, reason)| before.get(prefix) != Some(reason));
        for (_, reason) in fresh.take(ROUTES_SHOWN) {
            tracing::warn!("BGP: {reason}");
        }
    }
}

/// A change in one line: a ruleset is too long to repeat.
fn first_line(change: &Change) -> String {
    match change {
        Change::RulesetSet(Some(_)) => "the whole nftables table (nft list table inet towpath)".to_owned(),
        change => change.to_string(),
    }
}
