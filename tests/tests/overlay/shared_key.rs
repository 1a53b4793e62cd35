//! WireGuard's key that all nodes share comes and changes on a running cluster: sessions go on with what they have, and the next
//! handshake has the new key.

use std::time::Duration;

use anyhow::{Result, ensure};
use ipam::Family;
use netns_harness::{Pace, Stream, in_guest, wait_for};

use crate::cluster::{Cluster, LIMIT};

#[test]
fn a_shared_key_comes_and_changes_without_a_lost_packet() -> Result<()> {
    in_guest(|| {
        let network = |key: &str| format!(r#"{{"Network": "10.244.0.0/16", "Backend": {{"Type": "wireguard"{key}}}}}"#);
        let mut cluster = Cluster::on_directory("wgshared", &network(""))?;
        let daemons = cluster.join_all(["alpha", "beta"])?;
        let pods = [cluster.pod(&daemons[0], "web")?, cluster.pod(&daemons[1], "web")?];
        wait_for("the pods to talk", LIMIT, || pods[0].reach(&pods[1], Family::V4))?;
        let pace = Pace { per_sec: 50, at_most: Duration::from_secs(600) };
        let running = Stream::start(&pods[0], &pods[1], Family::V4, pace)?;
        for key in ["AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=", "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="] {
            cluster.configure(&network(&format!(r#", "PSK": "{key}""#)))?;
            for daemon in &daemons {
                wait_for("the key", LIMIT, || {
                    let said = daemon.node().run(["wg", "show", "all", "preshared-keys"])?;
                    ensure!(said.trim().ends_with(key), "{said}");
                    Ok(())
                })?;
            }
            running.wait_more(20, LIMIT)?;
        }
        let report = running.stop()?;
        ensure!(report.lost() == 0, "{report:?}");
        // A device that is made anew has no session: the handshake is with the new key.
        daemons[0].node().ip("link delete flannel-wg")?;
        wait_for("the pods to talk again", LIMIT, || pods[0].reach(&pods[1], Family::V4))?;
        Ok(())
    })
}
