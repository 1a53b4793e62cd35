//! Garbage in the store is named, once, and harms nobody else; so do leases that claim what another has.

use anyhow::{Context, Result, ensure};
use ipnet::IpNet;
use netns_harness::{Daemon, wait_for};

use crate::cluster::{Cluster, LIMIT, PREFIX, SINGLE, counted, wait_picture, wait_route};
use crate::picture::Picture;

/// A lease as another node writes it, with a mistake, and the word by which the mistake is named.
const MISTAKES: [(u8, &str, &str); 9] = [
    (201, "", "JSON"),
    (202, "{\"PublicIP\":\"192.0.2", "JSON"),
    (203, "[]", "public address"),
    (
        204,
        r#"{"PublicIP":"192.0.2.300","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"62:00:00:00:00:01"}}"#,
        "IPv4 address",
    ),
    (
        205,
        r#"{"PublicIP":"224.0.0.1","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"62:00:00:00:00:02"}}"#,
        "224.0.0.1",
    ),
    (
        206,
        r#"{"PublicIP":"192.0.2.50","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"01:00:00:00:00:03"}}"#,
        "VtepMAC",
    ),
    (
        207,
        r#"{"PublicIP":"192.0.2.51","BackendType":"vxlan","BackendData":{"VNI":9,"VtepMAC":"62:00:00:00:00:04"}}"#,
        "VNI",
    ),
    (208, r#"{"PublicIP":"192.0.2.52","BackendType":"host-gw"}"#, "host-gw"),
    (
        209,
        r#"{"PublicIP":"192.0.2.11","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"62:00:00:00:00:05"},"Node":"impostor"}"#,
        "own address",
    ),
];

#[test]
fn garbage_in_etcd_is_named_and_harms_nobody() -> Result<()> {
    let mut cluster = Cluster::on_etcd("garbage", SINGLE)?;
    let [alpha, beta] = cluster.join_all(["alpha", "beta"])?;
    let (picture, etcd) = (Picture::of(alpha.node())?, cluster.etcd()?.clone());
    for (number, value, _) in MISTAKES {
        etcd.ctl(&["put", &format!("{PREFIX}/subnets/10.244.{number}.0-24"), value])?;
    }
    etcd.ctl(&["put", &format!("{PREFIX}/subnets/nonsense"), "1"])?;
    // What comes after it is heard as before it.
    let good =
        r#"{"PublicIP":"192.0.2.60","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"62:00:00:00:00:60"}}"#;
    etcd.ctl(&["put", &format!("{PREFIX}/subnets/10.244.210.0-24"), good])?;
    wait_route(alpha.node(), &"10.244.210.0/24".parse()?)?;
    is_named(&alpha).context("while it ran")?;
    assert_eq!(counted(&alpha, "towpath_lease_faults")?, 10.0);
    etcd.ctl(&["del", &format!("{PREFIX}/subnets/10.244.210.0-24")])?;
    wait_picture(alpha.node(), &picture).context("nothing of it is in the kernel")?;
    alpha.wait_ready(LIMIT)?;
    alpha.restart()?;
    alpha.wait_ready(LIMIT)?;
    is_named(&alpha).context("at the next start")?;
    picture.compare(&Picture::of(alpha.node())?)?;
    let pod = cluster.pod(&beta, "web")?;
    alpha.node().reach(&pod, ipam::Family::V4)?;
    for number in MISTAKES.map(|(number, _, _)| number) {
        etcd.ctl(&["del", &format!("{PREFIX}/subnets/10.244.{number}.0-24")])?;
    }
    etcd.ctl(&["del", &format!("{PREFIX}/subnets/nonsense")])?;
    wait_for("no fault any more", LIMIT, || {
        let faults = counted(&alpha, "towpath_lease_faults")?;
        ensure!(faults == 0.0, "{faults}");
        Ok(())
    })
}

/// Each mistake is in the log, once, with its key.
fn is_named(daemon: &Daemon) -> Result<()> {
    for (number, _, word) in MISTAKES {
        let key = format!("10.244.{number}.0-24");
        daemon.wait_log(&key, LIMIT)?;
        let log = daemon.log_of_this_run();
        let lines: Vec<&str> = log.lines().filter(|line| line.contains("WARN") && line.contains(&key)).collect();
        ensure!(lines.len() == 1 && lines[0].contains(word), "about {key}, {word}: {lines:#?}");
    }
    Ok(())
}

#[test]
fn a_subnet_that_two_claim_is_the_older_one_s() -> Result<()> {
    let mut cluster = Cluster::on_etcd("claims", SINGLE)?;
    let [alpha] = cluster.join_all(["alpha"])?;
    let etcd = cluster.etcd()?.clone();
    let put = |key: &str, host: u8| {
        let value = format!(
            r#"{{"PublicIP":"192.0.2.{host}","BackendType":"vxlan","BackendData":{{"VNI":1,"VtepMAC":"62:00:00:00:00:{host}"}}}}"#
        );
        etcd.ctl(&["put", &format!("{PREFIX}/subnets/{key}"), &value])
    };
    put("10.244.220.0-24", 70)?;
    let older: IpNet = "10.244.220.0/24".parse()?;
    wait_route(alpha.node(), &older)?;
    put("10.244.220.128-25", 71)?;
    alpha.wait_log("10.244.220.128-25", LIMIT)?;
    let picture = Picture::of(alpha.node())?;
    assert!(picture.lines(&["10.244.220.128"]).is_empty(), "{:#?}", picture.lines(&["10.244.220.128"]));
    // The older one goes: the younger is not in its way any more.
    etcd.ctl(&["del", &format!("{PREFIX}/subnets/10.244.220.0-24")])?;
    wait_route(alpha.node(), &"10.244.220.128/25".parse()?)
}
