//! [`Fixed`]: the table's rules as nf_tables expressions.
//!
//! Compiled as Debian's `nft` compiles the same words, so that it lists them in those words. Registers are numbered as there:
//! 1 is the first one, and from 8 on they are counted in fours of octets (`enum nft_registers`).

use std::net::Ipv6Addr;

use ipam::Family;

use super::element::{Set, length};
use super::program::PORTS;
use super::sets::PROTOCOLS;
use crate::netlink::Body;
use crate::nft::LIST_ELEMENT;
use crate::nft::expression::{Base, Expression, MetaKey};
use crate::nft::uapi::{
    DATA_VALUE, DATA_VERDICT, DROP, EXPRESSION_DATA, EXPRESSION_NAME, GOTO, IMMEDIATE_DATA, IMMEDIATE_DREG,
    LOOKUP_DREG, LOOKUP_SET, LOOKUP_SREG, META_DREG, META_KEY, NAT_ADDRESS, NAT_FAMILY, NAT_TYPE, PAYLOAD_BASE,
    PAYLOAD_DREG, PAYLOAD_LEN, PAYLOAD_OFFSET, REGISTER, VERDICT_CHAIN, VERDICT_CODE, VERDICT_REGISTER,
};

/// `RTN_LOCAL` (linux/rtnetlink.h), as the 32-bit number that fib gives.
const LOCAL: u32 = 2;
/// `NF_NAT_RANGE_PROTO_RANDOM_FULLY` (linux/netfilter/nf_nat.h).
const RANDOM_FULLY: u32 = 1 << 4;
/// `IPS_DST_NAT` (linux/netfilter/nf_conntrack_common.h)
const DESTINATION_TRANSLATED: u32 = 1 << 5;
/// `NFPROTO_IPV4`, `NFPROTO_IPV6`
const IPV4: u8 = 2;
const IPV6: u8 = 10;

/// Registers of four octets are counted from here.
const FOURS: u32 = 8;

/// `NFT_META_IIF`, `NFT_META_L4PROTO`
const META_INTERFACE: u32 = 4;
const META_PROTOCOL: u32 = 16;
/// `NFTA_PAYLOAD_…`, `NFT_PAYLOAD_TRANSPORT_HEADER`
const PAYLOAD_SREG: u16 = 5;
const PAYLOAD_CHECKSUM_TYPE: u16 = 6;
const PAYLOAD_CHECKSUM_OFFSET: u16 = 7;
const PAYLOAD_CHECKSUM_FLAGS: u16 = 8;
const NETWORK: u32 = 1;
const TRANSPORT: u32 = 2;
/// `NFT_PAYLOAD_L4CSUM_PSEUDOHDR`
const PSEUDO_HEADER: u32 = 1;
/// Where the addresses are in an IPv6 header (RFC 8200 section 3).
const SOURCE_V6: u32 = 8;
const DESTINATION_V6: u32 = 24;
/// `NFTA_NAT_…`, `NFT_NAT_DNAT`
const NAT_PORT: u16 = 5;
const TO_DESTINATION: u32 = 1;
/// `NFTA_CT_…`, `NFT_CT_STATUS`
const CT_DREG: u16 = 1;
const CT_KEY: u16 = 2;
const CT_STATUS: u32 = 2;

/// One of the fixed rules.
#[derive(Clone, Copy)]
pub(super) enum Fixed {
    /// What is meant for the node itself may be meant for a host port. `fib daddr type local goto ports`
    ToPorts,
    /// `meta l4proto @protocols dnat ip to … map @ports4`
    Ports(Set, Family),
    /// `ct status dnat ip daddr . meta l4proto . th dport vmap @flows4`
    Flows(Family),
    /// `ip saddr vmap @leaving4`
    Leaving(Family),
    /// From the node's loopback. `ip saddr 127.0.0.0/8 masquerade fully-random`
    Loopback,
    /// `ip saddr @near4 masquerade fully-random`
    Near(Family),
    /// `masquerade fully-random`
    All,
    /// The node asks itself by `::1`, which nothing on a link can answer. `ip6 saddr ::1 ip6 daddr ::1 … ip6 saddr set … map
    /// @loopback6`
    LoopbackOut,
    /// And is answered. `iif != "lo" ip6 saddr ::1 ip6 daddr set ::1`
    LoopbackIn,
    /// Never from outside to the node's loopback. `iif != "lo" ip daddr 127.0.0.0/8 drop`
    Martian,
}

