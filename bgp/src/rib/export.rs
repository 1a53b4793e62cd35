//! What a group of peers is told of a path: whether at all, with which attributes, through which next hop.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use crate::policy::{Changed, Judgement, Policy, Route, Verdict};
use crate::wire::attributes::Attributes;
use crate::wire::capability::Role;
use crate::wire::packing::Sheet;
use crate::wire::terms::{FamilyTerms, NextHops, Terms};
use crate::wire::{Family, NextHop, Nlri};

use super::sets::{DEFAULT_LOCAL_PREF, SetId, Sets, Summary, mark};
use super::source::Sources;
use super::{PeerId, Relation, Settings};

/// Everything by which what is sent to one peer differs from what is sent to another. Peers with equal terms are one group, and
/// everything is decided and encoded once for all of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GroupTerms {
    /// What the peers are to us; [`Relation::Local`] of who only looks, and is told everything as it is.
    pub relation: Relation,
    /// Our role towards them.
    pub role: Option<Role>,
    /// How bytes are written to them; without what is said of the peer itself.
    pub wire: Terms,
    /// The family.
    pub family: FamilyTerms,
    /// The next hops that they are given.
    pub hops: Hops,
    /// What is done to routes on the way out.
    pub policy: Arc<Policy>,
    /// Whether they know what a path is that is stale for long (RFC 9494 section 4.3).
    pub long_lived: bool,
    /// How many paths a destination they are told, if path identifiers were agreed upon; else the best.
    pub most_paths: u8,
}

/// The next hops that a peer is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hops {
    /// Our IPv4 address on the way to it.
    pub v4: Option<Ipv4Addr>,
    /// Our IPv6 address, and the link-local one if it is on our link.
    pub v6: Option<(Ipv6Addr, Option<Ipv6Addr>)>,
    /// What becomes of the next hop that a path came with.
    pub rule: HopRule,
}

/// What becomes of the next hop that a path came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HopRule {
    /// Ours takes its place.
    Own,
    /// It stays: between peers of one AS, and through a route server.
    Keep,
}

impl Hops {
    fn own(&self, family: FamilyTerms) -> Option<NextHop> {
        let v4 = self.v4.map(NextHop::V4);
        let v6 = self.v6.map(|(global, local)| NextHop::V6(global, local));
        match family.family {
            Family::IPV4 => v4.or(v6.filter(|_| family.next_hops == NextHops::AlsoIpv6)),
            Family::IPV6 => v6,
            _ => v4.or(v6),
        }
    }
}

/// What all paths with one set from one peer become, if the same rules fired: one bucket of routes that share their UPDATEs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Bucket {
    pub peer: PeerId,
    pub set: SetId,
    judgement: Judgement,
}

/// Asks and changes for one group.
pub(super) struct Exporter<'r> {
    pub settings: &'r Settings,
    pub sets: &'r Sets,
    pub sources: &'r Sources,
    pub terms: &'r GroupTerms,
    /// The last set that policy looked into.
    decoded: Option<(SetId, Attributes, NextHop)>,
    /// What became of the last path, where that does not depend on where it leads to: the next is mostly of the same UPDATE.
    last: Option<((PeerId, SetId), Option<Bucket>)>,
}

