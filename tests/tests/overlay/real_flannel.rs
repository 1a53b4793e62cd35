//! A node with the real flanneld beside ours, by each backend that both have: pods of the two talk both ways, and we are content.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use ipam::Stack;
use ipnet::IpNet;
use netns_harness::{Matrix, Station, Store, in_guest, wait_for};

use crate::cluster::{Cluster, DUAL, LIMIT, SINGLE, nth, status};

/// The program, which the build itself says where to find.
fn flanneld() -> Result<Command> {
    let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("flannel/build");
    let said =
        Command::new(&build).arg("--where").output().with_context(|| format!("cannot start {}", build.display()))?;
    let program = String::from_utf8_lossy(&said.stdout).trim().to_owned();
    ensure!(Path::new(&program).is_file(), "no flannel in {program}: run `make lab-flannel` once (four minutes)");
    Ok(Command::new(program))
}

/// Both sorts of nodes in one network.
fn beside(number: usize, (network, backend): (&str, &str)) -> Result<()> {
    let configuration = network.replace('}', &format!(r#", "Backend": {{{backend}}}}}"#));
    let mut cluster = Cluster::on_etcd(&format!("real{number}"), &configuration)?;
    let node = cluster.lab.node("flannel")?;
    node.set_sysctl("net/ipv4/ip_forward", "1")?;
    node.set_sysctl("net/ipv6/conf/all/forwarding", "1")?;
    let Store::Etcd(endpoints) = cluster.store.clone() else { anyhow::bail!("the store is not etcd") };
    let (file, mut command) = (node.directory().join("subnet.env"), flanneld()?);
    command.arg(format!("--etcd-endpoints={endpoints}")).arg(format!("--subnet-file={}", file.display()));
    command.arg("--iface=eth0");
    let theirs = node.start("flanneld", command)?;
    let said = wait_for("flannel to have a subnet", LIMIT, || Ok(std::fs::read_to_string(&file)?));
    let said = said.with_context(|| theirs.log())?;
    let subnet = |key: &str| {
        let value = said.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        value.and_then(|value| value.parse::<IpNet>().ok()).map(|net| net.trunc())
    };
    let subnets = Stack::from_options(subnet("FLANNEL_SUBNET"), subnet("FLANNEL_IPV6_SUBNET")).context("a subnet")?;
    let alpha = cluster.join("alpha")?;
    let pods = [cluster.pod(&alpha, "web")?, node.bare_pod("old", &subnets.map(|_, net| nth(net, 10)))?];
    let stations: [&Station; 2] = [&pods[0], &pods[1]];
    let talk = wait_for("the pods to talk", LIMIT, || Matrix::measure(&stations)?.check());
    talk.with_context(|| format!("{}\n{}", alpha.log_tail(20), theirs.log()))?;
    let said = status(&cluster, &alpha)?;
    ensure!(said.starts_with("node       alpha, ready\ntowpathd") && said.contains("all ok"), "{said}");
    Ok(())
}

fn all(backends: &[(&str, &str)]) -> Result<()> {
    let mut backends = backends.iter().enumerate();
    backends.try_for_each(|(number, backend)| beside(number, *backend).with_context(|| format!("{backend:?}")))
}

#[test]
fn pods_of_a_real_flannel_node_and_ours_talk_by_vxlan_host_gw_and_udp() -> Result<()> {
    all(&[
        (DUAL, r#""Type": "vxlan""#),
        (DUAL, r#""Type": "host-gw""#),
        (SINGLE, r#""Type": "vxlan", "DirectRouting": true, "VNI": 7, "Port": 4789"#),
        (SINGLE, r#""Type": "udp""#),
    ])
}

#[test]
fn and_by_ipip_and_by_wireguard_in_its_four_modes() -> Result<()> {
    in_guest(|| {
        let key = r#""PSK": "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=", "PersistentKeepaliveInterval": 5"#;
        all(&[
            (SINGLE, r#""Type": "ipip""#),
            (DUAL, &format!(r#""Type": "wireguard", {key}"#)),
            (DUAL, r#""Type": "wireguard", "Mode": "auto""#),
            (DUAL, r#""Type": "wireguard", "Mode": "ipv4", "ListenPort": 40000"#),
            (DUAL, r#""Type": "wireguard", "Mode": "ipv6""#),
        ])
    })
}
