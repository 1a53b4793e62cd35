//! [`Sight`]: what is seen of this node's own Node, from the watch and from the answers to our own patches: the newest counts.

use std::sync::Arc;

use ipam::table::Record;
use tokio::sync::watch;

use super::annotations;
use super::object::Object;
use super::peers::{Peers, Rival, overlaps};

/// What is seen of the own Node.
#[derive(Clone, Debug, Default)]
pub struct Sight {
    /// Whether all Nodes have been seen: before that an absent one means nothing.
    pub complete: bool,
    /// The own Node; `None`: there is none.
    pub node: Option<Arc<Object>>,
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

/// Looks whether another node's subnets overlap ours, where what is new may have changed that.
pub fn look_for_rivals(sight: &watch::Sender<Sight>, peers: &Peers, news: &[Record]) {
    let (node, rival) = {
        let seen = sight.borrow();
        (seen.node.clone(), seen.rival.clone())
    };
    let Some(node) = node else { return };
    let Ok(Some(own)) = annotations::subnets(&node) else { return };
    let near = |record: &Record| match record {
        Record::Lease(lease) => lease.subnets().values().any(|subnet| overlaps(subnet, &own)),
        Record::Garbage(..) | Record::Gone(_) => false,
    };
    if rival.is_some() || news.iter().any(near) {
        let now = peers.rival(&node);
        sight.send_if_modified(|sight| {
            let changed = sight.rival != now;
            sight.rival = now;
            changed
        });
    }
}
