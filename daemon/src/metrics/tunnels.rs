//! [`Tunnels`]: WireGuard sessions on the page, one set of samples a peer and device.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use backends::state::PeerKey;
use ipam::{BackendData, LeaseTable, PublicKey};
use kernel::wireguard::Session;
use prometheus_client::registry::Unit;

use super::page::{Label, Page};

/// The sessions, and who has which key.
#[derive(Clone, Debug, PartialEq)]
pub struct Tunnels {
    sessions: Vec<Session>,
    /// Peers that should have a session and never had a handshake.
    missing: u64,
    names: BTreeMap<PublicKey, String>,
}

impl Tunnels {
    /// Of what the kernel says, and the peers that it should have.
    pub fn new(sessions: Vec<Session>, wanted: &BTreeSet<PeerKey>, table: &LeaseTable) -> Tunnels {
        let agreed: BTreeSet<PeerKey> = sessions.iter().filter(|it| it.handshake.is_some()).map(|it| it.peer).collect();
        let keys = table.leases().flat_map(|lease| {
            let keys = lease.endpoints.values().filter_map(|endpoint| match &endpoint.data {
                BackendData::WireGuard { key, .. } => Some(**key),
                _ => None,
            });
            keys.map(|key| (key, lease.node.to_string()))
        });
        Tunnels { missing: wanted.difference(&agreed).count() as u64, names: keys.collect(), sessions }
    }

    /// Writes them; `now`: since 1970.
    pub fn describe(&self, now: Duration, page: &mut Page<'_>) -> fmt::Result {
        page.gauge("towpath_wireguard_sessions_missing", "Peers that no handshake ever succeeded with", self.missing)?;
        let ages = self.sessions.iter().filter_map(|session| Some((session, session.handshake?)));
        let times = ages.map(|(session, age)| (self.labels(session), now.saturating_sub(age).as_secs()));
        page.gauge_in_each(
            "towpath_wireguard_handshake_timestamp",
            (Unit::Seconds, "When the last handshake with the peer was, since 1970"),
            times,
        )?;
        let received = self.sessions.iter().map(|session| (self.labels(session), session.received));
        page.counter_in_each(
            "towpath_wireguard_received",
            (Unit::Bytes, "What came from the peer, headers and handshakes included"),
            received,
        )?;
        let sent = self.sessions.iter().map(|session| (self.labels(session), session.sent));
        page.counter_in_each("towpath_wireguard_sent", (Unit::Bytes, "What was sent to the peer"), sent)
    }

    /// By its key where a peer's lease says another by now.
    fn labels(&self, session: &Session) -> Vec<Label> {
        let PeerKey { link, key } = session.peer;
        let peer = self.names.get(&key).cloned().unwrap_or_else(|| key.to_string());
        vec![("peer", peer), ("link", link.to_string())]
    }
}
