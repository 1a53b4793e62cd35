//! Pods on three nodes talk to each other, to all nodes and to the world outside: the walking skeleton.

use std::net::{IpAddr, SocketAddr, TcpListener};

use anyhow::{Context, Result, ensure};
use ipam::Family;
use netns_harness::{Daemon, Matrix, Pod, Station, here_and_in_guest, wait_for};

use crate::cluster::{Cluster, DUAL, LIMIT, bare_pod, nth, subnets, told};
use crate::picture::Picture;

#[test]
fn pods_on_three_nodes_talk_over_a_directory() -> Result<()> {
    here_and_in_guest(|| pods_on_three_nodes_talk(Cluster::on_directory("talkdir", DUAL)?))
}

#[test]
fn pods_on_three_nodes_talk_over_etcd() -> Result<()> {
    pods_on_three_nodes_talk(Cluster::on_etcd("talketcd", DUAL)?)
}

fn pods_on_three_nodes_talk(mut cluster: Cluster) -> Result<()> {
    let daemons = cluster.join_all(["alpha", "beta", "gamma"])?;
    let mut pods = Vec::new();
    for (daemon, name) in [(0, "web"), (0, "db"), (1, "web"), (1, "db")] {
        pods.push(cluster.pod(&daemons[daemon], name)?);
    }
    // Whoever makes pods without our plugin is carried just as well.
    pods.push(bare_pod(&daemons[2], "bare")?);
    let stations: Vec<&Station> = pods.iter().map(|pod| &**pod).collect();
    Matrix::measure(&stations)?.check()?;
    for family in Family::ALL {
        for (daemon, pod) in daemons.iter().flat_map(|daemon| pods.iter().map(move |pod| (daemon, pod))) {
            daemon.node().reach(pod, family)?;
        }
    }
    Ok(())
}

#[test]
fn pods_talk_where_there_is_nothing_but_ipv6() -> Result<()> {
    let network = r#"{"IPv6Network": "fd00:10:244::/48", "EnableIPv4": false, "EnableIPv6": true}"#;
    let mut cluster = Cluster::on_directory("onlyv6", network)?;
    let daemons = cluster.join_all(["alpha", "beta"])?;
    let pods = daemons.iter().map(|daemon| cluster.pod(daemon, "web")).collect::<Result<Vec<_>>>()?;
    let stations: Vec<&Station> = pods.iter().map(|pod| &**pod).collect();
    Matrix::measure(&stations)?.check()?;
    assert_eq!(source_seen(&pods[0], cluster.lab.switch(), Family::V6)?, daemons[0].node().address(Family::V6)?);
    assert!(Picture::of(daemons[0].node())?.lines(&["flannel.1"]).is_empty());
    Ok(())
}

#[test]
fn a_new_pod_and_its_node_know_each_other_before_they_ask() -> Result<()> {
    let mut cluster = Cluster::on_directory("known", DUAL)?;
    let [alpha] = cluster.join_all(["alpha"])?;
    let pod = cluster.pod(&alpha, "web")?;
    let mac = |station: &Station, device: &str| -> Result<String> {
        let links = station.json(["ip", "-j", "link", "show", device])?;
        Ok(links[0]["address"].as_str().context("no address")?.to_owned())
    };
    for (family, subnet) in subnets(&alpha)?.iter() {
        // A question for an IPv6 address that was just given is often not heard, and asked again only after a second.
        let seen = alpha.node().ip(&format!("neigh show to {} dev cni0", pod.address(family)?))?;
        ensure!(seen.contains(&mac(&pod, "eth0")?), "the node knows {seen:?}");
        let seen = pod.ip(&format!("neigh show to {} dev eth0", nth(subnet, 1)))?;
        ensure!(seen.contains(&mac(alpha.node(), "cni0")?), "the pod knows {seen:?}");
    }
    Ok(())
}

#[test]
fn a_pod_carries_as_much_as_its_mtu_says_to_another_node() -> Result<()> {
    let mut cluster = Cluster::on_directory("mtu", DUAL)?;
    let [alpha, beta] = cluster.join_all(["alpha", "beta"])?;
    let (from, to) = (cluster.pod(&alpha, "web")?, cluster.pod(&beta, "web")?);
    // 1500 of the underlay, less 70 for the outer headers of IPv6: the pod has one MTU for both families.
    assert_eq!(told(&alpha, "FLANNEL_MTU")?, "1430");
    for (family, headers) in [(Family::V4, 28), (Family::V6, 48)] {
        let (address, size) = (to.address(family)?.to_string(), (1430 - headers).to_string());
        let ping = ["ping", "-c1", "-W2", "-Mdo", "-s", size.as_str(), address.as_str()];
        wait_for("the largest packet's answer", LIMIT, || from.run(ping))?;
    }
    Ok(())
}

