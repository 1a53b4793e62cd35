//! [`Cluster`]: what a backend looks at — this node, its uplink, the networks — and the two halves of the sum: what the
//! node itself needs ([`Cluster::base`]) and what one lease adds ([`Cluster::contribution`]).

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use ipam::{Carrier, Endpoint, Family, Lease, Stack};
use ipnet::IpNet;

use crate::bgp::{self, BgpSettings};
use crate::extension::{self, ExtensionSettings};
use crate::ipip::{self, IpipSettings};
use crate::masquerade::{self, Exceptions, Firewall, Segments, TowardsNodes};
use crate::on_link::OnLink;
use crate::ruleset::Ruleset;
use crate::state::{KernelState, LinkName, Route, RouteKey, Tag, Via};
use crate::udp::{self, UdpSettings};
use crate::vxlan::{self, VxlanSettings};
use crate::ways::Ways;
use crate::wireguard::{self, WireGuardSettings};
use crate::{direct, host_gw, offload};

/// How pods' packets are carried to other nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backend {
    /// In UDP, by the kernel's VXLAN devices.
    Vxlan(VxlanSettings),
    /// Encrypted in UDP, by the kernel's WireGuard devices.
    WireGuard(WireGuardSettings),
    /// In IP, by the kernel's IP-in-IP devices.
    Ipip(IpipSettings),
    /// As they are, over the uplink's own link.
    HostGw,
    /// As the nodes tell each other by BGP: as they are, or through a tunnel.
    Bgp(BgpSettings),
    /// In datagrams, by the daemon's own proxy.
    Udp(UdpSettings),
    /// By commands of the user's.
    Extension(ExtensionSettings),
    /// Not by us: somebody else, a cloud's routes mostly, brings them.
    Alloc,
}

impl Backend {
    /// The name in net-conf.json.
    pub fn name(&self) -> &'static str {
        match self {
            Backend::Vxlan(_) => "vxlan",
            Backend::WireGuard(_) => wireguard::NAME,
            Backend::Ipip(_) => ipip::NAME,
            Backend::HostGw => host_gw::NAME,
            Backend::Bgp(_) => bgp::NAME,
            Backend::Udp(_) => udp::NAME,
            Backend::Extension(_) => extension::NAME,
            Backend::Alloc => "alloc",
        }
    }

    /// The name in leases, as flannel writes it: alloc and udp have none there.
    pub fn published_name(&self) -> &'static str {
        match self {
            Backend::Alloc | Backend::Udp(_) => "",
            _ => self.name(),
        }
    }

    /// The devices that this backend makes.
    pub fn devices(&self) -> impl Iterator<Item = &LinkName> {
        let mut devices: Vec<&LinkName> = self.tunnels().into_iter().flat_map(Stack::values).collect();
        // One may carry both families.
        devices.dedup();
        devices.into_iter()
    }

    /// The device that carries a family's packets.
    pub fn device(&self, family: Family) -> Option<&LinkName> {
        self.tunnels()?.get(family)
    }

    fn tunnels(&self) -> Option<&Stack<LinkName>> {
        match self {
            Backend::Vxlan(settings) => Some(settings.devices()),
            Backend::Udp(settings) => Some(settings.devices()),
            Backend::WireGuard(settings) => Some(settings.devices()),
            Backend::Ipip(settings) => Some(settings.devices()),
            Backend::Bgp(settings) => settings.tunnels(),
            Backend::HostGw | Backend::Extension(_) | Backend::Alloc => None,
        }
    }

    /// Octets of payload that a family's packets may have on their way over an uplink that carries so many.
    pub fn mtu(&self, family: Family, uplink: u32) -> u32 {
        match self {
            Backend::Vxlan(settings) => settings.device_mtu(family, uplink),
            Backend::Udp(settings) => settings.device_mtu(family, uplink),
            Backend::WireGuard(settings) => settings.device_mtu(uplink),
            Backend::Ipip(settings) => settings.device_mtu(family, uplink),
            Backend::Bgp(settings) => settings.mtu(family, uplink),
            Backend::HostGw | Backend::Extension(_) | Backend::Alloc => uplink,
        }
    }

    /// Whether peers may reach this node by an address that its uplink does not have (a NAT stands before it).
    pub fn passes_nat(&self) -> bool {
        !matches!(self, Backend::HostGw | Backend::Bgp(_))
    }

    /// Whether some of what it makes lies on the uplink itself, which is not ours.
    pub fn uses_uplink(&self) -> bool {
        match self {
            Backend::Vxlan(settings) => settings.direct_routing,
            Backend::Ipip(settings) => settings.direct_routing,
            Backend::HostGw | Backend::Bgp(_) => true,
            Backend::Udp(_) | Backend::WireGuard(_) | Backend::Extension(_) | Backend::Alloc => false,
        }
    }
}

