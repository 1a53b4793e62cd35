//! THE JOURNEY, one function: facts → desired state → difference → kernel. Read this file first.
//!
//! [`Reconciler::turn`] is the table in ARCHITECTURE.md as code. It is called after every fact and when the trigger is
//! due; whatever happened, it does the same. One lease's change is the difference of one contribution; everything
//! else (start, drift, trouble, another uplink) is a look at the whole. It starts no task and owns no channel.

use backends::diff::diff;
use backends::rollout::Made;
use backends::room::least;
use backends::state::{Nexthop, Scope, Tag};
use backends::sum::Desired;
use backends::wireguard::Generation;
use backends::{Change, Cluster, KernelState, LinkName, Outcome, Plan, Uplink};
use ipam::PublicKey;
use kernel::wireguard::Session;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::neighbour_room::Crowd;
use crate::node::Node;
use crate::record::{Cause, Record};
use crate::trigger::{Moment, Trigger};
use crate::tunnel_keys::TunnelKeys;
pub use uplink::{Links, WantedUplink};

mod sessions;
mod uplink;

/// The kernel as the reconciler sees it: the real one, or the simulation's.
pub trait Kernel {
    /// What is there of ours.
    ///
    /// # Errors
    /// One sentence, when the kernel could not be asked.
    fn observe(&mut self, scope: &Scope) -> Result<KernelState, String>;

    /// Makes the changes; the first failure is named, the rest is tried.
    fn apply(&mut self, scope: &Scope, plan: &Plan) -> Outcome;

    /// Begins to make the changes, after those that were begun before; how that went, if it is done at once.
    fn begin(&mut self, scope: &Scope, plan: &Arc<Plan>) -> Option<Outcome> {
        Some(self.apply(scope, plan))
    }

    /// How that went which was begun last, once it is done.
    fn end(&mut self) -> Outcome {
        Outcome::default()
    }

    /// Takes a next hop whose path is dead out of all groups that have others, before the plan that says so for each route.
    fn leave(&mut self, _lost: Nexthop) {}

    /// What this node's WireGuard devices of a generation are known by; makes the key where there is none yet.
    ///
    /// # Errors
    /// One sentence: which file cannot be used, and why.
    fn tunnel_keys(&mut self, generation: Generation) -> Result<TunnelKeys, String>;

    /// Removes a key that nothing uses any more.
    fn forget_keys(&mut self, _generation: Generation, _key: PublicKey) {}

    /// How the encrypted sessions on these devices go.
    ///
    /// # Errors
    /// One sentence, when the kernel could not be asked.
    fn sessions(&mut self, _links: &[LinkName]) -> Result<Vec<Session>, String> {
        Ok(Vec::new())
    }

    /// The interface that reaches the other nodes, as it is now.
    ///
    /// # Errors
    /// One sentence: what was looked for and what there is.
    fn uplink(&mut self, wanted: &WantedUplink) -> Result<Uplink, String>;

    /// What is none of ours and lets pods' packets fall: one sentence each, with the command that opens it. A model has none.
    fn gates(&mut self, _scope: &Scope) -> Vec<String> {
        Vec::new()
    }

    /// Which of these settings are otherwise, and cannot be made so, and which give so many peers no room: one sentence each. A model
    /// has none.
    fn missed_settings(&mut self, _wanted: &BTreeMap<String, String>, _crowd: &Crowd) -> Vec<String> {
        Vec::new()
    }
}

/// Brings the kernel to what the node's facts say, and keeps it there.
pub struct Reconciler {
    /// The facts.
    pub node: Node,
    /// What happened, for those who ask.
    pub record: Record,
    target: Option<Target>,
    /// What the kernel is being brought to while the next is worked out.
    begun: Option<Arc<Plan>>,
    trigger: Trigger,
    /// Whether the uplink must be looked at again.
    uplink_due: bool,
    /// What was asked of it last.
    uplink_wanted: WantedUplink,
    /// How much of what is desired the kernel held last.
    made: Made,
    /// Whether the next look is for what was learnt.
    settling: bool,
    /// Until when the store may be silent before its memory counts; `None` once that is over.
    patience: Option<Moment>,
    /// When sessions that a change of the backend waits for are looked at again; `None`: none is waited for.
    sessions_due: Option<Moment>,
}

