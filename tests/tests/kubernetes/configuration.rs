//! net-conf.json is followed.

use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Result, ensure};
use netns_harness::wait_for;

use crate::cluster::{Cluster, LIMIT, NETWORK, wait_page, wait_remembered};

#[test]
fn a_config_map_that_changes_is_followed_and_what_cannot_change_is_named() -> Result<()> {
    let mut cluster = Cluster::new("kubeconfmap")?;
    // As the kubelet mounts it: links, and a directory that is swapped.
    let mount = cluster.lab.directory().join("mounted");
    std::fs::create_dir(&mount)?;
    swap(&mount, 1, NETWORK)?;
    symlink("..data/net-conf.json", mount.join("net-conf.json"))?;
    cluster.configuration = mount.join("net-conf.json");
    let alpha = cluster.join("alpha", 1)?;
    ensure!(mtu(&alpha)? == "1450", "{}", mtu(&alpha)?);
    swap(&mount, 2, &NETWORK.replace("\"vxlan\"", "\"vxlan\", \"MTU\": 1400"))?;
    wait_for("the new MTU", LIMIT, || {
        ensure!(mtu(&alpha)? == "1350", "{}", mtu(&alpha)?);
        Ok(())
    })?;
    swap(&mount, 3, "{\"Network\": ")?;
    wait_page(&alpha, 200, "the last good one is used")?;
    cluster.wait_event("alpha", "NetworkConfigRefused")?;
    swap(&mount, 4, &NETWORK.replace("10.244.0.0/16", "10.99.0.0/16"))?;
    let body = wait_page(&alpha, 200, "pod network cannot change from 10.244.0.0/16 to 10.99.0.0/16")?;
    ensure!(body.contains("node alpha has podCIDR 10.244.1.0/24") && body.contains("write the old one back"), "{body}");
    // A restart does not make it true.
    wait_remembered(&alpha, &[])?;
    alpha.kill()?;
    alpha.restart()?;
    wait_page(&alpha, 200, "pod network cannot change from 10.244.0.0/16 to 10.99.0.0/16")?;
    swap(&mount, 5, NETWORK)?;
    wait_for("all well", LIMIT, || {
        let page = alpha.get("/readyz")?;
        ensure!(page.body == "ready\n", "{page:?}");
        Ok(())
    })
}

/// What the kubelet does: a new directory, a link to it under another name, renamed over the old one.
fn swap(mount: &Path, version: u32, text: &str) -> Result<()> {
    let directory = format!("..2026_11_21_{version}");
    std::fs::create_dir(mount.join(&directory))?;
    std::fs::write(mount.join(&directory).join("net-conf.json"), text)?;
    symlink(&directory, mount.join("..data_tmp"))?;
    Ok(std::fs::rename(mount.join("..data_tmp"), mount.join("..data"))?)
}

/// What pods are told.
fn mtu(daemon: &netns_harness::Daemon) -> Result<String> {
    let text = std::fs::read_to_string(daemon.subnet_file())?;
    Ok(text.lines().find_map(|line| line.strip_prefix("FLANNEL_MTU=")).unwrap_or_default().to_owned())
}
