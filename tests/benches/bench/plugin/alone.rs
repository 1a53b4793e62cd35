//! One pod after the other.

use anyhow::Result;
use serde_json::json;

use super::Contest;
use super::runtime::{List, Pods, call};
use crate::figures::{Bound, goal, heading, median, note};

const ROUNDS: usize = 60;
/// The reference chain is asked in every so manieth round.
const SELDOM: usize = 4;

/// A configuration, ours and theirs, and how many times faster ours has to be.
struct Match {
    what: &'static str,
    ours: List,
    theirs: List,
    times: f64,
    add: [Vec<f64>; 2],
    delete: [Vec<f64>; 2],
}

/// ADD and DEL without a daemon.
pub fn measure(contest: &Contest<'_>, pods: &mut Pods<'_>) -> Result<()> {
    heading("ADD and DEL of one pod (medians, alternating)");
    let (plain, masquerade) = (json!({}), json!({"ipMasq": true}));
    let mut matches = [
        Match::new("bridge + host-local + portmap", (contest.ours(&plain), contest.theirs(&plain)), 12.0),
        Match::new("the same with ipMasq", (contest.ours(&masquerade), contest.theirs(&masquerade)), 20.0),
        Match::new("the same with a host port", (contest.ours(&plain), contest.theirs(&plain)), 25.0),
    ];
    let [mut nothing, mut wire, mut gone] = [const { Vec::new() }; 3];
    for round in 0..ROUNDS {
        let fresh = pods.make(2 * matches.len() + 1)?;
        contest.node.namespace().within(|| {
            let mut fresh = fresh.iter();
            for (index, one) in matches.iter_mut().enumerate() {
                let with_port = |list: &List, capable| match index {
                    2 => list.with_port(capable, 20_000 + round),
                    _ => list.clone(),
                };
                let sides = [with_port(&one.ours, "towpath"), with_port(&one.theirs, "portmap")];
                for (side, list) in sides.iter().enumerate().take(if round % SELDOM == 0 { 2 } else { 1 }) {
                    let Some(pod) = fresh.next() else { continue };
                    let (add, result) = list.add(pod)?;
                    one.add[side].push(add);
                    one.delete[side].push(list.delete(pod, &result)?);
                }
            }
            let Some(pod) = fresh.next() else { return Ok(()) };
            nothing.push(call(&contest.no_op, "ADD", pod, "")?.0);
            wire.push(contest.floor.add(pod)?);
            gone.push(contest.floor.delete(pod)?);
            Ok(())
        })?;
    }
    let (start, wire, gone) = (median(nothing), median(wire), median(gone));
    note("a static program that does nothing", start, "ms");
    note("the kernel's own work of an ADD", wire, "ms");
    note("the kernel's own work of a DEL", gone, "ms");
    for one in matches.iter().rev() {
        one.print();
    }
    let [ours, _] = &matches[0].add;
    goal("ADD against start + kernel", median(ours.clone()) / (start + wire), Bound::AtMost(1.5));
    let [ours, _] = &matches[0].delete;
    goal("DEL without the daemon against the kernel's own", median(ours.clone()) / gone, Bound::AtMost(1.2));
    Ok(())
}

impl Match {
    fn new(what: &'static str, (ours, theirs): (List, List), times: f64) -> Match {
        let none = || [const { Vec::new() }; 2];
        Match { what, ours, theirs, times, add: none(), delete: none() }
    }

    fn print(&self) {
        let [ours, theirs] = self.add.each_ref().map(|times| median(times.clone()));
        note(&format!("ADD, {}", self.what), theirs, "ms");
        note("ADD, ours", ours, "ms");
        goal("  times faster", theirs / ours, Bound::AtLeast(self.times));
        let [ours, theirs] = self.delete.each_ref().map(|times| median(times.clone()));
        note(&format!("DEL, {}", self.what), theirs, "ms");
        note("DEL, ours, without the daemon", ours, "ms");
    }
}
