//! A new cluster by kubeadm, and docs/install.md.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use ipam::Family;
use netns_harness::kubernetes::{ClusterOptions, Method, Programs, Proxy};
use netns_harness::{Binaries, Matrix, Process, Station};
use serde_json::{Value, json};

use crate::ground::{Ground, IMAGE, LIMIT, image, pod, text};
use crate::reboot;

const MANY: usize = 100;
const OUTSIDE_PORT: u16 = 8090;
const HOST_PORT: u16 = 18080;

#[test]
fn kubeadm_and_one_manifest_make_a_cluster_whose_pods_reach_everything() -> Result<()> {
    ensure!(image()?.metadata()?.len() <= 12 << 20, "the image is too large: {:?}", image()?.metadata()?);
    let ground = Ground::start("new", ClusterOptions::new(Method::Kubeadm)?)?;
    let manual = text("docs/install.md")?;
    for line in ["kubectl apply -f manifests/towpath.yml", "kubeadm init --pod-network-cidr=10.244.0.0/16"] {
        ensure!(manual.contains(line), "docs/install.md does not say `{line}` any more");
    }
    ground.cluster.apply(&text("manifests/towpath.yml")?)?;
    ground.wait_network()?;
    let pods = [ground.pod("web-n1", "n1")?, ground.pod("web-n2", "n2")?];
    check_network(&ground, &pods)?;
    check_many_pods(&ground, &pods[0])?;
    ground.check_no_restarts()?;
    check_rejoin(&ground, &pods[0])
}

#[test]
fn a_cluster_of_two_families_gets_both_and_its_nodes_come_back_from_a_power_cut() -> Result<()> {
    let options = ClusterOptions { proxy: Proxy::Nftables, ..ClusterOptions::new(Method::Kubeadm)?.dual_stack()? };
    let ground = Ground::start("dual", options)?;
    let mut install = Command::new(Binaries::built()?.find("towpathctl")?);
    install.args(["install", "--image", IMAGE, "--kubeconfig"]).arg(ground.cluster.kubectl().kubeconfig());
    let output = ground.lab.switch().output(install, "")?;
    ensure!(output.status.success(), "towpathctl install: {}", String::from_utf8_lossy(&output.stderr));
    ground.wait_network()?;
    let pods = [ground.pod("web-n1", "n1")?, ground.pod("web-n2", "n2")?];
    check_network(&ground, &pods)?;
    ground.check_no_restarts()?;
    reboot::check_with_api(&ground, &pods[0])?;
    reboot::check_without_api(&ground, &pods[0])
}

/// Everything that a user would try, in every family of the cluster.
fn check_network(ground: &Ground, pods: &[Station; 2]) -> Result<()> {
    let families: Vec<Family> = ground.cluster.options().pods.families().collect();
    for pod in pods {
        let own: Vec<Family> = pod.addresses()?.families().collect();
        ensure!(own == families, "{} has addresses of {own:?}", pod.name());
    }
    let nodes = ["n1", "n2"].map(|name| ground.cluster.machine(name));
    let [one, other] = [nodes[0].as_ref(), nodes[1].as_ref()].map(|node| node.map(|node| node.node()));
    let (Ok(one), Ok(other)) = (one, other) else { anyhow::bail!("no n1 or no n2") };
    Matrix::measure(&[&pods[0], &pods[1], one, other])?.check()?;
    ground.cluster.wait_pods_ready("-A", LIMIT)?;
    let outside = serve_outside(ground)?;
    ground.cluster.apply(&service().to_string())?;
    ground.cluster.apply(&with_host_port(pod("ported", "n2")).to_string())?;
    ground.explained(ground.cluster.wait_pods_ready("ported", LIMIT))?;
    let ported = ground.cluster.station("ported")?;
    for family in families {
        check_service(ground, family)?;
        check_outside(ground, family)?;
        let server = SocketAddr::new(other.address(family)?, HOST_PORT);
        for from in [ground.lab.switch() as &Station, one, &pods[0], &pods[1], &ported] {
            let said = ground.wait(&format!("the port of {server} to answer"), || from.get(server, "/"))?;
            ensure!(said.body.contains("ported"), "{}: {}", from.name(), said.body);
        }
    }
    check_names(ground)?;
    outside.stop().map(drop)
}

/// Through kube-proxy, to the pods of both nodes, from a pod of each.
fn check_service(ground: &Ground, family: Family) -> Result<()> {
    let service = ground.json("get service web")?;
    let addresses = service["spec"]["clusterIPs"].as_array().context("no clusterIPs")?;
    let addresses = addresses.iter().filter_map(|address| address.as_str()?.parse::<IpAddr>().ok());
    let address = addresses.into_iter().find(|address| Family::of(*address) == family).context("no such family")?;
    for name in ["web-n1", "web-n2"] {
        let pod = ground.cluster.station(name)?;
        let mut seen = BTreeSet::new();
        ground.wait(&format!("{address} to lead {name} to both nodes"), || {
            let said = pod.get(SocketAddr::new(address, 80), "/")?.body;
            seen.extend(["node=n1", "node=n2"].into_iter().filter(|node| said.contains(node)));
            ensure!(seen.len() == 2, "only {seen:?}");
            Ok(())
        })?;
    }
    Ok(())
}

