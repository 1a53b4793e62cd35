//! A node starts while the store is away: from what the store last said, or with nothing at all.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use ipam::Family;
use netns_harness::{Daemon, DaemonOptions, Etcd, EtcdOptions, Pace, Store, Stream, wait_for};

use crate::ask::{status, towpathctl, wait_page, wait_well};
use crate::cluster::{Cluster, DUAL, LIMIT, PREFIX, subnets, wait_route};
use crate::lease::subnet;
use crate::picture::Picture;

#[test]
fn a_node_comes_up_as_it_was_while_etcd_is_away_and_catches_up_later() -> Result<()> {
    let mut cluster = Cluster::on_etcd("away", DUAL)?;
    let [alpha, beta, gamma] = cluster.join_all(["alpha", "beta", "gamma"])?;
    let pods = [cluster.pod(&alpha, "web")?, cluster.pod(&beta, "web")?];
    let (own, left) = (subnets(&alpha)?, subnet(&gamma)?);
    alpha.stop()?;
    gamma.kill()?;
    let key = format!("{PREFIX}/subnets/{}", left.to_string().replace('/', "-"));
    cluster.etcd()?.ctl(&["del", "--prefix", &key])?;
    let delta = cluster.join("delta")?;
    cluster.etcd()?.kill()?;
    // As after a reboot: the kernel has forgotten.
    alpha.node().run(["sh", "-ec", "ip link del flannel.1; ip link del flannel-v6.1; nft flush ruleset"])?;

    alpha.restart()?;
    let body = wait_page(&alpha, 200, "degraded: ")?;
    assert!(body.starts_with("ready\n") && body.contains("etcd at http://192.0.2.1:2379"), "{body}");
    assert_eq!(subnets(&alpha)?, own);
    assert_eq!(status(&alpha)?["store"]["up"], false);
    wait_route(alpha.node(), &left)?;
    talk(&pods)?;
    let explained = towpathctl(&alpha, &["explain", &pods[1].address(Family::V4)?.to_string()])?;
    assert_eq!(explained.code, Some(0), "{explained:?}");
    // Pods come and go as ever.
    cluster.pod(&alpha, "new")?.delete()?;

    cluster.etcd()?.restart()?;
    wait_route(alpha.node(), &subnet(&delta)?)?;
    wait_well(&alpha)?;
    wait_for("the node that left to be forgotten", LIMIT, || {
        let picture = Picture::of(alpha.node())?;
        ensure!(picture.lines(&["route", &left.to_string()]).is_empty(), "its route is still there");
        Ok(())
    })?;
    assert_eq!(subnets(&alpha)?, own);
    assert_eq!(status(&alpha)?["store"]["up"], true);
    talk(&pods)
}

fn talk(pods: &[netns_harness::Pod; 2]) -> Result<()> {
    Family::ALL.into_iter().try_for_each(|family| {
        wait_for("the pods to talk", LIMIT, || {
            pods[0].reach(&pods[1], family)?;
            pods[1].reach(&pods[0], family).map(drop)
        })
    })
}

#[test]
fn a_restart_while_etcd_is_away_changes_nothing_and_loses_no_packet() -> Result<()> {
    let mut cluster = Cluster::on_etcd("awayquiet", DUAL)?;
    let [alpha, beta] = cluster.join_all(["alpha", "beta"])?;
    let (from, to) = (cluster.pod(&alpha, "web")?, cluster.pod(&beta, "web")?);
    talk(&[from.clone(), to.clone()])?;
    alpha.stop()?;
    alpha.restart()?;
    wait_well(&alpha)?;
    let picture = Picture::of(alpha.node())?;
    let stream = Stream::start(&from, &to, Family::V6, Pace { per_sec: 200, ..Pace::default() })?;
    // It does not answer, and then it is not even there.
    for away in [Etcd::pause, Etcd::kill] {
        alpha.stop()?;
        away(cluster.etcd()?)?;
        alpha.restart()?;
        wait_page(&alpha, 200, "ready")?;
        assert_eq!(alpha.metric("towpath_kernel_changes_total")?, Some(0.0), "{}", alpha.log_of_this_run());
        picture.compare(&Picture::of(alpha.node())?)?;
    }
    cluster.etcd()?.restart()?;
    wait_well(&alpha)?;
    assert_eq!(alpha.metric("towpath_kernel_changes_total")?, Some(0.0), "{}", alpha.log_of_this_run());
    let report = stream.stop()?;
    assert_eq!(report.lost(), 0, "{report:?}");
    picture.compare(&Picture::of(alpha.node())?)
}