#[test]
fn the_outside_sees_the_node_and_the_inside_sees_the_pod() -> Result<()> {
    let mut cluster = Cluster::on_directory("source", DUAL)?;
    let [alpha, beta] = cluster.join_all(["alpha", "beta"])?;
    let (pod, other) = (cluster.pod(&alpha, "web")?, cluster.pod(&beta, "web")?);
    let neighbour = cluster.pod(&alpha, "db")?;
    for family in Family::ALL {
        let (own, node) = (pod.address(family)?, alpha.node().address(family)?);
        assert_eq!(source_seen(&pod, cluster.lab.switch(), family)?, node, "outside the cluster: the node's address");
        assert_eq!(source_seen(&pod, &other, family)?, own, "on another node: the pod's own");
        assert_eq!(source_seen(&pod, &neighbour, family)?, own, "on the same node: the pod's own");
        // As flannel has it: the network address of the node's subnet, to which every peer has a route.
        let vtep = nth(subnets(&alpha)?.get(family).context("a subnet")?, 0);
        assert_eq!(source_seen(alpha.node(), &other, family)?, vtep, "from a node to another's pod");
    }
    Ok(())
}

#[test]
fn without_masquerade_the_outside_sees_the_pod() -> Result<()> {
    let mut cluster = Cluster::on_directory("nomasq", DUAL)?;
    let node = cluster.lab.node("alpha")?;
    let alpha = cluster.start(&node, |options| options.flag("--ip-masq=false"))?;
    alpha.wait_ready(LIMIT)?;
    let pod = cluster.pod(&alpha, "web")?;
    assert_eq!(told(&alpha, "FLANNEL_IPMASQ")?, "false");
    for (family, subnet) in subnets(&alpha)?.iter() {
        cluster.lab.switch().ip(&format!("route add {subnet} via {}", node.address(family)?))?;
        assert_eq!(source_seen(&pod, cluster.lab.switch(), family)?, pod.address(family)?);
    }
    Ok(())
}

#[test]
fn source_ports_are_chosen_at_random_unless_somebody_says_no() -> Result<()> {
    let mut cluster = Cluster::on_directory("random", DUAL)?;
    let (one, two) = (cluster.lab.node("alpha")?, cluster.lab.node("beta")?);
    for (node, flag, random) in [(one, "false", 4), (two, "true", 0)] {
        let flag = format!("--ip-masq-fully-random-disable={flag}");
        cluster.start(&node, |options| options.flag(flag))?.wait_ready(LIMIT)?;
        let rules = Picture::of(&node)?;
        assert_eq!(rules.lines(&["masquerade"]).len(), 4, "two of a family");
        assert_eq!(rules.lines(&["masquerade fully-random"]).len(), random);
    }
    Ok(())
}

#[test]
fn the_tunnel_s_own_packets_are_not_tracked() -> Result<()> {
    let mut cluster = Cluster::on_directory("untracked", DUAL)?;
    let daemons = cluster.join_all(["alpha", "beta"])?;
    let pods = daemons.iter().map(|daemon| cluster.pod(daemon, "web")).collect::<Result<Vec<Pod>>>()?;
    for daemon in &daemons {
        count_outer_packets(daemon)?;
    }
    for family in Family::ALL {
        pods[0].reach(&pods[1], family)?;
        daemons[1].node().reach(&pods[0], family)?;
    }
    for daemon in &daemons {
        let counters = daemon.node().json(["nft", "-j", "list", "counters"])?;
        let counters = counters["nftables"].as_array().context("a list")?.clone();
        let packets = |name: &str| {
            let counter = counters.iter().find(|entry| entry["counter"]["name"] == name);
            counter.and_then(|entry| entry["counter"]["packets"].as_u64()).with_context(|| format!("no {name}"))
        };
        assert!(packets("untracked")? > 0, "no outer packet was seen at all");
        assert_eq!(packets("tracked")?, 0);
    }
    Ok(())
}

/// Counts outer packets, sent and received, behind the place where connections are tracked.
fn count_outer_packets(daemon: &Daemon) -> Result<()> {
    let chain = |hook: &str| {
        format!(
            "chain {hook} {{\ntype filter hook {hook} priority 300\n\
             udp dport 8472 ct state untracked counter name untracked\n\
             udp dport 8472 ct state != untracked counter name tracked\n}}\n"
        )
    };
    let table = format!(
        "table inet watch {{\ncounter tracked {{ }}\ncounter untracked {{ }}\n{}{}}}\n",
        chain("input"),
        chain("output")
    );
    daemon.node().feed(["nft", "-f", "-"], &table).map(drop)
}

/// The address from which a connection seems to come.
pub fn source_seen(from: &Station, at: &Station, family: Family) -> Result<IpAddr> {
    let address = at.address(family)?;
    let listener = at.within(|| Ok(TcpListener::bind((address, 0))?))?;
    let to = SocketAddr::new(address, listener.local_addr()?.port());
    // Kept until the other end was asked: a connection that is closed before has no name.
    let _connection = from.connect(to, LIMIT)?;
    Ok(listener.accept()?.1.ip())
}
