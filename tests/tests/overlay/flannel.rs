//! [`Flannel`]: a node as flanneld makes it, by hand, and what flanneld writes to etcd; and the promise that such a node
//! beside ours cannot tell us from its like, whatever happens to it.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use ipam::{Family, Stack};
use ipnet::IpNet;
use netns_harness::{Daemon, Etcd, Node, Pod, wait_for};
use serde_json::Value;

use crate::cluster::{Cluster, DUAL, LIMIT, PREFIX, nth, subnets, wait_route};
use crate::picture::Picture;

/// A node on which flanneld ran with VXLAN and both families.
pub struct Flannel {
    /// The node.
    pub node: Node,
    /// Its pods' subnets.
    pub subnets: Stack<IpNet>,
    /// Its VTEPs' MACs.
    pub macs: Stack<String>,
}

/// What a node publishes of itself in one family.
pub struct Published {
    /// The pods' subnet.
    pub subnet: IpNet,
    /// Where outer packets go.
    pub public: IpAddr,
    /// The VTEP's MAC.
    pub mac: String,
}

impl Flannel {
    /// The devices and addresses that flanneld makes at its start, and the key that it writes.
    pub fn start(node: &Node, subnets: Stack<IpNet>, number: u8) -> Result<Flannel> {
        let macs = subnets.map(|family, _| format!("62:00:00:00:{:02x}:{number:02x}", family.bits() / 32));
        let flannel = Flannel { node: node.clone(), subnets, macs };
        flannel.make_devices()?;
        Ok(flannel)
    }

    /// `flannel.1` and `flannel-v6.1` as netlink shows those of flanneld.
    pub fn make_devices(&self) -> Result<()> {
        for (family, mac) in self.macs.iter() {
            let (dev, mtu) = device(family);
            let (local, bits) = (self.node.address(family)?, family.bits());
            let subnet = self.subnets.get(family).context("a subnet")?;
            self.node.ip(&format!(
                "link add {dev} address {mac} mtu {mtu} type vxlan id 1 dev eth0 local {local} dstport 8472 nolearning"
            ))?;
            let nodad = if family == Family::V6 { "nodad" } else { "" };
            self.node.ip(&format!("addr add {}/{bits} dev {dev} {nodad}", nth(subnet, 0)))?;
            self.node.set_sysctl(&format!("net/ipv6/conf/{dev}/accept_ra"), "0")?;
            self.node.ip(&format!("link set {dev} up"))?;
        }
        Ok(())
    }

    /// What flanneld does when it hears of another node.
    pub fn learn(&self, peer: &Stack<Published>) -> Result<()> {
        for (family, Published { subnet, public, mac }) in peer.iter() {
            let ((dev, _), gateway) = (device(family), nth(subnet, 0));
            self.node.ip(&format!("neigh replace {gateway} lladdr {mac} dev {dev} nud permanent"))?;
            let dst = public.to_string();
            self.node.run(["bridge", "fdb", "replace", mac, "dev", dev, "dst", &dst, "self", "permanent"])?;
            self.node.ip(&format!("route replace {subnet} via {gateway} dev {dev} onlink proto boot"))?;
        }
        Ok(())
    }

    /// What it publishes.
    pub fn published(&self) -> Result<Stack<Published>> {
        let publish = |family, subnet: &IpNet| {
            let mac = self.macs.get(family)?.clone();
            Some(Published { subnet: *subnet, public: self.node.address(family).ok()?, mac })
        };
        self.subnets.filter_map(publish).context("no family")
    }

    /// Writes its lease to etcd for so many seconds; flanneld says 86400.
    pub fn publish(&self, etcd: &Etcd, seconds: u32) -> Result<()> {
        let granted = etcd.ctl(&["lease", "grant", &seconds.to_string()])?;
        let id = granted.split_whitespace().nth(1).context("no lease granted")?.to_owned();
        let published = self.published()?;
        let (v4, v6) = (published.get(Family::V4).context("IPv4")?, published.get(Family::V6).context("IPv6")?);
        let value = format!(
            r#"{{"PublicIP":"{}","PublicIPv6":"{}","BackendType":"vxlan","BackendData":{{"VNI":1,"VtepMAC":"{}"}},"BackendV6Data":{{"VNI":1,"VtepMAC":"{}"}}}}"#,
            v4.public, v6.public, v4.mac, v6.mac
        );
        etcd.ctl(&["put", &key(&self.subnets), &value, &format!("--lease={id}")]).map(drop)
    }

