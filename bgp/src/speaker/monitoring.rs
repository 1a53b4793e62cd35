//! What others than peers are shown: what peers say, as they say it, and what is best. Nothing of it is kept: who begins to look
//! asks for everything again.

use std::time::Duration;

use crate::bmp::{End, Stage};
use crate::machine::State;
use crate::machine::collision::Side;
use crate::policy::Policy;
use crate::rib::{Chunk, GroupTerms, HopRule, Hops, PeerId, Relation};
use crate::wire::terms::{FamilyTerms, NextHops, Terms};
use crate::wire::update::end_of_rib;
use crate::wire::{Family, Kind, MessageLimit};

use super::peer::Peer;
use super::telling::groups;
use super::{Agreement, Output, Speaker};

impl Speaker {
    /// Says from now on what peers say ([`Output::Heard`], [`Output::Ended`]), and asks all of them to say it again (RFC 2918): no UPDATE is kept.
    pub fn show_peers(&mut self, now: Duration) {
        self.monitored = true;
        let ids: Vec<PeerId> = self.peers.keys().copied().collect();
        for id in ids {
            self.with(id, now, |speaker, peer| speaker.ask_everything(id, peer));
        }
    }

    /// Nobody looks any more.
    pub fn hide_peers(&mut self) {
        self.monitored = false;
    }

    fn ask_everything(&mut self, id: PeerId, peer: &mut Peer) {
        let Some(side) = peer.established() else { return };
        let Some(agreement) = peer.agreement().filter(|agreement| agreement.refresh).cloned() else { return };
        self.request_routes(id, peer, (side, &agreement));
    }

    /// What the session in force agreed upon, or the one whose routes are kept.
    pub fn agreement(&self, id: PeerId) -> Option<&Agreement> {
        self.peers.get(&id)?.agreement()
    }

    /// Both OPENs of a session that is up, whole: ours and the peer's.
    pub fn opens(&self, id: PeerId) -> Option<[&[u8]; 2]> {
        let peer = self.peers.get(&id)?;
        let [ours, theirs] = &peer.connection(peer.established()?)?.opens;
        Some([ours, theirs])
    }

    /// Shows somebody what is best, and what becomes best, as UPDATEs; `viewer` is no peer's number. [`Output::Chosen`] says when there is some.
    pub fn show_chosen(&mut self, viewer: PeerId) {
        for family in Family::ALL {
            self.rib.join(viewer, chosen(family));
        }
    }

    /// Shows somebody what a peer is told and will be told, as UPDATEs, while its session is up; `viewer` is no peer's number. [`Output::Chosen`] says when
    /// there is some, [`Speaker::pull_chosen`] gives it.
    pub fn show_told(&mut self, viewer: PeerId, (id, stage): (PeerId, Stage)) {
        self.shadows.insert((id, viewer), stage);
        let Some(peer) = self.peers.get(&id).filter(|peer| peer.joined) else { return };
        for terms in groups(peer) {
            self.rib.shadow(viewer, id, stage.of(terms));
        }
    }

    /// It looks no more.
    pub fn hide_told(&mut self, viewer: PeerId, id: PeerId) {
        self.shadows.remove(&(id, viewer));
        self.rib.leave(viewer);
    }

    /// Who is shown what a peer is told.
    pub(super) fn shadows_of(&self, id: PeerId) -> Vec<(PeerId, Stage)> {
        let all = self.shadows.range((id, PeerId(0))..=(id, PeerId(u16::MAX)));
        all.map(|((_, viewer), stage)| (*viewer, *stage)).collect()
    }

    /// It looks no more.
    pub fn hide_chosen(&mut self, viewer: PeerId) {
        self.rib.leave(viewer);
    }

    /// The next UPDATEs for it, one or several whole ones.
    pub fn pull_chosen(&mut self, viewer: PeerId) -> Option<Chunk> {
        self.rib.take(viewer)
    }

    /// A whole message came.
    pub(super) fn overhear(&mut self, id: PeerId, peer: &mut Peer, (side, kind): (Side, Kind), message: &[u8]) {
        match kind {
            Kind::Open => {
                if let Some([_, theirs]) = peer.connection_mut(side).map(|connection| &mut connection.opens) {
                    *theirs = message.into();
                }
            }
            Kind::Notification if peer.state(side) == State::Established => {
                peer.end = Some(End::Heard(message.to_vec()));
            }
            Kind::Update if self.monitored && peer.state(side) == State::Established => {
                self.outputs.push(Output::Heard(id, message.into()));
            }
            Kind::Update | Kind::Notification | Kind::Keepalive | Kind::Refresh => {}
        }
    }

    /// A peer has said all of a family again: who monitors is told so in the form that it knows.
    pub(super) fn overhear_end(&mut self, id: PeerId, family: Family) {
        if self.monitored {
            self.outputs.push(Output::Heard(id, end_of_rib(family).into()));
        }
    }
}

impl Stage {
    /// What is told at this stage, where a peer is told this.
    pub(super) fn of(self, terms: GroupTerms) -> GroupTerms {
        match self {
            Stage::AfterPolicy => terms,
            Stage::BeforePolicy => GroupTerms { policy: Policy::accept().into(), ..terms },
        }
    }
}

/// Everything that is best, as it is.
fn chosen(family: Family) -> GroupTerms {
    let terms = FamilyTerms { next_hops: NextHops::AlsoIpv6, ..FamilyTerms::plain(family) };
    GroupTerms {
        relation: Relation::Local,
        role: None,
        wire: Terms { families: vec![terms], limit: MessageLimit::Standard, ..Terms::canonical() },
        family: terms,
        hops: Hops { v4: None, v6: None, rule: HopRule::Keep },
        policy: Policy::accept().into(),
        long_lived: true,
        most_paths: 1,
    }
}