#[test]
fn with_nothing_to_remember_it_waits_for_etcd_and_says_so() -> Result<()> {
    let mut cluster = Cluster::on_directory("nothing", DUAL)?;
    cluster.store = Store::Etcd("http://192.0.2.1:2379".to_owned());
    let node = cluster.lab.node("alpha")?;
    let alpha = cluster.start(&node, |options| options)?;
    wait_page(&alpha, 503, "start etcd there, or correct --etcd-endpoints")?;
    let picture = Picture::of(&node)?;
    assert!(picture.lines(&["flannel"]).is_empty() && picture.lines(&["nft "]).is_empty());
    assert!(!alpha.subnet_file().exists());
    let etcd = cluster.lab.etcd(&EtcdOptions::default())?;
    wait_page(&alpha, 503, &format!("etcd has no key {PREFIX}/config"))?;
    etcd.ctl(&["put", &format!("{PREFIX}/config"), DUAL])?;
    wait_well(&alpha)
}

#[test]
fn a_memory_that_is_damaged_or_somebody_else_s_is_refused_with_a_sentence() -> Result<()> {
    let mut cluster = Cluster::on_etcd("memory", DUAL)?;
    let [alpha, beta] = cluster.join_all(["alpha", "beta"])?;
    alpha.stop()?;
    beta.stop()?;
    let own = subnets(&alpha)?;
    let (file, others) = (state_file(&alpha)?, state_file(&beta)?);
    let (good, others) = (std::fs::read_to_string(&file)?, std::fs::read_to_string(others)?);
    cluster.etcd()?.kill()?;
    let half = good[..good.len() / 2].to_owned();
    let altered = good.replace("192.0.2.12", "192.0.2.99");
    let deep = format!("{{\"format\":1,\"node\":{}", "[".repeat(200_000));
    for (text, said) in [
        (String::new(), "is damaged and not used: it does not begin as one"),
        (half, "is damaged and not used: it ends too early"),
        (altered, "is damaged and not used: its checksum is wrong"),
        (good.replace("\"format\":1", "\"format\":7"), "its format is 7"),
        (others, "it is of node `beta`, not `alpha`"),
        ("\u{0}\u{1}\u{fffd}".repeat(1000), "is damaged and not used"),
        (deep, "is damaged and not used"),
    ] {
        std::fs::write(&file, &text)?;
        is_refused(&alpha, said)?;
    }
    std::fs::remove_file(&file)?;
    std::fs::create_dir(&file)?;
    is_refused(&alpha, "cannot be read: Is a directory")?;
    std::fs::remove_dir(&file)?;
    // Of another store: the same etcd under another prefix has a file of its own, so this one must have been moved there.
    let options = DaemonOptions::new(cluster.store.clone()).flag("--etcd-prefix=/other");
    let elsewhere = cluster.lab.node("gamma")?.towpathd(&cluster.binaries, &options.flag("--node-name=alpha"))?;
    elsewhere.kill()?;
    let place = printed_state_file(&elsewhere, "/other")?;
    std::fs::create_dir_all(place.parent().context("a directory")?)?;
    std::fs::write(&place, &good)?;
    is_refused(&elsewhere, "it is of store `etcd /coreos.com/network http://192.0.2.1:2379`")?;
    // Without any memory, but with the subnet file, the node takes the same subnets again.
    cluster.etcd()?.restart()?;
    alpha.restart()?;
    wait_well(&alpha)?;
    assert_eq!(subnets(&alpha)?, own);
    Ok(())
}

fn is_refused(daemon: &Daemon, said: &str) -> Result<()> {
    daemon.restart()?;
    daemon.wait_log(said, LIMIT)?;
    wait_page(daemon, 503, "no lease held")?;
    assert!(daemon.is_running());
    daemon.kill()
}

fn state_file(daemon: &Daemon) -> Result<PathBuf> {
    let mut entries = std::fs::read_dir(daemon.node().directory().join("state"))?;
    Ok(entries.next().context("no state file")??.path())
}

/// Where a daemon would keep its memory, as `--print-config` says.
fn printed_state_file(daemon: &Daemon, prefix: &str) -> Result<PathBuf> {
    let node = daemon.node();
    let mut command = Command::new(netns_harness::Binaries::built()?.find("towpathd")?);
    command.args(["--print-config", "--node-name=alpha", "--etcd-endpoints=http://192.0.2.1:2379"]);
    command.arg(format!("--etcd-prefix={prefix}")).arg(format!("--subnet-file={}", daemon.subnet_file().display()));
    command.arg(format!("--state-directory={}", node.directory().join("state").display()));
    let printed = String::from_utf8(node.output(command, "")?.stdout)?;
    let line = printed.lines().find_map(|line| line.strip_prefix("(state file) = "));
    let path = line.and_then(|line| line.split_whitespace().next()).with_context(|| printed.clone())?;
    Ok(path.into())
}
