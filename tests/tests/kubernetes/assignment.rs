//! A podCIDR that is missing, wrong, or another than before.

use anyhow::{Result, ensure};
use netns_harness::kubernetes::NodeObject;
use netns_harness::wait_for;

use crate::cluster::{Cluster, LIMIT, wait_page, wait_routes};

#[test]
fn a_node_without_a_pod_cidr_waits_and_says_what_is_missing() -> Result<()> {
    let cluster = Cluster::new("kubenocidr")?;
    let beta = cluster.join("beta", 2)?;
    let node = cluster.lab.node("alpha")?;
    cluster.api.create_node(&NodeObject::of(&node)?)?;
    let alpha = cluster.start(&node, &[])?;
    wait_page(&alpha, 503, "--allocate-node-cidrs")?;
    cluster.wait_condition("alpha", "True", "--allocate-node-cidrs")?;
    let event = cluster.wait_event("alpha", "PodCIDRUnusable")?;
    ensure!(event.contains("--allocate-node-cidrs"), "{event}");
    ensure!(alpha.is_running(), "it waits");
    let cidr = r#"{"spec":{"podCIDR":"10.244.1.0/24","podCIDRs":["10.244.1.0/24"]}}"#;
    cluster.api.kubectl().words(["patch", "node", "alpha", "-p", cidr])?;
    alpha.wait_ready(LIMIT)?;
    cluster.wait_condition("alpha", "False", "")?;
    wait_routes(beta.node(), &["10.244.1.0/24"])
}

#[test]
fn a_pod_cidr_outside_the_network_is_named_and_nothing_is_done_by_it() -> Result<()> {
    let cluster = Cluster::new("kubeoutside")?;
    let node = cluster.lab.node("alpha")?;
    cluster.api.create_node(&NodeObject::of(&node)?.pod_cidr("10.99.1.0/24".parse()?))?;
    let alpha = cluster.start(&node, &[])?;
    let body = wait_page(&alpha, 503, "10.99.1.0/24")?;
    ensure!(body.contains("10.244.0.0/16"), "{body}");
    ensure!(node.run(["ip", "link", "show", "flannel.1"]).is_err(), "no device");
    // The configuration is what was wrong: it is followed.
    cluster.configure(r#"{"Network": "10.99.0.0/16"}"#)?;
    alpha.wait_ready(LIMIT)
}

#[test]
fn a_node_that_is_registered_anew_with_another_pod_cidr_moves_and_says_so() -> Result<()> {
    let cluster = Cluster::new("kubemoved")?;
    let (alpha, beta) = (cluster.join("alpha", 1)?, cluster.join("beta", 2)?);
    let old = cluster.pod(&alpha, "old")?;
    let neighbour = cluster.pod(&alpha, "neighbour")?;
    cluster.api.kubectl().run("delete node alpha")?;
    wait_page(&alpha, 503, "there is no Node object alpha")?;
    ensure!(alpha.node().run(["ip", "link", "show", "flannel.1"]).is_ok(), "what runs keeps running");
    cluster.wait_talk(&old, &neighbour)?;
    cluster.register(alpha.node(), 7)?;
    let body =
        wait_page(&alpha, 200, "degraded: the podCIDR of node alpha changed from 10.244.1.0/24 to 10.244.7.0/24")?;
    ensure!(body.contains("kubectl drain alpha"), "{body}");
    cluster.wait_event("alpha", "PodCIDRChanged")?;
    wait_routes(beta.node(), &["10.244.7.0/24"])?;
    wait_for("subnet.env", LIMIT, || {
        let text = std::fs::read_to_string(alpha.subnet_file())?;
        ensure!(text.contains("FLANNEL_SUBNET=10.244.7.1/24"), "{text}");
        Ok(())
    })?;
    // The pods that were there reach each other.
    cluster.wait_talk(&old, &neighbour)
}

#[test]
fn the_pod_network_is_changed_from_either_end_and_the_kernel_follows_when_both_agree() -> Result<()> {
    let cluster = Cluster::new("kubeboth")?;
    let (alpha, beta) = (cluster.join("alpha", 1)?, cluster.join("beta", 2)?);
    let other = |number: u8| format!("10.99.{number}.0/24").parse();
    // alpha: the Node first. beta hears of the ConfigMap first.
    cluster.api.kubectl().run("delete node alpha")?;
    cluster.api.create_node(&NodeObject::of(alpha.node())?.pod_cidr(other(1)?))?;
    wait_page(&alpha, 503, "does not lie inside the network 10.244.0.0/16")?;
    ensure!(alpha.node().run(["ip", "link", "show", "flannel.1"]).is_ok(), "what runs keeps running");
    cluster.configure(r#"{"Network": "10.99.0.0/16"}"#)?;
    alpha.wait_ready(LIMIT)?;
    wait_page(&beta, 200, "pod network cannot change from 10.244.0.0/16 to 10.99.0.0/16")?;
    cluster.api.kubectl().run("delete node beta")?;
    cluster.api.create_node(&NodeObject::of(beta.node())?.pod_cidr(other(2)?))?;
    wait_page(&beta, 200, "changed from 10.244.2.0/24 to 10.99.2.0/24")?;
    wait_routes(alpha.node(), &["10.99.2.0/24"])?;
    wait_routes(beta.node(), &["10.99.1.0/24"])
}
