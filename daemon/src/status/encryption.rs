//! [`SessionStatus`]: how the encrypted session with a peer goes, as its `encryption` in `towpathctl status -o json`, and in a line
//! below the peer for people.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use ipam::{BackendData, Lease, LeaseTable, PublicKey};
use kernel::wireguard::Session;
use serde::Serialize;

use super::Status;

/// The session with a peer on one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SessionStatus {
    /// The device.
    pub link: String,
    /// The peer's public key.
    pub key: String,
    /// Address and port that packets are sent to.
    pub endpoint: Option<String>,
    /// Seconds since the last handshake was completed; absent if none ever was.
    pub handshake_age_seconds: Option<u64>,
    /// Octets received from the peer, headers and handshakes included.
    pub received_bytes: u64,
    /// Octets sent to it.
    pub sent_bytes: u64,
    /// What is wrong: one sentence.
    pub trouble: Option<String>,
}

/// A session that is in use makes a new handshake every two minutes, and is given up after three (WireGuard's
/// REJECT_AFTER_TIME).
const ALIVE: Duration = Duration::from_secs(180);

impl SessionStatus {
    fn new(session: &Session) -> SessionStatus {
        SessionStatus {
            link: session.peer.link.to_string(),
            key: session.peer.key.to_string(),
            endpoint: session.remote.map(|remote| remote.to_string()),
            handshake_age_seconds: session.handshake.map(|age| age.as_secs()),
            received_bytes: session.received,
            sent_bytes: session.sent,
            trouble: trouble(session),
        }
    }
}

/// What is wrong with a session: one sentence.
pub(super) fn trouble(session: &Session) -> Option<String> {
    let remote = session.remote.map_or_else(|| "its address".to_owned(), |remote| remote.to_string());
    match session.handshake {
        Some(_) => None,
        // What it asks for with the right keys is counted; the shared key is only in the answer (`wg_packet_consume_data`).
        None if session.received > 0 => Some(format!(
            "it speaks to this node, but no handshake is completed: the shared key (PSK) is another there, or UDP from here to \
             {remote} is dropped"
        )),
        None if session.sent > 0 => Some(format!(
            "{} octets were sent and nothing came back: the node is away, UDP to {remote} is dropped on the way, it does not \
             know this node's key yet, or the shared key (PSK) is another there",
            session.sent
        )),
        None => None,
    }
}

impl fmt::Display for SessionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.link)?;
        match self.handshake_age_seconds {
            Some(age) if age < ALIVE.as_secs() => write!(f, "handshake {age} s ago")?,
            Some(age) => write!(f, "idle, handshake {age} s ago")?,
            None => f.write_str("no handshake yet")?,
        }
        write!(f, ", received {}, sent {}", self.received_bytes, self.sent_bytes)?;
        self.trouble.iter().try_for_each(|trouble| write!(f, "; {trouble}"))
    }
}

impl Status {
    /// Adds how the sessions go, each to its peer.
    pub fn with_sessions(mut self, sessions: &[Session], table: &LeaseTable) -> Status {
        let mut by_key: BTreeMap<PublicKey, Vec<SessionStatus>> = BTreeMap::new();
        for session in sessions {
            by_key.entry(session.peer.key).or_default().push(SessionStatus::new(session));
        }
        let leases: BTreeMap<String, &Lease> = table.leases().map(|lease| (lease.key.to_string(), lease)).collect();
        for peer in &mut self.peers {
            let Some(lease) = leases.get(&peer.key) else { continue };
            let keys = lease.endpoints.values().filter_map(|endpoint| match &endpoint.data {
                BackendData::WireGuard { key, .. } => Some(**key),
                _ => None,
            });
            // Both families mostly have one key.
            peer.encryption =
                keys.collect::<BTreeSet<_>>().iter().filter_map(|key| by_key.remove(key)).flatten().collect();
        }
        self
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use backends::LinkName;
    use backends::state::PeerKey;

    fn session(handshake: Option<u64>, received: u64, sent: u64) -> Session {
        let peer = PeerKey { link: LinkName::new("flannel-wg").unwrap(), key: PublicKey::new([9; 32]).unwrap() };
        let remote = Some("192.0.2.2:51820".parse().unwrap());
        Session { peer, remote, handshake: handshake.map(Duration::from_secs), received, sent }
    }

    #[test]
    fn a_session_is_told_in_a_line_with_what_is_wrong() {
        for (session, said) in [
            (session(Some(12), 100, 200), "flannel-wg: handshake 12 s ago, received 100, sent 200"),
            (session(Some(4000), 1, 2), "flannel-wg: idle, handshake 4000 s ago, received 1, sent 2"),
            (session(None, 0, 0), "flannel-wg: no handshake yet, received 0, sent 0"),
        ] {
            assert_eq!(SessionStatus::new(&session).to_string(), said);
        }
        let other_psk = SessionStatus::new(&session(None, 148, 296)).to_string();
        assert!(other_psk.contains("the shared key (PSK) is another there"), "{other_psk}");
        let away = SessionStatus::new(&session(None, 0, 296)).to_string();
        assert!(away.contains("UDP to 192.0.2.2:51820 is dropped on the way"), "{away}");
    }
}
