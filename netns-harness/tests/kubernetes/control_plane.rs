//! A control plane alone.

use std::time::Duration;

use anyhow::ensure;
use ipam::Stack;
use netns_harness::kubernetes::{ControlPlaneOptions, EtcdVersion, Identity, NodeObject, Validity};
use netns_harness::{Lab, Signal, wait_for};

const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn a_control_plane_answers_on_its_nodes_and_keeps_its_objects_over_a_restart() {
    let lab = Lab::new("plane").unwrap();
    let api = lab.control_plane(&ControlPlaneOptions::default()).unwrap();
    let node = lab.node("alpha").unwrap();
    let object = NodeObject::of(&node).unwrap().pod_cidr("10.244.1.0/24".parse().unwrap()).annotation("a/b", "c");
    api.create_node(&object).unwrap();
    let seen = api.kubectl().json("get node alpha").unwrap();
    assert_eq!(seen["spec"]["podCIDR"], "10.244.1.0/24");
    assert_eq!(seen["status"]["addresses"][1]["address"], "2001:db8::11");

    let plain = api.plain_http().unwrap();
    assert!(api.station().get(plain, "/api/v1/nodes/alpha").unwrap().body.contains("10.244.1.0/24"));

    // The daemon's account sees nodes, and changes their status, and nothing more.
    let kubeconfig = api.daemon_kubeconfig().unwrap();
    let kubectl = |words: &str| {
        let words = words.split_whitespace().map(str::to_owned);
        let program = netns_harness::kubernetes::Programs::built().unwrap().path("kubectl").display().to_string();
        let cache = format!("--cache-dir={}", lab.directory().join("cache").display());
        let own = [program, format!("--kubeconfig={}", kubeconfig.display()), cache];
        node.run(own.into_iter().chain(words))
    };
    assert!(kubectl("get node alpha -o jsonpath={.spec.podCIDR}").unwrap() == "10.244.1.0/24");
    let error = kubectl("get secrets").unwrap_err().to_string() + &format!("{:#}", kubectl("get secrets").unwrap_err());
    assert!(error.contains("system:serviceaccount:kube-flannel:towpath"), "{error}");

    api.api_server().kill().unwrap();
    api.etcd().kill().unwrap();
    api.etcd().restart().unwrap();
    api.restart().unwrap();
    assert_eq!(api.kubectl().json("get node alpha").unwrap()["metadata"]["uid"], seen["metadata"]["uid"]);
}

#[test]
fn controllers_give_subnets_and_a_node_may_change_itself_alone() {
    let lab = Lab::new("controllers").unwrap();
    let pods = Stack::Dual { v4: "10.244.0.0/16".parse().unwrap(), v6: "fd44::/56".parse().unwrap() };
    let options = ControlPlaneOptions { pod_network: Some(pods), scheduler: true, ..ControlPlaneOptions::default() };
    let api = lab.control_plane(&options).unwrap();
    api.create_nodes(&["alpha", "beta"].map(NodeObject::named)).unwrap();
    api.kubectl()
        .wait_json("get node beta", LIMIT, |node| {
            let cidrs = node["spec"]["podCIDRs"].as_array().map_or(0, Vec::len);
            ensure!(cidrs == 2, "{cidrs} podCIDRs; {}", api.log_tails(5));
            Ok(())
        })
        .unwrap();
    let alpha = api.kubectl_as(&Identity::node("alpha")).unwrap();
    alpha.run("label node alpha mine=yes").unwrap();
    let error = alpha.run("label node beta mine=no").unwrap_err().to_string();
    assert!(error.contains("is forbidden"), "{error}");
}

#[test]
fn an_old_etcd_a_silent_server_a_compaction_and_an_expired_certificate_are_to_be_had() {
    let lab = Lab::new("oldetcd").unwrap();
    let control = lab.node("control").unwrap();
    let options = ControlPlaneOptions { etcd: EtcdVersion::Debian, ..ControlPlaneOptions::default() };
    let api = netns_harness::kubernetes::ControlPlane::start(&control, &options).unwrap();
    let list =
        "/api/v1/nodes?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let streaming = api.kubectl().words(["get", "--raw", &format!("{list}&timeoutSeconds=5")]);
    let said = format!("{streaming:?}");
    assert!(!said.contains("initial-events-end"), "etcd 3.4 cannot report progress: {said}");

    api.api_server().signal(Signal::STOP).unwrap();
    let error = api.kubectl().run("get nodes --request-timeout=1s").unwrap_err().to_string();
    assert!(error.contains("imeout") || error.contains("deadline"), "{error}");
    api.api_server().signal(Signal::CONT).unwrap();
    api.wait_ready().unwrap();

    api.kubectl().run("create namespace before").unwrap();
    let version = api.kubectl().json("get namespace before").unwrap()["metadata"]["resourceVersion"].clone();
    api.kubectl().run("create namespace after").unwrap();
    api.compact().unwrap();
    api.restart().unwrap();
    let version = version.as_str().unwrap();
    let watch = format!("/api/v1/namespaces?watch=1&resourceVersion={version}&timeoutSeconds=5");
    let watched = format!("{:?}", api.kubectl().words(["get", "--raw", &watch]));
    assert!(watched.contains("410") || watched.contains("too old resource version"), "{watched}");

    api.certify(Validity::Expired).unwrap();
    api.api_server().restart().unwrap();
    wait_for("a client to refuse", LIMIT, || {
        let error = api.kubectl().run("get nodes --request-timeout=5s").err().map(|error| error.to_string());
        ensure!(error.as_deref().is_some_and(|error| error.contains("expired")), "{error:?}");
        Ok(())
    })
    .unwrap();
}
