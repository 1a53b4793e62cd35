//! What kernels do with a packet: whether what one machine's kernel sends to another's pods is something that the other takes.

use std::net::IpAddr;

use backends::KernelState;
use backends::state::{FdbKey, LinkKind, NeighbourKey, RouteKey, Via};

use ipam::NodeName;

use crate::world::Machine;

/// Of each two machines that know each other.
///
/// # Errors
/// Who sends what to whom.
pub fn check(machines: &[Machine]) -> Result<(), String> {
    for from in machines {
        for to in machines.iter().filter(|to| to.name != from.name) {
            let Some(lease) = to.daemon.as_ref().and_then(|daemon| daemon.node.own()) else { continue };
            let known = |of: &Machine, name: &NodeName| {
                of.daemon.as_ref().is_some_and(|daemon| daemon.node.table().leases().any(|lease| lease.node == *name))
            };
            if !known(from, &to.name) || !known(to, &from.name) {
                continue;
            }
            for subnet in lease.subnets().values() {
                let Some(route) = from.kernel.ours.routes.get(&RouteKey::new(*subnet)) else {
                    return Err(format!("{} has no route to {subnet} of {}", from.name, to.name));
                };
                arrives(&from.kernel.ours, &route.via, &to.kernel.ours)
                    .map_err(|reason| format!("{} to {}: {reason}", from.name, to.name))?;
            }
        }
    }
    Ok(())
}

/// Whether a packet that leaves by this route is taken by the other kernel.
fn arrives(from: &KernelState, via: &Via, to: &KernelState) -> Result<(), String> {
    let (Via::Object(nexthop) | Via::Gateway(nexthop)) = via else { return Err(format!("{via:?}")) };
    let Some(link) = from.links.get(&nexthop.link) else {
        // The uplink: as it is, which every node takes that is not strict about where it comes from.
        return Ok(());
    };
    let LinkKind::Vxlan(sent) = &link.kind else { return Err(format!("{link:?}")) };
    let neighbour = from.neighbours.get(&NeighbourKey { link: nexthop.link, address: nexthop.gateway });
    let mac = neighbour.ok_or_else(|| format!("no neighbour {} on {}", nexthop.gateway, nexthop.link))?.mac;
    let fdb = from.fdb.get(&FdbKey { link: nexthop.link, mac });
    let remote: IpAddr = fdb.ok_or_else(|| format!("no entry of {mac} on {}", nexthop.link))?.remote;
    let takes = |kind: &LinkKind| match kind {
        LinkKind::Vxlan(here) => (here.vni, here.port, here.local) == (sent.vni, sent.port, remote),
        _ => false,
    };
    let taken = to.links.values().any(|there| there.up && there.mac == mac && takes(&there.kind));
    let sentence = || format!("VNI {} port {} to {mac} at {remote}, which it has not", sent.vni, sent.port);
    taken.then_some(()).ok_or_else(sentence)
}
