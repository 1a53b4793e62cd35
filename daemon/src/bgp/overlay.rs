//! EVPN between the speaker and the node: what is told of our ends of the overlay, and what routes of others mean for them.
//!
//! What a route means depends on our ends, so with others all are looked at again. What follows for the kernel is the backends' business.

use std::collections::{BTreeMap, BTreeSet};

use backends::evpn::{RouteId, Station, StationKind};
use bgp::evpn::Entry;
use bgp::rib::PeerId;
use bgp::rib::explain::{Explained, Outcome};
use bgp::wire::evpn::Route;
use bgp::wire::{Attributes, Community, NextHop, Nlri};
use ipam::Mac;
use ipnet::IpNet;

use super::shell::Shell;
use super::views::EvpnView;
use super::wish::{Announcement, Overlay};

/// EVPN routes as the table has them, with what is said of each.
type Told = BTreeMap<Box<[u8]>, (Attributes, NextHop)>;

/// What is told of these ends.
fn told(overlays: &[Overlay]) -> Told {
    let mut told = Told::new();
    for Overlay { vtep, inner, prefixes } in overlays {
        let plain = Announcement::default();
        let own = [vtep.presence()].into_iter().chain(inner.map(|inner| vtep.host(Some(inner))));
        let own = own.map(|route| (route, &plain));
        let behind = prefixes.iter().map(|(prefix, announcement)| (vtep.prefix(prefix), announcement));
        for ((route, attributes), announcement) in own.chain(behind) {
            let mut bytes = Vec::new();
            route.encode(&mut bytes);
            let attributes = Attributes {
                local_pref: announcement.local_pref,
                med: announcement.metric,
                communities: announcement.communities.clone(),
                large: announcement.large_communities.clone(),
                ..attributes
            };
            told.insert(bytes.into(), (attributes, vtep.hop()));
        }
    }
    told
}

impl Shell {
    /// Tells of our ends as they are wished now, where that is something else than before.
    pub(super) fn follow_overlays(&mut self, before: &[Overlay]) {
        let (before, now) = (told(before), told(&self.wish.overlays));
        for bytes in before.keys().filter(|bytes| !now.contains_key(*bytes)) {
            self.speaker.rib().retract(&Nlri::Evpn(bytes));
        }
        for (bytes, said) in now.iter().filter(|(bytes, said)| before.get(*bytes) != Some(*said)) {
            self.tell_of_overlay(bytes, said);
        }
    }

    /// Tells all of it again: as what is here, or as what goes.
    pub(super) fn tell_of_overlays(&mut self) {
        told(&self.wish.overlays).iter().for_each(|(bytes, said)| self.tell_of_overlay(bytes, said));
    }

    fn tell_of_overlay(&mut self, bytes: &[u8], (attributes, hop): &(Attributes, NextHop)) {
        let mut attributes = attributes.clone();
        if self.leaving.is_some() {
            // As with prefixes (RFC 8326 section 4.2).
            attributes.communities.push(Community::GRACEFUL_SHUTDOWN);
            attributes.local_pref = Some(0);
        }
        self.speaker.rib().originate(&Nlri::Evpn(bytes), &attributes, *hop);
    }

    /// An EVPN route is another one, or gone.
    pub(super) fn learn_of_overlay(&mut self, bytes: &[u8]) {
        let Some(route) = Route::decode(bytes) else { return };
        let stations = self.stations(&route, bytes);
        let known = match stations.is_empty() {
            true => self.overlay_routes.remove(bytes),
            false => !self.overlay_routes.insert(bytes.into()),
        };
        if known || !stations.is_empty() {
            let id = RouteId { destination: destination(&route), bytes: bytes.into() };
            self.tidings.learn_of_fabric(id, stations);
        }
    }

    /// Our ends are others: what routes mean may be something else.
    pub(super) fn learn_of_overlay_again(&mut self) {
        let routes = self.speaker.routes().evpn().map(Box::from);
        let all: BTreeSet<Box<[u8]>> = routes.chain(std::mem::take(&mut self.overlay_routes)).collect();
        for bytes in &all {
            self.overlay_routes.insert(bytes.clone());
            self.learn_of_overlay(bytes);
        }
    }

    fn stations(&self, route: &Route, bytes: &[u8]) -> BTreeSet<Station> {
        let paths = self.speaker.routes().explain(&Nlri::Evpn(bytes));
        let used = |path: &&Explained| matches!(path.outcome, Outcome::Best(_) | Outcome::Together(_));
        let used: Vec<&Explained> = paths.iter().filter(used).collect();
        // What begins here leads nowhere else.
        if used.iter().any(|path| path.peer == PeerId::LOCAL) {
            return BTreeSet::new();
        }
        let meant = |path: &Explained| {
            // No end of ours may be taken for another's, whichever of them the route would be for.
            let ends = self.wish.overlays.iter();
            let mut entries = ends.map(|end| end.vtep.learn(route, &path.attributes, path.hop));
            let first = entries.next().flatten()?;
            entries.all(|entry| entry.is_some()).then(|| station(first)).flatten()
        };
        used.into_iter().filter_map(meant).collect()
    }
}

/// Who is behind a VTEP by an entry; nobody by one that says only that there is a VTEP.
fn station(entry: Entry) -> Option<Station> {
    match entry {
        Entry::Host { mac, vtep, moves, .. } => {
            Some(Station { kind: StationKind::Host(std::cmp::Reverse(moves)), mac: Mac(mac), vtep })
        }
        Entry::Prefix { vtep, mac, .. } => Some(Station { kind: StationKind::Router, mac: Mac(mac), vtep }),
        Entry::Everybody { .. } => None,
    }
}

impl EvpnView {
    /// A route, for people and programs.
    pub(super) fn of(route: &Route) -> EvpnView {
        let text = route.to_string();
        let (kind, distinguisher, mac, address, vni) = match route {
            Route::Mac { distinguisher, mac, address, vni, .. } => {
                (2, distinguisher, Some(Mac(*mac)), *address, Some(*vni))
            }
            Route::Multicast { distinguisher, originator, .. } => (3, distinguisher, None, Some(*originator), None),
            Route::Prefix { distinguisher, vni, .. } => (5, distinguisher, None, None, Some(*vni)),
        };
        EvpnView { kind, distinguisher: distinguisher.to_string(), mac, address, vni, text }
    }
}

/// Where a route leads; an address that is only of a link says no more than the MAC.
pub(super) fn destination(route: &Route) -> Option<IpNet> {
    match route {
        Route::Mac { address, .. } => address.map(IpNet::from).filter(|net| super::tidings::may_lead_out(*net)),
        Route::Multicast { .. } => None,
        Route::Prefix { prefix, .. } => Some(*prefix),
    }
}
