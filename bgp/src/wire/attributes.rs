//! [`Attributes`]: what an UPDATE says of its routes, decoded; and the canonical bytes in which they are kept and sent.
//!
//! Next hops and the lists of routes are beside this, not in it: two UPDATEs that differ in them alone have equal attributes.

use std::fmt;
use std::net::Ipv4Addr;

use super::as_path::{AS_TRANS, AsPath, narrow};
use super::attribute::{self, OPTIONAL, PARTIAL, TRANSITIVE, kind};
use super::community::{Community, ExtendedCommunity, LargeCommunity};
use super::notification::update;
use super::reader::{Reader, items};
use super::terms::AsWidth;

/// How a route came into BGP (RFC 4271 section 5.1.1). Smaller is preferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Origin {
    /// From inside of the AS.
    Igp,
    /// From EGP, long ago.
    Egp,
    /// By other ways.
    #[default]
    Incomplete,
}

/// A text that is no origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an origin is igp, egp or incomplete")]
pub struct NotAnOrigin;

/// Who made one route of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Aggregator {
    /// Its AS.
    pub asn: u32,
    /// Its address.
    pub address: Ipv4Addr,
}

/// An attribute that is carried and not understood.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Opaque {
    /// The type.
    pub attribute: u8,
    /// The value.
    pub value: Box<[u8]>,
}

/// What is said of routes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Attributes {
    /// ORIGIN.
    pub origin: Origin,
    /// AS_PATH, always of four octets here.
    pub as_path: AsPath,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// LOCAL_PREF.
    pub local_pref: Option<u32>,
    /// Whether ATOMIC_AGGREGATE is there.
    pub atomic_aggregate: bool,
    /// AGGREGATOR.
    pub aggregator: Option<Aggregator>,
    /// COMMUNITIES, in their order.
    pub communities: Vec<Community>,
    /// ORIGINATOR_ID: who brought the route into our AS.
    pub originator: Option<Ipv4Addr>,
    /// CLUSTER_LIST: the route reflectors passed, the nearest first.
    pub clusters: Vec<Ipv4Addr>,
    /// EXTENDED_COMMUNITIES.
    pub extended: Vec<ExtendedCommunity>,
    /// IPv6 address specific extended communities, as they came.
    pub extended_v6: Vec<[u8; 20]>,
    /// LARGE_COMMUNITIES.
    pub large: Vec<LargeCommunity>,
    /// ONLY_TO_CUSTOMER: the AS that said so.
    pub only_to_customer: Option<u32>,
    /// PMSI_TUNNEL: flags, type, label and endpoint.
    pub pmsi_tunnel: Option<Box<[u8]>>,
    /// Optional transitive ones that we do not understand, in their order.
    pub opaque: Vec<Opaque>,
    /// Types (below 64) that came with the Partial bit, which then stays (RFC 4271 section 5).
    pub partial: u64,
}

/// The value of an attribute is not right: the subcode of UPDATE Message Error for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wrong(pub u8);

fn length<T>(value: Option<T>) -> Result<T, Wrong> {
    value.ok_or(Wrong(update::LENGTH))
}

fn exactly<const N: usize>(value: &[u8]) -> Result<[u8; N], Wrong> {
    length(value.try_into().ok())
}

impl Attributes {
    /// Takes one attribute of a type that [`attribute::RULES`] knows and that lives here.
    pub(super) fn set(&mut self, attribute: u8, value: &[u8], width: AsWidth) -> Result<(), Wrong> {
        match attribute {
            kind::ORIGIN => {
                self.origin = match exactly(value)? {
                    [0] => Origin::Igp,
                    [1] => Origin::Egp,
                    [2] => Origin::Incomplete,
                    _ => return Err(Wrong(update::INVALID_ORIGIN)),
                }
            }
            kind::AS_PATH => {
                self.as_path = AsPath::decode(value, width).map_err(|_| Wrong(update::MALFORMED_AS_PATH))?;
            }
            kind::MULTI_EXIT_DISC => self.med = Some(u32::from_be_bytes(exactly(value)?)),
            kind::LOCAL_PREF => self.local_pref = Some(u32::from_be_bytes(exactly(value)?)),
            kind::ATOMIC_AGGREGATE => {
                exactly::<0>(value)?;
                self.atomic_aggregate = true;
            }
            kind::AGGREGATOR => self.aggregator = Some(aggregator(value, width)?),
            kind::COMMUNITIES => {
                self.communities = length(items(value))?.map(|four| Community(u32::from_be_bytes(four))).collect();
            }
            kind::ORIGINATOR_ID => self.originator = Some(exactly::<4>(value)?.into()),
            kind::CLUSTER_LIST => self.clusters = length(items::<4>(value))?.map(Ipv4Addr::from).collect(),
            kind::EXTENDED_COMMUNITIES => {
                self.extended = length(items(value))?.map(ExtendedCommunity).collect();
            }
            kind::IPV6_EXTENDED_COMMUNITIES => self.extended_v6 = length(items(value))?.collect(),
            kind::LARGE_COMMUNITIES => {
                let [administrator, first, second] = [0, 4, 8].map(|at| move |bytes: &[u8; 12]| word(bytes, at));
                let large = |bytes: [u8; 12]| LargeCommunity {
                    administrator: administrator(&bytes),
                    data: [first(&bytes), second(&bytes)],
                };
                self.large = length(items(value))?.map(large).collect();
            }
            kind::ONLY_TO_CUSTOMER => self.only_to_customer = Some(u32::from_be_bytes(exactly(value)?)),
            kind::PMSI_TUNNEL => {
                length(Some(()).filter(|()| value.len() >= 5))?;
                self.pmsi_tunnel = Some(value.into());
            }
            kind::TUNNEL_ENCAPSULATION => {
                tlvs(value, |reader| reader.u16())?;
                self.opaque.push(Opaque { attribute, value: value.into() });
            }
            kind::PREFIX_SID => {
                tlvs(value, |reader| reader.u8().map(u16::from))?;
                self.opaque.push(Opaque { attribute, value: value.into() });
            }
            _ => self.opaque.push(Opaque { attribute, value: value.into() }),
        }
        Ok(())
    }

