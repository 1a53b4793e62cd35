//! A fabric of three tiers with two nodes at each leaf, whose links, routers and nodes fail under traffic: it heals, nothing circles, nothing stale is
//! left in any kernel, and what the fault could not concern loses nothing.

mod fabric;
mod mixed;
mod numbered;
mod router;
mod traffic;
mod unnumbered;

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use ipam::Family;
use ipnet::IpNet;
use netns_harness::{Daemon, Pod, Station, wait_for};

use self::fabric::{Fabric, bare, plug};
use self::router::{BFD, Router};
use self::traffic::{Toll, Traffic};
use crate::cluster::{Cluster, LIMIT, counted, subnets, wait_picture};
use crate::picture::Picture;

/// The nodes: name, rack, number in it.
const NODES: [(&str, u8, u8); 4] = [("alpha", 1, 11), ("beta", 1, 12), ("gamma", 2, 11), ("delta", 2, 12)];

/// A fabric, its nodes, and a pod on each.
struct Rig {
    cluster: Cluster,
    fabric: Fabric,
    daemons: Vec<Daemon>,
    pods: Vec<Pod>,
    pictures: Vec<Picture>,
}

/// How BFD watches, as a peer's key.
fn bfd() -> String {
    let (interval, multiplier) = BFD;
    format!(r#""BFD": {{"Interval": {interval}, "Multiplier": {multiplier}}}"#)
}

/// The leaf of each rack as its nodes know it.
fn leaves() -> String {
    let leaf = |rack: u8, nodes: &str| {
        format!(
            r#"{{"Name": "leaf{rack}", "Address": "10.1.{rack}.1", "AS": "external", "Import": "accept", "NodeSelector": [{nodes}],
                "HoldTime": 3, "ConnectRetry": 1, {}}}"#,
            bfd()
        )
    };
    format!(r#""Peers": [{}, {}]"#, leaf(1, r#""alpha", "beta""#), leaf(2, r#""gamma", "delta""#))
}

