//! A [`Rule`] as nf_tables expressions, and back. Pure: what the expressions' bytes are is [`super::expression`]'s.
//!
//! Rules are compiled exactly as Debian's `nft` compiles the same words in an `inet` table, so that `nft list table`
//! prints them in those words. What is read back is a rule of ours only if compiling it again gives the very same
//! expressions; everything else is [`Verdict::Foreign`], so nothing that was tampered with can pass for ours.
//!
//! The one thing that does not come back as it was given: a prefix comes back without the bits behind its length
//! (`10.1.2.3/16` as `10.1.0.0/16`), because the kernel never sees them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use backends::ruleset::{Match, Rule, Verdict};
use ipam::Family;
use ipnet::IpNet;

use super::expression::{Base, Expression, MetaKey};
use super::uapi::{ACCEPT, RETURN};

/// `NF_NAT_RANGE_PROTO_RANDOM_FULLY` (linux/netfilter/nf_nat.h).
const RANDOM_FULLY: u32 = 1 << 4;
/// `RTN_LOCAL` (linux/rtnetlink.h), as the 32-bit number that fib gives.
const LOCAL: u32 = 2;

/// The expressions of a rule; `None` for a rule that we never write.
pub(super) fn compile(rule: &Rule) -> Option<Vec<Expression>> {
    let mut expressions = Vec::new();
    let mut family = None;
    for condition in &rule.matches {
        compile_match(condition, &mut family, &mut expressions);
    }
    if let Verdict::SourceNat(address) | Verdict::SourceNatFullyRandom(address) = rule.verdict {
        expressions.push(Expression::Load(octets(address)));
    }
    if rule.verdict == Verdict::ClampSegment {
        expressions.extend([Expression::RouteSegment, Expression::NetworkOrder]);
    }
    let source_nat = |address, flags| Expression::SourceNat { family: nfproto(Family::of(address)), flags };
    expressions.push(match rule.verdict {
        Verdict::Return => Expression::Verdict(RETURN),
        Verdict::Accept => Expression::Verdict(ACCEPT),
        Verdict::Masquerade => Expression::Masquerade { flags: 0 },
        Verdict::MasqueradeFullyRandom => Expression::Masquerade { flags: RANDOM_FULLY },
        Verdict::SourceNat(address) => source_nat(address, 0),
        Verdict::SourceNatFullyRandom(address) => source_nat(address, RANDOM_FULLY),
        Verdict::NoTrack => Expression::NoTrack,
        Verdict::ClampSegment => Expression::SegmentOption,
        Verdict::Foreign => return None,
    });
    Some(expressions)
}

/// The rule that compiles to exactly these expressions, or a foreign one.
pub(super) fn recognise(expressions: &[Expression]) -> Rule {
    let foreign = Rule { matches: Vec::new(), verdict: Verdict::Foreign };
    let Some((verdict, mut rest)) = expressions.split_last() else { return foreign };
    let verdict = match verdict {
        Expression::Verdict(RETURN) => Verdict::Return,
        Expression::Verdict(ACCEPT) => Verdict::Accept,
        Expression::Masquerade { flags: 0 } => Verdict::Masquerade,
        Expression::Masquerade { flags: RANDOM_FULLY } => Verdict::MasqueradeFullyRandom,
        Expression::NoTrack => Verdict::NoTrack,
        Expression::SegmentOption => {
            let [before @ .., Expression::RouteSegment, Expression::NetworkOrder] = rest else { return foreign };
            rest = before;
            Verdict::ClampSegment
        }
        Expression::SourceNat { family, flags } => {
            let Some((Expression::Load(value), before)) = rest.split_last() else { return foreign };
            let Some(found) = loaded(value, *family) else { return foreign };
            rest = before;
            match *flags {
                0 => Verdict::SourceNat(found),
                RANDOM_FULLY => Verdict::SourceNatFullyRandom(found),
                _ => return foreign,
            }
        }
        _ => return foreign,
    };
    let mut matches = Vec::new();
    let mut family = None;
    while !rest.is_empty() {
        let Some((condition, behind)) = recognise_match(rest, &mut family) else { return foreign };
        matches.push(condition);
        rest = behind;
    }
    let rule = Rule { matches, verdict };
    if compile(&rule).as_deref() == Some(expressions) { rule } else { foreign }
}

