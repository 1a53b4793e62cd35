//! Who computes checksums on the tunnel's devices: tried out at start and when asked, or as the configuration says, kept so, and said.

use anyhow::{Result, ensure};
use ipam::Family;
use netns_harness::{Daemon, here_and_in_guest, in_guest, wait_for};
use serde_json::Value;

use crate::cluster::{Cluster, DUAL, LIMIT, bare_pod, killed_and_back, stream, wait_counted};
use crate::picture::Picture;

fn with(backend: &str) -> String {
    DUAL.replace('}', &format!(r#", "Backend": {backend}}}"#))
}

/// What `towpathctl` says on a node.
fn asked(cluster: &Cluster, daemon: &Daemon, words: &str) -> Result<String> {
    let (ctl, socket) = (cluster.binaries.find("towpathctl")?, daemon.status_socket());
    daemon.node().run(["sh", "-c", &format!("{} --socket={} {words}", ctl.display(), socket.display())])
}

fn status(cluster: &Cluster, daemon: &Daemon) -> Result<Value> {
    Ok(serde_json::from_str(&asked(cluster, daemon, "status -o json")?)?)
}

/// Waits until a node says this of its devices, and until they are so.
fn wait_said(cluster: &Cluster, daemon: &Daemon, (offload, setting, reason): (&str, &str, &str)) -> Result<()> {
    wait_for(&format!("offload to be {offload} because of {reason}"), LIMIT, || {
        let said = &status(cluster, daemon)?["tx_checksum"];
        let same = said["offload"] == offload && said["setting"] == setting;
        ensure!(same && said["reason"].as_str().is_some_and(|it| it.contains(reason)), "{said:#}");
        let links = status(cluster, daemon)?["network"]["backend"] == "ipip";
        for device in if links { ["flannel.ipip", "flannel-v6.ipip"] } else { ["flannel.1", "flannel-v6.1"] } {
            let features = daemon.node().run(["ethtool", "-k", device])?;
            ensure!(features.contains(&format!("tx-checksumming: {offload}")), "{device}: {features}");
        }
        Ok(())
    })
}

#[test]
fn the_devices_are_tried_at_start_and_when_somebody_asks() -> Result<()> {
    here_and_in_guest(|| {
        let mut cluster = Cluster::on_directory("offtry", DUAL)?;
        let alpha = cluster.join("alpha")?;
        wait_said(&cluster, &alpha, ("on", "auto", "it works on Linux"))?;
        let picture = Picture::of(alpha.node())?;
        let tried = asked(&cluster, &alpha, "probe offloads")?;
        ensure!(tried.starts_with("checksum offload of vxlan: on; it works on Linux"), "{tried}");
        let tried: Value = serde_json::from_str(&asked(&cluster, &alpha, "probe offloads -o json")?)?;
        ensure!(tried["tried"] == true && tried["tx_checksum"] == "on" && tried["setting"] == "auto", "{tried:#}");
        ensure!(asked(&cluster, &alpha, "status")?.contains("checksums  offload on (auto): it works"));
        picture.compare(&Picture::of(alpha.node())?)?;
        killed_and_back(&alpha, &picture)
    })
}

#[test]
fn ipips_devices_are_tried_as_well() -> Result<()> {
    in_guest(|| {
        let mut cluster = Cluster::on_directory("offipip", &with(r#"{"Type": "ipip"}"#))?;
        let alpha = cluster.join("alpha")?;
        wait_said(&cluster, &alpha, ("on", "auto", "it works on Linux"))?;
        cluster.configure(&with(r#"{"Type": "ipip", "TxChecksum": "off"}"#))?;
        wait_said(&cluster, &alpha, ("off", "off", "net-conf.json says so"))
    })
}

#[test]
fn the_configuration_is_followed_live_without_a_lost_packet() -> Result<()> {
    here_and_in_guest(|| {
        let mut cluster = Cluster::on_directory("offlive", DUAL)?;
        let [alpha, beta] = cluster.join_all(["alpha", "beta"])?;
        let (from, to) = (bare_pod(&alpha, "one")?, bare_pod(&beta, "two")?);
        let streams = [stream(&from, &to, Family::V4)?, stream(&to, &from, Family::V6)?];
        for (said, reason) in
            [("off", "net-conf.json says so"), ("on", "net-conf.json says so"), ("off", "net-conf.json")]
        {
            cluster.configure(&with(&format!(r#"{{"Type": "vxlan", "TxChecksum": "{said}"}}"#)))?;
            for daemon in [&alpha, &beta] {
                wait_said(&cluster, daemon, (said, said, reason))?;
            }
            streams.iter().try_for_each(|stream| stream.wait_more(50, LIMIT))?;
        }
        // What somebody changes is put back.
        let before = crate::cluster::counted(&alpha, "towpath_repairs_total")?;
        alpha.node().run(["ethtool", "-K", "flannel.1", "tx", "on"])?;
        wait_counted(&alpha, "towpath_repairs_total", before)?;
        wait_said(&cluster, &alpha, ("off", "off", "net-conf.json says so"))?;
        let tried = asked(&cluster, &alpha, "probe offloads")?;
        ensure!(tried.contains("on; it works") && tried.contains("net-conf.json says off"), "{tried}");
        // And a device that is off when nobody says so any more was turned off by somebody, until it is asked for.
        alpha.kill()?;
        cluster.configure(DUAL)?;
        wait_said(&cluster, &beta, ("on", "auto", "it works on Linux"))?;
        alpha.restart()?;
        wait_said(&cluster, &alpha, ("off", "auto", "had it off when the daemon started"))?;
        asked(&cluster, &alpha, "probe offloads")?;
        wait_said(&cluster, &alpha, ("on", "auto", "it works on Linux"))?;
        for stream in streams {
            let report = stream.stop()?;
            ensure!(report.lost() == 0, "{report:?}");
        }
        Ok(())
    })
}
