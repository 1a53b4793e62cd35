//! A thousand Nodes: their heartbeats are none of our business, their changes are in the kernel, and all is listed once.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netns_harness::kubernetes::Crowd;
use netns_harness::{Daemon, Pace, wait_for};

use crate::cluster::{Cluster, LIMIT};

const SIZE: u32 = 1000;

#[test]
fn of_a_thousand_nodes_heartbeats_change_nothing_and_every_change_reaches_the_kernel() -> Result<()> {
    let cluster = Cluster::new("kubecrowd")?;
    cluster.configure(&format!(r#"{{"Network": "{}", "Backend": {{"Type": "vxlan"}}}}"#, Crowd::NETWORK))?;
    let mut crowd = Crowd::new(&cluster.api)?;
    crowd.grow(SIZE)?;
    // 10.244.1.0/24 lies in that network, and belongs to none of the crowd.
    let daemon = cluster.join("alpha", 1)?;
    crowd.wait_followed(daemon.node(), 0, LIMIT)?;

    let beats = 300;
    let [notices, unchanged, changes] = figures(&daemon)?;
    let pace = Pace { per_sec: 60, at_most: Duration::from_secs(beats / 60) };
    ensure!(crowd.heartbeats(pace)?.finish()? == beats, "not every heartbeat was sent");
    wait_for("the heartbeats to be seen", LIMIT, || {
        let [seen, idle, _] = figures(&daemon)?;
        ensure!(seen - notices >= beats as f64, "{} of {beats}", seen - notices);
        ensure!(seen - notices == idle - unchanged, "{} changed something", seen - notices - (idle - unchanged));
        Ok(())
    })?;
    ensure!(figures(&daemon)?[2] == changes, "a heartbeat changed the kernel");

    // Everybody moves once and some twice, while nodes come and go.
    let moving = crowd.moves(Pace { per_sec: 100, at_most: Duration::from_secs(12) })?;
    for number in SIZE + 1..=SIZE + 20 {
        crowd.add(number)?;
        crowd.remove(number)?;
    }
    let moves = moving.finish()?;
    crowd.wait_followed(daemon.node(), moves, LIMIT)?;
    let routes = daemon.node().run(["ip", "route", "show", "proto", "84"])?.lines().count();
    ensure!(routes == SIZE as usize, "{routes} routes");
    ensure!(daemon.metric("towpath_store_lists_total")? == Some(1.0), "all was listed again");
    Ok(())
}

/// What the watch said of Nodes, how much of that changed nothing, and changes of the kernel.
fn figures(daemon: &Daemon) -> Result<[f64; 3]> {
    let metric = |name: &str| daemon.metric(name)?.with_context(|| format!("no metric {name}"));
    Ok([
        metric("towpath_store_notices_total")?,
        metric("towpath_store_notices_unchanged_total")?,
        metric("towpath_kernel_changes_total")?,
    ])
}
