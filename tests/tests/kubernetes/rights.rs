//! Rights that are taken away, tokens that end: said, survived, recovered.

use anyhow::{Result, ensure};
use netns_harness::wait_for;

use crate::cluster::{Cluster, LIMIT, wait_page, wait_routes};

#[test]
fn rights_that_are_taken_away_are_named_and_given_back_they_are_used() -> Result<()> {
    let cluster = Cluster::new("kuberbac")?;
    let (alpha, beta) = (cluster.join("alpha", 1)?, cluster.join("beta", 2)?);
    wait_routes(alpha.node(), &["10.244.2.0/24"])?;
    let pods = [cluster.pod(&alpha, "web")?, cluster.pod(&beta, "web")?];
    let binding = cluster.api.kubectl().run("get clusterrolebinding towpath -o yaml")?;
    cluster.api.kubectl().run("delete clusterrolebinding towpath")?;
    // What is open stays open: a restart must ask anew.
    cluster.api.restart()?;
    let body = wait_page(&alpha, 200, "degraded: ")?;
    ensure!(body.contains("cannot list") || body.contains("forbidden") || body.contains("403"), "{body}");
    cluster.wait_talk(&pods[0], &pods[1])?;
    cluster.api.kubectl().apply(&binding)?;
    wait_well(&alpha)?;
    let _gamma = cluster.join("gamma", 3)?;
    wait_routes(alpha.node(), &["10.244.2.0/24", "10.244.3.0/24"])
}

#[test]
fn a_token_that_ends_is_replaced_from_its_file() -> Result<()> {
    let cluster = Cluster::new("kubetoken")?;
    let alpha = cluster.join("alpha", 1)?;
    // The account is another now: tokens of the old one are worth nothing.
    cluster.api.kubectl().run("delete serviceaccount towpath -n kube-flannel")?;
    cluster.api.restart()?;
    let body = wait_page(&alpha, 200, "degraded: ")?;
    ensure!(body.contains("401") || body.to_lowercase().contains("unauthorized"), "{body}");
    // The same file, as the kubelet would rotate it.
    let file = cluster.api.daemon_kubeconfig()?;
    ensure!(file == cluster.kubeconfig, "{} is another file", file.display());
    wait_well(&alpha)
}

fn wait_well(daemon: &netns_harness::Daemon) -> Result<()> {
    wait_for("nothing degraded any more", LIMIT, || {
        let page = daemon.get("/readyz")?;
        ensure!(page.body == "ready\n", "{page:?}");
        Ok(())
    })
}