/// Where the kernel is to be brought, and what of it is ours.
struct Target {
    desired: Desired,
    scope: Scope,
}

/// From one configuration to another a node takes fewer steps that need nobody else.
const MOST_STEPS: usize = 4;

/// How long the store may take to speak before the last known state is used: longer than a healthy one ever needs, and than
/// kube-proxy does after a boot.
const PATIENCE: Duration = Duration::from_secs(5);

impl Reconciler {
    /// Nothing is done yet.
    pub fn new(node: Node, heartbeat: Duration, now: Moment) -> Reconciler {
        let trigger = Trigger::new(heartbeat);
        Reconciler {
            node,
            record: Record::default(),
            target: None,
            begun: None,
            trigger,
            uplink_due: true,
            uplink_wanted: WantedUplink::default(),
            made: Made::Nothing,
            settling: false,
            patience: Some(now + PATIENCE),
            sessions_due: None,
        }
    }

    /// The desired state, once everything needed for it is known.
    pub fn desired(&self) -> Option<&Desired> {
        self.target.as_ref().map(|target| &target.desired)
    }

    /// The MTU of pods, octets; `None` where it is less than their families' links must carry.
    pub fn pod_mtu(&self) -> Option<u32> {
        let cluster = self.desired()?.cluster();
        let mtu = cluster.pod_mtu();
        cluster.own.endpoints.families().all(|family| mtu >= least(family)).then_some(mtu)
    }

    /// What of the kernel is ours, once everything needed for it is known.
    pub fn scope(&self) -> Option<&Scope> {
        self.target.as_ref().map(|target| &target.scope)
    }

    /// Somebody saw something in the kernel that is not as desired.
    pub fn look_again(&mut self) {
        self.trigger.look_again();
    }

    /// All is learnt that others announce: what is left of an earlier life goes, which nobody broke.
    pub fn settle(&mut self) {
        self.settling = true;
        if let Some(target) = &self.target {
            self.node.touched_prefixes.extend(target.desired.widened());
        }
        self.trigger.look_again();
    }

    /// Links, addresses or default routes changed: the uplink may have.
    pub fn look_at_uplink(&mut self) {
        self.uplink_due = true;
    }

    /// When the next turn is due without any new fact.
    pub fn due(&self) -> Moment {
        let more = self.begun.is_some() || (self.target.is_some() && !self.node.touched_prefixes.is_empty());
        let more = more.then_some(Moment::ZERO);
        let node = &self.node;
        let others = [self.patience, self.sessions_due, node.ways_due(), node.half_due, node.reflection_due(), more];
        others.into_iter().flatten().fold(self.trigger.due(), Moment::min)
    }

    /// Does whatever the facts ask for now; and what follows from that it is done, where the backend is being changed.
    pub fn turn(&mut self, kernel: &mut impl Kernel, now: Moment) {
        for _ in 0..MOST_STEPS {
            self.step(kernel, now);
            let lags = self.lags(kernel, now);
            if !self.node.advance(if lags { self.made.min(Made::Lagging) } else { self.made }, now) {
                return;
            }
        }
    }

