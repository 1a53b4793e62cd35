//! [`Path`]: how a packet for one address leaves this node, what of the desired state it needs, and the sentence that says so.

use std::net::IpAddr;

use backends::state::{FdbKey, NeighbourKey, Via};
use backends::sum::Desired;
use backends::{Backend, Cluster, KernelState, LinkName, Way};
use ipam::{Family, Lease};
use ipnet::IpNet;

use super::learnt;
use super::place::Place;
use crate::reconcile::Reconciler;

/// How a packet leaves this node.
#[derive(Debug)]
pub struct Path {
    /// What it needs of what is ours in the kernel.
    pub needs: KernelState,
    /// Whose the address is, and the way.
    pub sentence: String,
    /// Whether there is a way.
    pub leads: bool,
}

impl Path {
    /// The path to an address.
    pub fn to(address: IpAddr, place: &Place<'_>, reconciler: &Reconciler) -> Path {
        let family = Family::of(address);
        let nothing = |sentence, leads| Path { needs: KernelState::default(), sentence, leads };
        let uplink = || reconciler.node.uplink().map_or_else(|| "the uplink".into(), |uplink| uplink.link.to_string());
        match place {
            Place::OwnPod(lease) => to_own_pod(address, lease, reconciler.desired()),
            Place::PeerPod(lease) => to_peer_pod(address, lease, reconciler),
            Place::OwnNode => nothing(format!("{address} is this node's own address on {}", uplink()), true),
            Place::PeerNode(lease) => {
                let (node, uplink) = (&lease.node, uplink());
                let way = "by the underlay and the node's own routes, not by towpath";
                nothing(format!("{address} is node {node}'s own address: {way} (uplink {uplink})"), true)
            }
            Place::Refused(lease) => {
                let fault =
                    reconciler.node.table().fault(&lease.key).unwrap_or_else(|| "its claim does not stand".into());
                let claim = format!("{address} is claimed by node {} (lease {})", lease.node, lease.key);
                nothing(format!("{claim} and has no path: {fault}"), false)
            }
            Place::Unclaimed => {
                let needs = reconciler.desired().map(|desired| refusing(desired.cluster(), family)).unwrap_or_default();
                Path { needs, sentence: unclaimed(address, family, reconciler), leads: false }
            }
            Place::Outside => learnt::path(address, reconciler.desired())
                .unwrap_or_else(|| nothing(outside(address, family, reconciler), reconciler.node.network().is_some())),
        }
    }
}

fn to_own_pod(address: IpAddr, lease: &Lease, desired: Option<&Desired>) -> Path {
    let family = Family::of(address);
    let mut needs = desired.map(|desired| base(desired.cluster(), family)).unwrap_or_default();
    let is_vtep = lease.subnet(family).is_some_and(|subnet| subnet.network() == address);
    let device = desired.and_then(|desired| desired.cluster().backend.device(family));
    let sentence = match device.filter(|_| is_vtep) {
        Some(device) => {
            needs.ruleset = None;
            format!("{address} is this node's own address on {device}, which peers' routes name (lease {})", lease.key)
        }
        None => {
            needs.links.clear();
            needs.addresses.clear();
            needs.sysctls.retain(|path, _| device.is_none_or(|device| !names(path, device)));
            let way = "by the pods' bridge (cni0, unless the plugin's configuration names another)";
            format!("{address} is a pod address of this node (lease {}): {way}", Named(lease, family))
        }
    };
    Path { needs, sentence, leads: true }
}

fn to_peer_pod(address: IpAddr, lease: &Lease, reconciler: &Reconciler) -> Path {
    let family = Family::of(address);
    let is_vtep = lease.subnet(family).is_some_and(|subnet| subnet.network() == address);
    let what = if is_vtep { "the tunnel address" } else { "a pod address" };
    let whose = format!("{address} is {what} of node {} (lease {})", lease.node, Named(lease, family));
    let Some(desired) = reconciler.desired() else {
        let reason = "it is not known yet what the kernel should hold; see `towpathctl status`";
        return Path {
            needs: KernelState::default(),
            sentence: format!("{whose}, without a path: {reason}"),
            leads: false,
        };
    };
    let cluster = desired.cluster();
    let speaks = matches!(cluster.backend, Backend::Bgp(_));
    if !speaks && lease.endpoints.get(family).is_some_and(|endpoint| cluster.way(endpoint) == Ok(Way::Foreign)) {
        let way = format!("the node's own routes, which with backend {} are not towpath's", cluster.backend.name());
        let sentence = format!("{whose}: by {way}; see `ip route get {address}`");
        return Path { needs: KernelState::default(), sentence, leads: true };
    }
    let mut added = desired.contribution(&lease.key).unwrap_or_default();
    let learnt = lease.subnet(family).and_then(|subnet| desired.learnt_contribution(subnet));
    added.extend(learnt.unwrap_or_default());
    let needs = with(base(cluster, family), added, cluster, family);
    match way(&needs, lease, family) {
        Some(way) => Path { sentence: format!("{whose}: by {way}"), needs, leads: true },
        None => {
            let reason = desired.fault(&lease.key).unwrap_or_else(|| match speaks {
                true => "nobody announces it to this node; see `towpathctl bgp peers`".to_owned(),
                false => "its lease adds no route".to_owned(),
            });
            let sentence = format!("{whose}, without a path: {reason}");
            Path { needs: KernelState::default(), sentence, leads: false }
        }
    }
}

