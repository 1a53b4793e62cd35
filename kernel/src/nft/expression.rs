//! [`Expression`]: the handful of nf_tables expressions that our rules are made of, and their bytes.
//!
//! nf_tables runs a rule as a little program on registers. All of ours use register 1 alone, as `nft` does. What the
//! decoder does not know exactly (another expression, another register, one more option) is `None`, never approximated.
//! Numbers are from linux/netfilter/nf_tables.h; integers in nf_tables attributes are in network byte order.

use super::uapi::{
    CMP_DATA, CMP_OP, DATA_VALUE, DATA_VERDICT, EQUAL, EXPRESSION_DATA, EXPRESSION_NAME, IMMEDIATE_DATA,
    IMMEDIATE_DREG, META_DREG, META_KEY, NAT_ADDRESS, NAT_FAMILY, NAT_TYPE, PAYLOAD_BASE, PAYLOAD_DREG, PAYLOAD_LEN,
    PAYLOAD_OFFSET, REGISTER, VERDICT_CODE, VERDICT_REGISTER,
};
use crate::netlink::{Attribute, Attributes, Body};

/// One expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expression {
    /// Load something known about the packet. `meta load … => reg 1`
    Meta(MetaKey),
    /// Load octets of the packet. `payload load 4b @ network header + 12 => reg 1`
    Payload {
        /// Counted from here,
        base: Base,
        /// this many octets on,
        offset: u32,
        /// this many octets.
        length: u32,
    },
    /// Keep some bits of the register. `bitwise reg 1 = ( reg 1 & MASK ) ^ 0`
    Mask(Vec<u8>),
    /// Go on only if the register is this, or is not. `cmp eq reg 1 VALUE`
    Compare {
        /// Whether it should be.
        equal: bool,
        /// The value.
        value: Vec<u8>,
    },
    /// Load the kind of the packet's destination address, by a route lookup. `fib daddr type => reg 1`
    FibDestinationType,
    /// End: the verdict's code. `immediate reg 0 accept`
    Verdict(i32),
    /// `masq flags …`
    Masquerade {
        /// `NF_NAT_RANGE_…`
        flags: u32,
    },
    /// Put octets into the register. `immediate reg 1 VALUE`
    Load(Vec<u8>),
    /// `nat snat ip addr_min reg 1 flags …`
    SourceNat {
        /// `NFPROTO_…`: of which family the address in the register is.
        family: u8,
        /// `NF_NAT_RANGE_…`, without the one that says that there is an address.
        flags: u32,
    },
    /// `notrack`
    NoTrack,
    /// Load the largest TCP segment that the packet's route and the way back take, a 16-bit number. `rt load tcpmss => reg 1`
    RouteSegment,
    /// Put a 16-bit number into network byte order. `byteorder reg 1 = hton(reg 1, 2, 2)`
    NetworkOrder,
    /// Write the register into the segment size that a SYN announces, if that is larger (RFC 9293 section 3.7.1).
    /// `exthdr write tcpopt reg 1 => 2b @ 2 + 2`
    SegmentOption,
}

/// What [`Expression::Meta`] loads (`enum nft_meta_keys`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MetaKey {
    /// The packet mark, a 32-bit number in host byte order.
    Mark,
    /// The packet's family, one octet.
    NfProto,
    /// The transport protocol, one octet.
    L4Proto,
}

/// Where [`Expression::Payload`] counts from (`enum nft_payload_bases`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// The Ethernet header.
    Link,
    /// The IP header.
    Network,
    /// The UDP header.
    Transport,
}

const META_KEYS: [(MetaKey, u32); 3] = [(MetaKey::Mark, 3), (MetaKey::NfProto, 15), (MetaKey::L4Proto, 16)];
const BASES: [(Base, u32); 3] = [(Base::Link, 0), (Base::Network, 1), (Base::Transport, 2)];

