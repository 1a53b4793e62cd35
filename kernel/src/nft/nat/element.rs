//! [`Element`]: one entry of one of the table's maps and sets, as bytes and back, and asking for them.
//!
//! A key of several parts is a concatenation: each part begins at a multiple of four octets (a register's length).

use std::net::{IpAddr, Ipv6Addr};

use ipam::Family;
use ipnet::IpNet;

use super::program::{self, Goto};
use super::{Mapping, Protocol, Sources, TABLE};
use crate::error::{Error, Result};
use crate::netlink::{Attributes, Body, Message, Request, Socket};
use crate::nft::uapi::{DATA_VALUE, DATA_VERDICT, VERDICT_CHAIN, VERDICT_CODE};
use crate::nft::{GENERIC, Kind, LIST_ELEMENT};
use crate::tag::Tag;

/// `NFTA_SET_ELEM_LIST_…`
const LIST_TABLE: u16 = 1;
const LIST_SET: u16 = 2;
const LIST_ELEMENTS: u16 = 3;
/// `NFTA_SET_ELEM_…`
const KEY: u16 = 1;
const DATA: u16 = 2;
const FLAGS: u16 = 3;
const USERDATA: u16 = 6;
/// `NFT_SET_ELEM_INTERVAL_END`
const INTERVAL_END: u32 = 1;

/// The table's maps and sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::nft) enum Set {
    /// protocol . port → pod . port: host ports on all addresses.
    Ports(Family),
    /// address . protocol . port → pod . port: host ports on one address.
    Addressed(Family),
    /// pod . protocol . port → which clients are masqueraded.
    Flows(Family),
    /// The networks of pods that have host ports.
    Near(Family),
    /// protocol . port → the address under which the node asks itself by `::1`.
    Loopback,
    /// pod → the chain that lets it leave under the node's address.
    Leaving(Family),
}

impl Set {
    /// Those whose elements have owners.
    pub(super) fn owned() -> impl Iterator<Item = Set> {
        let of = |family| [Set::Ports(family), Set::Addressed(family), Set::Flows(family), Set::Leaving(family)];
        Family::ALL.into_iter().flat_map(of).chain([Set::Loopback])
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Set::Ports(Family::V4) => "ports4",
            Set::Ports(Family::V6) => "ports6",
            Set::Addressed(Family::V4) => "addressed4",
            Set::Addressed(Family::V6) => "addressed6",
            Set::Flows(Family::V4) => "flows4",
            Set::Flows(Family::V6) => "flows6",
            Set::Near(Family::V4) => "near4",
            Set::Near(Family::V6) => "near6",
            Set::Loopback => "loopback6",
            Set::Leaving(Family::V4) => "leaving4",
            Set::Leaving(Family::V6) => "leaving6",
        }
    }
}

/// What a key leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::nft) enum Data {
    Nothing,
    Value(Vec<u8>),
    Verdict(Goto),
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::nft) struct Element {
    pub(in crate::nft) set: Set,
    pub(super) key: Vec<u8>,
    pub(super) data: Data,
    /// Its comment: whose it is.
    pub(super) tag: String,
}

impl Element {
    /// A host port.
    pub(super) fn mapping(mapping: &Mapping, tag: &Tag) -> Element {
        let family = mapping.family();
        let (set, mut key) = match mapping.host {
            Some(host) => (Set::Addressed(family), octets(host)),
            None => (Set::Ports(family), Vec::new()),
        };
        key.extend(port(mapping.protocol, mapping.host_port));
        let mut data = octets(mapping.pod);
        data.extend(word(mapping.pod_port));
        Element { set, key, data: Data::Value(data), tag: tag.as_str().to_owned() }
    }

    /// Which of a host port's clients are masqueraded.
    pub(super) fn flow(mapping: &Mapping, sources: Sources, tag: &Tag) -> Element {
        let mut key = octets(mapping.pod);
        key.extend(port(mapping.protocol, mapping.pod_port));
        let verdict = match sources {
            Sources::Near => Goto::Chain(program::NEAR.to_owned()),
            Sources::All => Goto::Chain(program::ALL.to_owned()),
            Sources::None => Goto::Accept,
        };
        let tag = tag.as_str().to_owned();
        Element { set: Set::Flows(mapping.family()), key, data: Data::Verdict(verdict), tag }
    }

