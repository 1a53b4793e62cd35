//! [`Deferral`]: after a restart peers are told that they have heard all only when those have told all whose routes they hear by us (RFC 4724 section 4.1):
//! else whoever kept what we had told it would forget it before we know it again.
//!
//! Routes themselves go out as they come. The RFC holds them back, too, so that a table that is half there is not chosen from; but then a peer that keeps
//! nothing, and what begins here, would wait for others, and a route that is told early replaces one that was kept and never leads to less. And the end is
//! held back only where a peer hears of others at all: by relation (RFC 4456) and by its export policy.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::rib::{PeerId, Relation};
use crate::wire::Family;
use crate::wire::capability::Forwarding;

use super::config::{PeerConfig, RemoteAs};
use super::peer::Peer;
use super::{Agreement, Speaker};

/// How long, at most (the RFC's Selection_Deferral_Timer): all are spoken with again long before, or are away. What it costs then is that peers keep for so
/// long what nobody says any more.
const DEFERRED: Duration = Duration::from_secs(30);

/// Everybody who can be heard of.
const OTHERS: [Relation; 3] = [Relation::External, Relation::Internal, Relation::Client];

/// Of which families a peer is still to tell all, and what it is to us; in the order of [`Family::ALL`].
pub(super) type Awaited = [Option<Relation>; 3];

/// Who is waited for, and until when.
#[derive(Debug)]
pub(super) struct Deferral {
    until: Duration,
    /// How many are, of a family and of a kind.
    awaited: BTreeMap<(Family, Relation), usize>,
    /// Those who are not here yet.
    expected: Vec<(PeerId, Awaited)>,
    /// Whether somebody may be waited for no longer.
    changed: bool,
}

impl Deferral {
    fn new(now: Duration) -> Deferral {
        Deferral { until: now + DEFERRED, awaited: BTreeMap::new(), expected: Vec::new(), changed: true }
    }

    fn count(&mut self, before: Awaited, after: Awaited) {
        for (family, (before, after)) in Family::ALL.into_iter().zip(before.into_iter().zip(after)) {
            if before == after {
                continue;
            }
            if let Some(relation) = after {
                *self.awaited.entry((family, relation)).or_default() += 1;
            }
            if let Some(count) = before.and_then(|relation| self.awaited.get_mut(&(family, relation))) {
                *count = count.saturating_sub(1);
                self.changed |= *count == 0;
            }
        }
    }

    fn awaits(&self, family: Family, relation: Relation) -> bool {
        self.awaited.get(&(family, relation)).is_some_and(|count| *count > 0)
    }
}

impl Peer {
    /// What is waited for of it.
    fn awaits(&self, ours: u32) -> Awaited {
        if !self.wanted {
            return Awaited::default();
        }
        let agreement = self.established().and_then(|_| self.agreement());
        let heard = |family| self.heard_all.contains(&family);
        awaited(&self.config, ours, agreement).map_each(|family, relation| (!heard(family)).then_some(relation))
    }

    /// Of whom it hears by us.
    fn hears_of(&self) -> impl Iterator<Item = Relation> {
        let relation = self.agreement().map(|agreement| agreement.relation);
        let told = move |from: &Relation| relation.is_some_and(|relation| relation.hears_of(*from));
        let policy = relation.map(|relation| self.config.export_policy(relation));
        let accepted = move |from: &Relation| policy.as_ref().is_some_and(|policy| policy.may_accept_from(*from));
        OTHERS.into_iter().filter(told).filter(accepted)
    }

    /// Families of which it keeps what we told it before we restarted, until it is told that it has heard all.
    fn keeps_of_ours(&self) -> impl Iterator<Item = Family> {
        let keeps = self.agreement().is_some_and(|agreement| agreement.graceful.is_some());
        let kept = self.config.families.iter().filter(move |it| keeps && it.forwarding == Forwarding::Kept);
        kept.map(|config| config.family)
    }
}

/// What is waited for of a peer that is configured like this, and with which this was agreed, if anything was.
fn awaited(config: &PeerConfig, ours: u32, agreement: Option<&Agreement>) -> Awaited {
    let relation = agreement.map_or_else(|| expected_relation(config, ours), |agreement| agreement.relation);
    let restarts = agreement.and_then(|agreement| agreement.graceful.as_ref()).is_some_and(|it| it.restarted);
    // Two that restart at once would wait for each other; a client of ours does not wait for what it tells us.
    let in_circles = restarts && relation != Relation::Client;
    let says_so = config.graceful.is_some() && agreement.is_none_or(|agreement| agreement.graceful.is_some());
    if in_circles || !says_so || !config.import_policy(relation).may_accept_from(relation) {
        return Awaited::default();
    }
    let spoken = |family: Family| match agreement {
        Some(agreement) => agreement.terms.of(family).is_some(),
        None => config.families.iter().any(|config| config.family == family),
    };
    Family::ALL.map(|family| spoken(family).then_some(relation))
}

