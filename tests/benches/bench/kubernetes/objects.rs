//! `--peer-objects=leases`: what comes over the wire when kubelets say that they are well, and some nodes move.

use std::time::Duration;

use anyhow::{Result, ensure};
use netns_harness::Pace;

use super::traffic::{Figures, HEARTBEATS, MINUTE, WORTH};
use super::{Ground, Started};
use crate::figures::{Bound, goal, heading, note};
use crate::ready::{idle, usage};

/// A node a second is much for a cluster of 5,000.
const MOVES: Pace = Pace { per_sec: 1, at_most: MINUTE };

/// The crowd keeps objects of its own from here on.
pub fn measure(ground: &Ground) -> Result<()> {
    heading("The same with --peer-objects=leases");
    ground.api.allow_lease_objects()?;
    ground.crowd.keep_objects()?;
    let daemon = Started::with_flags(ground, &ground.node, &["--peer-objects=leases"])?;
    let millis = crate::figures::in_millis(daemon.wait_ready()?);
    note("exec to ready, every route in the kernel", millis, "ms");
    let routes = ground.node.run(["ip", "route", "show", "proto", "84"])?.lines().count();
    ensure!(routes == ground.crowd.numbers().count(), "{routes} routes");
    idle(Duration::from_secs(3))?;
    note("resident memory three seconds later", usage(&daemon.daemon)?.rss, "MB");
    let beats = Figures::over(&daemon.daemon, || ground.crowd.heartbeats(HEARTBEATS)?.finish().map(drop))?;
    note("received in a minute with heartbeats of 1,020 nodes and no change", beats.received, "bytes");
    let mut moved = 0;
    let figures = Figures::over(&daemon.daemon, || {
        let beats = ground.crowd.heartbeats(HEARTBEATS)?;
        moved = ground.crowd.object_moves(MOVES)?.finish()?;
        beats.finish().map(drop)
    })?;
    note("in a minute in which 60 nodes moved, too", figures.received, "bytes");
    goal("against what these changes were worth", figures.received / moved as f64 / WORTH, Bound::AtMost(3.0));
    daemon.end()
}
