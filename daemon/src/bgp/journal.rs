//! What is said of sessions: one line a change of state, and each trouble once.

use std::time::Duration;

use bgp::rib::change::Destination;
use bgp::rib::{Change, PeerId};
use bgp::speaker::CLOSED_WITHOUT_A_WORD;
use bgp::wire::evpn::Route;
use bgp::wire::notification::code;
use bgp::wire::{Family, Notification};

use super::portrait::unheard;
use super::shell::Shell;
use super::tidings::Tidings;
use super::views::Happening;
use super::wish::Necessity;

/// Reasons for which there is no session that are said of one peer until there was one: who makes up new ones is not heard for ever.
const MOST_REASONS: usize = 8;

/// Between what a peer said when it left and what is so now.
const SINCE_THEN: &str = "; since then ";

impl Shell {
    /// A session is up.
    pub(super) fn up(&mut self, id: PeerId, _now: Duration) {
        let status = self.speaker.status(id);
        let Some(seat) = self.roster.seat_mut(id) else { return };
        (seat.up, seat.trouble, seat.attempts) = (true, None, 0);
        // One that is still under way would be a second connection, for nothing.
        if let Some(attempt) = seat.attempt.take() {
            attempt.abort();
        }
        seat.said.clear();
        let families = status.map(|status| status.families).unwrap_or_default();
        let names: Vec<String> = families.iter().map(Family::to_string).collect();
        tracing::info!("BGP session with {} is up: {}", seat.label(), names.join(", "));
        let neighbour = seat.name.to_string();
        // What is not spoken will never be told.
        for family in Family::ALL.into_iter().filter(|family| !families.contains(family)) {
            self.settling.told_all(id, family);
        }
        self.happened(Happening::Up { neighbour });
        self.weigh(id);
    }

    /// A session is down, or an attempt failed.
    pub(super) fn down(&mut self, id: PeerId, reason: String, _now: Duration) {
        let Some(seat) = self.roster.seat_mut(id) else { return };
        let neighbour = seat.name.to_string();
        match std::mem::take(&mut seat.up) {
            true => {
                tracing::warn!("BGP session with {} is down: {reason}", seat.label());
                seat.trouble = Some(reason.clone());
            }
            // Who has just been refused, or has refused us, often says nothing for a while: why it was stays true.
            false
                if reason == CLOSED_WITHOUT_A_WORD
                    && seat.trouble.as_ref().is_some_and(|why| why.contains(" ended it: ")) => {}
            // There was a connection, and never a word.
            false if reason == format!("we ended it: {}", Notification::new(code::HOLD_TIMER, 0)) => {
                let why = format!("{reason}; {}", unheard(&seat.neighbour));
                self.trouble(id, why);
            }
            false => self.trouble(id, reason.clone()),
        }
        self.happened(Happening::Down { neighbour, reason });
        self.weigh(id);
    }

    /// A peer sent what is malformed, and its session goes on (RFC 7606 section 8 wants it known).
    pub(super) fn malformed(&mut self, id: PeerId, fault: &str) {
        let Some(seat) = self.roster.seat(id) else { return };
        tracing::warn!("BGP peer {} sent a malformed UPDATE: {fault}; more in this session are counted", seat.label());
    }

    /// A peer has nearly as many routes as it may: somebody may raise the limit before it ends the session.
    pub(super) fn near_limit(&mut self, id: PeerId, family: Family, most: u32) {
        let Some(seat) = self.roster.seat(id) else { return };
        tracing::warn!(
            "BGP peer {} has nearly as many {family} routes as it may, which are {most} (MaxPrefixes)",
            seat.label()
        );
    }

    /// An attempt of ours to connect failed. Beside a session that came up the other way that is nothing to look for.
    pub(super) fn attempt_failed(&mut self, id: PeerId, why: String) {
        let Some(seat) = self.roster.seat(id).filter(|seat| !seat.up) else { return };
        // What the peer said when it left explains why nobody is there.
        let left = seat.trouble.as_deref().filter(|before| before.starts_with("the peer ended it: "));
        let left =
            left.and_then(|before| before.split(SINCE_THEN).next()).map(|before| format!("{before}{SINCE_THEN}{why}"));
        self.trouble(id, left.unwrap_or(why));
    }

    /// Why there is no session; each reason is said once until there was one, though two ends that try in turn have two in turn.
    pub(super) fn trouble(&mut self, id: PeerId, why: String) {
        let Some(seat) = self.roster.seat_mut(id) else { return };
        if seat.trouble.as_ref() != Some(&why) {
            if seat.said.len() < MOST_REASONS && seat.said.insert(why.clone()) {
                tracing::warn!("no BGP session with {}: {why}", seat.label());
            }
            seat.trouble = Some(why);
            self.weigh(id);
        }
    }

    /// Tells whether a peer that this node needs is up, and why it is not.
    pub(super) fn weigh(&mut self, id: PeerId) {
        let Some(seat) = self.roster.seat(id) else { return };
        let needed = seat.neighbour.necessity == Necessity::Required && !seat.up;
        let why = seat.trouble.as_deref().unwrap_or("no session yet");
        let sentence = needed.then(|| format!("BGP peer {}, which is required, is not up: {why}", seat.label()));
        self.tidings.need(&seat.name, sentence);
    }

    fn happened(&mut self, happening: Happening) {
        self.watchers.retain(|watcher| watcher.try_send(happening.clone()).is_ok());
    }
}

impl Happening {
    /// What a change of routes is to who watches.
    pub(super) fn of(change: &Change, tidings: &Tidings) -> Option<Happening> {
        let written = |(peer, hop): &_| tidings.written(*peer, hop).unwrap_or_else(|| "this node".to_owned());
        let next_hops = change.paths.iter().map(written).collect();
        Some(match &change.destination {
            Destination::Prefix(prefix) => Happening::Route { prefix: *prefix, next_hops },
            Destination::Evpn(bytes) => Happening::Evpn { route: Route::decode(bytes)?.to_string(), next_hops },
        })
    }
}
