//! [`Settling`]: whether everybody who was expected after a start has told all routes, so that what nobody told may go from the kernel.
//!
//! A peer has told all of a family with its End-of-RIB (RFC 4724 section 2), or when the time in which we said we would be back is over.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bgp::rib::PeerId;
use bgp::wire::Family;

/// Families that lead to routes in the kernel.
const FAMILIES: [Family; 3] = Family::ALL;

/// Who is still expected to tell.
#[derive(Debug, Default)]
pub(super) struct Settling {
    complete: bool,
    /// With the time up to which it has to come up and tell.
    missing: BTreeMap<Family, BTreeMap<PeerId, Duration>>,
    /// Who told before it was known who is expected.
    told: BTreeSet<(PeerId, Family)>,
}

impl Settling {
    /// Whether it is known who is expected.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// These are expected, with the seconds that each was told we would be away. Only the first time counts.
    pub fn expect(&mut self, peers: BTreeMap<PeerId, u16>, now: Duration) {
        if self.complete {
            return;
        }
        self.complete = true;
        for family in FAMILIES {
            let silent = peers.iter().filter(|(peer, _)| !self.told.contains(&(**peer, family)));
            let missing = silent.map(|(peer, secs)| (*peer, now + Duration::from_secs((*secs).into()))).collect();
            self.missing.insert(family, missing);
        }
    }

    /// A peer has told all of a family; or does not speak it.
    pub fn told_all(&mut self, peer: PeerId, family: Family) {
        match self.missing.get_mut(&family) {
            Some(missing) => {
                missing.remove(&peer);
            }
            None if !self.complete => {
                self.told.insert((peer, family));
            }
            None => {}
        }
    }

    /// A peer is wanted no longer.
    pub fn forget(&mut self, peer: PeerId) {
        self.missing.values_mut().for_each(|missing| {
            missing.remove(&peer);
        });
    }

    /// When waiting ends.
    pub fn deadline(&self) -> Option<Duration> {
        self.missing.values().flat_map(BTreeMap::values).min().copied()
    }

    /// Families that are settled since it was last asked.
    pub fn settled(&mut self, now: Duration) -> Vec<Family> {
        self.missing.values_mut().for_each(|missing| missing.retain(|_, deadline| *deadline > now));
        let told = self.missing.iter().filter(|(_, missing)| missing.is_empty());
        let settled: Vec<Family> = told.map(|(family, _)| *family).collect();
        settled.iter().for_each(|family| {
            self.missing.remove(family);
        });
        settled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_family_is_settled_when_the_last_has_told_or_the_time_is_over() {
        let mut settling = Settling::default();
        settling.told_all(PeerId(1), Family::IPV4);
        assert_eq!(settling.settled(SECOND), []);
        settling.expect(BTreeMap::from([(PeerId(1), 30), (PeerId(2), 60)]), SECOND);
        assert_eq!(settling.settled(SECOND), []);
        settling.told_all(PeerId(2), Family::IPV4);
        assert_eq!(settling.settled(SECOND), [Family::IPV4]);
        settling.told_all(PeerId(1), Family::IPV6);
        assert_eq!(settling.settled(60 * SECOND), []);
        assert_eq!(settling.deadline(), Some(61 * SECOND));
        assert_eq!(settling.settled(61 * SECOND), [Family::IPV6, Family::EVPN]);
        assert_eq!((settling.settled(62 * SECOND), settling.deadline()), (vec![], None));
    }

    #[test]
    fn nobody_is_waited_for_who_is_wanted_no_longer_and_nobody_at_all_is_settled_at_once() {
        let mut settling = Settling::default();
        settling.expect(BTreeMap::from([(PeerId(1), 30)]), SECOND);
        settling.forget(PeerId(1));
        assert_eq!(settling.settled(SECOND).len(), 3);
        let mut alone = Settling::default();
        alone.expect(BTreeMap::new(), SECOND);
        assert_eq!(alone.settled(SECOND).len(), 3);
    }
}
