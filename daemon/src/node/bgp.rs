//! What this node is as a BGP speaker: configuration, own lease and the other nodes' leases → [`Wish`]; and what it learnt.
//!
//! A node that appears or goes is one neighbour more or less, and nothing else of the wish: no other session notices.

mod former;
mod learnt;
mod overlay;
mod reflection;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU8;
use std::sync::Arc;

use backends::learnt::{Learnt, NextHop};
use bgp::policy::{Condition, Peers, Policy, PrefixRange, Prefixes, Rule, Then, Verdict};
use bgp::rib::decision::Preferences;
use bgp::speaker::config::Reflects;
use bgp::speaker::{FamilyConfig, PeerConfig, RemoteAs};
use bgp::wire::Family as WireFamily;
use bgp::wire::capability::Forwarding;
use bgp::wire::terms::NextHops;
use ipam::{BackendData, Family, Lease};
use ipnet::IpNet;

pub(super) use self::former::Former;
use self::reflection::{Reflection, reflects_for};
use super::Node;
use crate::bgp::wish::{
    Announcement, Completeness, Distance, Monitoring, Neighbour, NeighbourName, Origin, PORT, Place, Range, Wish,
};
use crate::netconf::bgp::{Bgp, Peer, PeerPlace, Session, Specifics};

/// What this node knows of BGP.
#[derive(Debug, Default)]
pub(super) struct OwnBgp {
    /// What it speaks by; `None` of one that does not.
    spoken: Option<Bgp>,
    /// A configuration that it still speaks by, or may have to.
    former: Option<Former>,
    /// What others announced.
    learnt: Learnt,
    /// How many there were when they were last packed.
    packed: usize,
    /// Routers that are reached no longer and that nothing is to be sent to, from this moment on.
    lost: Vec<NextHop>,
    /// Whether the wish may be another one now.
    due: bool,
    /// Who reflects.
    reflection: Reflection,
    /// Whether the kernel forwarded pods' packets before this daemon started: a restart, and not a boot.
    forwarded: bool,
}

impl OwnBgp {
    /// Of a daemon that has just started: `forwarded` when not for the first time since the machine was booted.
    pub(super) fn new(forwarded: bool, former: Option<Former>) -> OwnBgp {
        OwnBgp { forwarded, former, ..OwnBgp::default() }
    }
}

/// Hops between routers of one AS: as many as there may be.
const FAR: Distance = Distance::Multihop(NonZeroU8::MAX);

impl Node {
    /// The configuration of the network is another one, or one by which it still speaks is no longer needed.
    pub(super) fn follow_bgp(&mut self) {
        self.touch_bgp();
        let now = self.speech();
        let before = std::mem::replace(&mut self.bgp.spoken, now.clone());
        match (&now, before) {
            (Some(now), None) => {
                self.bgp.learnt.fabric_unsettled = now.evpn.is_some();
                let networks = self.network().map(|network| network.networks.families().collect());
                self.bgp.learnt.unsettled = networks.unwrap_or_default();
            }
            (None, Some(_)) => {
                self.bgp.learnt.unsettled.clear();
                self.bgp.learnt.fabric_unsettled = false;
                let gone = self.bgp.learnt.clear();
                self.touched_prefixes.extend(gone);
            }
            _ => {}
        }
        let allowed = now.map_or_else(Vec::new, |bgp| bgp.allowed);
        if self.bgp.learnt.allowed != allowed {
            self.bgp.learnt.allowed = allowed;
            self.touched_prefixes.extend(self.bgp.learnt.prefixes());
        }
    }

    /// Something changed that the wish is made of.
    pub(crate) fn touch_bgp(&mut self) {
        (self.bgp.due, self.bgp.reflection.due) = (true, true);
    }

    /// What the speaker is to be, if that may be another than it was when this was last asked.
    pub fn new_wish_of_speaker(&mut self) -> Option<Option<Wish>> {
        std::mem::take(&mut self.bgp.due).then(|| self.speaker())
    }

