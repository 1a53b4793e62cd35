//! Labels of Node objects choose who reflects routes, and a label goes from one node to another without a lost packet.

use anyhow::{Result, ensure};
use ipam::Family::V4;
use netns_harness::{Daemon, Pace, Stream, wait_for};
use std::time::Duration;

use crate::cluster::{Cluster, LIMIT};

const NETWORK: &str = r#"{"Network": "10.244.0.0/16",
    "Backend": {"Type": "bgp", "RouteReflectors": {"Nodes": ["reflector=yes"], "ClusterID": "0.0.0.9"}}}"#;

/// Waits until a node has a session with these nodes and with no other.
fn wait_sessions(cluster: &Cluster, daemon: &Daemon, nodes: &[&str]) -> Result<()> {
    let program = cluster.binaries.find("towpathctl")?;
    let command = format!("{} bgp peers -o json --socket={}", program.display(), daemon.status_socket().display());
    wait_for(&format!("{} to speak with {nodes:?} alone", daemon.node().name()), LIMIT, || {
        let said: serde_json::Value = daemon.node().json(["sh", "-c", &command])?;
        let peers = said["peers"].as_array().cloned().unwrap_or_default();
        let up = peers.iter().all(|peer| peer["state"] == "Established");
        let names: Vec<&str> = peers.iter().filter_map(|peer| peer["name"].as_str()).collect();
        ensure!(up && names == nodes, "{names:?}, all up: {up}: {}", daemon.log_tail(20));
        Ok(())
    })
}

#[test]
fn a_label_makes_a_node_a_reflector_and_goes_to_another_without_a_lost_packet() -> Result<()> {
    let cluster = Cluster::new("kubereflect")?;
    cluster.configure(NETWORK)?;
    let [alpha, beta, gamma] = [cluster.join("alpha", 1)?, cluster.join("beta", 2)?, cluster.join("gamma", 3)?];
    wait_sessions(&cluster, &gamma, &["alpha", "beta"])?;
    let pods = [cluster.pod(&beta, "one")?, cluster.pod(&gamma, "other")?];
    cluster.wait_talk(&pods[0], &pods[1])?;
    let stream = Stream::start(&pods[0], &pods[1], V4, Pace { per_sec: 500, at_most: Duration::from_secs(300) })?;
    stream.wait_more(50, LIMIT)?;
    let kubectl = cluster.api.kubectl();
    kubectl.run("label node alpha reflector=yes")?;
    wait_sessions(&cluster, &gamma, &["alpha"])?;
    ensure!(cluster.annotation("alpha", "backend-data")? == r#"{"RouteReflector":9}"#, "{}", cluster.object("alpha")?);
    // First away, then there: the hard way round.
    kubectl.run("label node alpha reflector-")?;
    kubectl.run("label node beta reflector=yes")?;
    wait_sessions(&cluster, &gamma, &["beta"])?;
    wait_sessions(&cluster, &alpha, &["beta"])?;
    ensure!(cluster.annotation("alpha", "backend-data")? == "null", "{}", cluster.object("alpha")?);
    stream.wait_more(100, LIMIT)?;
    let report = stream.stop()?;
    ensure!(report.lost() == 0, "{report:?}: {}\n{}", beta.log_tail(30), gamma.log_tail(30));
    Ok(())
}
