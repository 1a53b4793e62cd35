//! A daemon that is killed again and again, at any instant, while leases come and go: pods lose nothing, and once it is
//! left alone its kernel is what it should be.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ipam::Family;
use netns_harness::{Daemon, wait_for};

use crate::cluster::{Cluster, DUAL, LIMIT, stream, wait_picture};
use crate::monitor::Monitor;
use crate::picture::Picture;

/// How often the daemon is killed.
const KILLS: u32 = 200;

/// How many nodes there are at most besides the real ones.
const GHOSTS: u64 = 60;

/// Nodes that are only leases, coming and going.
struct Ghosts {
    leases: PathBuf,
    present: BTreeSet<u64>,
    dice: u64,
}

impl Ghosts {
    /// Throws the dice: Knuth's linear congruential generator, so that each run of the test is the same one.
    fn throw(&mut self, sides: u64) -> u64 {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 33) % sides
    }

    /// One of them appears, changes or vanishes.
    fn stir(&mut self) -> Result<()> {
        let number = self.throw(GHOSTS);
        let file = self.leases.join(format!("10.244.{}.0-24.json", number + 180));
        if self.throw(3) == 0 && self.present.remove(&number) {
            return Ok(std::fs::remove_file(file)?);
        }
        let (mac, host) = (self.throw(256), self.throw(200) + 50);
        let data = |kind: u8| format!(r#"{{"VNI": 1, "VtepMAC": "62:0{kind}:00:00:{mac:02x}:{number:02x}"}}"#);
        let lease = format!(
            r#"{{"node": "ghost-{number}", "subnets": ["10.244.{n}.0/24", "fd00:10:244:{n:x}::/64"],
                "acquired": "2026-11-21T12:00:00Z", "renewed": "2026-11-21T12:00:00Z", "expires": "2100-01-01T00:00:00Z",
                "PublicIP": "192.0.2.{host}", "PublicIPv6": "2001:db8::{host}", "BackendType": "vxlan",
                "BackendData": {}, "BackendV6Data": {}}}"#,
            data(4),
            data(6),
            n = number + 180,
        );
        let new = self.leases.join(format!(".ghost-{number}.part"));
        std::fs::write(&new, lease)?;
        std::fs::rename(new, file)?;
        self.present.insert(number);
        Ok(())
    }
}

#[test]
fn killed_at_any_instant_it_settles_and_pods_lose_nothing() -> Result<()> {
    let mut cluster = Cluster::on_directory("churn", DUAL)?;
    let [alpha, beta] = cluster.join_all(["alpha", "beta"])?;
    let pods = [cluster.pod(&alpha, "web")?, cluster.pod(&beta, "web")?];
    let mut ghosts = Ghosts { leases: cluster.directory()?.join("leases"), present: BTreeSet::new(), dice: 84 };
    let streams = Family::ALL.map(|family| stream(&pods[0], &pods[1], family));
    let streams = streams.into_iter().collect::<Result<Vec<_>>>()?;
    for _ in 0..KILLS {
        alpha.restart()?;
        // From before its first line of code until after it has settled; the others find out what that is here.
        for _ in 0..ghosts.throw(16) {
            ghosts.stir()?;
            let instant = Duration::from_micros(ghosts.throw(4000));
            ensure!(alpha.wait(instant).is_err(), "it ended by itself: {}", alpha.log_tail(20));
        }
        alpha.kill()?;
        ghosts.stir()?;
    }
    alpha.restart()?;
    alpha.wait_ready(LIMIT)?;
    wait_settled(&cluster, &alpha, ghosts.present.len() + 1).context("the one that was killed")?;
    wait_settled(&cluster, &beta, ghosts.present.len() + 1).context("the one that was not")?;
    for stream in streams {
        stream.wait_more(20, LIMIT)?;
        let report = stream.stop()?;
        assert_eq!(report.lost(), 0, "{report:?}");
    }
    assert!(!alpha.log().contains("panicked"), "{}", alpha.log());
    nothing_more_to_do(&alpha)
}

#[test]
fn killed_while_it_builds_everything_it_still_ends_with_everything() -> Result<()> {
    let mut cluster = Cluster::on_directory("building", DUAL)?;
    let [alpha, _] = cluster.join_all(["alpha", "beta"])?;
    let picture = Picture::of(alpha.node())?;
    let mut ghosts = Ghosts { leases: cluster.directory()?.join("leases"), present: BTreeSet::new(), dice: 48 };
    for round in 0..60 {
        alpha.kill()?;
        let lost = [
            "ip link delete flannel.1",
            "ip link delete flannel-v6.1",
            "nft flush ruleset",
            "ip nexthop flush proto 84",
        ];
        for loss in lost.iter().take(1 + round % lost.len()) {
            alpha.node().run(["sh", "-c", &format!("{loss} 2>/dev/null || true")])?;
        }
        alpha.restart()?;
        let instant = Duration::from_micros(ghosts.throw(12_000));
        ensure!(alpha.wait(instant).is_err(), "it ended by itself: {}", alpha.log_tail(20));
    }
    alpha.kill()?;
    alpha.restart()?;
    alpha.wait_ready(LIMIT)?;
    wait_picture(alpha.node(), &picture)?;
    nothing_more_to_do(&alpha)
}

/// Waits until there is of each kind what so many peers need, no more, and the daemon has nothing more to do.
fn wait_settled(cluster: &Cluster, daemon: &Daemon, peers: usize) -> Result<()> {
    let ctl = cluster.binaries.find("towpathctl")?;
    let socket = format!("--socket={}", daemon.status_socket().display());
    wait_for("the kernel to hold what all leases need", LIMIT, || {
        let picture = Picture::of(daemon.node())?;
        for (kind, tag) in
            [("fdb ", "extern_learn"), ("neigh ", "proto 84"), ("nexthop ", "proto 84"), ("route ", "proto 84")]
        {
            for device in ["flannel.1 ", "flannel-v6.1 "] {
                let count = picture.lines(&[kind, tag, &format!(" dev {device}")]).len();
                ensure!(count == peers, "{count} of {kind}on {device}instead of {peers}");
            }
        }
        let plan = daemon.node().run([ctl.as_os_str(), socket.as_ref(), "plan".as_ref()])?;
        ensure!(!plan.contains("dev flannel"), "{plan}");
        Ok(())
    })
}

fn nothing_more_to_do(daemon: &Daemon) -> Result<()> {
    let monitor = Monitor::start(daemon.node())?;
    let changes = monitor.during(|| {
        daemon.kill()?;
        daemon.restart()?;
        daemon.wait_ready(LIMIT)
    })?;
    ensure!(changes.is_empty(), "one more restart changed something: {changes:#?}");
    Ok(())
}