    /// The address under which the node asks itself for a host port by `::1`.
    pub(super) fn loopback(mapping: &Mapping, address: Ipv6Addr, tag: &Tag) -> Element {
        let key = port(mapping.protocol, mapping.host_port).to_vec();
        let data = Data::Value(address.octets().to_vec());
        Element { set: Set::Loopback, key, data, tag: tag.as_str().to_owned() }
    }

    /// A pod's address that leaves under the node's, through that chain.
    pub(super) fn leaving(address: IpAddr, chain: &str, tag: &Tag) -> Element {
        let data = Data::Verdict(Goto::Chain(chain.to_owned()));
        Element { set: Set::Leaving(Family::of(address)), key: octets(address), data, tag: tag.as_str().to_owned() }
    }

    /// A network. It is nobody's own: its comment is the network itself, since an interval comes back in two halves.
    pub(super) fn near(net: IpNet) -> Element {
        let set = Set::Near(Family::of_net(&net));
        Element { set, key: octets(net.network()), data: Data::Nothing, tag: net.to_string() }
    }

    /// As a network of [`Set::Near`].
    pub(super) fn as_near(&self) -> Option<IpNet> {
        if matches!(self.set, Set::Near(_)) { self.tag.parse().ok() } else { None }
    }

    /// As a host port.
    pub(super) fn as_mapping(&self) -> Option<Mapping> {
        let (host, family, key) = match self.set {
            Set::Ports(family) => (None, family, self.key.as_slice()),
            Set::Addressed(family) => {
                let (host, key) = self.key.split_at_checked(length(family))?;
                (Some(address(host)?), family, key)
            }
            Set::Flows(_) | Set::Near(_) | Set::Loopback | Set::Leaving(_) => return None,
        };
        let Data::Value(data) = &self.data else { return None };
        let (pod, pod_port) = data.split_at_checked(length(family))?;
        let [number, _, _, _, high, low, ..] = key else { return None };
        let protocol = Protocol::ALL.into_iter().find(|protocol| protocol.number() == *number)?;
        let [pod_high, pod_low, ..] = pod_port else { return None };
        Some(Mapping {
            protocol,
            host,
            host_port: u16::from_be_bytes([*high, *low]),
            pod: address(pod)?,
            pod_port: u16::from_be_bytes([*pod_high, *pod_low]),
        })
    }

    /// The pod's address of an entry of [`Set::Flows`].
    pub(super) fn pod(&self) -> Option<IpAddr> {
        match self.set {
            Set::Flows(family) => address(self.key.get(..length(family))?),
            _ => None,
        }
    }

    /// The body of the message that makes or deletes it.
    pub(super) fn encode(&self, body: &mut Body<'_>) {
        body.text(LIST_TABLE, TABLE);
        body.text(LIST_SET, self.set.name());
        body.nest(LIST_ELEMENTS, |list| {
            list.nest(LIST_ELEMENT, |element| {
                element.nest(KEY, |key| key.bytes(DATA_VALUE, &self.key));
                match &self.data {
                    Data::Nothing => {}
                    Data::Value(value) => element.nest(DATA, |data| data.bytes(DATA_VALUE, value)),
                    Data::Verdict(verdict) => element.nest(DATA, |data| {
                        data.nest(DATA_VERDICT, |nest| {
                            nest.be32(VERDICT_CODE, verdict.code().cast_unsigned());
                            if let Goto::Chain(chain) = verdict {
                                nest.text(VERDICT_CHAIN, chain);
                            }
                        });
                    }),
                }
                element.bytes(USERDATA, &super::super::transaction::comment(&self.tag));
            });
            // An interval is two entries: where it begins and where what is not in it begins. One that reaches to the
            // last address has no such place.
            if let Some(end) = self.as_near().and_then(|net| end(&net)) {
                list.nest(LIST_ELEMENT, |element| {
                    element.nest(KEY, |key| key.bytes(DATA_VALUE, &end));
                    element.be32(FLAGS, INTERVAL_END);
                });
            }
        });
    }

    fn read(set: Set, element: Attributes<'_>) -> Option<Element> {
        let flags = element.get(FLAGS).and_then(|flags| flags.be32()).unwrap_or(0);
        if flags & INTERVAL_END != 0 {
            return None;
        }
        let key = element.get(KEY)?.nested().get(DATA_VALUE)?.bytes.to_vec();
        let data = match element.get(DATA).map(|data| data.nested()) {
            None => Data::Nothing,
            Some(data) => match data.get(DATA_VERDICT).map(|verdict| verdict.nested()) {
                Some(verdict) => {
                    let chain = verdict.get(VERDICT_CHAIN).and_then(|chain| chain.text());
                    Data::Verdict(chain.map_or(Goto::Accept, |chain| Goto::Chain(chain.to_owned())))
                }
                None => Data::Value(data.get(DATA_VALUE)?.bytes.to_vec()),
            },
        };
        Some(Element { set, key, data, tag: tag(element).to_owned() })
    }
}

