//! A real API server takes what is installed: every field known, every object valid, the rights as they are meant.

use std::path::Path;
use std::time::Duration;

use netns_harness::kubernetes::{ControlPlane, ControlPlaneOptions, Identity, NodeObject};
use netns_harness::{Lab, wait_for};
use serde_json::json;

use super::objects::{chart, manifest, repository};

fn api(name: &str) -> (Lab, ControlPlane) {
    let lab = Lab::new(name).unwrap();
    let api = lab.control_plane(&ControlPlaneOptions::default()).unwrap();
    (lab, api)
}

const FLANNEL: &str = include_str!("flannel.yml");

#[test]
fn every_form_is_taken_strictly_and_the_manifest_takes_flannels_place() {
    let (_lab, api) = api("strict");
    let kubectl = api.kubectl();
    let strictly = |text: &str| kubectl.feed(["apply", "--validate=strict", "-f", "-"], text).unwrap();
    // On a cluster with flannel, as kubectl apply does it: by what was applied last.
    strictly(FLANNEL);
    let said = strictly(&manifest());
    assert!(said.contains("daemonset.apps/kube-flannel-ds configured"), "{said}");
    let daemonset = kubectl.json("get daemonset -n kube-flannel kube-flannel-ds").unwrap();
    let pod = &daemonset["spec"]["template"]["spec"];
    assert_eq!(pod.get("initContainers"), None);
    assert_eq!(pod["containers"].as_array().unwrap().len(), 1);
    assert_eq!(pod["containers"][0]["env"].as_array().unwrap().len(), 1);
    assert!(pod["volumes"].as_array().unwrap().iter().all(|volume| volume["name"] != "xtables-lock"));
    // And back.
    let said = strictly(FLANNEL);
    assert!(said.contains("daemonset.apps/kube-flannel-ds configured"), "{said}");
    let daemonset = kubectl.json("get daemonset -n kube-flannel kube-flannel-ds").unwrap();
    assert_eq!(daemonset["spec"]["template"]["spec"]["initContainers"].as_array().unwrap().len(), 2);
    // The chart, onto a server that has none of it.
    kubectl.run("delete daemonset -n kube-flannel kube-flannel-ds").unwrap();
    strictly(&chart(&["ownNodeOnly=true", "peerObjects=\"leases\"", "podCidrv6=\"fd44::/56\""]).unwrap());
}

#[test]
fn the_daemon_may_do_what_it_does_and_nothing_else() {
    let (_lab, api) = api("rights");
    api.kubectl().apply(&manifest()).unwrap();
    let account = "system:serviceaccount:kube-flannel:flannel";
    let may = |words: &str| {
        let words = format!("auth can-i {words} --as={account} -q");
        api.kubectl().run(&words).is_ok()
    };
    for right in ["list nodes", "watch nodes", "get nodes", "patch nodes --subresource=status"] {
        assert!(may(right), "{right}");
    }
    for right in ["create events -n default", "patch events -n default"] {
        assert!(may(right), "{right}");
    }
    let not = [
        "update nodes",
        "patch nodes",
        "delete nodes",
        "get pods -A",
        "get secrets -A",
        "create events -n kube-system",
    ];
    for right in not.into_iter().chain(["get configmaps -n kube-flannel", "create pods -n kube-flannel", "*  *"]) {
        assert!(!may(right), "{right}");
    }
}

#[test]
fn a_token_bound_to_a_node_patches_that_node_alone() {
    let (_lab, api) = api("bound");
    let kubectl = api.kubectl();
    kubectl.apply(&manifest()).unwrap();
    let policy = std::fs::read_to_string(repository("manifests/towpath-own-node.yml")).unwrap();
    kubectl.feed(["apply", "--validate=strict", "-f", "-"], &policy).unwrap();
    for name in ["alpha", "beta"] {
        api.create_node(&NodeObject::named(name)).unwrap();
    }
    // kubectl looks at what it patches, the daemon does not.
    kubectl.run("create clusterrole look --verb=get --resource=nodes/status").unwrap();
    kubectl.run("create clusterrolebinding look --clusterrole=look --serviceaccount=kube-flannel:flannel").unwrap();
    let patch = |kubeconfig: &Path, node: &str, patch: &str| {
        let words = ["patch", "node", node, "--subresource=status", "--type=merge", "-p", patch];
        // Of two the later one wins.
        kubectl.words(["--kubeconfig", kubeconfig.to_str().unwrap()].into_iter().chain(words))
    };
    // As a pod's token says where it runs: bound to the Node itself, for which no kubelet is needed.
    let token = kubectl.run("create token flannel -n kube-flannel --bound-object-kind=Node --bound-object-name=alpha");
    let daemon = api.token_kubeconfig("alpha-daemon", token.unwrap().trim()).unwrap();
    let annotation = r#"{"metadata":{"annotations":{"flannel.alpha.coreos.com/public-ip":"192.0.2.9"}}}"#;
    // The policy is compiled some moments after it was made.
    let refused =
        wait_for("the policy to be in force", Duration::from_secs(30), || match patch(&daemon, "beta", annotation) {
            Ok(_) => anyhow::bail!("patched"),
            Err(refused) => Ok(refused.to_string()),
        });
    assert!(refused.as_ref().unwrap().contains("may write to the Node it runs on"), "{refused:?}");
    patch(&daemon, "alpha", annotation).unwrap();
    let label = r#"{"metadata":{"labels":{"node-role.kubernetes.io/control-plane":""}}}"#;
    let refused = patch(&daemon, "alpha", label).unwrap_err().to_string();
    assert!(refused.contains("may not change the labels"), "{refused}");
    let own_label = r#"{"metadata":{"labels":{"towpath.network/peer-object":"lease"}}}"#;
    patch(&daemon, "alpha", own_label).unwrap();
    let refused = patch(&daemon, "beta", own_label).unwrap_err().to_string();
    assert!(refused.contains("may write to the Node it runs on"), "{refused}");
    // The objects of its own likewise.
    let rights = std::fs::read_to_string(repository("manifests/towpath-peer-leases.yml")).unwrap();
    kubectl.feed(["apply", "--validate=strict", "-f", "-"], &rights).unwrap();
    let object = |node: &str| {
        let object = json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": { "name": node, "namespace": "kube-flannel", "annotations": { "towpath.network/pod-cidrs": "10.244.0.0/24" } } });
        let words = ["--kubeconfig", daemon.to_str().unwrap(), "apply", "--server-side", "-f", "-"];
        kubectl.feed(words, &object.to_string())
    };
    object("alpha").unwrap();
    object("alpha").unwrap();
    let refused = object("beta").unwrap_err().to_string();
    assert!(refused.contains("may write to the Node it runs on"), "{refused}");
    // Whoever else may write to Nodes is not concerned.
    patch(&api.kubeconfig(&Identity::administrator()).unwrap(), "beta", annotation).unwrap();
}
