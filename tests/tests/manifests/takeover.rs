//! `towpathctl` against a real API server with its controllers: installing on a new cluster, taking flannel's place node by
//! node, stopping where a node is not well, and the way back.

use std::process::{Command, Output};
use std::time::Duration;

use netns_harness::kubernetes::{ControlPlane, ControlPlaneOptions, Identity, NodeObject};
use netns_harness::{Binaries, Lab, wait_for};
use serde_json::{Value, json};

use super::kubelets::{Kubelets, SICK};
use super::objects::{Objects, manifest};

const FLANNEL: &str = include_str!("flannel.yml");
const LIMIT: Duration = Duration::from_secs(60);

struct Ground {
    api: ControlPlane,
    _lab: Lab,
}

impl Ground {
    fn new(name: &str) -> Ground {
        let lab = Lab::new(name).unwrap();
        let mut options = ControlPlaneOptions { scheduler: true, ..ControlPlaneOptions::default() };
        options.pod_network = Some(ipam::Stack::V4("10.42.0.0/16".parse().unwrap()));
        // Nobody beats these nodes' hearts.
        options.controller_flags = vec!["--node-monitor-grace-period=2h".into()];
        Ground { api: lab.control_plane(&options).unwrap(), _lab: lab }
    }

    /// A node as flannel leaves it.
    fn node(&self, name: &str, mac: u8) {
        let annotate = |node: NodeObject, key: &str, value: &str| {
            node.annotation(format!("flannel.alpha.coreos.com/{key}"), value)
        };
        let data = format!(r#"{{"VNI":1,"VtepMAC":"02:00:00:00:00:0{mac}"}}"#);
        let mut node = NodeObject::named(name);
        for (key, value) in [
            ("kube-subnet-manager", "true"),
            ("backend-type", "vxlan"),
            ("backend-data", &data),
            ("public-ip", "192.0.2.9"),
        ] {
            node = annotate(node, key, value);
        }
        self.api.create_node(&node).unwrap();
        let conditions = json!([{ "type": "Ready", "status": "True" }]);
        let resources = json!({ "cpu": "8", "memory": "8Gi", "pods": "110" });
        let status = json!({ "conditions": conditions, "allocatable": resources, "capacity": resources });
        let patch = json!({ "status": status }).to_string();
        let kubectl = self.api.kubectl();
        kubectl.words(["patch", "node", name, "--subresource=status", "-p", &patch]).unwrap();
        kubectl.run(&format!("label node {name} kubernetes.io/os=linux")).unwrap();
    }

    fn towpathctl(&self, words: &[&str]) -> Output {
        let program = Binaries::built().unwrap().find("towpathctl").unwrap();
        let mut command = Command::new(program);
        command.args(words).arg("--kubeconfig").arg(self.api.kubeconfig(&Identity::administrator()).unwrap());
        self.api.station().output(command, "").unwrap()
    }

    fn done(&self, words: &[&str]) -> String {
        let output = self.towpathctl(words);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{words:?}: {}\n{out}{err}", output.status);
        out
    }

    /// The image that each node's pod has, once all are ready.
    fn images(&self, nodes: usize) -> Vec<(String, String)> {
        let look = || {
            let pods = self.api.kubectl().json("get pods -n kube-flannel")?;
            let mut images: Vec<_> = pods["items"].as_array().into_iter().flatten().filter_map(image).collect();
            images.sort();
            anyhow::ensure!(images.len() == nodes, "{images:?}");
            Ok(images)
        };
        wait_for("all pods to be ready", LIMIT, look).unwrap()
    }

    fn daemonset(&self) -> Value {
        self.api.kubectl().json("get daemonset -n kube-flannel kube-flannel-ds").unwrap()
    }
}

fn image(pod: &Value) -> Option<(String, String)> {
    let running = pod["status"]["phase"] == "Running" && pod["metadata"]["deletionTimestamp"].is_null();
    let word = |value: &Value| value.as_str().map(str::to_owned);
    running.then_some((word(&pod["spec"]["nodeName"])?, word(&pod["spec"]["containers"][0]["image"])?))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn flannel_is_replaced_node_by_node_and_comes_back() {
    let ground = Ground::new("takeover");
    let kubectl = ground.api.kubectl();
    (1..=3).for_each(|number| ground.node(["alpha", "beta", "gamma"][number - 1], number as u8));
    kubectl.apply(FLANNEL).unwrap();
    let _kubelets = Kubelets::start(kubectl.clone());
    let before = ground.images(3);
    let untouched = ground.daemonset();

    // To look changes nothing, and says so by its exit status.
    let looked = ground.towpathctl(&["migrate", "from-flannel", "--dry-run"]);
    let said = text(&looked.stdout);
    assert_eq!(looked.status.code(), Some(1), "{said}{}", text(&looked.stderr));
    assert!(said.contains("ok       network 10.42.0.0/16 by vxlan"), "{said}");
    assert!(said.contains("beta (10.42.") && said.contains("flanneld stops, towpathd starts"), "{said}");
    assert_eq!(ground.daemonset()["metadata"]["generation"], untouched["metadata"]["generation"]);
    // Without a terminal there is nobody to ask.
    let unasked = ground.towpathctl(&["migrate", "from-flannel"]);
    assert!(text(&unasked.stderr).contains("--yes"), "{}", text(&unasked.stderr));
    let refused = ground.towpathctl(&["install"]);
    assert!(text(&refused.stderr).contains("migrate from-flannel"), "{}", text(&refused.stderr));

    // One node first; the others go on with flannel.
    let said = ground.done(&["migrate", "from-flannel", "--yes", "--pause=1", "--nodes=beta"]);
    assert!(said.contains("beta: towpathd is ready after") && said.contains("2 nodes are still to be done"), "{said}");
    let images = ground.images(3);
    assert!(images[1].1.contains("towpath") && images[0] == before[0] && images[2] == before[2], "{images:?}");
    assert_eq!(ground.daemonset()["spec"]["updateStrategy"]["type"], "OnDelete");
    // Then the rest: what is done is not done again.
    let said = ground.done(&["migrate", "from-flannel", "--yes", "--pause=0"]);
    assert!(
        said.contains("beta") && said.contains("runs towpathd already") && said.contains("All nodes run towpathd"),
        "{said}"
    );
    assert!(ground.images(3).iter().all(|(_, image)| image.contains("towpath")));
    let daemonset = ground.daemonset();
    assert_eq!(daemonset["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"], "10%");
    let arguments = daemonset["spec"]["template"]["spec"]["containers"][0]["args"].clone();
    assert!(arguments.as_array().unwrap().contains(&json!("--iface=eth1")), "{arguments}");
    kubectl.run("auth can-i create events -n default --as=system:serviceaccount:kube-flannel:flannel -q").unwrap();
    let said = ground.done(&["migrate", "from-flannel"]);
    assert!(said.contains("There is nothing to do"), "{said}");

    // The way back.
    let said = ground.done(&["migrate", "to-flannel", "--yes", "--pause=0"]);
    assert!(said.contains("All nodes run flanneld"), "{said}");
    assert_eq!(ground.images(3), before);
    let after = ground.daemonset();
    assert_eq!(after["spec"]["template"], untouched["spec"]["template"]);
    assert_eq!(after["spec"]["updateStrategy"], untouched["spec"]["updateStrategy"]);
}

#[test]
fn a_node_that_is_not_well_afterwards_ends_it() {
    let ground = Ground::new("gate");
    let kubectl = ground.api.kubectl();
    [("alpha", 1), (SICK, 2), ("zeta", 3)].into_iter().for_each(|(name, mac)| ground.node(name, mac));
    kubectl.apply(FLANNEL).unwrap();
    let _kubelets = Kubelets::start(kubectl.clone());
    ground.images(3);
    let output = ground.towpathctl(&["migrate", "from-flannel", "--yes", "--pause=0", "--patience=5"]);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("sick: pod kube-flannel-ds-") && error.contains("is not ready"), "{error}");
    assert!(error.contains("migrate to-flannel"), "{error}");
    let images = ground.images(2);
    assert!(images[0].1.contains("towpath") && images[1] == ("zeta".into(), "registry.example/flannel:v0.28.9".into()));
    let said = ground.done(&["migrate", "to-flannel", "--yes", "--pause=0"]);
    assert!(said.contains("All nodes run flanneld"), "{said}");
    assert!(ground.images(3).iter().all(|(_, image)| image == "registry.example/flannel:v0.28.9"));
}

#[test]
fn what_cannot_be_taken_over_is_refused_before_anything_is_touched() {
    let ground = Ground::new("refusal");
    let kubectl = ground.api.kubectl();
    let none = ground.towpathctl(&["migrate", "from-flannel", "--yes"]);
    assert!(text(&none.stderr).contains("no DaemonSet of this cluster runs flannel"), "{}", text(&none.stderr));
    ground.node("alpha", 1);
    kubectl.apply(&FLANNEL.replace(r#""Type": "vxlan""#, r#""Type": "udp""#)).unwrap();
    let _kubelets = Kubelets::start(kubectl.clone());
    ground.images(1);
    let output = ground.towpathctl(&["migrate", "from-flannel", "--yes"]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("NO       the backend is udp"), "{said}");
    assert_eq!(ground.daemonset()["metadata"]["generation"], 1);
    let back = ground.towpathctl(&["migrate", "to-flannel", "--yes"]);
    assert!(text(&back.stdout).contains("There is nothing to do"), "{}", text(&back.stderr));
}

#[test]
fn a_new_cluster_gets_the_manifest_with_its_own_network() {
    let ground = Ground::new("install");
    let kubectl = ground.api.kubectl();
    let unknown = ground.towpathctl(&["install", "--dry-run"]);
    assert!(text(&unknown.stderr).contains("--pod-cidr"), "{}", text(&unknown.stderr));
    // As kubeadm leaves it.
    let configuration =
        "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nnetworking:\n  podSubnet: 10.42.0.0/16\n";
    let flag = format!("--from-literal=ClusterConfiguration={configuration}");
    kubectl.words(["create", "configmap", "-n", "kube-system", "kubeadm-config", &flag]).unwrap();
    let printed = Objects::read(&ground.done(&["install", "--dry-run"]));
    assert_eq!(printed.net_conf()["Network"], "10.42.0.0/16");
    assert!(kubectl.run("get namespace kube-flannel").is_err(), "a dry run has made something");
    let said = ground.done(&["install", "--image=registry.example/towpath:v1", "--argument=--v=2"]);
    assert!(said.contains("daemonset kube-flannel-ds applied"), "{said}");
    let container = ground.daemonset()["spec"]["template"]["spec"]["containers"][0].clone();
    assert_eq!(container["image"], "registry.example/towpath:v1");
    assert!(container["args"].as_array().unwrap().contains(&json!("--v=2")));
    for (kind, name) in Objects::read(&manifest()).0.into_keys() {
        let namespace = if name == "towpath" { "default" } else { "kube-flannel" };
        kubectl.run(&format!("get {kind} {name} -n {namespace}")).unwrap();
    }
    // Again, with a configuration that was edited meanwhile: it stays.
    let edited = r#"{"data":{"net-conf.json":"{\"Network\": \"10.42.0.0/16\", \"Backend\": {\"Type\": \"vxlan\", \"MTU\": 1400}}"}}"#;
    kubectl.words(["patch", "configmap", "-n", "kube-flannel", "kube-flannel-cfg", "-p", edited]).unwrap();
    let refused = ground.towpathctl(&["install", "--mtu=1300"]);
    assert!(text(&refused.stderr).contains("which stays as it is"), "{}", text(&refused.stderr));
    ground.done(&["install"]);
    let map = kubectl.json("get configmap -n kube-flannel kube-flannel-cfg").unwrap();
    assert!(map["data"]["net-conf.json"].as_str().unwrap().contains("1400"), "{map}");
}

#[test]
fn as_a_plugin_of_kubectl_it_is_called_by_kubectls_name() {
    let directory = std::env::temp_dir().join(format!("kubectl-towpath-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let link = directory.join("kubectl-towpath");
    std::os::unix::fs::symlink(Binaries::built().unwrap().find("towpathctl").unwrap(), &link).unwrap();
    let help = Command::new(&link).args(["migrate", "--help"]).output().unwrap();
    std::fs::remove_dir_all(directory).unwrap();
    assert!(text(&help.stdout).contains("Usage: kubectl towpath migrate"), "{}", text(&help.stdout));
}
