//! Clusters with nodes, without a pod network: what needs none runs, and a stand-in of two files makes nodes Ready.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::ensure;
use ipam::Family;
use netns_harness::kubernetes::{Cluster, ClusterOptions, Machine, Method, Proxy};
use netns_harness::{Lab, wait_for};

const LIMIT: Duration = Duration::from_secs(120);
const WEB: &str = include_str!("web.yaml");

/// A pod network of a bridge a node and of routes between them: CoreDNS runs on any node and has to reach the API server of `n1`, and
/// kube-proxy hides no pod behind its node's address.
fn stand_in(cluster: &Cluster) {
    for machine in cluster.machines() {
        let node = cluster.kubectl().json(&format!("get node {}", machine.name())).unwrap();
        let subnet = node["spec"]["podCIDR"].as_str().unwrap();
        let gateway = machine.address(Family::V4).unwrap();
        for other in cluster.machines().iter().filter(|other| other.name() != machine.name()) {
            other.ip(&format!("route replace {subnet} via {gateway}")).unwrap();
        }
        let conflist = format!(
            r#"{{"cniVersion":"0.3.1","name":"stand-in","plugins":[{{"type":"bridge","bridge":"cni0","isGateway":true,
               "ipam":{{"type":"host-local","subnet":"{subnet}","routes":[{{"dst":"0.0.0.0/0"}}]}}}}]}}"#
        );
        machine.write("/etc/cni/net.d/.draft", &conflist).unwrap();
        // The runtime notices a rename inside of the directory.
        machine.run(["mv", "/etc/cni/net.d/.draft", "/etc/cni/net.d/10-stand-in.conflist"]).unwrap();
    }
}

/// The address of the service answers in a pod of each node.
fn expect_service(cluster: &Cluster) {
    let service = cluster.kubectl().json("get service web").unwrap();
    for pod in cluster.pods("-l app=web").unwrap() {
        for address in service["spec"]["clusterIPs"].as_array().unwrap() {
            let address = address.as_str().unwrap();
            let url = if address.contains(':') { format!("http://[{address}]/") } else { format!("http://{address}/") };
            let said = wait_for("the service to answer", LIMIT, || cluster.exec(&pod, &["/podtool", "get", &url]));
            let said = cluster.or_explain(said).unwrap();
            assert!(said.contains("node=n"), "{said}");
        }
    }
}

/// A pod is a place in the lab like others.
fn expect_station(cluster: &Cluster) {
    let own = r#"{"spec":{"nodeName":"n1"}}"#;
    let words = ["run", "plain", "--image=localhost/podtool:1", "--restart=Never", "--overrides", own];
    cluster.kubectl().words(words).unwrap();
    cluster.wait_pods_ready("plain", LIMIT).unwrap();
    let pod = cluster.station("plain").unwrap();
    pod.reach(cluster.machine("n1").unwrap().node(), Family::V4).unwrap();
    assert!(pod.ip("route").unwrap().contains("default via 10.244."));
    cluster.kubectl().run("delete pod plain --grace-period=1").unwrap();
}

fn pid_of(machine: &Machine, service: &str) -> String {
    machine.read(&format!("/run/{service}.service.pid")).unwrap_or_default()
}

