//! What comes over the wire when nothing of the pod network changes, and what it costs: heartbeats alone.

use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use netns_harness::{Daemon, Pace};

use super::Ground;
use crate::bare_client::{METADATA, Seen, WHOLE};
use crate::figures::{heading, note};
use crate::ready::{idle, usage};

pub const MINUTE: Duration = Duration::from_secs(60);
/// 5,000 kubelets, each once in five minutes.
pub const HEARTBEATS: Pace = Pace { per_sec: 17, at_most: MINUTE };
/// What a change of a peer is worth: name, uid, podCIDR and flannel's annotations, written as JSON.
pub const WORTH: f64 = 420.0;

/// A minute of silence, then a minute of heartbeats.
pub fn measure(ground: &Ground, daemon: &Daemon) -> Result<()> {
    heading("Idle with 5,000 Node objects: what comes in a minute");
    let whole = ground.bare.list_bytes("identity")?;
    let packed = ground.bare.list_bytes("gzip")?;
    note("the whole list in one answer", whole as f64 / 1e6, "MB");
    note("the same with gzip, part of it", packed as f64 / whole as f64, "");
    let silence = Figures::over(daemon, || idle(MINUTE))?;
    note("without heartbeats: received", silence.received, "bytes");
    note("without heartbeats: processor time", silence.cpu * 1000.0, "ms");
    let (bare, metadata) = (ground.bare.watch(WHOLE)?, ground.bare.watch(METADATA)?);
    let beats = Figures::over(daemon, || {
        ground.crowd.heartbeats(HEARTBEATS)?.finish()?;
        Ok(())
    })?;
    let count = beats.notices.max(1.0);
    note("heartbeats of a minute", beats.notices, "events");
    note("of which changed nothing and cost nothing behind the decoder", beats.unchanged, "events");
    note("received for them", beats.received / 1e6, "MB a minute");
    note("for one", beats.received / count, "bytes");
    note("a peer's change would be worth", WORTH, "bytes");
    note("a whole Node against that", beats.received / count / WORTH, "times");
    note("the same events for a bare watch of whole Nodes", bytes(&bare) / count, "bytes each");
    note("the same events for a bare watch of metadata alone", bytes(&metadata) / count, "bytes each");
    note("processor time in the minute", beats.cpu * 1000.0, "ms");
    note("processor time for one", beats.cpu / count * 1e6, "µs");
    Ok(())
}

fn bytes(watch: &Receiver<Seen>) -> f64 {
    watch.try_iter().map(|seen| seen.bytes as f64).sum()
}

/// What a daemon did in a time.
pub struct Figures {
    /// How long that was, seconds.
    pub seconds: f64,
    /// Bytes from the API.
    pub received: f64,
    /// Events of the watch.
    pub notices: f64,
    /// Those that changed nothing.
    pub unchanged: f64,
    /// Changes of the kernel.
    pub changes: f64,
    /// Processor time, seconds.
    pub cpu: f64,
}

impl Figures {
    /// While something else is done.
    pub fn over(daemon: &Daemon, work: impl FnOnce() -> Result<()>) -> Result<Figures> {
        let (before, began) = (Figures::now(daemon)?, Instant::now());
        work()?;
        let (after, seconds) = (Figures::now(daemon)?, began.elapsed().as_secs_f64());
        Ok(Figures {
            seconds,
            received: after.received - before.received,
            notices: after.notices - before.notices,
            unchanged: after.unchanged - before.unchanged,
            changes: after.changes - before.changes,
            cpu: after.cpu - before.cpu,
        })
    }

    fn now(daemon: &Daemon) -> Result<Figures> {
        let metric = |name: &str| daemon.metric(name)?.with_context(|| format!("no metric {name}"));
        Ok(Figures {
            seconds: 0.0,
            received: metric("towpath_store_received_bytes_total")?,
            notices: metric("towpath_store_notices_total")?,
            unchanged: metric("towpath_store_notices_unchanged_total")?,
            changes: metric("towpath_kernel_changes_total")?,
            cpu: usage(daemon)?.cpu,
        })
    }
}
