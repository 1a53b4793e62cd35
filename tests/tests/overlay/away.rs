//! With the store away everything that ran keeps running: daemons restart, nodes reboot, pods start and stop.

use anyhow::{Context, Result, ensure};
use ipam::Family;
use netns_harness::{Matrix, Station, wait_for};

use crate::cluster::{Cluster, DUAL, LIMIT, counted, stream, subnets, wait_picture};
use crate::monitor::Monitor;
use crate::picture::Picture;

#[test]
fn without_etcd_daemons_restart_and_pods_come_and_go() -> Result<()> {
    let mut cluster = Cluster::on_etcd("away", DUAL)?;
    let [alpha, beta] = cluster.join_all(["alpha", "beta"])?;
    let pods = [cluster.pod(&alpha, "web")?, cluster.pod(&beta, "web")?];
    // What is known is on disk a moment after it was heard.
    wait_remembered(&cluster)?;
    let etcd = cluster.etcd()?.clone();
    let stream = stream(&pods[0], &pods[1], Family::V6)?;
    etcd.kill()?;
    let monitor = Monitor::start(alpha.node())?;
    let changes = monitor.during(|| {
        alpha.kill()?;
        alpha.restart()?;
        wait_for("the last known state to be used", LIMIT, || {
            let looks = counted(&alpha, "towpath_looks_total")?;
            ensure!(looks > 0.0 && counted(&alpha, "towpath_peers")? == 1.0, "not yet; {}", alpha.log_tail(5));
            Ok(())
        })
    })?;
    ensure!(changes.is_empty(), "{changes:#?}");
    let another = cluster.pod(&alpha, "db")?;
    let stations: [&Station; 3] = [&pods[0], &pods[1], &another];
    Matrix::measure(&stations)?.check()?;
    another.delete()?;
    etcd.restart()?;
    let gamma = cluster.join("gamma")?;
    cluster.wait_acquainted().context("once it is back")?;
    alpha.wait_ready(LIMIT)?;
    assert_eq!(counted(&gamma, "towpath_peers")?, 2.0);
    assert_eq!(stream.stop()?.lost(), 0);
    Ok(())
}

#[test]
fn without_etcd_a_node_comes_up_again_from_nothing_but_its_disk() -> Result<()> {
    let mut cluster = Cluster::on_etcd("reboot", DUAL)?;
    let [alpha, beta] = cluster.join_all(["alpha", "beta"])?;
    let (before, picture) = (subnets(&alpha)?, Picture::of(alpha.node())?);
    wait_remembered(&cluster)?;
    cluster.etcd()?.kill()?;
    alpha.kill()?;
    // A boot: the kernel is empty, and so is /run.
    alpha.node().run(["sh", "-ec", "ip link delete flannel.1; ip link delete flannel-v6.1; nft flush ruleset"])?;
    std::fs::remove_file(alpha.subnet_file())?;
    alpha.restart()?;
    wait_picture(alpha.node(), &picture)?;
    wait_for("subnet.env", LIMIT, || ensure_same(&subnets(&alpha)?, &before))?;
    let pods = [cluster.pod(&alpha, "web")?, cluster.pod(&beta, "web")?];
    let stations: [&Station; 2] = [&pods[0], &pods[1]];
    Matrix::measure(&stations)?.check()
}

fn ensure_same<T: PartialEq + std::fmt::Display>(now: &T, before: &T) -> Result<()> {
    ensure!(now == before, "it was {before}, it is {now}");
    Ok(())
}

/// Waits until each daemon's state file knows all leases.
fn wait_remembered(cluster: &Cluster) -> Result<()> {
    for daemon in &cluster.daemons {
        wait_for("the state file to know all leases", LIMIT, || {
            let files = std::fs::read_dir(daemon.node().directory().join("state"))?;
            let files = files.map(|file| Ok(file?.path())).collect::<Result<Vec<_>>>()?;
            // Beside it may be the one that is being written and does not count yet.
            let whole = files.iter().filter(|file| file.extension().is_some_and(|ending| ending == "json"));
            let texts = whole.map(|file| Ok(std::fs::read_to_string(file)?)).collect::<Result<String>>()?;
            for other in &cluster.daemons {
                let subnet = subnets(other)?.get(Family::V4).context("a subnet")?.to_string();
                ensure!(texts.contains(&subnet), "no {subnet} in {texts}");
            }
            Ok(())
        })?;
    }
    Ok(())
}
