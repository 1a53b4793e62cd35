//! [`Learnt`]: the routes that others announced, and what each means for the kernel: one contribution a prefix.
//!
//! Routes come from outside, so they are looked at: what would take the node's own pods, its own network or its default route away is
//! refused with a sentence, unless it was asked for. Who announced them, and which path is best, is the speaker's business.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Bound;
use std::sync::Arc;

use ipam::{Family, LeaseTable};
use ipnet::IpNet;

use crate::bgp::{self, Resolved};
use crate::cluster::{Backend, Cluster, RouteStyle};
use crate::evpn::{self, Fabric};
use crate::state::{Group, KernelState, LinkName, Nexthop, Route, RouteKey, Tag, Via};

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
    routes: BTreeMap<IpNet, Arc<[NextHop]>>,
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
            return self.routes.remove(&prefix).is_some();
        }
        let same = self.routes.get(&prefix).is_some_and(|known| known.iter().eq(hops));
        if !same {
            let kept = self.kept(hops.iter());
            self.routes.insert(prefix, kept);
        }
        !same
    }

    /// The one of the recent values that is equal, or a new one.
    fn kept<'h>(&mut self, hops: impl Iterator<Item = &'h NextHop> + Clone) -> Arc<[NextHop]> {
        if let Some(kept) = self.recent.iter().find(|recent| recent.iter().eq(hops.clone())) {
            return Arc::clone(kept);
        }
        if self.recent.len() == RECENT {
            self.recent.pop_back();
        }
        let kept: Arc<[NextHop]> = hops.copied().collect();
        self.recent.push_front(Arc::clone(&kept));
        kept
    }

    /// The path to a router is dead: what leads to others, too, leads to those alone. Which prefixes these are.
    pub fn lose(&mut self, lost: NextHop) -> Vec<IpNet> {
        let also = |hops: &[NextHop]| hops.len() > 1 && hops.contains(&lost);
        let narrowed: Vec<IpNet> =
            self.routes.iter().filter(|(_, hops)| also(hops)).map(|(prefix, _)| *prefix).collect();
        for prefix in &narrowed {
            let Some(hops) = self.routes.get(prefix).cloned() else { continue };
            let rest = self.kept(hops.iter().filter(|hop| **hop != lost));
            self.routes.insert(*prefix, rest);
        }
        narrowed
    }

    /// Forgets all: there is no BGP any more. What there was.
    pub fn clear(&mut self) -> BTreeSet<IpNet> {
        self.recent.clear();
        let of_fabric = self.fabric.clear();
        std::mem::take(&mut self.routes).into_keys().chain(of_fabric).collect()
    }

    /// Builds the map anew: filled in the order of the prefixes, a tree is half empty.
    pub fn pack(&mut self) {
        self.routes = std::mem::take(&mut self.routes).into_iter().collect();
    }

    /// Prefixes that were announced, each once.
    pub fn prefixes(&self) -> impl Iterator<Item = IpNet> {
        let others = self.fabric.prefixes().filter(|prefix| !self.routes.contains_key(prefix));
        self.routes.keys().copied().chain(others)
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.routes.len() + self.fabric.prefixes().filter(|prefix| !self.routes.contains_key(prefix)).count()
    }

    /// Whether nothing was announced.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty() && self.fabric.is_empty()
    }

    /// Whether more may still be told of a prefix by those who told of it.
    pub(crate) fn waits(&self, prefix: &IpNet) -> bool {
        match self.routes.contains_key(prefix) {
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
        let from = self.routes.range((Bound::Included(net), Bound::Unbounded));
        let of_routers = from.map(|(prefix, _)| *prefix).take_while(move |prefix| net.contains(&prefix.addr()));
        of_routers.chain(self.fabric.prefixes().filter(move |prefix| net.contains(prefix)))
    }

    /// Where one prefix leads.
    ///
    /// # Errors
    /// [`Unwanted`]: why it adds nothing.
    pub(crate) fn way(
        &self,
        cluster: &Cluster,
        (prefix, asked): (IpNet, &mut Asked<'_>),
    ) -> Option<Result<Via, Unwanted>> {
        let of_fabric;
        let (hops, refused) = match self.routes.get(&prefix) {
            Some(hops) => (hops, self.refusal(cluster, prefix)),
            None => {
                of_fabric = Arc::from(self.fabric.hops(cluster, prefix)?);
                (&of_fabric, self.refusal_of_fabric(cluster, prefix))
            }
        };
        Some(match refused {
            Some(unwanted) => Err(unwanted),
            None => asked.via(cluster, (prefix, hops)).map_err(Unwanted::Refused),
        })
    }

    /// What the fabric's hosts and routers need beside routes.
    pub(crate) fn stations(&self, cluster: &Cluster) -> KernelState {
        let taken = |prefix| !self.routes.contains_key(&prefix) && self.refusal_of_fabric(cluster, prefix).is_none();
        self.fabric.state(cluster, taken)
    }

    fn refusal_of_fabric(&self, cluster: &Cluster, prefix: IpNet) -> Option<Unwanted> {
        self.refusal(cluster, prefix).or_else(|| self.fabric.refusal(cluster, prefix))
    }

    /// Why a prefix may not be taken, wherever it leads.
    fn refusal(&self, cluster: &Cluster, prefix: IpNet) -> Option<Unwanted> {
        let of_pods = cluster.networks.values().any(|network| network.contains(&prefix));
        if of_pods && !matches!(cluster.backend, Backend::Bgp(_)) {
            return Some(Unwanted::OfBackend);
        }
        let refused = |why: String| Some(Unwanted::Refused(why));
        if let Some(kind) = never_routed(&prefix) {
            return refused(format!("{prefix} is announced to this node, and is {kind}, which nobody routes"));
        }
        let own = cluster.own.subnets();
        if own.values().any(|own| own.contains(&prefix)) {
            return refused(format!("{prefix} is announced to this node, and is of its own pods"));
        }
        if self.allowed.contains(&prefix) {
            return None;
        }
        let fix = format!("if that is wanted, add \"{prefix}\" to AllowRoutes");
        if prefix.prefix_len() == 0 {
            return refused(format!("a default route {prefix} is announced to this node, and is not taken; {fix}"));
        }
        if let Some(own) = own.values().find(|own| prefix.contains(*own)) {
            return refused(format!("{prefix} is announced to this node, and its own pods' {own} lie in it; {fix}"));
        }
        let local = cluster.uplink.local.values();
        let mut networks = local.filter_map(|address| cluster.uplink.on_link.network_of(*address));
        let network = networks.find(|network| network.contains(&prefix) || prefix.contains(network))?;
        let link = cluster.uplink.link;
        refused(format!(
            "{prefix} is announced to this node, and would stand for {network}, the network of {link}; {fix}"
        ))
    }
}

/// Ways that are asked for one after the other, of one cluster.
pub(crate) struct Asked<'f> {
    table: &'f LeaseTable,
    /// The last next hops and where they lead prefixes of a family.
    last: Option<(Arc<[NextHop]>, Family, Via)>,
}

