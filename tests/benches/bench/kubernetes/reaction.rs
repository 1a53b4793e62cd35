//! How long a change takes from the watch to the kernel, with everybody else there.

use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use netns_harness::kubernetes::{Crowd, NodeObject};
use netns_harness::wait_for;

use super::{Ground, OURS, Started};
use crate::bare_client::{Seen, WHOLE};
use crate::figures::{Bound, goal, heading, in_millis, median, note, percentile};
use crate::latency::route_arrivals;

const NEWCOMERS: u32 = 200;
const LATE: usize = 5;
const LIMIT: Duration = Duration::from_secs(20);

/// Two hundred Nodes one after the other, then nodes with a daemon of their own that get a podCIDR.
pub fn measure(ground: &Ground) -> Result<()> {
    heading("From the watch's event to the route in the kernel, 5,000 Node objects there");
    let (watch, routes) = (ground.bare.watch(WHOLE)?, route_arrivals(&ground.node)?);
    let (mut bare, mut behind) = (Vec::new(), Vec::new());
    for number in OURS + 1..=OURS + NEWCOMERS {
        let began = Instant::now();
        ground.crowd.add(number)?;
        let seen = next(&watch, |seen| seen.kind == "ADDED")?;
        bare.push(in_millis(seen.at - began));
        behind.push(after(&routes, seen.at)?);
    }
    note("the bare watch, from the request's start, median", median(bare.clone()), "ms");
    note("the bare watch, 99 of 100: what the machine does today", percentile(bare, 99), "ms");
    note("the route behind the bare watch, median", median(behind.clone()), "ms");
    goal("the route behind it, 99 of 100, ms", percentile(behind, 99), Bound::AtMost(5.0));
    for number in OURS + 1..=OURS + NEWCOMERS {
        ground.crowd.remove(number)?;
    }
    wait_routes(ground, ground.crowd.numbers().count())?;
    newcomers(ground, &watch, &routes)
}

/// From the event that gives a waiting node its podCIDR to the route on another node.
fn newcomers(ground: &Ground, watch: &Receiver<Seen>, routes: &Receiver<Instant>) -> Result<()> {
    let node = ground.lab.node("late")?;
    let subnet = Crowd::subnet(OURS + 1);
    let mut times = Vec::new();
    for _ in 0..LATE {
        ground.api.create_node(&NodeObject::of(&node)?)?;
        let daemon = Started::new(ground, &node)?;
        daemon.daemon.wait_ready(Duration::ZERO).err().context("ready without a podCIDR")?;
        wait_for("the node to say that it waits", LIMIT, || {
            let page = daemon.daemon.get("/readyz")?;
            ensure!(page.body.contains("podCIDR"), "{page:?}");
            Ok(())
        })?;
        let spec = serde_json::json!({ "spec": { "podCIDR": subnet, "podCIDRs": [subnet] } });
        // What was seen and routed before is not meant.
        routes.try_iter().for_each(drop);
        let began = Instant::now();
        ground.api.kubectl().words(["patch", "node", "late", "--type=merge", "-p", &spec.to_string()])?;
        let seen = next(watch, |seen| seen.at > began && seen.name == "late" && seen.has_subnet)?;
        times.push(after(routes, seen.at)?);
        daemon.wait_ready()?;
        daemon.end()?;
        ground.api.kubectl().run("delete node late")?;
        wait_routes(ground, ground.crowd.numbers().count())?;
    }
    let worst = times.iter().copied().fold(0.0, f64::max);
    note("a new node: from its podCIDR to the route here, median", median(times), "ms");
    goal("the slowest of five, ms", worst, Bound::AtMost(1000.0));
    Ok(())
}

fn next(watch: &Receiver<Seen>, mut is: impl FnMut(&Seen) -> bool) -> Result<Seen> {
    loop {
        let seen = watch.recv_timeout(LIMIT).context("the bare watch says nothing")?;
        if is(&seen) {
            return Ok(seen);
        }
    }
}

/// Milliseconds from a moment to the next route; 0 when it was there before.
fn after(routes: &Receiver<Instant>, moment: Instant) -> Result<f64> {
    let arrived = routes.recv_timeout(LIMIT).context("no route came")?;
    Ok(in_millis(arrived.saturating_duration_since(moment)))
}

fn wait_routes(ground: &Ground, expected: usize) -> Result<()> {
    wait_for("the routes of those who are there", LIMIT, || {
        let routes = ground.node.run(["ip", "route", "show", "proto", "84"])?.lines().count();
        ensure!(routes == expected, "{routes}, not {expected}");
        Ok(())
    })
}
