//! Disks that are full, that may not be written to, and that go away: named, survived, and all is made up for later.

use anyhow::{Context, Result, ensure};
use ipam::Family;
use netns_harness::{Daemon, DaemonOptions, Store, wait_for};

use crate::ask::{lines, status, wait_page, wait_well};
use crate::cluster::{Cluster, DUAL, LIMIT, bare_pod, subnets, wait_route};
use crate::disk::Disk;
use crate::lease::{APART, Ghost, subnet};
use crate::picture::Picture;

#[test]
fn a_full_disk_for_subnet_file_and_state_is_named_and_both_are_written_when_there_is_room() -> Result<()> {
    let mut cluster = Cluster::on_directory("fullfiles", APART)?;
    let node = cluster.lab.node("alpha")?;
    let disk = Disk::mount(&node, 64)?;
    disk.fill()?;
    let [file, state] = ["subnet.env", "state"].map(|name| disk.place().join(name).display().to_string());
    let options = DaemonOptions::new(cluster.store.clone());
    let options = options.flag(format!("--subnet-file={file}")).flag(format!("--state-directory={state}"));
    let alpha = node.towpathd(&disk.binaries()?, &options)?;
    let advice = "make room, allow it, or name another";
    wait_for("both files to be named", LIMIT, || {
        for name in ["the subnet file", "the state file"] {
            let said = lines(&alpha, 0, &["ERROR", name, "No space left on device", advice]);
            ensure!(said.len() == 1, "{said:?} in {}", alpha.log());
        }
        Ok(())
    })?;
    // Without the file no plugin can give a pod an address.
    wait_page(&alpha, 503, "the subnet file")?;
    let beta = cluster.join("beta")?;
    wait_route(&node, &subnet(&beta)?)?;
    disk.make_room()?;
    wait_well(&alpha)?;
    wait_for("the files to be written", LIMIT, || {
        disk.sh("grep -q FLANNEL_SUBNET subnet.env && grep -lq beta state/*")
    })?;
    // Full again: what is there stays whole, and what runs keeps running.
    let written = disk.sh("cat subnet.env state/*")?;
    disk.fill()?;
    let log = alpha.log().len();
    let ghost = Ghost::numbered(77);
    ghost.write(&cluster.directory()?)?;
    wait_route(&node, &ghost.subnet())?;
    wait_for("the state file to be named", LIMIT, || {
        ensure!(
            lines(&alpha, log, &["ERROR", "the state file", "No space left"]).len() == 1,
            "{}",
            &alpha.log()[log..]
        );
        Ok(())
    })?;
    assert_eq!(disk.sh("cat subnet.env state/*")?, written);
    assert_eq!(disk.sh("ls -A . state")?.matches(".new").count(), 0, "drafts are left");
    wait_page(&alpha, 200, "degraded: the state file")?;
    disk.make_room()?;
    wait_for("the state file to be written", LIMIT, || disk.sh("grep -q ghost state/*"))?;
    wait_well(&alpha)?;
    // The same where nothing may be written.
    disk.sh("mount -o remount,ro .")?;
    cluster.configure(&APART.replace("}", ", \"Backend\": {\"Type\": \"vxlan\", \"MTU\": 1300}}"))?;
    wait_page(&alpha, 503, "Read-only file system")?;
    disk.sh("mount -o remount,rw .")?;
    wait_well(&alpha)?;
    disk.sh("grep -q FLANNEL_MTU=1250 subnet.env").map(drop)
}

#[test]
fn a_full_disk_for_the_store_is_named_and_the_lease_is_taken_when_there_is_room() -> Result<()> {
    let (_cluster, alpha, disk) = on_disk("fullstore", |disk| {
        disk.sh(&format!("mkdir leases && echo '{APART}' >net-conf.json"))?;
        disk.fill()
    })?;
    let words = "this node's lease cannot be written to";
    let body = wait_page(&alpha, 503, words)?;
    ensure!(body.contains("No space left on device") && body.contains("free some space there"), "{body}");
    assert_eq!(disk.sh("cat leases/* 2>/dev/null | wc -c")?.trim(), "0", "half a lease is there");
    disk.make_room()?;
    wait_well(&alpha)?;
    // It keeps its lease when the disk is full again, and says nothing new.
    disk.fill()?;
    assert_eq!(disk.sh("ls leases | wc -l")?.trim(), "1");
    wait_well(&alpha)
}

