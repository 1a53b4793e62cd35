//! BGP peers on the page: one set of samples a peer, by its name.

use std::fmt;

use prometheus_client::registry::Unit;

use super::page::{Label, Page};
use crate::bfd::Tally;
use crate::bgp::views::PeerView;

/// Writes them; nothing where there is no peer.
pub fn describe(peers: &[PeerView], page: &mut Page<'_>) -> fmt::Result {
    if peers.is_empty() {
        return Ok(());
    }
    let up = |peer: &PeerView| (labels(peer), u64::from(peer.is_up()));
    page.gauge_each("towpath_bgp_peer_up", "Whether the session is established", peers.iter().map(up))?;
    let required = |peer: &PeerView| (labels(peer), u64::from(peer.required));
    page.gauge_each(
        "towpath_bgp_peer_required",
        "Whether this node is not ready without it",
        peers.iter().map(required),
    )?;
    let state = |peer: &PeerView| (with(peer, [("state", peer.state.clone())]), 1);
    page.gauge_each("towpath_bgp_peer_state", "The state that the peer is in", peers.iter().map(state))?;
    let flaps = |peer: &PeerView| (labels(peer), u64::from(peer.flaps));
    page.counter_each("towpath_bgp_peer_flaps", "How often the session was lost", peers.iter().map(flaps))?;
    page.counter_each("towpath_bgp_peer_messages", "Messages by direction and type", peers.iter().flat_map(messages))?;
    let malformed = |peer: &PeerView| (labels(peer), peer.malformed);
    page.counter_each(
        "towpath_bgp_peer_malformed_updates",
        "UPDATEs with something malformed in them, treated as RFC 7606 says",
        peers.iter().map(malformed),
    )?;
    let prefixes = |peer: &PeerView| {
        [("in", peer.prefixes_in), ("out", peer.prefixes_out)]
            .map(|(way, count)| (with(peer, [("direction", way.to_owned())]), count as u64))
    };
    page.gauge_each(
        "towpath_bgp_peer_prefixes",
        "Routes kept of the peer, and told to it",
        peers.iter().flat_map(prefixes),
    )?;
    let queue = |peer: &PeerView| (labels(peer), peer.queued_bytes as u64);
    page.gauge_in_each(
        "towpath_bgp_peer_queue",
        (Unit::Bytes, "What waits to be sent to it"),
        peers.iter().map(queue),
    )?;
    let stale = |peer: &PeerView| (labels(peer), u64::from(peer.stale));
    page.gauge_each(
        "towpath_bgp_peer_stale",
        "Whether its routes are kept though it is away",
        peers.iter().map(stale),
    )?;
    let error = |peer: &PeerView| {
        let error = peer.trouble.clone().unwrap_or_default();
        (with(peer, [("error", error.chars().take(LONGEST_ERROR).collect())]), 1)
    };
    page.gauge_each("towpath_bgp_peer_last_error", "Why the last session or attempt ended", peers.iter().map(error))
}

/// Writes what BFD counts.
pub fn describe_bfd(tally: &Tally, page: &mut Page<'_>) -> fmt::Result {
    page.counter("towpath_bfd_packets_received", "Packets of BFD that came, of all kinds", tally.received())?;
    let discarded = tally.discarded().into_iter().map(|(why, count)| (vec![("reason", why.to_string())], count));
    page.counter_each("towpath_bfd_packets_discarded", "Those of them that were not taken, by reason", discarded)
}

/// Of an error, so much stands in a label.
const LONGEST_ERROR: usize = 200;

fn labels(peer: &PeerView) -> Vec<Label> {
    with(peer, [])
}

fn with<const N: usize>(peer: &PeerView, more: [Label; N]) -> Vec<Label> {
    let asn = peer.asn.map_or_else(String::new, |asn| asn.to_string());
    [("peer", peer.name.clone()), ("asn", asn)].into_iter().chain(more).collect()
}

fn messages(peer: &PeerView) -> Vec<(Vec<Label>, u64)> {
    let ways = [("in", &peer.messages_in), ("out", &peer.messages_out)];
    let one = |way: &'static str, kind: &String, count: u64| {
        (with(peer, [("direction", way.to_owned()), ("type", kind.clone())]), count)
    };
    ways.into_iter().flat_map(|(way, counts)| counts.iter().map(move |(kind, count)| one(way, kind, *count))).collect()
}