    /// What the speaker is to be; nothing before it is known what there is to announce.
    pub fn speaker(&self) -> Option<Wish> {
        let (uplink, own) = (self.uplink()?, self.own()?);
        let bgp = self.bgp.spoken.as_ref().filter(|_| self.peers_known() && self.bgp.reflection.is_known())?;
        let place = Position { node: self, bgp, own, asn: self.identity.bgp_as.unwrap_or(bgp.asn) };
        let router_id = bgp.router_id.unwrap_or_else(|| identifier(uplink.local.values(), own));
        let cluster = self.bgp.reflection.said();
        let everywhere = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
        let listen = everywhere.into_iter().filter(|_| bgp.port != 0).map(|it| SocketAddr::new(it, bgp.port)).collect();
        let (configured, ranges) = place.configured();
        let mut neighbours = place.mesh();
        neighbours.extend(configured);
        Some(Wish {
            asn: place.asn,
            router_id,
            cluster: cluster.unwrap_or(router_id),
            listen,
            neighbours,
            ranges,
            announced: announced(bgp, own),
            overlays: self.overlays(bgp, (place.asn, router_id)),
            completeness: Completeness::Complete,
            preferences: Preferences { most_paths: bgp.multipath, ..Preferences::default() },
            monitoring: Monitoring {
                name: self.identity.name.to_string(),
                stations: bgp.stations.iter().copied().collect(),
                told: bgp.told.iter().copied().collect(),
            },
        })
    }
}

/// The node's IPv4 address; of one that has none, four octets that follow from its address (RFC 6286: unique in the AS).
fn identifier<'a>(local: impl Iterator<Item = &'a IpAddr>, own: &Lease) -> Ipv4Addr {
    let addresses: Vec<IpAddr> = local.copied().chain(own.endpoints.values().map(|end| end.public)).collect();
    let v4 = addresses.iter().find_map(|address| match address {
        IpAddr::V4(address) => Some(*address),
        IpAddr::V6(_) => None,
    });
    let octets = |address: &IpAddr| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let hash = addresses
        .iter()
        .flat_map(octets)
        .fold(0x811c_9dc5_u32, |hash, octet| (hash ^ u32::from(octet)).wrapping_mul(0x0100_0193));
    v4.unwrap_or_else(|| Ipv4Addr::from_bits(hash.max(1)))
}

/// What begins here: the node's pods, and what the configuration says beside.
fn announced(bgp: &Bgp, own: &Lease) -> BTreeMap<IpNet, Announcement> {
    let subnets: Vec<IpNet> = own.subnets().values().copied().collect();
    let holds_own = |prefix: &IpNet| subnets.iter().any(|subnet| prefix.contains(subnet));
    let aggregates = bgp.announce.aggregates.iter().map(|it| it.prefix).filter(holds_own);
    let all = subnets.iter().copied().chain(aggregates).chain(bgp.announce.prefixes.iter().copied());
    all.map(|prefix| (prefix, bgp.announce.said.clone())).collect()
}

/// A node among its peers.
struct Position<'n> {
    node: &'n Node,
    bgp: &'n Bgp,
    own: &'n Lease,
    asn: u32,
}

