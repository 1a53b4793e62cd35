//! States and plans in the words of `ip`, `bridge`, `sysctl` and `nft`: for `towpathctl plan`, for golden tests, for logs.
//!
//! Commands are exact enough to be typed; where one `ip` command cannot say it, the nearest one is printed.

mod relay;
mod wireguard;

use std::fmt;

use ipnet::IpNet;

use crate::plan::{Change, Plan};
use crate::ruleset::{Chain, ChainKind, Ruleset};
use crate::state::{
    Encapsulation, Fdb, FdbKey, Group, Ipip, KernelState, Link, LinkKind, LinkName, Neighbour, NeighbourKey, Nexthop,
    PROTOCOL, PeerKey, Route, RouteKey, Tag, Via,
};

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.changes.iter().try_for_each(|change| writeln!(f, "{change}"))
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::LinkAdd(name, link) => write!(f, "ip link add {name} {link}"),
            Change::LinkSet { name, from, to } => link_set(f, *name, from, to),
            Change::OffloadSet(name, offload) => write!(f, "ethtool -K {name} tx {offload}"),
            Change::LinkDelete(name) => write!(f, "ip link delete {name}"),
            Change::AddressAdd(link, address) => write!(f, "ip address add {address} dev {link} proto {PROTOCOL}"),
            Change::AddressDelete(link, address) => write!(f, "ip address delete {address} dev {link}"),
            Change::SysctlSet(path, value) => write!(f, "sysctl -w {}={value}", SysctlName(path)),
            Change::RulesetSet(Some(ruleset)) => write!(f, "nft -f - <<'END'\n{ruleset}END"),
            Change::RulesetSet(None) => f.write_str("nft delete table inet towpath"),
            Change::PassageSet(network) => passage(f, "-A", network),
            Change::PassageDelete(network) => passage(f, "-D", network),
            Change::NexthopAdd(nexthop) => write!(f, "ip nexthop add {nexthop}"),
            Change::NexthopDelete(nexthop) => write!(f, "ip nexthop delete {nexthop}"),
            Change::GroupAdd(group) => write!(f, "ip nexthop add {group} proto {PROTOCOL}"),
            Change::GroupDelete(group) => write!(f, "ip nexthop delete {group}"),
            Change::RouteSet(key, route) => write!(f, "ip route replace {}", RouteLine(key, route)),
            Change::RouteDelete(key, route) => write!(f, "ip route delete {}", RouteLine(key, route)),
            Change::NeighbourSet(key, entry) => write!(f, "ip neigh replace {}", NeighbourLine(key, entry)),
            Change::NeighbourDelete(key, mac) => {
                write!(f, "ip neigh delete {} lladdr {mac} dev {}", key.address, key.link)
            }
            Change::FdbSet(key, entry) => write!(f, "bridge fdb replace {}", FdbLine(key, entry)),
            Change::FdbDelete(key, entry) => write!(f, "bridge fdb delete {}", FdbLine(key, entry)),
            Change::PeerSet { key, from, to } => wireguard::peer_set(f, key, (from.as_deref(), to)),
            Change::PeerDelete(PeerKey { link, key }) => write!(f, "wg set {link} peer {key} remove"),
            Change::RelaySet(key, peer) => write!(f, "relay {}", relay::RelayLine(key, *peer)),
            Change::RelayDelete(key) => write!(f, "no relay for {} behind {}", key.subnet, key.link),
        }
    }
}