/// Which way packets to one family of a peer leave this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Through the backend's device.
    Tunnel,
    /// Over the uplink to the peer's own address.
    Direct,
    /// By somebody else's routes.
    Foreign,
}

/// The interface that reaches the other nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uplink {
    /// Its name.
    pub link: LinkName,
    /// Octets of payload that it carries.
    pub mtu: u32,
    /// The address on it, per family: the outer source.
    pub local: Stack<IpAddr>,
    /// The address that peers are told to send to: `local` unless a NAT stands before the node.
    pub public: Stack<IpAddr>,
    /// The addresses that it reaches without a gateway.
    pub on_link: OnLink,
    /// Settings of the host, by path below /proc/sys, that must be so while it forwards over this interface.
    pub settings: BTreeMap<String, String>,
}

/// How routes to peers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteStyle {
    /// Through one next-hop object per peer (kernel 5.3 and later): insertion does not depend on their number.
    Objects,
    /// With plain on-link gateways.
    Gateways,
}

/// Whether the own pod subnet gets a blackhole route (`--ip-blackhole-route`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnSubnetRoute {
    /// None: the bridge's own route is enough.
    Absent,
    /// `blackhole SUBNET` with the last metric that there is: no address of a pod that is gone leaves by the default route.
    Blackhole,
}

/// What becomes of packets to addresses of the cluster's networks that no node has (`--ip-unreachable-route`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnclaimedAddresses {
    /// They go where the node's other routes lead: to the default gateway, mostly, as under flannel.
    #[default]
    Routed,
    /// `unreachable NETWORK` with the last metric that there is: the sender is told, and they never loop between the gateway and us.
    Unreachable,
}

/// This node's place in the cluster: all that decides its kernel's state, but for the peers' leases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// The cluster's networks (`Network`, `IPv6Network`).
    pub networks: Stack<IpNet>,
    /// How packets are carried.
    pub backend: Backend,
    /// The interface that reaches the peers.
    pub uplink: Uplink,
    /// This node's own lease, its VTEP MACs included.
    pub own: Lease,
    /// Masquerade and forwarding.
    pub firewall: Firewall,
    /// How routes are written.
    pub routes: RouteStyle,
    /// Blackhole or not.
    pub own_subnet_route: OwnSubnetRoute,
    /// Unreachable or not.
    pub unclaimed: UnclaimedAddresses,
    /// Whose packets are masqueraded otherwise.
    pub exceptions: Exceptions,
    /// Whether connections' segment sizes are cut.
    pub segments: Segments,
    /// The older ways, while the backend is being changed.
    pub ways: Option<Box<Ways>>,
}

/// Why one family of a peer's lease gets no path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// The family.
    pub family: Family,
    /// One sentence: what is wrong and what to do.
    pub reason: String,
    /// The older way by which the peer is sent to all the same.
    pub instead: Option<Carrier>,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.family, self.reason)
    }
}

