//! What is installed, on real nodes: the image as `make image` builds it, the manifest as it is, and flannel's own manifest
//! with nothing but the image changed.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use netns_harness::kubernetes::{Cluster, ClusterOptions, Machine, Method};
use netns_harness::{Binaries, Lab, Station, wait_for};
use serde_json::Value;

use super::objects::{manifest, repository};

const LIMIT: Duration = Duration::from_secs(120);
const FLANNEL: &str = include_str!("flannel.yml");
const IMAGE: &str = concat!("localhost/towpath:v", env!("CARGO_PKG_VERSION"));

fn cluster(name: &str) -> (Lab, Cluster) {
    let named = std::env::var_os("TOWPATH_IMAGE").map(PathBuf::from);
    let image = named.unwrap_or_else(|| repository("dist/image/towpath-amd64.tar"));
    assert!(image.is_file(), "no image in {}: run `make image`", image.display());
    let lab = Lab::new(name).unwrap();
    let mut options = ClusterOptions::new(Method::ByHand).unwrap();
    options.images.push(image);
    let cluster = lab.cluster(&options).unwrap();
    (lab, cluster)
}

/// Waits until the DaemonSet's pods and the nodes are ready.
fn wait_ready(cluster: &Cluster) {
    let settled = wait_for("the DaemonSet and all nodes to be ready", LIMIT, || {
        let daemonset = cluster.kubectl().json("get daemonset -n kube-flannel kube-flannel-ds")?;
        let status = &daemonset["status"];
        anyhow::ensure!(status["observedGeneration"] == daemonset["metadata"]["generation"], "{status}");
        anyhow::ensure!(status["updatedNumberScheduled"] == 2 && status["numberReady"] == 2, "{status}");
        let nodes = cluster.kubectl().json("get nodes")?;
        let ready = |node: &Value| {
            let mut conditions = node["status"]["conditions"].as_array().into_iter().flatten();
            conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
        };
        anyhow::ensure!(nodes["items"].as_array().is_some_and(|nodes| nodes.iter().all(ready)), "a node is not Ready");
        Ok(())
    });
    cluster.or_explain(settled.map_err(|error| error.context(pods(cluster)))).unwrap();
}

/// What the daemons' pods say of themselves.
fn pods(cluster: &Cluster) -> String {
    let kubectl = cluster.kubectl();
    let described = kubectl.run("describe pods -n kube-flannel").unwrap_or_default();
    let logs = kubectl.run("logs -n kube-flannel -l app=flannel --all-containers --tail=20").unwrap_or_default();
    format!("{described}\n{logs}")
}

