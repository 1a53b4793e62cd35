//! Settings of the host that forwarding needs, and that forwarding breaks: a node goes on following its IPv6 router, and keeps the
//! default route that it has from one; what somebody sets otherwise is put back, and what cannot be written is named.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use netns_harness::{Binaries, Daemon, wait_for};

use crate::cluster::{Cluster, DUAL, LIMIT, status};

/// A router advertisement with a lifetime of 1,800 seconds (RFC 4861 section 4.2), once a second, out of eth0.
const ROUTER: &str = "
import socket, struct, time
s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
out = socket.if_nametoindex('eth0')
while True:
    s.sendto(struct.pack('!BBHBBHII', 134, 0, 0, 64, 0, 1800, 0, 0), ('ff02::1', 0, 0, out))
    time.sleep(1)
";

fn setting(daemon: &Daemon) -> Result<String> {
    Ok(daemon.node().run(["cat", "/proc/sys/net/ipv6/conf/eth0/accept_ra"])?.trim().to_owned())
}

fn follows(daemon: &Daemon) -> Result<()> {
    let routes = daemon.node().ip("-6 route show default")?;
    ensure!(setting(daemon)? == "2" && routes.contains("proto ra"), "accept_ra is {}: {routes}", setting(daemon)?);
    Ok(())
}

#[test]
fn a_node_that_begins_to_forward_goes_on_following_its_router() -> Result<()> {
    let mut cluster = Cluster::on_directory("routers", DUAL)?;
    let router = cluster.lab.node("router")?;
    let mut command = Command::new("python3");
    command.args(["-c", ROUTER]);
    router.start("router", command)?;
    let node = cluster.lab.node("alpha")?;
    node.ip("-6 route del default")?;
    node.run(["sysctl", "-qw", "net.ipv6.conf.all.forwarding=0", "net.ipv6.conf.eth0.accept_ra=1"])?;
    wait_for("a route from the router", LIMIT, || {
        let routes = node.ip("-6 route show default")?;
        ensure!(routes.contains("proto ra"), "{routes}");
        Ok(())
    })?;
    let alpha = cluster.start(&node, |options| options)?;
    alpha.wait_ready(LIMIT)?;
    ensure!(node.run(["cat", "/proc/sys/net/ipv6/conf/all/forwarding"])?.trim() == "1", "it does not forward");
    follows(&alpha)?;
    // What somebody sets back while a route is there is put back; what says that nobody is to be followed stands.
    node.run(["sysctl", "-qw", "net.ipv6.conf.eth0.accept_ra=1"])?;
    wait_for("the setting to be put back", LIMIT, || follows(&alpha))?;
    alpha.wait_log("put back: sysctl -w net.ipv6.conf.eth0.accept_ra=2", LIMIT)?;
    alpha.stop()?;
    node.run(["sysctl", "-qw", "net.ipv6.conf.eth0.accept_ra=0"])?;
    alpha.restart()?;
    alpha.wait_ready(LIMIT)?;
    ensure!(setting(&alpha)? == "0", "it is {}", setting(&alpha)?);
    Ok(())
}

const DIRECT: &str = r#"{"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan", "DirectRouting": true}}"#;

#[test]
fn what_somebody_sets_otherwise_is_put_back_and_said() -> Result<()> {
    let mut cluster = Cluster::on_directory("settings", DIRECT)?;
    let [alpha] = cluster.join_all(["alpha"])?;
    for (setting, bad, good) in [
        ("net.ipv4.ip_forward", "0", "1"),
        ("net.ipv4.conf.eth0.rp_filter", "1", "2"),
        ("net.ipv4.conf.flannel/1.rp_filter", "1", "2"),
    ] {
        alpha.node().run(["sysctl", "-qw", &format!("{setting}={bad}")])?;
        alpha.wait_log(&format!("put back: sysctl -w {setting}={good}"), LIMIT)?;
        ensure!(alpha.node().run(["sysctl", "-n", setting])?.trim() == good, "{setting} is not {good}");
    }
    Ok(())
}

#[test]
fn a_setting_that_cannot_be_written_is_named_with_the_command_that_makes_it_right() -> Result<()> {
    let mut cluster = Cluster::on_directory("readonly", DIRECT)?;
    let node = cluster.lab.node("alpha")?;
    // As in a container without privilege.
    let program = cluster.binaries.find("towpathd")?;
    let wrapped = node.directory().join("towpathd");
    let script = "mount --bind /proc/sys /proc/sys; mount -o remount,ro,bind /proc/sys";
    let script =
        format!("#!/bin/sh\nexec unshare --mount sh -ec '{script}; exec {} \"$@\"' sh \"$@\"\n", program.display());
    std::fs::write(&wrapped, script)?;
    std::fs::set_permissions(&wrapped, Permissions::from_mode(0o755))?;
    let binaries = std::mem::replace(&mut cluster.binaries, Binaries::at(node.directory()));
    node.run(["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.eth0.rp_filter=1"])?;
    let alpha = cluster.start(&node, |options| options)?;
    cluster.binaries = binaries;
    alpha.wait_ready(LIMIT)?;
    let said = wait_for("the setting to be named", LIMIT, || {
        let said = status(&cluster, &alpha)?;
        ensure!(said.contains("net.ipv4.conf.eth0.rp_filter=1"), "{said}");
        Ok(said)
    })?;
    alpha.wait_log("kernel settings are read-only here", LIMIT)?;
    let (_, rest) = said.split_once("on the host with `").context("no command in it")?;
    let (command, _) = rest.split_once('`').context("no end of it")?;
    node.run(["sh", "-ec", command])?;
    wait_for("nothing to be named any more", LIMIT, || {
        let said = status(&cluster, &alpha)?;
        ensure!(!said.contains("degraded"), "{said}");
        Ok(())
    })
}
