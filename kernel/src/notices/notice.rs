//! [`Notice`]: one thing that changed, and whether it is as desired.

use std::net::{IpAddr, Ipv4Addr};

use backends::LinkName;
use backends::offload::Offload;
use backends::ruleset::Ruleset;
use backends::state::{
    Fdb, FdbKey, Group, KernelState, Link, LinkKind, Neighbour, NeighbourKey, Nexthop, Route, RouteKey, Tag,
};
use ipnet::IpNet;

use crate::codec::{tun, wireguard};

/// What changed. `now` is what is there now and could be ours; `None` when that is gone, or somebody else's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A link, ours or not.
    Link {
        /// Which.
        name: LinkName,
        /// As it is; with [`Tag::Adopted`] when it does not carry our alias.
        now: Option<Box<Link>>,
    },
    /// Features of a link of ours: who computes the checksums of what it sends.
    Offload {
        /// Which link.
        link: LinkName,
        /// How it is set; `None` when that cannot be said any more.
        now: Option<Offload>,
    },
    /// An address on a link of ours.
    Address {
        /// Which link.
        link: LinkName,
        /// Which address.
        net: IpNet,
        /// Whether it is there, with our tag.
        now: Option<Tag>,
    },
    /// A next-hop object with our tag.
    Nexthop {
        /// Which.
        nexthop: Nexthop,
        /// Whether it is there.
        now: Option<Tag>,
    },
    /// A group of them with our tag.
    Group {
        /// Which.
        group: Group,
        /// Whether it is there.
        now: Option<Tag>,
    },
    /// A route with our tag, or one that took its place.
    Route {
        /// Which.
        key: RouteKey,
        /// What is there with our tag.
        now: Option<Route>,
    },
    /// A neighbour on a link of ours.
    Neighbour {
        /// Which.
        key: NeighbourKey,
        /// What is there for good, with our tag.
        now: Option<Neighbour>,
    },
    /// A forwarding entry on a link of ours.
    Fdb {
        /// Which.
        key: FdbKey,
        /// What is there for good, with our tag.
        now: Option<Fdb>,
    },
    /// A watched setting.
    Sysctl {
        /// Path below /proc/sys.
        path: String,
        /// Its value; `None` when there is no such setting any more.
        now: Option<String>,
    },
    /// Our nftables table.
    Ruleset {
        /// As it is; `None` when it is gone.
        now: Option<Box<Ruleset>>,
    },
    /// What others' firewalls do to our packets is another thing than it was.
    Firewalls,
    /// A link that is not ours changed that has an address, or such an address, or a route or rule that says how such a link is
    /// used: another uplink may have to be chosen, and peers may have come onto its link or left it.
    Uplink,
    /// Some notices were lost.
    Overrun,
}

impl Notice {
    /// Whether what is there now is as desired, as far as it is our business. If not, look at everything.
    pub fn agrees(&self, desired: &KernelState) -> bool {
        let ours = |link: &LinkName| desired.links.contains_key(link);
        match self {
            Notice::Link { name, now } => match desired.links.get(name) {
                Some(link) => now.as_deref().is_some_and(|now| agrees(now, link)),
                None => now.as_ref().is_none_or(|link| link.tag != Tag::Ours),
            },
            Notice::Offload { link, now } => {
                let wanted = if desired.software_checksums.contains(link) { Offload::Off } else { Offload::On };
                // What a TUN device offers is said by whoever is behind it.
                let says = |link: &Link| !matches!(link.kind, LinkKind::Tun(_)) && now.is_some_and(|now| now != wanted);
                !desired.links.get(link).is_some_and(says)
            }
            Notice::Address { link, net, now } => {
                let desired = desired.addresses.get(&(*link, *net));
                desired == now.as_ref() || !ours(link)
            }
            // One of ours on the uplink is missed; one there that is not desired is another instance's.
            Notice::Nexthop { nexthop, now } => match (desired.nexthops.get(nexthop), now) {
                (None, Some(_)) => !ours(&nexthop.link),
                (desired, now) => desired == now.as_ref(),
            },
            Notice::Group { group, now } => match (desired.groups.get(group), now) {
                (None, Some(_)) => !group.members().any(|member| ours(&member.link)),
                (desired, now) => desired == now.as_ref(),
            },
            Notice::Route { key, now } => match (desired.routes.get(key), now) {
                (None, Some(route)) => {
                    route.via.link().is_some_and(|link| !ours(&link) && !leads_through(desired, link))
                }
                (desired, now) => desired == now.as_ref(),
            },
            Notice::Neighbour { key, now } => desired.neighbours.get(key) == now.as_ref() || !ours(&key.link),
            Notice::Fdb { key, now } => desired.fdb.get(key) == now.as_ref() || !ours(&key.link),
            Notice::Sysctl { path, now } => {
                desired.sysctls.get(path).is_none_or(|desired| Some(desired) == now.as_ref())
            }
            Notice::Ruleset { now } => desired.ruleset.as_ref() == now.as_deref(),
            Notice::Uplink => true,
            Notice::Firewalls | Notice::Overrun => false,
        }
    }

    /// Whether the choice of the uplink may have to be another one now.
    pub fn concerns_uplink(&self) -> bool {
        matches!(self, Notice::Uplink | Notice::Overrun)
    }
}

/// Of a WireGuard device its notices say no more than that it is one, and of a TUN device not who is behind it.
fn agrees(now: &Link, desired: &Link) -> bool {
    match (&now.kind, &desired.kind) {
        (LinkKind::Other(kind), LinkKind::WireGuard(_)) if kind == wireguard::NAME => but_for_kind(now, desired),
        (LinkKind::Other(kind), LinkKind::Tun(_)) if kind == tun::NAME => but_for_kind(now, desired),
        _ => now == desired,
    }
}

/// Whether something of ours lies on a link that may not be ours, the uplink.
fn leads_through(desired: &KernelState, link: LinkName) -> bool {
    // The least key of all on this link.
    let first = Nexthop { link, gateway: IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
    desired.nexthops.range(first..).next().is_some_and(|(nexthop, _)| nexthop.link == link)
}

fn but_for_kind(now: &Link, desired: &Link) -> bool {
    *now == Link { kind: now.kind.clone(), ..desired.clone() }
}

#[cfg(test)]
mod tests;
