//! With `--peer-objects=leases`: who says what where, who hears it, and that nobody is lost between the two.

use ipam::NodeName;
use ipam::table::Record;
use netns_harness::kubernetes::{ControlPlane, ControlPlaneOptions};
use serde_json::{Value, json};
use towpathd::config::{KubernetesSettings, PeerObjects};
use towpathd::store::Wish;

use crate::ground::{annotate, annotations, bare, flannels, patch_status, published, settings, store, until, with_api};
use crate::node::{Node, claim, name, net, public};

fn by_leases(settings: &KubernetesSettings) -> KubernetesSettings {
    KubernetesSettings { peers: PeerObjects::Leases { namespace: "kube-flannel".to_owned() }, ..settings.clone() }
}

fn object(api: &ControlPlane, number: u16) -> Option<Value> {
    api.kubectl().json(&format!("get lease -n kube-flannel {}", name(number))).ok()
}

fn labelled(api: &ControlPlane, number: u16) -> bool {
    let node = api.kubectl().json(&format!("get node {}", name(number))).unwrap();
    node["metadata"]["labels"]["towpath.network/peer-object"] == "lease"
}

fn heartbeat(api: &ControlPlane, number: u16, beat: u16) {
    let condition = json!({ "type": "Ready", "status": "True", "message": beat.to_string() });
    patch_status(api, number, &json!({ "status": { "conditions": [condition] } }));
}

fn address_of(node: &Node, other: u16) -> Option<std::net::IpAddr> {
    Some(node.lease_of(&name(other))?.endpoints.values().next()?.public)
}

#[test]
fn nodes_tell_each_other_in_small_objects_and_nobody_else_is_lost() {
    with_api("kubeobjects", &ControlPlaneOptions::default(), async |api| {
        api.create_nodes(&[bare(1), bare(2), flannels(3), bare(4)]).unwrap();
        let whole = settings(api);
        api.allow_lease_objects().unwrap();
        let small = by_leases(&whole);
        let mut second = Node::holding(store(&small, 2), claim(2)).await;
        until("the label", || labelled(api, 2)).await;
        assert_eq!(annotations(api, 2), published(2, public(2)), "flannel's daemons are told as ever");
        let said = object(api, 2).unwrap();
        let node = api.kubectl().json("get node node-2").unwrap();
        assert_eq!(said["metadata"]["ownerReferences"][0]["uid"], node["metadata"]["uid"]);
        assert_eq!(said["metadata"]["annotations"]["towpath.network/pod-cidrs"], "10.244.2.0/24");

        // Each hears everybody: of the second by its object, of the third by its Node, of the fourth, which has no flag, too.
        let mut first = Node::holding(store(&small, 1), claim(1)).await;
        let fourth = Node::holding(store(&whole, 4), claim(4)).await;
        let everybody = |node: &Node| [1, 2, 3, 4].iter().all(|number| node.lease_of(&name(*number)).is_some());
        first.until("everybody", everybody).await;
        second.until("everybody", everybody).await;
        let mut fourth = fourth;
        fourth.until("everybody", everybody).await;
        for node in [&first, &second, &fourth] {
            assert_eq!(address_of(node, 2), Some(public(2)));
            assert_eq!(node.lease_of("node-2").unwrap().key, second.lease().key);
        }

        // What kubelets say is not heard any more of who has an object.
        until("the label", || labelled(api, 1)).await;
        let before = first.counted();
        for beat in 0..5 {
            heartbeat(api, 2, beat);
        }
        annotate(api, 3, "public-ip=203.0.113.3");
        first
            .until("the third to move", |node| address_of(node, 3).is_some_and(|it| it.to_string() == "203.0.113.3"))
            .await;
        let after = first.counted();
        assert!(after.received - before.received < 6_000, "{before:?} {after:?}");
        assert!(after.notices - before.notices <= 2, "{before:?} {after:?}");

        // Somebody takes the object away, or writes something else there.
        api.kubectl().run("delete lease -n kube-flannel node-2").unwrap();
        until("the object to be there again", || object(api, 2).is_some()).await;
        api.kubectl()
            .run("annotate --overwrite lease -n kube-flannel node-2 towpath.network/public-ip=203.0.113.9")
            .unwrap();
        until("the object to be right again", || {
            object(api, 2)
                .is_some_and(|it| it["metadata"]["annotations"]["towpath.network/public-ip"] == public(2).to_string())
        })
        .await;
        first.until("the second as it is", |node| address_of(node, 2) == Some(public(2))).await;
    });
}

