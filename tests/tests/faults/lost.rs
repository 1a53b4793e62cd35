//! etcd that has lost all it knew, and etcd that takes nothing more.

use anyhow::{Context, Result, ensure};
use ipam::Family;
use netns_harness::{Binaries, EtcdOptions, Lab, Store, wait_for};

use crate::ask::{wait_page, wait_well};
use crate::cluster::{Cluster, DUAL, LIMIT, PREFIX, SINGLE, bare_pod, subnets, wait_picture};
use crate::lease::{Ghost, put};
use crate::picture::Picture;

#[test]
fn an_etcd_that_lost_everything_gets_all_leases_back() -> Result<()> {
    let mut cluster = Cluster::on_etcd("lost", DUAL)?;
    let daemons = cluster.join_all(["alpha", "beta", "gamma"])?;
    let pods = [bare_pod(&daemons[0], "web")?, bare_pod(&daemons[1], "web")?];
    let before = daemons.each_ref().map(subnets);
    let before: Vec<_> = before.into_iter().collect::<Result<_>>()?;
    let pictures: Vec<Picture> = daemons.iter().map(|daemon| Picture::of(daemon.node())).collect::<Result<_>>()?;
    let etcd = cluster.etcd()?;
    etcd.kill()?;
    std::fs::remove_dir_all(etcd.members()[0].station.directory().join("etcd"))?;
    etcd.restart()?;
    daemons
        .iter()
        .try_for_each(|daemon| wait_page(daemon, 200, &format!("etcd has no key {PREFIX}/config")).map(drop))?;
    etcd.ctl(&["put", &format!("{PREFIX}/config"), DUAL])?;
    daemons.iter().try_for_each(wait_well)?;
    for (daemon, picture) in daemons.iter().zip(&pictures) {
        wait_picture(daemon.node(), picture)?;
    }
    let now: Vec<_> = daemons.iter().map(subnets).collect::<Result<_>>()?;
    assert_eq!(now, before);
    wait_for("the pods to talk", LIMIT, || pods[0].reach(&pods[1], Family::V6))?;
    Ok(())
}

#[test]
fn an_etcd_that_takes_nothing_more_harms_only_those_without_a_lease() -> Result<()> {
    let lab = Lab::new("nospace")?;
    let etcd = lab.etcd(&EtcdOptions { flags: vec!["--quota-backend-bytes=2000000".to_owned()] })?;
    etcd.ctl(&["put", &format!("{PREFIX}/config"), SINGLE])?;
    let store = Store::Etcd(etcd.endpoints()?);
    let mut cluster =
        Cluster { binaries: Binaries::built()?, store, daemons: Vec::new(), etcd: Some(etcd.clone()), lab };
    let alpha = cluster.join("alpha")?;
    let ballast = "x".repeat(500_000);
    let full = (0..20).find_map(|_| put(&etcd, "../ballast", &ballast).err()).context("etcd took it all")?;
    ensure!(format!("{full:#}").contains("database space exceeded"), "{full:#}");
    let node = cluster.lab.node("beta")?;
    let beta = cluster.start(&node, |options| options)?;
    wait_page(&beta, 503, "database space exceeded; make room there: `etcdctl compact`, `etcdctl defrag`")?;
    // Who has a lease keeps it, over a restart as well.
    alpha.stop()?;
    alpha.restart()?;
    wait_well(&alpha)?;
    let found = etcd.ctl(&["get", "/", "-w", "json"])?;
    let revision = serde_json::from_str::<serde_json::Value>(&found)?["header"]["revision"].to_string();
    etcd.ctl(&["del", &format!("{PREFIX}/subnets/../ballast")])?;
    for words in [&["compact", &revision] as &[&str], &["defrag"], &["alarm", "disarm"]] {
        etcd.ctl(words)?;
    }
    wait_well(&beta)?;
    wait_for("etcd to take a lease", LIMIT, || Ghost::numbered(211).put(&etcd))?;
    cluster.wait_acquainted()
}
