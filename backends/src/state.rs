//! [`KernelState`]: everything of ours that a node's kernel holds, or should hold. One map per kind of kernel object.
//!
//! Desired and observed states are this same type. Keys are names, prefixes and addresses, never interface indices or
//! nexthop ids: those are the kernel's business and `kernel/` translates them at the edge.

mod group;
mod ipip;
mod passage;
mod relay;
mod route_key;
mod wireguard;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use ipam::Mac;
use ipnet::IpNet;

use crate::ruleset::Ruleset;

pub use group::Group;
pub use ipip::{Encapsulation, Ipip};
pub use passage::Passage;
pub use relay::{Proxy, RelayKey};
pub(crate) use route_key::Prefix;
pub use route_key::RouteKey;
pub use wireguard::{Peer, PeerKey, Remote, WireGuard};

/// The tag on everything we own: the route protocol (`rtm_protocol`, `nhm_protocol`, `NDA_PROTOCOL`, `IFA_PROTO`).
/// `ip route show proto 84`.
pub const PROTOCOL: u8 = 84;

/// An interface's name: 1 to 15 bytes, no `/`, no `%`, no white space (`dev_valid_name` in the kernel's net/core/dev.c).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkName([u8; 16]);

/// Why a text is not an interface name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an interface name: 1 to 15 bytes, no `/`, no `:`, no `%`, no white space")]
pub struct LinkNameError {
    /// The text that was refused.
    pub text: String,
}

impl LinkName {
    /// The TUN device of flannel's udp backend.
    pub const FLANNEL0: LinkName = LinkName(*b"flannel0\0\0\0\0\0\0\0\0");

    /// Checks and takes a name.
    ///
    /// # Errors
    /// [`LinkNameError`] when the kernel would refuse it.
    pub fn new(text: &str) -> Result<LinkName, LinkNameError> {
        let bytes = text.as_bytes();
        // `%`: the kernel would put a number in its place (dev_alloc_name in net/core/dev.c).
        let forbidden = |b: &u8| b.is_ascii_whitespace() || b"/:%\0\x0b".contains(b);
        if bytes.is_empty() || bytes.len() > 15 || text == "." || text == ".." || bytes.iter().any(forbidden) {
            return Err(LinkNameError { text: text.to_owned() });
        }
        let mut name = [0; 16];
        name[..bytes.len()].copy_from_slice(bytes);
        Ok(LinkName(name))
    }

    /// A name that stands in our own source, where a test sees that it is one. What is longer is cut.
    pub(crate) const fn literal(text: &'static str) -> LinkName {
        let (mut name, bytes, mut at) = ([0; 16], text.as_bytes(), 0);
        while at < bytes.len() && at < 15 {
            name[at] = bytes[at];
            at += 1;
        }
        LinkName(name)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        let length = self.0.iter().position(|b| *b == 0).unwrap_or(self.0.len());
        std::str::from_utf8(&self.0[..length]).unwrap_or("?")
    }
}

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl serde::Serialize for LinkName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> serde::Deserialize<'de> for LinkName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<LinkName, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        LinkName::new(&text).map_err(serde::de::Error::custom)
    }
}

/// Who made an object that we found: needed to take over what flannel left, and to put our tag on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tag {
    /// It carries our tag. Everything desired does.
    Ours,
    /// It lies on a device of our name that does not carry our alias yet (an earlier flannel's): it is adopted, that
    /// is replaced by ours or removed.
    Adopted,
}

/// What a link is, and what of it cannot be changed in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// A VXLAN tunnel device. `ip link add … type vxlan`.
    Vxlan(Vxlan),
    /// A WireGuard device. `ip link add … type wireguard`.
    WireGuard(WireGuard),
    /// An IPv4-in-IPv4 tunnel device. `ip link add … type ipip`.
    Ipip(Ipip),
    /// An IPv6-in-IPv6 tunnel device that is told the outer addresses by routes. `ip link add … type ip6tnl external`.
    Ip6Tunnel,
    /// A TUN device that lasts, and the proxy of ours behind it; `None` when it is not there: after a start, mostly.
    /// `ip tuntap add dev … mode tun`.
    Tun(Option<Proxy>),
    /// Something else of the same name: what the kernel calls it, and `vxlan MODE` for a device of a kind of ours in a mode
    /// that ours never have and that it keeps for life (`external`, `group`, `remote` …). Never desired.
    Other(String),
}

