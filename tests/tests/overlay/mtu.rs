//! The MTU on a running cluster: pods that run follow it with both ends of their wires, under traffic and without a loss; an
//! increase waits for every node, and says for whom.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, Result, ensure};
use ipam::Family;
use netns_harness::{Daemon, ECHO_PORT, Pod, Station, wait_for};
use serde_json::Value;

use crate::cluster::{Cluster, DUAL, LIMIT, told};
use crate::flannel::{Flannel, numbered, read_published};
use crate::rollout::Traffic;

/// What the dual-stack VXLAN takes away (`docs/configure.md`).
const HEADERS: u32 = 70;

fn mtu_of(station: &Station, link: &str) -> Result<u64> {
    let links = station.json(["ip", "-j", "link", "show", link])?;
    links[0]["mtu"].as_u64().context("no MTU")
}

/// All MTUs that a pod's packets meet on its node: in `subnet.env`, of the bridge, and of both ends of the wire.
fn pods_have(daemon: &Daemon, pod: &Pod, outer: u32) -> Result<()> {
    let wanted = u64::from(outer - HEADERS);
    ensure!(told(daemon, "FLANNEL_MTU")? == wanted.to_string(), "subnet.env says {}", told(daemon, "FLANNEL_MTU")?);
    let links = daemon.node().json(["ip", "-j", "link", "show"])?;
    let wires: Vec<&Value> = links.as_array().context("a list")?.iter().filter(|it| is_for_pods(it)).collect();
    ensure!(!wires.is_empty() && wires.iter().all(|it| it["mtu"] == wanted), "outside, not {wanted}: {wires:?}");
    ensure!(mtu_of(pod, "eth0")? == wanted, "inside there are {}", mtu_of(pod, "eth0")?);
    Ok(())
}

fn is_for_pods(link: &Value) -> bool {
    link["ifname"] == "cni0" || link["ifalias"].as_str().is_some_and(|alias| alias.starts_with("towpath-pod"))
}

fn wait_pods(daemons: &[Daemon], pods: &[Pod], outer: u32) -> Result<()> {
    for (daemon, pod) in daemons.iter().zip(pods) {
        let what = format!("the pods of {} to follow {outer}", daemon.node().name());
        wait_for(&what, LIMIT, || pods_have(daemon, pod, outer))?;
    }
    Ok(())
}

/// What `towpathctl status` says of the MTU.
fn notes(cluster: &Cluster, daemon: &Daemon) -> Result<String> {
    let program = cluster.binaries.find("towpathctl")?.display().to_string();
    let socket = daemon.status_socket().display().to_string();
    let status: Value =
        serde_json::from_str(&daemon.node().run([&program, "--socket", &socket, "status", "-o", "json"])?)?;
    Ok(status["mtu_notes"].to_string())
}

/// Connections that carry full segments, both ways.
struct Bulk(Vec<TcpStream>);

impl Bulk {
    fn start(pods: &[Pod]) -> Result<Bulk> {
        let connect =
            |(from, to): (&Pod, &Pod)| from.connect(SocketAddr::new(to.address(Family::V4)?, ECHO_PORT), LIMIT);
        let pairs = pods.iter().flat_map(|from| pods.iter().map(move |to| (from, to)));
        Ok(Bulk(pairs.filter(|(from, to)| from.name() != to.name()).map(connect).collect::<Result<_>>()?))
    }

    fn goes_on(&mut self) -> Result<()> {
        const BLOCK: usize = 32 << 10;
        for (number, connection) in self.0.iter_mut().enumerate() {
            let sent: Vec<u8> = (0..BLOCK).map(|at| (at * 7 + number) as u8).collect();
            for _ in 0..8 {
                let mut back = vec![0; BLOCK];
                connection.write_all(&sent)?;
                connection.read_exact(&mut back)?;
                ensure!(back == sent, "connection {number}: other octets came back");
            }
        }
        Ok(())
    }
}

