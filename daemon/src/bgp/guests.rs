//! [`Guests`]: peers that nobody named and that come from a range: let in while there is room, forgotten when they go, and known again when they come and
//! go too often.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bgp::rib::PeerId;
use bgp::wire::notification::cease;
use ipnet::IpNet;

use super::roster::{Seat, Stranger, member};
use super::shell::Shell;
use super::wish::{NeighbourName, Origin};

/// How long it is remembered that somebody failed: as long as a session must hold to be none of a peer that comes and goes.
const REMEMBERED: Duration = Duration::from_secs(60);

/// Of how many that is remembered.
const MOST_REMEMBERED: usize = 4096;

/// What is known of those that come from ranges beside their seats.
#[derive(Debug, Default)]
pub(super) struct Guests {
    /// Ranges that have been said to be full.
    pub full: HashSet<IpNet>,
    /// How often who is forgotten had failed, and when that was.
    failures: HashMap<IpAddr, (u32, Duration)>,
}

impl Guests {
    fn forget(&mut self, address: IpAddr, failures: u32, now: Duration) {
        if failures > 0 && self.failures.len() < MOST_REMEMBERED {
            self.failures.insert(address, (failures, now));
        }
    }

    fn recall(&mut self, address: IpAddr) -> u32 {
        self.failures.remove(&address).map_or(0, |(failures, _)| failures)
    }
}

impl Shell {
    /// A peer that somebody connects from.
    pub(super) fn stranger(&mut self, remote: SocketAddr, now: Duration) -> Result<PeerId, Stranger> {
        let range = self.roster.range(&self.wish.ranges, remote.ip())?;
        let neighbour = member(range, remote.ip());
        let most = Stranger::TooMany(range.prefix, range.most);
        let id = self.add(NeighbourName(remote.ip().to_string()), neighbour, now).ok_or(most)?;
        let failures = self.guests.recall(remote.ip());
        self.speaker.recall(id, failures);
        Ok(id)
    }

    /// Forgets peers of ranges whose sessions are over and whose routes nobody keeps.
    pub(super) fn forget_guests(&mut self, now: Duration) {
        self.guests.failures.retain(|_, (_, at)| now.saturating_sub(*at) < REMEMBERED);
        let guest = |seat: &Seat| matches!(seat.neighbour.origin, Origin::Range(_));
        let over = self.roster.seats().filter(|(id, seat)| guest(seat) && self.speaker.rests(*id));
        let over: Vec<(PeerId, Option<IpAddr>)> = over.map(|(id, seat)| (id, seat.address)).collect();
        if !over.is_empty() {
            self.guests.full.clear();
        }
        for (id, address) in over {
            let failures = self.speaker.failures(id);
            address.into_iter().for_each(|address| self.guests.forget(address, failures, now));
            self.remove(id, cease::DECONFIGURED, now);
        }
    }
}
