//! What is said in the log of nodes that come, change and go.

use ipam::table::Record;

use super::Node;

impl Node {
    /// A node that comes, changes or goes is worth a line.
    pub(super) fn announce(&self, record: &Record) {
        let before = self.table.get(record.key());
        match record {
            Record::Lease(lease) if self.own.as_ref().is_some_and(|own| own.key == lease.key) => {}
            Record::Lease(lease) if before != Some(lease) => {
                let what = if before.is_some() { "changed" } else { "joined" };
                let publics = lease.endpoints.map(|_, endpoint| endpoint.public);
                tracing::info!("node {} {what}: {} at {publics}", lease.node, lease.subnets());
            }
            Record::Gone(_) => {
                if let Some(lease) = before {
                    tracing::info!("node {} left: {} is free", lease.node, lease.subnets());
                }
            }
            Record::Lease(_) | Record::Garbage(..) => {}
        }
    }
}
