//! The node's links beside its uplink, on which routers may be.

use std::collections::{BTreeMap, BTreeSet};

use backends::LinkName;
use backends::on_link::Hop;
use ipnet::IpNet;
use kernel::inventory::{AddressScope, Interface, Inventory};

use super::is_link_local;
use crate::reconcile::{Links, WantedUplink};

/// What a route over each link to the destination itself means, by the link's index.
pub fn links(uplink: LinkName, wanted: &WantedUplink, inventory: &Inventory) -> BTreeMap<u32, Hop> {
    let hop = |link: &Interface| match link.name == uplink {
        true => Some((link.index, Hop::Direct)),
        false => (wanted.links == Links::All && may_have_routers(link, &wanted.pods))
            .then_some((link.index, Hop::Beside(link.name))),
    };
    inventory.links.iter().filter_map(hop).collect()
}

/// Those of them that have no carrier, where it is chosen between several.
pub fn dead(links: &BTreeMap<u32, Hop>, wanted: &WantedUplink, inventory: &Inventory) -> BTreeSet<LinkName> {
    let is_dead = |link: &&Interface| wanted.links == Links::All && !link.carrier && links.contains_key(&link.index);
    inventory.links.iter().filter(is_dead).map(|link| link.name).collect()
}

/// Whether it has an address of its own by which others can be reached. Pods' links have none, or one of the pods' networks.
fn may_have_routers(link: &Interface, pods: &[IpNet]) -> bool {
    let of_pods = |net: &IpNet| pods.iter().any(|pods| pods.contains(&net.addr()));
    let reaches = |net: &IpNet, scope| scope == AddressScope::Global && !is_link_local(net.addr()) && !of_pods(net);
    !link.loopback && link.addresses.iter().any(|on_it| reaches(&on_it.net, on_it.scope))
}
