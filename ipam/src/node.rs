//! [`NodeName`]: what a node is called in the store, in logs and in `towpathctl`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A node's name: 1 to 253 bytes of letters, digits, `.`, `-`, `_` and `:` (an address may stand in for a name),
/// neither `.` nor `..`, so that it is also a safe file name. Kubernetes names (RFC 1123 subdomains) all fit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeName(Box<str>);

/// Why a text is not a node name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a node name: use 1 to 253 letters, digits, `.`, `-`, `_` or `:`")]
pub struct NodeNameError {
    /// The text that was refused, cut to 64 characters.
    pub text: String,
}

impl NodeName {
    /// Checks and takes a name.
    ///
    /// # Errors
    /// [`NodeNameError`] when the text is empty, too long or has other characters.
    pub fn new(text: &str) -> Result<NodeName, NodeNameError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || ".-_:".contains(c);
        let dots = text == "." || text == "..";
        if text.is_empty() || text.len() > 253 || dots || !text.chars().all(allowed) {
            return Err(NodeNameError { text: text.chars().take(64).collect() });
        }
        Ok(NodeName(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for NodeName {
    type Error = NodeNameError;
    fn try_from(text: String) -> Result<NodeName, NodeNameError> {
        NodeName::new(&text)
    }
}

impl From<NodeName> for String {
    fn from(name: NodeName) -> String {
        name.0.into()
    }
}
