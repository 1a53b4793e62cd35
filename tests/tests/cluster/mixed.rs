//! Beside us on one cluster: a node as flanneld makes it and writes of it, VXLAN in both families, which must take us for its like;
//! and nodes of other kinds, which are named and left alone. No kubelets here: the API server, our daemon, and flannel played by hand
//! from the annotations that we write, read as flannel reads them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use ipam::{Family, Stack};
use ipnet::IpNet;
use netns_harness::kubernetes::{ControlPlane, ControlPlaneOptions, NodeObject};
use netns_harness::{Binaries, Daemon, DaemonOptions, Lab, Node, Pod, Store, wait_for};
use serde_json::{Value, json};

use crate::ground::{LIMIT, turn};

const PREFIX: &str = "flannel.alpha.coreos.com/";
const NETWORK: &str = r#"{"Network": "10.244.0.0/16", "EnableIPv6": true, "IPv6Network": "fd44::/48",
    "Backend": {"Type": "vxlan"}}"#;

/// A node on which flanneld runs, dual stack.
struct Legacy<'a> {
    api: &'a ControlPlane,
    node: Node,
    subnets: Stack<IpNet>,
    macs: Stack<String>,
}

/// Subnets of the node with this number.
fn subnets(number: u8) -> Result<Stack<IpNet>> {
    Ok(Stack::Dual { v4: format!("10.244.{number}.0/24").parse()?, v6: format!("fd44:0:0:{number}::/64").parse()? })
}

fn object(node: NodeObject, subnets: &Stack<IpNet>) -> NodeObject {
    subnets.values().fold(node, |node, subnet| node.pod_cidr(*subnet))
}

/// The tunnel of a family: its name, and the MTU that flannel gives it.
fn device(family: Family) -> (&'static str, u16) {
    match family {
        Family::V4 => ("flannel.1", 1450),
        Family::V6 => ("flannel-v6.1", 1430),
    }
}

/// An annotation's key of a family.
fn key(name: &str, family: Family) -> String {
    let name = match (name, family) {
        ("public", Family::V4) => "public-ip",
        ("public", Family::V6) => "public-ipv6",
        (_, Family::V4) => "backend-data",
        (_, Family::V6) => "backend-v6-data",
    };
    format!("{PREFIX}{name}")
}

