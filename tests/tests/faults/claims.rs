//! Daemons that are killed at any instant of a claim: no lease is ever held twice, none is lost, nothing is left that matters.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ipnet::IpNet;
use netns_harness::{Daemon, Node};
use serde_json::Value;

use crate::ask::{status, towpathctl, wait_page, wait_well};
use crate::cluster::{Cluster, PREFIX, SINGLE, subnets};
use crate::lease::subnet;

const ROUNDS: u32 = 50;

#[test]
fn two_hundred_kills_during_claims_in_a_directory_lose_and_double_nothing() -> Result<()> {
    let mut cluster = Cluster::on_directory("killdir", SINGLE)?;
    let leases = cluster.directory()?.join("leases");
    churn(&mut cluster, |key| fs::remove_file(leases.join(key)).map_err(Into::into), || in_directory(&leases), 2)?;
    let lasting = |name: &String| name.ends_with(".json") && !name.starts_with('.');
    assert_eq!(names(&leases)?.iter().filter(|name| lasting(name)).count(), 2);
    Ok(())
}

#[test]
fn a_hundred_kills_during_claims_in_etcd_lose_and_double_nothing() -> Result<()> {
    let mut cluster = Cluster::on_etcd("killetcd", SINGLE)?;
    let etcd = cluster.etcd()?.clone();
    let remove = |key: &str| etcd.ctl(&["del", &format!("{PREFIX}/subnets/{key}")]).map(drop);
    let list = || {
        let found = etcd.ctl(&["get", "--prefix", &format!("{PREFIX}/subnets/"), "--print-value-only=false"])?;
        let lines: Vec<&str> = found.lines().collect();
        lines.chunks(2).map(|pair| published(pair.first().copied(), pair.get(1).copied())).collect()
    };
    churn(&mut cluster, remove, list, 1)
}

/// Fifteen subnets (the first of a network is not used).
const FIFTEEN: &str = r#"{"Network": "10.244.0.0/20", "SubnetLen": 24}"#;

#[test]
fn as_many_nodes_as_there_are_subnets_share_a_directory_without_a_quarrel() -> Result<()> {
    a_crowd_has_room(Cluster::on_directory("crowddir", FIFTEEN)?)
}

#[test]
fn as_many_nodes_as_there_are_subnets_share_etcd_without_a_quarrel() -> Result<()> {
    a_crowd_has_room(Cluster::on_etcd("crowdetcd", FIFTEEN)?)
}

fn a_crowd_has_room(mut cluster: Cluster) -> Result<()> {
    let nodes = (1..=16).map(|number| cluster.lab.node(&format!("n{number}")));
    let nodes: Vec<Node> = nodes.collect::<Result<_>>()?;
    let (last, crowd) = nodes.split_last().context("nodes")?;
    for node in crowd {
        cluster.start(node, |options| options)?;
    }
    cluster.daemons.iter().try_for_each(wait_well)?;
    cluster.wait_acquainted()?;
    let subnets: BTreeSet<String> =
        cluster.daemons.iter().map(|daemon| Ok(subnet(daemon)?.to_string())).collect::<Result<_>>()?;
    assert_eq!(subnets.len(), 15, "{subnets:?}");
    // One more than there is room for is told so, and has the place of the first that leaves.
    let late = cluster.start(last, |options| options)?;
    wait_page(&late, 503, "no free pod subnet is left in 10.244.0.0/20: ")?;
    let leaver = cluster.daemons.remove(0);
    assert_eq!(towpathctl(&leaver, &["release", "--yes"])?.code, Some(0));
    wait_well(&late)?;
    assert!(subnets.contains(&subnet(&late)?.to_string()));
    cluster.wait_acquainted()
}

/// A subnet and whose it is.
type Held = (IpNet, String);

fn published(key: Option<&str>, value: Option<&str>) -> Result<Held> {
    let (key, value) = key.zip(value).context("a key with its value")?;
    let subnet = key.rsplit('/').next().context("a name")?.replacen('-', "/", 1);
    let value: Value = serde_json::from_str(value).with_context(|| value.to_owned())?;
    Ok((subnet.parse()?, value["Node"].as_str().context("a node")?.to_owned()))
}

fn in_directory(leases: &Path) -> Result<Vec<Held>> {
    let shown = names(leases)?.into_iter().filter(|name| !name.starts_with('.'));
    let held = shown.map(|name| {
        let text = fs::read_to_string(leases.join(&name))?;
        let value: Value = serde_json::from_str(&text).with_context(|| format!("{name} is half a lease: {text}"))?;
        Ok((
            value["subnets"][0].as_str().context("a subnet")?.parse()?,
            value["node"].as_str().context("a node")?.into(),
        ))
    });
    held.collect()
}

fn names(leases: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(leases)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    entries.collect()
}

fn churn(
    cluster: &mut Cluster,
    remove: impl Fn(&str) -> Result<()>,
    list: impl Fn() -> Result<Vec<Held>>,
    times: u32,
) -> Result<()> {
    let daemons = cluster.join_all(["alpha", "beta"])?;
    let before = [subnets(&daemons[0])?, subnets(&daemons[1])?];
    let keys = daemons.each_ref().map(key_of);
    let keys: Vec<String> = keys.into_iter().collect::<Result<_>>()?;
    for round in 0..ROUNDS * times {
        for (daemon, key) in daemons.iter().zip(&keys) {
            daemon.kill()?;
            // Every other time there is something to claim.
            if round % 2 == 0 && list()?.iter().any(|(_, node)| node == daemon.node().name()) {
                remove(key)?;
            }
        }
        daemons.iter().try_for_each(|daemon| daemon.restart())?;
        for daemon in &daemons {
            // From the first instruction to well after the claim, in steps that share no factor with anything.
            let instant = Duration::from_micros(u64::from(round) * 7_919 % 45_000);
            if daemon.wait(instant).is_ok() {
                anyhow::bail!("it ended by itself:\n{}", daemon.log_of_this_run());
            }
            daemon.kill()?;
        }
        none_is_held_twice(&list()?).with_context(|| format!("round {round}"))?;
    }
    daemons.iter().try_for_each(|daemon| daemon.restart())?;
    daemons.iter().try_for_each(wait_well)?;
    cluster.wait_acquainted()?;
    assert_eq!([subnets(&daemons[0])?, subnets(&daemons[1])?], before);
    let held = list()?;
    none_is_held_twice(&held)?;
    assert_eq!(held.len(), 2, "{held:?}");
    for daemon in &daemons {
        let left = names(daemon.node().directory())?;
        let left: Vec<_> =
            left.iter().filter(|name| name.starts_with("status.sock.") || name.ends_with(".new")).collect();
        assert!(left.is_empty(), "{left:?}");
    }
    Ok(())
}

fn key_of(daemon: &Daemon) -> Result<String> {
    Ok(status(daemon)?["lease"]["key"].as_str().context("a key")?.to_owned())
}

fn none_is_held_twice(held: &[Held]) -> Result<()> {
    let mut nodes: BTreeMap<&str, Vec<&IpNet>> = BTreeMap::new();
    for (number, (subnet, node)) in held.iter().enumerate() {
        nodes.entry(node).or_default().push(subnet);
        let others = held.iter().skip(number + 1).map(|(other, _)| other);
        let clash = others.into_iter().find(|other| subnet.contains(*other) || other.contains(subnet));
        ensure!(clash.is_none(), "{subnet} is held twice: {held:?}");
    }
    let twice = nodes.iter().find(|(_, subnets)| subnets.len() > 1);
    ensure!(twice.is_none(), "{twice:?}");
    Ok(())
}