    fn step(&mut self, kernel: &mut impl Kernel, now: Moment) {
        if self.patience.take_if(|patience| now >= *patience).is_some() {
            self.node.remember(now);
        }
        // Before all else, and before it is known which routes these are: packets are being lost.
        self.node.lost().for_each(|lost| kernel.leave(lost));
        self.node.follow_lost();
        let due = self.trigger.begin(now);
        self.follow_uplink(kernel, now, due);
        self.learn_devices(kernel, now);
        self.learn_keys(kernel, now);
        self.node.follow_reflection(now);
        self.node.follow_ways(now);
        // A way may have come that has another key.
        self.learn_keys(kernel, now);
        self.node.follow_room();
        let Some((cluster, scope)) = self.take_change() else {
            let cause = if due && std::mem::take(&mut self.settling) { Cause::Change } else { Cause::Drift };
            // What we are to change ourselves is done before the look: nobody else is to be blamed for what is not there yet.
            if !due || cause == Cause::Drift {
                self.follow_leases(kernel, now);
            }
            return if due {
                self.look(kernel, now, cause)
            };
        };
        let desired = Desired::of(cluster, self.node.facts());
        self.node.touched_prefixes.clear();
        // Those that are gone are among the touched ones alone.
        let mut keys = self.node.table().keys();
        keys.append(&mut self.node.touched);
        self.record.complaints(&keys, self.node.table(), &desired);
        self.target = Some(Target { desired, scope });
        self.made = Made::Nothing;
        self.look(kernel, now, Cause::Change);
    }

    /// The uplink as it is now.
    fn follow_uplink(&mut self, kernel: &mut impl Kernel, now: Moment, due: bool) {
        let Some(wanted) = WantedUplink::of(&self.node) else { return };
        // A network that gets another family needs an uplink in it, and will not wait for the next look.
        let due = due || self.uplink_wanted != wanted || self.node.uplink().is_none();
        if !std::mem::take(&mut self.uplink_due) && !due {
            return;
        }
        let found = kernel.uplink(&wanted);
        let found = found.and_then(|uplink| self.node.suits_backend(&uplink).map(|()| uplink));
        let half = if found.is_err() { wanted.half(kernel) } else { None };
        self.uplink_wanted = wanted;
        self.record.uplink(&found, self.node.uplink());
        let was_missing = self.node.uplink_trouble.is_some();
        self.node.on_uplink(found, now);
        self.node.on_half_uplink(half, now);
        if was_missing && self.node.uplink_trouble.is_none() {
            // It is the same again, but what lived on it may be gone.
            self.trigger.look_again();
        }
    }

    /// Before anything is published: the MACs that our devices have already are the ones that peers know.
    fn learn_devices(&mut self, kernel: &mut impl Kernel, now: Moment) {
        // Asked first: a scope is not for nothing, and every turn comes by here.
        let Some(scope) = self.node.needs_devices().then(|| self.node.scope()).flatten() else { return };
        match kernel.observe(&scope) {
            Ok(state) => {
                self.record.found_foreign |= state.links.values().any(|link| link.tag == Tag::Adopted);
                self.node.on_devices(state.links);
                self.node.on_software_checksums(state.software_checksums);
            }
            Err(reason) => self.record.failed_to_look(&reason, now),
        }
    }

    /// Keys that devices need, and those that none needs any more.
    fn learn_keys(&mut self, kernel: &mut impl Kernel, now: Moment) {
        while let Some(generation) = self.node.missing_key() {
            let found = kernel.tunnel_keys(generation);
            let failed = found.is_err();
            self.node.on_keys(generation, found, now);
            if failed {
                return;
            }
        }
        for (generation, key) in self.node.take_obsolete_keys() {
            kernel.forget_keys(generation, key);
        }
    }

    /// The cluster, if what is desired of the kernel as a whole may have changed.
    fn take_change(&mut self) -> Option<(Cluster, Scope)> {
        if !std::mem::take(&mut self.node.changed) {
            return None;
        }
        // BGP tells of the node's ends of the overlay.
        self.node.touch_bgp();
        let (cluster, scope) = (self.node.cluster()?, self.node.scope()?);
        let same = self.target.as_ref().is_some_and(|t| *t.desired.cluster() == cluster && t.scope == scope);
        (!same).then_some((cluster, scope))
    }

