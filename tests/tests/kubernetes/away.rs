//! The API server away: nothing changes, and a node comes up as it was.

use anyhow::{Result, ensure};
use ipam::Family;
use netns_harness::{Pace, Signal, Stream, wait_for};

use crate::cluster::{Cluster, LIMIT, state_file, wait_page, wait_remembered, wait_routes};

#[test]
fn with_the_api_away_everything_runs_restarts_and_boots() -> Result<()> {
    let cluster = Cluster::new("kubeaway")?;
    let (alpha, beta) = (cluster.join("alpha", 1)?, cluster.join("beta", 2)?);
    let pods = [cluster.pod(&alpha, "web")?, cluster.pod(&beta, "web")?];
    cluster.wait_talk(&pods[0], &pods[1])?;
    wait_remembered(&alpha, &["10.244.2.0/24"])?;
    let pace = Pace { per_sec: 500, at_most: LIMIT * 10 };
    let stream = Stream::start(&pods[0], &pods[1], Family::V4, pace)?;
    stream.wait_more(50, LIMIT)?;
    cluster.api.api_server().kill()?;
    wait_page(&alpha, 200, "degraded: API unreachable since 20")?;
    // A restart of the daemon alone: from its memory, and nothing is lost.
    alpha.kill()?;
    alpha.restart()?;
    wait_page(&alpha, 200, "degraded: API unreachable since 20")?;
    ensure!(stream.stop()?.lost() == 0, "{}", alpha.log());
    // A boot: the kernel is empty, and so is /run.
    alpha.kill()?;
    alpha.node().run(["sh", "-ec", "ip link delete flannel.1; nft flush ruleset"])?;
    std::fs::remove_file(alpha.subnet_file())?;
    alpha.restart()?;
    wait_page(&alpha, 200, "degraded: API unreachable since 20")?;
    alpha.wait_log("degraded", LIMIT)?;
    let another = cluster.pod(&alpha, "db")?;
    cluster.wait_talk(&another, &pods[1])?;
    // It is back, and what happened meanwhile is made up for.
    cluster.api.restart()?;
    let gamma = cluster.join("gamma", 3)?;
    wait_routes(alpha.node(), &["10.244.2.0/24", "10.244.3.0/24"])?;
    wait_for("nothing degraded any more", LIMIT, || {
        let page = alpha.get("/readyz")?;
        ensure!(page.body == "ready\n", "{page:?}");
        Ok(())
    })?;
    let third = cluster.pod(&gamma, "web")?;
    cluster.wait_talk(&another, &third)
}

#[test]
fn an_api_server_that_falls_silent_changes_nothing() -> Result<()> {
    let cluster = Cluster::new("kubesilent")?;
    let (alpha, _beta) = (cluster.join("alpha", 1)?, cluster.join("beta", 2)?);
    wait_routes(alpha.node(), &["10.244.2.0/24"])?;
    wait_remembered(&alpha, &["10.244.2.0/24"])?;
    cluster.api.api_server().signal(Signal::STOP)?;
    alpha.kill()?;
    alpha.restart()?;
    alpha.wait_ready(LIMIT)?;
    wait_routes(alpha.node(), &["10.244.2.0/24"])?;
    cluster.api.api_server().signal(Signal::CONT)?;
    let _gamma = cluster.join("gamma", 3)?;
    wait_routes(alpha.node(), &["10.244.2.0/24", "10.244.3.0/24"])
}

#[test]
fn a_memory_of_another_node_or_cluster_is_refused_with_a_sentence() -> Result<()> {
    let cluster = Cluster::new("kubeforeign")?;
    let alpha = cluster.join("alpha", 1)?;
    wait_remembered(&alpha, &[])?;
    alpha.stop()?;
    cluster.api.api_server().kill()?;
    let file = state_file(&alpha)?;
    // The disk of another machine.
    let beta = cluster.lab.node("beta")?;
    std::fs::create_dir_all(beta.directory().join("state"))?;
    let name = file.file_name().unwrap_or_default();
    let beta_flags = format!("--subnet-file={}", alpha.subnet_file().display());
    std::fs::copy(&file, beta.directory().join("state").join(name))?;
    let daemon = cluster.start(&beta, &[&beta_flags])?;
    daemon.wait_log("is of node `alpha`, not `beta`", LIMIT)?;
    wait_page(&daemon, 503, "no lease held")?;
    ensure!(daemon.node().run(["ip", "link", "show", "flannel.1"]).is_err(), "nothing was done by it");
    Ok(())
}
