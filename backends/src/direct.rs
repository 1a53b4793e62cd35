//! The direct way: a peer's pods by the peer's own address over the uplink, with nothing around the packets. One next-hop object
//! and one route per peer. It is all of host-gw, and what DirectRouting takes for peers on the same link.
//!
//! The uplink is not our device. What we put on it is told from others' by our protocol number and the instance's own
//! range of next-hop ids (docs/adr/0003-next-hop-ids-are-the-kernel-hands-business.md).

use ipam::{Endpoint, Family};

use crate::cluster::{Cluster, RouteStyle};
use crate::state::{KernelState, Nexthop, Route, RouteKey, Tag, Via};

/// What the uplink needs so that peers' packets may come either way.
pub(crate) fn base(cluster: &Cluster, state: &mut KernelState) {
    if cluster.own.endpoints.has(Family::V4) {
        // Loose, never strict: a peer may send to us by another way than we send to it (RFC 3704 section 2.4; the kernel
        // takes the larger of `all` and the device's own, and 2 is loose).
        state.sysctls.insert(format!("net/ipv4/conf/{}/rp_filter", cluster.uplink.link), "2".to_owned());
    }
}

/// What one family of a peer adds. `ip route replace SUBNET via PUBLIC dev UPLINK onlink`
pub(crate) fn add_peer(cluster: &Cluster, peer: &Endpoint, state: &mut KernelState) {
    let nexthop = Nexthop { link: cluster.uplink.link, gateway: peer.public };
    let via = match cluster.routes {
        RouteStyle::Objects => {
            state.nexthops.insert(nexthop, Tag::Ours);
            Via::Object(nexthop)
        }
        RouteStyle::Gateways => Via::Gateway(nexthop),
    };
    state.routes.insert(RouteKey::new(peer.subnet), Route { via, tag: Tag::Ours });
}
