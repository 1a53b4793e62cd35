//! host-gw: pods' packets as they are over the nodes' own link. What is ours lies on a device that is not.

use anyhow::{Context, Result, ensure};
use ipam::{Family, Stack};
use netns_harness::{Daemon, Matrix, Node, Pod, Signal, wait_for};

use crate::cluster::{
    Cluster, LIMIT, PREFIX, counted, killed_and_back, nth, stream, subnets, told, wait_counted, wait_picture,
    wait_route,
};
use crate::flannel::{key, numbered};
use crate::picture::Picture;

const HOST_GW: &str = r#"{"Network": "10.244.0.0/16", "IPv6Network": "fd00:10:244::/48", "EnableIPv6": true,
    "Backend": {"Type": "host-gw"}}"#;

/// What somebody does, and the word with which the log says what was put back. `$net`, `$gw`, `$id` are a peer's pods, its
/// address and the next hop to it.
const FAULTS: &[(&str, &str)] = &[
    ("ip nexthop del id $id", "nexthop"),
    ("ip nexthop flush proto 84", "nexthop"),
    ("ip -$f route del $net", "$net"),
    ("ip -$f route replace $net via $gw dev eth0 proto static", "$net"),
    ("ip -$f route replace blackhole $net", "$net"),
    ("ip -$f route add $elsewhere via $gw dev eth0 proto 84", "$elsewhere"),
    ("sysctl -qw net.ipv4.conf.eth0.rp_filter=1", "rp_filter"),
];

fn pods(cluster: &Cluster, daemons: &[Daemon]) -> Result<Vec<Pod>> {
    daemons.iter().map(|daemon| cluster.pod(daemon, "web")).collect()
}

fn wait_talk(pods: &[Pod]) -> Result<()> {
    let stations: Vec<_> = pods.iter().map(|pod| &**pod).collect();
    wait_for("the pods to talk", LIMIT, || Matrix::measure(&stations)?.check())
}

#[test]
fn pods_talk_in_both_families_and_a_restart_changes_nothing() -> Result<()> {
    let mut cluster = Cluster::on_directory("hostgw", HOST_GW)?;
    let daemons = cluster.join_all(["alpha", "beta", "gamma"])?;
    let pods = pods(&cluster, &daemons)?;
    wait_talk(&pods)?;
    let [alpha, beta, _] = &daemons;
    assert_eq!(told(alpha, "FLANNEL_MTU")?, "1500", "nothing is put around the packets");
    let picture = Picture::of(alpha.node())?;
    assert_eq!(picture.lines(&["flannel"]), Vec::<&str>::new(), "it needs no device");
    assert_eq!(picture.lines(&["nexthop", "dev eth0", "proto 84"]).len(), 4, "one per peer and family");
    published(&cluster)?;
    let said = explained(&cluster, alpha, &pods[1].address(Family::V6)?.to_string())?;
    ensure!(said.contains("dev eth0, as they are") && !said.contains("MISSING"), "{said}");
    killed_and_back(alpha, &picture)?;
    each_is_put_back(alpha, beta, &picture)?;
    wait_talk(&pods)
}

/// What `towpathctl explain` says of an address.
pub fn explained(cluster: &Cluster, daemon: &Daemon, address: &str) -> Result<String> {
    let ctl = cluster.binaries.find("towpathctl")?;
    let socket = format!("--socket={}", daemon.status_socket().display());
    let command = format!("{} explain {address} {socket} || :", ctl.display());
    daemon.node().run(["sh", "-c", &command])
}

/// As flannel writes it: the type and no data.
fn published(cluster: &Cluster) -> Result<()> {
    for file in std::fs::read_dir(cluster.directory()?.join("leases"))? {
        let text = std::fs::read_to_string(file?.path())?;
        ensure!(text.contains("\"host-gw\"") && !text.contains("Data"), "{text}");
    }
    Ok(())
}

