//! Eight pods at once, again and again: what a node does after it restarted. The kernel makes one link at a time.

use anyhow::Result;
use serde_json::json;

use super::Contest;
use super::runtime::{Pods, at_once};
use crate::figures::{Bound, goal, heading, median, note, percentile};

const AT_ONCE: usize = 8;
const SLICES: usize = 5;
const PODS: usize = 80;
/// The reference chain's share of them.
const SELDOM: usize = 4;

/// ADD by eight threads.
pub fn measure(contest: &Contest<'_>, pods: &mut Pods<'_>) -> Result<()> {
    heading("ADD of eight pods at once (alternating)");
    let (ours, theirs) = (contest.ours(&json!({})), contest.theirs(&json!({})));
    let (crew, rate) = ((&contest.node, AT_ONCE), |pods: usize, time: f64| pods as f64 / time * 1000.0);
    let [mut kernel, mut our_rate, mut their_rate, mut kernel_times, mut our_times, mut their_times] =
        [const { Vec::new() }; 6];
    for _ in 0..SLICES {
        let fresh = pods.make(PODS)?;
        let (time, added) = at_once(crew, &fresh, |pod| contest.floor.add(pod))?;
        kernel_times.extend(added);
        kernel.push(rate(PODS, time));
        at_once(crew, &fresh, |pod| contest.floor.delete(pod))?;
        for (list, times, rates, share) in
            [(&ours, &mut our_times, &mut our_rate, 1), (&theirs, &mut their_times, &mut their_rate, SELDOM)]
        {
            let fresh = pods.make(PODS / share)?;
            let (time, added) = at_once(crew, &fresh, |pod| Ok((pod.clone(), list.add(pod)?)))?;
            rates.push(rate(fresh.len(), time));
            times.extend(added.iter().map(|(_, (time, _))| *time));
            for (pod, (_, result)) in &added {
                contest.node.namespace().within(|| list.delete(pod, result))?;
            }
        }
    }
    let (kernel, our_rate, their_rate) = (median(kernel), median(our_rate), median(their_rate));
    note("the kernel alone", kernel, "a second");
    note("bridge + host-local + portmap", their_rate, "a second");
    note("ours", our_rate, "a second");
    goal("ours against the kernel alone", our_rate / kernel, Bound::AtLeast(0.6));
    let (our_worst, their_worst) = (percentile(our_times.clone(), 99), percentile(their_times.clone(), 99));
    note("the slowest of a hundred, the kernel alone", percentile(kernel_times, 99), "ms");
    note("the slowest of a hundred, theirs", their_worst, "ms");
    note("the slowest of a hundred, ours", our_worst, "ms");
    goal("  times faster", their_worst / our_worst, Bound::AtLeast(8.0));
    note("the median, theirs", median(their_times), "ms");
    note("the median, ours", median(our_times), "ms");
    Ok(())
}
