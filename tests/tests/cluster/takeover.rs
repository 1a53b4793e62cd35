//! Flannel's place on a running cluster: taken node by node, upgraded twice, given back, by the commands of the manual; with traffic
//! of every kind running all the time, and nobody noticing. On the way half of the cluster is flannel's and half is ours.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use anyhow::{Context, Result, anyhow, ensure};
use ipam::Family;
use netns_harness::kubernetes::{ClusterOptions, Machine, Method};
use netns_harness::{Binaries, ECHO_PORT, Station, Transport};

use crate::flannel::{self, Device, Published, check_flannel, check_towpath};
use crate::ground::{Ground, IMAGE, LIMIT};
use crate::traffic::Traffic;

/// The same image by another name.
const NEXT: &str = "localhost/towpath:next";

const SERVICE: &str = r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"echo"},"spec":{
    "clusterIP":"10.96.7.7","selector":{"echo":"yes"},
    "ports":[{"name":"tcp","port":7,"protocol":"TCP"},{"name":"udp","port":7,"protocol":"UDP"}]}}"#;

#[test]
fn flannels_place_is_taken_upgraded_in_and_given_back_and_nobody_notices() -> Result<()> {
    let ground = Ground::start("place", ClusterOptions::new(Method::ByHand)?)?;
    start_flannel(&ground)?;
    for node in ["n1", "n2"] {
        for role in ["old", "leaving"] {
            ground.run_pod(&format!("{role}-{node}"), node)?;
        }
    }
    let (first, second) = (settled(&ground, "old-n1")?, settled(&ground, "old-n2")?);
    let before = state(&ground)?;
    let (traffic, callers) = start_traffic(&ground, [&first, &second])?;

    take_over(&ground, &before)?;
    println!("taken over");
    replace_pods(&ground, "leaving", "new")?;
    roll_out(&ground)?;
    ensure!(state(&ground)? == before, "{:?} became {:?}", before, state(&ground)?);
    traffic.wait_more(100)?;
    // flanneld empties its chains when it starts, so those who come just then are lost where Docker's firewall is.
    callers.wait_more(100)?;
    println!("{}", ground.explained(callers.verdict())?);

    give_back(&ground, &before)?;
    println!("given back");
    replace_pods(&ground, "new", "last")?;
    traffic.wait_more(100)?;
    println!("{}", ground.explained(traffic.verdict())?);
    Ok(())
}

/// A cluster of flannel's, on which somebody has put a firewall that forwards nothing by itself, as Docker does.
fn start_flannel(ground: &Ground) -> Result<()> {
    flannel::import(ground)?;
    let second = ground.cluster.machine("n2")?;
    second.run(["iptables-nft", "-w", "-P", "FORWARD", "DROP"])?;
    for machine in ground.cluster.machines() {
        machine.run(["ctr", "-n", "k8s.io", "images", "tag", IMAGE, NEXT])?;
    }
    ground.cluster.apply(&flannel::manifest()?)?;
    ground.wait_network()?;
    check_all(ground, check_flannel)
}

/// What must be the same afterwards, of each node: its device, what it publishes.
fn state(ground: &Ground) -> Result<Vec<(Device, Published)>> {
    let machines = ground.cluster.machines().iter();
    machines.map(|machine| Ok((flannel::device(machine)?, flannel::published(ground, machine.name())?))).collect()
}

fn check_all(ground: &Ground, check: fn(&Ground, &Machine) -> Result<()>) -> Result<()> {
    for machine in ground.cluster.machines() {
        ground.wait(&format!("{} as it should be", machine.name()), || check(ground, machine))?;
    }
    Ok(())
}

/// A pod that runs, and answers.
fn settled(ground: &Ground, name: &str) -> Result<Station> {
    ground.explained(ground.cluster.wait_pods_ready(name, LIMIT))?;
    ground.cluster.station(name)
}

