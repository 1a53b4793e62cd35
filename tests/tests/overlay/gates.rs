//! Beside other programs' firewalls: what drops pods' packets is said where an operator looks, with the command that opens it.

use anyhow::{Context, Result, ensure};
use netns_harness::{Daemon, Station, wait_for};

use crate::cluster::{Cluster, LIMIT, SINGLE};

/// What `towpathctl status` says.
fn status(cluster: &Cluster, daemon: &Daemon) -> Result<String> {
    let (ctl, socket) =
        (cluster.binaries.find("towpathctl")?, format!("--socket={}", daemon.status_socket().display()));
    daemon.node().run([ctl.as_os_str(), "status".as_ref(), socket.as_ref()])
}

#[test]
fn a_forward_chain_that_drops_pods_packets_is_named_and_what_is_named_opens_it() -> Result<()> {
    let mut cluster = Cluster::on_directory("gates", SINGLE)?;
    let [alpha, beta] = cluster.join_all(["alpha", "beta"])?;
    let pods = [cluster.pod(&alpha, "web")?, cluster.pod(&beta, "web")?];
    let stations: [&Station; 2] = [&pods[0], &pods[1]];
    wait_for("the pods to talk", LIMIT, || stations[0].reach(stations[1], ipam::Family::V4))?;
    ensure!(!status(&cluster, &alpha)?.contains("degraded"), "{}", status(&cluster, &alpha)?);
    // As Docker does, and ufw.
    alpha.node().run(["iptables-nft", "-P", "FORWARD", "DROP"])?;
    alpha.stop()?;
    alpha.restart()?;
    alpha.wait_ready(LIMIT)?;
    ensure!(stations[0].reach(stations[1], ipam::Family::V4).is_err(), "iptables' policy let the packet through");
    let said = status(&cluster, &alpha)?;
    let named = "the chain FORWARD of table ip filter drops pods' packets of 10.244.0.0/16";
    ensure!(said.contains(named), "{said}");
    alpha.wait_log(named, LIMIT)?;
    let line = said.lines().find(|line| line.contains(named)).context("the line")?;
    let (_, command) = line.rsplit_once("): ").context("no command in it")?;
    alpha.node().run(["sh", "-c", command])?;
    wait_for("the pods to talk again", LIMIT, || stations[0].reach(stations[1], ipam::Family::V4))?;
    // Any look sees it: one comes when something of ours is put back.
    alpha.node().ip("link set flannel.1 down")?;
    alpha.wait_log("no other program's firewall drops pods' packets any more", LIMIT)?;
    ensure!(!status(&cluster, &alpha)?.contains("degraded"), "{}", status(&cluster, &alpha)?);
    Ok(())
}