/// What a peer will be to us that was not met yet.
fn expected_relation(config: &PeerConfig, ours: u32) -> Relation {
    match config.remote_as {
        RemoteAs::Exactly(asn) => config.relation(asn, ours),
        RemoteAs::Internal => config.relation(ours, ours),
        RemoteAs::External => Relation::External,
    }
}

/// Families one by one.
trait EachFamily {
    fn map_each(self, keep: impl Fn(Family, Relation) -> Option<Relation>) -> Self;
}

impl EachFamily for Awaited {
    fn map_each(mut self, keep: impl Fn(Family, Relation) -> Option<Relation>) -> Awaited {
        for (family, place) in Family::ALL.into_iter().zip(&mut self) {
            *place = place.and_then(|relation| keep(family, relation));
        }
        self
    }
}

impl Speaker {
    /// Begins to wait, if anything was kept over a restart. `expected` are peers that will be added; [`PeerId::LOCAL`] stands for those of whom it is not known who they are, for whom only
    /// time ends the waiting.
    pub(super) fn defer(&mut self, expected: Vec<(PeerId, PeerConfig)>, now: Duration) {
        let known = self.peers.values().map(|peer| &peer.config);
        let kept = |config: &PeerConfig| config.families.iter().any(|family| family.forwarding == Forwarding::Kept);
        if !known.chain(expected.iter().map(|(_, config)| config)).any(kept) {
            return;
        }
        let mut deferral = Deferral::new(now);
        self.peers.values_mut().for_each(|peer| peer.awaited = Awaited::default());
        for (id, config) in expected.into_iter().filter(|(id, _)| !self.peers.contains_key(id)) {
            let awaited = awaited(&config, self.settings.asn, None);
            deferral.count(Awaited::default(), awaited);
            deferral.expected.push((id, awaited));
        }
        self.deferral = Some(deferral);
    }

    /// A peer that was expected is here, or is expected no longer.
    pub(super) fn expect_no_longer(&mut self, id: PeerId) {
        let Some(deferral) = &mut self.deferral else { return };
        if let Some(place) = deferral.expected.iter().position(|(expected, _)| *expected == id) {
            let (_, awaited) = deferral.expected.swap_remove(place);
            deferral.count(awaited, Awaited::default());
        }
    }

    /// Counts what is waited for of a peer to which something happened.
    pub(super) fn count_awaited(&mut self, peer: &mut Peer) {
        if let Some(deferral) = &mut self.deferral {
            let awaited = peer.awaits(self.settings.asn);
            deferral.count(std::mem::replace(&mut peer.awaited, awaited), awaited);
        }
    }

    /// A peer that is told our routes from now on is not told that they are all, where it hears of others who are waited for.
    pub(super) fn withhold_ends(&mut self, id: PeerId, peer: &mut Peer) {
        peer.withheld.clear();
        if self.deferral.is_none() || peer.hears_of().next().is_none() {
            return;
        }
        peer.withheld = peer.keeps_of_ours().collect();
        peer.withheld.iter().for_each(|family| self.rib.withhold_end(id, *family));
        self.wait_anew();
    }

    /// What peers are told, and so for whom they wait, may be something else.
    pub(super) fn wait_anew(&mut self) {
        self.deferral.iter_mut().for_each(|deferral| deferral.changed = true);
    }

    /// Tells peers that they have heard all who wait for nobody any longer.
    pub(super) fn tell_ends(&mut self) {
        let Some(deferral) = self.deferral.as_mut().filter(|deferral| deferral.changed) else { return };
        deferral.changed = false;
        for (id, peer) in self.peers.iter_mut().filter(|(_, peer)| !peer.withheld.is_empty()) {
            let others: Vec<Relation> = peer.hears_of().collect();
            let waits = |family: &Family| others.iter().any(|other| deferral.awaits(*family, *other));
            let (withheld, told) =
                std::mem::take(&mut peer.withheld).into_iter().partition::<BTreeSet<Family>, _>(waits);
            peer.withheld = withheld;
            told.into_iter().for_each(|family| self.rib.tell_end(*id, family));
        }
        if deferral.awaited.values().all(|count| *count == 0) {
            self.deferral = None;
        }
    }

    /// When waiting ends.
    pub(super) fn deferred_until(&self) -> Option<Duration> {
        self.deferral.as_ref().map(|deferral| deferral.until)
    }

    /// Whoever has not told all by now is not waited for.
    pub(super) fn wait_at_most_until(&mut self, now: Duration) {
        if let Some(deferral) = self.deferral.as_mut().filter(|deferral| deferral.until <= now) {
            deferral.awaited.clear();
            deferral.changed = true;
        }
    }
}
