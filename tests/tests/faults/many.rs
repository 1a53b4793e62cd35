//! Ten thousand leases: the daemon is soon ready, knows all, shows all, and explains each.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use netns_harness::{Daemon, wait_for};

use crate::ask::{status, towpathctl, wait_metric, wait_well};
use crate::cluster::{Cluster, LIMIT, PREFIX, counted, subnets, wait_route};
use crate::lease::{Ghost, wait_no_route};

const MANY: u32 = 10_000;
const NETWORK: &str = r#"{"Network": "10.0.0.0/8", "SubnetLen": 24, "SubnetMin": "10.200.0.0"}"#;

/// More than a daemon may ever hold with so many peers, in whatever way it was built.
const MEMORY: f64 = 64e6;

fn ghosts() -> impl Iterator<Item = Ghost> {
    (0..MANY).map(|number| {
        let (high, low) = (number / 250, number % 250);
        Ghost {
            subnet: format!("10.{}.{low}.0/24", 1 + high),
            public: format!("198.18.{high}.{low}"),
            mac: format!("02:00:00:01:{high:02x}:{low:02x}"),
            vni: 1,
        }
    })
}

#[test]
fn ten_thousand_leases_in_a_directory_are_no_trouble() -> Result<()> {
    let mut cluster = Cluster::on_directory("manydir", NETWORK)?;
    let store = cluster.directory()?;
    std::fs::create_dir(store.join("leases"))?;
    ghosts().try_for_each(|ghost| ghost.write(&store))?;
    let alpha = cluster.join("alpha")?;
    let late = Ghost::numbered(77);
    are_no_trouble(&alpha, &late, |ghost| ghost.write(&store), |ghost| remove(&store, ghost))?;
    all_leave_at_once(&alpha, || {
        let entries = std::fs::read_dir(store.join("leases"))?;
        entries.into_iter().try_for_each(|entry| Ok(std::fs::remove_file(entry?.path())?))
    })
}

fn remove(store: &Path, ghost: &Ghost) -> Result<()> {
    Ok(std::fs::remove_file(store.join("leases").join(format!("{}.json", ghost.key())))?)
}

#[test]
fn ten_thousand_leases_in_etcd_are_no_trouble() -> Result<()> {
    let mut cluster = Cluster::on_etcd("manyetcd", NETWORK)?;
    let etcd = cluster.etcd()?.clone();
    let all: Vec<Ghost> = ghosts().collect();
    // etcd takes 128 operations in one transaction. etcdctl reads comparisons, then, after an empty line, what to do.
    for part in all.chunks(128) {
        let mut transaction = String::from("\n");
        for ghost in part {
            let value = ghost.value().replace('"', "\\\"");
            writeln!(transaction, "put {PREFIX}/subnets/{} \"{value}\"", ghost.key())?;
        }
        transaction.push_str("\n\n");
        let words = ["env", "ETCDCTL_API=3", "etcdctl", "txn"];
        etcd.members()[0].station.feed(words, &transaction)?;
    }
    let alpha = cluster.join("alpha")?;
    let late = Ghost::numbered(77);
    are_no_trouble(&alpha, &late, |ghost| ghost.put(&etcd), |ghost| ghost.remove(&etcd))?;
    all_leave_at_once(&alpha, || etcd.ctl(&["del", "--prefix", &format!("{PREFIX}/subnets/")]).map(drop))
}

fn are_no_trouble(
    alpha: &Daemon,
    late: &Ghost,
    put: impl Fn(&Ghost) -> Result<()>,
    remove: impl Fn(&Ghost) -> Result<()>,
) -> Result<()> {
    wait_metric(alpha, "towpath_peers", f64::from(MANY))?;
    wait_well(alpha)?;
    let routes = alpha.node().ip("route show proto 84")?.lines().count();
    assert_eq!(routes, MANY as usize);
    let shown = status(alpha)?;
    let peers = shown["peers"].as_array().context("peers")?;
    assert_eq!(peers.len(), MANY as usize);
    assert!(peers.iter().all(|peer| peer["ok"] == true));
    let text = towpathctl(alpha, &["status"])?;
    assert!(text.out.lines().count() > MANY as usize && text.code == Some(0));
    let explained = towpathctl(alpha, &["explain", "10.23.45.6"])?;
    ensure!(explained.code == Some(0) && explained.out.contains("ghost-10.23.45.0-24"), "{explained:?}");
    assert_eq!(towpathctl(alpha, &["plan"])?.out, "nothing to do\n");
    let looks = counted(alpha, "towpath_looks_total")?;
    put(late)?;
    wait_route(alpha.node(), &late.subnet())?;
    remove(late)?;
    wait_no_route(alpha.node(), &late.subnet())?;
    assert!(counted(alpha, "towpath_looks_total")? <= looks + 1.0, "one lease is no reason to look at all");
    let memory = counted(alpha, "process_resident_memory_bytes")?;
    assert!(memory < MEMORY, "{memory} bytes");
    Ok(())
}

/// Somebody removes all leases, the node's own too.
fn all_leave_at_once(alpha: &Daemon, remove_all: impl Fn() -> Result<()>) -> Result<()> {
    let before = subnets(alpha)?;
    remove_all()?;
    wait_metric(alpha, "towpath_peers", 0.0)?;
    wait_for("all routes to be gone", LIMIT, || {
        let routes = alpha.node().ip("route show proto 84")?;
        ensure!(routes.trim().is_empty(), "there are {}", routes.lines().count());
        Ok(())
    })?;
    wait_metric(alpha, "towpath_leases", 1.0)?;
    wait_well(alpha)?;
    assert_eq!(subnets(alpha)?, before);
    assert_eq!(towpathctl(alpha, &["plan"])?.out, "nothing to do\n");
    assert_eq!(counted(alpha, "towpath_kernel_refusals_total")?, 0.0);
    Ok(())
}