#[test]
fn who_changes_sides_is_never_gone_and_is_followed_on_the_other() {
    with_api("kubesides", &ControlPlaneOptions::default(), async |api| {
        api.create_nodes(&[bare(1), bare(2)]).unwrap();
        let whole = settings(api);
        api.allow_lease_objects().unwrap();
        let small = by_leases(&whole);
        let mut first = Node::holding(store(&small, 1), claim(1)).await;
        let mut second = Node::holding(store(&whole, 2), claim(2)).await;
        first.until("the second", |node| node.lease_of("node-2").is_some()).await;
        let begun = first.log.len();
        for round in 0..3_u8 {
            second.kill();
            let (settings, apart) = if round % 2 == 0 { (&small, true) } else { (&whole, false) };
            let mut claim = claim(2);
            claim.published = claim
                .published
                .map(|_, it| towpathd::store::Published { public: [203, 0, 113, round].into(), ..it.clone() });
            second = Node::holding(store(settings, 2), claim).await;
            until("the label", || labelled(api, 2) == apart).await;
            let there = Some([203, 0, 113, round].into());
            first.until("the second where it is now", |node| address_of(node, 2) == there).await;
        }
        assert!(!first.log[begun..].iter().any(|line| line.contains("Gone")), "{:#?}", first.log);
        // Another that begins now sees the same.
        let mut third = Node::start(store(&small, 3));
        third.until("both", |node| node.leases().count() == 2).await;
        assert_eq!(address_of(&third, 2), address_of(&first, 2));
        // It gives its lease back.
        second.wish(Wish::Release);
        first.until("the second to be gone", |node| node.lease_of("node-2").is_none()).await;
        third.until("the second to be gone", |node| node.lease_of("node-2").is_none()).await;
        until("no label", || !labelled(api, 2)).await;
    });
}

#[test]
fn a_successor_of_the_same_name_and_subnet_is_not_hurt_by_what_its_predecessor_left() {
    with_api("kubeheir", &ControlPlaneOptions::default(), async |api| {
        api.create_nodes(&[bare(1), bare(2)]).unwrap();
        let small = by_leases(&settings(api));
        api.allow_lease_objects().unwrap();
        let mut first = Node::holding(store(&small, 1), claim(1)).await;
        let mut second = Node::holding(store(&small, 2), claim(2)).await;
        first.until("the second", |node| node.lease_of("node-2").is_some()).await;
        until("the label", || labelled(api, 2)).await;
        let old = second.lease().key.clone();
        // Nobody collects garbage here: the object stays as long as nobody writes it anew.
        api.kubectl().run("delete node node-2").unwrap();
        second.until("its loss to be told", |node| node.unassigned.is_some()).await;
        api.create_node(&bare(2)).unwrap();
        second.until("another lease", |node| node.mine.as_ref().is_some_and(|lease| lease.key != old)).await;
        let new = second.lease().key.clone();
        first
            .until("the successor alone", |node| {
                node.lease_of("node-2").is_some_and(|lease| lease.key == new) && node.records.len() == 2
            })
            .await;
        until("the label", || labelled(api, 2)).await;
        assert_eq!(first.lease_of("node-2").unwrap().subnet(ipam::Family::V4), Some(net("10.244.2.0/24")));
        // The Node of the second and its object go at once: it is gone, and not before.
        second.kill();
        api.kubectl().run("delete node node-2").unwrap();
        api.kubectl().run("delete lease -n kube-flannel node-2").unwrap();
        first
            .until("the second to be gone", |node| {
                node.records.values().all(|it| !matches!(it, Record::Lease(lease) if lease.key == new))
            })
            .await;
    });
}

#[test]
fn without_the_right_to_write_it_the_node_is_told_of_by_its_node_and_the_right_is_named() {
    with_api("kubeobjectless", &ControlPlaneOptions::default(), async |api| {
        api.create_nodes(&[bare(1), bare(2)]).unwrap();
        let small = by_leases(&settings(api));
        api.allow_lease_objects().unwrap();
        let mut first = Node::holding(store(&small, 1), claim(1)).await;
        let rule = r#"[{"op":"replace","path":"/rules/0/verbs","value":["get","list","watch"]}]"#;
        let words = ["patch", "role", "-n", "kube-flannel", "towpath-peers", "--type=json", "-p", rule];
        api.kubectl().words(words).unwrap();
        let mut second = Node::holding(store(&small, 2), claim(2)).await;
        second
            .until("the trouble", |node| {
                node.trouble.as_ref().is_some_and(|it| it.contains("Lease object of node node-2") && it.contains("403"))
            })
            .await;
        first.until("the second", |node| node.lease_of("node-2").is_some()).await;
        assert!(!labelled(api, 2) && object(api, 2).is_none());
        api.allow_lease_objects().unwrap();
        second.until("no trouble", |node| node.trouble.is_none()).await;
        until("the label", || labelled(api, 2)).await;
        assert!(!first.log.iter().any(|line| line.contains("Gone")), "{:#?}", first.log);
        assert_eq!(NodeName::new("node-2").unwrap(), first.lease_of("node-2").unwrap().node);
    });
}