#[test]
fn a_store_that_may_only_be_read_is_named_and_used_when_it_may_be_written() -> Result<()> {
    let (_cluster, alpha, disk) = on_disk("readonly", |disk| {
        disk.sh(&format!("mkdir leases && echo '{APART}' >net-conf.json"))?;
        disk.sh("mount -o remount,ro .").map(drop)
    })?;
    let body = wait_page(&alpha, 503, "this node's lease cannot be written to")?;
    ensure!(body.contains("mount the file system read-write"), "{body}");
    disk.sh("mount -o remount,rw .")?;
    wait_well(&alpha)?;
    disk.sh("mount -o remount,ro .")?;
    alpha.restart()?;
    // The lease is there and needs no word of ours.
    wait_well(&alpha)
}

/// A daemon whose store is a small disk.
fn on_disk(name: &str, prepare: impl Fn(&Disk) -> Result<()>) -> Result<(Cluster, Daemon, Disk)> {
    let mut cluster = Cluster::on_directory(name, APART)?;
    let node = cluster.lab.node("alpha")?;
    let disk = Disk::mount(&node, 64)?;
    prepare(&disk)?;
    cluster.store = Store::Directory(disk.place().to_owned());
    let alpha = node.towpathd(&disk.binaries()?, &DaemonOptions::new(cluster.store.clone()))?;
    Ok((cluster, alpha, disk))
}

#[test]
fn a_store_that_is_gone_is_named_and_its_leases_are_written_anew_when_it_is_back() -> Result<()> {
    let mut cluster = Cluster::on_directory("gone", DUAL)?;
    let [alpha, beta] = cluster.join_all(["alpha", "beta"])?;
    let pods = [bare_pod(&alpha, "web")?, bare_pod(&beta, "web")?];
    let before = [subnets(&alpha)?, subnets(&beta)?];
    let pictures = [Picture::of(alpha.node())?, Picture::of(beta.node())?];
    let (store, aside) = (cluster.directory()?, cluster.lab.directory().join("aside"));
    std::fs::rename(&store, &aside)?;
    for (daemon, picture) in [&alpha, &beta].into_iter().zip(&pictures) {
        wait_page(daemon, 200, "is gone: is a file system not mounted?")?;
        assert_eq!(status(daemon)?["store"]["up"], false);
        picture.compare(&Picture::of(daemon.node())?)?;
    }
    pods[0].reach(&pods[1], Family::V4)?;
    assert!(!store.exists(), "somebody made a store that nobody asked for");
    // It comes back as it was: nothing changed.
    std::fs::rename(&aside, &store)?;
    for (daemon, picture) in [&alpha, &beta].into_iter().zip(&pictures) {
        wait_well(daemon)?;
        picture.compare(&Picture::of(daemon.node())?)?;
    }
    // It is lost, and made anew by hand with nothing but the configuration.
    std::fs::rename(&store, &aside)?;
    [&alpha, &beta].into_iter().try_for_each(|daemon| wait_page(daemon, 200, "is gone").map(drop))?;
    std::fs::create_dir(&store)?;
    std::fs::write(store.join("net-conf.json"), DUAL)?;
    [&alpha, &beta].into_iter().try_for_each(wait_well)?;
    cluster.wait_acquainted()?;
    assert_eq!([subnets(&alpha)?, subnets(&beta)?], before);
    let files = std::fs::read_dir(store.join("leases")).context("the leases' directory")?.count();
    assert_eq!(files, 2);
    for family in Family::ALL {
        wait_for("the pods to talk", LIMIT, || pods[0].reach(&pods[1], family))?;
    }
    Ok(())
}
