//! Limits: a session ends when its peer wants more of us than it may have; before that somebody is told.

use std::time::Duration;

use crate::machine::Event;
use crate::machine::collision::Side;
use crate::rib::PeerId;
use crate::wire::Notification;
use crate::wire::notification::{cease, code};

use super::config::Excess;
use super::peer::Peer;
use super::{Output, Speaker};

impl Speaker {
    /// More routes than were allowed end the session (RFC 4486), or are said; nearly as many are said once a session.
    pub(super) fn limit_prefixes(&mut self, id: PeerId, peer: &mut Peer, side: Side, now: Duration) {
        let mut too_many = None;
        for config in &peer.config.families {
            let Some(limit) = config.limit else { continue };
            let count = self.rib.paths_in_family(id, config.family);
            if limit.is_near(count) && peer.near_limit.insert(config.family) {
                self.outputs.push(Output::NearLimit(id, config.family, limit.most));
            }
            if let Excess::Ended(again) = limit.excess
                && count > limit.most as usize
            {
                too_many = too_many.or(Some((config.family, limit.most, again)));
            }
        }
        let Some((family, most, again)) = too_many else { return };
        // AFI, SAFI and the limit (section 4).
        let mut data = family.afi.to_be_bytes().to_vec();
        data.push(family.safi);
        data.extend_from_slice(&most.to_be_bytes());
        let why = Notification::new(code::CEASE, cease::MAXIMUM_PREFIXES).with(&data);
        let then = match again {
            Some(again) => format!("it is met again in {} s", again.as_secs()),
            None => "it is met again when MaxPrefixes is another".to_owned(),
        };
        peer.diagnosis = Some(format!("it told more than {most} {family} routes, which are too many prefixes; {then}"));
        self.end_with(peer, (id, side), why, now);
        // It would only happen again: a person looks first, and resumes; or it has some time to forget them.
        (peer.wanted, peer.resumes) = (false, again.map(|again| now + again));
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
