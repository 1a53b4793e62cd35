//! Masquerade and forwarding: what our nftables table must say. Flannel's six rules by meaning (its iptables mode, where its
//! two modes differ), what users ask for beside them ([`Exceptions`]), forward rules, TCP segment sizes ([`Segments`]), and the tunnel's outer packets kept out of
//! connection tracking and NAT.

use std::net::IpAddr;

use ipam::{Family, Stack};
use ipnet::IpNet;

use crate::bgp::Encapsulation;
use crate::cluster::{Backend, Cluster};
use crate::ruleset::{Chain, ChainKind, Match, Rule, Ruleset, Verdict};

/// The mark by which kube-proxy asks for masquerade (`--iptables-masquerade-bit` 14): what it does itself we leave alone.
const KUBE_PROXY_MARK: u32 = 0x4000;

/// Which rules are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Firewall {
    /// `--ip-masq`
    pub masquerade: Masquerade,
    /// `--iptables-forward-rules`
    pub forward: Forward,
}

/// Whether pods' packets to the outside get the node's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Masquerade {
    /// No.
    Off,
    /// Yes, source ports chosen at random (`fully-random`): no two pods race for one.
    FullyRandom,
    /// Yes, source ports kept where possible (`--ip-masq-fully-random-disable`).
    PortKeeping,
}

/// Of which pods' packets to the outside the source is another than masquerade would give. Nothing of it is flannel's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exceptions {
    /// Destinations to which it stays the pod's (`NonMasqueradeCIDRs`), of either family.
    pub kept_towards: Vec<IpNet>,
    /// Whether it stays towards the other nodes' own addresses (`NonMasqueradeNodes`).
    pub nodes: TowardsNodes,
    /// The address that it becomes, per family, where not the outgoing interface's (`--ip-masq-address`).
    pub fixed: Option<Stack<IpAddr>>,
}

/// What source nodes see of pods on other nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TowardsNodes {
    /// The pod's node, as everybody outside does.
    #[default]
    Masqueraded,
    /// The pod.
    Kept,
}

/// Whether forwarded packets of the cluster are accepted explicitly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    /// No rules.
    Untouched,
    /// Packets from and to the cluster's networks are accepted.
    Accept,
}

/// Whether the segment size that TCP connections announce is cut to what their way takes (`ClampMSS`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Segments {
    /// No: pods' interfaces have the right MTU, and so have their connections.
    #[default]
    Untouched,
    /// It is, of connections from and to the cluster's networks, in both directions: for where something else than pods'
    /// interfaces is wrong.
    Clamped,
}

/// The whole table. `nodes` are the addresses of the other nodes, where these matter.
pub(crate) fn ruleset(cluster: &Cluster, nodes: &[IpNet]) -> Ruleset {
    let mut chains = Vec::new();
    match &cluster.backend {
        Backend::Vxlan(settings) => {
            chains.extend(tunnel_chains(settings.port, Match::VxlanNetwork(settings.vni())));
        }
        Backend::Bgp(settings) => {
            if let Encapsulation::Vxlan(vxlan) | Encapsulation::CrossSubnet(vxlan) = &settings.encapsulation {
                chains.extend(tunnel_chains(vxlan.port, Match::VxlanNetwork(vxlan.vni())));
            }
        }
        // Daemons send from the port that they listen on.
        Backend::Udp(settings) => chains.extend(tunnel_chains(settings.port, Match::UdpSourcePort(settings.port))),
        // What it sends has no mark of the packet inside, and one flow a peer is no burden. A firewall that lets in only
        // what was asked for must know the flow.
        Backend::WireGuard(_) => {}
        // A protocol is no port: others may tunnel with it on this host, and their firewall may follow their packets' state.
        Backend::Ipip(_) | Backend::HostGw | Backend::Extension(_) | Backend::Alloc => {}
    }
    let sides = || cluster.networks.values().flat_map(|net| [Match::Source(*net), Match::Destination(*net)]);
    let mut forward = Vec::new();
    if cluster.segments == Segments::Clamped {
        forward.extend(sides().map(|side| rule([side, Match::TcpSyn], Verdict::ClampSegment)));
    }
    if cluster.firewall.forward == Forward::Accept {
        forward.extend(sides().map(|side| rule([side], Verdict::Accept)));
    }
    if !forward.is_empty() {
        chains.push(Chain { kind: ChainKind::Forward, rules: forward });
    }
    let masquerade = match cluster.firewall.masquerade {
        Masquerade::Off => None,
        Masquerade::FullyRandom => Some(Verdict::MasqueradeFullyRandom),
        Masquerade::PortKeeping => Some(Verdict::Masquerade),
    };
    if let Some(masquerade) = masquerade {
        chains.push(Chain { kind: ChainKind::Postrouting, rules: postrouting(cluster, nodes, masquerade) });
    }
    Ruleset { chains }
}

