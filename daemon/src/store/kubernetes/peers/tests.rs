//! What is told of Nodes, and what is not.
#![allow(clippy::unwrap_used)]

use serde_json::json;

use super::*;

fn node(number: u8, public: &str, second: u8) -> Object {
    let key = |name: &str| format!("flannel.alpha.coreos.com/{name}");
    let annotations = json!({
        key("kube-subnet-manager"): "true", key("backend-type"): "vxlan", key("public-ip"): public,
        key("backend-data"): format!(r#"{{"VNI":1,"VtepMAC":"02:00:00:00:00:{number:02x}"}}"#),
    });
    let node = json!({
        "metadata": { "name": format!("node-{number}"), "uid": format!("uid-{number}"), "annotations": annotations,
            "creationTimestamp": format!("2026-11-21T12:00:{second:02}Z") },
        "spec": { "podCIDRs": [format!("10.244.{number}.0/24")] },
    });
    serde_json::from_str(&node.to_string()).unwrap()
}

fn peers() -> Peers {
    Peers::new(&AnnotationPrefix::default())
}

#[test]
fn the_same_again_is_nothing_new_and_a_change_is() {
    let mut peers = peers();
    assert!(matches!(peers.take(&node(1, "192.0.2.1", 0)).as_deref(), Some([Record::Lease(_)])));
    assert_eq!(peers.take(&node(1, "192.0.2.1", 0)), None);
    assert!(matches!(peers.take(&node(1, "192.0.2.9", 0)).as_deref(), Some([Record::Lease(_)])));
    assert!(matches!(peers.take(&node(1, "nobody", 0)).as_deref(), Some([Record::Garbage(..)])));
    let mut left = node(1, "nobody", 0);
    left.metadata.annotations.clear();
    assert!(matches!(peers.take(&left).as_deref(), Some([Record::Gone(_)])));
    assert_eq!(peers.take(&left), None);
    assert_eq!(peers.lose("uid-1"), None, "it was not shown");
    assert_eq!(peers.lose("uid-1"), None);
}

#[test]
fn who_is_not_in_a_whole_list_is_gone_and_nobody_before_it_is_whole() {
    let mut peers = peers();
    for number in 1..=3 {
        peers.take(&node(number, "192.0.2.1", 0));
    }
    peers.begin_list();
    assert_eq!(peers.take(&node(2, "192.0.2.1", 0)), None);
    peers.begin_list();
    assert_eq!(peers.take(&node(1, "192.0.2.1", 0)), None);
    peers.take(&node(4, "192.0.2.1", 0));
    let gone: Vec<String> = peers.absent().iter().map(|(key, name)| format!("{key} {name}")).collect();
    assert_eq!(gone, ["uid-2 node-2", "uid-3 node-3"]);
}

#[test]
fn the_older_of_two_with_one_subnet_is_the_others_rival() {
    let mut peers = peers();
    let (old, mut young) = (node(1, "192.0.2.1", 1), node(2, "192.0.2.2", 2));
    young.spec.pod_cidrs = vec!["10.244.1.128/25".into()];
    peers.take(&old);
    peers.take(&young);
    assert_eq!(&*peers.rival(&young, |_| true).unwrap().name, "node-1");
    assert_eq!(peers.rival(&old, |_| true), None);
    assert_eq!(peers.rival(&young, |uid| uid.as_str() != "uid-1"), None);
    peers.lose("uid-1");
    assert_eq!(peers.rival(&young, |_| true), None);
}

#[test]
fn only_what_is_judged_otherwise_is_seen_again_when_the_network_is_known() {
    let mut peers = peers();
    let net = |text: &str| Stack::V4(text.parse().unwrap());
    peers.take(&node(1, "192.0.2.1", 1));
    peers.take(&node(2, "nobody", 1));
    assert!(!peers.fit_in(net("10.244.0.0/16")), "one fits, and the garbage is garbage whatever the network");
    assert!(!peers.fit_in(net("10.244.0.0/16")));
    assert!(peers.fit_in(net("10.9.0.0/16")));
    assert!(matches!(peers.take(&node(1, "192.0.2.1", 1)).as_deref(), Some([Record::Garbage(..)])));
    assert!(peers.fit_in(net("10.244.0.0/16")), "what was garbage may be none");
    assert!(matches!(peers.take(&node(1, "192.0.2.1", 1)).as_deref(), Some([Record::Lease(_)])));
}

#[test]
fn who_is_reached_by_one_family_only_is_a_lease_and_a_complaint_where_both_are_wanted() {
    let mut peers = peers();
    let mut half = node(1, "192.0.2.1", 1);
    half.spec.pod_cidrs.push("fd44:0:0:1::/64".into());
    let four = Stack::V4("10.244.0.0/16".parse().unwrap());
    let both = Stack::Dual { v4: "10.244.0.0/16".parse().unwrap(), v6: "fd44::/56".parse().unwrap() };
    assert!(matches!(peers.take(&half).as_deref(), Some([Record::Lease(_)])), "nobody knows what is wanted");
    assert!(!peers.fit_in(four), "it has all that is wanted");
    assert!(peers.fit_in(both));
    let Some(records) = peers.take(&half) else { panic!("nothing new") };
    let [Record::Lease(lease), Record::Garbage(_, said)] = &records[..] else { panic!("{records:?}") };
    assert_eq!(lease.endpoints.families().collect::<Vec<_>>(), [Family::V4]);
    assert!(said.contains("node-1 is not reached by IPv6") && said.contains("public-ipv6"), "{said}");
    // Mended, it is a lease again and nothing else.
    half.metadata.annotations.push(("flannel.alpha.coreos.com/public-ipv6".into(), "2001:db8::1".into()));
    half.metadata
        .annotations
        .push(("flannel.alpha.coreos.com/backend-v6-data".into(), r#"{"VNI":1,"VtepMAC":"02:00:00:00:00:01"}"#.into()));
    assert!(matches!(peers.take(&half).as_deref(), Some([Record::Lease(lease)]) if lease.endpoints.has(Family::V6)));
}