impl Fixed {
    /// Writes the list of its expressions.
    pub(super) fn encode(self, list: &mut Body<'_>) {
        match self {
            Fixed::ToPorts => {
                known(list, &[Expression::FibDestinationType, Expression::equal(&LOCAL.to_ne_bytes())]);
                goto(list, PORTS);
            }
            Fixed::Ports(set, family) => {
                meta(list, META_PROTOCOL, REGISTER);
                lookup(list, PROTOCOLS, None);
                match set {
                    Set::Addressed(_) => {
                        of_family(list, family);
                        endpoint(list, family);
                    }
                    // `dnat ip` passes over the other family by itself.
                    _ => {
                        meta(list, META_PROTOCOL, REGISTER);
                        port(list, FOURS + 1);
                    }
                }
                lookup(list, set.name(), Some(REGISTER));
                destination(list, family);
            }
            Fixed::Flows(family) => {
                expression(list, "ct", |data| {
                    data.be32(CT_DREG, REGISTER);
                    data.be32(CT_KEY, CT_STATUS);
                });
                let nothing = Expression::Compare { equal: false, value: vec![0; 4] };
                known(list, &[Expression::Mask(DESTINATION_TRANSLATED.to_ne_bytes().to_vec()), nothing]);
                of_family(list, family);
                endpoint(list, family);
                lookup(list, Set::Flows(family).name(), Some(VERDICT_REGISTER));
            }
            Fixed::Leaving(family) => {
                of_family(list, family);
                source(list, family, length(family));
                lookup(list, Set::Leaving(family).name(), Some(VERDICT_REGISTER));
            }
            Fixed::Loopback => {
                of_family(list, Family::V4);
                source(list, Family::V4, 1);
                known(list, &[Expression::equal(&[127]), Expression::Masquerade { flags: RANDOM_FULLY }]);
            }
            Fixed::Near(family) => {
                of_family(list, family);
                source(list, family, length(family));
                lookup(list, Set::Near(family).name(), None);
                known(list, &[Expression::Masquerade { flags: RANDOM_FULLY }]);
            }
            Fixed::All => known(list, &[Expression::Masquerade { flags: RANDOM_FULLY }]),
            Fixed::LoopbackOut => loopback_out(list),
            Fixed::LoopbackIn => loopback_in(list),
            Fixed::Martian => {
                not_from_loopback(list);
                of_family(list, Family::V4);
                let first_octet = Expression::Payload { base: Base::Network, offset: 16, length: 1 };
                known(list, &[first_octet, Expression::equal(&[127]), Expression::Verdict(DROP)]);
            }
        }
    }
}

/// The node's question to itself gets another address of its own.
fn loopback_out(list: &mut Body<'_>) {
    of_family(list, Family::V6);
    for offset in [SOURCE_V6, DESTINATION_V6] {
        let address = Expression::Payload { base: Base::Network, offset, length: 16 };
        known(list, &[address, Expression::equal(&Ipv6Addr::LOCALHOST.octets())]);
    }
    meta(list, META_PROTOCOL, REGISTER);
    lookup(list, PROTOCOLS, None);
    meta(list, META_PROTOCOL, REGISTER);
    port(list, FOURS + 1);
    lookup(list, Set::Loopback.name(), Some(REGISTER));
    write(list, SOURCE_V6);
}

/// The answer gets `::1` back.
fn loopback_in(list: &mut Body<'_>) {
    not_from_loopback(list);
    of_family(list, Family::V6);
    source(list, Family::V6, 16);
    known(list, &[Expression::equal(&Ipv6Addr::LOCALHOST.octets())]);
    expression(list, "immediate", |data| {
        data.be32(IMMEDIATE_DREG, REGISTER);
        data.nest(IMMEDIATE_DATA, |nest| nest.bytes(DATA_VALUE, &Ipv6Addr::LOCALHOST.octets()));
    });
    write(list, DESTINATION_V6);
}

/// `iif != "lo"`
fn not_from_loopback(list: &mut Body<'_>) {
    meta(list, META_INTERFACE, REGISTER);
    let loopback = crate::codec::pod::LOOPBACK.to_ne_bytes().to_vec();
    known(list, &[Expression::Compare { equal: false, value: loopback }]);
}

