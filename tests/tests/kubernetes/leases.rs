//! Leases are flannel's annotations, peers are programmed, the condition is kept.

use anyhow::{Result, ensure};
use netns_harness::{Matrix, Station, wait_for};

use crate::cluster::{Cluster, LIMIT, wait_page, wait_routes};

#[test]
fn nodes_with_pod_cidrs_find_each_other_and_say_so_in_flannel_s_words() -> Result<()> {
    let cluster = Cluster::new("kubeleases")?;
    let (alpha, beta) = (cluster.join("alpha", 1)?, cluster.join("beta", 2)?);
    let gamma = cluster.join("gamma", 3)?;
    wait_routes(alpha.node(), &["10.244.2.0/24", "10.244.3.0/24"])?;
    wait_routes(gamma.node(), &["10.244.1.0/24", "10.244.2.0/24"])?;
    let pods = [cluster.pod(&alpha, "web")?, cluster.pod(&beta, "web")?, cluster.pod(&gamma, "web")?];
    for pod in &pods[1..] {
        cluster.wait_talk(&pods[0], pod)?;
    }
    let stations: [&Station; 3] = [&pods[0], &pods[1], &pods[2]];
    Matrix::measure(&stations)?.check()?;
    assert_eq!(cluster.annotation("alpha", "kube-subnet-manager")?, "true");
    assert_eq!(cluster.annotation("alpha", "backend-type")?, "vxlan");
    let data = cluster.annotation("alpha", "backend-data")?;
    let device = alpha.node().json(["ip", "-j", "link", "show", "flannel.1"])?;
    let mac = device[0]["address"].as_str().unwrap_or_default();
    assert_eq!(data, format!(r#"{{"VNI":1,"VtepMAC":"{mac}"}}"#));
    for node in ["alpha", "beta", "gamma"] {
        cluster.wait_condition(node, "False", "")?;
    }
    // What somebody else sets, and it is not so, is set right again.
    let wrong =
        r#"{"status":{"conditions":[{"type":"NetworkUnavailable","status":"True","reason":"Cloud","message":"x"}]}}"#;
    cluster.api.kubectl().words(["patch", "node", "beta", "--subresource=status", "--type=strategic", "-p", wrong])?;
    cluster.wait_condition("beta", "False", "")?;
    // A node that goes is forgotten; one of its name and subnet takes its place.
    cluster.api.kubectl().run("delete node gamma")?;
    gamma.kill()?;
    wait_routes(alpha.node(), &["10.244.2.0/24"])?;
    cluster.register(gamma.node(), 3)?;
    gamma.restart()?;
    gamma.wait_ready(LIMIT)?;
    wait_routes(alpha.node(), &["10.244.2.0/24", "10.244.3.0/24"])?;
    cluster.wait_talk(&pods[0], &pods[2])
}

#[test]
fn a_public_address_that_an_operator_writes_is_followed_while_the_daemon_runs() -> Result<()> {
    let cluster = Cluster::new("kubepublic")?;
    let (alpha, beta) = (cluster.join("alpha", 1)?, cluster.join("beta", 2)?);
    alpha.node().ip("addr add 192.0.2.201/24 dev eth0")?;
    let annotate = "annotate node alpha flannel.alpha.coreos.com/node-public-ip=192.0.2.201";
    cluster.api.kubectl().run(annotate)?;
    wait_for("alpha's new address to be published", LIMIT, || {
        let public = cluster.annotation("alpha", "public-ip")?;
        ensure!(public == "192.0.2.201", "{public}");
        Ok(())
    })?;
    wait_for("beta to send there", LIMIT, || {
        let entries = beta.node().run(["bridge", "fdb", "show", "dev", "flannel.1"])?;
        ensure!(entries.contains("192.0.2.201"), "{entries}");
        Ok(())
    })?;
    wait_page(&alpha, 200, "ready")?;
    cluster.api.kubectl().run("annotate node alpha flannel.alpha.coreos.com/node-public-ip-")?;
    wait_for("the old one to be published", LIMIT, || {
        let public = cluster.annotation("alpha", "public-ip")?;
        ensure!(public != "192.0.2.201", "{public}");
        Ok(())
    })
}
