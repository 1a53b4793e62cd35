//! A Node object as far as this store looks at it, and what the API server says around it: an event of a watch, a page of a
//! list, a status. Everything else is skipped while decoding and never allocated.
//!
//! What the annotations mean is `annotations`' business.

use std::borrow::Cow;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::annotations::NAMES;
use crate::config::kube::OWN_DOMAIN;
use crate::labels::{is_key, is_value};

/// The condition that this store keeps.
pub const CONDITION: &str = "NetworkUnavailable";

/// An object of the API: a Node, or (where something went wrong) a Status.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Object {
    /// Names and annotations.
    pub metadata: Metadata,
    /// Of a Node: what Kubernetes assigned.
    pub spec: Spec,
    /// Of a Node: the one condition that concerns us.
    #[serde(deserialize_with = "condition")]
    pub status: Option<Condition>,
    /// Of a Status: the HTTP status that it stands for.
    pub code: u16,
    /// Of a Status: what went wrong, for people.
    pub message: Option<Box<str>>,
}

/// An annotation: key and value.
pub type Annotation = (Box<str>, Box<str>);

/// Names and annotations.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Metadata {
    /// The name.
    pub name: Box<str>,
    /// What is never used again for another object.
    pub uid: Box<str>,
    /// Which change of the object this is.
    pub resource_version: Box<str>,
    /// When it was made: `2026-11-21T12:00:00Z`.
    pub creation_timestamp: Option<Box<str>>,
    /// Those that may be ours, under any prefix, by their whole key.
    #[serde(deserialize_with = "annotations")]
    pub annotations: Vec<Annotation>,
    /// All of them, a line each with `=` between key and value: neither has a letter of these. Of all Nodes but our own nobody looks at them.
    #[serde(deserialize_with = "labels")]
    pub labels: Box<str>,
    /// The uid of the first owner.
    #[serde(rename = "ownerReferences", deserialize_with = "owner")]
    pub owner: Option<Box<str>>,
    /// Of a page: where the next one begins.
    #[serde(rename = "continue")]
    pub next: Option<Box<str>>,
}

/// What Kubernetes assigned.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Spec {
    /// At most one of each family, says Kubernetes; the old single field is always the first of them.
    #[serde(rename = "podCIDRs", deserialize_with = "few")]
    pub pod_cidrs: Vec<Box<str>>,
    /// The old single field: API servers before 1.16, and objects written by hand.
    #[serde(rename = "podCIDR")]
    pub pod_cidr: Option<Box<str>>,
}

/// The condition [`CONDITION`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Condition {
    /// Which one.
    #[serde(rename = "type")]
    pub kind: Box<str>,
    /// `True`, `False`, `Unknown`.
    pub status: Box<str>,
    /// One word.
    pub reason: Option<Box<str>>,
    /// A sentence.
    pub message: Option<Box<str>>,
}

/// One line of a watch.
#[derive(Debug, Deserialize)]
pub struct Notice {
    /// `ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK`, `ERROR`.
    #[serde(rename = "type")]
    pub kind: Box<str>,
    /// A Node; with `BOOKMARK` one that has only a resource version, with `ERROR` a Status.
    pub object: Object,
}

/// One page of a list.
#[derive(Debug, Deserialize)]
pub struct Page {
    /// The version of the whole, and where the next page begins.
    #[serde(default)]
    pub metadata: Metadata,
    /// The Nodes.
    #[serde(default)]
    pub items: Vec<Object>,
}

/// The annotation of a bookmark that ends the initial events of a streaming list.
const INITIAL_END: &str = "k8s.io/initial-events-end";

