//! [`Sight`]: what is seen of this node's own Node, from the watch and from the answers to our own patches: the newest counts.

use std::sync::Arc;

use super::object::Object;
use super::peers::Rival;

/// What is seen of the own Node.
#[derive(Clone, Debug, Default)]
pub struct Sight {
    /// Whether all Nodes have been seen: before that an absent one means nothing.
    pub complete: bool,
    /// The own Node; `None`: there is none.
    pub node: Option<Arc<Object>>,
    /// The own Lease object as it stands there; `None`: there is none, or it is not looked for.
    pub object: Option<Arc<Object>>,
    /// The API server does not take our Lease object.
    pub refused: bool,
    /// Another node, older than this one, with a part of its podCIDRs.
    pub rival: Option<Rival>,
}

impl Sight {
    /// Takes the own Node in, unless something newer was seen. Whether it did.
    pub fn take(&mut self, node: &Object) -> bool {
        let newer = self.node.as_deref().is_none_or(|known| known.version() < node.version() || node.version() == 0);
        if newer {
            self.node = Some(Arc::new(node.clone()));
        }
        newer
    }

    /// The Node of this uid was deleted. Whether it was our own.
    pub fn lose(&mut self, uid: &str) -> bool {
        let own = self.node.as_deref().is_some_and(|node| *node.metadata.uid == *uid);
        if own {
            self.node = None;
        }
        own
    }
}
