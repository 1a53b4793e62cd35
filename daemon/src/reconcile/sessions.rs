//! What others have to do with this node before a change of the backend goes on: agree upon sessions of WireGuard, and announce their pods by BGP.

use std::collections::BTreeSet;
use std::time::Duration;

use backends::rollout::Made;
use backends::state::PeerKey;
use backends::sum::Desired;

use super::{Kernel, Reconciler};
use crate::trigger::Moment;

/// How often sessions are looked at while they are waited for: the kernel does not say when one is agreed upon.
const SESSIONS: Duration = Duration::from_millis(250);

impl Reconciler {
    /// Whether, while the backend is being changed, some peer cannot be reached by the new way yet.
    pub(super) fn lags(&mut self, kernel: &mut impl Kernel, now: Moment) -> bool {
        self.desired().is_some_and(Desired::lags) || self.waits_for_sessions(kernel, now) || self.waits_for_routes()
    }

    /// Whether, while it is being changed to bgp, some peer's pods are not learnt yet.
    fn waits_for_routes(&self) -> bool {
        let missing = |desired: &Desired| desired.unlearnt(self.node.facts()).next().is_some();
        self.made == Made::Whole && self.desired().is_some_and(missing)
    }

    /// Whether, while the backend is being changed to WireGuard, some peer has not agreed upon a session yet. Packets that are sent
    /// before wait in a queue of 128 (`MAX_STAGED_PACKETS`), for five seconds when both ends begin in the same instant or one
    /// does not know the other's key yet (`REKEY_TIMEOUT`).
    fn waits_for_sessions(&mut self, kernel: &mut impl Kernel, now: Moment) -> bool {
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