impl<'f> Asked<'f> {
    /// Nothing is asked yet.
    pub fn new(table: &'f LeaseTable) -> Asked<'f> {
        Asked { table, last: None }
    }

    fn via(&mut self, cluster: &Cluster, (prefix, hops): (IpNet, &Arc<[NextHop]>)) -> Result<Via, String> {
        let family = Family::of_net(&prefix);
        if let Some((last, of, via)) = &self.last
            && Arc::ptr_eq(last, hops)
            && *of == family
        {
            return Ok(via.clone());
        }
        let via = via(cluster, (prefix, hops), self.table)?;
        // To pods of a node the way may be a tunnel, and is another one for each.
        let of_pods = cluster.networks.values().any(|network| network.contains(&prefix));
        self.last = (!of_pods).then(|| (Arc::clone(hops), family, via.clone()));
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
        let lease = table.lease_of(prefix.network());
        let endpoint = lease.and_then(|lease| lease.endpoints.get(family)).filter(|it| it.public == address);
        if let Some(resolved) = endpoint.and_then(|it| bgp::through_tunnel(cluster, settings, it)) {
            return Ok(resolved);
        }
    }
    if uplink.on_link.has(address) {
        return Ok(Resolved::Nexthop(Nexthop { link: uplink.link, gateway: address }));
    }
    Err(format!(
        "{prefix} is announced with the next hop {address}, which is not on the link of {} (see `ip route get {address}`); \
         let its routers announce it with their own address, or set Encapsulation to cross-subnet if it is a node",
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
    let v4 = |a, b, length| IpNet::new(IpAddr::V4(Ipv4Addr::new(a, b, 0, 0)), length);
    let v6 = |a, length| IpNet::new(IpAddr::V6(Ipv6Addr::new(a, 0, 0, 0, 0, 0, 0, 0)), length);
    let loopback = IpNet::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 128);
    let list = [
        (v4(127, 0, 8), "a loopback address"),
        (v4(169, 254, 16), "link-local"),
        (v4(224, 0, 4), "multicast"),
        (loopback, "a loopback address"),
        (v6(0xfe80, 10), "link-local"),
        (v6(0xff00, 8), "multicast"),
    ];
    let inside = |net: &Result<IpNet, _>| net.as_ref().is_ok_and(|net: &IpNet| net.contains(prefix));
    list.iter().find(|(net, _)| inside(net)).map(|(_, kind)| *kind)
}
