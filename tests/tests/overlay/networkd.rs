//! Beside the real systemd-networkd, told to manage every link there is: what it does to ours without the files of
//! `towpathctl host-files`, and that with them it does nothing.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use netns_harness::{Daemon, Pod, Process, Signal, wait_for};

use crate::cluster::{Cluster, DUAL, LIMIT};
use crate::picture::Picture;

/// It runs as a user of its own, and waits for udev unless devices are read-only.
const START: &str = "
mount --make-rprivate /
mount -t tmpfs run /run
mkdir -p /run/systemd/netif/links /run/systemd/netif/leases /run/systemd/netif/lldp
chown -R systemd-network: /run/systemd/netif
mount -o remount,ro,bind /sys || mount -o bind,ro /sys /sys
mkdir -p $0/etc/systemd/network $0/etc/systemd/networkd.conf.d /run/systemd/networkd.conf.d
printf '[Match]\\nName=*\\n[Network]\\nLinkLocalAddressing=no\\nLLDP=no\\n' >$0/etc/systemd/network/90-all.network
printf '[Match]\\nName=eth0\\n[Network]\\nKeepConfiguration=static\\nLLDP=no\\n' >$0/etc/systemd/network/50-uplink.network
mount --bind $0/etc/systemd/network /etc/systemd/network
mount --bind $0/etc/systemd/networkd.conf.d /run/systemd/networkd.conf.d
exec env SYSTEMD_LOG_LEVEL=info /lib/systemd/systemd-networkd";

fn start(daemon: &Daemon) -> Result<Process> {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec", START]).arg(daemon.node().directory());
    let networkd = daemon.node().start("networkd", command)?;
    settled(&networkd)?;
    Ok(networkd)
}

fn settled(networkd: &Process) -> Result<()> {
    // The last thing that it does of what is there: links in no order, the uplink among them.
    networkd
        .wait_log("eth0: Configuring with", LIMIT)
        .and(networkd.wait_log("Enumeration completed", LIMIT))
        .context("this test needs systemd-networkd: apt-get install systemd")
}

/// A node with a pod, and what is there.
struct Ground {
    daemon: Daemon,
    _pod: Pod,
    picture: Picture,
}

impl Ground {
    fn new(cluster: &mut Cluster, name: &str) -> Result<Ground> {
        let node = cluster.lab.node(name)?;
        let daemon = cluster.start(&node, |options| options.flag("--ip-blackhole-route"))?;
        daemon.wait_ready(LIMIT)?;
        let pod = cluster.pod(&daemon, "web")?;
        let picture = Picture::of(&node)?;
        // Nobody puts anything back meanwhile.
        daemon.signal(Signal::STOP)?;
        Ok(Ground { daemon, _pod: pod, picture })
    }
}

#[test]
fn systemd_networkd_takes_pods_off_their_bridge_and_leaves_alone_what_it_was_told_to() -> Result<()> {
    let mut cluster = Cluster::on_directory("networkd", DUAL)?;
    let without = Ground::new(&mut cluster, "without")?;
    let networkd = start(&without.daemon)?;
    wait_for("what is there to be gone", LIMIT, || {
        let node = without.daemon.node();
        let (routes, ports) = (node.ip("route show proto 84")?, node.run(["bridge", "link"])?);
        ensure!(!routes.contains("blackhole") && !ports.contains("master cni0"), "{routes}{ports}");
        Ok(())
    })?;
    networkd.stop()?;
    without.daemon.signal(Signal::CONT)?;
    wait_for("the blackhole to be put back", LIMIT, || {
        let routes = without.daemon.node().ip("route show proto 84")?;
        ensure!(routes.contains("blackhole"), "{routes}");
        Ok(())
    })?;

    let with = Ground::new(&mut cluster, "with")?;
    let node = with.daemon.node();
    let ctl = cluster.binaries.find("towpathctl")?;
    let root = format!("--root={}", node.directory().display());
    node.run([ctl.as_os_str(), "host-files".as_ref(), "networkd".as_ref(), root.as_ref()])?;
    let networkd = start(&with.daemon)?;
    let log = networkd.log();
    for ours in ["flannel.1", "flannel-v6.1", "cni0", "veth"] {
        let managed = log.lines().find(|line| line.starts_with(ours) && line.contains("Configuring"));
        ensure!(managed.is_none(), "{managed:?}");
    }
    with.picture.compare(&Picture::of(node)?)?;
    networkd.stop()?;
    with.daemon.signal(Signal::CONT)
}
