//! [`Learnt`]: the routes that others announced, and what each means for the kernel: one contribution a prefix.
//!
//! Routes come from outside, so they are looked at: what would take the node's own pods, its own network or its default route away is
//! refused with a sentence, unless it was asked for. Who announced them, and which path is best, is the speaker's business.

use std::collections::btree_map::{Entry, Range};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::ops::Bound;
use std::sync::Arc;

use ipam::{Family, LeaseTable, Stack};
use ipnet::IpNet;

use crate::bgp::{self, Resolved};
use crate::cluster::{Backend, Cluster, RouteStyle};
use crate::evpn::{self, Fabric};
use crate::state::{Group, KernelState, LinkName, Nexthop, Prefix, Route, RouteKey, Tag, Via};
use crate::sum::Facts;

/// Where packets are handed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize)]
pub struct NextHop {
    /// The router; of either family, whatever the prefix's (RFC 8950).
    pub address: IpAddr,
    /// The link that it is on, where the address alone does not say it (link-local ones).
    pub link: Option<LinkName>,
}

/// Sets of next hops that are looked through for an equal one.
const RECENT: usize = 8;

/// All routes that others announced.
#[derive(Clone, Debug, Default)]
pub struct Learnt {
    routes: BTreeMap<Prefix, Arc<[NextHop]>>,
    /// The last ones of these values: what is announced together mostly leads to the same, and is kept once.
    recent: VecDeque<Arc<[NextHop]>>,
    /// Prefixes that are taken though they take something of the node's own away (`AllowRoutes`).
    pub allowed: Vec<IpNet>,
    /// Families of which not all was told yet since this daemon started: what the kernel still has of them stays.
    pub unsettled: BTreeSet<Family>,
    /// What EVPN says; of a prefix that both lead to, what routers announce by themselves counts.
    pub fabric: Fabric,
    /// Whether more of that may still be told since this daemon started.
    pub fabric_unsettled: bool,
}

/// Why a prefix is not in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unwanted {
    /// The backend brings it, by leases.
    OfBackend,
    /// It cannot or shall not be: one sentence.
    Refused(String),
}

impl Learnt {
    /// Takes what is true of a prefix now; without next hops it is gone. Whether that is anything new.
    pub fn set(&mut self, prefix: IpNet, hops: &BTreeSet<NextHop>) -> bool {
        if hops.is_empty() {
            return self.routes.remove(&Prefix(prefix)).is_some();
        }
        match self.routes.entry(Prefix(prefix)) {
            Entry::Occupied(known) if known.get().iter().eq(hops) => return false,
            Entry::Occupied(mut known) => drop(known.insert(kept(&mut self.recent, hops.iter()))),
            Entry::Vacant(place) => drop(place.insert(kept(&mut self.recent, hops.iter()))),
        }
        true
    }

    /// The path to a router is dead: what leads to others, too, leads to those alone. Which prefixes these are.
    pub fn lose(&mut self, lost: NextHop) -> Vec<IpNet> {
        let also = |hops: &[NextHop]| hops.len() > 1 && hops.contains(&lost);
        let mut narrowed = Vec::new();
        for (prefix, hops) in self.routes.iter_mut().filter(|(_, hops)| also(hops)) {
            *hops = kept(&mut self.recent, hops.iter().filter(|hop| **hop != lost));
            narrowed.push(prefix.0);
        }
        narrowed
    }

    /// Forgets all: there is no BGP any more. What there was.
    pub fn clear(&mut self) -> BTreeSet<IpNet> {
        self.recent.clear();
        let of_fabric = self.fabric.clear();
        std::mem::take(&mut self.routes).into_keys().map(|prefix| prefix.0).chain(of_fabric).collect()
    }

    /// Builds the map anew: filled in the order of the prefixes, a tree is half empty.
    pub fn pack(&mut self) {
        self.routes = std::mem::take(&mut self.routes).into_iter().collect();
    }

    /// Prefixes that were announced, each once.
    pub fn prefixes(&self) -> impl Iterator<Item = IpNet> {
        let others = self.fabric.prefixes().filter(|prefix| !self.routes.contains_key(&Prefix(*prefix)));
        self.routes.keys().map(|prefix| prefix.0).chain(others)
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.routes.len() + self.fabric.prefixes().filter(|prefix| !self.routes.contains_key(&Prefix(*prefix))).count()
    }