/// Between pods, from the nodes' own network, through a service, and out of the cluster: what stays, and what is always new.
fn start_traffic(ground: &Ground, pods: [&Station; 2]) -> Result<(Traffic, Traffic)> {
    let nodes = [ground.cluster.machine("n1")?, ground.cluster.machine("n2")?];
    let outside = ground.lab.switch();
    let echo = |station: &Station| -> Result<SocketAddr> {
        station.serve_echo()?;
        Ok(SocketAddr::new(station.address(Family::V4)?, ECHO_PORT))
    };
    let service = SocketAddr::new(Ipv4Addr::new(10, 96, 7, 7).into(), ECHO_PORT);
    let (mut traffic, mut callers) = (Traffic::default(), Traffic::default());
    let targets = [echo(pods[0])?, echo(pods[1])?];
    ground.cluster.apply(SERVICE)?;
    ground.kubectl("label pod old-n1 old-n2 echo=yes")?;
    for (here, there) in [(0, 1), (1, 0)] {
        let (pod, node, number) = (pods[here], nodes[here], here + 1);
        ground.wait("the service to be there", || pod.connect(service, LIMIT / 100).map(drop))?;
        traffic.add(&format!("pod {number} to the other pod"), pod, targets[there])?;
        traffic.add(&format!("node {number} to the other's pod"), node, targets[there])?;
        traffic.add(&format!("node {number} to its pod"), node, targets[here])?;
        traffic.add(&format!("pod {number} to the other node"), pod, echo(nodes[there])?)?;
        traffic.add(&format!("pod {number} to the service"), pod, service)?;
        traffic.add(&format!("pod {number} to the outside"), pod, echo(outside)?)?;
        callers.add_callers(&format!("pod {number} to the other pod"), pod, targets[there]);
        callers.add_callers(&format!("pod {number} to the outside"), pod, echo(outside)?);
        callers.add_callers(&format!("node {number} to the other's pod"), node, targets[there]);
    }
    traffic.wait_more(50)?;
    callers.wait_more(50)?;
    Ok((traffic, callers))
}

/// `towpathctl WORDS`, as the administrator; the exit status and all that it said.
fn towpathctl(ground: &Ground, words: &[&str]) -> Result<(Option<i32>, String)> {
    let mut command = Command::new(Binaries::built()?.find("towpathctl")?);
    command.args(words).arg("--kubeconfig").arg(ground.cluster.kubectl().kubeconfig());
    // flanneld's probe alone takes its fifteen seconds on each node.
    let process = ground.lab.switch().start(&format!("{}-{}", words[1], words.len()), command)?;
    let status = process.wait(LIMIT * 2)?;
    Ok((status.code(), process.log_of_this_run()))
}

fn expect_done(ground: &Ground, status: Option<i32>, said: &str) -> Result<()> {
    let done = if status == Some(0) { Ok(()) } else { Err(anyhow!("{status:?}: {said}")) };
    ground.explained(done)
}

/// As docs/migrate-from-flannel.md says.
fn take_over(ground: &Ground, before: &[(Device, Published)]) -> Result<()> {
    let image = format!("--image={IMAGE}");
    let (status, said) = towpathctl(ground, &["migrate", "from-flannel", "--dry-run", &image])?;
    ensure!(status == Some(1) && said.contains("Nothing was changed"), "{status:?}: {said}");
    check_all(ground, check_flannel)?;
    let (status, said) = towpathctl(ground, &["migrate", "from-flannel", "--nodes=n1", "--yes", "--pause=1", &image])?;
    expect_done(ground, status, &said)?;
    ensure!(state(ground)? == before, "{:?}", state(ground)?);
    // One of each kind, side by side.
    ground.wait("n1 to be ours", || check_towpath(ground, ground.cluster.machine("n1")?))?;
    check_flannel(ground, ground.cluster.machine("n2")?)?;
    let (status, said) = towpathctl(ground, &["migrate", "from-flannel", "--yes", "--pause=1", &image])?;
    expect_done(ground, status, &said)?;
    ground.wait_network()?;
    ensure!(state(ground)? == before, "{:?}", state(ground)?);
    check_all(ground, check_towpath)?;
    // Where only ours is installed, all that was made by others is ours to delete.
    let first = ground.cluster.machine("n1")?;
    first.run(["sh", "-c", "cd /opt/cni/bin && rm flannel bridge host-local portmap"])?;
    ground.wait("our plugin by all names", || first.run(["ls", "/opt/cni/bin/flannel", "/opt/cni/bin/portmap"]))?;
    Ok(())
}

