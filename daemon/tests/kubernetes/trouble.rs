//! What is taken away, and comes back.

use netns_harness::kubernetes::{ControlPlaneOptions, Validity};
use towpathd::config::{KubernetesSettings, OwnPod};
use towpathd::store::Wish;
use towpathd::store::kubernetes::{cluster, node_name};

use crate::ground::{annotations, bare, flannels, published, settings, store, with_api};
use crate::node::{Node, claim, public};

#[test]
fn rights_that_are_taken_away_are_named_survived_and_used_again() {
    with_api("kuberights", &ControlPlaneOptions::default(), async |api| {
        api.create_nodes(&[bare(1), flannels(2)]).unwrap();
        let settings = settings(api);
        let role = api.kubectl().run("get clusterrole towpath -o yaml").unwrap();
        api.kubectl().run("delete clusterrole towpath").unwrap();
        let mut node = Node::start_with(store(&settings, 1), Wish::Hold(claim(1)));
        node.until("the trouble", |node| {
            node.trouble.as_ref().is_some_and(|it| it.contains("403") && it.contains("patch nodes/status"))
        })
        .await;
        assert!(node.log.iter().any(|line| line.starts_with("Refusal(")), "it answers: {:#?}", node.log);
        api.kubectl().apply(&role).unwrap();
        node.until("a lease", |node| node.mine.is_some() && node.trouble.is_none()).await;
        assert_eq!(annotations(api, 1), published(1, public(1)));
    });
}

#[test]
fn a_token_is_read_again_when_it_is_refused_and_an_unknown_authority_is_named() {
    with_api("kubetoken", &ControlPlaneOptions::default(), async |api| {
        api.create_node(&bare(1)).unwrap();
        let good = settings(api);
        let path = api.token_kubeconfig("worn", "worn-out").unwrap();
        let worn = KubernetesSettings { kubeconfig: Some(path), ..good.clone() };
        let mut node = Node::start_with(store(&worn, 1), Wish::Hold(claim(1)));
        node.until("the trouble", |node| node.trouble.as_ref().is_some_and(|it| it.contains("401"))).await;
        let token = api.service_account_token("kube-flannel", "towpath").unwrap();
        api.token_kubeconfig("worn", &token).unwrap();
        node.until("a lease", |node| node.mine.is_some() && node.trouble.is_none()).await;
        assert_eq!(cluster(&worn), cluster(&good), "the same cluster");

        let text = std::fs::read_to_string(good.kubeconfig.as_ref().unwrap()).unwrap();
        let line = text.lines().find(|line| line.contains("certificate-authority")).unwrap();
        let strange = good.kubeconfig.as_ref().unwrap().with_extension("strange");
        std::fs::write(&strange, text.replace(&format!("{line}\n"), "")).unwrap();
        let strange = KubernetesSettings { kubeconfig: Some(strange), ..good.clone() };
        let mut node = Node::start(store(&strange, 1));
        node.until("the trouble", |node| node.trouble.as_ref().is_some_and(|it| it.contains("certificate"))).await;
        assert_ne!(cluster(&strange), cluster(&good));
    });
}

#[test]
fn a_server_whose_certificate_has_expired_is_named_and_used_again_when_it_has_another() {
    with_api("kubeexpired", &ControlPlaneOptions::default(), async |api| {
        api.create_nodes(&[bare(1), flannels(2)]).unwrap();
        let mut node = Node::holding(store(&settings(api), 1), claim(1)).await;
        node.until("both", |node| node.leases().count() == 2).await;
        let begun = node.log.len();
        api.certify(Validity::Expired).unwrap();
        api.api_server().restart().unwrap();
        node.until("the trouble", |node| {
            node.trouble.as_ref().is_some_and(|it| it.contains("expired") && it.contains("clocks"))
        })
        .await;
        api.certify(Validity::Days(1)).unwrap();
        api.restart().unwrap();
        node.until("no trouble", |node| node.trouble.is_none()).await;
        assert!(!node.log[begun..].iter().any(|line| line.contains("Gone") || line.contains("snapshot")));
    });
}

#[test]
fn the_own_pod_says_on_which_node_it_runs() {
    with_api("kubepod", &ControlPlaneOptions::default(), async |api| {
        api.create_node(&bare(1)).unwrap();
        let own_pod = Some(OwnPod { namespace: "kube-flannel".to_owned(), name: "towpath-x".to_owned() });
        let settings = KubernetesSettings { own_pod, ..settings(api) };
        let sentence = node_name(&settings).await.unwrap_err().to_string();
        assert!(sentence.contains("kube-flannel/towpath-x") && sentence.contains("NODE_NAME"), "{sentence}");
        let pod = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"towpath-x","namespace":"kube-flannel"},
            "spec":{"nodeName":"node-1","serviceAccountName":"towpath","containers":[{"name":"a","image":"b"}]}}"#;
        api.kubectl().feed(["create", "-f", "-"], pod).unwrap();
        assert_eq!(node_name(&settings).await.unwrap().as_str(), "node-1");
        api.api_server().kill().unwrap();
        let sentence = node_name(&settings).await.unwrap_err().to_string();
        assert!(sentence.contains("cannot be reached"), "{sentence}");
    });
}
