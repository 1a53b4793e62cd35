//! Sessions of WireGuard that a change of the backend waits for.

use std::collections::BTreeSet;
use std::time::Duration;

use backends::rollout::Made;
use backends::state::PeerKey;

use super::{Kernel, Reconciler};
use crate::trigger::Moment;

/// How often sessions are looked at while they are waited for: the kernel does not say when one is agreed upon.
const SESSIONS: Duration = Duration::from_millis(250);

impl Reconciler {
    /// Whether, while the backend is being changed to WireGuard, some peer has not agreed upon a session yet. Packets that are sent
    /// before wait in a queue of 128 (`MAX_STAGED_PACKETS`), for five seconds when both ends begin in the same instant or one
    /// does not know the other's key yet (`REKEY_TIMEOUT`).
    pub(super) fn waits_for_sessions(&mut self, kernel: &mut impl Kernel, now: Moment) -> bool {
        let wanted = self.node.sessions_wanted();
        let Some((desired, links)) = self.desired().zip(wanted).filter(|_| self.made == Made::Whole) else {
            self.record.sessionless.clear();
            self.sessions_due = None;
            return false;
        };
        if self.sessions_due.is_some_and(|due| now < due) {
            return true;
        }
        let peers = desired.state().peers.keys().filter(|peer| links.contains(&peer.link));
        let sessions = kernel.sessions(&links).unwrap_or_else(|reason| {
            tracing::debug!("{reason}");
            Vec::new()
        });
        let agreed: BTreeSet<PeerKey> =
            sessions.iter().filter(|session| session.handshake.is_some()).map(|session| session.peer).collect();
        let missing: BTreeSet<PeerKey> = peers.filter(|peer| !agreed.contains(peer)).copied().collect();
        self.sessions_due = (!missing.is_empty()).then_some(now + SESSIONS);
        self.record.sessionless = sessions.into_iter().filter(|session| missing.contains(&session.peer)).collect();
        self.sessions_due.is_some()
    }
}
