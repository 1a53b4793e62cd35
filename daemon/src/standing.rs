//! [`standing`]: what the store shows of this node — in Kubernetes the condition NetworkUnavailable, which keeps pods away from it.
//!
//! It does not flap: what only harms the way to some peer, or what the API's absence hides, leaves a node available that was
//! so. Why a node is not ready is `status::Readiness`'s.

use std::time::Duration;

use crate::reconcile::Reconciler;
use crate::record::LocalFile;
use crate::store::talk::Standing;
use crate::trigger::Moment;

/// How long the kernel may refuse what the node itself needs before pods are kept away: a device that somebody deleted is
/// back long before.
const PATIENCE: Duration = Duration::from_secs(10);

/// How this node stands, if that is known.
pub fn standing(reconciler: &Reconciler, now: Moment) -> Standing {
    let (node, record) = (&reconciler.node, &reconciler.record);
    if let Some(trouble) = &node.unassigned {
        return Standing::Unavailable(trouble.reason.clone());
    }
    if node.network().is_none()
        && let Some(trouble) = &node.network_trouble
    {
        return Standing::Unavailable(trouble.reason.clone());
    }
    if node.uplink().is_none()
        && let Some(trouble) = &node.uplink_trouble
    {
        return Standing::Unavailable(trouble.reason.clone());
    }
    if record.unfounded.is_some_and(|since| now.saturating_sub(since) >= PATIENCE) {
        let mut reasons = record.blind.iter().chain(&record.failures);
        let reason = reasons.next().cloned().unwrap_or_default();
        return Standing::Unavailable(format!("the kernel does not take what this node needs: {reason}"));
    }
    if let Some(sentence) = record.unwritten.get(&LocalFile::Subnet) {
        return Standing::Unavailable(sentence.clone());
    }
    if node.unprepared().is_some() {
        return Standing::Unknown;
    }
    // All peers were programmed, or tried, by the look that found the node's own devices and rules right.
    let programmed = reconciler.desired().is_some() && record.founded && record.unfounded.is_none();
    match node.own() {
        Some(_) if programmed => Standing::Available,
        // It is being worked on: what stands in the store stays.
        _ => Standing::Unknown,
    }
}

#[cfg(test)]
mod tests;
