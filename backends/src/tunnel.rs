//! What every tunnel device needs beside what is special to its kind: the subnet's own address, and settings that guard it.

use ipam::{Endpoint, Family};
use ipnet::IpNet;

use crate::state::{KernelState, Link, LinkName, Tag};

/// Puts one family's device into the state.
pub(crate) fn add_device(own: &Endpoint, (device, link): (LinkName, Link), state: &mut KernelState) {
    state.links.insert(device, link);
    // The subnet's network address is the source of traffic from this host to remote pods, and what peers' routes
    // may name as their gateway (flannel.md 8.2): it must answer.
    state.addresses.insert((device, IpNet::from(own.subnet.network())), Tag::Ours);
    // A router advertisement from inside the tunnel must never give the host a route.
    state.sysctls.insert(format!("net/ipv6/conf/{device}/accept_ra"), "0".to_owned());
    match Family::of_net(&own.subnet) {
        Family::V6 => state.sysctls.extend([enabled(device)]),
        // Loose, never strict: a peer may send to us by another way than we send to it (RFC 3704 section 2.4; the
        // kernel takes the larger of `all` and the device's own, and 2 is loose).
        Family::V4 => drop(state.sysctls.insert(format!("net/ipv4/conf/{device}/rp_filter"), "2".to_owned())),
    }
}

/// IPv6 on a device that carries it, also on a host that switches it off for all or for new ones: whether pods have it is said in the
/// network's configuration.
pub(crate) fn enabled(device: LinkName) -> (String, String) {
    (format!("net/ipv6/conf/{device}/disable_ipv6"), "0".to_owned())
}