impl LinkKind {
    /// Whether its packets are frames, so that it has a link-layer address.
    pub fn has_mac(&self) -> bool {
        match self {
            LinkKind::Vxlan(_) | LinkKind::Other(_) => true,
            LinkKind::WireGuard(_) | LinkKind::Ipip(_) | LinkKind::Ip6Tunnel | LinkKind::Tun(_) => false,
        }
    }
}

/// A VXLAN device's own attributes (`ip -d link show`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vxlan {
    /// Network identifier, 24 bits.
    pub vni: u32,
    /// UDP destination port.
    pub port: u16,
    /// The underlay interface; the device goes when it goes. `None` when that interface no longer exists.
    pub underlay: Option<LinkName>,
    /// The outer source address.
    pub local: IpAddr,
    /// Whether the device learns MACs from what it receives (`learning`).
    pub learning: bool,
    /// Whether the Group Based Policy extension is on (`gbp`).
    pub gbp: bool,
}

impl Vxlan {
    /// Whether a device made this way can be turned into the other without making it anew. The kernel's
    /// `vxlan_changelink` takes learning, local address (of the same family) and underlay.
    pub fn can_become(&self, other: &Vxlan) -> bool {
        let fixed = |v: &Vxlan| (v.vni, v.port, v.gbp, v.local.is_ipv4());
        fixed(self) == fixed(other)
    }
}

/// A link of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Kind and kind's attributes.
    pub kind: LinkKind,
    /// Link-layer address; zeros where the kind has none.
    pub mac: Mac,
    /// Octets of payload: `mtu`.
    pub mtu: u32,
    /// Administratively up.
    pub up: bool,
    /// Whether the kernel makes up IPv6 link-local addresses for it (`addrgenmode`); ours do not want any.
    pub link_local: bool,
    /// `ip link set … alias`: [`Tag::Ours`] when it carries our instance's.
    pub tag: Tag,
}

/// A next-hop object: one per peer. `ip nexthop add via GATEWAY dev LINK onlink proto 84`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nexthop {
    /// The device.
    pub link: LinkName,
    /// The gateway, reached on-link.
    pub gateway: IpAddr,
}

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Via {
    /// Through a next-hop object: the way for many peers (insertion does not depend on their number).
    Object(Nexthop),
    /// Through several of them at a time.
    Group(Group),
    /// A plain on-link gateway, for kernels before 5.3.
    Gateway(Nexthop),
    /// Out of a device, which finds the destination by itself: `ip route add … dev LINK scope link`.
    Device(LinkName),
    /// Out of a device with an outer header that the route says; apart, as it is larger than all others.
    Encapsulated(Box<Encapsulation>),
    /// Nowhere: `ip route add blackhole …`.
    Blackhole,
    /// Nowhere, and the sender is told so: `ip route add unreachable …`.
    Unreachable,
    /// Something that we never install, found under our tag: printed, and removed or replaced.
    Unknown,
}

impl Via {
    /// The link that it leaves by; of several the first.
    pub fn link(&self) -> Option<LinkName> {
        match self {
            Via::Object(nexthop) | Via::Gateway(nexthop) => Some(nexthop.link),
            Via::Group(group) => group.link(),
            Via::Device(link) => Some(*link),
            Via::Encapsulated(encapsulation) => Some(encapsulation.link),
            Via::Blackhole | Via::Unreachable | Via::Unknown => None,
        }
    }

    /// The group that it uses.
    pub fn group(&self) -> Option<&Group> {
        match self {
            Via::Group(group) => Some(group),
            _ => None,
        }
    }

    /// The next-hop objects that it uses.
    pub fn nexthops(&self) -> impl Iterator<Item = &Nexthop> {
        let one = match self {
            Via::Object(nexthop) => Some(nexthop),
            _ => None,
        };
        one.into_iter().chain(self.group().into_iter().flat_map(Group::members))
    }
}