    /// Whether nothing was announced.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty() && self.fabric.is_empty()
    }

    /// Whether more may still be told of a prefix by those who told of it.
    pub(crate) fn waits(&self, prefix: &IpNet) -> bool {
        match self.routes.contains_key(&Prefix(*prefix)) {
            true => self.unsettled.contains(&Family::of_net(prefix)),
            false => self.fabric_unsettled,
        }
    }

    /// Whether more may still be told of a route that was found on these links.
    pub(crate) fn awaits(&self, key: &RouteKey, (via, cluster): (&Via, &Cluster)) -> bool {
        let by_routers = self.unsettled.contains(&Family::of_net(&key.destination));
        let tunnels = evpn::overlay(&cluster.backend).map(|overlay| overlay.devices());
        let tunnelled = via.link().is_some_and(|link| tunnels.is_some_and(|it| it.values().any(|name| *name == link)));
        match tunnelled {
            // Only where nodes tell each other by BGP do other routes go through it.
            true => self.fabric_unsettled || (by_routers && matches!(cluster.backend, Backend::Bgp(_))),
            false => by_routers,
        }
    }

    /// Those within a prefix.
    pub(crate) fn within(&self, net: IpNet) -> impl Iterator<Item = IpNet> {
        // They are in the order of their addresses, and of equal ones the shorter comes first.
        let from = self.routes.range((Bound::Included(Prefix(net)), Bound::Unbounded));
        let of_routers = from.map(|(prefix, _)| prefix.0).take_while(move |prefix| net.contains(&prefix.addr()));
        of_routers.chain(self.fabric.prefixes().filter(move |prefix| net.contains(prefix)))
    }

    /// What the fabric's hosts and routers need beside routes.
    pub(crate) fn stations(&self, cluster: &Cluster) -> KernelState {
        let own = Own::of(cluster);
        let refusal = |prefix| own.refusal(prefix, &self.allowed).or_else(|| self.fabric.refusal(cluster, prefix));
        let taken = |prefix| !self.routes.contains_key(&Prefix(prefix)) && refusal(prefix).is_none();
        self.fabric.state(cluster, taken)
    }
}

/// The one of the recent values that is equal, or a new one.
fn kept<'h>(recent: &mut VecDeque<Arc<[NextHop]>>, hops: impl Iterator<Item = &'h NextHop> + Clone) -> Arc<[NextHop]> {
    if let Some(kept) = recent.iter().find(|recent| recent.iter().eq(hops.clone())) {
        return Arc::clone(kept);
    }
    if recent.len() == RECENT {
        recent.pop_back();
    }
    let kept: Arc<[NextHop]> = hops.copied().collect();
    recent.push_front(Arc::clone(&kept));
    kept
}

/// What of the node's own a prefix could take away.
struct Own<'c> {
    cluster: &'c Cluster,
    /// Of its pods.
    subnets: Stack<IpNet>,
    /// On its uplink's link.
    networks: Vec<IpNet>,
    /// On its other links.
    beside: Vec<(IpNet, LinkName)>,
}

impl Own<'_> {
    fn of(cluster: &Cluster) -> Own<'_> {
        let local = cluster.uplink.local.values();
        let networks = local.filter_map(|address| cluster.uplink.on_link.network_of(*address)).collect();
        let beside = cluster.uplink.on_link.beside().collect();
        Own { cluster, subnets: cluster.own.subnets(), networks, beside }
    }

    /// Why a prefix may not be taken, wherever it leads.
    fn refusal(&self, prefix: IpNet, allowed: &[IpNet]) -> Option<Unwanted> {
        if self.cluster.holds_pods(&prefix) && !self.cluster.learns_pods() {
            return Some(Unwanted::OfBackend);
        }
        let refused = |why: String| Some(Unwanted::Refused(why));
        if let Some(kind) = never_routed(&prefix) {
            return refused(format!("{prefix} is announced to this node, and is {kind}, which nobody routes"));
        }
        if self.subnets.values().any(|own| own.contains(&prefix)) {
            return refused(format!("{prefix} is announced to this node, and is of its own pods"));
        }
        if allowed.contains(&prefix) {
            return None;
        }
        let fix = || format!("if that is wanted, add \"{prefix}\" to AllowRoutes");
        if prefix.prefix_len() == 0 {
            return refused(format!("a default route {prefix} is announced to this node, and is not taken; {}", fix()));
        }
        if let Some(own) = self.subnets.values().find(|own| prefix.contains(*own)) {
            return refused(format!(
                "{prefix} is announced to this node, and its own pods' {own} lie in it; {}",
                fix()
            ));
        }
        let of_uplink = self.networks.iter().find(|network| network.contains(&prefix) || prefix.contains(*network));
        let of_uplink = of_uplink.map(|network| (network, self.cluster.uplink.link));
        // What is shorter takes nothing from these: the fabric's own prefix mostly holds the addresses of all links to it.
        let of_another =
            || self.beside.iter().find(|(network, _)| network.contains(&prefix)).map(|(net, link)| (net, *link));
        let (network, link) = of_uplink.or_else(of_another)?;
        refused(format!(
            "{prefix} is announced to this node, and would stand for {network}, the network of {link}; {}",
            fix()
        ))
    }
}