#[test]
fn nodes_run_pods_and_services_and_come_back_from_a_reboot_and_a_removal() {
    let begin = Instant::now();
    let lab = Lab::new("byhand").unwrap();
    let cluster = lab.cluster(&ClusterOptions::new(Method::ByHand).unwrap().dual_stack().unwrap()).unwrap();
    println!("registered after {:?}", begin.elapsed());
    cluster.apply(WEB).unwrap();
    cluster.wait_rollout("ds/web", LIMIT).unwrap();
    println!("pods ready after {:?}", begin.elapsed());
    expect_service(&cluster);
    stand_in(&cluster);
    cluster.wait_nodes_ready(LIMIT).unwrap();
    println!("nodes Ready after {:?}", begin.elapsed());
    expect_station(&cluster);

    let machine = cluster.machine("n2").unwrap();
    let before = pid_of(machine, "kubelet");
    machine.ip("link add lost type bridge").unwrap();
    machine.power_off().unwrap();
    assert!(!machine.ip("link show").unwrap().contains("lost"));
    assert!(!machine.path("/run/containerd").unwrap().exists(), "/run is not empty");
    assert!(machine.path("/etc/cni/net.d/10-stand-in.conflist").unwrap().exists(), "the disk is gone");
    machine.boot().unwrap();
    assert_ne!(pid_of(machine, "kubelet"), before);
    let there = "http://192.0.2.12:8080/";
    let said = wait_for("n2's pod to be back", LIMIT, || cluster.exec("ds/web", &["/podtool", "get", there]));
    assert!(cluster.or_explain(said).unwrap().contains("node=n2"));
    println!("rebooted after {:?}", begin.elapsed());

    let uid = |cluster: &Cluster| cluster.kubectl().json("get node n2").unwrap()["metadata"]["uid"].clone();
    let old = uid(&cluster);
    cluster.remove("n2").unwrap();
    cluster.join("n2").unwrap();
    assert_ne!(uid(&cluster), old);
    cluster.wait_rollout("ds/web", LIMIT).unwrap();
    println!("rejoined after {:?}", begin.elapsed());
}

#[test]
fn nothing_is_left_of_a_cluster_whose_owner_is_killed() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cluster"));
    command.args(["--nodes", "1", "--proxy", "none"]).stdout(Stdio::piped());
    let mut owner = command.spawn().unwrap();
    let lines = BufReader::new(owner.stdout.take().unwrap()).lines().map_while(Result::ok);
    let lines: Vec<String> = lines.take_while(|line| !line.starts_with("Ctrl-C")).collect();
    let directory = lines.iter().find_map(|line| line.strip_prefix("Logs and files: ")).expect("it did not come up");
    let id = directory.rsplit('/').next().unwrap();
    assert!(!left_of(id).is_empty());
    owner.kill().unwrap();
    owner.wait().unwrap();
    wait_for("nothing to be left", LIMIT, || {
        let left = left_of(id);
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
    .unwrap();
}

/// Files, names of namespaces, cgroups, and processes with such files on their command line.
fn left_of(id: &str) -> Vec<String> {
    let mut left = Vec::new();
    let hierarchies = std::fs::read_dir("/sys/fs/cgroup").unwrap().map(|entry| entry.unwrap().path());
    let places = ["/tmp", "/run/netns", "/run/netns-harness"].map(PathBuf::from).into_iter().chain(hierarchies);
    for place in places.chain([std::env::temp_dir()]) {
        let names = std::fs::read_dir(&place).into_iter().flatten().filter_map(Result::ok);
        let ours = names.filter(|entry| entry.file_name().to_string_lossy().starts_with(id));
        left.extend(ours.map(|entry| entry.path().display().to_string()));
    }
    for process in std::fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
        let words = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words).replace('\0', " ");
        if words.contains(id) {
            left.push(words);
        }
    }
    left
}

#[test]
fn kubeadm_makes_a_cluster_of_machines_and_takes_one_back() {
    let begin = Instant::now();
    let lab = Lab::new("kubeadm").unwrap();
    let options = ClusterOptions { proxy: Proxy::Nftables, ..ClusterOptions::new(Method::Kubeadm).unwrap() };
    let cluster = lab.cluster(&options).unwrap();
    println!("registered after {:?}", begin.elapsed());
    cluster.apply(WEB).unwrap();
    cluster.wait_rollout("ds/web", LIMIT).unwrap();
    cluster.wait_rollout("-n kube-system ds/kube-proxy", LIMIT).unwrap();
    println!("pods ready after {:?}", begin.elapsed());
    expect_service(&cluster);
    stand_in(&cluster);
    cluster.wait_nodes_ready(LIMIT).unwrap();
    cluster.wait_rollout("-n kube-system deployment/coredns", LIMIT).unwrap();
    println!("CoreDNS ready after {:?}", begin.elapsed());
    cluster.remove("n2").unwrap();
    cluster.join("n2").unwrap();
    cluster.wait_rollout("ds/web", LIMIT).unwrap();
    println!("rejoined after {:?}", begin.elapsed());
    let id = lab.id().to_owned();
    lab.remove().unwrap();
    println!("gone after {:?}", begin.elapsed());
    assert_eq!(left_of(&id), [""; 0]);
}