impl<'r> Exporter<'r> {
    pub fn new(
        settings: &'r Settings,
        (sets, sources): (&'r Sets, &'r Sources),
        terms: &'r GroupTerms,
    ) -> Exporter<'r> {
        Exporter { settings, sets, sources, terms, decoded: None, last: None }
    }

    /// The bucket of a path; `None` when the group is not told of it.
    pub fn bucket(&mut self, nlri: Nlri<'_>, peer: PeerId, set: SetId) -> Option<Bucket> {
        if let Some((_, bucket)) = self.last.filter(|(path, _)| *path == (peer, set)) {
            return bucket;
        }
        let bucket = self.weigh(nlri, peer, set);
        if self.terms.policy.is_plain() {
            self.last = Some(((peer, set), bucket));
        }
        bucket
    }

    fn weigh(&mut self, nlri: Nlri<'_>, peer: PeerId, set: SetId) -> Option<Bucket> {
        let summary = self.sets.summary(set)?;
        if !self.may_go(summary, self.sources.relation(peer)) {
            return None;
        }
        if self.decoded.as_ref().is_none_or(|(known, ..)| *known != set) && !self.terms.policy.is_plain() {
            self.decoded = self.sets.get(set).map(|(attributes, hop)| (set, attributes, hop));
        }
        let sender = self.sources.sender(peer, self.settings.asn);
        // A policy without rules looks at nothing.
        let none = Attributes::default();
        let (attributes, hop) = match &self.decoded {
            Some((known, attributes, hop)) if known == &set => (attributes, *hop),
            _ => (&none, self.sets.hop(set)?),
        };
        let judgement = self.terms.policy.judge(&Route { nlri, attributes, hop, sender });
        (judgement.verdict == Verdict::Accept).then_some(Bucket { peer, set, judgement })
    }

    fn may_go(&self, summary: &Summary, from: Relation) -> bool {
        let to = self.terms.relation;
        if to == Relation::Local {
            return true;
        }
        let border = to.is_external() && summary.is_marked(mark::NO_EXPORT);
        let stale = summary.is_marked(mark::LLGR_STALE) && !self.terms.long_lived;
        // RFC 9234 section 5: what came from above or from beside goes down alone.
        let upwards = matches!(self.terms.role, Some(Role::Customer | Role::Peer | Role::RouteServerClient));
        let leaks = upwards && summary.is_marked(mark::ONLY_TO_CUSTOMER);
        !(summary.is_marked(mark::NO_ADVERTISE) || border || stale || leaks || !to.hears_of(from))
    }

    /// What stands in the UPDATEs of a bucket; `None` when there is no next hop to give.
    pub fn sheet(&self, bucket: &Bucket) -> Option<Sheet> {
        let (mut attributes, learnt) = self.sets.get(bucket.set)?;
        let metric = attributes.med;
        let (family, sender) = (self.terms.family.family, self.settings.asn);
        let mut changed = Changed { attributes: &mut attributes, hop: None, family, sender };
        self.terms.policy.change(bucket.judgement, &mut changed);
        let hop = changed.hop.or_else(|| self.hop(learnt, bucket.peer))?;
        match self.terms.relation {
            Relation::Local => {}
            Relation::External => {
                // A metric that another AS told us is not the next one's business; one that policy or we ourselves set is.
                let ours = attributes.med != metric || bucket.peer == PeerId::LOCAL;
                attributes.med = attributes.med.filter(|_| ours || self.terms.role == Some(Role::RouteServer));
                self.cross_the_border(&mut attributes);
            }
            Relation::Internal | Relation::Client => self.stay_inside(&mut attributes, bucket.peer),
        }
        Some(Sheet::new(&attributes, hop, self.terms.family, &self.terms.wire))
    }

    fn hop(&self, learnt: NextHop, peer: PeerId) -> Option<NextHop> {
        let family = self.terms.family;
        let local = peer == PeerId::LOCAL;
        // A VTEP is named by whoever has it, whoever hands it on (RFC 8365 section 5.1.3).
        let keep = match family.family {
            _ if self.terms.relation == Relation::Local => true,
            Family::EVPN => local || self.terms.hops.rule == HopRule::Keep,
            _ => !local && self.terms.hops.rule == HopRule::Keep,
        };
        let fits = match learnt {
            NextHop::V4(_) => family.family != Family::IPV6,
            NextHop::V6(..) => family.family != Family::IPV4 || family.next_hops == NextHops::AlsoIpv6,
        };
        if keep && fits { Some(learnt) } else { self.terms.hops.own(family) }
    }

    /// RFC 4271 section 5.1.2, 5.1.4 and 5.1.5, RFC 4456 section 8, RFC 4360 section 2, RFC 9234 section 5.
    fn cross_the_border(&self, attributes: &mut Attributes) {
        if self.terms.role != Some(Role::RouteServer) {
            attributes.as_path.prepend(self.settings.asn, 1);
        }
        attributes.local_pref = None;
        attributes.originator = None;
        attributes.clusters.clear();
        attributes.extended.retain(|community| community.is_transitive());
        if matches!(self.terms.role, Some(Role::Provider | Role::Peer | Role::RouteServer)) {
            attributes.only_to_customer = attributes.only_to_customer.or(Some(self.settings.asn));
        }
    }

    /// RFC 4271 section 5.1.5, RFC 4456 section 8.
    fn stay_inside(&self, attributes: &mut Attributes, from: PeerId) {
        attributes.local_pref = attributes.local_pref.or(Some(DEFAULT_LOCAL_PREF));
        let Some(source) = self.sources.get(from).filter(|source| source.relation.is_internal()) else { return };
        attributes.originator = attributes.originator.or(Some(source.identifier));
        attributes.clusters.insert(0, self.settings.cluster);
    }
}
