//! DirectRouting: peers on the uplink's own link are reached without the tunnel, each and each family for itself, and no packet is
//! lost when one changes from one way to the other.

use anyhow::{Context, Result, ensure};
use ipam::Family;
use netns_harness::{Daemon, Matrix, Pod, wait_for};

use crate::cluster::{Cluster, LIMIT, counted, killed_and_back, stream, subnets};
use crate::picture::Picture;

const DIRECT: &str = r#"{"Network": "10.244.0.0/16", "IPv6Network": "fd00:10:244::/48", "EnableIPv6": true,
    "Backend": {"Type": "vxlan", "DirectRouting": true}}"#;

/// How often the underlay changes under traffic.
const CHANGES: usize = 4;

#[test]
fn each_peer_is_reached_directly_where_it_can_be_and_loses_nothing_when_that_changes() -> Result<()> {
    let mut cluster = Cluster::on_directory("direct", DIRECT)?;
    // The way to another link, for those that a route says are on one.
    for key in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        cluster.lab.switch().set_sysctl(key, "1")?;
    }
    for name in ["alpha", "beta", "gamma"] {
        let node = cluster.lab.node(name)?;
        // Packets come by another way than they go by, and a strict filter would drop them.
        node.set_sysctl("net/ipv4/conf/all/rp_filter", "1")?;
        node.set_sysctl("net/ipv4/conf/eth0/rp_filter", "1")?;
        cluster.start(&node, |options| options)?.wait_ready(LIMIT)?;
    }
    cluster.wait_acquainted()?;
    let [alpha, beta, gamma] = cluster.daemons.clone().try_into().ok().context("three")?;
    let pods = [&alpha, &beta, &gamma].map(|daemon| cluster.pod(daemon, "web"));
    let pods: Vec<Pod> = pods.into_iter().collect::<Result<_>>()?;
    let talk = || Matrix::measure(&[&pods[0], &pods[1], &pods[2]])?.check();
    wait_for("the pods to talk", LIMIT, talk)?;
    for (family, peer) in [(Family::V4, &beta), (Family::V6, &beta), (Family::V4, &gamma), (Family::V6, &gamma)] {
        wait_way(&alpha, peer, family, "eth0")?;
    }
    let router = cluster.lab.switch().address(Family::V4)?;
    let far = format!("{}/32 via {router}", gamma.node().address(Family::V4)?);
    alpha.node().ip(&format!("route add {far}"))?;
    wait_way(&alpha, &gamma, Family::V4, "flannel.1")?;
    wait_way(&alpha, &gamma, Family::V6, "eth0")?;
    wait_way(&gamma, &alpha, Family::V4, "eth0")?;
    wait_for("the pods to talk both ways at once", LIMIT, talk)?;
    killed_and_back(&alpha, &Picture::of(alpha.node())?)?;
    changes_under_traffic(&cluster, [&alpha, &beta], [&pods[0], &pods[1]])?;
    assert_eq!(counted(&alpha, "towpath_kernel_refusals_total")?, 0.0, "{}", alpha.log());
    Ok(())
}

/// A route to the peer's own address, and a policy rule before all routes; each comes and goes.
fn changes_under_traffic(cluster: &Cluster, [alpha, beta]: [&Daemon; 2], [from, to]: [&Pod; 2]) -> Result<()> {
    let both = |family| Ok([stream(from, to, family)?, stream(to, from, family)?]);
    let streams = Family::ALL.map(both).into_iter().collect::<Result<Vec<_>>>()?;
    for _ in 0..CHANGES {
        for (family, device) in [(Family::V4, "flannel.1"), (Family::V6, "flannel-v6.1")] {
            let (node, bits) = (alpha.node(), family.bits());
            let peer = beta.node().address(family)?;
            let router = cluster.lab.switch().address(family)?;
            let dash = if family == Family::V4 { "-4" } else { "-6" };
            node.ip(&format!("{dash} route add default via {router} table 77"))?;
            for change in [format!("route X {peer}/{bits} via {router}"), format!("rule X to {peer}/{bits} lookup 77")]
            {
                for (verb, way) in [("add", device), ("del", "eth0")] {
                    node.ip(&format!("{dash} {}", change.replace('X', verb)))?;
                    wait_way(alpha, beta, family, way)?;
                    streams.iter().flatten().try_for_each(|stream| stream.wait_more(20, LIMIT))?;
                }
            }
            node.ip(&format!("{dash} route flush table 77"))?;
        }
    }
    for stream in streams.into_iter().flatten() {
        let report = stream.stop()?;
        assert_eq!(report.lost(), 0, "{report:?}; {}", alpha.log());
    }
    Ok(())
}

/// Waits until packets to a node's pods leave by a device.
fn wait_way(from: &Daemon, to: &Daemon, family: Family, device: &str) -> Result<()> {
    let subnet = *subnets(to)?.get(family).context("a subnet")?;
    let dash = if family == Family::V4 { "-4" } else { "-6" };
    wait_for(&format!("{} to reach {subnet} by {device}", from.node().name()), LIMIT, || {
        let routes = from.node().run(["ip", dash, "route", "show", "proto", "84", "exact", &subnet.to_string()])?;
        ensure!(routes.contains(&format!(" dev {device} ")), "{routes}");
        Ok(())
    })
}
