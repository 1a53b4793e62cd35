//! A minute of a hundred changes a second: the kernel ends as the API says, and nothing grows.

use std::time::Duration;

use anyhow::Result;
use netns_harness::{Daemon, Pace};

use super::Ground;
use super::traffic::Figures;
use crate::figures::{Bound, goal, heading, millis, note};
use crate::ready::{idle, usage};

const MINUTE: Pace = Pace { per_sec: 100, at_most: Duration::from_secs(60) };
const LIMIT: Duration = Duration::from_secs(30);

/// Each change is another public address of one node.
pub fn measure(ground: &Ground, daemon: &Daemon) -> Result<()> {
    heading("A hundred changes a second for a minute, 5,000 Node objects there");
    let before = usage(daemon)?;
    let mut sent = 0;
    let figures = Figures::over(daemon, || {
        sent = ground.crowd.moves(MINUTE)?.finish()?;
        Ok(())
    })?;
    let (late, ended) = millis(|| ground.crowd.wait_followed(&ground.node, sent, LIMIT));
    ended?;
    note("changes in a second", sent as f64 / figures.seconds, "");
    note("the kernel as the API says, after the last", late, "ms");
    note("received", figures.received / 1e6, "MB");
    note("changes of the kernel for one", figures.changes / sent as f64, "");
    note("processor time, of one core", figures.cpu / figures.seconds * 100.0, "%");
    note("processor time for one change", figures.cpu / sent as f64 * 1e6, "µs");
    idle(Duration::from_secs(3))?;
    let after = usage(daemon)?;
    note("resident memory before", before.rss, "MB");
    goal("resident memory after against before", after.rss / before.rss, Bound::AtMost(1.1));
    Ok(())
}
