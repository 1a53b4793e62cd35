//! Sessions that are lost and come back: what is kept meanwhile, and for how long (RFC 4724 section 4.2, RFC 8538 section 4, RFC 9494
//! section 4.2).

use std::time::Duration;

use crate::machine::collision::Side;
use crate::machine::{Event, Loss, State};
use crate::rib::PeerId;
use crate::wire::capability::{Forwarding, GracefulRestart};
use crate::wire::header::frame;
use crate::wire::{Family, Kind, MessageLimit, Open};

use super::agreement::{Agreement, agree};
use super::peer::Peer;
use super::{Readiness, Speaker};

/// After a peer is back, its End-of-RIB is awaited so long at most (RFC 4724 section 4.2 leaves the value open).
const END_OF_RIB_AWAITED: Duration = Duration::from_secs(360);

/// What becomes of a connection that a peer opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acceptance {
    /// It is taken.
    Now,
    /// Once its OPEN has come and is one that we agree with: there is a session, and this may be the first that we hear of its end.
    AfterOpen,
    /// It is closed without a word.
    Never,
}

impl Peer {
    /// Nothing is kept any more.
    pub fn forget_restart(&mut self) {
        (self.kept, self.stale_until, self.long) = (None, None, false);
    }

    /// The families whose routes are kept after a loss.
    fn kept_families(agreement: &Agreement, loss: Loss) -> Vec<Family> {
        let keeps = match loss {
            Loss::Ended => false,
            Loss::Broken => true,
            Loss::Notified => agreement.notifications,
        };
        let restart = agreement.graceful.as_ref().filter(|_| keeps);
        let families = restart.map_or(&[][..], |restart| &restart.families);
        families.iter().map(|(family, _)| *family).filter(|family| agreement.terms.of(*family).is_some()).collect()
    }
}

impl Speaker {
    /// What becomes of a connection that a peer opens now.
    pub fn acceptance(&self, id: PeerId) -> Acceptance {
        let Some(peer) = self.peers.get(&id) else { return Acceptance::Never };
        match peer.state(Side::Incoming) {
            State::Established if peer.keeps_over_restart() => Acceptance::AfterOpen,
            State::Active if peer.connection(Side::Incoming).is_none() => Acceptance::Now,
            _ => Acceptance::Never,
        }
    }

    /// Whether a peer's first bytes on a connection are an OPEN that would make a session; `None` while they may become one. Any host can connect
    /// and say nothing, and a session does not end for that.
    pub fn begins_with_open(&self, id: PeerId, bytes: &[u8]) -> Option<bool> {
        let agreed = |open| self.peers.get(&id).is_some_and(|peer| agree(&peer.config, &self.settings, open).is_ok());
        match frame(bytes, MessageLimit::Standard) {
            Ok(None) => None,
            Ok(Some(frame)) => Some(frame.kind == Kind::Open && Open::decode(frame.body).is_ok_and(agreed)),
            Err(_) => Some(false),
        }
    }

    /// Whether a connection that a peer opened can be taken; if not, it is to be closed without a word. Under graceful restart it takes the place
    /// of one whose end nobody has seen (RFC 4724 section 4.2): called for such a one when its OPEN is there.
    pub fn may_accept(&mut self, id: PeerId, now: Duration) -> bool {
        let acceptance = self.acceptance(id);
        if acceptance == Acceptance::AfterOpen {
            self.with(id, now, |speaker, peer| {
                speaker.step(id, peer, (Side::Incoming, Event::TcpFails), now);
                // As one that failed: who restarts once a second is none that restarts gracefully.
                speaker.settle(id, peer, now);
            });
        }
        acceptance != Acceptance::Never && self.acceptance(id) == Acceptance::Now
    }

    /// A session is lost: its routes become stale or go.
    pub(super) fn lose(&mut self, id: PeerId, peer: &mut Peer, (agreement, loss): (Agreement, Loss), now: Duration) {
        self.rib.leave(id);
        self.shadows_of(id).into_iter().for_each(|(viewer, _)| self.rib.leave(viewer));
        peer.joined = false;
        peer.withheld.clear();
        let kept = Peer::kept_families(&agreement, loss);
        for family in Family::ALL {
            match kept.contains(&family) {
                // What was stale already and never came back goes (RFC 4724 section 4.2).
                true => {
                    self.rib.sweep(id, family);
                    self.rib.mark_stale(id, family);
                    peer.marks.put(family);
                }
                false => self.rib.lose_family(id, family),
            }
        }
        peer.forget_restart();
        if !kept.is_empty() {
            let secs = agreement.graceful.as_ref().map_or(0, |restart| restart.restart_secs);
            peer.stale_until = Some(now + Duration::from_secs(secs.into()));
            peer.kept = Some(agreement);
        }
    }

    /// A session is there again: what it did not keep goes, the rest waits for its End-of-RIB.
    pub(super) fn return_from_restart(&mut self, id: PeerId, peer: &mut Peer, agreement: &Agreement, now: Duration) {
        if peer.kept.take().is_none() {
            return;
        }
        let none = GracefulRestart::default();
        let restart = agreement.graceful.as_ref().unwrap_or(&none);
        for family in Family::ALL {
            if !restart.families.contains(&(family, Forwarding::Kept)) {
                self.rib.sweep(id, family);
            }
        }
        peer.long = false;
        peer.stale_until = Some(now + END_OF_RIB_AWAITED);
    }

    /// The time for stale routes is over: those that may be kept for long are, the rest goes.
    pub(super) fn stale_time_is_over(&mut self, id: PeerId, peer: &mut Peer, now: Duration) {
        peer.stale_until = None;
        let long = match (&peer.kept, peer.long) {
            (Some(agreement), false) => agreement.long_lived.clone(),
            _ => Vec::new(),
        };
        let secs = |family| long.iter().find(|long| long.family == family).map_or(0, |long| long.stale_secs);
        let longest = Family::ALL.into_iter().map(secs).max().unwrap_or(0);
        for family in Family::ALL {
            match secs(family) {
                0 => self.rib.sweep(id, family),
                _ => self.rib.mark_long_lived(id, family),
            }
        }
        if longest > 0 {
            peer.long = true;
            peer.stale_until = Some(now + Duration::from_secs(longest.into()));
        } else {
            peer.kept = None;
        }
    }

    /// A peer has sent all routes of a family.
    pub(super) fn end_of_rib(&mut self, id: PeerId, peer: &mut Peer, family: Family) {
        if peer.marks.take(family) {
            self.rib.sweep(id, family);
        }
    }

    /// Whether peers are told routes.
    pub(super) fn tells(&self) -> bool {
        self.readiness == Readiness::Complete
    }
}