impl Cluster {
    /// What the node needs with no peer at all: devices, addresses, sysctls, firewall.
    pub fn base(&self) -> KernelState {
        let mut state = match &self.backend {
            Backend::Vxlan(settings) => vxlan::base(self, settings),
            Backend::Udp(settings) => udp::base(self, settings),
            Backend::WireGuard(settings) => wireguard::base(self, settings),
            Backend::Ipip(settings) => ipip::base(self, settings),
            Backend::Bgp(settings) => bgp::base(self, settings),
            Backend::HostGw | Backend::Extension(_) | Backend::Alloc => KernelState::default(),
        };
        offload::add(self, &mut state);
        // Other nodes' pods may send over the uplink, whichever way the answers take.
        if self.backend.uses_uplink() || self.exceptions.nodes == TowardsNodes::Kept {
            direct::base(self, &mut state);
        }
        state.ruleset = Some(masquerade::ruleset(self, &[]));
        if let Some(ways) = &self.ways {
            ways.add_base(&mut state);
        }
        state.sysctls.extend(self.uplink.settings.clone());
        // A longer prefix comes before it in any case, and another route to the same by its metric: a bridge's to its pods. (At the usual
        // metric, as in flannel, one of two is refused for the other, or takes every pod's packets.)
        let last = |destination| RouteKey { destination, metric: u32::MAX };
        for (family, subnet) in self.own.subnets().iter() {
            let forwarding = match family {
                Family::V4 => "net/ipv4/ip_forward",
                Family::V6 => "net/ipv6/conf/all/forwarding",
            };
            state.sysctls.insert(forwarding.to_owned(), "1".to_owned());
            if self.own_subnet_route == OwnSubnetRoute::Blackhole {
                let route = Route { via: Via::Blackhole, tag: Tag::Ours };
                state.routes.insert(last(*subnet), route);
            }
        }
        // Where others bring the packets, no route of ours may stand in their way.
        if self.unclaimed == UnclaimedAddresses::Unreachable && !self.backends().any(|it| *it == Backend::Alloc) {
            let route = Route { via: Via::Unreachable, tag: Tag::Ours };
            state.routes.extend(self.networks.values().map(|network| (last(*network), route.clone())));
        }
        state
    }