impl Legacy<'_> {
    fn start<'a>(api: &'a ControlPlane, node: &Node, number: u8) -> Result<Legacy<'a>> {
        let subnets = subnets(number)?;
        let macs = subnets.map(|family, _| format!("62:00:00:00:{:02x}:{number:02x}", family.bits() / 32));
        api.create_node(&object(NodeObject::of(node)?, &subnets).annotation("a", "b"))?;
        let legacy = Legacy { api, node: node.clone(), subnets, macs };
        legacy.make_devices()?;
        legacy.publish()?;
        Ok(legacy)
    }

    fn make_devices(&self) -> Result<()> {
        for (family, mac) in self.macs.iter() {
            let ((dev, mtu), local) = (device(family), self.node.address(family)?);
            let subnet = self.subnets.get(family).context("a subnet")?.network();
            let nodad = if family == Family::V6 { "nodad" } else { "" };
            self.node.ip(&format!(
                "link add {dev} address {mac} mtu {mtu} type vxlan id 1 dev eth0 local {local} dstport 8472 nolearning"
            ))?;
            self.node.ip(&format!("addr add {subnet}/{} dev {dev} {nodad}", family.bits()))?;
            self.node.set_sysctl(&format!("net/ipv6/conf/{dev}/accept_ra"), "0")?;
            self.node.ip(&format!("link set {dev} up"))?;
        }
        Ok(())
    }

    /// The patch that flanneld sends.
    fn publish(&self) -> Result<()> {
        let mut all = BTreeMap::from([
            (format!("{PREFIX}kube-subnet-manager"), "true".to_owned()),
            (format!("{PREFIX}backend-type"), "vxlan".to_owned()),
        ]);
        for (family, mac) in self.macs.iter() {
            all.insert(key("data", family), format!(r#"{{"VNI":1,"VtepMAC":"{mac}"}}"#));
            all.insert(key("public", family), self.node.address(family)?.to_string());
        }
        let patch = json!({ "metadata": { "annotations": all } }).to_string();
        let name = self.node.name();
        let words = ["patch", "node", name, "--subresource=status", "--type=strategic", "-p", &patch];
        self.api.kubectl().words(words).map(drop)
    }

    /// What flanneld does when it hears of a node: both families must be usable, or none is used.
    fn learn(&self, peer: &str) -> Result<()> {
        let object = self.api.kubectl().json(&format!("get node {peer}"))?;
        let said =
            |key: &str| object["metadata"]["annotations"][key].as_str().with_context(|| format!("{peer}: no {key}"));
        ensure!(said(&format!("{PREFIX}kube-subnet-manager"))? == "true");
        ensure!(said(&format!("{PREFIX}backend-type"))? == "vxlan");
        for family in Family::ALL {
            let data: Value = serde_json::from_str(said(&key("data", family))?)?;
            let mac = data["VtepMAC"].as_str().context("no VtepMAC")?;
            let public: IpAddr = said(&key("public", family))?.parse()?;
            let nets = object["spec"]["podCIDRs"].as_array().context("no podCIDRs")?;
            let nets = nets.iter().filter_map(|net| net.as_str()?.parse::<IpNet>().ok());
            let net = nets.into_iter().find(|net| Family::of_net(net) == family).context("no podCIDR of the family")?;
            let ((dev, _), gateway) = (device(family), net.network());
            self.node.ip(&format!("neigh replace {gateway} lladdr {mac} dev {dev} nud permanent"))?;
            let public = public.to_string();
            self.node.run(["bridge", "fdb", "replace", mac, "dev", dev, "dst", &public, "self", "permanent"])?;
            self.node.ip(&format!("route replace {net} via {gateway} dev {dev} onlink proto boot"))?;
        }
        Ok(())
    }

    fn pod(&self, name: &str) -> Result<Pod> {
        let nth = |net: &IpNet| net.hosts().nth(8).unwrap_or(net.network());
        self.node.bare_pod(name, &self.subnets.map(|_, net| nth(net)))
    }
}

/// Pods to pods and nodes to pods, both ways, both families.
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

/// Nodes of other kinds, as flannel's other backends write of them: their name, number and what is said of the backend.
fn strangers(api: &ControlPlane) -> Result<()> {
    for (name, number, backend, data) in [
        ("gateway", 21, "host-gw", "null"),
        ("wire", 22, "wireguard", r#"{"PublicKey":"xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=","Port":51820}"#),
        ("alloc", 23, "", "null"),
        ("broken", 24, "vxlan", r#"{"VNI":1,"VtepMAC":"#),
    ] {
        let node = object(NodeObject::named(name), &subnets(number)?)
            .annotation(format!("{PREFIX}kube-subnet-manager"), "true")
            .annotation(format!("{PREFIX}backend-type"), backend)
            .annotation(format!("{PREFIX}public-ip"), format!("192.0.2.{}", 200 + number))
            .annotation(format!("{PREFIX}public-ipv6"), format!("2001:db8::{number}"))
            .annotation(format!("{PREFIX}backend-data"), data)
            .annotation(format!("{PREFIX}backend-v6-data"), data);
        api.create_node(&node)?;
    }
    // Not of this network, or not yet; and one that flannel would not use at all.
    api.create_node(&object(NodeObject::named("plain"), &subnets(25)?))?;
    let half = object(NodeObject::named("half"), &subnets(26)?)
        .annotation(format!("{PREFIX}kube-subnet-manager"), "true")
        .annotation(format!("{PREFIX}backend-type"), "vxlan")
        .annotation(format!("{PREFIX}public-ip"), "192.0.2.226")
        .annotation(format!("{PREFIX}backend-data"), r#"{"VNI":1,"Extra":7,"VtepMAC":"62:00:00:00:00:26"}"#);
    api.create_node(&half)
}

#[test]
fn a_flannel_node_beside_us_cannot_tell_us_from_its_like_and_other_kinds_are_named_and_left_alone() -> Result<()> {
    let _turn = turn();
    let lab = Lab::new("mixed")?;
    let api = lab.control_plane(&ControlPlaneOptions::default())?;
    let (node, beside) = (lab.node("alpha")?, lab.node("legacy")?);
    strangers(&api)?;
    api.create_node(&object(NodeObject::of(&node)?, &subnets(1)?))?;
    let (kubeconfig, configuration) = (api.daemon_kubeconfig()?, api.configuration_file(NETWORK)?);
    let binaries = Binaries::built()?;
    let daemon = node.towpathd(&binaries, &DaemonOptions::new(Store::Kubernetes { kubeconfig, configuration }))?;
    daemon.wait_ready(LIMIT)?;
    let mut legacy = Legacy::start(&api, &beside, 2)?;
    check_annotations(&api, &daemon)?;
    legacy.learn("alpha")?;
    let (ours, theirs) = (node.pod(&daemon.plugin(&binaries)?, "web")?, legacy.pod("web")?);
    talk([&ours, &theirs], [&node, &beside])?;
    check_peers(&daemon, &binaries)?;

    // Rebooted, its Node's annotations lost: other MACs, as flannel draws them.
    for family in Family::ALL {
        beside.ip(&format!("link delete {}", device(family).0))?;
    }
    legacy.macs = legacy.macs.map(|_, mac| mac.replace("62:", "66:"));
    legacy.make_devices()?;
    legacy.learn("alpha")?;
    legacy.publish()?;
    talk([&ours, &theirs], [&node, &beside]).context("after its MACs changed")?;

    // Moved to other addresses.
    let moved = Stack::Dual { v4: "192.0.2.180/24".parse()?, v6: "2001:db8::180/64".parse()? };
    beside.wire().readdress(&moved)?;
    for family in Family::ALL {
        beside.ip(&format!("link set {} type vxlan local {}", device(family).0, beside.address(family)?))?;
    }
    legacy.publish()?;
    talk([&ours, &theirs], [&node, &beside]).context("after its addresses changed")?;
    // A restart says the same again.
    daemon.kill()?;
    daemon.restart()?;
    daemon.wait_ready(LIMIT)?;
    check_annotations(&api, &daemon)?;
    talk([&ours, &theirs], [&node, &beside])
}

/// Byte for byte what flanneld would have written, and nothing else under its prefix.
fn check_annotations(api: &ControlPlane, daemon: &Daemon) -> Result<()> {
    let node = daemon.node();
    let mut expected = BTreeMap::from([
        (format!("{PREFIX}kube-subnet-manager"), "true".to_owned()),
        (format!("{PREFIX}backend-type"), "vxlan".to_owned()),
    ]);
    for family in Family::ALL {
        let link = node.json(["ip", "-j", "link", "show", device(family).0])?;
        let mac = link[0]["address"].as_str().context("no MAC")?.to_owned();
        expected.insert(key("data", family), format!(r#"{{"VNI":1,"VtepMAC":"{mac}"}}"#));
        expected.insert(key("public", family), node.address(family)?.to_string());
    }
    let object = api.kubectl().json("get node alpha")?;
    let all = object["metadata"]["annotations"].as_object().context("no annotations")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let found: BTreeMap<_, _> =
        all.iter().filter(|(key, _)| key.starts_with(PREFIX)).map(|(key, value)| (key.clone(), text(value))).collect();
    ensure!(found == expected, "{found:#?}, not {expected:#?}");
    Ok(())
}

/// In the kernel: the flannel node, and the one of one family in that family. In words: all others, each with why.
fn check_peers(daemon: &Daemon, binaries: &Binaries) -> Result<()> {
    let node = daemon.node();
    wait_for("exactly the peers that can be reached", LIMIT, || {
        let routes = node.ip("route show proto 84")? + &node.ip("-6 route show proto 84")?;
        let mut nets: Vec<&str> = routes.lines().filter_map(|line| line.split(' ').next()).collect();
        nets.sort_unstable();
        ensure!(nets == ["10.244.2.0/24", "10.244.26.0/24", "fd44:0:0:2::/64"], "{routes}");
        Ok(())
    })?;
    let mut command = Command::new(binaries.find("towpathctl")?);
    command.args(["status"]).arg(format!("--socket={}", daemon.status_socket().display()));
    let output = node.output(command, "")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    for (name, why) in [
        ("gateway", "it publishes backend `host-gw`, this node runs `vxlan`"),
        ("wire", "it publishes backend `wireguard`, this node runs `vxlan`"),
        ("alloc", "it publishes backend ``, this node runs `vxlan`"),
        ("broken", "its backend-data is not JSON"),
    ] {
        ensure!(said.contains(name) && said.contains(why), "{name} is not named with `{why}` in\n{said}");
        let log = daemon.log();
        ensure!(log.lines().any(|line| line.contains(name) && line.contains(why)), "{name}, `{why}`:\n{log}");
    }
    ensure!(!said.contains("plain"), "it is none of this network: {said}");
    ensure!(daemon.get("/readyz")?.status == 200, "others are no reason: {said}");
    Ok(())
}
