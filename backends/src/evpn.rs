//! [`Fabric`]: the hosts and prefixes that EVPN says are behind other VTEPs of our VXLAN, and what they mean for the kernel: neighbours and forwarding entries
//! of the device that the backend has, and next hops on it for [`crate::learnt`].
//!
//! Nothing is flooded: each host and router that is sent to has its entries. So a VTEP that says of itself no more than that it is there (type 3) adds nothing. What the
//! leases say of a MAC or a neighbour stands, whatever a fabric says of it.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

use ipam::{BackendData, Family, Lease, Mac};
use ipnet::IpNet;

use crate::bgp::{self, BgpSettings, Encapsulation};
use crate::cluster::{Backend, Cluster};
use crate::learnt::{NextHop, Unwanted};
use crate::state::{Fdb, FdbKey, KernelState, LinkName, Neighbour, NeighbourKey, Tag};
use crate::vxlan::VxlanSettings;

/// What tells a route from others: where it leads, if anywhere, and its bytes as BGP has them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RouteId {
    /// The prefix, or the host as one; `None` for a MAC alone.
    pub destination: Option<IpNet>,
    /// Type, length and value.
    pub bytes: Box<[u8]>,
}

/// Who is behind a VTEP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
pub struct Station {
    /// What it is.
    pub kind: StationKind,
    /// Its MAC, the inner destination.
    pub mac: Mac,
    /// The VTEP, the outer one.
    pub vtep: IpAddr,
}

/// What is behind a VTEP. The order is that of belief: what stands first is where a MAC is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StationKind {
    /// The VTEP's own router, which has prefixes behind it (type 5; of a host on another bridge, type 2).
    Router,
    /// A host (type 2), which has moved so often: where it has been most often it is (RFC 7432 section 15).
    Host(std::cmp::Reverse<u32>),
}

/// What EVPN says.
#[derive(Clone, Debug, Default)]
pub struct Fabric {
    routes: BTreeMap<RouteId, BTreeSet<Station>>,
    /// How many stations each VTEP has.
    vteps: BTreeMap<IpAddr, usize>,
    /// How often it was another; nothing is said only by one that never was, or has been cleared.
    version: u64,
}

/// The VXLAN that a fabric can be the other end of, if the backend has one.
pub fn overlay(backend: &Backend) -> Option<&VxlanSettings> {
    match backend {
        Backend::Vxlan(settings) => Some(settings),
        Backend::Bgp(BgpSettings { encapsulation: Encapsulation::Vxlan(it) | Encapsulation::CrossSubnet(it) }) => {
            Some(it)
        }
        _ => None,
    }
}

/// The MAC of this node's VTEP of a family, as its device has it.
pub fn own_mac(backend: &Backend, own: &Lease, family: Family) -> Option<Mac> {
    let endpoint = own.endpoints.get(family)?;
    let data = match backend {
        Backend::Bgp(_) => bgp::seen_by(overlay(backend)?, endpoint).data,
        _ => endpoint.data.clone(),
    };
    match data {
        BackendData::Vxlan { mac, .. } => Some(mac),
        _ => None,
    }
}

impl Fabric {
    /// Takes what a route says now; without stations it is gone. The prefixes to which the way may be another.
    pub fn set(&mut self, id: RouteId, stations: BTreeSet<Station>) -> BTreeSet<IpNet> {
        let mut touched: BTreeSet<IpNet> = id.destination.into_iter().collect();
        let before = match stations.is_empty() {
            true => self.routes.remove(&id),
            false => self.routes.insert(id, stations.clone()),
        };
        let before = before.unwrap_or_default();
        if before == stations {
            return BTreeSet::new();
        }
        self.version += 1;
        let mut other = BTreeSet::new();
        for vtep in stations.iter().map(|station| station.vtep) {
            let count = self.vteps.entry(vtep).or_default();
            *count += 1;
            other.extend((*count == 1).then_some(vtep));
        }
        for vtep in before.iter().map(|station| station.vtep) {
            if let Entry::Occupied(mut count) = self.vteps.entry(vtep) {
                *count.get_mut() -= 1;
                if *count.get() == 0 {
                    count.remove();
                    other.insert(vtep);
                }
            }
        }
        // The way to a VTEP must not lead through itself, nor through another.
        if !other.is_empty() {
            touched.extend(self.prefixes().filter(|net| other.iter().any(|vtep| net.contains(vtep))));
        }
        touched
    }

    /// Forgets all. What there was.
    pub fn clear(&mut self) -> BTreeSet<IpNet> {
        let gone = self.prefixes().collect();
        // The number stays: what comes next is not what there was.
        *self = Fabric { version: self.version + 1, ..Fabric::default() };
        gone
    }

    /// Where there is something, each once.
    pub fn prefixes(&self) -> impl Iterator<Item = IpNet> {
        let mut last = None;
        self.routes.keys().filter_map(|id| id.destination).filter(move |net| last.replace(*net) != Some(*net))
    }

    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// Another number for whatever is said otherwise.
    pub(crate) fn version(&self) -> u64 {
        if self.routes.is_empty() { 0 } else { self.version }
    }

    fn stations(&self, prefix: IpNet) -> impl Iterator<Item = &Station> {
        let from = RouteId { destination: Some(prefix), bytes: Box::default() };
        let of_it = self.routes.range(from..).take_while(move |(id, _)| id.destination == Some(prefix));
        of_it.flat_map(|(_, stations)| stations)
    }

