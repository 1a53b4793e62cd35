//! [`Labels`]: what an operator says of a node in keys and values, as Kubernetes has them on its Node objects and other stores'
//! daemons are told them by a flag. They choose who speaks BGP with whom.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Keys and values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Labels(BTreeMap<Box<str>, Box<str>>);

/// Longer than any that Kubernetes takes: a prefix of 253, a slash and a name of 63 characters.
const LONGEST_KEY: usize = 317;
const LONGEST_VALUE: usize = 63;

impl Labels {
    /// Of `key=value` one behind the other, with commas between.
    ///
    /// # Errors
    /// The one that is none.
    pub fn parse(text: &str) -> Result<Labels, String> {
        let mut labels = Labels::default();
        for one in text.split(',').map(str::trim).filter(|one| !one.is_empty()) {
            let (key, value) = one.split_once('=').filter(|(key, value)| is_key(key) && is_value(value)).ok_or(one)?;
            labels.insert(key, value);
        }
        Ok(labels)
    }

    /// One more, or another value.
    pub fn insert(&mut self, key: &str, value: &str) {
        self.0.insert(key.into(), value.into());
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(std::convert::AsRef::as_ref)
    }

    /// These, and over them others.
    pub fn overlaid(&self, others: &Labels) -> Labels {
        Labels(self.0.iter().chain(&others.0).map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}

/// Whether a key can be one of Kubernetes' labels, as far as it is worth telling.
pub fn is_key(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    (1..=LONGEST_KEY).contains(&text.len()) && text.chars().all(allowed)
}

/// Whether it can be a value; an empty one can.
pub fn is_value(text: &str) -> bool {
    text.len() <= LONGEST_VALUE && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn labels_are_read_as_kubelets_flag_has_them() {
        let labels = Labels::parse("rack=a, node-role.kubernetes.io/control-plane=,").unwrap();
        assert_eq!((labels.get("rack"), labels.get("node-role.kubernetes.io/control-plane")), (Some("a"), Some("")));
        assert_eq!(labels.get("other"), None);
        for wrong in ["rack", "=a", "rack=a b", "rack=a=b", "ra ck=a"] {
            assert_eq!(Labels::parse(wrong), Err(wrong.to_owned()));
        }
    }
}
