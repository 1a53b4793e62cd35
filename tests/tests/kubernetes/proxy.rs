//! Beside the real kube-proxy in both of its modes: where iptables' FORWARD drops what nothing accepts, pods talk, and services are answered
//! by pods of other nodes and of the own one, whoever wrote last.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ipam::Family;
use netns_harness::kubernetes::{Identity, Programs};
use netns_harness::{ECHO_PORT, wait_for};

use crate::cluster::{Cluster, LIMIT};

/// What left before the proxy had its rules is never translated, nor is what is said again of it (`nf_nat_inet_fn` looks at a connection's first
/// packet alone): it takes another connection.
const ATTEMPT: Duration = Duration::from_secs(2);

const SERVICE: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: echo, namespace: default}
spec:
  ports: [{port: 7077, targetPort: 7, protocol: TCP}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: echo, namespace: default, labels: {kubernetes.io/service-name: echo}}
addressType: IPv4
endpoints: [{addresses: [ADDRESS]}]
ports: [{name: "", port: 7, protocol: TCP}]
"#;

#[test]
fn beside_kube_proxy_services_are_answered_in_both_modes_whoever_wrote_last() -> Result<()> {
    let cluster = Cluster::new("kubeproxy")?;
    let [alpha, beta] = [cluster.join("alpha", 1)?, cluster.join("beta", 2)?];
    let pods = [cluster.pod(&alpha, "web")?, cluster.pod(&alpha, "near")?, cluster.pod(&beta, "web")?];
    let kubeconfig = cluster.api.kubeconfig(&Identity::component("kube-proxy"))?;
    let kubectl = cluster.api.kubectl();
    pods.iter().try_for_each(|pod| pod.serve_echo())?;
    let near = SERVICE.replace("ADDRESS", &pods[1].address(Family::V4)?.to_string());
    let far = SERVICE.replace("ADDRESS", &pods[2].address(Family::V4)?.to_string());
    kubectl.apply(&far)?;
    let object = kubectl.json("get service echo -n default")?;
    let service: IpAddr = object["spec"]["clusterIP"].as_str().context("no address")?.parse()?;
    let answers = |when: &str| {
        wait_for(&format!("the service to answer {when}"), LIMIT, || {
            pods[0].connect(SocketAddr::new(service, 7077), ATTEMPT).map(drop)
        })?;
        wait_for(&format!("pods to talk {when}"), LIMIT, || {
            pods[0].reach(&pods[2], Family::V4).and(pods[2].reach(&pods[0], Family::V4))
        })
    };
    ensure!(ECHO_PORT == 7, "the service's port is another");
    for mode in ["iptables", "nftables"] {
        // Whatever an earlier one wrote, and ours.
        alpha.node().run(["sh", "-ec", "nft flush ruleset; iptables -P FORWARD DROP"])?;
        let mut command = Programs::built()?.command("kube-proxy");
        command.arg(format!("--kubeconfig={}", kubeconfig.display())).arg(format!("--proxy-mode={mode}"));
        command.args(["--hostname-override=alpha", "--cluster-cidr=10.244.0.0/16", "--conntrack-max-per-core=0"]);
        command.args(["--conntrack-tcp-timeout-established=0s", "--conntrack-tcp-timeout-close-wait=0s"]);
        let proxy = alpha.node().start(&format!("kube-proxy-{mode}"), command)?;
        answers(mode).with_context(|| proxy.log_tail(20))?;
        kubectl.apply(&near)?;
        answers(&format!("from the same node, {mode}")).with_context(|| proxy.log_tail(20))?;
        kubectl.apply(&far)?;
        proxy.kill()?;
        proxy.restart()?;
        answers(&format!("after {mode} has started again")).with_context(|| proxy.log_tail(20))?;
        proxy.kill()?;
    }
    Ok(())
}
