//! The Kubernetes store: leases are annotations on Node objects, under flannel's names, and the subnets are the Nodes' podCIDRs.

use ipam::NodeName;

use super::talk::StoreEnd;
use crate::config::KubernetesSettings;

/// A cluster network's leases on the Node objects of a Kubernetes API.
#[derive(Clone, Debug)]
pub struct Kubernetes {
    settings: KubernetesSettings,
    node: NodeName,
}

/// Why the own pod did not say on which node it runs.
#[derive(Debug, thiserror::Error)]
#[error("the name of this node cannot be learnt from the own pod: {0}; set NODE_NAME from spec.nodeName")]
pub struct NodeNameUnknown(String);

/// The node that the own pod runs on. Asked once, within a few seconds.
///
/// # Errors
/// When the API does not say.
pub async fn node_name(settings: &KubernetesSettings) -> Result<NodeName, NodeNameUnknown> {
    Err(NodeNameUnknown(format!("{:?} was not asked", settings.own_pod)))
}

/// Which cluster it is, in one word, from the files alone.
pub fn cluster(settings: &KubernetesSettings) -> String {
    settings.api_url.as_ref().map_or_else(String::new, ToString::to_string)
}

impl Kubernetes {
    /// The store that the settings name, for this node.
    pub fn new(settings: &KubernetesSettings, node: &NodeName) -> Kubernetes {
        Kubernetes { settings: settings.clone(), node: node.clone() }
    }

    /// See [`Store::run`](super::Store::run).
    pub async fn run(self, end: StoreEnd) {
        tracing::debug!(?self.settings, %self.node, "the store begins");
        end.events.closed().await;
    }
}