fn compile_match(condition: &Match, family: &mut Option<Family>, out: &mut Vec<Expression>) {
    match *condition {
        Match::Mark { mask, value } => out.extend([
            // The mark is a number of the machine's own byte order.
            Expression::Meta(MetaKey::Mark),
            Expression::Mask(mask.to_ne_bytes().to_vec()),
            Expression::equal(&value.to_ne_bytes()),
        ]),
        Match::Source(net) => compile_address(&Address { net, end: End::Source, equal: true }, family, out),
        Match::SourceNot(net) => compile_address(&Address { net, end: End::Source, equal: false }, family, out),
        Match::Destination(net) => compile_address(&Address { net, end: End::Destination, equal: true }, family, out),
        Match::DestinationNot(net) => {
            compile_address(&Address { net, end: End::Destination, equal: false }, family, out);
        }
        Match::Family(named) => {
            out.extend([Expression::Meta(MetaKey::NfProto), Expression::equal(&[nfproto(named)])]);
            // An address match behind it names its family again, or the two could not be told apart.
            *family = None;
        }
        Match::UdpDestinationPort(port) => out.extend([
            Expression::Meta(MetaKey::L4Proto),
            Expression::equal(&[UDP]),
            UDP_DESTINATION,
            Expression::equal(&port.to_be_bytes()),
        ]),
        Match::UdpSourcePort(port) => out.extend([UDP_SOURCE, Expression::equal(&port.to_be_bytes())]),
        Match::VxlanNetwork(vni) => out.extend([VXLAN_NETWORK, Expression::equal(&(vni << 8).to_be_bytes())]),
        Match::TcpSyn => out.extend([
            Expression::Meta(MetaKey::L4Proto),
            Expression::equal(&[TCP]),
            TCP_FLAGS,
            Expression::Mask(vec![SYN | RST]),
            Expression::equal(&[SYN]),
        ]),
        Match::DestinationLocal => {
            out.extend([Expression::FibDestinationType, Expression::equal(&LOCAL.to_ne_bytes())]);
        }
    }
}

/// The match that the expressions begin with, and the rest. `family` is what an earlier address match established.
fn recognise_match<'e>(
    expressions: &'e [Expression],
    family: &mut Option<Family>,
) -> Option<(Match, &'e [Expression])> {
    use Expression::{Compare, FibDestinationType, Mask, Meta, Payload};
    match expressions {
        [Meta(MetaKey::Mark), Mask(mask), Compare { value, .. }, rest @ ..] => {
            let number = |bytes: &[u8]| Some(u32::from_ne_bytes(bytes.try_into().ok()?));
            Some((Match::Mark { mask: number(mask)?, value: number(value)? }, rest))
        }
        [Meta(MetaKey::NfProto), Compare { value, .. }, rest @ ..] => {
            let named = Family::ALL.into_iter().find(|family| value[..] == [nfproto(*family)])?;
            match rest {
                // The family right before an address belongs to the address match.
                [Payload { base: Base::Network, .. }, ..] => {
                    *family = Some(named);
                    recognise_address(rest, named)
                }
                _ => {
                    *family = None;
                    Some((Match::Family(named), rest))
                }
            }
        }
        [Meta(MetaKey::L4Proto), Compare { .. }, Payload { .. }, Mask(_), Compare { .. }, rest @ ..] => {
            Some((Match::TcpSyn, rest))
        }
        [Meta(MetaKey::L4Proto), Compare { .. }, Payload { .. }, Compare { value, .. }, rest @ ..] => {
            Some((Match::UdpDestinationPort(u16::from_be_bytes(value[..].try_into().ok()?)), rest))
        }
        [Payload { base: Base::Transport, length: 2, .. }, Compare { value, .. }, rest @ ..] => {
            Some((Match::UdpSourcePort(u16::from_be_bytes(value[..].try_into().ok()?)), rest))
        }
        [Payload { base: Base::Transport, .. }, Compare { value, .. }, rest @ ..] => {
            Some((Match::VxlanNetwork(u32::from_be_bytes(value[..].try_into().ok()?) >> 8), rest))
        }
        [FibDestinationType, Compare { .. }, rest @ ..] => Some((Match::DestinationLocal, rest)),
        _ => recognise_address(expressions, (*family)?),
    }
}

/// The flags' place in a TCP header, and two of them (RFC 9293 section 3.1).
const TCP_FLAGS: Expression = Expression::Payload { base: Base::Transport, offset: 13, length: 1 };
const SYN: u8 = 2;
const RST: u8 = 4;

