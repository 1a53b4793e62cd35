//! What is kept of an object, and that nothing else matters.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn decode(value: &Value) -> Object {
    serde_json::from_str(&value.to_string()).unwrap()
}

fn whole() -> Value {
    json!({
        "kind": "Node", "apiVersion": "v1",
        "metadata": {
            "name": "worker", "uid": "u-1", "resourceVersion": "77", "creationTimestamp": "2026-11-21T12:00:00Z",
            "labels": { "a": "b" },
            "annotations": { "z.example/public-ip": "192.0.2.1", "other": "x".repeat(1000), "z.example/backend-data": "null" },
            "managedFields": [{ "manager": "kubelet", "fieldsV1": { "f:metadata": { "f:annotations": {} } } }],
        },
        "spec": { "podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24", "fd00::/64"], "taints": [{ "key": "k" }] },
        "status": {
            "capacity": { "cpu": "2" },
            "conditions": [
                { "type": "Ready", "status": "True" },
                { "type": "NetworkUnavailable", "status": "True", "reason": "R", "message": "M", "lastHeartbeatTime": null },
            ],
            "images": [{ "names": ["a"], "sizeBytes": 1 }],
        },
    })
}

#[test]
fn of_a_node_the_names_annotations_cidrs_and_one_condition_are_kept() {
    let node = decode(&whole());
    assert_eq!((&*node.metadata.name, &*node.metadata.uid, node.version()), ("worker", "u-1", 77));
    assert_eq!(node.metadata.annotations.len(), 2);
    assert_eq!(node.annotation("z.example/public-ip"), Some("192.0.2.1"));
    assert_eq!(node.pod_cidrs().collect::<Vec<_>>(), ["10.244.1.0/24", "fd00::/64"]);
    assert_eq!(node.status.unwrap().reason.as_deref(), Some("R"));
}

#[test]
fn heartbeats_labels_and_versions_do_not_change_the_fingerprint_and_what_peers_see_does() {
    let base = decode(&whole()).fingerprint();
    let changed = |pointer: &str, value: Value| {
        let mut node = whole();
        *node.pointer_mut(pointer).unwrap() = value;
        decode(&node).fingerprint()
    };
    for (pointer, value) in [
        ("/metadata/resourceVersion", json!("78")),
        ("/metadata/labels/a", json!("c")),
        ("/metadata/annotations/other", json!("y")),
        ("/metadata/managedFields", json!([])),
        ("/status/conditions/0/status", json!("False")),
        ("/status/conditions/1/status", json!("False")),
        ("/status/images", json!([])),
        ("/spec/taints", json!(null)),
    ] {
        assert_eq!(changed(pointer, value), base, "{pointer}");
    }
    for (pointer, value) in [
        ("/metadata/name", json!("other")),
        ("/metadata/annotations/z.example~1public-ip", json!("192.0.2.2")),
        ("/spec/podCIDRs/1", json!("fd01::/64")),
    ] {
        assert_ne!(changed(pointer, value), base, "{pointer}");
    }
}

#[test]
fn what_is_null_or_absent_or_too_much_is_nothing() {
    let node = decode(
        &json!({ "metadata": { "name": "a", "annotations": null }, "spec": { "podCIDRs": null }, "status": null }),
    );
    assert_eq!((node.pod_cidrs().count(), node.status), (0, None));
    assert_eq!(decode(&json!({})), Object::default());
    let old = decode(&json!({ "spec": { "podCIDR": "10.244.1.0/24" } }));
    assert_eq!(old.pod_cidrs().collect::<Vec<_>>(), ["10.244.1.0/24"]);
    let many = decode(&json!({ "spec": { "podCIDRs": vec!["10.0.0.0/24"; 100] } }));
    assert_eq!(many.pod_cidrs().count(), MOST_CIDRS);
}

#[test]
fn bookmarks_errors_and_pages_are_understood() {
    let end = json!({ "type": "BOOKMARK", "object": { "kind": "Node", "metadata": {
        "resourceVersion": "9", "annotations": { "k8s.io/initial-events-end": "true" } } } });
    let notice: Notice = serde_json::from_str(&end.to_string()).unwrap();
    assert!(notice.object.ends_initial_events());
    let gone = json!({ "type": "ERROR", "object": { "kind": "Status", "status": "Failure", "code": 410, "message": "too old", "metadata": {} } });
    let notice: Notice = serde_json::from_str(&gone.to_string()).unwrap();
    assert_eq!((notice.object.code, notice.object.message.as_deref()), (410, Some("too old")));
    let page = json!({ "kind": "NodeList", "metadata": { "resourceVersion": "9", "continue": "abc" }, "items": [whole(), whole()] });
    let page: Page = serde_json::from_str(&page.to_string()).unwrap();
    assert_eq!((page.items.len(), page.metadata.next.as_deref()), (2, Some("abc")));
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_fall(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0_usize..900) {
        let text = json!({ "type": "ADDED", "object": whole() }).to_string();
        let half = text.as_bytes().get(..cut).unwrap_or(text.as_bytes());
        for bytes in [&bytes[..], half] {
            if let Ok(notice) = serde_json::from_slice::<Notice>(bytes) {
                prop_assert!(notice.object.pod_cidrs().count() <= MOST_CIDRS);
            }
        }
    }
}