#[test]
fn running_pods_follow_a_smaller_and_a_larger_mtu_without_a_loss() -> Result<()> {
    let mut cluster = Cluster::on_directory("mtupods", DUAL)?;
    let daemons = cluster.join_all(["alpha", "beta", "gamma"])?;
    let pods = daemons.iter().map(|daemon| cluster.pod(daemon, "web")).collect::<Result<Vec<_>>>()?;
    wait_pods(&daemons, &pods, 1500)?;
    let (mut traffic, mut bulk) = (Traffic::start(&pods)?, Bulk::start(&pods)?);
    for (number, outer) in [1400, 1500, 1450, 1500].into_iter().enumerate() {
        let smaller = outer < 1500;
        // Before links get smaller all nodes know it; the links are larger before anybody sends more.
        if smaller {
            cluster.configure(&with_mtu(outer))?;
            wait_pods(&daemons, &pods, outer)?;
        }
        for (at, daemon) in daemons.iter().enumerate() {
            if number > 1 && at == 1 {
                daemon.kill()?;
            }
            daemon.node().wire().set_mtu(outer)?;
            bulk.goes_on()?;
        }
        if !smaller {
            cluster.configure(DUAL)?;
        }
        if number > 1 {
            daemons[1].restart()?;
        }
        wait_pods(&daemons, &pods, outer)?;
        bulk.goes_on()?;
        traffic.goes_on()?;
    }
    pods.iter().try_for_each(Pod::check)?;
    traffic.lost_nothing()
}

fn with_mtu(outer: u32) -> String {
    DUAL.replace('}', &format!(", \"Backend\": {{\"Type\": \"vxlan\", \"MTU\": {outer}}}}}"))
}

#[test]
fn all_send_less_when_one_uplink_carries_less_and_more_when_the_last_can_take_it() -> Result<()> {
    let mut cluster = Cluster::on_directory("mtulate", DUAL)?;
    let daemons = cluster.join_all(["alpha", "beta", "gamma"])?;
    let pods = daemons.iter().map(|daemon| cluster.pod(daemon, "web")).collect::<Result<Vec<_>>>()?;
    let mut traffic = Traffic::start(&pods)?;
    daemons[2].node().wire().set_mtu(1400)?;
    wait_pods(&daemons, &pods, 1400)?;
    ensure!(notes(&cluster, &daemons[0])?.contains("node gamma can take no more"), "{}", notes(&cluster, &daemons[0])?);
    // It is away while its uplink gets better: nobody knows, and nobody sends more.
    daemons[2].kill()?;
    daemons[2].node().wire().set_mtu(1500)?;
    daemons[0].stop()?;
    daemons[0].restart()?;
    daemons[0].wait_ready(LIMIT)?;
    traffic.goes_on()?;
    wait_pods(&daemons[..2], &pods[..2], 1400)?;
    daemons[2].restart()?;
    wait_pods(&daemons, &pods, 1500)?;
    ensure!(notes(&cluster, &daemons[0])? == "[]", "{}", notes(&cluster, &daemons[0])?);
    // What a pod's owner did inside is his; what is outside is ours.
    pods[0].ip("link set eth0 mtu 1300")?;
    daemons[1].node().wire().set_mtu(1400)?;
    wait_pods(&daemons[1..], &pods[1..], 1400)?;
    wait_for("the pod to be named", LIMIT, || {
        let said = notes(&cluster, &daemons[0])?;
        ensure!(said.contains("somebody set it there"), "{said}");
        Ok(())
    })?;
    ensure!(mtu_of(&pods[0], "eth0")? == 1300, "nobody fights for it");
    traffic.goes_on()
}

#[test]
fn an_increase_waits_for_flannels_nodes_unless_the_configuration_says_it() -> Result<()> {
    let mut cluster = Cluster::on_etcd("mtuflannel", DUAL)?;
    let [alpha] = cluster.join_all(["alpha"])?;
    let (daemons, pods) = ([alpha.clone()], [cluster.pod(&alpha, "web")?]);
    let node = cluster.lab.node("flannel")?;
    let flannel = Flannel::start(&node, numbered(200)?, 200)?;
    flannel.publish(cluster.etcd()?, 600)?;
    wait_pods(&daemons, &pods, 1500)?;
    alpha.node().wire().set_mtu(1400)?;
    wait_pods(&daemons, &pods, 1400)?;
    alpha.node().wire().set_mtu(1500)?;
    wait_for("the one that says nothing to be named", LIMIT, || {
        let (said, name) = (notes(&cluster, &alpha)?, node.address(Family::V4)?.to_string());
        ensure!(said.contains(&name) && said.contains("flannel runs there"), "{said}");
        Ok(())
    })?;
    alpha.stop()?;
    alpha.restart()?;
    alpha.wait_ready(LIMIT)?;
    wait_pods(&daemons, &pods, 1400).context("a restart forgets nothing")?;
    read_published(cluster.etcd()?, &alpha).context("as flannel reads it")?;
    cluster.configure(&with_mtu(1500))?;
    wait_pods(&daemons, &pods, 1500)
}

