//! etcd is silent, dead, compacted or missing a member while daemons run: what runs keeps running, and what was missed is
//! made up for.

use anyhow::{Context, Result, ensure};
use ipam::Family;
use netns_harness::{Daemon, Etcd, EtcdOptions, Lab, Pace, Signal, Store, Stream, wait_for};

use crate::ask::{lines, status, wait_metric, wait_page, wait_well};
use crate::cluster::{Cluster, DUAL, LIMIT, PREFIX, wait_route};
use crate::lease::{APART, Ghost, subnet, wait_no_route};
use crate::picture::Picture;

#[test]
fn while_etcd_is_stopped_nothing_changes_and_no_packet_is_lost() -> Result<()> {
    nothing_changes_while("silent", Etcd::pause, Etcd::resume)
}

#[test]
fn while_etcd_is_dead_nothing_changes_and_no_packet_is_lost() -> Result<()> {
    nothing_changes_while("dead", Etcd::kill, Etcd::restart)
}

fn nothing_changes_while(
    name: &str,
    away: impl Fn(&Etcd) -> Result<()>,
    back: impl Fn(&Etcd) -> Result<()>,
) -> Result<()> {
    let mut cluster = Cluster::on_etcd(name, DUAL)?;
    let [alpha, beta] = cluster.join_all(["alpha", "beta"])?;
    let (from, to) = (cluster.pod(&alpha, "web")?, cluster.pod(&beta, "web")?);
    wait_for("the pods to talk", LIMIT, || from.reach(&to, Family::V4))?;
    let pictures = [Picture::of(alpha.node())?, Picture::of(beta.node())?];
    let stream = Stream::start(&from, &to, Family::V4, Pace { per_sec: 200, ..Pace::default() })?;
    let logs = [alpha.log().len(), beta.log().len()];
    away(cluster.etcd()?)?;
    for (daemon, log) in [&alpha, &beta].into_iter().zip(logs) {
        wait_page(daemon, 200, "degraded: the store cannot be used, what it said last is kept: etcd at")?;
        wait_metric(daemon, "towpath_store_up", 0.0)?;
        assert!(daemon.metric("towpath_store_trouble_seconds")?.context("a metric")? > 0.0);
        assert_eq!(status(daemon)?["store"]["up"], false);
        assert!(!lines(daemon, log, &["WARN", "store: etcd at http://192.0.2.1:2379"]).is_empty());
    }
    // A pod can be made without the store.
    cluster.pod(&alpha, "new")?.delete()?;
    stream.wait_more(200, LIMIT)?;
    back(cluster.etcd()?)?;
    for (daemon, log) in [&alpha, &beta].into_iter().zip(logs) {
        wait_well(daemon)?;
        wait_metric(daemon, "towpath_store_up", 1.0)?;
        assert_eq!(lines(daemon, log, &["store: well again"]).len(), 1);
        let said = lines(daemon, log, &["WARN"]);
        assert!(said.len() <= 4, "one reason is said once: {said:#?}");
    }
    let report = stream.stop()?;
    assert_eq!(report.lost(), 0, "{report:?}");
    for (daemon, picture) in [&alpha, &beta].into_iter().zip(pictures) {
        picture.compare(&Picture::of(daemon.node())?)?;
    }
    Ok(())
}

#[test]
fn what_a_compaction_took_away_is_made_up_for() -> Result<()> {
    let mut cluster = Cluster::on_etcd("compacted", APART)?;
    let [alpha] = cluster.join_all(["alpha"])?;
    let etcd = cluster.etcd()?;
    let [leaves, changes, joins] = [31, 32, 33].map(Ghost::numbered);
    [&leaves, &changes].into_iter().try_for_each(|ghost| ghost.put(etcd))?;
    [&leaves, &changes].into_iter().try_for_each(|ghost| wait_route(alpha.node(), &ghost.subnet()))?;
    alpha.signal(Signal::STOP)?;
    leaves.remove(etcd)?;
    joins.put(etcd)?;
    let changed = Ghost { public: "192.0.2.232".to_owned(), ..changes.clone() };
    changed.put(etcd)?;
    let found = etcd.ctl(&["get", &format!("{PREFIX}/config"), "-w", "json"])?;
    let revision = serde_json::from_str::<serde_json::Value>(&found)?["header"]["revision"].to_string();
    etcd.ctl(&["compact", &revision])?;
    etcd.kill()?;
    etcd.restart()?;
    alpha.signal(Signal::CONT)?;
    wait_route(alpha.node(), &joins.subnet())?;
    wait_no_route(alpha.node(), &leaves.subnet())?;
    wait_for("the changed node's new address", LIMIT, || {
        let picture = Picture::of(alpha.node())?;
        ensure!(picture.lines(&["fdb ", &format!(" dst {} ", changed.public)]).len() == 1, "it is not there");
        ensure!(picture.lines(&["fdb ", &format!(" dst {} ", changes.public)]).is_empty(), "the old one is");
        Ok(())
    })?;
    wait_well(&alpha)
}

#[test]
fn of_three_members_any_one_may_die() -> Result<()> {
    let lab = Lab::new("members")?;
    let etcd = lab.etcd_cluster(3, &EtcdOptions::default())?;
    etcd.ctl(&["put", &format!("{PREFIX}/config"), APART])?;
    let store = Store::Etcd(etcd.endpoints()?);
    let binaries = netns_harness::Binaries::built()?;
    let mut cluster = Cluster { binaries, store, daemons: Vec::new(), etcd: Some(etcd), lab };
    let [alpha, beta] = cluster.join_all(["alpha", "beta"])?;
    let subnets = [subnet(&alpha)?, subnet(&beta)?];
    // The first one is where etcdctl asks: it dies last.
    for (number, member) in cluster.etcd()?.members().iter().enumerate().rev() {
        member.process.kill()?;
        if number > 0 {
            tells_both(&cluster, Ghost::numbered(40 + u8::try_from(number)?), [&alpha, &beta])?;
        }
        [&alpha, &beta].into_iter().try_for_each(wait_well)?;
        member.process.restart()?;
        cluster.etcd()?.wait_ready(LIMIT)?;
    }
    tells_both(&cluster, Ghost::numbered(50), [&alpha, &beta])?;
    assert_eq!([subnet(&alpha)?, subnet(&beta)?], subnets);
    Ok(())
}

fn tells_both(cluster: &Cluster, ghost: Ghost, daemons: [&Daemon; 2]) -> Result<()> {
    wait_for("etcd to take a write", LIMIT, || ghost.put(cluster.etcd()?))?;
    daemons.into_iter().try_for_each(|daemon| wait_route(daemon.node(), &ghost.subnet()))
}