    /// A pod, as a runtime makes it.
    pub fn pod(&self, name: &str) -> Result<Pod> {
        self.node.bare_pod(name, &self.subnets.map(|_, subnet| nth(subnet, 10)))
    }
}

/// The device of a family, and its MTU over an underlay of 1500.
fn device(family: Family) -> (&'static str, u32) {
    match family {
        Family::V4 => ("flannel.1", 1450),
        Family::V6 => ("flannel-v6.1", 1430),
    }
}

/// Flannel's key of a lease.
pub fn key(subnets: &Stack<IpNet>) -> String {
    let names: Vec<String> = subnets.values().map(|net| format!("{}-{}", net.network(), net.prefix_len())).collect();
    format!("{PREFIX}/subnets/{}", names.join("&"))
}

/// Both families' subnets with one number. Daemons choose among the first hundred: take one beyond for a node that does not
/// ask them.
pub fn numbered(number: u8) -> Result<Stack<IpNet>> {
    Ok(Stack::Dual {
        v4: format!("10.244.{number}.0/24").parse()?,
        v6: format!("fd00:10:244:{number:x}::/64").parse()?,
    })
}

/// What a daemon of ours published, read as flannel reads it.
pub fn read_published(etcd: &Etcd, daemon: &Daemon) -> Result<Stack<Published>> {
    let subnets = subnets(daemon)?;
    let text = etcd.ctl(&["get", &key(&subnets), "--print-value-only"])?;
    let value: Value = serde_json::from_str(&text).with_context(|| format!("under {}: {text}", key(&subnets)))?;
    let read = |family, subnet: &IpNet| {
        let (public, data) = match family {
            Family::V4 => ("PublicIP", "BackendData"),
            Family::V6 => ("PublicIPv6", "BackendV6Data"),
        };
        let mac = value[data]["VtepMAC"].as_str()?.to_owned();
        let vni = value[data]["VNI"].as_u64()? == 1 && value["BackendType"] == "vxlan";
        vni.then_some(Published { subnet: *subnet, public: value[public].as_str()?.parse().ok()?, mac })
    };
    subnets.filter_map(read).with_context(|| format!("flannel cannot use {text}"))
}

/// Waits until a node's tunnels have, of all peers, exactly this one.
fn wait_only_peer(node: &Node, peer: &Stack<Published>) -> Result<()> {
    wait_for("nothing but the peer's own entries", LIMIT, || {
        let picture = Picture::of(node)?;
        for kind in ["fdb ", "neigh ", "nexthop ", "route unicast"] {
            let ours = picture.lines(&[kind, " dev flannel"]);
            let ours: Vec<_> = ours.into_iter().filter(|line| !line.contains("proto kernel")).collect();
            ensure!(ours.len() == peer.values().count(), "{ours:#?}");
        }
        for Published { subnet, public, mac } in peer.values() {
            let gateway = nth(subnet, 0).to_string();
            let entry = [format!("fdb {mac} dev"), format!(" dst {public} ")];
            ensure!(picture.lines(&entry.each_ref().map(String::as_str)).len() == 1, "no fdb of {mac}");
            ensure!(picture.lines(&[&format!("neigh {gateway} dev"), mac]).len() == 1, "no neighbour {gateway}");
            ensure!(picture.lines(&[&format!("route unicast {subnet} ")]).len() == 1, "no route {subnet}");
        }
        Ok(())
    })
}

