//! A restart with nothing to do changes nothing, however the daemon ended.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Result, ensure};
use netns_harness::Daemon;

use crate::cluster::{Cluster, DUAL, LIMIT, bare_pod, counted, subnets, wait_picture, wait_route};
use crate::monitor::Monitor;
use crate::picture::Picture;

#[test]
fn a_restart_with_nothing_to_do_changes_nothing_on_a_directory() -> Result<()> {
    a_restart_with_nothing_to_do_changes_nothing(Cluster::on_directory("quietdir", DUAL)?)
}

#[test]
fn a_restart_with_nothing_to_do_changes_nothing_on_etcd() -> Result<()> {
    a_restart_with_nothing_to_do_changes_nothing(Cluster::on_etcd("quietetcd", DUAL)?)
}

fn a_restart_with_nothing_to_do_changes_nothing(mut cluster: Cluster) -> Result<()> {
    let [alpha, beta, _] = cluster.join_all(["alpha", "beta", "gamma"])?;
    bare_pod(&alpha, "web")?;
    let picture = Picture::of(alpha.node())?;
    let file = Identity::of(alpha.subnet_file())?;
    let monitor = Monitor::start(alpha.node())?;
    for end in [stopped, killed] {
        let changes = monitor.during(|| {
            end(&alpha)?;
            alpha.restart()?;
            alpha.wait_ready(LIMIT)?;
            // The store has spoken, and a whole look at the kernel came after it.
            alpha.wait_log("leases", LIMIT)?;
            ensure!(counted(&alpha, "towpath_kernel_changes_total")? == 0.0, "changes: {}", alpha.log_tail(20));
            ensure!(counted(&alpha, "towpath_peers")? == 2.0, "not all peers are known");
            wait_picture(alpha.node(), &picture)
        })?;
        assert!(changes.is_empty(), "{changes:#?}");
        assert_eq!(Identity::of(alpha.subnet_file())?, file, "subnet.env was written again");
    }
    for subnet in subnets(&alpha)?.values() {
        wait_route(beta.node(), subnet)?;
    }
    Ok(())
}

fn stopped(daemon: &Daemon) -> Result<()> {
    let status = daemon.stop()?;
    ensure!(status.success(), "it ended with {status}");
    Ok(())
}

fn killed(daemon: &Daemon) -> Result<()> {
    daemon.kill()
}

/// What tells one writing of a file from another.
#[derive(Debug, PartialEq, Eq)]
struct Identity {
    inode: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    fn of(path: &Path) -> Result<Identity> {
        let it = std::fs::metadata(path)?;
        let (modified, changed) = ((it.mtime(), it.mtime_nsec()), (it.ctime(), it.ctime_nsec()));
        Ok(Identity { inode: it.ino(), modified, changed })
    }
}
