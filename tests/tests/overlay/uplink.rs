//! The uplink goes and comes, changes its address and its MTU, or is not there at the beginning: what hung on it follows.

use anyhow::{Context, Result, ensure};
use ipam::{Family, Stack};
use netns_harness::{Daemon, DefaultRoute, Matrix, Pod, Uplink, wait_for};

use crate::cluster::{Cluster, DUAL, LIMIT, SINGLE, subnets, told, wait_picture};
use crate::picture::Picture;

/// Two nodes and a pod on each.
struct Pair {
    cluster: Cluster,
    alpha: Daemon,
    beta: Daemon,
    pods: [Pod; 2],
}

impl Pair {
    fn new(cluster: Cluster) -> Result<Pair> {
        let mut cluster = cluster;
        let [alpha, beta] = cluster.join_all(["alpha", "beta"])?;
        let pods = [cluster.pod(&alpha, "web")?, cluster.pod(&beta, "web")?];
        Ok(Pair { cluster, alpha, beta, pods })
    }

    fn wait_talk(&self) -> Result<()> {
        wait_for("the pods to talk", LIMIT, || Matrix::measure(&[&self.pods[0], &self.pods[1]])?.check())
    }
}

fn moved() -> Result<Stack<ipnet::IpNet>> {
    Ok(Stack::Dual { v4: "192.0.2.200/24".parse()?, v6: "2001:db8::200/64".parse()? })
}

#[test]
fn an_uplink_that_goes_down_and_comes_back_brings_everything_back() -> Result<()> {
    let pair = Pair::new(Cluster::on_directory("updown", DUAL)?)?;
    let node = pair.alpha.node();
    let picture = Picture::of(node)?;
    node.wire().unplug()?;
    node.wire().plug()?;
    pair.wait_talk().context("after the plug was pulled")?;
    node.wire().down()?;
    wait_for("it to be said", LIMIT, || {
        let page = pair.alpha.get("/readyz")?;
        ensure!(page.body.contains("eth0") || page.body.contains("route"), "{page:?}");
        Ok(())
    })?;
    node.wire().up()?;
    node.add_default_routes()?;
    pair.alpha.wait_ready(LIMIT)?;
    wait_picture(node, &picture)?;
    pair.wait_talk().context("after the link was down")
}

#[test]
fn an_uplink_that_vanishes_takes_the_tunnels_with_it_and_all_comes_back() -> Result<()> {
    let pair = Pair::new(Cluster::on_directory("vanish", DUAL)?)?;
    let (node, addresses) = (pair.alpha.node(), pair.alpha.node().wire().addresses()?);
    let pictures = [Picture::of(node)?, Picture::of(pair.beta.node())?];
    node.wire().remove()?;
    wait_for("the devices to go with it", LIMIT, || {
        let picture = Picture::of(node)?;
        ensure!(picture.lines(&["link N flannel"]).is_empty(), "{:?}", picture.lines(&["link N flannel"]));
        Ok(())
    })?;
    node.wire().replace(1500, &addresses)?;
    node.add_default_routes()?;
    wait_picture(node, &pictures[0])?;
    pair.wait_talk()?;
    pictures[1].compare(&Picture::of(pair.beta.node())?).context("the peer had nothing to change")
}

#[test]
fn another_address_is_published_and_peers_follow_on_a_directory() -> Result<()> {
    another_address_is_published_and_peers_follow(Pair::new(Cluster::on_directory("movedir", DUAL)?)?)
}

#[test]
fn another_address_is_published_and_peers_follow_on_etcd() -> Result<()> {
    another_address_is_published_and_peers_follow(Pair::new(Cluster::on_etcd("moveetcd", DUAL)?)?)
}

fn another_address_is_published_and_peers_follow(pair: Pair) -> Result<()> {
    let (alpha, before) = (&pair.alpha, subnets(&pair.alpha)?);
    let home = alpha.node().wire().addresses()?;
    alpha.node().wire().readdress(&moved()?)?;
    alpha.node().add_default_routes()?;
    wait_followed(&pair, &moved()?).context("while it ran")?;
    pair.wait_talk()?;
    alpha.stop()?;
    alpha.node().wire().readdress(&home)?;
    alpha.node().add_default_routes()?;
    alpha.restart()?;
    alpha.wait_ready(LIMIT)?;
    wait_followed(&pair, &home).context("between two runs")?;
    pair.wait_talk()?;
    assert_eq!(subnets(alpha)?, before, "the subnet stayed");
    ensure!(pair.cluster.daemons.len() == 2, "nobody else");
    Ok(())
}

/// Waits until the node's devices and its peer's entries are about these addresses and no others.
fn wait_followed(pair: &Pair, addresses: &Stack<ipnet::IpNet>) -> Result<()> {
    for (family, net) in addresses.iter() {
        let device = if family == Family::V4 { "flannel.1" } else { "flannel-v6.1" };
        let (local, remote) = (format!(" local {} ", net.addr()), format!(" dst {} ", net.addr()));
        wait_for("the node's own device", LIMIT, || {
            let picture = Picture::of(pair.alpha.node())?;
            ensure!(picture.lines(&[device, &local]).len() == 1, "{:?}", picture.lines(&["link N ", device]));
            Ok(())
        })?;
        wait_for("the peer's entry", LIMIT, || {
            let picture = Picture::of(pair.beta.node())?;
            let entries = picture.lines(&["fdb ", &format!(" dev {device} ")]);
            ensure!(entries.len() == 1 && entries[0].contains(&remote), "{entries:?}");
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn another_mtu_is_followed_by_devices_and_subnet_env() -> Result<()> {
    let pair = Pair::new(Cluster::on_directory("mtulive", DUAL)?)?;
    for mtu in [1400, 1500] {
        pair.alpha.node().wire().set_mtu(mtu)?;
        wait_for("devices and file to follow", LIMIT, || {
            let picture = Picture::of(pair.alpha.node())?;
            for (device, mtu) in [("flannel.1:", mtu - 50), ("flannel-v6.1:", mtu - 70)] {
                let link = picture.lines(&["link N", device]);
                ensure!(link.len() == 1 && link[0].contains(&format!(" mtu {mtu} ")), "{link:?}");
            }
            let said = told(&pair.alpha, "FLANNEL_MTU")?;
            ensure!(said == (mtu - 70).to_string(), "subnet.env says {said}");
            Ok(())
        })?;
        pair.wait_talk()?;
    }
    Ok(())
}

#[test]
fn without_an_uplink_it_waits_and_says_what_it_looked_for() -> Result<()> {
    let mut cluster = Cluster::on_directory("nouplink", SINGLE)?;
    let node = cluster.lab.node_with("alpha", Uplink { default_route: DefaultRoute::Absent, ..Uplink::default() })?;
    let alpha = cluster.start(&node, |options| options)?;
    wait_for("the reason", LIMIT, || {
        let page = alpha.get("/readyz")?;
        ensure!(page.status == 503 && page.body.contains("default route"), "{page:?}");
        Ok(())
    })?;
    alpha.wait_log("default route", LIMIT)?;
    assert!(Picture::of(&node)?.lines(&["flannel"]).is_empty(), "nothing was made");
    node.add_default_routes()?;
    alpha.wait_ready(LIMIT)
}