    /// Appends them all in the order of their types. What an OLD speaker cannot be told in AS_PATH and AGGREGATOR follows in
    /// AS4_PATH and AS4_AGGREGATOR (RFC 6793 section 4.2.2). Decoding this yields equal attributes.
    pub fn encode(&self, width: AsWidth, out: &mut Vec<u8>) {
        self.encode_head(width, out);
        self.encode_tail(width, out);
    }

    /// The attributes that come before NEXT_HOP: a group's cache has to put one in between.
    pub fn encode_head(&self, width: AsWidth, out: &mut Vec<u8>) {
        let origin = match self.origin {
            Origin::Igp => 0,
            Origin::Egp => 1,
            Origin::Incomplete => 2,
        };
        attribute::write(TRANSITIVE, kind::ORIGIN, out, |out| out.push(origin));
        attribute::write(TRANSITIVE, kind::AS_PATH, out, |out| self.as_path.encode(width, out));
    }

    /// The attributes that come after NEXT_HOP.
    pub fn encode_tail(&self, width: AsWidth, out: &mut Vec<u8>) {
        self.encode_plain(out);
        if let Some(Aggregator { asn, address }) = self.aggregator {
            self.write(kind::AGGREGATOR, out, |out| {
                match width {
                    AsWidth::Four => out.extend_from_slice(&asn.to_be_bytes()),
                    AsWidth::Two => out.extend_from_slice(&narrow(asn).to_be_bytes()),
                }
                out.extend_from_slice(&address.octets());
            });
        }
        self.encode_communities(out);
        if width == AsWidth::Two {
            self.encode_for_old_speakers(out);
        }
        if let Some(tunnel) = &self.pmsi_tunnel {
            self.write(kind::PMSI_TUNNEL, out, |out| out.extend_from_slice(tunnel));
        }
        if let Some(asn) = self.only_to_customer {
            self.write(kind::ONLY_TO_CUSTOMER, out, |out| out.extend_from_slice(&asn.to_be_bytes()));
        }
        for Opaque { attribute, value } in &self.opaque {
            self.write(*attribute, out, |out| out.extend_from_slice(value));
        }
    }

    fn encode_plain(&self, out: &mut Vec<u8>) {
        for (attribute, flags, value) in
            [(kind::MULTI_EXIT_DISC, OPTIONAL, self.med), (kind::LOCAL_PREF, TRANSITIVE, self.local_pref)]
        {
            if let Some(value) = value {
                attribute::write(flags, attribute, out, |out| out.extend_from_slice(&value.to_be_bytes()));
            }
        }
        if self.atomic_aggregate {
            attribute::write(TRANSITIVE, kind::ATOMIC_AGGREGATE, out, |_| ());
        }
    }

