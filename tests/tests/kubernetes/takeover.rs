//! A node that was flannel's, and a daemon that comes before the old one has gone.

use anyhow::{Result, ensure};
use ipam::Family;
use netns_harness::kubernetes::NodeObject;
use netns_harness::{Pace, Stream, wait_for};

use crate::cluster::{Cluster, LIMIT, wait_page, wait_routes};

const MAC: &str = "62:00:00:00:00:2a";

/// What flannel's daemon leaves in the kernel, its iptables being the one over nftables.
const LEFT: &str = "
    ip link add flannel.1 address 62:00:00:00:00:2a type vxlan id 1 local 192.0.2.99 dev eth0 dstport 8472 nolearning
    ip link set flannel.1 mtu 1450 up
    ip addr add 10.244.1.0/32 dev flannel.1
    ip route add 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink
    ip route add 10.244.77.0/24 via 10.244.77.0 dev flannel.1 onlink
    iptables-nft -t nat -N FLANNEL-POSTRTG
    iptables-nft -t nat -A FLANNEL-POSTRTG -s 10.244.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE --random-fully
    iptables-nft -t nat -A POSTROUTING -m comment --comment 'flanneld masq' -j FLANNEL-POSTRTG
    iptables-nft -t filter -N FLANNEL-FWD
    iptables-nft -t filter -A FLANNEL-FWD -s 10.244.0.0/16 -j ACCEPT
    iptables-nft -t filter -A FORWARD -m comment --comment 'flanneld forward' -j FLANNEL-FWD";

#[test]
fn a_node_that_was_flannel_s_keeps_its_mac_and_loses_flannel_s_rules() -> Result<()> {
    let cluster = Cluster::new("kubetaken")?;
    let beta = cluster.join("beta", 2)?;
    let node = cluster.lab.node("alpha")?;
    let address = node.address(Family::V4)?.to_string();
    node.run(["sh", "-ec", &LEFT.replace("192.0.2.99", &address)])?;
    let flannels = |object: NodeObject| {
        let key = |name: &str| format!("flannel.alpha.coreos.com/{name}");
        object
            .annotation(key("kube-subnet-manager"), "true")
            .annotation(key("backend-type"), "vxlan")
            .annotation(key("backend-data"), format!(r#"{{"VNI":1,"VtepMAC":"{MAC}"}}"#))
            .annotation(key("public-ip"), &address)
    };
    cluster.api.create_node(&flannels(NodeObject::of(&node)?.pod_cidr("10.244.1.0/24".parse()?)))?;
    wait_routes(beta.node(), &["10.244.1.0/24"])?;
    let index = index(&node)?;
    let alpha = cluster.start(&node, &[])?;
    alpha.wait_ready(LIMIT)?;
    ensure!(self::index(&node)? == index, "the same device");
    wait_routes(&node, &["10.244.2.0/24"])?;
    let routes = node.run(["ip", "route", "show", "dev", "flannel.1"])?;
    ensure!(!routes.contains("10.244.77.0/24"), "{routes}");
    let rules = node.run(["nft", "list", "ruleset"])?;
    ensure!(!rules.contains("FLANNEL-") && rules.contains("table inet towpath"), "{rules}");
    ensure!(cluster.wait_event("alpha", "TakenOver")?.contains("pods keep address"), "what was done is said");
    ensure!(cluster.annotation("alpha", "backend-data")?.contains(MAC), "peers have it as permanent");
    // Its disk is lost with its device: the Node object still knows what peers send to.
    alpha.stop()?;
    std::fs::remove_dir_all(node.directory().join("state"))?;
    node.ip("link delete flannel.1")?;
    alpha.restart()?;
    alpha.wait_ready(LIMIT)?;
    let device = node.json(["ip", "-j", "link", "show", "flannel.1"])?;
    ensure!(device[0]["address"] == MAC, "{device}");
    Ok(())
}

#[test]
fn a_daemon_that_comes_before_the_old_one_has_gone_waits_for_it() -> Result<()> {
    let cluster = Cluster::new("kubesurge")?;
    let (old, beta) = (cluster.join("alpha", 1)?, cluster.join("beta", 2)?);
    let pods = [cluster.pod(&old, "web")?, cluster.pod(&beta, "web")?];
    cluster.wait_talk(&pods[0], &pods[1])?;
    let pace = Pace { per_sec: 500, at_most: LIMIT * 4 };
    let stream = Stream::start(&pods[0], &pods[1], Family::V4, pace)?;
    stream.wait_more(50, LIMIT)?;
    let new = cluster.start(old.node(), &[])?;
    wait_for("the new one to wait", LIMIT, || {
        ensure!(new.log().contains("waiting for it to end"), "{}", new.log());
        Ok(())
    })?;
    wait_page(&old, 200, "ready")?;
    let status = old.stop()?;
    ensure!(status.success(), "{status}");
    new.wait_ready(LIMIT)?;
    stream.wait_more(50, LIMIT)?;
    ensure!(stream.stop()?.lost() == 0, "{}", new.log());
    Ok(())
}

fn index(node: &netns_harness::Node) -> Result<u64> {
    let links = node.json(["ip", "-j", "link", "show", "flannel.1"])?;
    Ok(links[0]["ifindex"].as_u64().unwrap_or_default())
}