fn talk(pods: [&Pod; 2], nodes: [&Node; 2]) -> Result<()> {
    for family in Family::ALL {
        wait_for("both directions", LIMIT, || {
            pods[0].reach(pods[1], family)?;
            pods[1].reach(pods[0], family)?;
            nodes[0].reach(pods[1], family)?;
            nodes[1].reach(pods[0], family)
        })?;
    }
    Ok(())
}

#[test]
fn a_flannel_node_beside_us_talks_with_us_whatever_happens_to_it() -> Result<()> {
    let mut cluster = Cluster::on_etcd("flannel", DUAL)?;
    let alpha = cluster.join("alpha")?;
    let mut flannel = Flannel::start(&cluster.lab.node("legacy")?, numbered(177)?, 1)?;
    let etcd = cluster.etcd()?.clone();
    flannel.publish(&etcd, 86400)?;
    flannel.learn(&read_published(&etcd, &alpha)?)?;
    let (ours, theirs) = (cluster.pod(&alpha, "web")?, flannel.pod("web")?);
    let nodes = [alpha.node().clone(), flannel.node.clone()];
    let nodes = [&nodes[0], &nodes[1]];
    wait_only_peer(alpha.node(), &flannel.published()?)?;
    talk([&ours, &theirs], nodes)?;

    // Rebooted: other MACs under the same key.
    flannel.node.ip("link delete flannel.1")?;
    flannel.node.ip("link delete flannel-v6.1")?;
    flannel.macs = flannel.macs.map(|_, mac| mac.replace("62:", "66:"));
    flannel.make_devices()?;
    flannel.learn(&read_published(&etcd, &alpha)?)?;
    flannel.publish(&etcd, 86400)?;
    wait_only_peer(alpha.node(), &flannel.published()?).context("after its MACs changed")?;
    talk([&ours, &theirs], nodes)?;

    // Moved: other underlay addresses under the same key.
    let moved = Stack::Dual { v4: "192.0.2.200/24".parse()?, v6: "2001:db8::200/64".parse()? };
    flannel.node.wire().readdress(&moved)?;
    for family in Family::ALL {
        let (dev, local) = (device(family).0, flannel.node.address(family)?);
        flannel.node.ip(&format!("link set {dev} type vxlan local {local}"))?;
    }
    flannel.publish(&etcd, 86400)?;
    wait_only_peer(alpha.node(), &flannel.published()?).context("after its addresses changed")?;
    talk([&ours, &theirs], nodes)?;

    // Gone, and come again with the same subnet; then for two seconds only.
    etcd.ctl(&["del", &key(&flannel.subnets)])?;
    wait_no_peer(alpha.node()).context("after its lease was deleted")?;
    flannel.publish(&etcd, 86400)?;
    wait_only_peer(alpha.node(), &flannel.published()?).context("after its lease came again")?;
    talk([&ours, &theirs], nodes)?;
    flannel.publish(&etcd, 2)?;
    wait_no_peer(alpha.node()).context("after its lease ran out")
}

/// Waits until a node's tunnels lead nowhere.
fn wait_no_peer(node: &Node) -> Result<()> {
    wait_for("no entry of any peer", LIMIT, || {
        let picture = Picture::of(node)?;
        let left = ["fdb ", "neigh ", "nexthop ", "route unicast"].map(|kind| picture.lines(&[kind, " dev flannel"]));
        let left: Vec<_> = left.concat().into_iter().filter(|line| !line.contains("proto kernel")).collect();
        ensure!(left.is_empty(), "{left:#?}");
        Ok(())
    })
}

#[test]
fn a_flannel_node_with_half_a_lease_is_reached_in_the_family_that_it_has() -> Result<()> {
    let mut cluster = Cluster::on_etcd("flannelv4", DUAL)?;
    let alpha = cluster.join("alpha")?;
    let subnet: IpNet = "10.244.178.0/24".parse()?;
    let value = r#"{"PublicIP":"192.0.2.99","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"62:00:00:00:00:09"}}"#;
    cluster.etcd()?.ctl(&["put", &key(&Stack::V4(subnet)), value])?;
    wait_route(alpha.node(), &subnet)
}
