//! WireGuard's part in the words of `wg`. Of a pre-shared key only whether there is one.

use std::fmt;

use crate::state::{Peer, PeerKey, Remote, WireGuard};

impl fmt::Display for WireGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "listen-port {} public-key ", self.port)?;
        match &self.key {
            Some(key) => write!(f, "{key}")?,
            None => f.write_str("(none)")?,
        }
        if self.mark != 0 { write!(f, " fwmark {:#x}", self.mark) } else { Ok(()) }
    }
}

/// A peer, whole.
pub(super) struct PeerLine<'a>(pub &'a PeerKey, pub &'a Peer);

impl fmt::Display for PeerLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PeerLine(PeerKey { link, key }, peer) = self;
        write!(f, "wg {link} peer {key}")?;
        differences(f, (None, peer))?;
        f.write_str(if matches!(peer.remote, Remote::Proven(_)) { " (proven)" } else { "" })
    }
}

/// Only what differs, as `wg set` would be told.
pub(super) fn peer_set(f: &mut fmt::Formatter<'_>, key: &PeerKey, change: (Option<&Peer>, &Peer)) -> fmt::Result {
    write!(f, "wg set {} peer {}", key.link, key.key)?;
    differences(f, change)
}

fn differences(f: &mut fmt::Formatter<'_>, (from, to): (Option<&Peer>, &Peer)) -> fmt::Result {
    if from.is_none_or(|from| from.preshared != to.preshared) {
        match (from, to.preshared) {
            (_, Some(_)) => f.write_str(" preshared-key (hidden)")?,
            (Some(_), None) => f.write_str(" preshared-key /dev/null")?,
            (None, None) => {}
        }
    }
    if let Some(remote) = to.remote.address().filter(|_| from.is_none_or(|from| !from.remote.serves(&to.remote))) {
        write!(f, " endpoint {remote}")?;
    }
    match from {
        None if to.keepalive_secs == 0 => {}
        Some(from) if from.keepalive_secs == to.keepalive_secs => {}
        _ => write!(f, " persistent-keepalive {}", to.keepalive_secs)?,
    }
    if from.is_none_or(|from| from.allowed != to.allowed) {
        f.write_str(" allowed-ips ")?;
        for (index, net) in to.allowed.iter().enumerate() {
            write!(f, "{}{net}", if index == 0 { "" } else { "," })?;
        }
    }
    Ok(())
}
