//! The backend bgp with tunnels: to nodes beyond a router and to no other, in VXLAN; to all, in IP, on the lab's second kernel.

use anyhow::{Context, Result, ensure};
use ipam::Family;
use netns_harness::{Daemon, Matrix, Pod, in_guest, wait_for};

use crate::bgp::{pods, settled_without_a_change, wait_talk};
use crate::cluster::{Cluster, LIMIT, counted, subnets, told, wait_counted, wait_picture};
use crate::picture::Picture;

fn network(encapsulation: &str) -> String {
    format!(
        r#"{{"Network": "10.244.0.0/16", "IPv6Network": "fd00:10:244::/48", "EnableIPv6": true,
            "Backend": {{"Type": "bgp", "Encapsulation": "{encapsulation}", "NodeMesh": {{"HoldTime": 9}}}}}}"#
    )
}

/// Two are not on a link with each other: what goes between them goes by the router.
fn beyond_a_router(cluster: &Cluster, [one, other]: [&Daemon; 2]) -> Result<()> {
    for key in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        cluster.lab.switch().set_sysctl(key, "1")?;
    }
    for (here, there) in [(one, other), (other, one)] {
        for family in Family::ALL {
            let router = cluster.lab.switch().address(family)?;
            let far = format!("route add {}/{} via {router}", there.node().address(family)?, family.bits());
            here.node().ip(&far)?;
        }
    }
    Ok(())
}

/// Waits until a node sends to another's pods out of these devices, one a family.
fn wait_ways(from: &Daemon, to: &Daemon, devices: [&str; 2]) -> Result<()> {
    for (family, device) in Family::ALL.into_iter().zip(devices) {
        let subnet = *subnets(to)?.get(family).context("a subnet")?;
        let dash = if family == Family::V4 { "-4" } else { "-6" };
        wait_for(&format!("{subnet} by {device}"), LIMIT, || {
            let routes = from.node().run(["ip", dash, "route", "show", "proto", "84", "exact", &subnet.to_string()])?;
            ensure!(routes.contains(&format!("dev {device} ")), "{routes}: {}", from.log_tail(10));
            Ok(())
        })?;
    }
    Ok(())
}

fn restart_without_a_change(daemon: &Daemon) -> Result<()> {
    let picture = Picture::of(daemon.node())?;
    daemon.kill()?;
    daemon.restart()?;
    daemon.wait_ready(LIMIT)?;
    settled_without_a_change(daemon, &picture)
}

#[test]
fn nodes_beyond_a_router_are_reached_in_vxlan_and_those_on_the_link_without() -> Result<()> {
    let mut cluster = Cluster::on_directory("bgpfar", &network("cross-subnet"))?;
    let daemons = cluster.join_all(["alpha", "beta", "gamma"])?;
    let [alpha, beta, gamma] = &daemons;
    beyond_a_router(&cluster, [alpha, gamma])?;
    let tunnel = ["flannel.1", "flannel-v6.1"];
    for (from, to, devices) in [(alpha, gamma, tunnel), (gamma, alpha, tunnel), (alpha, beta, ["eth0", "eth0"])] {
        wait_ways(from, to, devices)?;
    }
    wait_talk(&pods(&cluster, &daemons)?)?;
    restart_without_a_change(alpha)
}

#[test]
fn pods_talk_in_ip_wherever_nodes_are_and_a_restart_changes_nothing() -> Result<()> {
    in_guest(|| {
        let mut cluster = Cluster::on_directory("bgpipip", &network("ipip"))?;
        let daemons = cluster.join_all(["alpha", "beta", "gamma"])?;
        let [alpha, beta, gamma] = &daemons;
        beyond_a_router(&cluster, [alpha, gamma])?;
        for (from, to) in [(alpha, gamma), (gamma, alpha), (alpha, beta)] {
            wait_ways(from, to, ["flannel.ipip", "flannel-v6.ipip"])?;
        }
        let pods: Vec<Pod> = pods(&cluster, &daemons)?;
        wait_talk(&pods)?;
        assert_eq!(told(alpha, "FLANNEL_MTU")?, "1460", "the least of 1500 - 20 and 1500 - 40");
        restart_without_a_change(alpha)?;
        // What somebody takes away is put back.
        let picture = Picture::of(alpha.node())?;
        for fault in ["link delete flannel.ipip", "nexthop flush proto 84", "-6 route flush proto 84"] {
            let before = counted(alpha, "towpath_repairs_total")?;
            alpha.node().ip(fault)?;
            wait_counted(alpha, "towpath_repairs_total", before)?;
            wait_picture(alpha.node(), &picture).with_context(|| alpha.log_tail(20))?;
        }
        let stations: Vec<_> = pods.iter().map(|pod| &**pod).collect();
        wait_for("the pods to talk again", LIMIT, || Matrix::measure(&stations)?.check())
    })
}