/// `NFT_FIB_RESULT_ADDRTYPE`, `NFTA_FIB_F_DADDR`.
const FIB_ADDRESS_TYPE: u32 = 3;
const FIB_DESTINATION: u32 = 1 << 1;
/// `NFT_CMP_NEQ`
const NOT_EQUAL: u32 = 1;

/// `NFTA_BITWISE_…`
const BITWISE_SREG: u16 = 1;
const BITWISE_DREG: u16 = 2;
const BITWISE_LEN: u16 = 3;
const BITWISE_MASK: u16 = 4;
const BITWISE_XOR: u16 = 5;
const BITWISE_OP: u16 = 6;
/// `NFTA_CMP_…`
const CMP_SREG: u16 = 1;
/// `NFTA_FIB_…`
const FIB_DREG: u16 = 1;
const FIB_RESULT: u16 = 2;
const FIB_FLAGS: u16 = 3;
/// `NFTA_MASQ_FLAGS`
const MASQ_FLAGS: u16 = 1;
/// `NFTA_NAT_…`
const NAT_LAST_ADDRESS: u16 = 4;
const NAT_FLAGS: u16 = 7;
/// `NFT_NAT_SNAT`, and `NF_NAT_RANGE_MAP_IPS`, which the kernel adds where there is an address.
const TO_SOURCE: u32 = 0;
const MAP_ADDRESS: u32 = 1;
/// `NFTA_RT_…`, `NFT_RT_TCPMSS`
const RT_DREG: u16 = 1;
const RT_KEY: u16 = 2;
const RT_SEGMENT: u32 = 3;
/// `NFTA_BYTEORDER_SREG`, `_DREG`, `_OP`, `_LEN`, `_SIZE`; `NFT_BYTEORDER_HTON` of two octets by two
const TO_NETWORK: [(u16, u32); 5] = [(1, REGISTER), (2, REGISTER), (3, 1), (4, 2), (5, 2)];
/// `NFTA_EXTHDR_TYPE`: `TCPOPT_MAXSEG`; then `NFTA_EXTHDR_OFFSET`, `_LEN`, `_OP` (`NFT_EXTHDR_OP_TCPOPT`), `_SREG`
const OPTION_KIND: u16 = 2;
const SEGMENT_KIND: u8 = 2;
const TO_OPTION: [(u16, u32); 4] = [(3, 2), (4, 2), (6, 1), (7, REGISTER)];

impl Expression {
    /// The register must be this.
    pub(super) fn equal(value: &[u8]) -> Expression {
        Expression::Compare { equal: true, value: value.to_vec() }
    }

