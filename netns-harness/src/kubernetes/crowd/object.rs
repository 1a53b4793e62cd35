//! The Lease object of a node of the crowd, as towpathd writes it.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::{Crowd, PATCH, Request, name};

const PATH: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-flannel/leases";

pub(super) fn creation(number: u32) -> Request {
    let annotations = json!({
        "towpath.network/pod-cidrs": Crowd::subnet(number),
        "towpath.network/node-since": "2026-01-01T00:00:00Z",
        "towpath.network/backend-type": "vxlan",
        "towpath.network/backend-data": format!(r#"{{"VNI":1,"VtepMAC":"{}"}}"#, Crowd::mac(number)),
        "towpath.network/public-ip": Crowd::public(number, 0),
    });
    // As long as a real one; no controller looks whether it is right.
    let uid = format!("00000000-0000-4000-8000-{number:012}");
    let owner = json!({ "apiVersion": "v1", "kind": "Node", "name": name(number), "uid": uid });
    let metadata = json!({ "name": name(number), "annotations": annotations, "ownerReferences": [owner] });
    let object = json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata });
    ("POST", format!("{PATH}?fieldManager=towpathd"), object)
}

pub(super) fn label(number: u32) -> Request {
    let body = json!({ "metadata": { "labels": { "towpath.network/peer-object": "lease" } } });
    (PATCH, format!("/api/v1/nodes/{}/status?fieldManager=towpathd", name(number)), body)
}

pub(super) fn change(number: u32, public: Ipv4Addr) -> Request {
    let body: Value = json!({ "metadata": { "annotations": { "towpath.network/public-ip": public } } });
    (PATCH, format!("{PATH}/{}?fieldManager=towpathd", name(number)), body)
}
