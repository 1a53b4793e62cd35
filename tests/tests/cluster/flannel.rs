//! [`Flannel`]: a cluster with flannel, as far as it can be had here: its manifest, and an image that plays its daemon and its CNI
//! plugin (`flannel/`) with the node's own `ip`, `iptables-nft` and the reference plugins.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use netns_harness::kubernetes::{Content, Image, Layer, Machine, Programs};
use serde_json::Value;

use crate::ground::Ground;

const MANIFEST: &str = include_str!("flannel/kube-flannel.yml");

/// What flannel's daemon publishes of itself on its Node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// All annotations with flannel's prefix, sorted.
    pub annotations: Vec<(String, String)>,
}

/// What flannel left on a node, or what stands in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// A device that was made anew has another.
    pub index: u64,
    /// What peers send to.
    pub mac: String,
}

/// Puts the image on every node.
pub fn import(ground: &Ground) -> Result<()> {
    let programs = Programs::built()?;
    let directory = ground.lab.directory().join("flannel-image");
    std::fs::create_dir_all(&directory)?;
    let own =
        |name: &str| Content::File(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/flannel").join(name));
    let mut contents = vec![
        ("tmp".to_owned(), Content::Scratch),
        ("opt/bin/flanneld".to_owned(), own("flanneld")),
        ("opt/bin/install-conf".to_owned(), own("install-conf")),
        ("flannel".to_owned(), own("cni-plugin")),
        ("podtool".to_owned(), Content::File(programs.path("podtool"))),
        ("etc/protocols".to_owned(), Content::Text("tcp 6 TCP\nudp 17 UDP\n".to_owned())),
    ];
    // The node's /usr is mounted there.
    let links = ["bin", "sbin", "lib", "lib64"].map(|name| (name.to_owned(), Content::Link(format!("usr/{name}"))));
    contents.extend(links);
    let layer = Layer::write(&directory.join("layer"), &contents)?;
    let references = ["registry.example/flannel:v0.28.9", "registry.example/flannel-cni-plugin:v1.9.1"];
    let image = Image {
        references: references.map(str::to_owned).to_vec(),
        layers: vec![layer],
        entrypoint: "/opt/bin/flanneld".to_owned(),
    };
    let archive = directory.join("flannel.tar");
    Image::write_archive(&archive, &[image])?;
    ground.cluster.machines().iter().try_for_each(|machine| machine.import(&archive))
}

/// flannel's manifest.
pub fn manifest() -> Result<String> {
    Ok(MANIFEST.replace("PROGRAMS", &Programs::built()?.directory().display().to_string()))
}

/// What a Node says in flannel's words.
pub fn published(ground: &Ground, node: &str) -> Result<Published> {
    let object = ground.json(&format!("get node {node}"))?;
    let all = object["metadata"]["annotations"].as_object().context("no annotations")?;
    let mut annotations: Vec<_> = all
        .iter()
        .filter(|(key, _)| key.starts_with("flannel.alpha.coreos.com/"))
        .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect();
    annotations.sort();
    Ok(Published { annotations })
}

/// The tunnel device of a node.
pub fn device(machine: &Machine) -> Result<Device> {
    let links = machine.json(["ip", "-j", "link", "show", "flannel.1"])?;
    let index = links[0]["ifindex"].as_u64().context("no index")?;
    Ok(Device { index, mac: links[0]["address"].as_str().context("no address")?.to_owned() })
}

/// What flanneld has written stands there, and nothing of it twice.
pub fn check_flannel(ground: &Ground, machine: &Machine) -> Result<()> {
    let rules = machine.run(["iptables-nft-save"])?;
    for (rule, count) in [
        ("-A POSTROUTING -m comment --comment \"flanneld masq\" -j FLANNEL-POSTRTG", 1),
        ("-A FORWARD -m comment --comment \"flanneld forward\" -j FLANNEL-FWD", 1),
        ("-A FLANNEL-POSTRTG ", 6),
        ("-A FLANNEL-FWD ", 2),
    ] {
        let found = rules.lines().filter(|line| line.starts_with(rule)).count();
        ensure!(found == count, "{found} of `{rule}` on {}:\n{rules}", machine.name());
    }
    let routes = machine.ip("-4 route show dev flannel.1")?;
    let peers = ground.cluster.machines().len() - 1;
    let own = routes.lines().filter(|line| line.contains(" via ") && !line.contains(" proto ")).count();
    ensure!(own == peers, "flannel's own routes of {} (protocol boot is not shown):\n{routes}", machine.name());
    let file = machine.read("/run/flannel/subnet.env")?;
    let keys: Vec<&str> = file.lines().filter_map(|line| line.split('=').next()).collect();
    ensure!(keys == ["FLANNEL_NETWORK", "FLANNEL_SUBNET", "FLANNEL_MTU", "FLANNEL_IPMASQ"], "{file}");
    let saved = machine.run(["sh", "-c", "ls /etc/cni/net.d"])?;
    ensure!(saved.contains("10-flannel.conflist"), "{saved}");
    Ok(())
}

/// Nothing of flannel's stands there any more, and what is ours does.
pub fn check_towpath(ground: &Ground, machine: &Machine) -> Result<()> {
    let rules = machine.run(["iptables-nft-save"])?;
    ensure!(!rules.contains("FLANNEL-POSTRTG"), "on {}:\n{rules}", machine.name());
    let routes = machine.ip("-4 route show dev flannel.1")?;
    let ours = routes.lines().filter(|line| line.contains(" proto 84")).count();
    let peers = ground.cluster.machines().len() - 1;
    ensure!(ours == peers && routes.lines().filter(|line| line.contains(" via ")).count() <= peers, "{routes}");
    let tables = machine.run(["nft", "list", "tables"])?;
    ensure!(tables.contains("inet towpath"), "{tables}");
    let status: Value =
        serde_json::from_str(&ground.in_daemon(machine.name(), &["towpathctl", "status", "-o", "json"])?)?;
    ensure!(status.is_object(), "{status}");
    Ok(())
}
