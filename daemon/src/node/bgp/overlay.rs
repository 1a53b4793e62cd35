//! This node as an end of the overlay: its VXLAN devices as EVPN says them, one a family.

use std::net::Ipv4Addr;

use backends::evpn::{overlay, own_mac};
use bgp::evpn::Vtep;
use ipam::Family;

use super::{Node, announced};
use crate::bgp::wish::Overlay;
use crate::netconf::bgp::{Advertised, Bgp};

impl Node {
    /// The ends of this node's VXLAN; none before its devices are known, nor where nobody is told of them.
    pub(super) fn overlays(&self, bgp: &Bgp, speaker: (u32, Ipv4Addr)) -> Vec<Overlay> {
        let (Some(evpn), Some(cluster)) = (&bgp.evpn, self.cluster()) else { return Vec::new() };
        let end = |family: Family| {
            let settings = overlay(&cluster.backend)?;
            let own = cluster.own.endpoints.get(family)?;
            let (address, mac) =
                (*cluster.uplink.public.get(family)?, own_mac(&cluster.backend, &cluster.own, family)?);
            let vtep = Vtep::new(address, mac.0, settings.vni(), speaker)?;
            let vtep = evpn.target.map_or(vtep, |target| vtep.with_target(target));
            let vtep = evpn.number.map_or(vtep, |number| vtep.with_number(number));
            let mut prefixes = announced(bgp, &cluster.own);
            let told = evpn.advertised.contains(&Advertised::Prefixes);
            prefixes.retain(|prefix, _| told && Family::of_net(prefix) == family);
            // The device's own address, as `vxlan` gives it.
            let inner = evpn.advertised.contains(&Advertised::Hosts).then(|| own.subnet.network());
            Some(Overlay { vtep, inner, prefixes })
        };
        Family::ALL.into_iter().filter_map(end).collect()
    }
}
