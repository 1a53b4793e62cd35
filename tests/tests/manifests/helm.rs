//! A release of flannel's chart becomes one of ours and can go back, by Helm, on a real API server.

use netns_harness::Lab;
use netns_harness::kubernetes::ControlPlaneOptions;

use super::objects::{helm, repository};

const FLANNEL: &str = include_str!("flannel.yml");

/// As docs/migrate-from-flannel.md says. No kubelet is there: which pods come is another test's.
#[test]
fn an_upgrade_takes_the_place_of_a_release_of_flannels_and_a_rollback_gives_it_back() {
    let manual = std::fs::read_to_string(repository("docs/migrate-from-flannel.md")).unwrap();
    let selector = r#"flannel.selectorLabels={"app":"flannel","k8s-app":null,"tier":"node"}"#;
    assert!(manual.contains(&format!("--set-json '{selector}'")) && manual.contains("--reset-then-reuse-values"));
    let lab = Lab::new("helm").unwrap();
    let api = lab.control_plane(&ControlPlaneOptions::default()).unwrap();
    let kubectl = api.kubectl();
    kubectl.run("create namespace kube-flannel").unwrap();
    // What flannel's chart makes, with the selector that it has.
    let stand_in = lab.directory().join("kube-flannel");
    std::fs::create_dir_all(stand_in.join("templates")).unwrap();
    std::fs::write(stand_in.join("Chart.yaml"), "apiVersion: v2\nname: kube-flannel\nversion: 0.28.9\n").unwrap();
    let text =
        FLANNEL.replace("{matchLabels: {app: flannel, k8s-app: flannel}}", "{matchLabels: {app: flannel, tier: node}}");
    let (_, objects) = text.split_once("---\n").unwrap();
    assert!(objects.contains("{matchLabels: {app: flannel, tier: node}}") && !objects.contains("kind: Namespace"));
    std::fs::write(stand_in.join("templates/all.yaml"), objects).unwrap();

    let by_helm = |words: &[&str]| {
        let kubeconfig = kubectl.kubeconfig().to_str().unwrap();
        let words: Vec<&str> =
            words.iter().copied().chain(["--namespace", "kube-flannel", "--kubeconfig", kubeconfig]).collect();
        let said = lab.switch().namespace().within(|| Ok(helm(&words))).unwrap();
        said.unwrap_or_else(|error| panic!("{words:?}: {error}"))
    };
    let uid = || kubectl.run("get daemonset -n kube-flannel kube-flannel-ds -o jsonpath={.metadata.uid}").unwrap();
    let command = || {
        let path = "{.spec.template.spec.containers[0].command[0]}";
        kubectl.run(&format!("get daemonset -n kube-flannel kube-flannel-ds -o jsonpath={path}")).unwrap()
    };
    by_helm(&["install", "flannel", stand_in.to_str().unwrap()]);
    let (before, flanneld) = (uid(), command());
    assert!(flanneld.ends_with("/flanneld"), "{flanneld}");
    by_helm(&["upgrade", "flannel", ".", "--reset-then-reuse-values", "--set-json", selector]);
    assert_eq!((uid(), command()), (before.clone(), "/opt/bin/towpathd".to_owned()), "the same DaemonSet");
    kubectl.run("get clusterrole towpath").unwrap();
    by_helm(&["rollback", "flannel", "1"]);
    assert_eq!((uid(), command()), (before, flanneld));
    kubectl.run("get clusterrole flannel").unwrap();
}
