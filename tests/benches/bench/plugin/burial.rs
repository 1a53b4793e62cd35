//! DEL with the daemon, which deletes what DEL has taken out of service.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use kernel::pod::Host;
use netns_harness::{Binaries, DaemonOptions, Store};
use serde_json::json;

use super::Contest;
use super::runtime::{List, Pods, at_once, call};
use crate::figures::{Bound, goal, heading, in_millis, median, note};

const LIMIT: Duration = Duration::from_secs(30);
const ROUNDS: usize = 40;
/// The reference chain is asked in every so manieth round.
const SELDOM: usize = 4;
const MANY: usize = 100;
const AT_ONCE: usize = 8;

/// DEL with a daemon that listens.
pub fn measure(contest: &Contest<'_>, pods: &mut Pods<'_>) -> Result<()> {
    heading("DEL with the daemon running (medians, alternating)");
    let store = contest.lab.store_directory(r#"{"Network": "10.6.0.0/16", "Backend": {"Type": "vxlan"}}"#)?;
    let daemon = contest.node.towpathd(&Binaries::built()?, &DaemonOptions::new(Store::Directory(store)))?;
    daemon.wait_ready(LIMIT)?;
    let (ours, theirs) = (contest.ours(&json!({})), contest.theirs(&json!({})));
    let [mut plain, mut with_port, mut chain] = [const { Vec::new() }; 3];
    for round in 0..ROUNDS {
        let fresh = pods.make(3)?;
        let published = ours.with_port("towpath", 20_000 + round);
        let sides = [(&ours, &mut plain), (&published, &mut with_port), (&theirs, &mut chain)];
        contest.node.namespace().within(|| {
            for ((list, times), pod) in sides.into_iter().zip(&fresh).take(if round % SELDOM == 0 { 3 } else { 2 }) {
                let (_, result) = list.add(pod)?;
                times.push(list.delete(pod, &result)?);
            }
            Ok(())
        })?;
    }
    let (plain, chain) = (median(plain), median(chain));
    note("bridge + host-local + portmap", chain, "ms");
    note("ours", plain, "ms");
    note("ours, with a host port", median(with_port), "ms");
    goal("  times faster", chain / plain, Bound::AtLeast(30.0));
    let [mut one, mut hundred, mut nothing, mut kernel] = [const { Vec::new() }; 4];
    for _ in 0..5 {
        let (begun, gone) = floor(contest, pods)?;
        nothing.push(begun);
        kernel.push(gone);
        one.push(until_gone(contest, &ours, pods, 1)?);
        hundred.push(until_gone(contest, &ours, pods, MANY)?);
    }
    let (nothing, kernel) = (median(nothing), median(kernel));
    note("a hundred programs that do nothing, eight at once", nothing, "ms");
    note("a hundred links, by the kernel alone in one go", kernel, "ms");
    note("one DEL until its link is entirely gone", median(one.clone()), "ms");
    note("a hundred DELs, eight at once, until all are", median(hundred.clone()), "ms");
    note("a hundred against starting and the kernel alone", median(hundred.clone()) / (nothing + kernel), "times");
    goal("a hundred against one", median(hundred) / median(one), Bound::AtMost(3.0));
    daemon.kill()?;
    Ok(())
}

/// Milliseconds that nobody can do without: for starting so many programs, and for deleting so many links together.
fn floor(contest: &Contest<'_>, pods: &mut Pods<'_>) -> Result<(f64, f64)> {
    let (fresh, crew) = (pods.make(MANY)?, (&contest.node, AT_ONCE));
    let (begun, _) = at_once(crew, &fresh, |pod| call(&contest.no_op, "DEL", pod, "").map(drop))?;
    at_once(crew, &fresh, |pod| contest.floor.add(pod))?;
    let gone = contest.node.namespace().within(|| contest.floor.delete_all())?;
    Ok((begun, gone))
}

/// Milliseconds from the first DEL until no link is left, and the kernel has done what it does after taking them off the
/// list: whoever wants to change a link waits for that (RTNL).
fn until_gone(contest: &Contest<'_>, list: &List, pods: &mut Pods<'_>, count: usize) -> Result<f64> {
    let (fresh, crew) = (pods.make(count)?, (&contest.node, AT_ONCE));
    let (_, added) = at_once(crew, &fresh, |pod| Ok((pod.number, list.add(pod)?.1)))?;
    let mut results = vec![serde_json::Value::Null; count];
    let first = fresh.first().map(|pod| pod.number).unwrap_or_default();
    added.into_iter().for_each(|(number, result)| results[number - first] = result);
    let mut host = contest.node.namespace().within(|| Ok(Host::open()?))?;
    let began = Instant::now();
    at_once(crew, &fresh, |pod| list.delete(pod, &results[pod.number - first]))?;
    while !host.aliased("towpath-pod ")?.is_empty() {
        ensure!(began.elapsed() < LIMIT, "the daemon left links of deleted pods");
        std::thread::park_timeout(Duration::from_millis(1));
    }
    host.sweep()?;
    Ok(in_millis(began.elapsed()))
}
