//! [`Ruleset`]: our one nftables table as data. What the rules must say is `masquerade`'s; their bytes are `kernel::nft`'s.

use std::fmt;
use std::net::IpAddr;

use ipam::Family;
use ipnet::IpNet;

/// Our table, family `inet`, whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// Base chains in the order of their hooks.
    pub chains: Vec<Chain>,
}

/// A base chain with its rules in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Name, hook and priority.
    pub kind: ChainKind,
    /// Rules in order; the policy is always accept.
    pub rules: Vec<Rule>,
}

/// The base chains that we use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChainKind {
    /// `chain prerouting { type filter hook prerouting priority raw; policy accept; }`
    Prerouting,
    /// `chain output { type filter hook output priority raw; policy accept; }`
    Output,
    /// `chain forward { type filter hook forward priority filter; policy accept; }`
    Forward,
    /// `chain postrouting { type nat hook postrouting priority srcnat; policy accept; }`
    Postrouting,
    /// A chain in our table that is none of ours: its presence makes the tables differ. Never desired.
    Foreign,
}

impl ChainKind {
    /// All that may be desired.
    pub const ALL: [ChainKind; 4] =
        [ChainKind::Prerouting, ChainKind::Output, ChainKind::Forward, ChainKind::Postrouting];

    /// The chain's name in the table.
    pub fn name(self) -> &'static str {
        match self {
            ChainKind::Prerouting => "prerouting",
            ChainKind::Output => "output",
            ChainKind::Forward => "forward",
            ChainKind::Postrouting => "postrouting",
            ChainKind::Foreign => "foreign",
        }
    }
}

/// One rule: all matches must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Matches in order.
    pub matches: Vec<Match>,
    /// What happens then.
    pub verdict: Verdict,
}

/// A condition on a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// `meta mark & MASK == VALUE`
    Mark {
        /// Bits looked at.
        mask: u32,
        /// What they must be.
        value: u32,
    },
    /// `ip saddr NET` or `ip6 saddr NET`; it implies the family.
    Source(IpNet),
    /// `ip saddr != NET`; it implies the family.
    SourceNot(IpNet),
    /// `ip daddr NET`; it implies the family.
    Destination(IpNet),
    /// `ip daddr != NET`; it implies the family.
    DestinationNot(IpNet),
    /// `meta nfproto ipv4` alone.
    Family(Family),
    /// `meta l4proto udp udp dport PORT`
    UdpDestinationPort(u16),
    /// `udp sport PORT`, behind a match that says that it is UDP.
    UdpSourcePort(u16),
    /// `@th,96,32`: the VXLAN network identifier (RFC 7348 section 5) and the reserved octet after it, behind a match that says
    /// that it is UDP.
    VxlanNetwork(u32),
    /// `fib daddr type local`
    DestinationLocal,
    /// `tcp flags syn / syn,rst`: the first packets of a connection, one each way.
    TcpSyn,
}

/// What a rule does with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// `return`
    Return,
    /// `accept`
    Accept,
    /// `masquerade`
    Masquerade,
    /// `masquerade fully-random`
    MasqueradeFullyRandom,
    /// `snat ip to ADDRESS`, of the address's family.
    SourceNat(IpAddr),
    /// `snat ip to ADDRESS fully-random`
    SourceNatFullyRandom(IpAddr),
    /// `notrack`
    NoTrack,
    /// `tcp option maxseg size set rt mtu`, what `iptables -j TCPMSS --clamp-mss-to-pmtu` does; the next rules follow.
    ClampSegment,
    /// A rule that we would never write: its presence makes the tables differ. Never desired.
    Foreign,
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ip = |net: &IpNet| if net.addr().is_ipv4() { "ip" } else { "ip6" };
        match self {
            Match::Mark { mask, value } => write!(f, "meta mark & {mask:#010x} == {value:#010x}"),
            Match::Source(net) => write!(f, "{} saddr {net}", ip(net)),
            Match::SourceNot(net) => write!(f, "{} saddr != {net}", ip(net)),
            Match::Destination(net) => write!(f, "{} daddr {net}", ip(net)),
            Match::DestinationNot(net) => write!(f, "{} daddr != {net}", ip(net)),
            Match::Family(Family::V4) => f.write_str("meta nfproto ipv4"),
            Match::Family(Family::V6) => f.write_str("meta nfproto ipv6"),
            Match::UdpDestinationPort(port) => write!(f, "udp dport {port}"),
            Match::UdpSourcePort(port) => write!(f, "udp sport {port}"),
            Match::VxlanNetwork(vni) => write!(f, "@th,96,32 {:#x}", vni << 8),
            Match::DestinationLocal => f.write_str("fib daddr type local"),
            Match::TcpSyn => f.write_str("tcp flags syn / syn,rst"),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ip = |address: &IpAddr| if address.is_ipv4() { "ip" } else { "ip6" };
        f.write_str(match self {
            Verdict::SourceNat(address) => return write!(f, "snat {} to {address}", ip(address)),
            Verdict::SourceNatFullyRandom(address) => {
                return write!(f, "snat {} to {address} fully-random", ip(address));
            }
            Verdict::Return => "return",
            Verdict::Accept => "accept",
            Verdict::Masquerade => "masquerade",
            Verdict::MasqueradeFullyRandom => "masquerade fully-random",
            Verdict::NoTrack => "notrack",
            Verdict::ClampSegment => "tcp option maxseg size set rt mtu",
            Verdict::Foreign => "(not a rule of ours)",
        })
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for condition in &self.matches {
            write!(f, "{condition} ")?;
        }
        self.verdict.fmt(f)
    }
}