fn each_is_put_back(alpha: &Daemon, beta: &Daemon, picture: &Picture) -> Result<()> {
    let (nets, addresses) = (subnets(beta)?, beta.node().addresses()?);
    let elsewhere = Stack::Dual { v4: "10.244.254.0/24", v6: "fd00:10:244:fe00::/56" };
    for (family, net) in nets.iter() {
        let (Some(gateway), Some(elsewhere)) = (addresses.get(family), elsewhere.get(family)) else { continue };
        for (fault, word) in FAULTS {
            let list = alpha.node().run(["ip", "nexthop"])?;
            let line = list.lines().find(|line| line.contains(&format!(" via {gateway} "))).context("a next hop")?;
            let id = line.split_whitespace().nth(1).context("an id")?.to_owned();
            let number = if gateway.is_ipv4() { "4" } else { "6" };
            let words = [("$net", net.to_string()), ("$gw", gateway.to_string()), ("$id", id)];
            let fill = |text: &str| {
                let text = text.replace("$f", number).replace("$elsewhere", elsewhere);
                words.iter().fold(text, |text, (word, value)| text.replace(word, value))
            };
            let (before, said) = (counted(alpha, "towpath_repairs_total")?, alpha.log().len());
            alpha.signal(Signal::STOP)?;
            alpha.node().run(["sh", "-ec", &fill(fault)])?;
            alpha.signal(Signal::CONT)?;
            let repaired = || {
                wait_counted(alpha, "towpath_repairs_total", before)?;
                wait_picture(alpha.node(), picture)?;
                ensure!(alpha.log()[said..].contains(&fill(word)), "the log does not say what it was");
                anyhow::Ok(())
            };
            repaired().with_context(|| format!("after `{}`: {}", fill(fault), alpha.log_tail(20)))?;
        }
    }
    Ok(())
}

#[test]
fn an_uplink_that_flaps_or_changes_its_address_is_followed_at_once() -> Result<()> {
    let mut cluster = Cluster::on_directory("hostgwlink", HOST_GW)?;
    let daemons = cluster.join_all(["alpha", "beta"])?;
    let pods = pods(&cluster, &daemons)?;
    let [alpha, beta] = &daemons;
    wait_talk(&pods)?;
    let picture = Picture::of(alpha.node())?;
    let wire = alpha.node().wire();
    wire.unplug()?;
    wire.plug()?;
    wait_picture(alpha.node(), &picture).context("after the plug was pulled")?;
    wire.down()?;
    wire.up()?;
    alpha.node().add_default_routes()?;
    wait_picture(alpha.node(), &picture).context("after the link was down")?;
    wait_talk(&pods)?;
    let moved = Stack::Dual { v4: "192.0.2.200/24".parse()?, v6: "2001:db8::200/64".parse()? };
    wire.readdress(&moved)?;
    alpha.node().add_default_routes()?;
    for (family, subnet) in subnets(alpha)?.iter() {
        let gateway = moved.get(family).context("an address")?.addr().to_string();
        wait_gateway(beta.node(), subnet, &gateway)?;
    }
    wait_talk(&pods)
}

fn wait_gateway(node: &Node, subnet: &ipnet::IpNet, gateway: &str) -> Result<()> {
    let family = if subnet.addr().is_ipv4() { "-4" } else { "-6" };
    wait_for(&format!("the route to {subnet} through {gateway}"), LIMIT, || {
        let routes = node.run(["ip", family, "route", "show", "exact", &subnet.to_string()])?;
        ensure!(routes.contains(&format!("via {gateway} ")), "{routes}");
        Ok(())
    })
}

#[test]
fn a_peer_that_is_not_on_the_link_is_named_and_does_not_stop_the_others() -> Result<()> {
    let mut cluster = Cluster::on_etcd("hostgwfar", HOST_GW)?;
    let [alpha, beta] = cluster.join_all(["alpha", "beta"])?;
    let far = r#"{"PublicIP":"198.51.100.7","BackendType":"host-gw","Node":"far"}"#;
    cluster.etcd()?.ctl(&["put", &format!("{PREFIX}/subnets/10.244.77.0-24"), far])?;
    let ctl = cluster.binaries.find("towpathctl")?;
    wait_for("the far node to be named with the fix", LIMIT, || {
        let socket = format!("--socket={}", alpha.status_socket().display());
        let said = alpha.node().run([ctl.as_os_str(), "status".as_ref(), socket.as_ref()])?;
        for word in ["far", "198.51.100.7 is not on the link of eth0", "DirectRouting"] {
            ensure!(said.contains(word), "{said}");
        }
        Ok(())
    })?;
    for subnet in subnets(&beta)?.values() {
        wait_route(alpha.node(), subnet)?;
    }
    // A router that is not asked: this node's own route says that it is next door.
    alpha.node().ip("route add 198.51.100.7/32 dev eth0")?;
    wait_route(alpha.node(), &"10.244.77.0/24".parse()?)?;
    alpha.node().ip("route replace 198.51.100.7/32 via 192.0.2.1")?;
    wait_for("the route to go with it", LIMIT, || {
        let routes = alpha.node().run(["ip", "route", "show", "10.244.77.0/24"])?;
        ensure!(routes.is_empty(), "{routes}");
        Ok(())
    })
}