/// A route of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where it leads.
    pub via: Via,
    /// Whose it is.
    pub tag: Tag,
}

/// A permanent neighbour entry's key. `ip neigh replace IP lladdr MAC dev LINK nud permanent protocol 84`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NeighbourKey {
    /// The device.
    pub link: LinkName,
    /// The neighbour's address.
    pub address: IpAddr,
}

/// A permanent neighbour entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Its link-layer address.
    pub mac: Mac,
    /// Whose it is.
    pub tag: Tag,
}

/// A forwarding-database entry's key. `bridge fdb replace MAC dev LINK dst IP self permanent extern_learn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FdbKey {
    /// The VXLAN device.
    pub link: LinkName,
    /// The inner destination MAC.
    pub mac: Mac,
}

/// A forwarding-database entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fdb {
    /// Where frames to that MAC are sent: the outer destination.
    pub remote: IpAddr,
    /// Whose it is.
    pub tag: Tag,
}

/// Everything of ours in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelState {
    /// `ip -d link`
    pub links: BTreeMap<LinkName, Link>,
    /// Those of the links that compute the checksums of what they send: `ethtool -K … tx off`.
    pub software_checksums: BTreeSet<LinkName>,
    /// `ip address`: (link, address with its prefix length as it stands on the interface).
    pub addresses: BTreeMap<(LinkName, IpNet), Tag>,
    /// `ip nexthop`
    pub nexthops: BTreeMap<Nexthop, Tag>,
    /// `ip nexthop`, those with a `group`
    pub groups: BTreeMap<Group, Tag>,
    /// `ip route`
    pub routes: BTreeMap<RouteKey, Route>,
    /// `ip neigh`
    pub neighbours: BTreeMap<NeighbourKey, Neighbour>,
    /// `bridge fdb`
    pub fdb: BTreeMap<FdbKey, Fdb>,
    /// `wg show all`
    pub peers: BTreeMap<PeerKey, Peer>,
    /// What the udp backend's proxy sends where.
    pub relays: BTreeMap<RelayKey, Ipv4Addr>,
    /// `sysctl`, by path below /proc/sys with slashes. Never removed: a value that is no longer wanted stays.
    pub sysctls: BTreeMap<String, String>,
    /// `nft list table`
    pub ruleset: Option<Ruleset>,
    /// `iptables -S FORWARD`, of what is there; what is desired follows from the ruleset.
    pub passages: BTreeMap<IpNet, Passage>,
}

impl KernelState {
    /// Takes in what there is one of per peer.
    pub fn extend(&mut self, more: KernelState) {
        self.nexthops.extend(more.nexthops);
        self.groups.extend(more.groups);
        self.routes.extend(more.routes);
        self.neighbours.extend(more.neighbours);
        self.fdb.extend(more.fdb);
        for (key, peer) in more.peers {
            match self.peers.entry(key) {
                Entry::Vacant(place) => drop(place.insert(peer)),
                // One device may carry both families of a peer.
                Entry::Occupied(mut there) => {
                    let allowed = &mut there.get_mut().allowed;
                    allowed.extend(peer.allowed);
                    allowed.sort_unstable();
                    allowed.dedup();
                }
            }
        }
        self.relays.extend(more.relays);
    }
}

/// What [`KernelState`] is of an instance's: which kernel objects `observe` returns.
///
/// Two daemons may run on one node (other device, other subnet file); neither sees what is the other's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// This instance's alias on links, whole: `towpath /run/flannel/subnet.env`.
    pub alias: String,
    /// The nftables table of this instance (family `inet`).
    pub table: String,
    /// Names that the instance uses or may take over even without our alias on them.
    pub links: Vec<LinkName>,
    /// The cluster's networks: what of ours has no device (a blackhole) is this instance's if it lies in one of them,
    /// and so is an address on one of our links.
    pub networks: Vec<IpNet>,
    /// Sysctls to read.
    pub sysctls: Vec<String>,
}