/// Who is not of the cluster sees the node.
fn check_outside(ground: &Ground, family: Family) -> Result<()> {
    let server = SocketAddr::new(ground.lab.switch().address(family)?, OUTSIDE_PORT);
    for (pod, node) in [("web-n1", "n1"), ("web-n2", "n2")] {
        let said = ground.cluster.station(pod)?.get(server, "/")?.body;
        let node = SocketAddr::new(ground.cluster.machine(node)?.address(family)?, 0).to_string();
        let node = node.trim_end_matches('0');
        ensure!(said.contains(&format!("remote={node}")), "{pod} is not seen as {node} but: {said}");
    }
    Ok(())
}

/// CoreDNS, whose pods are on one node, answers pods of both.
fn check_names(ground: &Ground) -> Result<()> {
    let service = ground.json("get service web")?;
    let addresses = service["spec"]["clusterIPs"].as_array().context("no clusterIPs")?;
    for pod in ["web-n1", "web-n2"] {
        let look = || ground.cluster.exec(pod, &["/podtool", "lookup", "web.default.svc.cluster.local"]);
        let said = ground.wait("the name to be known", look)?;
        for address in addresses.iter().filter_map(Value::as_str) {
            ensure!(said.contains(address), "{pod}: {address} is not in {said}");
        }
    }
    Ok(())
}

/// A server that is not of the cluster, on the switch.
fn serve_outside(ground: &Ground) -> Result<Process> {
    let mut command = Programs::built()?.command("podtool");
    command.args(["serve", &format!(":{OUTSIDE_PORT}")]);
    ground.lab.switch().start("outside", command)
}

/// A hundred pods of a node at once: each has an address of its own and answers; afterwards nothing is left of them.
fn check_many_pods(ground: &Ground, witness: &Station) -> Result<()> {
    let before = traces(ground)?;
    let mut template = pod("many", "n2");
    template["metadata"] = json!({ "labels": { "app": "many" } });
    let spec = json!({
        "replicas": MANY,
        "selector": { "matchLabels": { "app": "many" } },
        "template": { "metadata": template["metadata"], "spec": template["spec"] },
    });
    let deployment =
        json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "many" }, "spec": spec });
    let begin = std::time::Instant::now();
    ground.cluster.apply(&deployment.to_string())?;
    ground.explained(ground.cluster.wait_rollout("deployment/many", 3 * LIMIT))?;
    println!("{MANY} pods of a node are ready after {:?}", begin.elapsed());
    let pods = ground.json("get pods -l app=many")?;
    let pods = pods["items"].as_array().context("no list")?;
    let addresses = pods.iter().filter_map(|pod| pod["status"]["podIP"].as_str()?.parse::<IpAddr>().ok());
    let addresses: BTreeSet<IpAddr> = addresses.collect();
    ensure!(addresses.len() == MANY, "{} addresses", addresses.len());
    for address in addresses {
        witness.get(SocketAddr::new(address, 8080), "/")?;
    }
    ground.check_no_restarts()?;
    let begin = std::time::Instant::now();
    ground.kubectl("delete deployment many --cascade=foreground --timeout=50s").ok();
    ground.wait("nothing to be left of the pods", || {
        let now = traces(ground)?;
        ensure!(now == before, "{now:?}, not {before:?}");
        Ok(())
    })?;
    println!("and gone after {:?}", begin.elapsed());
    Ok(())
}

/// What pods leave on a node: addresses in the ledger, links, rules for ports.
fn traces(ground: &Ground) -> Result<[usize; 2]> {
    let machine = ground.cluster.machine("n2")?;
    let ledger = machine.run(["ls", "/var/lib/cni/networks/cbr0"])?;
    let links = machine.ip("-o link show type veth")?;
    let addresses = ledger.lines().filter(|name| name.parse::<IpAddr>().is_ok()).count();
    Ok([addresses, links.lines().count()])
}

/// `kubeadm reset` and `kubeadm join`: the others forget the node, and take it back with whatever subnet it then has.
fn check_rejoin(ground: &Ground, witness: &Station) -> Result<()> {
    let n1 = ground.cluster.machine("n1")?;
    let subnet = ground.json("get node n2")?["spec"]["podCIDR"].as_str().context("no podCIDR")?.to_owned();
    ground.cluster.remove("n2")?;
    ground.wait("n1 to forget n2", || {
        let routes = n1.ip("route show proto 84")?;
        ensure!(!routes.contains(&subnet), "{routes}");
        Ok(())
    })?;
    ground.cluster.join("n2")?;
    ground.wait_network()?;
    let back = ground.pod("back", "n2")?;
    witness.reach(&back, Family::V4)?;
    back.reach(witness, Family::V4).map(drop)
}

fn service() -> Value {
    let ports = json!([{ "port": 80, "targetPort": 8080 }]);
    let spec = json!({ "selector": { "app": "web" }, "ipFamilyPolicy": "PreferDualStack", "ports": ports });
    json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "web" }, "spec": spec })
}

fn with_host_port(mut pod: Value) -> Value {
    // Not of the service.
    pod["metadata"]["labels"] = json!({ "app": "ported" });
    pod["spec"]["containers"][0]["ports"] = json!([{ "containerPort": 8080, "hostPort": HOST_PORT }]);
    pod
}