fn give_back(ground: &Ground, before: &[(Device, Published)]) -> Result<()> {
    let (status, said) = towpathctl(ground, &["migrate", "to-flannel", "--yes", "--pause=1"])?;
    expect_done(ground, status, &said)?;
    ground.wait_network()?;
    ensure!(state(ground)? == before, "{:?}", state(ground)?);
    check_all(ground, check_flannel)?;
    // Its installer has written its plugin, and nothing but that.
    let first = ground.cluster.machine("n1")?;
    ensure!(first.read("/opt/cni/bin/flannel")?.contains("Plays flannel's CNI plugin"));
    let ours = std::fs::read(first.path("/opt/cni/bin/towpath")?)?;
    ensure!(ours.starts_with(b"\x7fELF"), "our plugin, to which other names lead, was overwritten");
    // The reference plugins are there again too, as their package brings them.
    first.run(["sh", "-c", "cd /usr/lib/cni && cp --remove-destination bridge host-local portmap /opt/cni/bin/"])?;
    Ok(())
}

/// By another environment, by another image, as `kubectl` does it.
fn roll_out(ground: &Ground) -> Result<()> {
    for words in [
        "set env -n kube-flannel ds/kube-flannel-ds EVENT_QUEUE_DEPTH=6000",
        "set image -n kube-flannel ds/kube-flannel-ds kube-flannel=localhost/towpath:next",
    ] {
        ground.kubectl(words)?;
        ground.wait_network()?;
        check_all(ground, check_towpath)?;
        println!("after kubectl {words}");
    }
    Ok(())
}

/// On each node one pod goes, without a trace, and another comes, whose address nobody has.
fn replace_pods(ground: &Ground, old: &str, new: &str) -> Result<()> {
    for machine in ground.cluster.machines() {
        let (old, new) = (format!("{old}-{}", machine.name()), format!("{new}-{}", machine.name()));
        let leaving = settled(ground, &old)?.address(Family::V4)?.to_string();
        let before = traces(machine)?;
        ensure!(before.addresses.contains(&leaving), "{leaving} is not in {before:?}");
        ground.kubectl(&format!("delete pod {old}"))?;
        ground.wait(&format!("nothing to be left of {old}"), || {
            let now = traces(machine)?;
            let one_less = now.addresses.len() + 1 == before.addresses.len() && !now.addresses.contains(&leaving);
            ensure!(one_less && now.kept + 1 == before.kept && now.links + 1 == before.links, "{before:?}, {now:?}");
            Ok(())
        })?;
        let left = traces(machine)?;
        let came = ground.pod(&new, machine.name())?;
        let address = came.address(Family::V4)?;
        ensure!(!left.addresses.contains(&address.to_string()), "{address} is in use: {left:?}");
        for other in ["old-n1", "old-n2"] {
            let other = ground.json(&format!("get pod {other}"))?;
            let other = other["status"]["podIP"].as_str().context("no address")?.parse()?;
            came.probe(SocketAddr::new(other, ECHO_PORT), Transport::Tcp, LIMIT / 10)?;
        }
    }
    Ok(())
}

/// What pods leave on a node: addresses in host-local's files, configurations that were kept, ports of the bridge.
#[derive(Debug)]
struct Traces {
    addresses: BTreeSet<String>,
    kept: usize,
    links: usize,
}

fn traces(machine: &Machine) -> Result<Traces> {
    let names = |directory: &str| machine.run(["ls", directory]);
    let addresses = names("/var/lib/cni/networks/cbr0")?;
    let addresses = addresses.lines().filter(|name| name.parse::<Ipv4Addr>().is_ok()).map(str::to_owned).collect();
    let links = machine.ip("-o link show master cni0")?.lines().count();
    Ok(Traces { addresses, kept: names("/var/lib/cni/flannel")?.lines().count(), links })
}