/// One entry by its key; `None` when it, the set or the table is not there. `nft get element inet towpath-pods SET { KEY }`
pub(super) fn get(socket: &mut Socket, set: Set, key: &[u8]) -> Result<Option<Element>> {
    let doing = "looking for an element of the nftables table inet towpath-pods";
    let request = Request { kind: Kind::GetElement.number(), flags: 0, doing };
    let answers = socket.query(&request, |body| {
        body.fixed(&GENERIC);
        write_keys(body, set.name(), [key].into_iter());
    });
    Ok(none_or(answers)?.and_then(|mut answers| {
        answers.find_map(|message| raw(&message).find_map(|element| Element::read(set, element)))
    }))
}

/// All entries whose tag is `wanted`; none when the set or the table is not there. `nft list set inet towpath-pods SET`
pub(super) fn list(socket: &mut Socket, set: Set, wanted: impl Fn(&str) -> bool) -> Result<Vec<Element>> {
    let doing = "listing elements of the nftables table inet towpath-pods";
    let request = Request { kind: Kind::GetElement.number(), flags: 0, doing };
    let answers = socket.dump(&request, |body| {
        body.fixed(&GENERIC);
        body.text(LIST_TABLE, TABLE);
        body.text(LIST_SET, set.name());
    });
    let mut found = Vec::new();
    for message in none_or(answers)?.into_iter().flatten() {
        // There may be thousands, of which one is looked for.
        found.extend(raw(&message).filter(|element| wanted(tag(*element))).filter_map(|e| Element::read(set, e)));
    }
    Ok(found)
}

/// The body of a message about elements of a set that are nothing but keys.
pub(super) fn write_keys<'k>(body: &mut Body<'_>, set: &str, keys: impl Iterator<Item = &'k [u8]>) {
    body.text(LIST_TABLE, TABLE);
    body.text(LIST_SET, set);
    body.nest(LIST_ELEMENTS, |list| {
        for key in keys {
            list.nest(LIST_ELEMENT, |element| element.nest(KEY, |nest| nest.bytes(DATA_VALUE, key)));
        }
    });
}

fn raw<'a>(message: &Message<'a>) -> impl Iterator<Item = Attributes<'a>> + use<'a> {
    let list = message.attributes(GENERIC.len()).get(LIST_ELEMENTS).map(|list| list.nested()).unwrap_or_default();
    list.map(|element| element.nested())
}

/// An entry's comment: type 0, length, text, NUL (see `crate::nft::transaction::comment`).
fn tag(element: Attributes<'_>) -> &str {
    match element.get(USERDATA).map(|data| data.bytes) {
        Some([0, _, text @ ..]) => std::str::from_utf8(text.strip_suffix(&[0]).unwrap_or(text)).unwrap_or_default(),
        _ => "",
    }
}

/// What is not there is no error.
pub(in crate::nft) fn none_or<T>(answer: Result<T>) -> Result<Option<T>> {
    match answer {
        Err(Error::Refused { refusal, .. }) if refusal.errno == libc::ENOENT => Ok(None),
        answer => answer.map(Some),
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    match octets.len() {
        4 => <[u8; 4]>::try_from(octets).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(octets).ok().map(IpAddr::from),
        _ => None,
    }
}

/// Octets of an address.
pub(super) fn length(family: Family) -> usize {
    match family {
        Family::V4 => 4,
        Family::V6 => 16,
    }
}

fn port(protocol: Protocol, port: u16) -> [u8; 8] {
    let [high, low, ..] = word(port);
    [protocol.number(), 0, 0, 0, high, low, 0, 0]
}

fn word(port: u16) -> [u8; 4] {
    let [high, low] = port.to_be_bytes();
    [high, low, 0, 0]
}

/// The first address behind a network.
fn end(net: &IpNet) -> Option<Vec<u8>> {
    Some(match net.broadcast() {
        IpAddr::V4(last) => u32::from(last).checked_add(1)?.to_be_bytes().to_vec(),
        IpAddr::V6(last) => u128::from(last).checked_add(1)?.to_be_bytes().to_vec(),
    })
}
