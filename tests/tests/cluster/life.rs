//! Nodes that are cordoned, drained, deleted, made anew, and moved to another address, in a cluster that goes on.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ipam::Family;
use netns_harness::kubernetes::{ClusterOptions, Method};
use netns_harness::{ECHO_PORT, Station, Transport, wait_for};
use serde_json::{Value, json};

use crate::ground::{Ground, LIMIT, text};

const NEW_SUBNET: &str = "10.244.77.0/24";

#[test]
fn nodes_go_come_and_move_and_the_others_follow() -> Result<()> {
    let ground = Ground::start("life", ClusterOptions { nodes: 3, ..ClusterOptions::new(Method::ByHand)? })?;
    ground.cluster.apply(&text("manifests/towpath.yml")?)?;
    ground.wait_network()?;
    let witnesses = [ground.pod("web-n1", "n1")?, ground.pod("web-n3", "n3")?];
    let first = check_drain(&ground, &witnesses)?;
    check_same_subnet(&ground, &witnesses, &first)?;
    let second = check_other_subnet(&ground, &witnesses)?;
    check_address(&ground, &witnesses, &second)?;
    ground.check_no_restarts()
}

/// A node without pods is still a node: its daemon stays, and so do the ways to it. Gives its next pod.
fn check_drain(ground: &Ground, witnesses: &[Station; 2]) -> Result<Station> {
    let gone = ground.pod("gone", "n2")?;
    ground.kubectl("cordon n2")?;
    check_reach(witnesses, &gone)?;
    ground.kubectl("drain n2 --ignore-daemonsets --force --timeout=50s")?;
    let n2 = ground.cluster.machine("n2")?;
    ground.wait("nothing to be left of the pods", || {
        let left = n2.ip("-o link show master cni0")?;
        ensure!(left.is_empty(), "{left}");
        Ok(())
    })?;
    let status = ground.in_daemon("n2", &["towpathctl", "status"])?;
    ensure!(status.contains(", ready") && status.contains("peers      2, all ok"), "{status}");
    check_routes(ground, &subnet(ground)?, true)?;
    ground.kubectl("uncordon n2")?;
    let first = ground.pod("first", "n2")?;
    check_reach(witnesses, &first)?;
    Ok(first)
}

/// The same subnet: the pods that run are reached again, by both.
fn check_same_subnet(ground: &Ground, witnesses: &[Station; 2], there: &Station) -> Result<()> {
    let mut node = bare(ground.json("get node n2")?);
    remove(ground, &subnet(ground)?)?;
    node["metadata"]["labels"]["anew"] = json!("1");
    let server = SocketAddr::new(there.address(Family::V4)?, ECHO_PORT);
    let begin = Instant::now();
    create(ground, &node)?;
    let created = begin.elapsed();
    // Datagrams: the kernel repeats the first packet of a connection only after a second.
    let ask = |witness: &Station| witness.probe(server, Transport::Udp, Duration::from_millis(20));
    let asked = wait_for("the pods of the node that was made anew", LIMIT, || {
        witnesses.iter().try_for_each(|it| ask(it).map(drop))
    });
    ground.explained(asked)?;
    let all = begin.elapsed();
    println!("a node that has a podCIDR is reached by all {all:?} after it was asked for ({created:?} of it kubectl)");
    ground.wait_network()
}

/// Another one: new pods have addresses of it, and nobody has ways to the old one. Gives such a pod.
fn check_other_subnet(ground: &Ground, witnesses: &[Station; 2]) -> Result<Station> {
    let before = subnet(ground)?;
    let mut node = bare(ground.json("get node n2")?);
    remove(ground, &before)?;
    node["spec"] = json!({ "podCIDR": NEW_SUBNET, "podCIDRs": [NEW_SUBNET] });
    create(ground, &node)?;
    let n2 = ground.cluster.machine("n2")?;
    ground.wait("subnet.env to have the new subnet", || {
        let file = n2.read("/run/flannel/subnet.env")?;
        ensure!(file.contains("FLANNEL_SUBNET=10.244.77.1/24"), "{file}");
        Ok(())
    })?;
    ground.wait_network()?;
    let status = ground.in_daemon("n2", &["towpathctl", "status"])?;
    ensure!(status.contains(&format!("changed from {before} to {NEW_SUBNET}")), "nobody is told to drain:\n{status}");
    let pod = ground.pod("second", "n2")?;
    let address = pod.address(Family::V4)?;
    ensure!(address.to_string().starts_with("10.244.77."), "{address} is not of {NEW_SUBNET}");
    ground.wait("the new pod to be reached", || check_reach(witnesses, &pod))?;
    check_routes(ground, &before, false)?;
    ground.kubectl("delete pod first --grace-period=1 --wait=false")?;
    Ok(pod)
}

/// The machine has another address: peers send there, and its pods keep theirs.
fn check_address(ground: &Ground, witnesses: &[Station; 2], pod: &Station) -> Result<()> {
    let n2 = ground.cluster.machine("n2")?;
    let before = n2.address(Family::V4)?.to_string();
    n2.ip(&format!("address delete {before}/24 dev eth0"))?;
    n2.ip("address add 192.0.2.112/24 dev eth0")?;
    n2.ip("route replace default via 192.0.2.1 dev eth0")?;
    let script = n2.read("/etc/lab/kubelet")?;
    n2.write("/etc/lab/kubelet", &script.replace(&before, "192.0.2.112"))?;
    n2.run(["systemctl", "restart", "kubelet"])?;
    ground.wait("the pods of the node that moved", || check_reach(witnesses, pod))?;
    ground.cluster.kubectl().wait_json("get node n2", LIMIT, |node| {
        let published = &node["metadata"]["annotations"]["flannel.alpha.coreos.com/public-ip"];
        ensure!(published == "192.0.2.112", "{published}");
        Ok(())
    })
}

/// Both ways.
fn check_reach(witnesses: &[Station; 2], pod: &Station) -> Result<()> {
    for witness in witnesses {
        witness.reach(pod, Family::V4)?;
        pod.reach(witness, Family::V4)?;
    }
    Ok(())
}

fn subnet(ground: &Ground) -> Result<String> {
    Ok(ground.json("get node n2")?["spec"]["podCIDR"].as_str().context("no podCIDR")?.to_owned())
}

/// Whether the others have a route to a subnet of n2's.
fn check_routes(ground: &Ground, subnet: &str, wanted: bool) -> Result<()> {
    for name in ["n1", "n3"] {
        let routes = ground.cluster.machine(name)?.ip("route show proto 84")?;
        ensure!(routes.contains(subnet) == wanted, "{name}: {routes}");
    }
    Ok(())
}

/// Deletes the Node, and waits until the others have forgotten it. Its kubelet runs on, and so do its pods.
fn remove(ground: &Ground, subnet: &str) -> Result<()> {
    ground.kubectl("delete node n2")?;
    ground.wait("the others to forget n2", || check_routes(ground, subnet, false))
}

/// As somebody writes it who registers the node anew: what controllers and daemons wrote is not in it.
fn bare(node: Value) -> Value {
    let metadata = json!({ "name": "n2", "labels": node["metadata"]["labels"] });
    let spec = json!({ "podCIDR": node["spec"]["podCIDR"], "podCIDRs": node["spec"]["podCIDRs"] });
    json!({ "apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": spec })
}

fn create(ground: &Ground, node: &Value) -> Result<()> {
    ground.cluster.kubectl().feed(["create", "-f", "-"], &node.to_string()).map(drop)
}
