//! A restart with nothing to do changes nothing, however the daemon ended.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Result, ensure};
use netns_harness::{Binaries, Daemon};

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

#[test]
fn a_restart_with_nothing_to_do_sends_nothing_but_questions() -> Result<()> {
    // Trying the cards' checksums makes devices, in namespaces of its own.
    let untried = DUAL.replacen('{', r#"{"Backend": {"Type": "vxlan", "TxChecksum": "on"}, "#, 1);
    let mut cluster = Cluster::on_directory("questions", &untried)?;
    let [alpha, _] = cluster.join_all(["alpha", "beta"])?;
    alpha.kill()?;
    let trace = cluster.lab.directory().join("trace");
    cluster.binaries = traced(&cluster, &trace)?;
    let alpha = cluster.start(&alpha.node().clone(), |options| options)?;
    alpha.wait_ready(LIMIT)?;
    ensure!(counted(&alpha, "towpath_peers")? == 1.0, "the peer is not known");
    alpha.kill()?;
    let trace = std::fs::read_to_string(trace)?;
    let sent = |line: &str| line.split("nlmsg_type=").skip(1).map(kind).collect::<Vec<_>>();
    let kinds: Vec<String> = trace.lines().filter(|line| line.contains(" send")).flat_map(sent).collect();
    assert!(kinds.len() > 10, "that was not the whole: {trace}");
    let orders: Vec<_> = kinds.iter().filter(|kind| !kind.contains("_GET")).collect();
    assert!(orders.is_empty(), "{orders:#?}");
    let settings: Vec<_> =
        trace.lines().filter(|line| line.contains("/proc/sys/") && !line.contains("O_RDONLY")).collect();
    assert!(settings.is_empty(), "{settings:#?}");
    Ok(())
}

/// A message's kind in strace's words, up to the comma behind it.
fn kind(rest: &str) -> String {
    rest.split(',').next().unwrap_or_default().to_owned()
}

/// The daemon with strace between it and the kernel.
fn traced(cluster: &Cluster, trace: &Path) -> Result<Binaries> {
    let directory = cluster.lab.directory().join("traced");
    std::fs::create_dir(&directory)?;
    let (script, real) = (directory.join("towpathd"), cluster.binaries.find("towpathd")?);
    let text = format!(
        "#!/bin/sh\nexec strace -f -qq -e trace=sendto,sendmsg,sendmmsg,openat -o {} {} \"$@\"\n",
        trace.display(),
        real.display()
    );
    // Written by another process: of what this one has open for writing, a child of another test may hold a copy, and
    // then it cannot be executed (ETXTBSY).
    let write = format!("cat >{0}; chmod +x {0}", script.display());
    cluster.lab.switch().feed(["sh", "-ec", &write], &text)?;
    Ok(Binaries::at(directory))
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