const TCP: u8 = 6;
const UDP: u8 = 17;
/// The destination port's place in a UDP header (RFC 768).
const UDP_DESTINATION: Expression = Expression::Payload { base: Base::Transport, offset: 2, length: 2 };

/// The source port's.
const UDP_SOURCE: Expression = Expression::Payload { base: Base::Transport, offset: 0, length: 2 };
/// The network identifier and the octet behind it, in the VXLAN header behind a UDP header (RFC 7348 section 5).
const VXLAN_NETWORK: Expression = Expression::Payload { base: Base::Transport, offset: 12, length: 4 };

/// `NFPROTO_IPV4` and `NFPROTO_IPV6` (linux/netfilter.h).
fn nfproto(family: Family) -> u8 {
    match family {
        Family::V4 => 2,
        Family::V6 => 10,
    }
}

/// Which of a packet's two addresses.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Source,
    Destination,
}

impl End {
    /// Where the address begins in the packet's header (RFC 791 section 3.1, RFC 8200 section 3).
    fn offset(self, family: Family) -> u32 {
        match (family, self) {
            (Family::V4, End::Source) => 12,
            (Family::V4, End::Destination) => 16,
            (Family::V6, End::Source) => 8,
            (Family::V6, End::Destination) => 24,
        }
    }
}

/// A condition on an address, whichever of the four.
struct Address {
    net: IpNet,
    end: End,
    equal: bool,
}

fn compile_address(address: &Address, family: &mut Option<Family>, out: &mut Vec<Expression>) {
    let named = Family::of_net(&address.net);
    if family.replace(named) != Some(named) {
        out.extend([Expression::Meta(MetaKey::NfProto), Expression::equal(&[nfproto(named)])]);
    }
    let bits = address.net.prefix_len();
    // nft loads only the octets that a prefix covers, if it ends at an octet; otherwise the whole address under a mask.
    let masked = bits == 0 || !bits.is_multiple_of(8);
    let length = if masked { named.bits() } else { bits } / 8;
    let (base, offset) = (Base::Network, address.end.offset(named));
    out.push(Expression::Payload { base, offset, length: length.into() });
    if masked {
        out.push(Expression::Mask(octets(address.net.netmask())));
    }
    let mut value = octets(address.net.trunc().addr());
    value.truncate(length.into());
    out.push(Expression::Compare { equal: address.equal, value });
}

fn recognise_address(expressions: &[Expression], family: Family) -> Option<(Match, &[Expression])> {
    use Expression::{Compare, Mask, Payload};
    let (offset, prefix, equal, value, rest) = match expressions {
        [Payload { offset, length, .. }, Compare { equal, value }, rest @ ..] => {
            (*offset, u8::try_from(length.checked_mul(8)?).ok()?, *equal, value, rest)
        }
        [Payload { offset, .. }, Mask(mask), Compare { equal, value }, rest @ ..] => {
            let ones = mask.iter().map(|octet| octet.leading_ones()).sum::<u32>();
            (*offset, u8::try_from(ones).ok()?, *equal, value, rest)
        }
        _ => return None,
    };
    let end = [End::Source, End::Destination].into_iter().find(|end| end.offset(family) == offset)?;
    let net = IpNet::new(address(value, family)?, prefix).ok()?;
    let condition = match (end, equal) {
        (End::Source, true) => Match::Source(net),
        (End::Source, false) => Match::SourceNot(net),
        (End::Destination, true) => Match::Destination(net),
        (End::Destination, false) => Match::DestinationNot(net),
    };
    Some((condition, rest))
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// The address that was put into the register for a translation.
fn loaded(value: &[u8], number: u8) -> Option<IpAddr> {
    let family = Family::ALL.into_iter().find(|family| nfproto(*family) == number)?;
    address(value, family).filter(|_| value.len() == usize::from(family.bits() / 8))
}

/// The address whose first octets these are; the others are zero.
fn address(octets: &[u8], family: Family) -> Option<IpAddr> {
    let mut whole = [0; 16];
    whole.get_mut(..octets.len())?.copy_from_slice(octets);
    let [a, b, c, d, ..] = whole;
    Some(match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
        Family::V6 => IpAddr::V6(Ipv6Addr::from(whole)),
    })
}

#[cfg(test)]
mod tests;
