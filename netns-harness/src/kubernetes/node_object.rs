//! [`NodeObject`]: a Node object without a kubelet, for what only looks at objects.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::Result;
use ipnet::IpNet;
use serde_json::{Value, json};

use crate::station::Station;

/// A Node object, to be created by hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeObject {
    /// Its name.
    pub name: String,
    /// `spec.podCIDRs`; the first is `spec.podCIDR` too. Empty: the controller-manager gives some, if there is one.
    pub pod_cidrs: Vec<IpNet>,
    /// `status.addresses` of the type InternalIP.
    pub addresses: Vec<IpAddr>,
    /// `metadata.annotations`.
    pub annotations: BTreeMap<String, String>,
}

impl NodeObject {
    /// An empty one.
    pub fn named(name: &str) -> NodeObject {
        let (name, annotations) = (name.to_owned(), BTreeMap::new());
        NodeObject { name, pod_cidrs: Vec::new(), addresses: Vec::new(), annotations }
    }

    /// That of a node of the lab: its name and its addresses.
    ///
    /// # Errors
    /// When it has no address.
    pub fn of(node: &Station) -> Result<NodeObject> {
        let addresses = node.addresses()?.values().copied().collect();
        Ok(NodeObject { addresses, ..NodeObject::named(node.name()) })
    }

    /// With one more subnet for pods.
    pub fn pod_cidr(mut self, net: IpNet) -> NodeObject {
        self.pod_cidrs.push(net);
        self
    }

    /// With one more annotation.
    pub fn annotation(mut self, key: impl Into<String>, value: impl Into<String>) -> NodeObject {
        self.annotations.insert(key.into(), value.into());
        self
    }

    /// As the API takes it. A Node may be created with its status, as the kubelet does.
    pub fn to_json(&self) -> Value {
        let addresses = self.addresses.iter().map(|address| json!({ "type": "InternalIP", "address": address }));
        let mut spec = json!({});
        if let Some(first) = self.pod_cidrs.first() {
            spec = json!({ "podCIDR": first, "podCIDRs": self.pod_cidrs });
        }
        json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": { "name": self.name, "annotations": self.annotations },
            "spec": spec,
            "status": { "addresses": addresses.collect::<Vec<_>>() },
        })
    }
}