#[test]
fn connections_of_pods_with_an_mtu_of_their_own_fit_the_way_when_they_are_clamped() -> Result<()> {
    let clamped = |value: bool| with_mtu(1400).replacen('{', &format!("{{\"ClampMSS\": {value}, "), 1);
    let mut cluster = Cluster::on_directory("mtuclamp", &clamped(false))?;
    let daemons = cluster.join_all(["alpha", "beta"])?;
    let pods = daemons.iter().map(|daemon| cluster.pod(daemon, "web")).collect::<Result<Vec<_>>>()?;
    pods.iter().try_for_each(|pod| pod.ip("link set eth0 mtu 1425").map(drop))?;
    wait_for("the two to talk", LIMIT, || pods[0].reach(&pods[1], Family::V4))?;
    pods[1].serve_echo()?;
    // What the smaller of the two ends' links on the way takes, less an IPv4 and a TCP header.
    let fits = u64::from(1400 - HEADERS) - 40;
    let told = |value: bool| -> Result<()> {
        let connection = pods[0].connect(SocketAddr::new(pods[1].address(Family::V4)?, ECHO_PORT), LIMIT)?;
        for pod in &pods {
            let size = segment(pod)?;
            ensure!((size <= fits) == value, "clamped: {value}, and {} sends segments of {size}", pod.name());
        }
        drop(connection);
        wait_for("the connection to be gone", LIMIT, || {
            segment(&pods[0]).map_or(Ok(()), |_| anyhow::bail!("it is there"))
        })
    };
    told(false)?;
    cluster.configure(&clamped(true))?;
    for daemon in &daemons {
        wait_for("the rules", LIMIT, || {
            let rules = daemon.node().run(["nft", "list", "chain", "inet", "towpath", "forward"])?;
            ensure!(rules.matches("tcp option maxseg size set rt mtu").count() == 4, "{rules}");
            Ok(())
        })?;
    }
    told(true)
}

#[test]
fn a_path_that_drops_large_packets_without_a_word_is_named_with_what_it_carries() -> Result<()> {
    let mut cluster = Cluster::on_directory("mtupath", DUAL)?;
    let daemons = cluster.join_all(["alpha", "beta"])?;
    daemons[1].node().run([
        "nft",
        "table inet path { chain in { type filter hook prerouting priority -400; meta length > 1400 drop; }; }",
    ])?;
    cluster.configure(&DUAL.replacen('{', "{\"PathProbe\": true, ", 1))?;
    let address = daemons[1].node().address(Family::V4)?;
    let sentence = format!("the path to node beta ({address}) carries packets of 1400 octets");
    wait_for("the path to be named", LIMIT, || {
        let said = notes(&cluster, &daemons[0])?;
        ensure!(said.contains(&sentence), "{said}");
        Ok(())
    })?;
    daemons[1].node().run(["nft", "delete", "table", "inet", "path"])?;
    cluster.configure(DUAL)?;
    wait_for("nothing to be said", LIMIT, || {
        let said = notes(&cluster, &daemons[0])?;
        ensure!(said == "[]", "{said}");
        Ok(())
    })
}

/// The segment size of a pod's only connection.
fn segment(pod: &Pod) -> Result<u64> {
    let said = pod.run(["ss", "-Htin", "state", "established"])?;
    let word = said.split_whitespace().find_map(|word| word.strip_prefix("mss:"));
    Ok(word.with_context(|| format!("no connection: {said}"))?.parse()?)
}
