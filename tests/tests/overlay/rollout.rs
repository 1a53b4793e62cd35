//! The backend is changed on a running cluster: no packet is lost and no connection broken, whoever restarts in the middle, and
//! whoever holds it up is named.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, Result, ensure};
use ipam::Family;
use netns_harness::{Bird, Daemon, ECHO_PORT, Pace, Pod, Stream, in_guest, wait_for};
use serde_json::{Value, json};

use crate::cluster::{Cluster, DUAL, LIMIT};

fn with(backend: &str) -> String {
    DUAL.replace('}', &format!(", \"Backend\": {backend}}}"))
}

/// Numbered datagrams and connections between all pods, both ways, in both families.
pub struct Traffic {
    streams: Vec<(String, Stream)>,
    connections: Vec<(String, TcpStream)>,
}

impl Traffic {
    /// From each to each.
    pub fn start(pods: &[Pod]) -> Result<Traffic> {
        Traffic::paced(pods, 300)
    }

    /// The same with so many packets a second.
    fn paced(pods: &[Pod], per_sec: u32) -> Result<Traffic> {
        let (mut streams, mut connections) = (Vec::new(), Vec::new());
        for from in pods {
            for to in pods.iter().filter(|to| to.name() != from.name()) {
                for family in Family::ALL {
                    let name = format!("{} to {} by {family}", from.name(), to.name());
                    wait_for("the two to talk", LIMIT, || from.reach(to, family))?;
                    let pace = Pace { per_sec, at_most: LIMIT * 20 };
                    streams.push((name.clone(), Stream::start(from, to, family, pace)?));
                    let address = SocketAddr::new(to.address(family)?, ECHO_PORT);
                    connections.push((name, from.connect(address, LIMIT)?));
                }
            }
        }
        let mut traffic = Traffic { streams, connections };
        traffic.goes_on()?;
        Ok(traffic)
    }

    /// All connections are the same as ever, and datagrams come back.
    pub fn goes_on(&mut self) -> Result<()> {
        for (_, stream) in &self.streams {
            stream.wait_more(30, LIMIT)?;
        }
        for (number, (name, connection)) in self.connections.iter_mut().enumerate() {
            let mut answer = [0; 8];
            connection.write_all(&number.to_be_bytes())?;
            connection.read_exact(&mut answer)?;
            ensure!(answer == number.to_be_bytes(), "{name}: another answer");
        }
        Ok(())
    }

    /// Ends all and counts.
    pub fn lost_nothing(self) -> Result<()> {
        for (name, stream) in self.streams {
            let report = stream.stop()?;
            ensure!(report.lost() == 0, "{name}: {} of {} lost", report.lost(), report.sent);
        }
        Ok(())
    }
}

/// What `towpathctl rollout status` says on a node.
fn status(cluster: &Cluster, daemon: &Daemon) -> Result<Value> {
    let program = cluster.binaries.find("towpathctl")?.display().to_string();
    let socket = daemon.status_socket().display().to_string();
    // It says with its exit status whether there is a change.
    let command = format!("{program} --socket {socket} rollout status -o json || test $? = 1");
    Ok(serde_json::from_str(&daemon.node().run(["sh", "-ec", &command])?)?)
}

/// Until every node sends by this way, and has no other.
fn wait_settled(cluster: &Cluster, way: &str) -> Result<()> {
    for daemon in &cluster.daemons {
        wait_for(&format!("{} to have {way} alone", daemon.node().name()), LIMIT, || {
            let status = status(cluster, daemon)?;
            let right = status["changing"] == json!(false) && status["from"] == json!(way);
            ensure!(right, "{status:#}");
            Ok(())
        })
        .with_context(|| daemon.log_tail(40))?;
    }
    Ok(())
}

