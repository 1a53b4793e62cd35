//! A node's lease in an object of its own: `leases.coordination.k8s.io`, named as the node and owned by its Node, so that it goes
//! with it. It says what the Node says, and changes only when that does; a Node with the label [`label`] is told of by such an
//! object. docs/adr/0014-whole-nodes-are-watched.md
//!
//! Only its form is here. An object of another form is none of ours.

use std::collections::BTreeMap;

use ipam::NodeName;
use serde_json::{Value, json};

use super::annotations::MEMBER;
use super::decision::Annotations;
use super::object::Object;
use crate::config::kube::{AnnotationPrefix, OWN_DOMAIN};

/// The label's value.
pub const LABELLED: &str = "lease";
/// The podCIDRs of the Node, with commas.
const SUBNETS: &str = "towpath.network/pod-cidrs";
/// Since when there is the Node, as it says itself.
const SINCE: &str = "towpath.network/node-since";

/// The label of a Node whose lease is to be read from its Lease object.
pub fn label(prefix: &AnnotationPrefix) -> String {
    prefix.own_key("peer-object")
}

/// Where the objects of a namespace are.
pub fn path(namespace: &str) -> String {
    format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases")
}

/// The Node as its Lease object tells of it.
pub fn node(object: &Object, prefix: &AnnotationPrefix) -> Option<Object> {
    let (uid, subnets) = (object.metadata.owner.clone()?, object.annotation(SUBNETS)?);
    let mut node = Object::default();
    node.metadata.name = object.metadata.name.clone();
    node.metadata.uid = uid;
    node.metadata.creation_timestamp = object.annotation(SINCE).map(Box::from);
    node.spec.pod_cidrs = subnets.split(',').map(Box::from).collect();
    // Flannel's names stand there under our domain, which is shorter; what is our own stands there as it is.
    let said = object.metadata.annotations.iter();
    let said = said.filter_map(|(key, value)| Some((prefix.key(key.strip_prefix(OWN_DOMAIN)?).into(), value.clone())));
    node.metadata.annotations = said.chain(object.metadata.annotations.iter().cloned()).collect();
    node.metadata.annotations.push((prefix.key(MEMBER).into(), "true".into()));
    Some(node)
}

/// The Lease object of a Node, as it should be.
#[derive(Debug, PartialEq)]
pub struct LeaseObject {
    uid: Box<str>,
    annotations: BTreeMap<String, String>,
}

impl LeaseObject {
    /// What a Node's object says when these are its annotations.
    pub fn of(node: &Object, annotations: &Annotations, prefix: &AnnotationPrefix) -> LeaseObject {
        let shorter = |key: &str| match key.strip_prefix(prefix.as_str()) {
            Some(name) => format!("{OWN_DOMAIN}{name}"),
            None => key.to_owned(),
        };
        // That it is a member, the object says by being there.
        let said = annotations.iter().filter(|(key, _)| **key != prefix.key(MEMBER));
        let said = said.filter_map(|(key, value)| Some((shorter(key), value.clone()?)));
        let mut annotations: BTreeMap<String, String> = said.collect();
        annotations.insert(SUBNETS.to_owned(), node.pod_cidrs().collect::<Vec<_>>().join(","));
        if let Some(since) = &node.metadata.creation_timestamp {
            annotations.insert(SINCE.to_owned(), since.to_string());
        }
        LeaseObject { uid: node.metadata.uid.clone(), annotations }
    }

    /// Whether this is what stands there.
    pub fn stands_as(&self, object: &Object) -> bool {
        let ours = object.metadata.annotations.iter().filter(|(key, _)| key.starts_with(OWN_DOMAIN));
        let ours: BTreeMap<&str, &str> = ours.map(|(key, value)| (&**key, &**value)).collect();
        object.metadata.owner.as_deref() == Some(&*self.uid)
            && ours.into_iter().eq(self.annotations.iter().map(|(key, value)| (key.as_str(), value.as_str())))
    }

    /// For a server-side apply, which makes the object or changes it.
    pub fn body(&self, name: &NodeName) -> Value {
        let owner = json!({ "apiVersion": "v1", "kind": "Node", "name": name, "uid": self.uid });
        json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": { "name": name, "annotations": self.annotations, "ownerReferences": [owner] },
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_node_is_read_from_its_lease_object_as_from_itself() {
        let prefix = AnnotationPrefix::default();
        let mut before = Object::default();
        (before.metadata.name, before.metadata.uid) = ("worker".into(), "u-1".into());
        before.metadata.creation_timestamp = Some("2026-11-21T12:00:00Z".into());
        before.spec.pod_cidrs = vec!["10.244.1.0/24".into(), "fd44::/64".into()];
        let key = |name: &str| prefix.key(name);
        let said: Annotations = [
            (key(MEMBER), Some("true".to_owned())),
            (key("public-ip"), Some("192.0.2.1".to_owned())),
            (key("public-ipv6"), None),
            (prefix.own_key("rollout"), Some("{}".to_owned())),
        ]
        .into();
        let wanted = LeaseObject::of(&before, &said, &prefix);
        let body = wanted.body(&NodeName::new("worker").unwrap());
        let object: Object = serde_json::from_value(body).unwrap();
        assert!(wanted.stands_as(&object));
        let after = node(&object, &prefix).unwrap();
        before.metadata.annotations =
            vec![(key(MEMBER).into(), "true".into()), (key("public-ip").into(), "192.0.2.1".into())];
        before.metadata.annotations.push((prefix.own_key("rollout").into(), "{}".into()));
        assert_eq!(after.pod_cidrs().collect::<Vec<_>>(), before.pod_cidrs().collect::<Vec<_>>());
        for key in [key(MEMBER), key("public-ip"), key("public-ipv6"), prefix.own_key("rollout")] {
            assert_eq!(after.annotation(&key), before.annotation(&key), "{key}");
        }
        assert_eq!((after.metadata.uid, after.metadata.name), (before.metadata.uid, before.metadata.name));
        assert_eq!(node(&Object::default(), &prefix), None, "somebody else's");
    }
}
