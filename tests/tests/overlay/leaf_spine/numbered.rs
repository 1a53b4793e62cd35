//! Nodes with two numbered links to two leaves, one FRR and one BIRD, and a session on each in each family: each prefix is reached by both as one group, and
//! by one alone while the other's link is away. One node is called by its address on the first link, the other by one that no cable ends at.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result, ensure};
use ipam::Stack;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use netns_harness::{Daemon, Node, Pod, Station, wait_for};

use super::fabric::{OUTSIDE, bare, cable, give, plan, router_node};
use super::router::{Link, Program, Router};
use super::traffic::{Toll, Traffic};
use super::{bfd, network, said};
use crate::cluster::{Cluster, LIMIT, subnets, wait_picture};
use crate::picture::Picture;

const NODES: [&str; 2] = ["alpha", "beta"];
const LEAVES: [(&str, Program, u32); 2] = [("leafa", Program::Frr, 65021), ("leafb", Program::Bird, 65022)];

/// The ends of the cable between a leaf and a node: the leaf's, the node's.
fn ends(leaf: usize, node: usize) -> Result<[Stack<IpNet>; 2]> {
    let (leaf, first) = (u8::try_from(leaf)?, 2 * u8::try_from(node)?);
    Ok([first, first + 1].map(|host| {
        let v4 = Ipv4Net::new_assert(Ipv4Addr::new(10, 3, leaf, host), 31);
        let v6 = Ipv6Addr::from([0xfd00, 3, leaf.into(), 0, 0, 0, 0, host.into()]);
        Stack::Dual { v4: v4.into(), v6: Ipv6Net::new_assert(v6, 127).into() }
    }))
}

fn addresses(nets: &Stack<IpNet>) -> Stack<IpAddr> {
    nets.map(|_, net| net.addr())
}

/// Both leaves, by each address that they have for a node.
fn peers() -> Result<String> {
    let mut peers = Vec::new();
    for (leaf, (name, ..)) in LEAVES.iter().enumerate() {
        for (number, node) in NODES.iter().enumerate() {
            for address in addresses(&ends(leaf, number)?[0]).values() {
                peers.push(format!(
                    r#"{{"Name": "{name} {address}", "Address": "{address}", "AS": "external", "Import": "accept", "NodeSelector": ["{node}"],
                        "HoldTime": 3, "ConnectRetry": 1, {}}}"#,
                    bfd()
                ));
            }
        }
    }
    Ok(peers.join(", "))
}

struct Rig {
    cluster: Cluster,
    leaves: Vec<Router>,
    daemons: Vec<Daemon>,
    pods: Vec<Pod>,
}

