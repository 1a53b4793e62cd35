//! Route reflectors chosen by name and by label, while packets flow: nobody loses one when nodes begin to reflect, or when others do it.

use anyhow::{Context, Result, ensure};
use ipam::Family;
use netns_harness::{Daemon, Stream, wait_for};

use crate::bgp::{ctl, pods, wait_talk};
use crate::cluster::{Cluster, LIMIT, stream};

fn network(reflectors: &str) -> String {
    let reflectors = format!(r#""RouteReflectors": {{"Nodes": [{reflectors}], "ClusterID": "0.0.0.9"}}"#);
    format!(
        r#"{{"Network": "10.244.0.0/16", "IPv6Network": "fd00:10:244::/48", "EnableIPv6": true, "Backend": {{"Type": "bgp", {reflectors}}}}}"#
    )
}

/// Waits until a node has a session with these nodes and with no other.
fn wait_sessions(cluster: &Cluster, daemon: &Daemon, nodes: &[&str]) -> Result<()> {
    wait_for(&format!("{} to speak with {nodes:?} alone", daemon.node().name()), LIMIT, || {
        let peers: serde_json::Value = serde_json::from_str(&ctl(cluster, daemon, "bgp peers -o json")?)?;
        let peers = peers["peers"].as_array().cloned().unwrap_or_default();
        let up = peers.iter().all(|peer| peer["state"] == "Established");
        let names: Vec<&str> = peers.iter().filter_map(|peer| peer["name"].as_str()).collect();
        ensure!(up && names == nodes, "{names:?}, all up: {up}: {}", daemon.log_tail(20));
        Ok(())
    })
}

fn go_on(streams: &[Stream]) -> Result<()> {
    streams.iter().try_for_each(|stream| stream.wait_more(100, LIMIT))
}

#[test]
fn nodes_begin_and_cease_to_reflect_and_no_packet_is_lost() -> Result<()> {
    // Nobody has this label: each speaks with each, and the operator is told.
    let mut cluster = Cluster::on_directory("bgpreflectors", &network(r#""role=nobody""#))?;
    let mut daemons = Vec::new();
    for (name, label) in [("alpha", "rack=1"), ("beta", "rack=2"), ("gamma", "rack=2,role=spine")] {
        let node = cluster.lab.node(name)?;
        daemons.push(cluster.start(&node, |options| options.flag(format!("--node-labels={label}")))?);
    }
    daemons.iter().try_for_each(|daemon| daemon.wait_ready(LIMIT).map(drop))?;
    cluster.wait_acquainted()?;
    let pods = pods(&cluster, &daemons)?;
    wait_talk(&pods)?;
    let [alpha, beta, gamma] = &daemons[..] else { anyhow::bail!("three") };
    wait_sessions(&cluster, alpha, &["beta", "gamma"])?;
    let status = ctl(&cluster, alpha, "status")?;
    ensure!(status.contains("no node says in its lease that it reflects routes"), "{status}");
    let mut streams = Vec::new();
    for family in Family::ALL {
        for (from, to) in [(0, 1), (1, 2), (2, 0)] {
            streams.push(stream(&pods[from], &pods[to], family)?);
        }
    }
    // By a name; then by a label that another node has.
    cluster.configure(&network(r#""alpha""#))?;
    wait_sessions(&cluster, beta, &["alpha"]).with_context(|| alpha.log_tail(20))?;
    wait_sessions(&cluster, gamma, &["alpha"])?;
    go_on(&streams)?;
    cluster.configure(&network(r#""role=spine""#))?;
    wait_sessions(&cluster, alpha, &["gamma"])?;
    wait_sessions(&cluster, beta, &["gamma"])?;
    wait_sessions(&cluster, gamma, &["alpha", "beta"])?;
    go_on(&streams)?;
    let lease = std::fs::read_dir(cluster.directory()?.join("leases"))?
        .map(|file| Ok(std::fs::read_to_string(file?.path())?))
        .collect::<Result<Vec<_>>>()?;
    let said = lease.iter().filter(|text| text.contains(r#""RouteReflector": 9"#)).count();
    ensure!(said == 1, "{lease:?}");
    for stream in streams {
        let report = stream.stop()?;
        let logs = || daemons.iter().map(|daemon| daemon.log_tail(25)).collect::<Vec<_>>().join("\n--\n");
        assert_eq!(report.lost(), 0, "{report:?}: {}", logs());
    }
    Ok(())
}

/// BGP does not get through to a node, or does again.
fn let_through(daemon: &Daemon, way: Way) -> Result<()> {
    let rules = match way {
        Way::Closed => {
            "table inet fault { chain input { type filter hook input priority -1; tcp sport 179 drop; tcp dport 179 drop; }; }"
        }
        Way::Open => "delete table inet fault",
    };
    daemon.node().run(["nft", rules]).map(drop)
}

enum Way {
    Open,
    Closed,
}

#[test]
fn a_reflector_dies_and_comes_back_before_a_client_can_speak_with_it_and_then_all_die_and_no_packet_is_lost()
-> Result<()> {
    let mut cluster = Cluster::on_directory("bgpreflectdies", &network(r#""alpha""#))?;
    let daemons = cluster.join_all(["alpha", "beta", "gamma"])?;
    let pods = pods(&cluster, &daemons)?;
    wait_talk(&pods)?;
    let [alpha, beta, gamma] = &daemons;
    wait_sessions(&cluster, beta, &["alpha"])?;
    wait_sessions(&cluster, gamma, &["alpha"])?;
    let streams =
        Family::ALL.map(|family| stream(&pods[1], &pods[2], family)).into_iter().collect::<Result<Vec<_>>>()?;
    alpha.kill()?;
    let_through(gamma, Way::Closed)?;
    alpha.restart()?;
    wait_for("beta, and nobody else, to be back", LIMIT, || {
        let peers: serde_json::Value = serde_json::from_str(&ctl(&cluster, alpha, "bgp peers -o json")?)?;
        let state = |name: &str| {
            peers["peers"]
                .as_array()
                .into_iter()
                .flatten()
                .find(|peer| peer["name"] == name)
                .map(|it| it["state"].clone())
        };
        ensure!(state("beta") == Some("Established".into()) && state("gamma") != state("beta"), "{peers}");
        Ok(())
    })?;
    // Long enough for whoever forgets to forget.
    go_on(&streams)?;
    let_through(gamma, Way::Open)?;
    wait_sessions(&cluster, alpha, &["beta", "gamma"])?;
    alpha.wait_log("all IPv4 routes are learnt", LIMIT)?;
    go_on(&streams)?;
    daemons.iter().try_for_each(|daemon| daemon.kill())?;
    daemons.iter().try_for_each(|daemon| daemon.restart())?;
    for daemon in &daemons {
        daemon.wait_ready(LIMIT)?;
    }
    wait_sessions(&cluster, alpha, &["beta", "gamma"])?;
    for daemon in [beta, gamma] {
        for family in ["IPv4", "IPv6"] {
            daemon.wait_log(&format!("all {family} routes are learnt"), LIMIT)?;
        }
    }
    go_on(&streams)?;
    for stream in streams {
        let report = stream.stop()?;
        let logs = || daemons.iter().map(|daemon| daemon.log_tail(25)).collect::<Vec<_>>().join("\n--\n");
        assert_eq!(report.lost(), 0, "{report:?}: {}", logs());
    }
    Ok(())
}
