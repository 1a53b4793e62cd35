//! [`Ways`]: a node in the midst of a change of backend: the older ways by which it still receives, each of which is the cluster
//! as that way sees it, and where the node stands among them.
//!
//! All ways' devices and entries are there side by side, and the route alone says by which a peer is sent to: to go from one
//! to another is to replace one route. Which one is `rollout`'s to say. Where it is to be learnt by BGP, the route of another way stands below
//! it, with a higher metric, so that there is one before it is learnt, and again should it be withdrawn.

use std::collections::{BTreeMap, BTreeSet};

use ipam::{BackendData, Carrier, Endpoint, Family, Lease, Stack};

use crate::bgp::{self, BgpSettings};
use crate::cluster::{Backend, Cluster, Unusable};
use crate::evpn::overlay;
use crate::ipip::{self, IpipSettings};
use crate::rollout::Position;
use crate::state::{KernelState, RouteKey, Via};
use crate::udp::{self, UdpSettings};
use crate::vxlan::{DEFAULT_PORT, VxlanSettings};
use crate::wireguard::{self, Generation, Mode, WireGuardSettings};

/// The ways of a node that has more than its configuration's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ways {
    position: Position,
    /// The target first, as [`Position::held`] gives them.
    held: Vec<Carrier>,
    /// Of each but the first, in the same order: the cluster with that way's backend and data.
    older: Vec<Cluster>,
}

impl Backend {
    /// What both ends of it must have in common.
    pub fn carrier(&self) -> Carrier {
        let name = match self {
            Backend::Vxlan(settings) => {
                let gbp = if settings.gbp { " gbp=on" } else { "" };
                format!("vxlan vni={} port={}{gbp}", settings.vni(), settings.port)
            }
            Backend::WireGuard(settings) => {
                let [first, second] = settings.ports;
                let key = match settings.generation {
                    Generation(0) => String::new(),
                    generation => format!(" key={generation}"),
                };
                format!("wireguard mode={} port={first} portv6={second}{key}", mode_name(settings.mode))
            }
            Backend::Udp(settings) => format!("udp port={}", settings.port),
            Backend::Bgp(settings) => settings.carrier(),
            Backend::Ipip(_) | Backend::HostGw | Backend::Extension(_) | Backend::Alloc => self.name().to_owned(),
        };
        #[allow(clippy::expect_used, reason = "a name of ours and two numbers are short words of ASCII")]
        Carrier::new(&name).expect("words")
    }

    /// The backend that a name means, with what is this node's own business as this one has it.
    pub fn of<T>(&self, carrier: &Carrier, families: &Stack<T>) -> Option<Backend> {
        match carrier.backend() {
            "vxlan" => {
                let mut settings = VxlanSettings::new(carrier.setting("vni")?.parse().ok()?, families).ok()?;
                settings.port = carrier.setting("port").map_or(Some(DEFAULT_PORT), |port| port.parse().ok())?;
                settings.gbp = carrier.setting("gbp").is_some();
                if let Backend::Vxlan(like) = self {
                    (settings.mtu, settings.learning) = (like.mtu, like.learning);
                    settings.direct_routing = like.direct_routing;
                    settings.tx_checksum = like.tx_checksum;
                }
                Some(Backend::Vxlan(settings))
            }
            wireguard::NAME => {
                let port = |name| carrier.setting(name)?.parse().ok();
                let mode = MODES.into_iter().find(|mode| carrier.setting("mode") == Some(mode_name(*mode)))?;
                let mut settings = WireGuardSettings::new(mode, families)?;
                settings.ports = [port("port")?, port("portv6")?];
                settings.generation = Generation::of(carrier);
                if let Backend::WireGuard(like) = self {
                    (settings.preshared, settings.keepalive_secs) = (like.preshared, like.keepalive_secs);
                    (settings.mtu, settings.strays) = (like.mtu, like.strays);
                    settings.tx_checksum = like.tx_checksum;
                }
                Some(Backend::WireGuard(settings))
            }
            udp::NAME => Some(Backend::Udp(UdpSettings::new(carrier.setting("port")?.parse().ok()?))),
            ipip::NAME => Some(Backend::Ipip(IpipSettings::new(families))),
            "host-gw" => Some(Backend::HostGw),
            "alloc" => Some(Backend::Alloc),
            bgp::NAME => BgpSettings::of(carrier, families).map(Backend::Bgp),
            _ => None,
        }
    }