fn network(backend: &str) -> String {
    format!(r#"{{"Network": "10.244.0.0/16", "IPv6Network": "fd00:10:244::/48", "EnableIPv6": true, {backend}}}"#)
}

impl Rig {
    fn start(name: &str, network: &str) -> Result<Rig> {
        let mut cluster = Cluster::on_directory(name, network)?;
        let mut fabric = Fabric::start(&cluster.lab)?;
        let mut daemons = Vec::new();
        for (number, (name, rack, host)) in NODES.into_iter().enumerate() {
            let node = bare(&cluster.lab, name)?;
            plug(&fabric.router(&format!("leaf{rack}"))?.node, &node, (rack, host))?;
            daemons.push(cluster.start(&node, |options| options.flag(format!("--bgp-as={}", 64601 + number)))?);
        }
        daemons.iter().try_for_each(|daemon| daemon.wait_ready(LIMIT))?;
        cluster.wait_acquainted()?;
        let pods: Vec<Pod> = daemons.iter().map(|daemon| cluster.pod(daemon, "web")).collect::<Result<_>>()?;
        let outside = fabric::OUTSIDE.iter().map(|net| net.parse::<IpNet>());
        let all = outside
            .map(|net| Ok(net?))
            .chain(all_subnets(&daemons)?.into_iter().map(Ok))
            .collect::<Result<Vec<_>>>()?;
        fabric.remember(&all)?;
        let pictures = daemons.iter().map(|daemon| Picture::of(daemon.node())).collect::<Result<_>>()?;
        Ok(Rig { cluster, fabric, daemons, pods, pictures })
    }

    /// Pods of one rack with those of the other, and within the first.
    fn pairs(&self) -> Vec<(&Station, &Station)> {
        [(0, 2), (3, 1), (2, 1), (0, 1)].map(|(from, to)| (&*self.pods[from], &*self.pods[to])).to_vec()
    }

    /// Something happens under traffic, and is undone; what it cost. In between all heals, and in the end all is as it was.
    fn under_traffic(&self, what: &str, (does, undoes): (Deed<'_>, Deed<'_>)) -> Result<Toll> {
        let step = || {
            let traffic = Traffic::between(&self.pairs(), 2)?;
            does()?;
            traffic.flows().context("it does not heal")?;
            self.truth()?;
            undoes()?;
            self.as_before()?;
            traffic.flows()?;
            let circled = self.fabric.circled()?;
            traffic.flows()?;
            ensure!(self.fabric.circled()? == circled, "packets circle");
            traffic.stop()
        };
        let toll = step().with_context(|| format!("{what}: {}", self.daemons[0].log_tail(20)))?;
        eprintln!("{what}: {toll}");
        Ok(toll)
    }

    /// All kernels hold what they held, and no more, and all sessions are up.
    fn as_before(&self) -> Result<()> {
        self.fabric.whole()?;
        for (daemon, picture) in self.daemons.iter().zip(&self.pictures) {
            wait_picture(daemon.node(), picture).with_context(|| daemon.log_tail(20))?;
            wait_for("sessions", LIMIT, || {
                let peers = said(&self.cluster, daemon, "peers")?;
                let mut states = peers["peers"].as_array().into_iter().flatten().map(|peer| &peer["state"]);
                ensure!(states.all(|state| state == "Established"), "{peers:#}");
                Ok(())
            })?;
        }
        self.truth()
    }

    /// What each node says that it learnt is what its kernel holds.
    fn truth(&self) -> Result<()> {
        let running = self.daemons.iter().filter(|daemon| daemon.is_running());
        let told = |daemon: &Daemon| wait_for("what is said to be so", LIMIT, || truth(&self.cluster, daemon));
        running.into_iter().try_for_each(told)
    }
}

/// What somebody does.
type Deed<'a> = &'a dyn Fn() -> Result<()>;

fn all_subnets(daemons: &[Daemon]) -> Result<Vec<IpNet>> {
    let of = |daemon| Ok(subnets(daemon)?.values().copied().collect::<Vec<_>>());
    Ok(daemons.iter().map(of).collect::<Result<Vec<_>>>()?.concat())
}

/// What `towpathctl` says of BGP, as a program reads it.
fn said(cluster: &Cluster, daemon: &Daemon, words: &str) -> Result<serde_json::Value> {
    let (ctl, socket) = (cluster.binaries.find("towpathctl")?, daemon.status_socket());
    let line = format!("{} --socket={} bgp {words} -o json", ctl.display(), socket.display());
    daemon.node().json(["sh", "-c", &line])
}

fn truth(cluster: &Cluster, daemon: &Daemon) -> Result<()> {
    let routes = said(cluster, daemon, "routes")?;
    let learnt = routes.as_array().into_iter().flatten().filter_map(|route| route["prefix"].as_str()?.parse().ok());
    // Its own, and those of the link that it is on, are not for it to take.
    let (own, addresses) = (subnets(daemon)?, daemon.node().addresses()?);
    let taken = |net: &IpNet| !own.values().any(|own| own == net) && !addresses.values().any(|own| net.contains(own));
    let learnt: BTreeSet<IpNet> = learnt.filter(taken).collect();
    let mut held = BTreeSet::new();
    for dash in ["-4", "-6"] {
        let shown = daemon.node().json(["ip", dash, "-j", "route", "show", "proto", "84"])?;
        let texts = shown.as_array().into_iter().flatten().filter_map(|route| route["dst"].as_str());
        // A host's address stands without a length.
        let net = |text: &str| text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).ok();
        held.extend(texts.filter_map(net));
    }
    ensure!(learnt == held, "{}: said {learnt:?}, held {held:?}", daemon.node().name());
    Ok(())
}