impl fmt::Display for KernelState {
    /// Everything that the state holds, one line each, kinds in the order of the fields.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, link) in &self.links {
            writeln!(f, "link {name} {link}")?;
        }
        for name in &self.software_checksums {
            writeln!(f, "offload {name} tx off")?;
        }
        for ((link, address), tag) in &self.addresses {
            writeln!(f, "address {address} dev {link}{}", Adopted(*tag))?;
        }
        for (nexthop, tag) in &self.nexthops {
            writeln!(f, "nexthop {nexthop}{}", Adopted(*tag))?;
        }
        for (group, tag) in &self.groups {
            writeln!(f, "nexthop {group} proto {PROTOCOL}{}", Adopted(*tag))?;
        }
        for (key, route) in &self.routes {
            writeln!(f, "route {}{}", RouteLine(key, route), Adopted(route.tag))?;
        }
        for (key, entry) in &self.neighbours {
            writeln!(f, "neigh {}{}", NeighbourLine(key, entry), Adopted(entry.tag))?;
        }
        for (key, entry) in &self.fdb {
            writeln!(f, "fdb {}{}", FdbLine(key, entry), Adopted(entry.tag))?;
        }
        for (key, peer) in &self.peers {
            writeln!(f, "{}{}", wireguard::PeerLine(key, peer), Adopted(peer.tag))?;
        }
        for (key, peer) in &self.relays {
            writeln!(f, "relay {}", relay::RelayLine(key, *peer))?;
        }
        for (path, value) in &self.sysctls {
            writeln!(f, "sysctl {} = {value}", SysctlName(path))?;
        }
        self.ruleset.iter().try_for_each(|ruleset| write!(f, "{ruleset}"))
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind.has_mac() {
            write!(f, "address {} ", self.mac)?;
        }
        write!(f, "mtu {} {}", self.mtu, if self.up { "up" } else { "down" })?;
        write!(f, " addrgenmode {}{}", if self.link_local { "eui64" } else { "none" }, Adopted(self.tag))?;
        match &self.kind {
            LinkKind::Other(kind) => write!(f, " type {kind}"),
            LinkKind::WireGuard(wireguard) => write!(f, " type wireguard {wireguard}"),
            LinkKind::Ipip(ipip) => write!(f, " type ipip {ipip}"),
            LinkKind::Ip6Tunnel => f.write_str(" type ip6tnl external mode ip6ip6 encaplimit none"),
            LinkKind::Tun(Some(proxy)) => write!(f, " type tun, {proxy}"),
            LinkKind::Tun(None) => f.write_str(" type tun, without a proxy"),
            LinkKind::Vxlan(vxlan) => {
                write!(f, " type vxlan id {} dstport {} local {}", vxlan.vni, vxlan.port, vxlan.local)?;
                vxlan.underlay.iter().try_for_each(|underlay| write!(f, " dev {underlay}"))?;
                f.write_str(if vxlan.learning { " learning" } else { " nolearning" })?;
                f.write_str(if vxlan.gbp { " gbp" } else { "" })
            }
        }
    }
}

/// As iptables would be told, which cannot say that a rule goes before the one that drops the rest.
fn passage(f: &mut fmt::Formatter<'_>, order: &str, network: &IpNet) -> fmt::Result {
    let iptables = if network.addr().is_ipv4() { "iptables" } else { "ip6tables" };
    write!(f, "{iptables} {order} FORWARD -s {network} -j ACCEPT; {iptables} {order} FORWARD -d {network} -j ACCEPT")
}

/// Only what differs, as `ip link set` would be told.
fn link_set(f: &mut fmt::Formatter<'_>, name: LinkName, from: &Link, to: &Link) -> fmt::Result {
    write!(f, "ip link set {name}")?;
    if from.mac != to.mac {
        write!(f, " address {}", to.mac)?;
    }
    if from.mtu != to.mtu {
        write!(f, " mtu {}", to.mtu)?;
    }
    if from.link_local != to.link_local {
        write!(f, " addrgenmode {}", if to.link_local { "eui64" } else { "none" })?;
    }
    if from.tag != to.tag {
        f.write_str(" alias towpath")?;
    }
    if let (LinkKind::Vxlan(from), LinkKind::Vxlan(to)) = (&from.kind, &to.kind)
        && from != to
    {
        write!(f, " type vxlan local {}", to.local)?;
        to.underlay.iter().try_for_each(|underlay| write!(f, " dev {underlay}"))?;
        f.write_str(if to.learning { " learning" } else { " nolearning" })?;
    }
    f.write_str(if from.up == to.up { "" } else { " up" })?;
    match (&from.kind, &to.kind) {
        (LinkKind::WireGuard(from), LinkKind::WireGuard(to)) if from != to => write!(f, " type wireguard {to}"),
        (LinkKind::Ipip(from), LinkKind::Ipip(to)) if from != to => write!(f, " type ipip {to}"),
        (LinkKind::Tun(from), LinkKind::Tun(Some(to))) if from.as_ref() != Some(to) => write!(f, ", with a {to}"),
        _ => Ok(()),
    }
}

