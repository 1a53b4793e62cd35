//! A control plane in a lab, this test's thread beside it, and the objects that stand there.

use std::net::IpAddr;
use std::time::Duration;

use ipam::NodeName;
use netns_harness::Lab;
use netns_harness::kubernetes::{ControlPlane, ControlPlaneOptions, NodeObject};
use serde_json::{Value, json};
use towpathd::config::kube::AnnotationPrefix;
use towpathd::config::{KubernetesSettings, PeerObjects};
use towpathd::store::Store;
use towpathd::store::kubernetes::Kubernetes;

use crate::node::{PATIENCE, mac, name, net, public};

pub const PREFIX: &str = "flannel.alpha.coreos.com";

/// Runs a test where the API server answers.
pub fn with_api(of: &str, options: &ControlPlaneOptions, test: impl AsyncFnOnce(&ControlPlane) + Send) {
    let lab = Lab::new(of).unwrap();
    let api = lab.control_plane(options).unwrap();
    let inside = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(test(&api));
        runtime.shutdown_background();
        Ok(())
    };
    if let Err(error) = lab.switch().namespace().within(inside) {
        panic!("{error:#}\n{}", api.log_tails(5));
    }
}

/// How the daemon reaches it: as flannel's service account.
pub fn settings(api: &ControlPlane) -> KubernetesSettings {
    KubernetesSettings {
        api_url: None,
        service: None,
        kubeconfig: Some(api.daemon_kubeconfig().unwrap()),
        annotations: AnnotationPrefix::default(),
        keeps_condition: true,
        peers: PeerObjects::Nodes,
        own_pod: None,
    }
}

/// The store of node `number`.
pub fn store(settings: &KubernetesSettings, number: u16) -> Store {
    Store::Kubernetes(Kubernetes::new(settings, &NodeName::new(&name(number)).unwrap()))
}

/// A Node object with a pod CIDR and nothing else.
pub fn bare(number: u16) -> NodeObject {
    NodeObject::named(&name(number)).pod_cidr(net(&format!("10.244.{number}.0/24")))
}

/// A Node object as flannel leaves it.
pub fn flannels(number: u16) -> NodeObject {
    let data = format!(r#"{{"VNI":1,"VtepMAC":"{}"}}"#, mac(number));
    let key = |name: &str| format!("{PREFIX}/{name}");
    bare(number)
        .annotation(key("kube-subnet-manager"), "true")
        .annotation(key("backend-type"), "vxlan")
        .annotation(key("backend-data"), data)
        .annotation(key("public-ip"), public(number).to_string())
}

/// The annotations of a Node under flannel's prefix, without it.
pub fn annotations(api: &ControlPlane, number: u16) -> Value {
    let node = api.kubectl().json(&format!("get node {}", name(number))).unwrap();
    let all = node["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
    let ours = all.into_iter().filter_map(|(key, value)| Some((key.strip_prefix(PREFIX)?.get(1..)?.to_owned(), value)));
    Value::Object(ours.collect())
}

/// What a node of ours has there.
pub fn published(number: u16, address: IpAddr) -> Value {
    json!({
        "kube-subnet-manager": "true",
        "backend-type": "vxlan",
        "backend-data": format!(r#"{{"VNI":1,"VtepMAC":"{}"}}"#, mac(number)),
        "public-ip": address.to_string(),
    })
}

/// `kubectl annotate node`.
pub fn annotate(api: &ControlPlane, number: u16, what: &str) {
    api.kubectl().run(&format!("annotate --overwrite node {} {PREFIX}/{what}", name(number))).unwrap();
}

/// Lets the store work until the API shows something.
pub async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !so() {
        assert!(std::time::Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The condition NetworkUnavailable of a Node: status, reason, message.
pub fn condition(api: &ControlPlane, number: u16) -> Option<[String; 3]> {
    let node = api.kubectl().json(&format!("get node {}", name(number))).unwrap();
    let all = node["status"]["conditions"].as_array()?.clone();
    let one = all.into_iter().find(|condition| condition["type"] == "NetworkUnavailable")?;
    Some(["status", "reason", "message"].map(|member| one[member].as_str().unwrap_or_default().to_owned()))
}

/// Patches a Node's status as a kubelet would.
pub fn patch_status(api: &ControlPlane, number: u16, patch: &Value) {
    let (name, patch) = (name(number), patch.to_string());
    api.kubectl().words(["patch", "node", &name, "--subresource=status", "--type=strategic", "-p", &patch]).unwrap();
}