/// Outer packets are not tracked, hence never NATed: a mark that the inner packet carried cannot make kube-proxy rewrite
/// the outer one (the cause of flannel's checksum stalls), and no table entry is spent on them. Only what this host
/// itself sends or receives: a pod's own packets to that port elsewhere are none of the tunnel's. And only what is the
/// tunnel's by its inside: masquerade gives one flow in 64,512 the tunnel's port, and its answers must be tracked.
fn tunnel_chains(port: u16, inside: Match) -> [Chain; 2] {
    let port = Match::UdpDestinationPort(port);
    let received = rule([port, inside, Match::DestinationLocal], Verdict::NoTrack);
    let sent = rule([port, inside], Verdict::NoTrack);
    [Chain { kind: ChainKind::Prerouting, rules: vec![received] }, Chain { kind: ChainKind::Output, rules: vec![sent] }]
}

/// Flannel's rules in flannel's order, the exceptions before those that masquerade; family by family, since no rule matches both.
fn postrouting(cluster: &Cluster, nodes: &[IpNet], masquerade: Verdict) -> Vec<Rule> {
    let marked = Match::Mark { mask: KUBE_PROXY_MARK, value: KUBE_PROXY_MARK };
    let mut rules = vec![rule([marked], Verdict::Return)];
    let subnets = cluster.own.subnets();
    let pairs: Option<Stack<(IpNet, IpNet)>> =
        cluster.networks.filter_map(|family, network| subnets.get(family).map(|subnet| (*network, *subnet)));
    for (family, (network, subnet)) in pairs.iter().flat_map(Stack::iter) {
        let (network, subnet) = (*network, *subnet);
        rules.extend([
            rule([Match::Source(subnet), Match::Destination(network)], Verdict::Return),
            rule([Match::Source(network), Match::Destination(subnet)], Verdict::Return),
            // A client from outside keeps its address towards our own pods (externalTrafficPolicy: Local).
            rule([Match::SourceNot(network), Match::Destination(subnet)], Verdict::Return),
        ]);
        let kept = cluster.exceptions.kept_towards.iter().chain(nodes).filter(|net| Family::of_net(net) == family);
        rules.extend(kept.map(|net| rule([Match::Source(network), Match::Destination(*net)], Verdict::Return)));
        rules.extend([
            rule(
                [Match::Source(network), Match::DestinationNot(multicast(family))],
                outwards(cluster, family, masquerade),
            ),
            // Towards another node's pods it gets ours, or the answer would not come back through us.
            rule([Match::SourceNot(network), Match::Destination(network)], masquerade),
        ]);
    }
    rules
}

/// What becomes of the source of a pod's packet to the outside.
fn outwards(cluster: &Cluster, family: Family, masquerade: Verdict) -> Verdict {
    let fixed = cluster.exceptions.fixed.as_ref().and_then(|fixed| fixed.get(family));
    match (fixed, masquerade) {
        (Some(address), Verdict::MasqueradeFullyRandom) => Verdict::SourceNatFullyRandom(*address),
        (Some(address), _) => Verdict::SourceNat(*address),
        (None, masquerade) => masquerade,
    }
}

/// All multicast: never masqueraded (RFC 5771, RFC 4291 section 2.7).
fn multicast(family: Family) -> IpNet {
    match family {
        Family::V4 => IpNet::V4(ipnet::Ipv4Net::new_assert(std::net::Ipv4Addr::new(224, 0, 0, 0), 4)),
        Family::V6 => IpNet::V6(ipnet::Ipv6Net::new_assert(std::net::Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8)),
    }
}

fn rule<const N: usize>(matches: [Match; N], verdict: Verdict) -> Rule {
    Rule { matches: matches.to_vec(), verdict }
}