impl Object {
    /// An annotation by its whole key.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata.annotations.iter().find(|(name, _)| **name == *key).map(|(_, value)| &**value)
    }

    /// The labels: keys and values.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.metadata.labels.lines().filter_map(|line| line.split_once('='))
    }

    /// Whether a label has this value.
    pub fn has_label(&self, key: &str, value: &str) -> bool {
        self.labels().any(|label| label == (key, value))
    }

    /// Whether this bookmark says that the initial events of a streaming list are over.
    pub fn ends_initial_events(&self) -> bool {
        self.annotation(INITIAL_END) == Some("true")
    }

    /// The pod CIDRs as written.
    pub fn pod_cidrs(&self) -> impl Iterator<Item = &str> {
        let old = self.spec.pod_cidr.iter().filter(|text| self.spec.pod_cidrs.is_empty() && !text.is_empty());
        self.spec.pod_cidrs.iter().chain(old).map(|text| &**text)
    }

    /// What tells whether an object says anything else to a peer than it did: of two different ones it is the same once
    /// in 10^19 times. Conditions and versions do not count.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.metadata.name, &self.metadata.creation_timestamp, &self.metadata.annotations).hash(&mut hasher);
        self.pod_cidrs().for_each(|text| text.hash(&mut hasher));
        hasher.finish()
    }

    /// The version as a number, for comparing two versions of one object; etcd's are.
    pub fn version(&self) -> u64 {
        self.metadata.resource_version.parse().unwrap_or(0)
    }
}

/// Keeps what may be ours of a map of annotations: there may be hundreds, and some are as long as the object that was applied.
fn annotations<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Annotation>, D::Error> {
    struct Few;
    impl<'de> Visitor<'de> for Few {
        type Value = Vec<Annotation>;
        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("a map of annotations")
        }
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(Vec::new())
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut kept = Vec::new();
            while let Some(key) = map.next_key::<String>()? {
                if key == INITIAL_END || key.starts_with(OWN_DOMAIN) || NAMES.iter().any(|name| key.ends_with(name)) {
                    kept.push((key.into(), map.next_value()?));
                } else {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            // The API server sorts them, but nothing says that it must.
            kept.sort_unstable();
            Ok(kept)
        }
    }
    deserializer.deserialize_any(Few)
}

/// Keeps a map of labels as one text: there are many Nodes, each with a dozen of them.
fn labels<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Box<str>, D::Error> {
    struct Lines;
    impl<'de> Visitor<'de> for Lines {
        type Value = Box<str>;
        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("a map of labels")
        }
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(Box::default())
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut lines = String::new();
            while let Some((key, value)) = map.next_entry::<Cow<'_, str>, Option<Cow<'_, str>>>()? {
                let value = value.unwrap_or_default();
                if is_key(&key) && is_value(&value) {
                    lines.extend([&*key, "=", &*value, "\n"]);
                }
            }
            Ok(lines.into())
        }
    }
    deserializer.deserialize_any(Lines)
}

fn owner<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<str>>, D::Error> {
    #[derive(Deserialize)]
    struct Owner {
        uid: Box<str>,
    }
    let owners = Option::<Vec<Owner>>::deserialize(deserializer)?;
    Ok(owners.and_then(|owners| owners.into_iter().next()).map(|owner| owner.uid))
}

/// So many pod CIDRs are looked at: Kubernetes allows two.
const MOST_CIDRS: usize = 16;

fn few<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Box<str>>, D::Error> {
    struct Few;
    impl<'de> Visitor<'de> for Few {
        type Value = Vec<Box<str>>;
        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("a list of pod CIDRs")
        }
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(Vec::new())
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut kept = Vec::new();
            while kept.len() < MOST_CIDRS {
                let Some(text) = list.next_element()? else { return Ok(kept) };
                kept.push(text);
            }
            while list.next_element::<IgnoredAny>()?.is_some() {}
            Ok(kept)
        }
    }
    deserializer.deserialize_any(Few)
}

/// Keeps one condition of a Node's status; of a Status object `status` is a word.
fn condition<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Condition>, D::Error> {
    struct One;
    impl<'de> Visitor<'de> for One {
        type Value = Option<Condition>;
        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("a status")
        }
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
        fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
            Ok(None)
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut kept = None;
            while let Some(key) = map.next_key::<String>()? {
                if key == "conditions" {
                    let all: Option<Vec<Condition>> = map.next_value()?;
                    kept = all.unwrap_or_default().into_iter().find(|condition| *condition.kind == *CONDITION);
                } else {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            Ok(kept)
        }
    }
    deserializer.deserialize_any(One)
}

#[cfg(test)]
mod tests;
