//! What BFD watches for the speaker, and what follows from what it says (RFC 5882 section 4, draft-ietf-idr-bgp-bfd-strict-mode).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use bgp::rib::PeerId;

use super::learnt::NextHop;
use super::liveness::{BfdHops, BfdKey, BfdNews, BfdPaths, BfdState, Strictness};
use super::roster::Seat;
use super::shell::Shell;
use super::tracking::is_of_a_link;
use super::wish::{Distance, Place};

impl Shell {
    /// Whether a session must wait until BFD says that its path is up.
    pub(super) fn waits_for_path(&self, id: PeerId) -> bool {
        let strict = |seat: &Seat| {
            seat.neighbour.liveness.is_some_and(|liveness| liveness.strictness == Strictness::Strict)
                && key(seat).and_then(|key| self.heard_paths.get(&key)) != Some(&BfdState::Up)
        };
        self.roster.seat(id).is_some_and(strict)
    }

    /// Whether BFD says that a peer's path is up, or that the peer wants none of it.
    pub(super) fn is_path_known(&self, seat: &Seat) -> bool {
        let heard = key(seat).and_then(|key| self.heard_paths.get(&key));
        matches!(heard, Some(BfdState::Up | BfdState::AdminDown))
    }

    /// What somebody should know of a path that is to be watched and is not up.
    pub(super) fn note_of_path(&self, seat: &Seat) -> Option<String> {
        let remote = seat.address?;
        Some(match self.heard_paths.get(&key(seat)?) {
            Some(BfdState::Up) => return None,
            Some(BfdState::AdminDown) => {
                "BFD was switched off at the peer: a dead path is noticed by the hold time".into()
            }
            Some(BfdState::Down) => "BFD says that the path is down".into(),
            None => format!("BFD hears nothing of {remote}: is it on at the peer, and let through?"),
        })
    }

    /// All paths that are to be watched.
    pub(super) fn paths(&self) -> BfdPaths {
        let path = |seat: &Seat| Some((key(seat)?, seat.neighbour.liveness?.settings));
        self.roster.seats().filter_map(|(_, seat)| path(seat)).collect()
    }

    /// These alone are watched: what is known of others is true no longer. Of those that stay BFD says again which are up.
    pub(super) fn forget_paths(&mut self, watched: &BfdPaths) {
        self.heard_paths.retain(|key, _| watched.contains_key(key));
    }

    /// BFD says how a path is.
    pub(super) fn hear_of_path(&mut self, news: BfdNews, now: Duration) {
        let before = self.heard_paths.insert(news.key, news.state);
        if (before, news.state) == (Some(BfdState::Up), BfdState::Down) && news.key.hops == BfdHops::Single {
            let (address, of_link) = (news.key.remote, is_of_a_link(news.key.remote));
            self.tidings.lose(NextHop { address, link: news.key.link.filter(|_| of_link) });
        }
        let concerned: Vec<PeerId> =
            self.roster.seats().filter(|(_, seat)| key(seat) == Some(news.key)).map(|(id, _)| id).collect();
        for id in concerned {
            let Some(seat) = self.roster.seat(id) else { continue };
            match (before, news.state) {
                // Only what was up has failed; what was never up is no reason to end what is (RFC 5882 section 4.3).
                (Some(BfdState::Up), BfdState::Down) => {
                    tracing::info!("BFD says that the path to {} is down: {}", seat.label(), news.reason);
                    self.speaker.path_down(id, now);
                }
                (_, BfdState::Up) if before != Some(BfdState::Up) => {
                    tracing::info!("BFD says that the path to {} is up", seat.label());
                    // Whoever waited for it waits no longer.
                    self.speaker.path_up(id, now);
                }
                _ => {}
            }
            if news.state != BfdState::Down {
                self.need_not_wait(id, now);
            }
        }
    }
}

fn key(seat: &Seat) -> Option<BfdKey> {
    seat.neighbour.liveness?;
    let remote = seat.address?;
    let any = match remote {
        IpAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let local = match seat.neighbour.place {
        Place::Address { local, .. } => local.unwrap_or(any),
        Place::Link(_) => any,
    };
    let hops = match seat.neighbour.distance {
        Distance::Direct => BfdHops::Single,
        Distance::Secured(hops) if hops.get() == 1 => BfdHops::Single,
        Distance::Secured(hops) => BfdHops::Multi { least_ttl: u8::MAX - (hops.get() - 1) },
        // Who is not asked to send with 255 may not: BIRD sends with 64.
        Distance::Multihop(_) => BfdHops::Multi { least_ttl: 1 },
    };
    Some(BfdKey { local, remote, link: seat.link(), hops })
}