    /// Writes the inside of one list element: name and data.
    pub(super) fn encode(&self, body: &mut Body<'_>) {
        body.text(EXPRESSION_NAME, self.name());
        body.nest(EXPRESSION_DATA, |data| match self {
            Expression::Meta(key) => {
                data.be32(META_DREG, REGISTER);
                data.be32(META_KEY, number(&META_KEYS, *key));
            }
            Expression::Payload { base, offset, length } => {
                data.be32(PAYLOAD_DREG, REGISTER);
                data.be32(PAYLOAD_BASE, number(&BASES, *base));
                data.be32(PAYLOAD_OFFSET, *offset);
                data.be32(PAYLOAD_LEN, *length);
            }
            Expression::Mask(mask) => {
                data.be32(BITWISE_SREG, REGISTER);
                data.be32(BITWISE_DREG, REGISTER);
                data.be32(BITWISE_LEN, u32::try_from(mask.len()).unwrap_or(u32::MAX));
                data.nest(BITWISE_MASK, |nest| nest.bytes(DATA_VALUE, mask));
                data.nest(BITWISE_XOR, |nest| nest.bytes(DATA_VALUE, &vec![0; mask.len()]));
            }
            Expression::Compare { equal, value } => {
                data.be32(CMP_SREG, REGISTER);
                data.be32(CMP_OP, if *equal { EQUAL } else { NOT_EQUAL });
                data.nest(CMP_DATA, |nest| nest.bytes(DATA_VALUE, value));
            }
            Expression::FibDestinationType => {
                data.be32(FIB_DREG, REGISTER);
                data.be32(FIB_RESULT, FIB_ADDRESS_TYPE);
                data.be32(FIB_FLAGS, FIB_DESTINATION);
            }
            Expression::Verdict(code) => {
                data.be32(IMMEDIATE_DREG, VERDICT_REGISTER);
                data.nest(IMMEDIATE_DATA, |nest| {
                    nest.nest(DATA_VERDICT, |verdict| verdict.be32(VERDICT_CODE, code.cast_unsigned()));
                });
            }
            Expression::RouteSegment => {
                data.be32(RT_DREG, REGISTER);
                data.be32(RT_KEY, RT_SEGMENT);
            }
            Expression::NetworkOrder => TO_NETWORK.iter().for_each(|(kind, value)| data.be32(*kind, *value)),
            Expression::SegmentOption => {
                data.u8(OPTION_KIND, SEGMENT_KIND);
                TO_OPTION.iter().for_each(|(kind, value)| data.be32(*kind, *value));
            }
            Expression::Masquerade { flags: 0 } | Expression::NoTrack => {}
            Expression::Masquerade { flags } => data.be32(MASQ_FLAGS, *flags),
            Expression::Load(value) => {
                data.be32(IMMEDIATE_DREG, REGISTER);
                data.nest(IMMEDIATE_DATA, |nest| nest.bytes(DATA_VALUE, value));
            }
            Expression::SourceNat { family, flags } => {
                data.be32(NAT_TYPE, TO_SOURCE);
                data.be32(NAT_FAMILY, u32::from(*family));
                data.be32(NAT_ADDRESS, REGISTER);
                if *flags != 0 {
                    data.be32(NAT_FLAGS, *flags);
                }
            }
        });
    }

    /// Reads the inside of one list element.
    pub(super) fn decode(element: Attributes<'_>) -> Option<Expression> {
        let data = Fields(element.get(EXPRESSION_DATA).map(|data| data.nested()).unwrap_or_default());
        match element.get(EXPRESSION_NAME)?.text()? {
            "meta" => {
                data.has(&[(META_DREG, REGISTER)])?;
                Some(Expression::Meta(named(&META_KEYS, data.number(META_KEY)?)?))
            }
            "payload" => {
                data.has(&[(PAYLOAD_DREG, REGISTER)])?;
                let base = named(&BASES, data.number(PAYLOAD_BASE)?)?;
                let (offset, length) = (data.number(PAYLOAD_OFFSET)?, data.number(PAYLOAD_LEN)?);
                Some(Expression::Payload { base, offset, length })
            }
            "bitwise" => {
                data.has(&[(BITWISE_SREG, REGISTER), (BITWISE_DREG, REGISTER)])?;
                // Kernels before 5.6 have no other operation than mask-and-xor, and no attribute for it.
                let other = data.0.get(BITWISE_OP).is_some_and(|operation| operation.be32() != Some(0));
                let plain = data.value(BITWISE_XOR)?.iter().all(|octet| *octet == 0);
                if other || !plain { None } else { Some(Expression::Mask(data.value(BITWISE_MASK)?.to_vec())) }
            }
            "cmp" => {
                data.has(&[(CMP_SREG, REGISTER)])?;
                let equal = match data.number(CMP_OP)? {
                    EQUAL => true,
                    NOT_EQUAL => false,
                    _ => return None,
                };
                Some(Expression::Compare { equal, value: data.value(CMP_DATA)?.to_vec() })
            }
            "fib" => {
                data.has(&[(FIB_DREG, REGISTER), (FIB_RESULT, FIB_ADDRESS_TYPE), (FIB_FLAGS, FIB_DESTINATION)])?;
                Some(Expression::FibDestinationType)
            }
            "immediate" if data.number(IMMEDIATE_DREG) == Some(REGISTER) => {
                Some(Expression::Load(data.value(IMMEDIATE_DATA)?.to_vec()))
            }
            "nat" => {
                data.has(&[(NAT_TYPE, TO_SOURCE), (NAT_ADDRESS, REGISTER)])?;
                let family = u8::try_from(data.number(NAT_FAMILY)?).ok()?;
                let flags = data.number(NAT_FLAGS).unwrap_or(0) & !MAP_ADDRESS;
                // A range of addresses, or one of ports, is none of ours.
                let known = [NAT_TYPE, NAT_FAMILY, NAT_ADDRESS, NAT_LAST_ADDRESS, NAT_FLAGS];
                let alone = data.0.into_iter().all(|attribute| known.contains(&attribute.kind));
                let single = data.number(NAT_LAST_ADDRESS).is_none_or(|last| last == REGISTER);
                (alone && single).then_some(Expression::SourceNat { family, flags })
            }
            "immediate" => {
                data.has(&[(IMMEDIATE_DREG, VERDICT_REGISTER)])?;
                let verdict = data.0.get(IMMEDIATE_DATA)?.nested().get(DATA_VERDICT)?;
                Some(Expression::Verdict(verdict.nested().get(VERDICT_CODE)?.be32()?.cast_signed()))
            }
            "masq" => {
                let flags = data.0.get(MASQ_FLAGS).map_or(Some(0), |flags| flags.be32())?;
                // Anything besides the flags is a port range.
                let alone = data.0.into_iter().all(|attribute| attribute.kind == MASQ_FLAGS);
                alone.then_some(Expression::Masquerade { flags })
            }
            "notrack" => Some(Expression::NoTrack),
            name => Expression::decode_segment(name, &data),
        }
    }