    /// Some peers' leases changed: only their contributions are compared. No dump of the kernel.
    fn follow_leases(&mut self, kernel: &mut impl Kernel, now: Moment) {
        let changing = self.desired().is_some_and(|desired| desired.cluster().ways.is_some());
        if changing && self.made < Made::Lagging && !self.node.touched.is_empty() {
            // What the kernel refused a moment ago a route may need by now.
            return self.look(kernel, now, Cause::Lease);
        }
        let keys: BTreeSet<_> = std::mem::take(&mut self.node.touched);
        let prefixes = self.node.take_some_prefixes();
        let untouched = keys.is_empty() && prefixes.is_empty();
        let Some(Target { desired, .. }) = &mut self.target else { return };
        if untouched && !desired.is_behind(self.node.facts()) {
            return self.end(kernel, now);
        }
        let plan = Arc::new(desired.follow((&keys, &prefixes), self.node.facts()));
        self.record.complaints(&keys, self.node.table(), desired);
        self.record.routes(&prefixes, desired);
        self.end(kernel, now);
        let Some(Target { scope, .. }) = self.target.as_ref().filter(|_| !plan.is_empty()) else { return };
        match kernel.begin(scope, &plan) {
            Some(outcome) => self.applied(&plan, outcome, now),
            None => self.begun = Some(plan),
        }
    }

    /// What was begun ends before anything else is done to the kernel.
    fn end(&mut self, kernel: &mut impl Kernel, now: Moment) {
        if let Some(plan) = self.begun.take() {
            let outcome = kernel.end();
            self.applied(&plan, outcome, now);
        }
    }

    fn applied(&mut self, plan: &Plan, outcome: Outcome, now: Moment) {
        if !outcome.failures.is_empty() {
            // Whatever the kernel refused, the whole is compared soon: it may be in another state than we think.
            self.made = self.made.min(Made::Base);
            self.trigger.look_again();
        }
        self.record.half_refused = self.desired().and_then(|it| it.cluster().half_refused(&outcome.failures));
        self.record.applied(Cause::Lease, plan, outcome, now);
    }

    /// The whole: what is, compared with what should be.
    fn look(&mut self, kernel: &mut impl Kernel, now: Moment, cause: Cause) {
        self.end(kernel, now);
        let touched = std::mem::take(&mut self.node.touched);
        let prefixes = self.node.take_all_prefixes();
        let Some(Target { desired, scope }) = &mut self.target else {
            return self.trigger.done();
        };
        desired.follow((&touched, &prefixes), self.node.facts());
        self.record.complaints(&touched, self.node.table(), desired);
        self.record.routes(&prefixes, desired);
        let mut observed = match kernel.observe(scope) {
            Ok(observed) => observed,
            Err(reason) => {
                self.record.failed_to_look(&reason, now);
                self.made = Made::Nothing;
                return self.trigger.failed();
            }
        };
        // Routes of an earlier life stay until all is learnt again.
        desired.keep_unsettled(&mut observed, self.node.learnt());
        let plan = diff(&observed, desired.state());
        drop(observed);
        let outcome = if plan.is_empty() { Outcome::default() } else { kernel.apply(scope, &plan) };
        self.made = made(&outcome);
        // What only guards is tried again with the next look, and hurries nobody.
        if outcome.failures.iter().all(|failure| failure.change.only_guards()) {
            self.trigger.done()
        } else {
            self.trigger.failed()
        }
        self.record.half_refused = desired.cluster().half_refused(&outcome.failures);
        self.record.looked(cause, &plan, outcome, now);
        self.record.gates(kernel.gates(scope));
        let crowd = Crowd::of(desired.cluster(), self.node.table());
        self.record.missed_settings(kernel.missed_settings(&desired.state().sysctls, &crowd));
        if self.node.outgrew() {
            desired.pack();
        }
    }
}

/// How much of what is desired there is after such an outcome.
fn made(outcome: &Outcome) -> Made {
    let refused = || outcome.failures.iter().map(|failure| &failure.change).filter(|change| !change.only_guards());
    match refused().next() {
        None => Made::Whole,
        Some(_) if refused().all(Change::concerns_ways) => Made::Base,
        Some(_) => Made::Nothing,
    }
}

#[cfg(test)]
mod tests;
