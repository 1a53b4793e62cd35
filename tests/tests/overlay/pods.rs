//! Pods between the plugin and the daemon: what they hang on is the node's to say, and their links are the daemon's to bury.

use anyhow::{Context, Result, ensure};
use ipam::Family;
use netns_harness::{Attachment, Daemon, Matrix, Node, Plugin, Signal, Station, Verb, wait_for};

use crate::cluster::{Cluster, DUAL, LIMIT, nth, stream, subnets};

/// The links of pods that are left on a node.
fn wires(node: &Node) -> Result<usize> {
    Ok(node.ip("-o link show type veth")?.lines().filter(|line| line.contains("towpath-pod")).count())
}

#[test]
fn routed_and_bridged_pods_of_two_nodes_all_reach_each_other() -> Result<()> {
    let mut cluster = Cluster::on_directory("routed", DUAL)?;
    let node = cluster.lab.node("alpha")?;
    let alpha = cluster.start(&node, |options| options.flag("--pod-mode=routed"))?;
    alpha.wait_ready(LIMIT)?;
    let beta = cluster.join("beta")?;
    cluster.wait_acquainted()?;
    let routed = [cluster.pod(&alpha, "web")?, cluster.pod(&alpha, "db")?];
    ensure!(alpha.node().ip("link show cni0").is_err(), "a node of routed pods has no bridge");
    let bridged = [cluster.pod(&beta, "web")?, cluster.pod(&beta, "db")?];
    let stations: [&Station; 6] = [&routed[0], &routed[1], &bridged[0], &bridged[1], alpha.node(), beta.node()];
    Matrix::measure(&stations)?.check()?;

    // The switch is for new pods; those that run lose nothing.
    let streams = Family::ALL.map(|family| stream(&bridged[0], &routed[0], family));
    alpha.stop()?;
    let alpha = cluster.start(&node, |options| options.flag("--pod-mode=bridge"))?;
    alpha.wait_ready(LIMIT)?;
    let late = wait_for("a pod on a bridge", LIMIT, || cluster.pod(&alpha, "late"))?;
    ensure!(late.result()["interfaces"][0]["name"] == "cni0", "{}", late.result());
    let stations: [&Station; 4] = [&routed[0], &late, &bridged[0], alpha.node()];
    Matrix::measure(&stations)?.check()?;
    for stream in streams {
        assert_eq!(stream?.stop()?.lost(), 0);
    }
    for pod in [&routed[0], &routed[1], &late] {
        pod.check()?;
        pod.delete()?;
    }
    wait_for("no pod's link to be left", LIMIT, || none_left(alpha.node()))
}

#[test]
fn a_blackhole_for_the_nodes_own_subnet_takes_what_no_pod_has_and_nothing_from_its_pods() -> Result<()> {
    let mut cluster = Cluster::on_directory("blackhole", DUAL)?;
    let node = cluster.lab.node("alpha")?;
    let alpha = cluster.start(&node, |options| options.flag("--ip-blackhole-route"))?;
    alpha.wait_ready(LIMIT)?;
    let beta = cluster.join("beta")?;
    cluster.wait_acquainted()?;
    let nowhere = |family: Family| -> Result<()> {
        let of = |family: &Family| if *family == Family::V4 { "-4" } else { "-6" };
        let subnet = subnets(&alpha)?.get(family).map(|subnet| nth(subnet, 99)).context("a subnet")?;
        let said = node.run(["sh", "-c", &format!("ip {} route get {subnet} 2>&1; true", of(&family))])?;
        ensure!(said.contains("Invalid argument"), "{said}");
        Ok(())
    };
    // Before there is a bridge, it is all that there is; the bridge's own route comes before it.
    Family::ALL.into_iter().try_for_each(nowhere)?;
    let pods = [cluster.pod(&alpha, "web")?, cluster.pod(&beta, "web")?];
    let stations: [&Station; 4] = [&pods[0], &pods[1], alpha.node(), beta.node()];
    wait_for("the pods to talk", LIMIT, || Matrix::measure(&stations)?.check())?;
    // And it may come after the bridge.
    node.run(["sh", "-ec", "ip route flush proto 84 type blackhole; ip -6 route flush proto 84 type blackhole"])?;
    alpha.stop()?;
    alpha.restart()?;
    alpha.wait_ready(LIMIT)?;
    wait_for("it to be back", LIMIT, || {
        let routes = node.run(["ip", "route", "show", "type", "blackhole"])?;
        ensure!(routes.contains("proto 84"), "{routes}");
        Ok(())
    })?;
    Matrix::measure(&stations)?.check()
}

fn none_left(node: &Node) -> Result<()> {
    ensure!(wires(node)? == 0, "links of pods are left");
    Ok(())
}

/// Pods whose namespaces stay when they are deleted: with a namespace its links go by themselves.
struct Sandboxes {
    plugin: Plugin,
    node: Node,
    all: Vec<(Station, Attachment)>,
}

impl Sandboxes {
    fn add(cluster: &Cluster, daemon: &Daemon, names: &[&str]) -> Result<Sandboxes> {
        let (plugin, node) = (daemon.plugin(&cluster.binaries)?, daemon.node().clone());
        let mut all = Vec::new();
        for name in names {
            let station = node.pod_station(name)?;
            let attachment = Attachment::new(&station, name);
            plugin.call(&node, Verb::Add, &attachment)?;
            all.push((station, attachment));
        }
        Ok(Sandboxes { plugin, node, all })
    }

    fn delete(&self) -> Result<()> {
        self.all.iter().try_for_each(|(_, attachment)| self.plugin.call(&self.node, Verb::Del, attachment).map(drop))
    }
}

#[test]
fn links_of_deleted_pods_go_whoever_is_killed_in_between() -> Result<()> {
    let mut cluster = Cluster::on_directory("burial", DUAL)?;
    let [alpha] = cluster.join_all(["alpha"])?;
    let gone = |what: &str| wait_for(what, LIMIT, || none_left(alpha.node()));
    let pods = Sandboxes::add(&cluster, &alpha, &["a", "b", "c", "d", "e", "f"])?;
    pods.delete()?;
    gone("the daemon to delete what it was left")?;

    // It hangs; nobody waits for it, and what it was left is its to do when it goes on.
    let pods = Sandboxes::add(&cluster, &alpha, &["g", "h", "i"])?;
    alpha.signal(Signal::STOP)?;
    pods.delete()?;
    ensure!(wires(alpha.node())? == 3, "they are out of service and there");
    // It is killed before it did anything, and the next one finds them by the kernel alone.
    alpha.kill()?;
    ensure!(wires(alpha.node())? == 3, "nobody deleted them");
    alpha.restart()?;
    gone("the next daemon to delete what the last one was left")?;

    // Without any daemon the plugin waits for the kernel itself.
    alpha.wait_ready(LIMIT)?;
    let pods = Sandboxes::add(&cluster, &alpha, &["j"])?;
    alpha.kill()?;
    pods.delete()?;
    ensure!(wires(alpha.node())? == 0, "{}", alpha.node().ip("-d link show type veth")?);
    Ok(())
}