const STEPS: [(&str, &str); 4] = [
    (r#"{"Type": "host-gw"}"#, "host-gw"),
    (r#"{"Type": "vxlan", "VNI": 2}"#, "vxlan vni=2 port=8472"),
    // All devices of a port have this extension or none.
    (r#"{"Type": "vxlan", "VNI": 2, "Port": 4789, "GBP": true}"#, "vxlan vni=2 port=4789 gbp=on"),
    (r#"{"Type": "vxlan"}"#, "vxlan vni=1 port=8472"),
];

#[test]
fn the_backend_changes_without_a_lost_packet_on_a_directory() -> Result<()> {
    changes(Cluster::on_directory("rolldir", DUAL)?, &STEPS)
}

#[test]
fn the_backend_changes_without_a_lost_packet_on_etcd() -> Result<()> {
    changes(Cluster::on_etcd("rolletcd", DUAL)?, &STEPS)
}

/// To what is learnt and back: of each node, of one that reflects, and through a tunnel that takes the place of another with its VNI.
const LEARNT: [(&str, &str); 6] = [
    (r#"{"Type": "bgp"}"#, "bgp"),
    (r#"{"Type": "host-gw"}"#, "host-gw"),
    (r#"{"Type": "bgp", "RouteReflectors": {"Nodes": ["alpha"], "ClusterID": "0.0.0.1"}}"#, "bgp"),
    (r#"{"Type": "vxlan"}"#, "vxlan vni=1 port=8472"),
    (r#"{"Type": "bgp", "Encapsulation": "vxlan"}"#, "bgp encapsulation=vxlan vni=1 port=8472"),
    (r#"{"Type": "vxlan"}"#, "vxlan vni=1 port=8472"),
];

#[test]
fn the_backend_changes_to_what_is_learnt_and_back_without_a_lost_packet() -> Result<()> {
    changes(Cluster::on_directory("rollbgp", DUAL)?, &LEARNT)
}

#[test]
fn the_backend_changes_to_what_one_of_the_fabric_reflects_and_back_without_a_lost_packet() -> Result<()> {
    let mut cluster = Cluster::on_directory("rollrr", DUAL)?;
    let daemons = cluster.join_all(["alpha", "beta", "gamma"])?;
    let pods = daemons.iter().map(|daemon| cluster.pod(daemon, "web")).collect::<Result<Vec<_>>>()?;
    let mut traffic = Traffic::start(&pods)?;
    let reflector = cluster.lab.node("spine")?;
    let address = reflector.address(Family::V4)?;
    let mut config = format!("router id {address};\nprotocol device {{}}\n");
    for (number, daemon) in daemons.iter().enumerate() {
        let peer = daemon.node().address(Family::V4)?;
        config += &format!(
            "protocol bgp n{number} {{ local {address} as 64512; neighbor {peer} as 64512; multihop; rr client; connect delay time 1; \
             connect retry time 1; error wait time 1, 2; ipv4 {{ import all; export all; }}; ipv6 {{ import all; export all; }}; }}\n"
        );
    }
    let peers = format!(r#"[{{"Name": "spine", "Address": "{address}", "AS": "internal", "Import": "accept"}}]"#);
    cluster.configure(&with(&format!(r#"{{"Type": "bgp", "NodeMesh": false, "Peers": {peers}}}"#)))?;
    // There is nobody who could tell them.
    wait_for("a node to say of whom nothing is learnt", LIMIT, || {
        let status = status(&cluster, &daemons[0])?;
        ensure!(status["here"].to_string().contains("no usable route to its 10."), "{status:#}");
        Ok(())
    })?;
    traffic.goes_on()?;
    let bird = Bird::start(reflector, &config)?;
    wait_settled(&cluster, "bgp")?;
    traffic.goes_on()?;
    cluster.configure(DUAL)?;
    daemons[1].kill()?;
    daemons[1].restart()?;
    wait_settled(&cluster, STEPS[3].1)?;
    traffic.goes_on()?;
    traffic.lost_nothing()?;
    bird.process.kill()
}

/// Between what is learnt and what the machine's kernel may lack; two of them have one device.
const LEARNT_THERE: [(&str, &str); 4] = [
    (r#"{"Type": "wireguard"}"#, "wireguard mode=separate port=51820 portv6=51821"),
    (r#"{"Type": "bgp"}"#, "bgp"),
    (r#"{"Type": "ipip"}"#, "ipip"),
    (r#"{"Type": "bgp", "Encapsulation": "ipip"}"#, "bgp encapsulation=ipip"),
];

#[test]
fn between_what_is_learnt_wireguard_and_ipip_no_packet_is_lost() -> Result<()> {
    in_guest(|| {
        let mut cluster = Cluster::on_directory("rollthere", DUAL)?;
        let daemons = cluster.join_all(["alpha", "beta"])?;
        let pods = daemons.iter().map(|daemon| cluster.pod(daemon, "web")).collect::<Result<Vec<_>>>()?;
        let mut traffic = Traffic::paced(&pods, 50)?;
        for (backend, way) in LEARNT_THERE.into_iter().chain([LEARNT_THERE[0]]) {
            cluster.configure(&with(backend))?;
            wait_settled(&cluster, way)?;
            traffic.goes_on()?;
        }
        traffic.lost_nothing()
    })
}

/// Each step once quietly, and once with a daemon killed in the middle of it.
fn changes(mut cluster: Cluster, steps: &[(&str, &str)]) -> Result<()> {
    let daemons = cluster.join_all(["alpha", "beta", "gamma"])?;
    let pods = daemons.iter().map(|daemon| cluster.pod(daemon, "web")).collect::<Result<Vec<_>>>()?;
    let mut traffic = Traffic::start(&pods)?;
    for round in 0..2 {
        for (backend, way) in steps {
            cluster.configure(&with(backend))?;
            if round == 1 {
                daemons[1].kill()?;
                daemons[1].restart()?;
            }
            wait_settled(&cluster, way)?;
            traffic.goes_on()?;
        }
    }
    traffic.lost_nothing()
}

#[test]
fn a_node_that_is_away_holds_a_change_up_and_is_named_and_a_change_of_mind_ends_it() -> Result<()> {
    one_is_away(Cluster::on_directory("rollaway", DUAL)?, [STEPS[0], STEPS[1]])
}

#[test]
fn so_it_does_with_a_change_to_what_is_learnt() -> Result<()> {
    one_is_away(Cluster::on_directory("rollbgpaway", DUAL)?, [LEARNT[0], STEPS[0]])
}

fn one_is_away(mut cluster: Cluster, steps: [(&str, &str); 2]) -> Result<()> {
    let daemons = cluster.join_all(["alpha", "beta", "gamma"])?;
    let pods = daemons.iter().map(|daemon| cluster.pod(daemon, "web")).collect::<Result<Vec<_>>>()?;
    let mut traffic = Traffic::start(&pods)?;
    daemons[2].kill()?;
    let named = |daemon: &Daemon| -> Result<()> {
        let status = status(&cluster, daemon)?;
        let nodes = status["nodes"].as_array().cloned().unwrap_or_default();
        let waits: Vec<&Value> = nodes.iter().filter(|it| !it["waits"].is_null()).map(|it| &it["node"]).collect();
        ensure!(waits == [&json!("gamma")], "{status:#}");
        Ok(())
    };
    for (backend, way) in steps {
        cluster.configure(&with(backend))?;
        wait_for("the one that is away to be named", LIMIT, || named(&daemons[0]))?;
        traffic.goes_on()?;
        ensure!(status(&cluster, &daemons[0])?["to"] == json!(way), "another target");
    }
    // Back to what it was: nobody has to be waited for.
    cluster.configure(DUAL)?;
    wait_for("the change to be over", LIMIT, || {
        let status = status(&cluster, &daemons[0])?;
        ensure!(status["changing"] == json!(false), "{status:#}");
        Ok(())
    })?;
    cluster.configure(&with(steps[0].0))?;
    wait_for("the one that is away to be named", LIMIT, || named(&daemons[1]))?;
    daemons[2].restart()?;
    wait_settled(&cluster, steps[0].1)?;
    traffic.goes_on()?;
    traffic.lost_nothing()
}