/// Ways that are asked for one after the other, of one cluster.
pub(crate) struct Asked<'f> {
    learnt: &'f Learnt,
    table: &'f LeaseTable,
    cluster: &'f Cluster,
    own: Own<'f>,
    /// What stands behind the prefix that was asked for last: the next is mostly near.
    rest: Range<'f, Prefix, Arc<[NextHop]>>,
    /// The last next hops and where they lead prefixes of a family.
    last: Option<(&'f Arc<[NextHop]>, Family, Via)>,
}

/// Prefixes that are stepped over, rather than looked up anew.
const NEAR: usize = 4;

impl<'f> Asked<'f> {
    /// Nothing is asked yet.
    pub fn new(cluster: &'f Cluster, Facts { table, learnt }: Facts<'f>) -> Asked<'f> {
        Asked { learnt, table, cluster, own: Own::of(cluster), rest: learnt.routes.range(..), last: None }
    }

    /// Where a prefix leads.
    ///
    /// # Errors
    /// [`Unwanted`]: why it adds nothing.
    pub fn way(&mut self, prefix: IpNet) -> Option<Result<Via, Unwanted>> {
        match self.sender(prefix) {
            Some(cluster) => self.way_by(cluster, prefix),
            None => Some(Err(Unwanted::OfBackend)),
        }
    }

    /// Whether something that is learnt leads packets for a node's pods there by the backend itself, whichever way they go now.
    pub fn leads(&mut self, subnet: IpNet) -> bool {
        let cluster = self.cluster;
        let mut covering = (0..=subnet.prefix_len()).rev().filter_map(|length| IpNet::new(subnet.addr(), length).ok());
        covering.any(|net| matches!(self.way_by(cluster, net.trunc()), Some(Ok(_))))
    }

    /// By which of several ways it is sent: what is for a node's pods by the one that this node is sent to by, if that is learnt.
    fn sender(&self, prefix: IpNet) -> Option<&'f Cluster> {
        let several = self.cluster.ways.as_deref().filter(|_| self.cluster.holds_pods(&prefix));
        let Some(ways) = several else { return Some(self.cluster) };
        let lease = self.table.lease_of(prefix.network());
        match lease.filter(|lease| lease.endpoints.values().any(|end| end.subnet.contains(&prefix))) {
            Some(lease) => ways.learning(self.cluster, lease),
            None => Some(self.cluster),
        }
    }

    fn way_by(&mut self, cluster: &'f Cluster, prefix: IpNet) -> Option<Result<Via, Unwanted>> {
        let learnt = self.learnt;
        let refused = self.own.refusal(prefix, &learnt.allowed);
        let Some(hops) = self.hops(prefix) else {
            let hops = learnt.fabric.hops(self.cluster, prefix)?;
            let refused = refused.or_else(|| learnt.fabric.refusal(self.cluster, prefix));
            let way = || via(cluster, (prefix, &hops), self.table).map_err(Unwanted::Refused);
            return Some(refused.map_or_else(way, Err));
        };
        Some(match refused {
            Some(unwanted) => Err(unwanted),
            None => self.via(cluster, (prefix, hops)).map_err(Unwanted::Refused),
        })
    }

    fn hops(&mut self, prefix: IpNet) -> Option<&'f Arc<[NextHop]>> {
        let prefix = Prefix(prefix);
        for _ in 0..NEAR {
            match self.rest.next() {
                Some((known, hops)) if *known == prefix => return Some(hops),
                Some((known, _)) if *known < prefix => {}
                _ => break,
            }
        }
        self.rest = self.learnt.routes.range(prefix..);
        self.rest.next().filter(|(known, _)| **known == prefix).map(|(_, hops)| hops)
    }

    fn via(&mut self, cluster: &Cluster, (prefix, hops): (IpNet, &'f Arc<[NextHop]>)) -> Result<Via, String> {
        let family = Family::of_net(&prefix);
        if let Some((last, of, via)) = &self.last
            && Arc::ptr_eq(last, hops)
            && *of == family
        {
            return Ok(via.clone());
        }
        let via = via(cluster, (prefix, hops), self.table)?;
        // To pods of a node the way may be a tunnel, and is another one for each.
        self.last = (!cluster.holds_pods(&prefix)).then(|| (hops, family, via.clone()));
        Ok(via)
    }
}

