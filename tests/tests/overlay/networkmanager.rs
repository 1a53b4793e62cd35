//! Beside the real NetworkManager, told to manage every device there is: without the files of `towpathctl host-files` it takes ours as
//! its own, and with them it leaves them alone, those of new pods too.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use ipam::Family;
use netns_harness::{Daemon, wait_for};

use crate::beside::bus;
use crate::cluster::{Cluster, DUAL, LIMIT};
use crate::picture::Picture;

/// It waits for udev unless devices are read-only. Names and addresses of the machine are not its business here.
const START: &str = "
mount --make-rprivate /
mount -t tmpfs run /run
mount -t tmpfs lib /var/lib
mkdir /var/lib/NetworkManager
mount -o remount,ro,bind /sys || mount -o bind,ro /sys /sys
mkdir -p $0/etc/NetworkManager/conf.d $0/profiles
printf '[main]\\nplugins=keyfile\\ndns=none\\nhostname-mode=none\\n[keyfile]\\npath=%s/profiles\\n' $0 >$0/nm.conf
printf '[connection]\\nid=all\\nuuid=ea8f96a1-1e17-4a4c-9a3e-6f1c3a1f8a10\\ntype=ethernet\\nmulti-connect=3\\n[match]\\ninterface-name=*\\n' >$0/profiles/all.nmconnection
printf '[ipv4]\\nmethod=manual\\naddress1=203.0.113.9/24\\n[ipv6]\\nmethod=disabled\\n' >>$0/profiles/all.nmconnection
chmod 600 $0/profiles/all.nmconnection
exec NetworkManager --no-daemon --config=$0/nm.conf --config-dir=$0/etc/NetworkManager/conf.d";

/// What NetworkManager says of devices, by name and state.
fn said(daemon: &Daemon, bus: &str) -> Result<String> {
    daemon.node().run(["env", &format!("DBUS_SYSTEM_BUS_ADDRESS={bus}"), "nmcli", "-t", "-f", "DEVICE,STATE", "device"])
}

fn start(daemon: &Daemon) -> Result<String> {
    let node = daemon.node();
    let bus = bus(node)?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--uts", "sh", "-ec", START]).arg(node.directory());
    command.env("DBUS_SYSTEM_BUS_ADDRESS", &bus);
    let manager = node.start("network-manager", command)?;
    manager
        .wait_ready(LIMIT, || {
            let said = said(daemon, &bus)?;
            // It has looked at all there is.
            ensure!(said.contains("eth0:connected") && !said.contains("connecting"), "{said}");
            Ok(())
        })
        .context("this test needs NetworkManager: apt-get install network-manager")?;
    Ok(bus)
}

#[test]
fn network_manager_takes_our_devices_as_its_own_and_leaves_alone_what_it_was_told_to() -> Result<()> {
    let mut cluster = Cluster::on_directory("nm", DUAL)?;
    let [without, with] = cluster.join_all(["without", "with"])?;
    let pods = [cluster.pod(&without, "web")?, cluster.pod(&with, "web")?];
    let bus = start(&without)?;
    let all = said(&without, &bus)?;
    ensure!(all.contains("flannel.1:connected") && all.contains("cni0:connected"), "{all}");

    let node = with.node();
    let ctl = cluster.binaries.find("towpathctl")?;
    let root = format!("--root={}", node.directory().display());
    node.run([ctl.as_os_str(), "host-files".as_ref(), "network-manager".as_ref(), root.as_ref()])?;
    let picture = Picture::of(node)?;
    let bus = start(&with)?;
    let young = cluster.pod(&with, "young")?;
    let ours = || {
        let said = said(&with, &bus)?;
        let ours = |line: &&str| ["flannel", "cni0", "veth"].iter().any(|name| line.starts_with(name));
        let states: Vec<&str> = said.lines().filter(ours).collect();
        ensure!(states.len() == 5 && states.iter().all(|line| line.ends_with(":unmanaged")), "{said}");
        Ok(())
    };
    wait_for("both families' devices, the bridge and two pods' wires to be left alone", LIMIT, ours)?;
    Family::ALL.into_iter().try_for_each(|family| {
        wait_for("a new pod to talk", LIMIT, || young.reach(&pods[0], family).and(pods[0].reach(&young, family)))
            .map(drop)
    })?;
    young.delete()?;
    wait_for("nothing to be another", LIMIT, || picture.compare(&Picture::of(node)?))
}