#[test]
fn links_routers_and_nodes_fail_under_traffic_and_what_only_restarts_loses_nothing() -> Result<()> {
    let bgp = format!(r#""Backend": {{"Type": "bgp", "NodeMesh": false, {}}}"#, leaves());
    let rig = Rig::start("clos", &network(&bgp))?;
    of_the_fabric(&rig)?;
    of_nodes(&rig)
}

/// Links and routers.
fn of_the_fabric(rig: &Rig) -> Result<()> {
    let [leaf1, leaf2, spine1, spine2] = ["leaf1", "leaf2", "spine1", "spine2"].map(|name| rig.fabric.router(name));
    let (leaf1, leaf2, spine1, spine2) = (leaf1?, leaf2?, spine1?, spine2?);
    rig.under_traffic(
        "a link without a carrier and one that says nothing, so that the uppermost tier is the only way",
        (&|| leaf1.end("spine1", "down").and(leaf2.mute("spine2")), &|| leaf1.end("spine1", "up").and(leaf2.hear())),
    )?;
    rig.under_traffic("a spine without power", (&|| spine1.power("down"), &|| spine1.power("up")))?;
    let restarts = |router: &Router, what: &str| {
        rig.under_traffic(what, (&|| router.speaker.kill(), &|| router.speaker.restart())).map(drop)
    };
    restarts(spine1, "a spine whose routes are kept")?;
    restarts(spine2, "a spine whose routes are not")?;
    // FRR's own routes are away for a moment when it comes back, and a spine that keeps none forgets the leaf's.
    restarts(leaf1, "FRR at a leaf")?;
    restarts(leaf2, "BIRD at a leaf")
}

/// A daemon, a node's cable, a whole node.
fn of_nodes(rig: &Rig) -> Result<()> {
    let [alpha, beta, ..] = rig.daemons.as_slice() else { anyhow::bail!("there are four") };
    let leaf = &rig.fabric.router("leaf1")?.node;
    let back = |daemon: &Daemon| {
        daemon.restart()?;
        daemon.wait_ready(LIMIT)
    };
    // Longer than BFD waits: the leaf's session has ended before, and its routes are kept.
    let killed = || {
        alpha.kill()?;
        rig.fabric.router("leaf1")?.misses("10.1.1.11")
    };
    let toll = rig.under_traffic("a daemon killed", (&killed, &|| back(alpha)))?;
    toll.nothing_beside("nobody")?;
    ensure!(counted(alpha, "towpath_kernel_changes_total")? == 0.0, "{}", alpha.log_tail(30));
    let toll = rig.under_traffic(
        "a node's cable moved to another port",
        (&|| alpha.node().ip("link delete eth0").and_then(|_| plug(leaf, alpha.node(), (1, 11))), &|| Ok(())),
    )?;
    toll.nothing_beside("alpha")?;
    // A node leaves for good, and comes back.
    let others = [(0, 2), (3, 0)].map(|(from, to)| (&*rig.pods[from], &*rig.pods[to]));
    let traffic = Traffic::between(&others, 2)?;
    let lost = subnets(beta)?;
    let ctl = rig.cluster.binaries.find("towpathctl")?;
    let socket = format!("--socket={}", beta.status_socket().display());
    beta.node().run([&ctl.display().to_string(), &socket, "bgp", "drain", "--yes"])?;
    beta.stop()?;
    beta.node().ip("link delete eth0")?;
    let v4 = lost.get(Family::V4).context("a subnet")?.to_string().replace('/', "-");
    std::fs::remove_file(rig.cluster.directory()?.join("leases").join(format!("{v4}.json")))?;
    for subnet in lost.values() {
        rig.fabric.without(subnet)?;
        for other in rig.daemons.iter().filter(|other| other.is_running()) {
            gone(other, subnet)?;
        }
    }
    rig.truth()?;
    plug(leaf, beta.node(), (1, 12))?;
    back(beta)?;
    ensure!(subnets(beta)? == lost, "it was {lost}");
    rig.as_before()?;
    traffic.flows()?;
    let toll = traffic.stop()?;
    eprintln!("a node that left: {toll}");
    toll.nothing_beside("nobody")
}

/// Waits until a node sends nothing there.
fn gone(daemon: &Daemon, subnet: &IpNet) -> Result<()> {
    let dash = if subnet.addr().is_ipv4() { "-4" } else { "-6" };
    wait_for(&format!("{} to forget {subnet}", daemon.node().name()), LIMIT, || {
        let routes = daemon.node().run(["ip", dash, "route", "show", "exact", &subnet.to_string()])?;
        ensure!(routes.is_empty(), "{routes}");
        Ok(())
    })
}
