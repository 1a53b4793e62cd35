//! Nodes with two links to two leaves, one FRR and one BIRD, and no number on either: each prefix is reached by both, and by one alone while the other is away.

use anyhow::{Context, Result, ensure};
use ipnet::IpNet;
use netns_harness::{Daemon, Pod, Station, wait_for};

use super::fabric::{OUTSIDE, addresses, bare, cable, give, plan, router_node};
use super::router::{Program, Router};
use super::traffic::Traffic;
use super::{bfd, network};
use crate::cluster::{Cluster, LIMIT, subnets};
use crate::picture::Picture;

const NODES: [&str; 2] = ["alpha", "beta"];
const LEAVES: [(&str, Program, u32); 2] = [("leafa", Program::Frr, 65021), ("leafb", Program::Bird, 65022)];

struct Rig {
    cluster: Cluster,
    leaves: Vec<Router>,
    daemons: Vec<Daemon>,
    pods: Vec<Pod>,
}

impl Rig {
    fn start() -> Result<Rig> {
        let peer = |(name, ..): &(&str, Program, u32)| {
            format!(
                r#"{{"Name": "{name}", "Interface": "{name}", "AS": "external", "Import": "accept", "HoldTime": 3, "ConnectRetry": 1, {}}}"#,
                bfd()
            )
        };
        let peers = LEAVES.iter().map(peer).collect::<Vec<_>>().join(", ");
        let backend = format!(r#""Backend": {{"Type": "bgp", "NodeMesh": false, "Peers": [{peers}]}}"#);
        let mut cluster = Cluster::on_directory("unnumbered", &network(&backend))?;
        let nodes: Vec<_> = NODES.iter().map(|name| bare(&cluster.lab, name)).collect::<Result<_>>()?;
        let mut leaves = Vec::new();
        for (name, program, asn) in LEAVES {
            let leaf = router_node(&cluster.lab, name)?;
            for (node, link) in nodes.iter().zip(NODES) {
                cable((&leaf, link), (node, name))?;
            }
            let mut plan = plan(program, asn);
            plan.unnumbered = NODES.map(str::to_owned).to_vec();
            plan.hosts = OUTSIDE.iter().map(|net| net.parse()).collect::<Result<_, _>>()?;
            leaves.push(Router::start(leaf, &plan)?);
        }
        let mut daemons = Vec::new();
        for (number, node) in (1..).zip(&nodes) {
            // What a node is called by stands on a device that no cable ends at.
            node.ip("link add host0 type bridge")?;
            node.ip("link set host0 up")?;
            let host = |net: &IpNet| IpNet::from(net.addr());
            let own = addresses((2, 0), number).map(|_, net| host(net));
            give(node, ("host0", &own))?;
            node.set_addresses(Some(own.map(|_, net| net.addr())));
            node.set_sysctl("net/ipv4/fib_multipath_hash_policy", "1")?;
            let flags = [format!("--bgp-as={}", 64600 + u32::from(number)), "--iface=host0".to_owned()];
            daemons
                .push(cluster.start(node, |options| flags.into_iter().fold(options, |options, it| options.flag(it)))?);
        }
        daemons.iter().try_for_each(|daemon| daemon.wait_ready(LIMIT))?;
        let pods = daemons.iter().map(|daemon| cluster.pod(daemon, "web")).collect::<Result<_>>()?;
        Ok(Rig { cluster, leaves, daemons, pods })
    }

    /// Waits until each node reaches the other's pods, and the outside, over these leaves and no other.
    fn over(&self, leaves: [[&[&str]; 2]; 2]) -> Result<()> {
        for (number, [to_pods, out]) in leaves.into_iter().enumerate() {
            let (daemon, other) = (&self.daemons[number], &self.daemons[1 - number]);
            let pods = subnets(other)?;
            let pods = pods.values().map(|net| (net.to_string(), to_pods));
            for (prefix, leaves) in pods.chain(OUTSIDE.map(|net| (net.to_owned(), out))) {
                let dash = if prefix.contains(':') { "-6" } else { "-4" };
                wait_for(&format!("{}'s way to {prefix} over {leaves:?}", daemon.node().name()), LIMIT, || {
                    let shown = daemon.node().run(["ip", dash, "route", "show", "proto", "84", "exact", &prefix])?;
                    let by = |(name, ..): &(&str, Program, u32)| {
                        shown.contains(&format!("dev {name} ")) == leaves.contains(name)
                    };
                    ensure!(LEAVES.iter().all(by), "{shown}: {}", daemon.log_tail(10));
                    Ok(())
                })
                .with_context(|| self.seen_by_leaves(&prefix))?;
            }
        }
        Ok(())
    }

    /// What the leaves say of a prefix, for whoever reads of a failure.
    fn seen_by_leaves(&self, prefix: &str) -> String {
        let family = if prefix.contains(':') { "ipv6" } else { "ipv4" };
        let words = [
            (format!("show route all {prefix}"), format!("show bgp {family} {prefix}")),
            ("show protocols".to_owned(), "show bgp neighbors graceful-restart".to_owned()),
        ];
        let asked = |leaf: &Router| words.each_ref().map(|(bird, frr)| leaf.ask((bird, frr)).unwrap_or_default());
        let logs = self.daemons.iter().map(|daemon| format!("{}:\n{}", daemon.node().name(), daemon.log_tail(20)));
        self.leaves.iter().flat_map(asked).chain(logs).collect::<Vec<_>>().join("\n")
    }

    /// Waits until so many are up.
    fn sessions(&self, daemon: &Daemon, count: usize) -> Result<()> {
        wait_for(&format!("{count} sessions"), LIMIT, || {
            let peers = super::said(&self.cluster, daemon, "peers")?;
            let up = peers["peers"].as_array().into_iter().flatten().filter(|peer| peer["state"] == "Established");
            ensure!(up.count() == count, "{peers:#}");
            Ok(())
        })
    }

    fn traffic(&self) -> Result<Traffic> {
        let [one, other] = [&*self.pods[0], &*self.pods[1]] as [&Station; 2];
        Traffic::between(&[(one, other), (other, one)], 3)
    }
}

const BOTH: &[&str] = &["leafa", "leafb"];
const B: &[&str] = &["leafb"];

#[test]
fn a_node_with_two_links_without_numbers_uses_both_and_either() -> Result<()> {
    let rig = Rig::start()?;
    rig.over([[BOTH; 2]; 2])?;
    let pictures: Vec<Picture> = rig.daemons.iter().map(|daemon| Picture::of(daemon.node())).collect::<Result<_>>()?;
    let whole = || {
        rig.over([[BOTH; 2]; 2])?;
        let both = rig.daemons.iter().zip(&pictures);
        both.into_iter().try_for_each(|(daemon, picture)| crate::cluster::wait_picture(daemon.node(), picture))
    };
    let [leafa, leafb] = rig.leaves.as_slice() else { anyhow::bail!("there are two") };
    let traffic = rig.traffic()?;
    leafa.end("alpha", "down")?;
    // The leaf that lost the way to one node tells the other so.
    rig.over([[B, B], [B, BOTH]]).context("without a carrier")?;
    traffic.flows()?;
    leafa.end("alpha", "up")?;
    whole()?;
    leafb.mute("beta")?;
    traffic.flows()?;
    leafb.hear()?;
    whole()?;
    eprintln!("links: {}", traffic.stop()?);
    // A router that goes for good takes its routes with it, and nobody else's.
    let traffic = rig.traffic()?;
    leafa.power("down")?;
    rig.over([[B, B], [B, B]])?;
    rig.daemons.iter().try_for_each(|daemon| rig.sessions(daemon, 1))?;
    traffic.flows()?;
    leafa.power("up")?;
    whole()?;
    eprintln!("a leaf without power: {}", traffic.stop()?);
    let alpha = &rig.daemons[0];
    // Back before anybody's BFD has missed it. FRR keeps its routes; BIRD with `bfd on` does not, but there is another way.
    let traffic = rig.traffic()?;
    alpha.kill()?;
    alpha.restart()?;
    alpha.wait_ready(LIMIT)?;
    rig.sessions(alpha, 2)?;
    whole()?;
    traffic.flows()?;
    let toll = traffic.stop()?;
    eprintln!("a daemon killed: {toll}");
    toll.next_to_nothing()
}