    /// The next hops to a prefix; `None` where nothing is said of it. A host is at one place, routers may be several.
    pub(crate) fn hops(&self, cluster: &Cluster, prefix: IpNet) -> Option<Vec<NextHop>> {
        let all: BTreeSet<&Station> = self.stations(prefix).collect();
        if all.is_empty() {
            return None;
        }
        let usable: Vec<(&Station, LinkName)> =
            all.into_iter().filter_map(|station| Some((station, device(cluster, station)?))).collect();
        let host = usable.iter().find(|(station, _)| station.kind != StationKind::Router);
        let chosen = match host {
            Some(host) => std::slice::from_ref(host),
            None => usable.as_slice(),
        };
        let hop =
            |(station, link): &(&Station, LinkName)| NextHop { address: gateway(prefix, station), link: Some(*link) };
        Some(chosen.iter().map(hop).collect())
    }

    /// Why a prefix may not be taken from a fabric, though it might be from a router on the link.
    pub(crate) fn refusal(&self, cluster: &Cluster, prefix: IpNet) -> Option<Unwanted> {
        if !cluster.own.endpoints.has(Family::of_net(&prefix)) {
            return Some(Unwanted::OfBackend);
        }
        let of_pods = cluster.networks.values().any(|network| network.contains(&prefix));
        if of_pods && self.stations(prefix).any(|station| station.kind != StationKind::Router) {
            return Some(Unwanted::OfBackend);
        }
        if self.stations(prefix).all(|station| device(cluster, station).is_none()) {
            let vtep = self.stations(prefix).next().map(|station| station.vtep)?;
            return Some(Unwanted::Refused(format!(
                "{prefix} is announced behind the VTEP {vtep}, which this node's VXLAN does not reach: it must be another node's \
                 address, outside of the pods' networks, of a family that the network has"
            )));
        }
        let nearer = |vtep: IpAddr| {
            cluster.uplink.on_link.network_of(vtep).is_some_and(|it| it.prefix_len() > prefix.prefix_len())
        };
        let circular = |vtep: &&IpAddr| prefix.contains(*vtep) && !nearer(**vtep);
        let vtep = self.vteps.range(prefix.network()..=prefix.broadcast()).map(|(vtep, _)| vtep).find(circular)?;
        Some(Unwanted::Refused(format!(
            "{prefix} is announced behind a VTEP, and the VTEP {vtep} lies in it: packets to it would go into the tunnel that they come out of; \
             let the fabric announce prefixes without its VTEPs"
        )))
    }

    /// The neighbours and forwarding entries of all that is sent to: of MACs alone, and of what leads to the prefixes that are wanted.
    pub(crate) fn state(&self, cluster: &Cluster, wanted: impl Fn(IpNet) -> bool) -> KernelState {
        let mut state = KernelState::default();
        let mut places: BTreeMap<FdbKey, Station> = BTreeMap::new();
        let mut last: Option<(IpNet, bool)> = None;
        for (RouteId { destination, .. }, stations) in &self.routes {
            if let Some(net) = destination {
                let is_wanted = last.filter(|(of, _)| of == net).map_or_else(|| wanted(*net), |(_, is)| is);
                last = Some((*net, is_wanted));
                if !is_wanted {
                    continue;
                }
            }
            for station in stations {
                let Some(link) = device(cluster, station) else { continue };
                let place = places.entry(FdbKey { link, mac: station.mac }).or_insert(*station);
                *place = (*place).min(*station);
            }
        }
        for prefix in self.prefixes().filter(|prefix| wanted(*prefix)) {
            for NextHop { address, link } in self.hops(cluster, prefix).into_iter().flatten() {
                let mac = self.stations(prefix).filter(|it| gateway(prefix, it) == address).min().map(|it| it.mac);
                if let (Some(link), Some(mac)) = (link, mac) {
                    let key = NeighbourKey { link, address };
                    state.neighbours.entry(key).or_insert(Neighbour { mac, tag: Tag::Ours });
                }
            }
        }
        state.fdb = places.into_iter().map(|(key, it)| (key, Fdb { remote: it.vtep, tag: Tag::Ours })).collect();
        state
    }
}

/// The device through which a VTEP is reached; `None` for one that cannot be another node's or that there is no device for.
fn device(cluster: &Cluster, station: &Station) -> Option<LinkName> {
    let Station { vtep, mac, .. } = station;
    let family = Family::of(*vtep);
    let uplink = &cluster.uplink;
    let ours = uplink.local.values().chain(uplink.public.values()).any(|own| own == vtep);
    let of_pods = cluster.networks.values().any(|network| network.contains(vtep));
    let own_mac = Family::ALL.into_iter().any(|family| own_mac(&cluster.backend, &cluster.own, family) == Some(*mac));
    if ours || of_pods || own_mac || !cluster.own.endpoints.has(family) {
        return None;
    }
    overlay(&cluster.backend)?.devices().get(family).copied()
}

/// The address by which a station is a next hop: a router's VTEP, as `ip route` shows it elsewhere, and a host's own. The kernel takes no IPv6 gateway that it reaches by
/// another device (`ip6_route_check_nh_onlink`), as it does VTEPs, but link-local ones: the one that follows from the MAC (RFC 4291 appendix A).
fn gateway(prefix: IpNet, station: &Station) -> IpAddr {
    match (prefix, station.kind, station.vtep) {
        (IpNet::V4(_), StationKind::Router, vtep @ IpAddr::V4(_)) => vtep,
        (IpNet::V4(_), StationKind::Host(_), _) => prefix.addr(),
        _ => {
            let [a, b, c, d, e, f] = station.mac.0;
            let group = u16::from_be_bytes;
            let (first, second, third, fourth) = (group([a ^ 2, b]), group([c, 0xff]), group([0xfe, d]), group([e, f]));
            Ipv6Addr::new(0xfe80, 0, 0, 0, first, second, third, fourth).into()
        }
    }
}
