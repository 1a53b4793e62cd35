//! Flannel's own manifest with nothing but the images changed, on nodes of which one has the usual plugins and one has none.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use ipam::Family;
use netns_harness::kubernetes::{ClusterOptions, Method};
use netns_harness::{Matrix, Station};
use serde_json::json;

use crate::ground::{Ground, IMAGE, LIMIT, pod};

const STOCK: &str = include_str!("stock.yml");

#[test]
fn flannels_own_manifest_needs_nothing_but_the_name_of_our_image() -> Result<()> {
    let ground = Ground::start("stock", ClusterOptions::new(Method::ByHand)?)?;
    let bare = ground.cluster.machine("n2")?;
    bare.run(["sh", "-c", "rm -rf /opt/cni/bin/*"])?;
    let text = STOCK
        .replace("ghcr.io/flannel-io/flannel-cni-plugin:v1.9.0-flannel1", IMAGE)
        .replace("ghcr.io/flannel-io/flannel:v0.28.2", IMAGE);
    ensure!(!text.contains("ghcr.io"), "an image is flannel's:\n{text}");
    ground.cluster.apply(&text)?;
    ground.wait_network()?;
    let mut ported = pod("ported", "n2");
    ported["spec"]["containers"][0]["ports"] = json!([{ "containerPort": 8080, "hostPort": 18080 }]);
    ground.cluster.apply(&ported.to_string())?;
    let pods = [ground.pod("web-n1", "n1")?, ground.pod("web-n2", "n2")?];
    let [one, other] = [ground.cluster.machine("n1")?.node(), bare.node()];
    Matrix::measure(&[&pods[0], &pods[1], one, other])?.check()?;
    ground.explained(ground.cluster.wait_pods_ready("ported", LIMIT))?;
    let server = SocketAddr::new(other.address(Family::V4)?, 18080);
    for from in [ground.lab.switch() as &Station, &pods[0], &pods[1]] {
        ground.wait("the port to answer", || from.get(server, "/"))?;
    }
    for machine in ground.cluster.machines() {
        let written = machine.read("/etc/cni/net.d/10-flannel.conflist")?;
        ensure!(written.contains(r#""name": "cbr0""#) && written.contains("portmap"), "{written}");
        let subnet = machine.read("/run/flannel/subnet.env")?;
        ensure!(subnet.contains("FLANNEL_NETWORK=10.244.0.0/16") && subnet.contains("FLANNEL_IPMASQ=true"), "{subnet}");
    }
    let logs = ground.kubectl("logs -n kube-flannel -l app=flannel --all-containers --tail=-1")?;
    for word in ["unknown", "not known", "ignored", "ERROR", "refuses"] {
        ensure!(!logs.contains(word), "something of the manifest is not taken ({word}):\n{logs}");
    }
    ground.check_no_restarts()
}