impl Position<'_> {
    fn reflects(&self) -> bool {
        self.node.bgp.reflection.reflects()
    }

    /// The sessions with other nodes: with all, or with those that reflect.
    fn mesh(&self) -> BTreeMap<NeighbourName, Neighbour> {
        let Some(session) = &self.bgp.mesh else { return BTreeMap::new() };
        let reflects = self.reflects();
        let policies = self.mesh_policies(reflects);
        let wanted = |lease: &&Lease| {
            lease.key != self.own.key && lease.node != self.own.node && self.node.bgp.reflection.speaks_with(lease)
        };
        let leases = self.node.table().leases().filter(wanted);
        leases.filter_map(|lease| self.with_node(lease, (session, &policies))).collect()
    }

    fn with_node(
        &self,
        lease: &Lease,
        (session, (import, export)): (&Session, &(Arc<Policy>, Arc<Policy>)),
    ) -> Option<(NeighbourName, Neighbour)> {
        let BackendData::Bgp { asn, .. } = lease.speaker()? else { return None };
        let asn = asn.unwrap_or(self.bgp.asn);
        let uplink = self.node.uplink()?;
        // One session carries both families; IPv4 is what every node with it can be reached by.
        let shared = |family: &Family| lease.endpoints.has(*family) && self.own.endpoints.has(*family);
        let families: Vec<Family> = Family::ALL.into_iter().filter(shared).collect();
        let over = families.first()?;
        let remote = lease.endpoints.get(*over)?.public;
        let place = Place::Address { remote, local: uplink.local.get(*over).copied() };
        let mut config = self.config(remote, RemoteAs::Exactly(asn), session);
        let families: Vec<WireFamily> = families.into_iter().map(on_the_wire).collect();
        config.families = self.families(&families, (session, remote.is_ipv6()));
        config.import = Some(session.import.clone().unwrap_or_else(|| Arc::clone(import)));
        config.export = Some(session.export.clone().unwrap_or_else(|| Arc::clone(export)));
        if self.reflects() && reflects_for(lease).is_none() && asn == self.asn {
            config.reflects = Reflects::ForClient;
        }
        let neighbour = Neighbour {
            place,
            port: if self.bgp.port == 0 { PORT } else { self.bgp.port },
            session: config,
            authentication: session.authentication.clone(),
            distance: session.distance.unwrap_or(FAR),
            liveness: session.liveness,
            necessity: session.necessity,
            origin: Origin::Mesh(lease.node.to_string()),
        };
        Some((NeighbourName(lease.node.to_string()), neighbour))
    }

    /// Nodes tell each other of their pods and of nothing else; who reflects tells what it was told, too.
    fn mesh_policies(&self, reflects: bool) -> (Arc<Policy>, Arc<Policy>) {
        let networks = self.node.network().map(|network| network.networks);
        let range = |net: &IpNet| PrefixRange::between(*net, net.prefix_len() + 1, net.max_prefix_len());
        let of_pods = networks.iter().flat_map(|networks| networks.values()).filter_map(range).collect();
        let of_pods = Condition::Prefix(Prefixes(of_pods));
        let senders = match reflects {
            true => vec![Peers::Local, Peers::Internal, Peers::External],
            false => vec![Peers::Local],
        };
        let import = rule("pods", vec![of_pods.clone()], Then::Accept);
        let export = rule("pods of this node", vec![of_pods, Condition::Peer(senders)], Then::Accept);
        (policy(vec![import]), policy(vec![export]))
    }

    /// The peers of the configuration that this node speaks with: those at a place, and those that may come.
    fn configured(&self) -> (BTreeMap<NeighbourName, Neighbour>, Vec<Range>) {
        let (mut neighbours, mut ranges) = (BTreeMap::new(), Vec::new());
        let here = |peer: &&Peer| peer.nodes.is_empty() || self.node.is_selected(&peer.nodes);
        let own: BTreeSet<IpAddr> = self.node.uplink().iter().flat_map(|it| it.local.values().copied()).collect();
        for peer in self.bgp.peers.iter().filter(here) {
            match &peer.place {
                // One file may name all routers, of which this node is one.
                PeerPlace::Address(remote, _) if own.contains(remote) => {}
                PeerPlace::Address(remote, local) => {
                    let place = Place::Address { remote: *remote, local: *local };
                    neighbours.insert(NeighbourName(peer.name.clone()), self.neighbour(peer, (place, *remote)));
                }
                PeerPlace::Link(link) => {
                    let nowhere = Ipv6Addr::UNSPECIFIED.into();
                    let neighbour = self.neighbour(peer, (Place::Link(*link), nowhere));
                    neighbours.insert(NeighbourName(peer.name.clone()), neighbour);
                }
                PeerPlace::Range(prefix, most) => {
                    let place = Place::Address { remote: prefix.addr(), local: None };
                    let template = self.neighbour(peer, (place, prefix.addr()));
                    ranges.push(Range { prefix: *prefix, most: *most, template });
                }
            }
        }
        (neighbours, ranges)
    }

    fn neighbour(&self, peer: &Peer, (place, address): (Place, IpAddr)) -> Neighbour {
        let session = &peer.session;
        let mut config = self.config(address, peer.remote_as, session);
        let network = self.node.network().map(|network| network.networks.families().collect::<Vec<_>>());
        let usual = || network.unwrap_or_default().into_iter().map(on_the_wire).collect();
        let families: Vec<WireFamily> = session.families.clone().unwrap_or_else(usual);
        config.families = self.families(&families, (session, address.is_ipv6()));
        config.import = session.import.clone();
        config.export = Some(session.export.clone().unwrap_or_else(|| self.own_routes()));
        let internal = matches!(peer.remote_as, RemoteAs::Internal) || peer.remote_as == RemoteAs::Exactly(self.asn);
        let far = internal && matches!(place, Place::Address { .. });
        Neighbour {
            place,
            port: peer.port,
            session: config,
            authentication: session.authentication.clone(),
            distance: session.distance.unwrap_or(if far { FAR } else { Distance::Direct }),
            liveness: session.liveness,
            necessity: session.necessity,
            origin: Origin::Configured,
        }
    }

    /// What begins here and nothing else: a node is no way from one router to another. Without what an aggregate stands for.
    fn own_routes(&self) -> Arc<Policy> {
        let suppressed = |it: &&crate::netconf::bgp::Aggregate| it.specifics == Specifics::Suppressed;
        let longer = |net: &IpNet| PrefixRange::between(*net, net.prefix_len() + 1, net.max_prefix_len());
        let specifics = self.bgp.announce.aggregates.iter().filter(suppressed).filter_map(|it| longer(&it.prefix));
        let specifics: Vec<PrefixRange> = specifics.collect();
        let mut rules = Vec::new();
        if !specifics.is_empty() {
            rules.push(rule("aggregated", vec![Condition::Prefix(Prefixes(specifics))], Then::Reject));
        }
        rules.push(rule("of this node", vec![Condition::Peer(vec![Peers::Local])], Then::Accept));
        policy(rules)
    }

    fn config(&self, address: IpAddr, remote_as: RemoteAs, session: &Session) -> PeerConfig {
        PeerConfig {
            role: session.role,
            direction: session.direction,
            hold_secs: session.hold_secs,
            keepalive: session.keepalive,
            send_hold: session.send_hold,
            connect_retry: session.connect_retry,
            graceful: session.graceful,
            ..PeerConfig::new(address, remote_as)
        }
    }

    fn families(&self, families: &[WireFamily], (session, over_v6): (&Session, bool)) -> Vec<FamilyConfig> {
        let config = |family: &WireFamily| FamilyConfig {
            path_ids: session.path_ids,
            limit: session.limit,
            next_hops: if over_v6 && *family == WireFamily::IPV4 { NextHops::AlsoIpv6 } else { NextHops::OfFamily },
            forwarding: if self.node.bgp.forwarded { Forwarding::Kept } else { Forwarding::Lost },
            ..FamilyConfig::plain(*family)
        };
        families.iter().map(config).collect()
    }
}

fn on_the_wire(family: Family) -> WireFamily {
    match family {
        Family::V4 => WireFamily::IPV4,
        Family::V6 => WireFamily::IPV6,
    }
}

fn rule(name: &str, conditions: Vec<Condition>, then: Then) -> Rule {
    Rule { name: name.to_owned(), conditions, actions: Vec::new(), then }
}

/// What no rule decides is rejected.
fn policy(rules: Vec<Rule>) -> Arc<Policy> {
    Arc::new(Policy::new(rules, Verdict::Reject).unwrap_or_else(|_| Policy::reject()))
}

impl Node {
    /// Whether routes that others announced may lie on the uplink.
    pub fn learns(&self) -> bool {
        self.bgp.spoken.is_some()
    }
}

#[cfg(test)]
mod tests;
