//! [`Occurrences`]: what an operator must know, said when it begins — in Kubernetes Events on the Node object. Few: what needs a
//! person, and what is over again. It compares the facts after each turn with those after the last; it decides nothing.

use std::collections::VecDeque;
use std::time::Duration;

use ipam::LeaseKey;

use crate::node::Trouble;
use crate::reconcile::Reconciler;
use crate::store::talk::{Occurrence, Severity};
use crate::trigger::Moment;

/// How long the store may be away, or the kernel refuse something, before it is worth an Event.
const BRIEF: Duration = Duration::from_secs(10);

/// So many repairs in this time are a quarrel with another program, and not an accident.
const QUARREL: (usize, Duration) = (3, Duration::from_secs(600));

/// Peers whose faults are spelt out.
const SHOWN: usize = 3;

/// What was said so far.
#[derive(Debug, Default)]
pub struct Occurrences {
    unassigned: Option<String>,
    moved: Option<String>,
    clock: Option<String>,
    refused: Option<String>,
    kernel: Option<String>,
    peers: Vec<String>,
    installation: Vec<String>,
    gates: Vec<String>,
    /// Since when the store is away, and whether it refused at last.
    away: Option<(Moment, bool)>,
    /// When drift was found, of late.
    drifts: VecDeque<Moment>,
    drifts_seen: u64,
    taken_over: bool,
}

impl Occurrences {
    /// What is new since the last time.
    pub fn of(&mut self, reconciler: &Reconciler, now: Moment) -> Vec<Occurrence> {
        let node = &reconciler.node;
        let mut new = Vec::new();
        lasting(&mut self.unassigned, node.unassigned.as_ref(), "PodCIDRUnusable", &mut new);
        lasting(&mut self.clock, node.clock_trouble.as_ref(), "ClocksApart", &mut new);
        lasting(&mut self.moved, node.moved.as_ref(), "PodCIDRChanged", &mut new);
        lasting(&mut self.refused, node.network_trouble.as_ref(), "NetworkConfigRefused", &mut new);
        self.weigh_store(reconciler, now, &mut new);
        self.weigh_kernel(reconciler, now, &mut new);
        self.weigh_peers(reconciler, &mut new);
        self.weigh_neighbours(reconciler, &mut new);
        new
    }

    /// While the API is away nobody hears it; that it was is worth knowing afterwards.
    fn weigh_store(&mut self, reconciler: &Reconciler, now: Moment, new: &mut Vec<Occurrence>) {
        match &reconciler.node.store_trouble {
            Some(trouble) => self.away = Some((trouble.since, reconciler.node.store_refuses)),
            None => {
                let Some((since, refused)) = self.away.take() else { return };
                let lasted = now.saturating_sub(since);
                if lasted >= BRIEF {
                    let seconds = lasted.as_secs();
                    let was = if refused { "refused what this node must do" } else { "was unreachable" };
                    let message = format!("the API {was} for {seconds} s; pods kept their network meanwhile");
                    new.push(normal("StoreReachable", message));
                }
            }
        }
    }

    fn weigh_kernel(&mut self, reconciler: &Reconciler, now: Moment, new: &mut Vec<Occurrence>) {
        let record = &reconciler.record;
        if record.found_foreign && record.settled && !std::mem::replace(&mut self.taken_over, true) {
            let message = "devices and routes of another daemon (flannel) were taken over as they are; pods keep address \
                           and connections";
            new.push(normal("TakenOver", message.to_owned()));
        }
        let lasting_refusal = record.unfounded.is_some_and(|since| now.saturating_sub(since) >= BRIEF);
        let refusal = record.blind.as_ref().or(record.failures.first()).filter(|_| lasting_refusal);
        if refusal.is_some() && self.kernel.as_ref() != refusal {
            new.extend(refusal.map(|reason| warning("KernelRefuses", format!("the kernel refuses: {reason}"))));
        }
        self.kernel = refusal.cloned();
        if record.drifts != self.drifts_seen {
            self.drifts_seen = record.drifts;
            self.drifts.push_back(now);
        }
        let (many, period) = QUARREL;
        self.drifts.retain(|at| now.saturating_sub(*at) < period);
        if self.drifts.len() >= many {
            self.drifts.clear();
            let last =
                record.repairs.back().map_or_else(String::new, |repair| format!(", last by `{}`", repair.change));
            let message = format!(
                "another program keeps changing what is ours in the kernel: put back {many} times within {} min{last}; find \
                 it (`towpathctl status` has the list) and let it leave them alone",
                period.as_secs() / 60
            );
            new.push(warning("DriftRepaired", message));
        }
    }

    fn weigh_peers(&mut self, reconciler: &Reconciler, new: &mut Vec<Occurrence>) {
        let table = reconciler.node.table();
        // What the store says of a node names it; a key is for programs.
        let named = |(key, fault): (&LeaseKey, &String)| match table.get(key) {
            _ if fault.starts_with("node ") => fault.clone(),
            Some(lease) => format!("node {}: {fault}", lease.node),
            None => format!("lease {key}: {fault}"),
        };
        let faults: Vec<String> = reconciler.record.complaints.iter().map(named).collect();
        let unsaid: Vec<&str> = faults.iter().filter(|fault| !self.peers.contains(fault)).map(String::as_str).collect();
        if !unsaid.is_empty() {
            let shown = unsaid.iter().take(SHOWN).copied().collect::<Vec<_>>().join("; ");
            let more = unsaid.len().saturating_sub(SHOWN);
            let more = if more > 0 { format!("; and {more} more (`towpathctl status`)") } else { String::new() };
            new.push(warning("PeerUnusable", format!("not all nodes can be reached as they stand: {shown}{more}")));
        }
        self.peers = faults;
    }

    fn weigh_neighbours(&mut self, reconciler: &Reconciler, new: &mut Vec<Occurrence>) {
        let record = &reconciler.record;
        said_once(&mut self.installation, &record.installation, "CNIInstallation", new);
        said_once(&mut self.gates, &record.gates, "ForwardingBlocked", new);
    }
}

/// Of several troubles that last each is said when it begins.
fn said_once(said: &mut Vec<String>, troubles: &Vec<String>, reason: &'static str, new: &mut Vec<Occurrence>) {
    let unsaid = troubles.iter().filter(|trouble| !said.contains(trouble));
    new.extend(unsaid.map(|trouble| warning(reason, trouble.clone())));
    said.clone_from(troubles);
}

/// A trouble that lasts is said when it begins or has another reason.
fn lasting(said: &mut Option<String>, trouble: Option<&Trouble>, reason: &'static str, new: &mut Vec<Occurrence>) {
    let sentence = trouble.map(|trouble| trouble.reason.clone());
    if *said == sentence {
        return;
    }
    new.extend(sentence.iter().map(|sentence| warning(reason, sentence.clone())));
    *said = sentence;
}

fn warning(reason: &'static str, message: String) -> Occurrence {
    Occurrence { severity: Severity::Warning, reason, message }
}

fn normal(reason: &'static str, message: String) -> Occurrence {
    Occurrence { severity: Severity::Normal, reason, message }
}

#[cfg(test)]
mod tests;
