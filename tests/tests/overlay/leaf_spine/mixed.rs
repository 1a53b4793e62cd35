//! VXLAN between the nodes and BGP towards the fabric: two nodes tell their leaf of an aggregate and of a service that both have, and one of them
//! goes without a lost packet.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use ipam::Stack;
use netns_harness::{Daemon, ECHO_PORT, Pace, Pod, Stream, Transport, wait_for};

use super::fabric::{Fabric, OUTSIDE, bare, plug};
use super::traffic::Traffic;
use super::{NODES, leaves, network};
use crate::cluster::{Cluster, LIMIT, wait_picture, wait_route};
use crate::picture::Picture;

const SERVICE: [&str; 2] = ["203.0.113.1", "2001:db8:5::1"];

/// All that stands for the pods of all nodes, which is one route of the fabric's.
const AGGREGATES: [&str; 2] = ["10.244.0.0/16", "fd00:10:244::/48"];

struct Mixed {
    cluster: Cluster,
    fabric: Fabric,
    daemons: Vec<Daemon>,
    pods: Vec<Pod>,
    service: Stack<IpAddr>,
}

impl Mixed {
    fn start() -> Result<Mixed> {
        let announce = format!(
            r#""Announce": {{"Prefixes": ["{}/32", "{}/128"], "Aggregates": ["{}", "{}"], "SuppressSpecifics": true}}"#,
            SERVICE[0], SERVICE[1], AGGREGATES[0], AGGREGATES[1]
        );
        let configuration = network(&format!(r#""Backend": {{"Type": "vxlan"}}, "BGP": {{{}, {announce}}}"#, leaves()));
        // The other rack has nobody to speak with: the service's clients are there.
        let configuration = configuration.replace(r#""gamma", "delta""#, r#""nobody""#);
        let mut cluster = Cluster::on_directory("mixed", &configuration)?;
        let fabric = Fabric::start(&cluster.lab)?;
        let mut daemons = Vec::new();
        for (number, (name, rack, host)) in NODES.into_iter().enumerate().take(3) {
            let node = bare(&cluster.lab, name)?;
            plug(&fabric.router(&format!("leaf{rack}"))?.node, &node, (rack, host))?;
            daemons.push(cluster.start(&node, |options| options.flag(format!("--bgp-as={}", 64601 + number)))?);
        }
        daemons.iter().try_for_each(|daemon| daemon.wait_ready(LIMIT))?;
        cluster.wait_acquainted()?;
        let pods = daemons.iter().map(|daemon| cluster.pod(daemon, "web")).collect::<Result<_>>()?;
        let service = Stack::Dual { v4: SERVICE[0].parse()?, v6: SERVICE[1].parse()? };
        for daemon in &daemons[..2] {
            daemon.node().bare_pod("service", &service)?.serve_echo()?;
        }
        Ok(Mixed { cluster, fabric, daemons, pods, service })
    }

    /// Waits until the leaf sends by so many nodes to what they announce, and hears of nothing that the aggregate stands for.
    fn wait_ways(&self, count: usize) -> Result<()> {
        wait_for(&format!("the leaf to know {count} ways"), LIMIT, || {
            let routes = self.fabric.router("leaf1")?.routes()?;
            for prefix in SERVICE.iter().chain(&AGGREGATES) {
                let route = routes.iter().find(|route| route.contains(&format!(" {prefix} ")));
                let ways = route.map_or(0, |route| route.matches("via ").count());
                ensure!(ways == count, "{prefix} by {ways}: {routes:#?}");
            }
            let specific = |route: &&String| route.contains(" 10.244.") && !route.contains(AGGREGATES[0]);
            ensure!(!routes.iter().any(|route| specific(&route)), "not suppressed: {routes:#?}");
            Ok(())
        })
    }

    /// Asks the first node's daemon for something of BGP.
    fn bgp(&self, words: &str) -> Result<()> {
        let alpha = &self.daemons[0];
        let (ctl, socket) = (self.cluster.binaries.find("towpathctl")?, alpha.status_socket().display());
        let line = format!("{} --socket={socket} bgp {words}", ctl.display());
        alpha.node().run(["sh", "-c", &line]).map(drop)
    }

    /// Clients of the service, whom the leaf spreads over its nodes.
    fn clients(&self) -> Result<Vec<Stream>> {
        let (mut clients, node) = (Vec::new(), self.pods[2].node());
        for address in self.service.values() {
            let to = SocketAddr::new(*address, ECHO_PORT);
            wait_for("the service", LIMIT, || node.probe(to, Transport::Tcp, LIMIT))?;
            for _ in 0..4 {
                clients.push(Stream::towards(node, to, Pace { per_sec: 50, at_most: LIMIT * 10 })?);
            }
        }
        Ok(clients)
    }
}

#[test]
fn a_node_that_is_drained_hands_its_services_over_and_pods_do_not_notice() -> Result<()> {
    let mixed = Mixed::start()?;
    mixed.wait_ways(2)?;
    for daemon in &mixed.daemons[..2] {
        for prefix in OUTSIDE.into_iter().chain(["10.1.2.0/24", "fd00:1:2::/64"]) {
            wait_route(daemon.node(), &prefix.parse()?)?;
        }
    }
    let pictures = mixed.daemons.iter().map(|daemon| Picture::of(daemon.node())).collect::<Result<Vec<_>>>()?;
    let [one, other, far] = [0, 1, 2].map(|number| &*mixed.pods[number]);
    let traffic = Traffic::between(&[(one, far), (far, other)], 2)?;
    let clients = mixed.clients()?;
    clients.iter().try_for_each(|client| client.wait_more(20, LIMIT))?;
    mixed.bgp("drain --yes --message 'new disk'")?;
    mixed.wait_ways(1)?;
    mixed.bgp("undrain")?;
    mixed.wait_ways(2)?;
    // Killed, and back: the leaf keeps what it knows.
    let alpha = &mixed.daemons[0];
    alpha.kill()?;
    mixed.fabric.router("leaf1")?.misses("10.1.1.11")?;
    traffic.flows()?;
    alpha.restart()?;
    alpha.wait_ready(LIMIT)?;
    mixed.wait_ways(2)?;
    for (daemon, picture) in mixed.daemons.iter().zip(&pictures) {
        wait_picture(daemon.node(), picture)?;
    }
    traffic.flows()?;
    for client in clients {
        client.wait_more(20, LIMIT).context("a client of the service")?;
        let report = client.stop()?;
        ensure!(report.lost() == 0, "a client of the service lost {report:?}");
    }
    let toll = traffic.stop()?;
    eprintln!("a drain and a restart: {toll}");
    toll.nothing_beside("nobody")
}
