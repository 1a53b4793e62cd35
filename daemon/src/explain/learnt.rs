//! The way to an address that is not of the cluster, where a router or a fabric announced one.

use std::net::IpAddr;

use backends::KernelState;
use backends::state::{FdbKey, NeighbourKey, Nexthop, Via};
use backends::sum::Desired;
use ipam::Family;
use ipnet::IpNet;

use super::path::Path;

/// The path by the longest learnt prefix that has the address.
pub(super) fn path(address: IpAddr, desired: Option<&Desired>) -> Option<Path> {
    let desired = desired?;
    let lengths = (0..=Family::of(address).bits()).rev();
    let mut prefixes = lengths.filter_map(|length| Some(IpNet::new(address, length).ok()?.trunc()));
    let (prefix, mut needs) = prefixes.find_map(|prefix| Some((prefix, desired.learnt_contribution(prefix)?)))?;
    let route = needs.routes.values().next()?.clone();
    let nexthops: Vec<Nexthop> = match &route.via {
        Via::Object(nexthop) | Via::Gateway(nexthop) => vec![*nexthop],
        Via::Group(group) => group.members().copied().collect(),
        _ => Vec::new(),
    };
    let ways: Vec<String> = nexthops.iter().map(|nexthop| way(nexthop, desired.state(), &mut needs)).collect();
    let ways = if ways.is_empty() { String::new() } else { format!(" {}", ways.join(" and ")) };
    Some(Path { needs, sentence: format!("{address}: route {prefix}{ways}, learnt by BGP"), leads: true })
}

/// One next hop in words; what it needs beside is added.
fn way(nexthop: &Nexthop, state: &KernelState, needs: &mut KernelState) -> String {
    let Nexthop { link, gateway } = *nexthop;
    let plain = format!("via {gateway} dev {link}");
    let Some(device) = state.links.get(&link) else { return plain };
    needs.links.insert(link, device.clone());
    let neighbour = NeighbourKey { link, address: gateway };
    let Some(there) = state.neighbours.get(&neighbour) else { return plain };
    needs.neighbours.insert(neighbour, *there);
    let station = FdbKey { link, mac: there.mac };
    let Some(entry) = state.fdb.get(&station) else { return plain };
    needs.fdb.insert(station, *entry);
    format!("{plain}, in VXLAN to {}", entry.remote)
}
