//! What is found in clusters as they are.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use serde_json::json;

use super::super::survey::PodView;
use super::*;

const NET_CONF: &str = r#"{"network": "10.244.0.0/16", "Backend": {"Type": "VXLAN"}}"#;

fn node(name: &str, third: u8) -> NodeView {
    let annotations = json!({
        "flannel.alpha.coreos.com/kube-subnet-manager": "true",
        "flannel.alpha.coreos.com/backend-type": "vxlan",
        "flannel.alpha.coreos.com/backend-data": "{\"VNI\":1,\"VtepMAC\":\"02:00:00:00:00:01\"}",
        "flannel.alpha.coreos.com/public-ip": "192.0.2.1",
    });
    let pod = PodView { name: format!("kube-flannel-{name}"), uid: "1".into(), daemon: Daemon::Flannel, ready: true };
    let pod_cidrs = vec![format!("10.244.{third}.0/24")];
    NodeView { name: name.to_owned(), ready: true, pod_cidrs, annotations, by_lease: false, pod: Some(pod) }
}

fn survey(net_conf: &str, nodes: Vec<NodeView>) -> Survey {
    let daemonset = json!({ "metadata": { "name": "kube-flannel-ds", "namespace": "kube-flannel" } });
    Survey { version: "v1.36.3".into(), daemonset, net_conf: Some(net_conf.to_owned()), nodes }
}

fn said(survey: &Survey) -> Vec<String> {
    check(survey).iter().map(|finding| format!("{}: {}", finding.weight, finding.sentence)).collect()
}

#[test]
fn a_sound_cluster_is_called_sound() {
    let said = said(&survey(NET_CONF, vec![node("alpha", 0), node("beta", 1)]));
    assert_eq!(said[0], "ok: network 10.244.0.0/16 by vxlan");
    assert_eq!(said[1], "ok: 2 nodes: subnet, address and annotations are as flannel writes them");
}

#[test]
fn another_backend_is_refused_and_so_is_none_which_is_udp() {
    for (backend, name) in [(r#", "Backend": {"type": "extension"}"#, "extension"), ("", "udp")] {
        let said = said(&survey(&format!(r#"{{"Network": "10.244.0.0/16"{backend}}}"#), Vec::new()));
        assert!(said.iter().any(|line| line.starts_with(&format!("NO: the backend is {name}"))), "{said:?}");
    }
    assert!(said(&survey("{", Vec::new()))[0].starts_with("NO: net-conf.json is not JSON"));
}

#[test]
fn each_thing_that_is_wrong_with_a_node_is_named() {
    let wrong = |change: &dyn Fn(&mut NodeView)| {
        let mut node = node("alpha", 0);
        change(&mut node);
        said(&survey(NET_CONF, vec![node])).join("\n")
    };
    let annotate = |key: &'static str, value: &'static str| {
        wrong(&|node| node.annotations[format!("flannel.alpha.coreos.com/{key}").as_str()] = json!(value))
    };
    assert!(wrong(&|node| node.pod_cidrs.clear()).contains("NO: alpha has no podCIDR: run the controller manager"));
    assert!(wrong(&|node| node.pod_cidrs[0] = "10.9.0.0/24".into()).contains("10.9.0.0/24 lies outside"));
    assert!(wrong(&|node| node.ready = false).contains("NO: alpha: the node is not ready"));
    assert!(wrong(&|node| node.pod.as_mut().unwrap().ready = false).contains("pod kube-flannel-alpha is not ready"));
    assert!(wrong(&|node| node.pod = None).contains("WARNING: alpha has no pod of kube-flannel-ds"));
    assert!(wrong(&|node| node.annotations = json!({})).contains("kube-subnet-manager: flannel has not run there"));
    assert!(annotate("backend-type", "udp").contains("published for the backend `udp`"));
    assert!(annotate("backend-data", "{}").contains("holds no VtepMAC"));
    assert!(annotate("public-ip", "nowhere").contains("is `nowhere`, which is no address"));
}

#[test]
fn annotations_are_looked_for_under_the_prefix_that_flannel_was_given() {
    let mut survey = survey(NET_CONF, vec![]);
    for (prefix, expected) in
        [("a.example", "a.example/x"), ("a.example/n", "a.example/n-x"), ("a.example/", "a.example/x")]
    {
        let container =
            json!({ "command": ["/opt/bin/flanneld"], "args": [format!("--kube-annotation-prefix={prefix}")] });
        survey.daemonset["spec"] = json!({ "template": { "spec": { "containers": [container] } } });
        assert_eq!(survey.annotation("x"), expected);
    }
}

#[test]
fn flannel_does_not_get_a_cluster_back_in_which_peers_look_elsewhere() {
    let mut nodes = vec![node("alpha", 0), node("beta", 1)];
    assert_eq!(check_back(&survey(NET_CONF, nodes.clone())), Vec::new());
    nodes[1].by_lease = true;
    let said = &check_back(&survey(NET_CONF, nodes))[0];
    assert_eq!(said.weight, Weight::Refusal);
    assert!(said.sentence.contains("beta") && said.sentence.contains("--peer-objects=nodes"), "{}", said.sentence);
}
