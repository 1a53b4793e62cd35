//! Underlays that are not a clean wire: slow and lossy (netem), and an uplink that is no wire at all (dummy). On the lab's second
//! kernel, because not every machine's own can make them.

use anyhow::{Context, Result};
use ipam::Family;
use netns_harness::{Daemon, Matrix, Node, Pod, Station, in_guest, wait_for};

use crate::cluster::{Cluster, LIMIT, counted, wait_picture};
use crate::picture::Picture;

fn network(backend: &str) -> String {
    format!(
        r#"{{"Network": "10.244.0.0/16", "IPv6Network": "fd00:10:244::/48", "EnableIPv6": true, "Backend": {{"Type": "{backend}"}}}}"#
    )
}

fn wait_talk(pods: &[Pod]) -> Result<()> {
    let stations: Vec<&Station> = pods.iter().map(|pod| &**pod).collect();
    wait_for("the pods to talk", LIMIT, || Matrix::measure(&stations)?.check())
}

#[test]
fn a_slow_and_lossy_underlay_is_no_reason_to_change_anything() -> Result<()> {
    in_guest(|| {
        for backend in ["vxlan", "host-gw", "ipip"] {
            let mut cluster = Cluster::on_directory(&format!("lossy{}", backend.replace('-', "")), &network(backend))?;
            let daemons = cluster.join_all(["alpha", "beta"])?;
            let pods = daemons.iter().map(|daemon| cluster.pod(daemon, "web")).collect::<Result<Vec<_>>>()?;
            wait_talk(&pods)?;
            let before = daemons.each_ref().map(|daemon| (Picture::of(daemon.node()), changes(daemon)));
            for daemon in &daemons {
                let faults = "netem delay 20ms 5ms loss 3% duplicate 1% reorder 2%";
                daemon.node().run(format!("tc qdisc add dev eth0 root {faults}").split(' '))?;
            }
            for _ in 0..3 {
                wait_talk(&pods).with_context(|| format!("by {backend}"))?;
            }
            for (daemon, (picture, changes_before)) in daemons.iter().zip(before) {
                wait_picture(daemon.node(), &picture?)?;
                assert_eq!(changes(daemon)?, changes_before?, "{backend}: {}", daemon.log_tail(20));
            }
        }
        Ok(())
    })
}

fn changes(daemon: &Daemon) -> Result<f64> {
    counted(daemon, "towpath_kernel_changes_total")
}

#[test]
fn nodes_whose_address_is_on_no_wire_reach_each_other_through_a_tunnel() -> Result<()> {
    in_guest(|| {
        for backend in ["vxlan", "ipip"] {
            let mut cluster = Cluster::on_directory(&format!("dummy{backend}"), &network(backend))?;
            let nodes = [cluster.lab.node("alpha")?, cluster.lab.node("beta")?];
            for (own, (node, other)) in [(&nodes[0], &nodes[1]), (&nodes[1], &nodes[0])].into_iter().enumerate() {
                give_loopback(node, own + 1)?;
                // As a routing daemon would say it.
                for (family, net) in [(Family::V4, "198.51.100."), (Family::V6, "2001:db8:51::")] {
                    let via = other.address(family)?;
                    node.ip(&format!("route add {net}{} via {via}", 2 - own))?;
                }
            }
            let start = |cluster: &mut Cluster, node| cluster.start(node, |options| options.flag("--iface=dum0"));
            let daemons = [start(&mut cluster, &nodes[0])?, start(&mut cluster, &nodes[1])?];
            for daemon in &daemons {
                daemon.wait_ready(LIMIT)?;
            }
            let pods = daemons.iter().map(|daemon| cluster.pod(daemon, "web")).collect::<Result<Vec<_>>>()?;
            wait_talk(&pods).with_context(|| format!("by {backend}"))?;
        }
        Ok(())
    })
}

/// A device without a wire, with this node's address, as nodes have that reach each other by several wires.
fn give_loopback(node: &Node, number: usize) -> Result<()> {
    node.ip("link add dum0 type dummy")?;
    node.ip(&format!("address add 198.51.100.{number}/32 dev dum0"))?;
    node.ip(&format!("address add 2001:db8:51::{number}/128 dev dum0 nodad"))?;
    node.ip("link set dum0 up").map(drop)
}
