//! What a daemon weighs with many peers, by each backend: resident memory three seconds after it is ready, from etcd.

use std::time::Duration;

use anyhow::{Result, ensure};
use netns_harness::{EtcdOptions, Lab, wait_for};

use crate::daemon::Started;
use crate::figures::{Bound, goal, heading};
use crate::guest;
use crate::nodes::LIMIT;
use crate::preload::preload;
use crate::ready::{idle, usage};

/// What the program is told to do the part in a guest.
pub const THERE: &str = "memory-there";

const GUEST_LIMIT: Duration = Duration::from_secs(1800);
/// Peers, and the megabytes that a daemon may weigh with them.
const SIZES: [(u32, f64); 2] = [(5_000, 20.0), (15_000, 30.0)];

/// What the machine's own kernel has, and the rest in a guest.
pub fn measure() -> Result<()> {
    backends(&["vxlan", "host-gw", "udp"])?;
    guest::run(&[THERE], GUEST_LIMIT)
}

/// The part of it that is done in a guest.
pub fn there() -> Result<()> {
    backends(&["ipip", "wireguard"])
}

fn backends(names: &[&str]) -> Result<()> {
    let lab = Lab::new("benchmemory")?;
    let etcd = lab.etcd(&EtcdOptions { flags: vec!["--unsafe-no-fsync".into()] })?;
    for backend in names {
        heading(&format!("{backend}: resident memory"));
        for (peers, megabytes) in SIZES {
            let prefix = format!("/{backend}{peers}/network");
            preload(&etcd, &prefix, (backend, peers))?;
            let node = lab.node(&format!("{backend}{peers}"))?;
            // So that host-gw finds them all on its link.
            node.ip("route add 198.18.0.0/15 dev eth0")?;
            let daemon = Started::new(&node, &etcd, &prefix)?;
            daemon.wait_ready()?;
            wait_for("every peer to be known", LIMIT, || {
                let known = daemon.metric("towpath_leases")?;
                ensure!(known >= f64::from(peers), "{known}");
                Ok(())
            })?;
            idle(Duration::from_secs(3))?;
            goal(&format!("{peers} peers, MB"), usage(daemon.process())?.rss, Bound::AtMost(megabytes));
            daemon.process().kill()?;
        }
    }
    Ok(())
}