    /// The same with devices of another name than the usual, so that another way of the same name can stand beside it.
    /// The usual is flannel's, with a dot between; `None` when it has no such names.
    pub fn with_devices_beside(&self, separator: char) -> Option<Backend> {
        match self {
            Backend::Vxlan(settings) => settings.renamed(separator).map(Backend::Vxlan),
            Backend::WireGuard(settings) => settings.renamed(separator).map(Backend::WireGuard),
            Backend::Udp(settings) => settings.renamed(separator).map(Backend::Udp),
            Backend::Bgp(settings) => settings.renamed(separator).map(Backend::Bgp),
            Backend::Ipip(_) | Backend::HostGw | Backend::Extension(_) | Backend::Alloc => None,
        }
    }

    /// The same beside another way: sessions that have to be agreed upon are before the first packet waits for one, and stay so until
    /// it comes; and each peer can be sent to by one way or the other.
    pub fn beside_another(&self) -> Backend {
        let mut backend = self.clone();
        match &mut backend {
            Backend::WireGuard(settings) => settings.wakes = true,
            Backend::Udp(settings) => settings.by_peer = true,
            _ => {}
        }
        backend
    }

    /// The same with another VNI, or on other ports, for a way round to it. Ports only where nothing is sent before it is known to arrive, for
    /// nobody knows whether what is between the nodes lets those pass: WireGuard's sessions say so.
    pub fn aside(&self) -> Option<Backend> {
        match self {
            Backend::WireGuard(settings) => Some(Backend::WireGuard(settings.aside())),
            Backend::Vxlan(settings) => settings.aside().map(Backend::Vxlan),
            Backend::Bgp(settings) => settings.with_vxlan(VxlanSettings::aside).map(Backend::Bgp),
            _ => None,
        }
    }

    /// Whether the kernel cannot hold both at a time: of VXLAN devices with one VNI there is one a port, and all of a port have the GBP
    /// extension or none (`vxlan_find_sock`); of others there is one a name.
    pub fn excludes(&self, other: &Backend) -> bool {
        if let (Some(one), Some(two)) = (overlay(self), overlay(other)) {
            return one.port == two.port && (one.vni() == two.vni() || one.gbp != two.gbp);
        }
        match (self, other) {
            (Backend::WireGuard(one), Backend::WireGuard(two)) => one.collides(two),
            (Backend::Udp(one), Backend::Udp(two)) => one.port == two.port,
            (one, two) => one == two,
        }
    }
}

const MODES: [Mode; 4] = [Mode::Separate, Mode::Auto, Mode::Over(Family::V4), Mode::Over(Family::V6)];

/// As net-conf.json has it.
fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Separate => "separate",
        Mode::Auto => "auto",
        Mode::Over(Family::V4) => "ipv4",
        Mode::Over(Family::V6) => "ipv6",
    }
}

impl Ways {
    /// The ways beside the target's: each name with the cluster as it sees it.
    pub fn new(position: Position, target: Carrier, older: Vec<(Carrier, Cluster)>) -> Ways {
        let (names, older): (Vec<_>, Vec<_>) = older.into_iter().unzip();
        Ways { position, held: [target].into_iter().chain(names).collect(), older }
    }

    /// The older ones.
    pub fn older(&self) -> impl Iterator<Item = &Cluster> {
        self.older.iter()
    }

    /// The way by which packets for a node's pods are sent as BGP says, if they are: as that way sees the cluster.
    pub(crate) fn learning<'c>(&'c self, target: &'c Cluster, lease: &Lease) -> Option<&'c Cluster> {
        let choice = self.position.choice(&self.held, lease)?;
        let clusters = self.held.iter().zip([target].into_iter().chain(&self.older));
        let chosen = clusters.into_iter().find(|(carrier, _)| *carrier == choice).map(|(_, cluster)| cluster);
        chosen.filter(|cluster| matches!(cluster.backend, Backend::Bgp(_)))
    }

    /// What they need without any peer.
    pub(crate) fn add_base(&self, state: &mut KernelState) {
        for older in &self.older {
            let base = older.base();
            state.links.extend(base.links);
            state.software_checksums.extend(base.software_checksums);
            state.addresses.extend(base.addresses);
            for (path, value) in base.sysctls {
                state.sysctls.entry(path).or_insert(value);
            }
            // A device for the whole network takes what the routes of single peers leave; what refuses it only guards.
            let devices = base.routes.into_iter().filter(|(_, route)| matches!(route.via, Via::Device(_)));
            state.routes.extend(devices);
        }
    }

