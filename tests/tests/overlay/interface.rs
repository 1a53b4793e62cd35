//! Which interface reaches the other nodes is chosen as the flags say, and may become another one.

use anyhow::{Context, Result, ensure};
use ipam::Family;
use netns_harness::{Daemon, Matrix, wait_for};

use crate::cluster::{Cluster, LIMIT, SINGLE};
use crate::picture::Picture;

#[test]
fn every_flag_chooses_the_interface_that_it_names() -> Result<()> {
    let mut cluster = Cluster::on_directory("iface", SINGLE)?;
    let node = cluster.lab.node("alpha")?;
    let second = "ip link add eth1 type bridge; ip addr add 198.51.100.1/24 dev eth1; ip addr add 198.51.100.2/24 dev eth1; \
                  ip link set eth1 up";
    node.run(["sh", "-ec", second])?;
    for (flags, device, local, public) in [
        (vec![], "eth0", "192.0.2.11", "192.0.2.11"),
        (vec!["--iface=eth1"], "eth1", "198.51.100.1", "198.51.100.1"),
        (vec!["-iface", "198.51.100.2"], "eth1", "198.51.100.2", "198.51.100.2"),
        (vec!["--iface=nosuch", "--iface=eth1"], "eth1", "198.51.100.1", "198.51.100.1"),
        (vec!["--iface-regex=^eth[1-9]$"], "eth1", "198.51.100.1", "198.51.100.1"),
        (vec!["--iface-regex=^198\\.51\\."], "eth1", "198.51.100.1", "198.51.100.1"),
        (vec!["--iface-can-reach=198.51.100.77"], "eth1", "198.51.100.1", "198.51.100.1"),
        (vec!["--public-ip=198.51.100.2"], "eth1", "198.51.100.2", "198.51.100.2"),
        (vec!["--iface=eth1", "--public-ip=203.0.113.5"], "eth1", "198.51.100.1", "203.0.113.5"),
    ] {
        let alpha = cluster.start(&node, |options| flags.iter().fold(options, |options, flag| options.flag(*flag)))?;
        alpha.wait_ready(LIMIT).with_context(|| format!("{flags:?}"))?;
        let link = Picture::of(&node)?.lines(&["link N flannel.1:"]).join("\n");
        ensure!(link.contains(&format!(" local {local} dev {device} ")), "{flags:?}: {link}");
        published(&cluster, public).with_context(|| format!("{flags:?}"))?;
        alpha.stop()?;
    }
    Ok(())
}

/// Waits until the store tells of this address, of the only node.
fn published(cluster: &Cluster, address: &str) -> Result<()> {
    wait_for("the lease to say so", LIMIT, || {
        let mut leases = std::fs::read_dir(cluster.directory()?.join("leases"))?;
        let lease = std::fs::read_to_string(leases.next().context("no lease")??.path())?;
        ensure!(lease.contains(&format!("\"PublicIP\": \"{address}\"")), "{lease}");
        ensure!(leases.next().is_none(), "a second lease");
        Ok(())
    })
}

#[test]
fn an_address_that_moves_to_a_bridge_takes_the_tunnel_with_it() -> Result<()> {
    let mut cluster = Cluster::on_directory("bridged", SINGLE)?;
    let [alpha, beta] = cluster.join_all(["alpha", "beta"])?;
    let pods = [cluster.pod(&alpha, "web")?, cluster.pod(&beta, "web")?];
    let index = index_of(&alpha)?;
    let address = format!("{}/24", alpha.node().address(Family::V4)?);
    let steps = format!(
        "ip link add br0 address 02:00:c0:00:02:0b type bridge; ip addr del {address} dev eth0; ip link set eth0 master br0; ip link set br0 up; ip addr add {address} dev br0; \
         ip route add default via 192.0.2.1 dev br0"
    );
    alpha.node().run(["sh", "-ec", &steps])?;
    wait_for("the device to follow", LIMIT, || {
        let link = Picture::of(alpha.node())?.lines(&["link N flannel.1:"]).join("\n");
        ensure!(link.contains(" dev br0 "), "{link}");
        Ok(())
    })?;
    assert_eq!(index_of(&alpha)?, index, "it was changed in place");
    wait_for("the pods to talk", LIMIT, || Matrix::measure(&[&pods[0], &pods[1]])?.check())
}

fn index_of(daemon: &Daemon) -> Result<u64> {
    let links = daemon.node().json(["ip", "-j", "link", "show", "flannel.1"])?;
    links[0]["ifindex"].as_u64().context("no index")
}
