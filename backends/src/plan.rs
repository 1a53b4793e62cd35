//! [`Plan`]: what to do to a kernel, as changes in an order that it accepts. Made by `diff`, done by `kernel::apply`.

use std::net::Ipv4Addr;

use ipam::Mac;
use ipnet::IpNet;

use crate::offload::Offload;
use crate::ruleset::Ruleset;
use crate::state::{
    Fdb, FdbKey, Group, Link, LinkName, Neighbour, NeighbourKey, Nexthop, Peer, PeerKey, RelayKey, Route, RouteKey,
};

/// One change to the kernel. Links are boxed because a plan for a large cluster has tens of thousands of the small kinds.
/// Each is idempotent: "add" of what is there and "delete" of what is gone succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Make a link with all its attributes, alias first, and set it up.
    LinkAdd(LinkName, Box<Link>),
    /// Turn a link in place from what it is into what it should be.
    LinkSet {
        /// Which.
        name: LinkName,
        /// As observed.
        from: Box<Link>,
        /// As desired; `can_become` holds between the kinds.
        to: Box<Link>,
    },
    /// Let the network card compute the checksums of what a link sends, or the kernel.
    OffloadSet(LinkName, Offload),
    /// Remove a link and all that lives on it.
    LinkDelete(LinkName),
    /// Put an address on a link.
    AddressAdd(LinkName, IpNet),
    /// Take an address from a link.
    AddressDelete(LinkName, IpNet),
    /// Write a sysctl, by path below /proc/sys.
    SysctlSet(String, String),
    /// Swap our nftables table in one transaction; `None` removes it.
    RulesetSet(Option<Ruleset>),
    /// Make a next-hop object.
    NexthopAdd(Nexthop),
    /// Remove a next-hop object (and the kernel removes routes that use it).
    NexthopDelete(Nexthop),
    /// Make a group of next-hop objects.
    GroupAdd(Group),
    /// Remove a group (and the kernel removes routes that use it).
    GroupDelete(Group),
    /// Make or replace a route.
    RouteSet(RouteKey, Route),
    /// Remove a route: the observed one, so that only a route with our tag can be hit.
    RouteDelete(RouteKey, Route),
    /// Make or replace a permanent neighbour entry.
    NeighbourSet(NeighbourKey, Neighbour),
    /// Remove a neighbour entry.
    NeighbourDelete(NeighbourKey, Mac),
    /// Make or replace a forwarding-database entry.
    FdbSet(FdbKey, Fdb),
    /// Remove a forwarding-database entry.
    FdbDelete(FdbKey, Fdb),
    /// Make a WireGuard peer, or turn the one that was there into this: only what differs is said, so that its session and
    /// whatever it proved of its address last.
    PeerSet {
        /// Which.
        key: PeerKey,
        /// As observed; `None` when it is new.
        from: Option<Box<Peer>>,
        /// As desired.
        to: Box<Peer>,
    },
    /// Remove a WireGuard peer, and its session with it.
    PeerDelete(PeerKey),
    /// Let the udp backend's proxy send what is for a subnet to this address.
    RelaySet(RelayKey, Ipv4Addr),
    /// Let it send nothing there any more.
    RelayDelete(RelayKey),
    /// Let iptables' chain FORWARD accept a network's packets before it drops the rest.
    PassageSet(IpNet),
    /// Take our rules about a network out of it.
    PassageDelete(IpNet),
}

impl Change {
    /// Whether it is about the way to some destination: what the node itself needs (devices, addresses, rules, settings)
    /// may be complete without it.
    pub fn concerns_ways(&self) -> bool {
        match self {
            Change::NexthopAdd(_)
            | Change::NexthopDelete(_)
            | Change::GroupAdd(_)
            | Change::GroupDelete(_)
            | Change::RouteSet(..)
            | Change::RouteDelete(..)
            | Change::NeighbourSet(..)
            | Change::NeighbourDelete(..)
            | Change::FdbSet(..)
            | Change::FdbDelete(..)
            | Change::PeerSet { .. }
            | Change::PeerDelete(_)
            | Change::RelaySet(..)
            | Change::RelayDelete(_) => true,
            Change::LinkAdd(..)
            | Change::LinkSet { .. }
            | Change::OffloadSet(..)
            | Change::LinkDelete(_)
            | Change::AddressAdd(..)
            | Change::AddressDelete(..)
            | Change::SysctlSet(..)
            | Change::RulesetSet(_)
            | Change::PassageSet(_)
            | Change::PassageDelete(_) => false,
        }
    }
}

impl Change {
    /// Whether it takes something away.
    pub fn removes(&self) -> bool {
        matches!(
            self,
            Change::LinkDelete(_)
                | Change::AddressDelete(..)
                | Change::NexthopDelete(_)
                | Change::GroupDelete(_)
                | Change::RouteDelete(..)
                | Change::NeighbourDelete(..)
                | Change::FdbDelete(..)
        )
    }

    /// Whether it is a setting that only guards, without which all works mostly: in flannel's own manifest nothing
    /// of the kind can be written. And what another program's chain refuses is named as that chain's doing, and waits for nobody.
    pub fn only_guards(&self) -> bool {
        match self {
            Change::SysctlSet(path, _) => {
                path.starts_with("net/bridge/") || (path.contains("/conf/") && !path.contains("/conf/all/"))
            }
            Change::PassageSet(_) | Change::PassageDelete(_) => true,
            _ => false,
        }
    }
}

/// Changes in an order that the kernel accepts. Empty when there is nothing to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The changes, first to last.
    pub changes: Vec<Change>,
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

/// One change that the kernel refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The change.
    pub change: Change,
    /// The kernel's error number (positive, `errno`), 0 when it was not the kernel that refused.
    pub errno: i32,
    /// One sentence: the kernel's own words (extended acknowledgement) where it has any.
    pub reason: String,
}

/// How a plan went: the first failure is named, the rest is tried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// How many changes were made.
    pub done: usize,
    /// Those that were refused, in order.
    pub failures: Vec<Failure>,
}
