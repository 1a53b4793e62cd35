//! Limits: a session ends when its peer wants more of us than it may have.

use std::time::Duration;

use crate::machine::Event;
use crate::machine::collision::Side;
use crate::rib::PeerId;
use crate::wire::Notification;
use crate::wire::notification::{cease, code};

use super::Speaker;
use super::peer::Peer;

impl Speaker {
    /// More routes than were allowed end the session (RFC 4486).
    pub(super) fn limit_prefixes(&mut self, id: PeerId, peer: &mut Peer, side: Side, now: Duration) {
        let too_many = peer.config.families.iter().find_map(|config| {
            let most = config.most_prefixes?;
            (self.rib.paths_in_family(id, config.family) > most as usize).then_some((config.family, most))
        });
        let Some((family, most)) = too_many else { return };
        // AFI, SAFI and the limit (section 4).
        let mut data = family.afi.to_be_bytes().to_vec();
        data.push(family.safi);
        data.extend_from_slice(&most.to_be_bytes());
        let why = Notification::new(code::CEASE, cease::MAXIMUM_PREFIXES).with(&data);
        self.end_with(peer, (id, side), why, now);
        // It would only happen again: a person looks first, and resumes.
        peer.wanted = false;
        for side in Side::ALL {
            self.step(id, peer, (side, Event::ManualStop), now);
        }
    }

    /// A peer that takes nothing, and for which too much is kept, is given up before its send hold time is over.
    pub(super) fn give_up(&mut self, id: PeerId, peer: &mut Peer, now: Duration) {
        let Some(side) = peer.established() else { return };
        self.end_with(peer, (id, side), Notification::new(code::CEASE, cease::OUT_OF_RESOURCES), now);
    }

    fn end_with(&mut self, peer: &mut Peer, (id, side): (PeerId, Side), why: Notification, now: Duration) {
        let before = std::mem::replace(&mut peer.cease, why);
        self.step(id, peer, (side, Event::AutomaticStop), now);
        peer.cease = before;
    }
}