/// Where a prefix leads, by all of its next hops that can be used.
fn via(cluster: &Cluster, (prefix, hops): (IpNet, &[NextHop]), table: &LeaseTable) -> Result<Via, String> {
    let (mut nexthops, mut failed) = (BTreeSet::new(), None);
    for hop in hops {
        match resolve(cluster, (prefix, hop), table) {
            Ok(Resolved::Nexthop(nexthop)) => {
                nexthops.insert(nexthop);
            }
            // Such a one cannot stand among others.
            Ok(Resolved::Alone(via)) => return Ok(via),
            Err(reason) => failed = failed.or(Some(reason)),
        }
    }
    // The kernel refuses next hops over a link without a carrier (`fib_check_nh`), and forgets those that it has.
    let lives = |nexthop: &Nexthop| !cluster.uplink.on_link.is_dead(nexthop.link);
    if nexthops.iter().any(lives) {
        nexthops.retain(lives);
    }
    let (first, several) = (nexthops.first().copied(), nexthops.len() > 1);
    let via = match cluster.routes {
        RouteStyle::Objects if several => Group::new(nexthops).map(Via::Group),
        RouteStyle::Objects => first.map(Via::Object),
        // Of several, one: before Linux 5.3 there are no groups.
        RouteStyle::Gateways => first.map(Via::Gateway),
    };
    via.ok_or_else(|| failed.unwrap_or_else(|| format!("{prefix} has no next hop")))
}

/// A next hop as the kernel is told it: through a tunnel, if it is a node's whose pods are reached by one, else on the link.
fn resolve(cluster: &Cluster, (prefix, hop): (IpNet, &NextHop), table: &LeaseTable) -> Result<Resolved, String> {
    let NextHop { address, link } = *hop;
    let family = Family::of_net(&prefix);
    if family == Family::V6 && address.is_ipv4() {
        return Err(format!("{prefix} is announced with the next hop {address}: IPv6 has no way by an IPv4 router"));
    }
    if let Some(link) = link {
        return Ok(Resolved::Nexthop(Nexthop { link, gateway: address }));
    }
    let uplink = &cluster.uplink;
    if uplink.local.values().chain(uplink.public.values()).any(|own| *own == address) {
        return Err(format!("{prefix} is announced with this node's own address {address} as the next hop"));
    }
    if let Backend::Bgp(settings) = &cluster.backend {
        let lease = table.lease_of(prefix.network()).filter(|lease| lease.speaker().is_some());
        let endpoint = lease.and_then(|lease| lease.endpoints.get(family)).filter(|it| it.public == address);
        if let Some(resolved) = endpoint.and_then(|it| bgp::through_tunnel(cluster, settings, it)) {
            return Ok(resolved);
        }
    }
    if let Some(link) = uplink.on_link.link_of(address, uplink.link) {
        return Ok(Resolved::Nexthop(Nexthop { link, gateway: address }));
    }
    Err(format!(
        "{prefix} is announced with the next hop {address}, which is not on the link of {} or on another of this node's (see \
         `ip route get {address}`); let its routers announce it with their own address, or set Encapsulation to cross-subnet if it is a node",
        uplink.link
    ))
}

/// The whole contribution of a prefix that leads there.
pub(crate) fn state_of(prefix: IpNet, via: Via) -> KernelState {
    let mut state = KernelState::default();
    state.nexthops.extend(via.nexthops().map(|nexthop| (*nexthop, Tag::Ours)));
    state.groups.extend(via.group().map(|group| (group.clone(), Tag::Ours)));
    state.routes.insert(RouteKey::new(prefix), Route { via, tag: Tag::Ours });
    state
}

/// What nobody routes (RFC 6890), in words.
fn never_routed(prefix: &IpNet) -> Option<&'static str> {
    let length = prefix.prefix_len();
    // A prefix that holds such addresses and others is another matter.
    let (loopback, link_local, multicast) = match prefix.network() {
        IpAddr::V4(v4) => (v4.is_loopback() && length >= 8, v4.is_link_local() && length >= 16, length >= 4),
        IpAddr::V6(v6) => (v6.is_loopback() && length == 128, v6.is_unicast_link_local() && length >= 10, length >= 8),
    };
    let multicast = multicast && prefix.network().is_multicast();
    let kinds = [(loopback, "a loopback address"), (link_local, "link-local"), (multicast, "multicast")];
    kinds.into_iter().find(|(is, _)| *is).map(|(_, kind)| kind)
}
