//! What a peer is told, and how that changes while its session stays: RFC 2918 is there so that policy can change without a reset.

use std::sync::Arc;
use std::time::Duration;

use crate::machine::Event;
use crate::machine::collision::Side;
use crate::policy::Policy;
use crate::rib::export::Hops;
use crate::rib::{GroupTerms, HopRule, PeerId};
use crate::wire::notification::{cease, code};
use crate::wire::refresh::Subtype;
use crate::wire::terms::{FamilyTerms, Neighbour, Terms};
use crate::wire::{Notification, Refresh, message};

use super::agreement::Agreement;
use super::config::{LocalAddresses, PeerConfig};
use super::peer::{Connection, Peer};
use super::{Output, Speaker};

/// What new policies did to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyChange {
    /// Nothing: they are the old ones, or there is no session.
    Nothing,
    /// It stays: the peer was asked for its routes again, or is told what is true now.
    Refreshed,
    /// It begins anew: the peer does not send its routes again when asked (RFC 2918), and we keep none that were rejected.
    Reset,
}

impl Speaker {
    /// A peer whose session is up is told our routes, once they are all there.
    pub(super) fn join(&mut self, id: PeerId, peer: &mut Peer) {
        if peer.joined || !self.tells() {
            return;
        }
        for group in groups(peer) {
            for (viewer, stage) in self.shadows_of(id) {
                self.rib.shadow(viewer, id, stage.of(group.clone()));
            }
            self.rib.join(id, group);
            peer.joined = true;
        }
        self.withhold_ends(id, peer);
    }

    /// A peer is told on other terms, and whoever is shown what it is told with it.
    fn rejoin(&mut self, id: PeerId, peer: &Peer) {
        for group in groups(peer).into_iter().filter(|_| peer.joined) {
            for (viewer, stage) in self.shadows_of(id) {
                self.rib.rejoin(viewer, stage.of(group.clone()));
            }
            self.rib.rejoin(id, group);
        }
    }

    /// Gives a peer other policies, import and export. Its session stays if it can send its routes again.
    pub fn set_policies(
        &mut self,
        id: PeerId,
        (import, export): (Option<Arc<Policy>>, Option<Arc<Policy>>),
        now: Duration,
    ) -> PolicyChange {
        let mut done = PolicyChange::Nothing;
        self.with(id, now, |speaker, peer| {
            let (takes, tells) = (peer.config.import != import, peer.config.export != export);
            (peer.config.import, peer.config.export) = (import, export);
            let Some(side) = peer.established() else { return };
            if takes {
                done = speaker.ask_again(id, peer, side, now);
            }
            if tells && done != PolicyChange::Reset {
                speaker.rejoin(id, peer);
                done = PolicyChange::Refreshed;
            }
        });
        self.wait_anew();
        self.flush();
        done
    }

    /// Our addresses towards a peer are these, and may be others than when its session began: a host that has another interface with the address
    /// it had keeps its connections, and its peers would send to one that is gone. Whether they are others; the peer is told all again then.
    pub fn readdress(&mut self, id: PeerId, local: LocalAddresses, now: Duration) -> bool {
        let mut others = false;
        self.with(id, now, |speaker, peer| {
            let connection = peer.established().and_then(|side| peer.connection_mut(side));
            let Some(connection) = connection.filter(|connection| connection.local != local) else { return };
            connection.local = local;
            others = true;
            speaker.rib.set_own_addresses(id, local.all());
            speaker.rejoin(id, peer);
        });
        if others {
            self.flush();
        }
        others
    }

    /// The import policy is another one: the peer's routes are to be judged by it, those too that the old one rejected.
    fn ask_again(&mut self, id: PeerId, peer: &mut Peer, side: Side, now: Duration) -> PolicyChange {
        let Some(agreement) = peer.agreement().cloned() else { return PolicyChange::Nothing };
        if !agreement.refresh {
            let before = std::mem::replace(&mut peer.cease, Notification::new(code::CEASE, cease::CONFIGURATION));
            for side in Side::ALL {
                self.step(id, peer, (side, Event::ManualStop), now);
            }
            peer.cease = before;
            peer.forget_restart();
            self.rib.lose(id);
            self.start(id, peer, now);
            return PolicyChange::Reset;
        }
        self.rib.set_import(id, peer.config.import_policy(agreement.relation));
        self.request_routes(id, peer, (side, &agreement));
        PolicyChange::Refreshed
    }

    /// Asks a peer that can be asked to send all its routes again (RFC 2918).
    pub(super) fn request_routes(&mut self, id: PeerId, peer: &mut Peer, (side, agreement): (Side, &Agreement)) {
        for terms in &agreement.terms.families {
            let refresh = Refresh { family: terms.family, subtype: Subtype::Request };
            peer.say(side, message::refresh(&refresh));
        }
        self.outputs.push(Output::Send(id, side));
    }
}

/// What a peer whose session is up is told, a group for each family.
pub(super) fn groups(peer: &Peer) -> Vec<GroupTerms> {
    let connection = peer.established().and_then(|side| peer.connection(side));
    let agreed = connection.and_then(|connection| Some((connection, connection.agreement.as_ref()?)));
    let families = |(connection, agreement): (&Connection, &Agreement)| {
        agreement.terms.families.iter().map(|terms| group(peer, connection, (agreement, terms))).collect()
    };
    agreed.map_or_else(Vec::new, families)
}

fn group(peer: &Peer, connection: &Connection, (agreement, terms): (&Agreement, &FamilyTerms)) -> GroupTerms {
    let relation = agreement.relation;
    let config = peer.config.families.iter().find(|config| config.family == terms.family);
    let rule = if relation.is_external() { HopRule::Own } else { HopRule::Keep };
    GroupTerms {
        relation,
        role: peer.config.role.filter(|_| relation.is_external()),
        wire: Terms { neighbour: Neighbour::Internal, families: vec![*terms], ..agreement.terms.clone() },
        family: *terms,
        hops: Hops { v4: connection.local.v4, v6: connection.local.v6, rule: peer.config.hops.unwrap_or(rule) },
        policy: PeerConfig::policy(peer.config.export.as_ref(), relation),
        long_lived: agreement.long_lived.iter().any(|long| long.family == terms.family),
        most_paths: config.map_or(1, |config| config.most_paths),
    }
}
