//! Beside other programs' firewalls: what drops pods' packets is said where an operator looks, with the command that opens it.

use anyhow::{Context, Result, ensure};
use netns_harness::{Station, wait_for};

use crate::cluster::{Cluster, LIMIT, SINGLE, status};

#[test]
fn a_forward_chain_that_drops_pods_packets_is_named_and_what_is_named_opens_it() -> Result<()> {
    let mut cluster = Cluster::on_directory("gates", SINGLE)?;
    let [alpha, beta] = cluster.join_all(["alpha", "beta"])?;
    let pods = [cluster.pod(&alpha, "web")?, cluster.pod(&beta, "web")?];
    let stations: [&Station; 2] = [&pods[0], &pods[1]];
    wait_for("the pods to talk", LIMIT, || stations[0].reach(stations[1], ipam::Family::V4))?;
    ensure!(!status(&cluster, &alpha)?.contains("degraded"), "{}", status(&cluster, &alpha)?);
    // As an administrator does: it is theirs, and nobody else writes to it.
    alpha.node().run([
        "nft",
        "add table inet mine; add chain inet mine theirs { type filter hook forward priority 0; policy drop; }",
    ])?;
    let named = "the chain theirs of table inet mine drops pods' packets of 10.244.0.0/16";
    alpha.wait_log(named, LIMIT)?;
    ensure!(stations[0].reach(stations[1], ipam::Family::V4).is_err(), "that chain let the packet through");
    let said = status(&cluster, &alpha)?;
    ensure!(said.contains(named), "{said}");
    let line = said.lines().find(|line| line.contains(named)).context("the line")?;
    let (_, command) = line.rsplit_once("): ").context("no command in it")?;
    alpha.node().run(["sh", "-c", command])?;
    wait_for("the pods to talk again", LIMIT, || stations[0].reach(stations[1], ipam::Family::V4))?;
    alpha.wait_log("no other program's firewall drops pods' packets any more", LIMIT)?;
    ensure!(!status(&cluster, &alpha)?.contains("degraded"), "{}", status(&cluster, &alpha)?);
    Ok(())
}
