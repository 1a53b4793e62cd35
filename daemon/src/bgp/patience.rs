//! [`Patience`]: who waits for BFD before its first session after a start, and until when.
//!
//! A process that died left BFD sessions behind that its peers still believe in. The first packet of the new one ends them, or their own silence
//! does; a BGP session that is back before that would be ended with them, and its routes with it. So BFD comes first, for as long as peers keep our
//! routes (RFC 4724) and for no longer than a peer without BFD may be kept waiting.
//!
//! And who is told of a VXLAN waits for a moment, for the sake of FRR: it forgets EVPN's routes with the session, whatever was agreed upon, and where they
//! are back before that is done, the forgetting comes last: its kernel keeps the routes and loses the neighbour that they lead to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bgp::rib::PeerId;
use bgp::speaker::Direction;
use bgp::wire::Family;

use super::liveness::{Liveness, Strictness};
use super::shell::Shell;

/// Until it is up each end sends a packet a second (RFC 5880 section 6.8.3), and it takes three.
const HANDSHAKE: Duration = Duration::from_secs(3);

/// What FRR needs to forget EVPN's routes; some 60 ms were seen.
const FORGETTING: Duration = Duration::from_millis(500);

/// Who waits.
#[derive(Debug, Default)]
pub(super) struct Patience {
    waiting: BTreeMap<PeerId, Duration>,
    /// Of them, who waits for a moment, whatever BFD says; that comes then.
    moment: BTreeSet<PeerId>,
    /// Who has waited, or need not.
    done: BTreeSet<PeerId>,
    /// Somebody waits of whom BFD does not know.
    pub unwatched: bool,
}

impl Patience {
    /// Whether a peer waits; from the first time on that it is asked, until then.
    fn waits(&mut self, id: PeerId, until: Duration, now: Duration) -> bool {
        if self.done.contains(&id) {
            return false;
        }
        let known = self.waiting.len();
        let until = *self.waiting.entry(id).or_insert(until);
        self.unwatched |= self.waiting.len() > known;
        if until <= now {
            self.end(id);
        }
        until > now
    }

    /// Whether it is so soon after the start that a peer may still have to forget what the process before us said.
    fn waits_from_start(&mut self, id: PeerId, now: Duration) -> bool {
        let waits = now < FORGETTING;
        if waits {
            self.waiting.insert(id, FORGETTING);
            self.moment.insert(id);
        }
        waits
    }

    /// Whether a peer waits now.
    pub fn is_waiting(&self, id: PeerId) -> bool {
        self.waiting.contains_key(&id)
    }

    /// A peer waits no longer, and not again; whether it did.
    fn end(&mut self, id: PeerId) -> bool {
        self.done.insert(id);
        self.waiting.remove(&id).is_some()
    }

    /// A peer is wanted no longer.
    pub fn forget(&mut self, id: PeerId) {
        self.waiting.remove(&id);
        self.moment.remove(&id);
        self.done.remove(&id);
    }

    /// When the first has waited long enough.
    pub fn deadline(&self) -> Option<Duration> {
        self.waiting.values().min().copied()
    }

    fn over(&self, now: Duration) -> Vec<PeerId> {
        self.waiting.iter().filter(|(_, until)| **until <= now).map(|(id, _)| *id).collect()
    }
}

impl Shell {
    /// Whether a peer's first session is for later: it may still have a BFD session with a process that was there before us.
    pub(super) fn comes_after_bfd(&mut self, id: PeerId, now: Duration) -> bool {
        let Some(seat) = self.roster.seat(id) else { return false };
        let session = &seat.neighbour.session;
        // Whoever keeps nothing has nothing to lose, and who alone may connect is not sent away: it may come back late.
        let keeps = session.graceful.is_some_and(|graceful| now < Duration::from_secs(graceful.restart_secs.into()));
        let overlay = session.families.iter().any(|family| family.family == Family::EVPN);
        if overlay && keeps && session.direction != Direction::Passive && self.patience.waits_from_start(id, now) {
            return true;
        }
        let Some(seat) = self.roster.seat(id) else { return false };
        let session = &seat.neighbour.session;
        let loose = seat.neighbour.liveness.filter(|liveness| liveness.strictness == Strictness::Loose);
        let Some(Liveness { settings, .. }) = loose.filter(|_| keeps && session.direction != Direction::Passive) else {
            return false;
        };
        if self.is_path_known(seat) {
            self.patience.end(id);
            return false;
        }
        let detection = settings.receive.saturating_mul(settings.multiplier.get().into());
        self.patience.waits(id, now + HANDSHAKE + detection, now)
    }

    /// BFD has said how a peer's path is: if that was waited for, its sessions begin.
    pub(super) fn need_not_wait(&mut self, id: PeerId, now: Duration) {
        if self.patience.end(id) {
            self.begin(id, now);
        }
    }

    /// Those who waited long enough begin.
    pub(super) fn wait_no_longer(&mut self, now: Duration) {
        for id in self.patience.over(now) {
            match self.patience.moment.remove(&id) {
                true => {
                    self.patience.waiting.remove(&id);
                    self.begin(id, now);
                }
                false => self.need_not_wait(id, now),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn nobody_waits_longer_than_at_first_said_nor_twice() {
        let mut patience = Patience::default();
        assert!(patience.waits(PeerId(1), 4 * SECOND, SECOND) && patience.unwatched);
        patience.unwatched = false;
        assert!(patience.waits(PeerId(1), 9 * SECOND, 3 * SECOND) && !patience.unwatched);
        assert_eq!((patience.deadline(), patience.over(3 * SECOND)), (Some(4 * SECOND), vec![]));
        assert_eq!(patience.over(4 * SECOND), [PeerId(1)]);
        assert!(patience.end(PeerId(1)) && !patience.end(PeerId(1)));
        assert!(!patience.waits(PeerId(1), 9 * SECOND, 5 * SECOND));
        assert_eq!(patience.deadline(), None);
        // Another one with its number.
        patience.forget(PeerId(1));
        assert!(patience.waits(PeerId(1), 9 * SECOND, 5 * SECOND));
    }
}