    /// What one peer's lease adds: what each way has of it, and the route of the one by which it is sent to.
    pub(crate) fn contribution(&self, target: &Cluster, lease: &Lease) -> (KernelState, Vec<Unusable>) {
        let choice = self.position.choice(&self.held, lease);
        // A way that is learnt may not be yet, or no longer, until all have said that they send by it.
        let below = choice.is_some_and(|choice| choice.backend() == bgp::NAME && *choice != self.position.main);
        let clusters = self.held.iter().zip([target].into_iter().chain(&self.older));
        // The one to send by first, so that whatever else works is only used when that does not.
        let (chosen, others): (Vec<_>, Vec<_>) = clusters.partition(|(carrier, _)| Some(*carrier) == choice);
        let mut state = KernelState::default();
        let (mut sent, mut guarded) = (BTreeMap::new(), BTreeSet::new());
        let mut failed = Vec::new();
        for (carrier, cluster) in chosen.into_iter().chain(others) {
            let Some(seen) = seen_by(lease, carrier) else { continue };
            for (family, endpoint) in seen.endpoints.iter() {
                let mut part = KernelState::default();
                match cluster.way(endpoint).and_then(|way| cluster.add(way, (&seen, endpoint), &mut part)) {
                    Ok(()) => {
                        if sent.contains_key(&family) {
                            let usual = std::mem::take(&mut part.routes);
                            let spare = usual.into_iter().filter(|_| below && guarded.insert(family));
                            part.routes = spare.map(|(key, route)| (RouteKey::below(key.destination), route)).collect();
                        }
                        sent.entry(family).or_insert(carrier);
                        state.extend(part);
                    }
                    Err(reason) => failed.push(Failed { family, carrier, reason }),
                }
            }
        }
        (state, lease.endpoints.iter().filter_map(|it| verdict(target, it, (&sent, &failed))).collect())
    }
}

/// Why a way does not reach one family of a peer.
struct Failed<'c> {
    family: Family,
    carrier: &'c Carrier,
    reason: String,
}

/// What is wrong with one family of a peer: the first that failed says it.
fn verdict(
    target: &Cluster,
    (family, endpoint): (Family, &Endpoint),
    (sent, failed): (&BTreeMap<Family, &Carrier>, &[Failed<'_>]),
) -> Option<Unusable> {
    let instead = sent.get(&family).map(|carrier| Carrier::clone(carrier));
    match (failed.iter().find(|failed| failed.family == family), instead) {
        (None, Some(_)) => None,
        (Some(Failed { carrier, reason, .. }), Some(instead)) => {
            let reason = format!("not by {carrier}: {reason}; it is sent to by {instead} until it can be");
            Some(Unusable { family, reason, instead: Some(instead) })
        }
        (Some(Failed { reason, .. }), None) => Some(Unusable { family, reason: reason.clone(), instead: None }),
        // What it says fits none of ours.
        (None, None) => {
            let reason = target.way(endpoint).err().unwrap_or_else(|| "it has no way of this node's".to_owned());
            Some(Unusable { family, reason, instead: None })
        }
    }
}

/// A lease as one way sees it: with that way's data, in the families in which it has any.
fn seen_by(lease: &Lease, carrier: &Carrier) -> Option<Lease> {
    let data = |family, endpoint: &Endpoint| {
        let data = data_of(lease, (family, endpoint), carrier)?.clone();
        Some(Endpoint { data, ..endpoint.clone() })
    };
    Some(Lease { endpoints: lease.endpoints.filter_map(data)?, rollout: None, ..lease.clone() })
}

/// A way's data in one family of a lease.
fn data_of<'l>(
    lease: &'l Lease,
    (family, endpoint): (Family, &'l Endpoint),
    carrier: &Carrier,
) -> Option<&'l BackendData> {
    match &lease.rollout {
        None => carrier.fits(&endpoint.data).then_some(&endpoint.data),
        Some(rollout) if rollout.main == *carrier => Some(&endpoint.data),
        Some(rollout) => rollout.spare(carrier)?.data.get(family),
    }
}