    /// Those that are about segment sizes.
    fn decode_segment(name: &str, data: &Fields<'_>) -> Option<Expression> {
        match name {
            "rt" => {
                data.has(&[(RT_DREG, REGISTER), (RT_KEY, RT_SEGMENT)])?;
                Some(Expression::RouteSegment)
            }
            "byteorder" => {
                data.has(&TO_NETWORK)?;
                Some(Expression::NetworkOrder)
            }
            "exthdr" => {
                data.has(&TO_OPTION)?;
                (data.0.get(OPTION_KIND)?.u8() == Some(SEGMENT_KIND)).then_some(Expression::SegmentOption)
            }
            _ => None,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Expression::Meta(_) => "meta",
            Expression::Payload { .. } => "payload",
            Expression::Mask(_) => "bitwise",
            Expression::Compare { .. } => "cmp",
            Expression::FibDestinationType => "fib",
            Expression::Verdict(_) => "immediate",
            Expression::Masquerade { .. } => "masq",
            Expression::Load(_) => "immediate",
            Expression::SourceNat { .. } => "nat",
            Expression::NoTrack => "notrack",
            Expression::RouteSegment => "rt",
            Expression::NetworkOrder => "byteorder",
            Expression::SegmentOption => "exthdr",
        }
    }
}

/// An expression's data.
struct Fields<'a>(Attributes<'a>);

impl<'a> Fields<'a> {
    fn number(&self, kind: u16) -> Option<u32> {
        self.0.get(kind).as_ref().and_then(Attribute::be32)
    }

    /// Whether all these numbers are there.
    fn has(&self, numbers: &[(u16, u32)]) -> Option<()> {
        numbers.iter().all(|(kind, number)| self.number(*kind) == Some(*number)).then_some(())
    }

    /// A register's worth of octets.
    fn value(&self, kind: u16) -> Option<&'a [u8]> {
        Some(self.0.get(kind)?.nested().get(DATA_VALUE)?.bytes)
    }
}

fn number<T: Copy + PartialEq>(table: &[(T, u32)], value: T) -> u32 {
    table.iter().find(|(known, _)| *known == value).map_or(u32::MAX, |(_, number)| *number)
}

fn named<T: Copy>(table: &[(T, u32)], number: u32) -> Option<T> {
    table.iter().find(|(_, known)| *known == number).map(|(value, _)| *value)
}

#[cfg(test)]
mod tests;