impl Rig {
    fn start() -> Result<Rig> {
        let backend = format!(r#""Backend": {{"Type": "bgp", "NodeMesh": false, "Peers": [{}]}}"#, peers()?);
        let mut cluster = Cluster::on_directory("numbered", &network(&backend))?;
        let nodes: Vec<_> = NODES.iter().map(|name| bare(&cluster.lab, name)).collect::<Result<_>>()?;
        let leaves = (0..LEAVES.len()).map(|leaf| start_leaf(&cluster, leaf, &nodes)).collect::<Result<_>>()?;
        let mut daemons = Vec::new();
        for (number, node) in nodes.iter().enumerate() {
            let (own, uplink) = called(node, number)?;
            node.set_addresses(Some(own));
            node.set_sysctl("net/ipv4/fib_multipath_hash_policy", "1")?;
            node.set_sysctl("net/ipv6/fib_multipath_hash_policy", "1")?;
            let flags = [format!("--bgp-as={}", 64601 + number), format!("--iface={uplink}")];
            daemons
                .push(cluster.start(node, |options| flags.into_iter().fold(options, |options, it| options.flag(it)))?);
        }
        daemons.iter().try_for_each(|daemon| daemon.wait_ready(LIMIT))?;
        let pods = daemons.iter().map(|daemon| cluster.pod(daemon, "web")).collect::<Result<_>>()?;
        Ok(Rig { cluster, leaves, daemons, pods })
    }

    /// Waits until each node reaches the other's pods and the outside by both leaves, or as it is with one link away.
    fn over(&self, left: Option<Left>) -> Result<()> {
        for (number, daemon) in self.daemons.iter().enumerate() {
            let pods = subnets(&self.daemons[1 - number])?.values().map(ToString::to_string).collect::<Vec<_>>();
            // The leaf that lost the way to one node tells the other so.
            self.wait_ways(daemon, &pods, left.map(|left| left.leaf))?;
            let outside = left.filter(|left| left.node == number).map(|left| left.leaf);
            self.wait_ways(daemon, &OUTSIDE.map(str::to_owned), outside)?;
        }
        Ok(())
    }

    /// Waits until a node's ways to these are over this leaf alone; over both without one.
    fn wait_ways(&self, daemon: &Daemon, prefixes: &[String], leaf: Option<&str>) -> Result<()> {
        for prefix in prefixes {
            let dash = if prefix.contains(':') { "-6" } else { "-4" };
            wait_for(&format!("{}'s way to {prefix} over {leaf:?}", daemon.node().name()), LIMIT, || {
                let shown = daemon.node().run(["ip", dash, "route", "show", "proto", "84", "exact", prefix])?;
                let by = |(name, ..): &(&str, Program, u32)| {
                    shown.contains(&format!("dev {name} ")) == leaf.is_none_or(|leaf| leaf == *name)
                };
                ensure!(LEAVES.iter().all(by), "{shown}: {}", daemon.log_tail(10));
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Waits until all sessions of a node are up.
    fn all_sessions(&self, daemon: &Daemon) -> Result<()> {
        wait_for("all sessions", LIMIT, || {
            let peers = said(&self.cluster, daemon, "peers")?;
            let up = peers["peers"].as_array().into_iter().flatten().filter(|peer| peer["state"] == "Established");
            ensure!(up.count() == 4, "{peers:#}");
            Ok(())
        })
    }

    fn traffic(&self) -> Result<Traffic> {
        let [one, other] = [&*self.pods[0], &*self.pods[1]] as [&Station; 2];
        Traffic::between(&[(one, other), (other, one)], 3)
    }

    /// A link goes under traffic, over another leaf all goes on, nothing is lost from then on, and it comes back.
    fn loses(&self, what: &str, (goes, comes): (Deed<'_>, Deed<'_>), left: Left) -> Result<Toll> {
        let step = || -> Result<Toll> {
            let traffic = self.traffic()?;
            goes()?;
            self.over(Some(left))?;
            traffic.flows()?;
            let toll = traffic.stop()?;
            let afterwards = self.traffic()?;
            afterwards.flows()?;
            afterwards.stop()?.nothing_beside("nobody")?;
            let back = self.traffic()?;
            comes()?;
            self.over(None)?;
            self.daemons.iter().try_for_each(|daemon| self.all_sessions(daemon))?;
            back.flows()?;
            eprintln!("{what}: {toll}; back: {}", back.stop()?);
            Ok(toll)
        };
        step().with_context(|| format!("{what}: {}", self.daemons[0].log_tail(30)))
    }
}

type Deed<'a> = &'a dyn Fn() -> Result<()>;

/// A node one of whose links is away, and the leaf that it still has.
#[derive(Clone, Copy)]
struct Left {
    node: usize,
    leaf: &'static str,
}

fn start_leaf(cluster: &Cluster, number: usize, nodes: &[Node]) -> Result<Router> {
    let (name, program, asn) = LEAVES[number];
    let leaf = router_node(&cluster.lab, name)?;
    let mut plan = plan(program, asn);
    for (place, node) in nodes.iter().enumerate() {
        cable((&leaf, NODES[place]), (node, name))?;
        let [own, other] = ends(number, place)?;
        give(&leaf, (NODES[place], &own))?;
        give(node, (name, &other))?;
        let asn = 64601 + u32::try_from(place)?;
        plan.links.push(Link { own: addresses(&own), other: addresses(&other), asn, watched: true });
    }
    plan.hosts = OUTSIDE.iter().map(|net| net.parse()).collect::<Result<_, _>>()?;
    Router::start(leaf, &plan)
}

/// What a node is called by, and the link that this is on.
fn called(node: &Node, number: usize) -> Result<(Stack<IpAddr>, &'static str)> {
    // An end that was down has its IPv6 addresses again.
    node.set_sysctl("net/ipv6/conf/all/keep_addr_on_down", "1")?;
    if number == 0 {
        return Ok((addresses(&ends(0, 0)?[1]), LEAVES[0].0));
    }
    node.ip("link add host0 type bridge")?;
    node.ip("link set host0 up")?;
    let own = super::fabric::addresses((2, 0), 1).map(|_, net| IpNet::from(net.addr()));
    give(node, ("host0", &own))?;
    Ok((addresses(&own), "host0"))
}

#[test]
fn a_node_with_two_numbered_links_uses_both_and_either() -> Result<()> {
    let rig = Rig::start()?;
    rig.over(None)?;
    let pictures: Vec<Picture> = rig.daemons.iter().map(|daemon| Picture::of(daemon.node())).collect::<Result<_>>()?;
    let [leafa, leafb] = rig.leaves.as_slice() else { anyhow::bail!("there are two") };
    let [alpha, beta] = rig.daemons.as_slice() else { anyhow::bail!("there are two") };
    let own = |daemon: &Daemon, link: &str, how: &str| daemon.node().ip(&format!("link set {link} {how}")).map(drop);
    let left = |node, leaf| Left { node, leaf };
    rig.loses(
        "the uplink without a carrier",
        (&|| leafa.end("alpha", "down"), &|| leafa.end("alpha", "up")),
        left(0, "leafb"),
    )?;
    rig.loses(
        "the second link without a carrier",
        (&|| leafb.end("alpha", "down"), &|| leafb.end("alpha", "up")),
        left(0, "leafa"),
    )?;
    rig.loses(
        "a link that its own node takes down",
        (&|| own(beta, "leafb", "down"), &|| own(beta, "leafb", "up")),
        left(1, "leafa"),
    )?;
    rig.loses("a link that says nothing", (&|| leafa.mute("beta"), &|| leafa.hear()), left(1, "leafb"))?;
    for (daemon, picture) in rig.daemons.iter().zip(&pictures) {
        wait_picture(daemon.node(), picture)?;
    }
    ensure!(!alpha.log().contains("cannot be reached: what leads to it"), "{}", alpha.log());
    Ok(())
}
