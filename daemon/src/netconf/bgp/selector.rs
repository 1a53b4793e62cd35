//! [`NodeSelector`]: which nodes are meant, by name or by label: `rack1-*`, `rack=a`.

use ipam::NodeName;

use crate::labels::{Labels, is_key, is_value};
use crate::netconf::json::Value;
use crate::netconf::object::Wrong;

/// One entry of a list of which any may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeSelector {
    /// A node's name, or what several have in common.
    Name(Pattern),
    /// A label, with its value or what several values have in common.
    Label(Box<str>, Pattern),
}

/// A text with `*` for any letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Box<str>);

impl NodeSelector {
    /// Whether it means the node of this name and these labels.
    pub fn has(&self, node: &NodeName, labels: &Labels) -> bool {
        match self {
            NodeSelector::Name(pattern) => pattern.has(node.as_str()),
            NodeSelector::Label(key, pattern) => labels.get(key).is_some_and(|value| pattern.has(value)),
        }
    }
}

impl Pattern {
    fn has(&self, text: &str) -> bool {
        let mut rest = text;
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(after) = rest.strip_prefix(first) else { return false };
        let Some(last) = self.0.rsplit_once('*').map(|(_, last)| last) else { return after.is_empty() };
        rest = after;
        let between: Vec<&str> = parts.collect();
        for part in between.iter().take(between.len().saturating_sub(1)) {
            let Some(at) = rest.find(part) else { return false };
            rest = rest.get(at + part.len()..).unwrap_or_default();
        }
        rest.ends_with(last)
    }
}

/// Reads one: what has a `=` is a label.
pub(super) fn node_selector(value: &Value) -> Result<NodeSelector, Wrong> {
    let text = if let Value::Text(text) = value { text.as_str() } else { "" };
    if let Some((key, value)) = text.split_once('=') {
        return match is_key(key) && is_value(&value.replace('*', "")) {
            true => Ok(NodeSelector::Label(key.into(), Pattern(value.into()))),
            false => Err((
                "it is no label".to_owned(),
                "write one label an entry, as in \"rack=a\", with * for any letters of its value".to_owned(),
            )),
        };
    }
    match NodeName::new(&text.replace('*', "x")) {
        Ok(_) => Ok(NodeSelector::Name(Pattern(text.into()))),
        Err(_) => Err((
            "it names no node".to_owned(),
            "write a node's name, with * for any letters, as in \"rack1-*\", or one of its labels, as in \"rack=a\""
                .to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn means(text: &str, node: &str, labels: &str) -> bool {
        let selector = node_selector(&Value::Text(text.to_owned())).unwrap();
        selector.has(&NodeName::new(node).unwrap(), &Labels::parse(labels).unwrap())
    }

    #[test]
    fn nodes_are_meant_by_name_or_by_label() {
        for (pattern, node) in
            [("a", "a"), ("*", "a"), ("rack1-*", "rack1-7"), ("*-7", "rack1-7"), ("r*1*7", "rack1-7"), ("ab*", "ab")]
        {
            assert!(means(pattern, node, ""), "{pattern} {node}");
        }
        for (pattern, node) in
            [("a", "ab"), ("rack1-*", "rack2-1"), ("*-7", "rack-8"), ("ab*ba", "aba"), ("r*2*7", "rack1-7")]
        {
            assert!(!means(pattern, node, ""), "{pattern} {node}");
        }
        assert!(
            means("rack=a", "any", "zone=b,rack=a") && !means("rack=a", "a", "rack=ab") && !means("rack=a", "a", "")
        );
        assert!(means("rack=a*", "any", "rack=ab") && means("rack=*", "any", "rack=") && !means("rack=*", "rack", ""));
        assert!(means("role/spine=", "any", "role/spine=") && !means("role/spine=", "any", "role/spine=x"));
        for wrong in ["", "=a", "rack=a,zone=b", "ra ck=a", "a b", "a/b"] {
            node_selector(&Value::Text(wrong.to_owned())).unwrap_err();
        }
        node_selector(&Value::Boolean(true)).unwrap_err();
    }
}