    fn encode_communities(&self, out: &mut Vec<u8>) {
        if !self.communities.is_empty() {
            self.write(kind::COMMUNITIES, out, |out| {
                out.extend(self.communities.iter().flat_map(|community| community.0.to_be_bytes()));
            });
        }
        if let Some(originator) = self.originator {
            attribute::write(OPTIONAL, kind::ORIGINATOR_ID, out, |out| out.extend_from_slice(&originator.octets()));
        }
        if !self.clusters.is_empty() {
            attribute::write(OPTIONAL, kind::CLUSTER_LIST, out, |out| {
                out.extend(self.clusters.iter().flat_map(|cluster| cluster.octets()));
            });
        }
        if !self.extended.is_empty() {
            self.write(kind::EXTENDED_COMMUNITIES, out, |out| {
                out.extend(self.extended.iter().flat_map(|community| community.0));
            });
        }
        if !self.extended_v6.is_empty() {
            self.write(kind::IPV6_EXTENDED_COMMUNITIES, out, |out| out.extend(self.extended_v6.iter().flatten()));
        }
        if !self.large.is_empty() {
            self.write(kind::LARGE_COMMUNITIES, out, |out| {
                for LargeCommunity { administrator, data: [first, second] } in &self.large {
                    out.extend([administrator, first, second].into_iter().flat_map(|word| word.to_be_bytes()));
                }
            });
        }
    }

    fn encode_for_old_speakers(&self, out: &mut Vec<u8>) {
        if self.as_path.numbers().any(|number| number > u16::MAX.into()) {
            attribute::write(OPTIONAL | TRANSITIVE, kind::AS4_PATH, out, |out| {
                self.as_path.encode(AsWidth::Four, out);
            });
        }
        if let Some(Aggregator { asn, address }) = self.aggregator.filter(|it| it.asn > u16::MAX.into()) {
            attribute::write(OPTIONAL | TRANSITIVE, kind::AS4_AGGREGATOR, out, |out| {
                out.extend_from_slice(&asn.to_be_bytes());
                out.extend_from_slice(&address.octets());
            });
        }
    }

    /// One that is optional and transitive, Partial when it came so.
    fn write(&self, attribute: u8, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        let bit = 1_u64.checked_shl(attribute.into()).unwrap_or(0);
        // A type that nobody here knows was not known here: Partial (RFC 4271 section 5).
        let unknown = attribute::rule_of(attribute).is_none();
        let partial = if unknown || self.partial & bit != 0 { PARTIAL } else { 0 };
        attribute::write(OPTIONAL | TRANSITIVE | partial, attribute, out, write);
    }

    /// Puts what an OLD peer said in AS4_PATH and AS4_AGGREGATOR in its place (RFC 6793 section 4.2.3). Neither is believed when
    /// somebody who did not know of them aggregated since.
    pub(super) fn merge(&mut self, as4_path: Option<AsPath>, as4_aggregator: Option<Aggregator>) {
        let aggregated_since = self.aggregator.is_some_and(|it| it.asn != AS_TRANS.into());
        if aggregated_since && as4_aggregator.is_some() {
            return;
        }
        if self.aggregator.is_some() && as4_aggregator.is_some() {
            self.aggregator = as4_aggregator;
        }
        if let Some(as4_path) = as4_path {
            self.as_path = std::mem::take(&mut self.as_path).with_as4_path(as4_path);
        }
    }
}

/// Reads AGGREGATOR or, four octets wide, AS4_AGGREGATOR. AS 0 aggregates nothing (RFC 7607 section 2).
pub(super) fn aggregator(value: &[u8], width: AsWidth) -> Result<Aggregator, Wrong> {
    let mut reader = Reader::new(value);
    let asn = match width {
        AsWidth::Two => reader.u16().map(u32::from),
        AsWidth::Four => reader.u32(),
    };
    let (asn, address) = (length(asn.ok())?, length(reader.array::<4>().ok())?);
    match (asn, reader.is_empty()) {
        (0, _) => Err(Wrong(update::OPTIONAL_ATTRIBUTE)),
        (asn, true) => Ok(Aggregator { asn, address: address.into() }),
        _ => Err(Wrong(update::LENGTH)),
    }
}

/// Whether a value is a row of types and lengths of two octets, each with its value, to the end.
fn tlvs<'a>(value: &'a [u8], kind: impl Fn(&mut Reader<'a>) -> Result<u16, super::reader::Short>) -> Result<(), Wrong> {
    let mut reader = Reader::new(value);
    let wrong = |_| Wrong(update::OPTIONAL_ATTRIBUTE);
    if reader.is_empty() {
        return Err(Wrong(update::LENGTH));
    }
    while !reader.is_empty() {
        kind(&mut reader).map_err(wrong)?;
        reader.part_u16().map_err(wrong)?;
    }
    Ok(())
}

fn word(bytes: &[u8; 12], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |four| u32::from_be_bytes(*four))
}

impl std::str::FromStr for Origin {
    type Err = NotAnOrigin;

    /// `igp`, `egp`, `incomplete`.
    fn from_str(text: &str) -> Result<Origin, NotAnOrigin> {
        let known = [Origin::Igp, Origin::Egp, Origin::Incomplete];
        known.into_iter().find(|origin| origin.to_string() == text).ok_or(NotAnOrigin)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Origin::Igp => "igp",
            Origin::Egp => "egp",
            Origin::Incomplete => "incomplete",
        })
    }
}