/// Writes the IPv6 address in the first register into the packet, and puts the checksum right that covers it.
fn write(list: &mut Body<'_>, offset: u32) {
    expression(list, "payload", |data| {
        data.be32(PAYLOAD_SREG, REGISTER);
        data.be32(PAYLOAD_BASE, NETWORK);
        data.be32(PAYLOAD_OFFSET, offset);
        data.be32(PAYLOAD_LEN, 16);
        data.be32(PAYLOAD_CHECKSUM_TYPE, 0);
        data.be32(PAYLOAD_CHECKSUM_OFFSET, 0);
        data.be32(PAYLOAD_CHECKSUM_FLAGS, PSEUDO_HEADER);
    });
}

fn known(list: &mut Body<'_>, expressions: &[Expression]) {
    for expression in expressions {
        list.nest(LIST_ELEMENT, |element| expression.encode(element));
    }
}

fn expression(list: &mut Body<'_>, name: &str, data: impl FnOnce(&mut Body<'_>)) {
    list.nest(LIST_ELEMENT, |element| {
        element.text(EXPRESSION_NAME, name);
        element.nest(EXPRESSION_DATA, data);
    });
}

/// `meta nfproto ipv4`: a table of family `inet` sees both.
fn of_family(list: &mut Body<'_>, family: Family) {
    let number = match family {
        Family::V4 => IPV4,
        Family::V6 => IPV6,
    };
    known(list, &[Expression::Meta(MetaKey::NfProto), Expression::equal(&[number])]);
}

/// Octets of the source address, as many as asked for.
fn source(list: &mut Body<'_>, family: Family, length: usize) {
    let offset = match family {
        Family::V4 => 12,
        Family::V6 => SOURCE_V6,
    };
    known(list, &[Expression::Payload { base: Base::Network, offset, length: length as u32 }]);
}

/// `ip daddr . meta l4proto . th dport`, from the first register on.
fn endpoint(list: &mut Body<'_>, family: Family) {
    let offset = match family {
        Family::V4 => 16,
        Family::V6 => DESTINATION_V6,
    };
    known(list, &[Expression::Payload { base: Base::Network, offset, length: length(family) as u32 }]);
    let behind = behind_address(family);
    meta(list, META_PROTOCOL, behind);
    port(list, behind + 1);
}

/// The register behind an address in the first.
fn behind_address(family: Family) -> u32 {
    FOURS + length(family) as u32 / 4
}

fn meta(list: &mut Body<'_>, key: u32, register: u32) {
    expression(list, "meta", |data| {
        data.be32(META_DREG, register);
        data.be32(META_KEY, key);
    });
}

/// `th dport`
fn port(list: &mut Body<'_>, register: u32) {
    expression(list, "payload", |data| {
        data.be32(PAYLOAD_DREG, register);
        data.be32(PAYLOAD_BASE, TRANSPORT);
        data.be32(PAYLOAD_OFFSET, 2);
        data.be32(PAYLOAD_LEN, 2);
    });
}

/// Goes on if what is in the first register is in the set, with what it leads to in a register.
fn lookup(list: &mut Body<'_>, set: &str, register: Option<u32>) {
    expression(list, "lookup", |data| {
        data.text(LOOKUP_SET, set);
        data.be32(LOOKUP_SREG, REGISTER);
        if let Some(register) = register {
            data.be32(LOOKUP_DREG, register);
        }
    });
}

/// `dnat ip to` the address in the first register and the port behind it.
fn destination(list: &mut Body<'_>, family: Family) {
    let number = match family {
        Family::V4 => IPV4,
        Family::V6 => IPV6,
    };
    expression(list, "nat", |data| {
        data.be32(NAT_TYPE, TO_DESTINATION);
        data.be32(NAT_FAMILY, u32::from(number));
        data.be32(NAT_ADDRESS, REGISTER);
        data.be32(NAT_PORT, behind_address(family));
    });
}

fn goto(list: &mut Body<'_>, chain: &str) {
    expression(list, "immediate", |data| {
        data.be32(IMMEDIATE_DREG, VERDICT_REGISTER);
        data.nest(IMMEDIATE_DATA, |nest| {
            nest.nest(DATA_VERDICT, |verdict| {
                verdict.be32(VERDICT_CODE, GOTO.cast_unsigned());
                verdict.text(VERDICT_CHAIN, chain);
            });
        });
    });
}