impl fmt::Display for Nexthop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "via {} dev {} onlink proto {PROTOCOL}", self.gateway, self.link)
    }
}

impl fmt::Display for Group {
    /// What would be numbers of its members to `ip`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("group")?;
        self.members().enumerate().try_for_each(|(place, Nexthop { link, gateway })| {
            write!(f, "{}[via {gateway} dev {link}]", if place == 0 { ' ' } else { '/' })
        })
    }
}

impl fmt::Display for Ipip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rest = if self.plain { "ttl inherit tos 0 nopmtudisc" } else { "(with settings that are not ours)" };
        write!(f, "local {} {rest}", self.local)
    }
}

struct RouteLine<'a>(&'a RouteKey, &'a Route);

impl fmt::Display for RouteLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RouteLine(RouteKey { destination, metric }, Route { via, .. }) = self;
        match via {
            Via::Object(nexthop) => write!(f, "{destination} nhid [{nexthop}]")?,
            Via::Group(group) => write!(f, "{destination} nhid [{group}]")?,
            Via::Gateway(Nexthop { link, gateway }) => write!(f, "{destination} via {gateway} dev {link} onlink")?,
            Via::Device(link) => write!(f, "{destination} dev {link} scope link")?,
            Via::Encapsulated(encapsulation) => {
                let Encapsulation { link, source, destination: outer } = &**encapsulation;
                write!(f, "{destination} encap ip6 src {source} dst {outer} dev {link}")?;
            }
            Via::Blackhole => write!(f, "blackhole {destination}")?,
            Via::Unreachable => write!(f, "unreachable {destination}")?,
            Via::Unknown => write!(f, "{destination} (by a way that is not ours)")?,
        }
        write!(f, " proto {PROTOCOL} metric {metric}")
    }
}

struct NeighbourLine<'a>(&'a NeighbourKey, &'a Neighbour);

impl fmt::Display for NeighbourLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NeighbourLine(NeighbourKey { link, address }, Neighbour { mac, .. }) = self;
        write!(f, "{address} lladdr {mac} dev {link} nud permanent protocol {PROTOCOL}")
    }
}

struct FdbLine<'a>(&'a FdbKey, &'a Fdb);

impl fmt::Display for FdbLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FdbLine(FdbKey { link, mac }, Fdb { remote, .. }) = self;
        write!(f, "{mac} dev {link} dst {remote} self permanent extern_learn")
    }
}

struct SysctlName<'a>(&'a str);

impl fmt::Display for SysctlName<'_> {
    /// sysctl(8) swaps `/` and `.`: a device `flannel.1` is written `flannel/1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let swap = |c| match c {
            '/' => '.',
            '.' => '/',
            c => c,
        };
        self.0.chars().try_for_each(|c| write!(f, "{}", swap(c)))
    }
}

struct Adopted(Tag);

impl fmt::Display for Adopted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Tag::Ours => "",
            Tag::Adopted => " (not ours yet)",
        })
    }
}

impl fmt::Display for Ruleset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "table inet towpath {{")?;
        for Chain { kind, rules } in &self.chains {
            writeln!(f, "\tchain {} {{", kind.name())?;
            writeln!(f, "\t\ttype {}; policy accept;", hook(*kind))?;
            rules.iter().try_for_each(|rule| writeln!(f, "\t\t{rule}"))?;
            writeln!(f, "\t}}")?;
        }
        writeln!(f, "}}")
    }
}

fn hook(kind: ChainKind) -> &'static str {
    match kind {
        ChainKind::Prerouting => "filter hook prerouting priority raw",
        ChainKind::Output => "filter hook output priority raw",
        ChainKind::Forward => "filter hook forward priority filter",
        ChainKind::Postrouting => "nat hook postrouting priority srcnat",
        ChainKind::Foreign => "(not a chain of ours)",
    }
}
