//! What a peer says becomes paths: loops and leaks refused, policy asked, attributes shared.

use std::borrow::Cow;
use std::net::IpAddr;

use crate::policy::{Changed, Judgement, Route, Verdict};
use crate::wire::capability::Role;
use crate::wire::{Attributes, Community, NextHop, Nlri, NlriList, Update};

use super::key::Key;
use super::sets::SetId;
use super::table::Put;
use super::{PeerId, Relation, Rib, Source};

/// Why a route is not taken whatever the policy says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Our AS is in its path (RFC 4271 section 9.1.2).
    AsLoop,
    /// It began with us (RFC 4456 section 8).
    OriginatorLoop,
    /// It was reflected by our cluster (RFC 4456 section 8).
    ClusterLoop,
    /// It leads through ourselves (RFC 4271 section 5.1.3).
    OwnNextHop,
    /// Its way was not to come here (RFC 9234 section 5).
    Leak,
}

impl Rib {
    /// Takes an UPDATE: first what goes, then what comes. How many of the routes that came were refused or rejected is the answer.
    pub fn update(&mut self, peer: PeerId, update: &Update<'_>) -> usize {
        for list in update.withdrawn() {
            for (path_id, nlri) in list.iter() {
                self.withdraw(peer, (path_id, nlri));
            }
        }
        update.announced().map(|(hop, list)| self.announce(peer, &update.attributes, *hop, list)).sum()
    }

    fn announce(&mut self, peer: PeerId, attributes: &Attributes, hop: NextHop, list: &NlriList<'_>) -> usize {
        let Some(source) = self.sources.get(peer).cloned() else { return list.iter().count() };
        let refused = self.refusal(&source, attributes, hop).is_some();
        let attributes = &*marked_on_the_way_in(&source, attributes);
        let mut rejected = 0;
        let mut known: Option<(Judgement, SetId)> = None;
        for (path_id, nlri) in list.iter() {
            let route = Route { nlri, attributes, hop, sender: source.sender() };
            let judgement = match refused {
                true => Judgement { verdict: Verdict::Reject, fired: 0 },
                false => source.import.judge(&route),
            };
            if judgement.verdict == Verdict::Reject {
                rejected += 1;
                self.withdraw(peer, (path_id, nlri));
                continue;
            }
            let set = match known {
                Some((same, set)) if same == judgement => set,
                _ => {
                    let set = self.changed_set(&source, judgement, &route);
                    // A reference of our own, until the next: or the set could go between two routes that share it.
                    self.sets.retain(set);
                    if let Some((_, before)) = known.replace((judgement, set)) {
                        self.sets.release(before);
                    }
                    set
                }
            };
            let key = self.keys.key(&nlri);
            if let Nlri::Evpn(route) = nlri {
                // What the peer said of it before holds no longer.
                let before = self.keys.alike(route).into_iter().filter(|other| *other != key);
                before.collect::<Vec<_>>().into_iter().for_each(|other| self.remove(peer, (path_id, other)));
            }
            rejected += usize::from(self.put(key, (peer, path_id), set) == Put::Refused);
        }
        if let Some((_, set)) = known {
            self.sets.release(set);
        }
        rejected
    }

    fn changed_set(&mut self, source: &Source, judgement: Judgement, route: &Route<'_>) -> SetId {
        if judgement.fired == 0 {
            return self.sets.intern(route.attributes, route.hop);
        }
        let mut attributes = route.attributes.clone();
        let family = route.nlri.family();
        let mut changed = Changed { attributes: &mut attributes, hop: None, family, sender: source.asn };
        source.import.change(judgement, &mut changed);
        let hop = changed.hop.unwrap_or(route.hop);
        self.sets.intern(&attributes, hop)
    }

    fn put(&mut self, key: Key, path: (PeerId, u32), set: SetId) -> Put {
        let destination = self.table.find_or_insert(key);
        self.sets.retain(set);
        let put = self.table.put(destination, path, set);
        match put {
            Put::New => self.sources.count(path.0, key.family(), 1),
            Put::Replaced(before) => self.sets.release(before),
            Put::Refused => self.sets.release(set),
        }
        // What is said again nobody has to hear of.
        if put != Put::Replaced(set) && put != Put::Refused {
            self.touch(destination);
        }
        put
    }

    fn withdraw(&mut self, peer: PeerId, (path_id, nlri): (u32, Nlri<'_>)) {
        match nlri {
            Nlri::Prefix(_) => self.keys.find(&nlri).into_iter().for_each(|key| self.remove(peer, (path_id, key))),
            Nlri::Evpn(route) => {
                self.keys.alike(route).into_iter().for_each(|key| self.remove(peer, (path_id, key)));
            }
        }
    }

    fn remove(&mut self, peer: PeerId, (path_id, key): (u32, Key)) {
        let Some(destination) = self.table.find(&key) else { return };
        if let Some(set) = self.table.remove(destination, (peer, path_id)) {
            self.sets.release(set);
            self.sources.count(peer, key.family(), -1);
            self.touch(destination);
        }
    }

    /// A route that begins here, in place of one with the same destination.
    pub fn originate(&mut self, nlri: &Nlri<'_>, attributes: &Attributes, hop: NextHop) {
        let set = self.sets.intern(attributes, hop);
        let key = self.keys.key(nlri);
        self.put(key, (PeerId::LOCAL, 0), set);
    }

    /// A route that began here does so no longer.
    pub fn retract(&mut self, nlri: &Nlri<'_>) {
        self.withdraw(PeerId::LOCAL, (0, *nlri));
    }

    /// Why a route of a peer is not taken, before policy is asked.
    pub fn refusal(&self, source: &Source, attributes: &Attributes, hop: NextHop) -> Option<Refusal> {
        if attributes.as_path.contains(self.settings.asn) {
            return Some(Refusal::AsLoop);
        }
        if attributes.originator == Some(self.settings.identifier) {
            return Some(Refusal::OriginatorLoop);
        }
        if attributes.clusters.contains(&self.settings.cluster) {
            return Some(Refusal::ClusterLoop);
        }
        if leads_to(hop, &source.own_addresses) {
            return Some(Refusal::OwnNextHop);
        }
        let leaks = match (source.role, attributes.only_to_customer) {
            (Some(Role::Provider | Role::RouteServer), Some(_)) => true,
            (Some(Role::Peer), Some(asn)) => asn != source.asn,
            _ => false,
        };
        leaks.then_some(Refusal::Leak)
    }
}

fn leads_to(hop: NextHop, addresses: &[IpAddr]) -> bool {
    match hop {
        NextHop::V4(address) => addresses.contains(&address.into()),
        NextHop::V6(address, local) => {
            addresses.contains(&address.into()) || local.is_some_and(|local| addresses.contains(&local.into()))
        }
    }
}

/// What is changed of every route from across the border: ONLY_TO_CUSTOMER when it comes from above or from beside (RFC 9234 section
/// 5), and the last place for one that goes away soon (RFC 8326 section 4).
fn marked_on_the_way_in<'a>(source: &Source, attributes: &'a Attributes) -> Cow<'a, Attributes> {
    let mut attributes = Cow::Borrowed(attributes);
    if source.relation != Relation::External {
        return attributes;
    }
    let from_above = matches!(source.role, Some(Role::Customer | Role::Peer | Role::RouteServerClient));
    if from_above && attributes.only_to_customer.is_none() {
        attributes.to_mut().only_to_customer = Some(source.asn);
    }
    if attributes.communities.contains(&Community::GRACEFUL_SHUTDOWN) {
        attributes.to_mut().local_pref = Some(0);
    }
    attributes
}