/// A pod on each node, and both ways between them.
fn expect_pods_to_talk(cluster: &Cluster) -> [Station; 2] {
    for node in ["n1", "n2"] {
        let overrides = format!(r#"{{"spec":{{"nodeName":"{node}"}}}}"#);
        let name = format!("pod-{node}");
        let words = ["run", &name, "--image=localhost/podtool:1", "--restart=Never", "--overrides", &overrides];
        cluster.kubectl().words(words).unwrap();
    }
    for node in ["n1", "n2"] {
        cluster.or_explain(cluster.wait_pods_ready(&format!("pod-{node}"), LIMIT)).unwrap();
    }
    let pods = ["pod-n1", "pod-n2"].map(|pod| cluster.station(pod).unwrap());
    expect_to_talk(&pods);
    pods
}

fn expect_to_talk([one, other]: &[Station; 2]) {
    one.reach(other, ipam::Family::V4).unwrap();
    other.reach(one, ipam::Family::V4).unwrap();
}

fn exec(cluster: &Cluster, words: &[&str]) -> String {
    let place = ["exec", "-n", "kube-flannel", "daemonset/kube-flannel-ds", "--"];
    cluster.kubectl().words(place.iter().chain(words)).unwrap()
}

fn setting(machine: &Machine, path: &str) -> String {
    machine.run(["cat", &format!("/proc/sys/net/{path}")]).unwrap().trim().to_owned()
}

#[test]
fn the_manifest_makes_nodes_ready_and_pods_reach_each_other() {
    let (_lab, cluster) = cluster("manifest");
    for machine in cluster.machines() {
        machine.run(["sysctl", "-qw", "net.ipv4.ip_forward=0"]).unwrap();
    }
    // Each daemon's token holds for its own Node, and that is enough.
    cluster.kubectl().apply(&std::fs::read_to_string(repository("manifests/towpath-own-node.yml")).unwrap()).unwrap();
    cluster.kubectl().apply(&manifest()).unwrap();
    wait_ready(&cluster);
    for machine in cluster.machines() {
        // Without privilege, through the mount.
        assert_eq!(setting(machine, "ipv4/ip_forward"), "1");
        assert_eq!(setting(machine, "ipv6/conf/flannel.1/accept_ra"), "0");
    }
    expect_pods_to_talk(&cluster);
    for (program, name) in [
        ("towpathd", "towpathd"),
        ("flanneld", "towpathd"),
        ("towpathctl", "towpathctl"),
        ("kubectl-towpath", "towpath"),
    ] {
        let said = exec(&cluster, &[program, "--version"]);
        assert!(said.contains(name) && said.contains(env!("CARGO_PKG_VERSION")), "{program}: {said}");
    }
    let status = exec(&cluster, &["towpathctl", "status"]);
    assert!(status.contains(", ready") && status.contains("kernel     as desired"), "{status}");
    // NET_ADMIN is bit 12 of include/uapi/linux/capability.h, and all there is.
    let pid = cluster.machines()[0].run(["pidof", "towpathd"]).unwrap();
    let process = cluster.machines()[0].run(["cat", &format!("/proc/{}/status", pid.trim())]).unwrap();
    assert!(process.contains("CapEff:\t0000000000001000"), "{process}");
    assert!(process.contains("Seccomp:\t2"), "{process}");
    expect_removal(&cluster);
}

/// As docs/install.md says it, word for word.
fn expect_removal(cluster: &Cluster) {
    cluster.kubectl().run("delete daemonset -n kube-flannel kube-flannel-ds --cascade=foreground").unwrap();
    let text = std::fs::read_to_string(repository("docs/install.md")).unwrap();
    let commands = text.split("Then on each node").nth(1).unwrap().split("The bridge").next().unwrap();
    let commands: String =
        commands.lines().filter(|line| line.starts_with("    ")).map(|line| format!("{line}\n")).collect();
    assert_eq!(commands.matches("ctr ").count(), 2, "{commands}");
    let machine = &cluster.machines()[0];
    let seen = |command: &str| machine.run(["sh", "-c", command]).unwrap().trim().to_owned();
    let look = "ls /etc/cni/net.d /opt/cni/bin /run/flannel; ip -br link show type vxlan; nft list tables";
    let before = seen(look);
    for thing in ["10-flannel.conflist", "towpath", "subnet.env", "flannel.1", "table inet towpath"] {
        assert!(before.contains(thing), "no {thing} in\n{before}");
    }
    seen(&format!("set -e\n{commands}"));
    let after = seen(look);
    for thing in ["10-flannel.conflist", "towpath", "subnet.env", "flannel.1"] {
        assert!(!after.contains(thing), "{thing} in\n{after}");
    }
}

#[test]
fn flannels_own_manifest_works_with_only_the_image_changed_and_is_migrated() {
    let (lab, cluster) = cluster("onlyimage");
    let ours = ["registry.example/flannel-cni-plugin:v1.9.1", "registry.example/flannel:v0.28.9"];
    let text = ours.iter().fold(FLANNEL.to_owned(), |text, image| text.replace(image, IMAGE));
    let text = text.replace("10.42.0.0/16", "10.244.0.0/16").replace("--iface=eth1, ", "");
    // As kubeadm asks for it: in a container without privilege and without our mount nobody can.
    for machine in cluster.machines() {
        machine.run(["sysctl", "-qw", "net.ipv4.ip_forward=1"]).unwrap();
    }
    cluster.kubectl().apply(&text).unwrap();
    wait_ready(&cluster);
    let stations = expect_pods_to_talk(&cluster);
    let addresses = || cluster.kubectl().run("get pods -o jsonpath={.items[*].status.podIP}").unwrap();
    let before = addresses();
    for direction in ["from-flannel", "to-flannel"] {
        let mut command = Command::new(Binaries::built().unwrap().find("towpathctl").unwrap());
        command.args(["migrate", direction, "--yes", "--pause=1", "--image", IMAGE]);
        command.arg("--kubeconfig").arg(cluster.kubectl().kubeconfig());
        let output = lab.switch().output(command, "").unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&said), pods(&cluster));
        wait_ready(&cluster);
        assert_eq!(addresses(), before);
        expect_to_talk(&stations);
    }
    // The same by kubectl alone.
    cluster.kubectl().apply(&manifest()).unwrap();
    wait_ready(&cluster);
    expect_to_talk(&stations);
    cluster.kubectl().run("rollout undo -n kube-flannel daemonset/kube-flannel-ds").unwrap();
    wait_ready(&cluster);
    let daemonset = cluster.kubectl().json("get daemonset -n kube-flannel kube-flannel-ds").unwrap();
    assert_eq!(daemonset["spec"]["template"]["spec"]["initContainers"].as_array().unwrap().len(), 2);
    assert_eq!(addresses(), before);
    expect_to_talk(&stations);
}