/// `route 10.244.3.0/24 via 10.244.3.0 dev flannel.1, in VXLAN to 192.0.2.3`
fn way(needs: &KernelState, lease: &Lease, family: Family) -> Option<String> {
    let subnet = lease.subnet(family)?;
    let (key, route) = needs.routes.iter().find(|(key, _)| key.destination == subnet)?;
    if let Via::Device(link) = route.via {
        let (peer, entry) = needs.peers.iter().find(|(_, entry)| entry.allowed.contains(&subnet))?;
        let remote = entry.remote.address().map(|address| format!(" at {address}")).unwrap_or_default();
        return Some(format!("route {subnet} dev {link}, encrypted for {}{remote}", peer.key));
    }
    if let Via::Group(group) = &route.via {
        return Some(format!("route {subnet} nhid [{group}], learnt by BGP"));
    }
    let (Via::Object(nexthop) | Via::Gateway(nexthop)) = route.via else { return None };
    let (link, gateway) = (nexthop.link, nexthop.gateway);
    let tunnelled = || {
        let neighbour = needs.neighbours.get(&NeighbourKey { link, address: gateway })?;
        let entry = needs.fdb.get(&FdbKey { link, mac: neighbour.mac })?;
        Some(format!(", in VXLAN to {}", entry.remote))
    };
    let how = tunnelled().unwrap_or_else(|| ", as they are, on the link that both nodes are on".to_owned());
    Some(format!("route {} via {gateway} dev {link}{how}", key.destination))
}

fn unclaimed(address: IpAddr, family: Family, reconciler: &Reconciler) -> String {
    let node = &reconciler.node;
    let lies_in = |net: &IpNet| format!("{address} is in the network {net}, but no node has a lease on it");
    let Some(network) = node.network() else { return format!("{address}: the network is not known yet") };
    let network_is = network.networks.get(family).map(lies_in).unwrap_or_default();
    let could = network.pools.get(family).and_then(|pool| {
        let subnet = IpNet::new(address, pool.length).ok()?.trunc();
        Some(if pool.compatible(&subnet) {
            format!("; it would belong to a node that takes the subnet {subnet}")
        } else {
            format!("; nobody can, nodes take subnets from {} to {} only", pool.first, pool.last)
        })
    });
    let known = if node.peers_known() { "" } else { " (all leases are not known yet)" };
    format!("{network_is}{}{known}", could.unwrap_or_default())
}

fn outside(address: IpAddr, family: Family, reconciler: &Reconciler) -> String {
    let Some(network) = reconciler.node.network() else {
        return format!("{address}: the network is not known yet, so nobody can say; see `towpathctl status`");
    };
    let routed = format!("the node's own routes decide, see `ip route get {address}`");
    match network.networks.get(family) {
        Some(net) => format!("{address} is not in the network {net}: {routed}"),
        None => format!("{address}: the network has no {family} part: {routed}"),
    }
}

/// A lease as it is named in a sentence: its key, and its subnet where that says more.
struct Named<'a>(&'a Lease, Family);

impl std::fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Named(lease, family) = self;
        match lease.subnet(*family) {
            Some(subnet) => write!(f, "{}, {subnet}", lease.key),
            None => write!(f, "{}", lease.key),
        }
    }
}

/// What this node itself needs for packets of one family.
fn base(cluster: &Cluster, family: Family) -> KernelState {
    let mut state = cluster.base();
    let device = cluster.backend.device(family);
    let concerns = |path: &str| match cluster.backend.devices().find(|link| names(path, link)) {
        Some(link) => Some(link) == device,
        None => path.starts_with(if family == Family::V4 { "net/ipv4/" } else { "net/ipv6/" }),
    };
    state.links.retain(|link, _| Some(link) == device);
    state.addresses.retain(|(link, _), _| Some(link) == device);
    state.routes.retain(|key, route| Family::of_net(&key.destination) == family && route.via != Via::Unreachable);
    state.sysctls.retain(|path, _| concerns(path));
    state
}

/// What refuses packets to addresses of no node.
fn refusing(cluster: &Cluster, family: Family) -> KernelState {
    let mut routes = cluster.base().routes;
    routes.retain(|key, route| Family::of_net(&key.destination) == family && route.via == Via::Unreachable);
    KernelState { routes, ..KernelState::default() }
}

/// Whether a sysctl is a device's own.
fn names(path: &str, device: &LinkName) -> bool {
    path.split('/').any(|part| part == device.as_str())
}

/// And what one peer's lease adds for that family. A blackhole under our own pods' routes is none of the peer's.
fn with(mut state: KernelState, added: KernelState, cluster: &Cluster, family: Family) -> KernelState {
    let device = cluster.backend.device(family);
    state.routes = added.routes;
    state.routes.retain(|key, _| Family::of_net(&key.destination) == family);
    state.nexthops = added.nexthops;
    state.nexthops.retain(|nexthop, _| Family::of(nexthop.gateway) == family);
    state.neighbours = added.neighbours;
    state.neighbours.retain(|key, _| Family::of(key.address) == family);
    state.peers = added.peers;
    state.peers.retain(|key, _| Some(&key.link) == device);
    state.fdb = added.fdb;
    state.fdb.retain(|key, _| Some(&key.link) == device);
    if !state.nexthops.is_empty() && state.nexthops.keys().all(|nexthop| Some(&nexthop.link) != device) {
        // It goes over the uplink, and the tunnel has no part in it.
        state.links.clear();
        state.addresses.clear();
        state.sysctls.retain(|path, _| device.is_none_or(|device| !names(path, device)));
    }
    state
}
