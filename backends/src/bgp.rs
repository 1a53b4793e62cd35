//! bgp: each node tells the others by BGP which pods it has, and sends as they tell it. What is learnt is brought to the kernel by
//! [`crate::learnt`]; here is what the node itself and each peer need beside it: nothing, or a tunnel to nodes that are not on the
//! uplink's link.
//!
//! The tunnel's MACs follow from the nodes' addresses, so that leases need not say them.

use ipam::{BackendData, Carrier, Endpoint, Family, Lease, Mac, Stack};
use std::net::IpAddr;

use crate::cluster::{Cluster, Way, other_backend};
use crate::ipip::{self, IpipSettings};
use crate::state::{Encapsulation as Outer, KernelState, LinkName, Nexthop, Via};
use crate::vxlan::{self, VxlanSettings};

/// The name in net-conf.json and in leases.
pub const NAME: &str = "bgp";

/// The backend's options of net-conf.json that decide what is in the kernel; who the peers are is not among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BgpSettings {
    /// How packets get to other nodes.
    pub encapsulation: Encapsulation,
}

/// How packets get to other nodes (`Encapsulation`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Encapsulation {
    /// As they are. A next hop that is not on the link is no use.
    Never,
    /// In VXLAN, to all.
    Vxlan(VxlanSettings),
    /// In IP, to all.
    Ipip(IpipSettings),
    /// As they are to nodes on the uplink's link, and in VXLAN to the others.
    CrossSubnet(VxlanSettings),
}

/// A next hop as the kernel is told it.
pub(crate) enum Resolved {
    /// One that can be one of several.
    Nexthop(Nexthop),
    /// One that cannot.
    Alone(Via),
}

impl BgpSettings {
    /// What both ends must have in common, as the words of a [`Carrier`].
    pub(crate) fn carrier(&self) -> String {
        let vxlan = |word, settings: &VxlanSettings| {
            format!("{NAME} encapsulation={word} vni={} port={}", settings.vni(), settings.port)
        };
        match &self.encapsulation {
            Encapsulation::Never => NAME.to_owned(),
            Encapsulation::Vxlan(settings) => vxlan("vxlan", settings),
            Encapsulation::CrossSubnet(settings) => vxlan("cross-subnet", settings),
            Encapsulation::Ipip(_) => format!("{NAME} encapsulation=ipip"),
        }
    }

    /// The settings that such words mean.
    pub(crate) fn of<T>(carrier: &Carrier, families: &Stack<T>) -> Option<BgpSettings> {
        let vxlan = || {
            let mut settings = VxlanSettings::new(carrier.setting("vni")?.parse().ok()?, families).ok()?;
            settings.port = carrier.setting("port")?.parse().ok()?;
            Some(settings)
        };
        let encapsulation = match carrier.setting("encapsulation") {
            None => Encapsulation::Never,
            Some("vxlan") => Encapsulation::Vxlan(vxlan()?),
            Some("cross-subnet") => Encapsulation::CrossSubnet(vxlan()?),
            Some("ipip") => Encapsulation::Ipip(IpipSettings::new(families)),
            Some(_) => return None,
        };
        Some(BgpSettings { encapsulation })
    }

    /// The same with the devices of another name.
    pub(crate) fn renamed(&self, separator: char) -> Option<BgpSettings> {
        self.with_vxlan(|settings| settings.renamed(separator))
    }

    /// The same with another VXLAN of the tunnel, where it has one.
    pub(crate) fn with_vxlan(&self, other: impl Fn(&VxlanSettings) -> Option<VxlanSettings>) -> Option<BgpSettings> {
        let encapsulation = match &self.encapsulation {
            Encapsulation::Vxlan(settings) => Encapsulation::Vxlan(other(settings)?),
            Encapsulation::CrossSubnet(settings) => Encapsulation::CrossSubnet(other(settings)?),
            Encapsulation::Never | Encapsulation::Ipip(_) => return None,
        };
        Some(BgpSettings { encapsulation })
    }

    /// The devices of the tunnel.
    pub(crate) fn tunnels(&self) -> Option<&Stack<LinkName>> {
        match &self.encapsulation {
            Encapsulation::Never => None,
            Encapsulation::Vxlan(settings) | Encapsulation::CrossSubnet(settings) => Some(settings.devices()),
            Encapsulation::Ipip(settings) => Some(settings.devices()),
        }
    }

