//! Settings of the host that forwarding needs, and that forwarding breaks: a node goes on following its IPv6 router, and keeps the
//! default route that it has from one.

use std::process::Command;

use anyhow::{Result, ensure};
use netns_harness::{Daemon, wait_for};

use crate::cluster::{Cluster, DUAL, LIMIT};

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