#[test]
fn what_flannel_left_is_taken_over_without_losing_a_packet_and_the_rest_stays() -> Result<()> {
    let mut cluster = Cluster::on_etcd("hostgwtake", HOST_GW)?;
    let etcd = cluster.etcd()?.clone();
    let (node, peer) = (cluster.lab.node("alpha")?, cluster.lab.node("legacy")?);
    let (own, theirs) = (numbered(5)?, numbered(6)?);
    for (number, node, other, others) in [(5, &node, &peer, &theirs), (6, &peer, &node, &own)] {
        let (v4, v6) = (node.address(Family::V4)?, node.address(Family::V6)?);
        let value = format!(r#"{{"PublicIP":"{v4}","PublicIPv6":"{v6}","BackendType":"host-gw"}}"#);
        etcd.ctl(&["put", &key(&numbered(number)?), &value])?;
        for (family, subnet) in others.iter() {
            node.ip(&format!("route add {subnet} via {} dev eth0 proto boot", other.address(family)?))?;
            node.set_sysctl(
                if family == Family::V4 { "net/ipv4/ip_forward" } else { "net/ipv6/conf/all/forwarding" },
                "1",
            )?;
        }
    }
    // An administrator's own, of the same look: into the network, but to nobody's pods.
    node.ip("route add 10.244.200.0/24 via 192.0.2.99 dev eth0")?;
    let pods = [(&node, &own), (&peer, &theirs)]
        .map(|(node, subnets)| node.bare_pod("web", &subnets.map(|_, subnet| nth(subnet, 10))));
    let pods: Vec<Pod> = pods.into_iter().collect::<Result<_>>()?;
    let streams = Family::ALL.map(|family| stream(&pods[1], &pods[0], family));
    let streams = streams.into_iter().collect::<Result<Vec<_>>>()?;
    let text = "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.5.1/24\nFLANNEL_IPV6_NETWORK=fd00:10:244::/48\n\
                FLANNEL_IPV6_SUBNET=fd00:10:244:5::1/64\nFLANNEL_MTU=1500\nFLANNEL_IPMASQ=true\n";
    std::fs::write(node.directory().join("subnet.env"), text)?;
    let alpha = cluster.start(&node, |options| options)?;
    alpha.wait_ready(LIMIT)?;
    for (family, subnet) in theirs.iter() {
        wait_route(&node, subnet)?;
        let dash = if family == Family::V4 { "-4" } else { "-6" };
        let routes = node.run(["ip", dash, "route", "show", "exact", &subnet.to_string()])?;
        ensure!(routes.lines().count() == 1 && !routes.contains("boot"), "flannel's is beside ours: {routes}");
    }
    for stream in streams {
        stream.wait_more(100, LIMIT)?;
        let report = stream.stop()?;
        assert_eq!(report.lost(), 0, "{report:?}; {}", alpha.log());
    }
    let kept = node.ip("route show 10.244.200.0/24")?;
    ensure!(kept.contains("via 192.0.2.99"), "the administrator's route is gone: {kept}");
    assert_eq!(subnets(&alpha)?, own, "the node keeps its subnets");
    clean_up(&cluster, &alpha)?;
    let left = Picture::of(&node)?;
    assert_eq!(left.lines(&["proto 84"]), Vec::<&str>::new());
    ensure!(node.ip("route show 10.244.200.0/24")? == kept, "it went with ours");
    Ok(())
}

fn clean_up(cluster: &Cluster, daemon: &Daemon) -> Result<()> {
    daemon.stop()?;
    let ctl = cluster.binaries.find("towpathctl")?;
    let subnet_file = format!("--subnet-file={}", daemon.subnet_file().display());
    daemon.node().run([ctl.as_os_str(), "cleanup".as_ref(), "--yes".as_ref(), subnet_file.as_ref()]).map(drop)
}