    /// Octets of payload of a family's packets over such an uplink.
    pub(crate) fn mtu(&self, family: Family, uplink: u32) -> u32 {
        match &self.encapsulation {
            Encapsulation::Never => uplink,
            Encapsulation::Vxlan(settings) | Encapsulation::CrossSubnet(settings) => {
                settings.device_mtu(family, uplink)
            }
            Encapsulation::Ipip(settings) => settings.device_mtu(family, uplink),
        }
    }
}

/// What the node needs without any peer.
pub(crate) fn base(cluster: &Cluster, settings: &BgpSettings) -> KernelState {
    match &settings.encapsulation {
        Encapsulation::Never => KernelState::default(),
        Encapsulation::Vxlan(vxlan) | Encapsulation::CrossSubnet(vxlan) => {
            let data = |_, endpoint: &Endpoint| seen_by(vxlan, endpoint);
            let own = Lease { endpoints: cluster.own.endpoints.map(data), ..cluster.own.clone() };
            vxlan::base(&Cluster { own, ..cluster.clone() }, vxlan)
        }
        Encapsulation::Ipip(ipip) => ipip::base(cluster, ipip),
    }
}

/// The way to one family of a peer: what it announces leads there in any case, so that a lease alone makes no route.
pub(crate) fn way(cluster: &Cluster, settings: &BgpSettings, peer: &Endpoint) -> Result<Way, String> {
    let theirs = peer.data.backend_type();
    if theirs != NAME {
        return Err(other_backend(theirs, NAME));
    }
    Ok(if tunnels(cluster, settings, peer) { Way::Tunnel } else { Way::Foreign })
}

/// Whether packets go to that address in others.
fn tunnels(cluster: &Cluster, settings: &BgpSettings, peer: &Endpoint) -> bool {
    match &settings.encapsulation {
        Encapsulation::Never => false,
        Encapsulation::Vxlan(_) | Encapsulation::Ipip(_) => true,
        Encapsulation::CrossSubnet(_) => !cluster.uplink.on_link.has(peer.public),
    }
}

/// What one family of a peer adds that is reached through the tunnel: all but the route.
pub(crate) fn add_peer(cluster: &Cluster, settings: &BgpSettings, peer: &Endpoint, state: &mut KernelState) {
    if let Encapsulation::Vxlan(vxlan) | Encapsulation::CrossSubnet(vxlan) = &settings.encapsulation {
        let mut part = KernelState::default();
        vxlan::add_peer(cluster, vxlan, &seen_by(vxlan, peer), &mut part);
        state.extend(KernelState { nexthops: Default::default(), routes: Default::default(), ..part });
    }
}

/// The next hop to a node that speaks BGP through the tunnel; `None` when it is reached without.
pub(crate) fn through_tunnel(cluster: &Cluster, settings: &BgpSettings, peer: &Endpoint) -> Option<Resolved> {
    if !tunnels(cluster, settings, peer) {
        return None;
    }
    let family = Family::of_net(&peer.subnet);
    let link = settings.tunnels()?.get(family).copied()?;
    let source = cluster.uplink.local.get(family).copied();
    Some(match (&settings.encapsulation, source, peer.public) {
        // IPv6 is told the outer addresses by its routes: see `ipip`.
        (Encapsulation::Ipip(_), Some(IpAddr::V6(source)), IpAddr::V6(destination)) => {
            Resolved::Alone(Via::Encapsulated(Box::new(Outer { link, source, destination })))
        }
        (Encapsulation::Ipip(_), _, gateway) => Resolved::Nexthop(Nexthop { link, gateway }),
        _ => Resolved::Nexthop(Nexthop { link, gateway: peer.subnet.network() }),
    })
}

/// A node's part of a lease as VXLAN sees it.
pub(crate) fn seen_by(settings: &VxlanSettings, endpoint: &Endpoint) -> Endpoint {
    let family = Family::of_net(&endpoint.subnet);
    let identity = format!("{NAME} {family} {} {} {}", endpoint.public, settings.vni(), settings.port);
    let data = BackendData::Vxlan { vni: settings.vni(), mac: Mac::derived_from(&identity) };
    Endpoint { data, ..endpoint.clone() }
}