    /// The ruleset, where it says something of the other nodes; else that of the base is right with any nodes.
    pub(crate) fn ruleset_with<'l>(&self, leases: impl Iterator<Item = &'l Lease>) -> Option<Ruleset> {
        (self.exceptions.nodes == TowardsNodes::Kept).then(|| {
            let publics =
                leases.flat_map(|lease| lease.endpoints.values()).map(|endpoint| IpNet::from(endpoint.public));
            // A prefix for all addresses of which it is made: no more than those, in few rules.
            masquerade::ruleset(self, &IpNet::aggregate(&publics.collect()))
        })
    }

    /// What one peer's lease adds; and, per family, why it adds nothing.
    pub fn contribution(&self, lease: &Lease) -> (KernelState, Vec<Unusable>) {
        if let Some(ways) = &self.ways {
            return ways.contribution(self, lease);
        }
        let mut state = KernelState::default();
        let mut unusable = Vec::new();
        for (family, endpoint) in lease.endpoints.iter() {
            match self.way(endpoint) {
                Ok(way) => match self.add(way, (lease, endpoint), &mut state) {
                    Ok(()) => {}
                    Err(reason) => unusable.push(Unusable { family, reason, instead: None }),
                },
                Err(reason) => unusable.push(Unusable { family, reason, instead: None }),
            }
        }
        (state, unusable)
    }

    /// What one family of a peer adds that goes this way.
    pub(crate) fn add(
        &self,
        way: Way,
        (lease, peer): (&Lease, &Endpoint),
        state: &mut KernelState,
    ) -> Result<(), String> {
        match way {
            Way::Tunnel => return self.add_tunnelled(lease, peer, state),
            Way::Direct => direct::add_peer(self, peer, state),
            Way::Foreign => {}
        }
        Ok(())
    }

    /// Which way packets to one family of a peer go.
    ///
    /// # Errors
    /// One sentence: why there is none, and what to do.
    pub fn way(&self, peer: &Endpoint) -> Result<Way, String> {
        if let Some(reason) = self.refusal(peer) {
            return Err(reason);
        }
        match &self.backend {
            Backend::Vxlan(settings) => vxlan::way(self, settings, peer),
            Backend::WireGuard(_) => wireguard::way(self, peer),
            Backend::Ipip(settings) => ipip::way(self, settings, peer),
            Backend::Bgp(settings) => bgp::way(self, settings, peer),
            Backend::HostGw => host_gw::way(self, peer),
            Backend::Udp(_) => udp::way(peer),
            Backend::Extension(_) => extension::way(peer),
            Backend::Alloc => Ok(Way::Foreign),
        }
    }

    fn add_tunnelled(&self, lease: &Lease, peer: &Endpoint, state: &mut KernelState) -> Result<(), String> {
        match &self.backend {
            Backend::Vxlan(settings) => vxlan::add_peer(self, settings, peer, state),
            Backend::Udp(settings) => udp::add_peer(settings, peer, state),
            Backend::WireGuard(settings) => return wireguard::add_peer(self, settings, (lease, peer), state),
            Backend::Ipip(settings) => ipip::add_peer(self, settings, peer, state),
            Backend::Bgp(settings) => bgp::add_peer(self, settings, peer, state),
            Backend::HostGw | Backend::Extension(_) | Backend::Alloc => {}
        }
        Ok(())
    }

    /// The MTU of pods: the least of what the families' devices carry (flannel writes it as `FLANNEL_MTU`).
    pub fn pod_mtu(&self) -> u32 {
        let mtu = |family| self.backends().map(|backend| backend.mtu(family, self.uplink.mtu)).min();
        self.own.endpoints.families().filter_map(mtu).min().unwrap_or(self.uplink.mtu)
    }

    /// The backend, and those of the older ways.
    pub fn backends(&self) -> impl Iterator<Item = &Backend> {
        let older = self.ways.iter().flat_map(|ways| ways.older()).map(|cluster| &cluster.backend);
        [&self.backend].into_iter().chain(older)
    }

    /// Whether a prefix is of pods' addresses.
    pub(crate) fn holds_pods(&self, prefix: &IpNet) -> bool {
        self.networks.values().any(|network| network.contains(prefix))
    }

    /// Whether nodes may tell each other by BGP of their pods.
    pub(crate) fn learns_pods(&self) -> bool {
        self.backends().any(|backend| matches!(backend, Backend::Bgp(_)))
    }

    /// Why no backend may give this peer a path.
    fn refusal(&self, peer: &Endpoint) -> Option<String> {
        let Endpoint { subnet, public, .. } = peer;
        let family = Family::of_net(subnet);
        let Some(own) = self.own.endpoints.get(family) else {
            return Some(format!("this node has no {family} subnet, so it cannot reach the peer's {family} pods"));
        };
        if own.subnet.contains(subnet) || subnet.contains(&own.subnet) {
            // Even while our own lease is missing from the store: its pods are here.
            return Some(format!("its subnet {subnet} overlaps this node's own {}, which stands", own.subnet));
        }
        if own.public == *public || self.uplink.local.get(family) == Some(public) {
            let fix = "if that node is gone delete its lease, else give it an address of its own (--public-ip)";
            return Some(format!("it publishes this node's own address {public}; {fix}"));
        }
        None
    }
}

/// Why a peer that publishes another backend is not reached.
pub(crate) fn other_backend(theirs: &str, ours: &str) -> String {
    format!("it publishes backend `{theirs}`, this node runs `{ours}`; they must be the same")
}
