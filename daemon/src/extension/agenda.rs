//! [`Agenda`]: which command is next. It knows what has been done and what failed; it runs nothing and has no clock.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ipam::LeaseKey;
use tokio::time::Instant;

use super::Report;
use super::orders::{Call, Orders};

/// How long until a command that failed is tried again: doubled each time, up to the second.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// How often a peer's removal is tried: what cannot be undone must not be tried for ever.
const REMOVALS: u32 = 10;

/// What a command is run for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    PreStartup,
    PostStartup,
    Remove(LeaseKey),
    Add(LeaseKey),
}

impl Step {
    /// Its key in net-conf.json.
    pub fn name(&self) -> &'static str {
        match self {
            Step::PreStartup => "PreStartupCommand",
            Step::PostStartup => "PostStartupCommand",
            Step::Add(_) => "SubnetAddCommand",
            Step::Remove(_) => "SubnetRemoveCommand",
        }
    }
}

/// What to do now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Run(Step, Call),
    /// Nothing before then.
    At(Instant),
    Idle,
}

/// What has been done.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    /// What succeeded last, by what it was for.
    done: BTreeMap<Step, Call>,
    output: Option<String>,
    failing: BTreeMap<Step, Failing>,
    /// How a peer for which something was done is taken back, once it is gone.
    undo: BTreeMap<LeaseKey, Option<Call>>,
}

#[derive(Debug)]
struct Failing {
    call: Call,
    times: u32,
    again: Instant,
    sentence: String,
}

impl Agenda {
    /// The next command: this node's own first, then those for peers that are gone, then those for peers that are there.
    pub fn next(&mut self, orders: &Orders, now: Instant) -> Next {
        self.forget(orders);
        let mut earliest: Option<Instant> = None;
        for (step, call) in self.due(orders) {
            match self.failing.get(&step).filter(|failing| failing.call == call) {
                Some(failing) if failing.again > now => {
                    earliest = Some(earliest.map_or(failing.again, |earliest| earliest.min(failing.again)));
                }
                _ => {
                    if let Step::Add(key) = &step
                        && let Some([_, remove]) = orders.peers.get(key)
                    {
                        // From now on something may have been done for it, even if it fails half-way.
                        self.undo.insert(key.clone(), remove.clone());
                    }
                    return Next::Run(step, call);
                }
            }
        }
        earliest.map_or(Next::Idle, Next::At)
    }

    /// A command ended: with what it printed, or with a sentence.
    pub fn ended(&mut self, (step, call): (Step, Call), ended: Result<String, String>, now: Instant) {
        match ended {
            Ok(output) => {
                if self.failing.remove(&step).is_some() {
                    tracing::info!("{} succeeded: {}", step.name(), call.line.text());
                }
                match &step {
                    Step::PreStartup => self.output = Some(output),
                    Step::Remove(key) => self.removed(key),
                    Step::PostStartup | Step::Add(_) => {}
                }
                self.done.insert(step, call);
            }
            Err(sentence) => {
                let before = self.failing.get(&step).filter(|failing| failing.call == call).map_or(0, |it| it.times);
                let times = before + 1;
                let (first, longest) = PAUSES;
                let pause = first.saturating_mul(1 << times.min(16).saturating_sub(1)).min(longest);
                tracing::warn!("{} failed: {sentence}; it is tried again in {} s", step.name(), pause.as_secs());
                if let Step::Remove(key) = &step
                    && times >= REMOVALS
                {
                    tracing::warn!("SubnetRemoveCommand failed {times} times for {key}: what it should undo stays");
                    self.removed(key);
                    self.failing.remove(&step);
                    self.done.insert(step, call);
                    return;
                }
                self.failing.insert(step, Failing { call, times, again: now + pause, sentence });
            }
        }
    }

    /// What the node loop is told.
    pub fn report(&self, orders: &Orders) -> Report {
        let sentence =
            |step: &Step| self.failing.get(step).map(|it| format!("{} failed: {}", step.name(), it.sentence));
        let done = |step, call: &Option<Call>| call.is_none() || self.done.get(&step) == call.as_ref();
        let fault = |step: &Step| match step {
            Step::Add(key) | Step::Remove(key) => Some((key.clone(), sentence(step)?)),
            Step::PreStartup | Step::PostStartup => None,
        };
        Report {
            output: if orders.pre_startup.is_none() { Some(String::new()) } else { self.output.clone() },
            prepared: done(Step::PreStartup, &orders.pre_startup) && done(Step::PostStartup, &orders.post_startup),
            trouble: sentence(&Step::PreStartup).or_else(|| sentence(&Step::PostStartup)),
            faults: self.failing.keys().filter_map(fault).collect(),
        }
    }

    /// What takes back all that was done for peers.
    pub fn farewell(self) -> impl Iterator<Item = Call> {
        self.undo.into_values().flatten()
    }

    fn removed(&mut self, key: &LeaseKey) {
        self.undo.remove(key);
        self.done.remove(&Step::Add(key.clone()));
    }

    /// What failed and is no longer wanted; what was undone and came back.
    fn forget(&mut self, orders: &Orders) {
        self.failing.retain(|step, failing| match step {
            Step::PreStartup => orders.pre_startup.as_ref() == Some(&failing.call),
            Step::PostStartup => orders.post_startup.as_ref() == Some(&failing.call),
            Step::Add(key) => orders.peers.get(key).is_some_and(|[add, _]| add.as_ref() == Some(&failing.call)),
            Step::Remove(_) => true,
        });
        self.done.retain(|step, _| !matches!(step, Step::Remove(key) if orders.peers.contains_key(key)));
        // Without a command there is nothing to wait for.
        let gone = self.undo.iter().filter(|(key, undo)| undo.is_none() && !stays(orders, key, undo));
        for key in gone.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            self.removed(&key);
        }
    }

    /// All that is not done, in order.
    fn due(&self, orders: &Orders) -> Vec<(Step, Call)> {
        let mut due = Vec::new();
        let undone = |step: Step, call: &Option<Call>| {
            let call = call.clone().filter(|call| self.done.get(&step) != Some(call));
            call.map(|call| (step, call))
        };
        // One after the other: each may need what the one before made.
        if let Some(first) =
            undone(Step::PreStartup, &orders.pre_startup).or_else(|| undone(Step::PostStartup, &orders.post_startup))
        {
            return vec![first];
        }
        for (key, call) in &orders.gone {
            due.extend(undone(Step::Remove(key.clone()), &Some(call.clone())));
        }
        for (key, undo) in self.undo.iter().filter(|(key, undo)| !stays(orders, key, undo)) {
            due.extend(undo.clone().map(|call| (Step::Remove(key.clone()), call)));
        }
        let leaving: BTreeSet<Step> = due.iter().map(|(step, _)| step.clone()).collect();
        let stays = |key: &&LeaseKey| !leaving.contains(&Step::Remove((*key).clone()));
        for (key, [add, _]) in orders.peers.iter().filter(|(key, _)| stays(key)) {
            due.extend(undone(Step::Add(key.clone()), add));
        }
        due
    }
}

/// Whether what was done for a peer is for the subnets that it has now.
fn stays(orders: &Orders, key: &LeaseKey, undo: &Option<Call>) -> bool {
    orders.peers.get(key).is_some_and(|[_, remove]| subnets(remove) == subnets(undo))
}

/// The subnets that a command is about.
fn subnets(call: &Option<Call>) -> Option<Vec<&str>> {
    call.as_ref().map(|call| {
        let subnet = call.environment.iter().filter(|(name, _)| name.ends_with("SUBNET"));
        subnet.map(|(_, value)| value.as_str()).collect()
    })
}
