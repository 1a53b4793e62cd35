//! What the container runtime is given, and when.

use anyhow::{Result, ensure};
use netns_harness::kubernetes::NodeObject;
use netns_harness::wait_for;

use crate::cluster::{Cluster, LIMIT, wait_page};

#[test]
fn the_runtime_is_told_when_the_node_is_ready_and_not_before() -> Result<()> {
    let cluster = Cluster::new("kubecni")?;
    let node = cluster.lab.node("alpha")?;
    cluster.api.create_node(&NodeObject::of(&node)?)?;
    let [bin, conf] = ["opt-cni-bin", "etc-cni-net.d"].map(|name| node.directory().join(name));
    std::fs::create_dir(&bin)?;
    std::fs::create_dir(&conf)?;
    std::fs::write(bin.join("bridge"), "somebody else's")?;
    let flags = [
        format!("--cni-bin-dir={}", bin.display()),
        format!("--cni-conf-dir={}", conf.display()),
        format!("--cni-plugin={}", cluster.binaries.find("towpath")?.display()),
    ];
    let alpha = cluster.start(&node, &flags.each_ref().map(String::as_str))?;
    wait_for("the plugin", LIMIT, || ensure_there(&bin.join("loopback")))?;
    wait_page(&alpha, 503, "podCIDR")?;
    let conflist = conf.join("10-flannel.conflist");
    ensure!(!conflist.exists(), "before the node is ready");
    let cidr = r#"{"spec":{"podCIDR":"10.244.1.0/24","podCIDRs":["10.244.1.0/24"]}}"#;
    cluster.api.kubectl().words(["patch", "node", "alpha", "-p", cidr])?;
    wait_for("the configuration", LIMIT, || ensure_there(&conflist))?;
    ensure!(alpha.subnet_file().exists(), "what the plugin reads was there first");
    // A package upgrade wipes both.
    std::fs::remove_file(&conflist)?;
    std::fs::remove_file(bin.join("towpath"))?;
    wait_for("the configuration again", LIMIT, || ensure_there(&conflist))?;
    wait_for("the plugin again", LIMIT, || ensure_there(&bin.join("towpath")))?;
    std::fs::write(conf.join("05-other.conflist"), "{}")?;
    wait_page(&alpha, 200, "05-other.conflist, which sorts before 10-flannel.conflist")?;
    cluster.wait_event("alpha", "CNIInstallation")?;
    alpha.stop()?;
    ensure!(conflist.exists() && bin.join("towpath").exists(), "a daemon that ends takes nothing with it");
    let towpathd = cluster.binaries.find("towpathd")?.display().to_string();
    let uninstall = [towpathd, "--uninstall".to_owned(), flags[0].clone(), flags[1].clone()];
    let said = node.run(uninstall.each_ref().map(String::as_str))?;
    ensure!(!conflist.exists() && !bin.join("towpath").exists() && !bin.join("loopback").exists(), "{said}");
    ensure!(bin.join("bridge").exists() && conf.join("05-other.conflist").exists(), "{said}");
    Ok(())
}

fn ensure_there(path: &std::path::Path) -> Result<()> {
    ensure!(path.exists(), "{} is not there", path.display());
    Ok(())
}
