//! [`Nat`]: the plugin's nftables table `towpath-pods`: host ports, and pods that leave under the node's address.
//!
//! Owned here: one table for all pods of the node. Its chains are made once and never grow: a host port is one element of a
//! map (`mapping`), a pod that is masqueraded one element of another, each tagged with whose it is. So adding or taking
//! one is a transaction of a few messages, however many there are, and the table is its own record: nothing else remembers
//! what was made. A transaction is bound to the generation of the ruleset in which things were looked at, so that nothing
//! is given twice, and nothing deleted that has become another pod's meanwhile.
//!
//! The chains come after kube-proxy's and the reference plugins' where addresses are chosen (`dstnat + 5`: who was there first
//! wins), and before them where sources are (`srcnat - 5`). The daemon's own table is [`super::Table`].

mod element;
mod fixed;
mod mapping;
mod program;
mod removal;
mod sets;
pub(super) mod transaction;

use std::net::{IpAddr, Ipv6Addr};

use ipam::Family;
use ipnet::IpNet;

pub use mapping::{Mapping, Protocol, Sources};

use super::{GENERIC, Kind, NO_NFTABLES};
use crate::error::{Error, Refusal, Result};
use crate::netlink::{Protocol as Netlink, Request, Socket};
use crate::tag::Tag;
pub(super) use element::none_or;
use element::{Element, Set};
use transaction::{Outcome, Transaction};

/// The table, of family `inet`.
pub const TABLE: &str = "towpath-pods";

/// How often to begin again when somebody's transactions come between the look at the ruleset and ours.
const ATTEMPTS: u32 = 200;
/// `NFTA_GEN_ID`
const GENERATION_ID: u16 = 1;

/// What one pod is to have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Its host ports.
    pub mappings: Vec<Mapping>,
    /// For which clients of its host ports the source is the node's address.
    pub sources: Sources,
    /// The node's address towards the pod, under which it asks itself for host ports by `::1`; `None` when it may not.
    pub loopback: Option<Ipv6Addr>,
    /// The networks that are on one link with it: their hosts would answer each other past the node.
    pub near: Vec<IpNet>,
    /// Its addresses that leave under the node's.
    pub leaving: Vec<IpAddr>,
    /// The networks towards which it keeps its own.
    pub spared: Vec<IpNet>,
}

/// Why a pod did not get what it is to have.
#[derive(Debug, thiserror::Error)]
pub enum NatError {
    /// The kernel refused, or could not be asked.
    #[error(transparent)]
    Netlink(#[from] Error),
    /// A host port is another pod's.
    #[error("host port {mapping} is taken: the pod {holder} has {held}")]
    Taken {
        /// What was asked for.
        mapping: Box<Mapping>,
        /// Container and interface of whose it is.
        holder: String,
        /// What that one has.
        held: Box<Mapping>,
    },
    /// A host port is asked for twice.
    #[error("host port {mapping} is asked for twice: {other} is the other one")]
    Twice {
        /// What was asked for.
        mapping: Box<Mapping>,
        /// What was asked for before.
        other: Box<Mapping>,
    },
}

/// What is missing of what a pod is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The chains that make the elements work.
    Chains,
    /// A host port.
    Mapping(Mapping),
    /// What keeps clients near a host port's pod from being answered past the node.
    Flow(Mapping),
    /// A pod's address that is to leave under the node's.
    Leaving(IpAddr),
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Missing::Chains => write!(f, "the rules of the nftables table inet {TABLE} are missing"),
            Missing::Mapping(mapping) => {
                write!(f, "host port {mapping} is missing from the nftables table inet {TABLE}")
            }
            Missing::Flow(mapping) => {
                write!(f, "masquerade for host port {mapping} is missing from the nftables table inet {TABLE}")
            }
            Missing::Leaving(address) => {
                write!(f, "masquerade for {address} is missing from the nftables table inet {TABLE}")
            }
        }
    }
}

/// The table, whether it exists or not, and a socket to ask about it.
///
/// Closing a socket waits until the kernel has freed what anybody's transaction deleted (RCU, 7 to 25 ms).
#[derive(Debug)]
pub struct Nat {
    socket: Socket,
    /// Whether the table was seen or made.
    seen: bool,
}

impl Nat {
    /// Opens a socket to the nftables of the calling thread's network namespace.
    ///
    /// # Errors
    /// [`Error::Unsupported`] on a kernel without nftables.
    pub fn open() -> Result<Nat> {
        let socket = Socket::open(Netlink::Netfilter).map_err(|error| match error {
            Error::System { doing, source } if source.raw_os_error() == Some(libc::EPROTONOSUPPORT) => {
                let refusal = Refusal { errno: libc::EPROTONOSUPPORT, words: None };
                Error::Unsupported { doing, feature: NO_NFTABLES, refusal }
            }
            other => other,
        })?;
        Ok(Nat { socket, seen: false })
    }

    /// The socket, for other questions to the kernel's packet filter: opening another one would mean closing it.
    pub fn socket(&mut self) -> &mut Socket {
        &mut self.socket
    }

    /// Whether there was a table: somebody may have deleted what closing the socket then waits for.
    pub fn found_table(&self) -> bool {
        self.seen
    }

    /// Gives a pod what it is to have, all of it or nothing. What it has already is left. The table is made, or its chains
    /// put right, when they are not there.
    ///
    /// # Errors
    /// [`NatError::Taken`] when a host port is another pod's, on this address or on all; else what the kernel refused.
    /// Nothing was changed then.
    pub fn add(&mut self, tag: &Tag, wanted: &Wanted) -> std::result::Result<(), NatError> {
        mapping::distinct(&wanted.mappings)?;
        self.seen = true;
        let mut crowded = false;
        for _ in 0..ATTEMPTS {
            let mut transaction = Transaction::begin(&mut self.socket, self::generation)?;
            let whole = program::is_whole(&mut self.socket)?;
            if whole {
                self.refuse_taken(tag, &wanted.mappings)?;
            } else {
                program::write(&mut transaction);
            }
            self.push(&mut transaction, tag, wanted)?;
            self.push_near(&mut transaction, wanted, crowded)?;
            match transaction.commit(&mut self.socket)? {
                Outcome::Done => return Ok(()),
                Outcome::Stale => std::thread::yield_now(),
                // Networks that lie within each other do not fit into one set; a second look sorts that out.
                Outcome::Refused { near: true, .. } if !crowded => crowded = true,
                Outcome::Refused { doing, refusal, .. } if !whole && is_lacking(&refusal) => {
                    return Err(Error::Unsupported { doing, feature: NEEDED, refusal }.into());
                }
                Outcome::Refused { doing, refusal, .. } => return Err(Error::Refused { doing, refusal }.into()),
            }
        }
        Err(Error::Unsettled { doing: format!("writing the nftables table inet {TABLE}"), attempts: ATTEMPTS }.into())
    }

    /// Takes from a pod all that it has and says which host ports these were. That it had nothing is well.
    ///
    /// # Errors
    /// When the kernel refuses; nothing was changed then.
    pub fn remove(&mut self, tag: &Tag) -> Result<Vec<Mapping>> {
        self.take(|text| text == tag.as_str())
    }

    /// Takes all that is a network's and of no pod that is `kept`, and says which host ports these were.
    ///
    /// # Errors
    /// When the kernel refuses; nothing was changed then.
    pub fn collect(&mut self, network: &str, kept: &[Tag]) -> Result<Vec<Mapping>> {
        self.take(|text| Tag::is_of_network(text, network) && !kept.iter().any(|tag| tag.as_str() == text))
    }

    fn take(&mut self, unwanted: impl Fn(&str) -> bool) -> Result<Vec<Mapping>> {
        self.seen = program::is_there(&mut self.socket)?;
        if self.seen { removal::remove(&mut self.socket, unwanted) } else { Ok(Vec::new()) }
    }

    /// Whether the table is there and no pod has anything in it.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn is_idle(&mut self) -> Result<bool> {
        self.seen = program::is_there(&mut self.socket)?;
        Ok(self.seen && removal::is_idle(&mut self.socket)?)
    }

    /// Deletes the table, if no pod has anything in it: whether it did. `nft delete table inet towpath-pods`
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn dismantle(&mut self) -> Result<bool> {
        self.seen = true;
        removal::dismantle(&mut self.socket)
    }

    /// The first thing that is missing of what a pod is to have.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn missing(&mut self, tag: &Tag, wanted: &Wanted) -> Result<Option<Missing>> {
        let nothing = wanted.mappings.is_empty() && wanted.leaving.is_empty();
        if nothing {
            return Ok(None);
        }
        if !program::is_whole(&mut self.socket)? {
            return Ok(Some(Missing::Chains));
        }
        for mapping in &wanted.mappings {
            if !self.has(&Element::mapping(mapping, tag))? {
                return Ok(Some(Missing::Mapping(*mapping)));
            }
            if !self.has(&Element::flow(mapping, wanted.sources, tag))? {
                return Ok(Some(Missing::Flow(*mapping)));
            }
        }
        let chain = program::leaving_chain(&wanted.spared);
        for address in &wanted.leaving {
            if !self.has(&Element::leaving(*address, &chain, tag))? {
                return Ok(Some(Missing::Leaving(*address)));
            }
        }
        Ok(None)
    }

    fn has(&mut self, element: &Element) -> Result<bool> {
        Ok(element::get(&mut self.socket, element.set, &element.key)?.is_some_and(|there| there == *element))
    }

    /// Refuses a host port that another pod has: the same one, or the same port where either is meant for all addresses.
    fn refuse_taken(&mut self, tag: &Tag, mappings: &[Mapping]) -> std::result::Result<(), NatError> {
        let mut listed: [Option<Vec<Element>>; 2] = [None, None];
        for mapping in mappings {
            let family = mapping.family();
            let mut there = Vec::new();
            match mapping.host {
                Some(_) => {
                    let everywhere = Mapping { host: None, ..*mapping };
                    for key in [mapping, &everywhere] {
                        let element = Element::mapping(key, tag);
                        there.extend(element::get(&mut self.socket, element.set, &element.key)?);
                    }
                }
                None => {
                    let element = Element::mapping(mapping, tag);
                    there.extend(element::get(&mut self.socket, element.set, &element.key)?);
                    // Nobody asks for the ports of single addresses but now and then: a short list.
                    let list = &mut listed[usize::from(family == Family::V6)];
                    if list.is_none() {
                        *list = Some(element::list(&mut self.socket, Set::Addressed(family), |_| true)?);
                    }
                    there.extend(list.iter().flatten().cloned());
                }
            }
            let taken = there.into_iter().filter(|element| element.tag != tag.as_str());
            let taken = taken.filter_map(|element| Some((element.as_mapping()?, element.tag)));
            if let Some((held, holder)) = taken.into_iter().find(|(held, _)| held.clashes_with(mapping)) {
                let (mapping, held) = (Box::new(*mapping), Box::new(held));
                return Err(NatError::Taken { mapping, holder: Tag::owner_in(&holder).to_owned(), held });
            }
        }
        Ok(())
    }

    /// What is not there yet, and what is there differently in its place.
    fn push(&mut self, transaction: &mut Transaction, tag: &Tag, wanted: &Wanted) -> Result<()> {
        let chain = program::leaving_chain(&wanted.spared);
        if !wanted.leaving.is_empty() && !program::has_chain(&mut self.socket, &chain)? {
            program::write_leaving_chain(transaction, &chain, &wanted.spared);
        }
        let mut elements: Vec<Element> = Vec::new();
        for mapping in &wanted.mappings {
            elements.push(Element::mapping(mapping, tag));
            let flow = Element::flow(mapping, wanted.sources, tag);
            if !elements.contains(&flow) {
                elements.push(flow);
            }
            let by_loopback = mapping.family() == Family::V6 && mapping.host.is_none_or(|host| host.is_loopback());
            elements.extend(wanted.loopback.filter(|_| by_loopback).map(|own| Element::loopback(mapping, own, tag)));
        }
        elements.extend(wanted.leaving.iter().map(|address| Element::leaving(*address, &chain, tag)));
        for element in elements {
            match element::get(&mut self.socket, element.set, &element.key)? {
                Some(there) if there == element => continue,
                // An address that is given again before its last pod's DEL: this pod's, from now on.
                Some(there) => transaction.element(Kind::DeleteElement, &there),
                None => {}
            }
            transaction.element(Kind::NewElement, &element);
        }
        Ok(())
    }

    fn push_near(&mut self, transaction: &mut Transaction, wanted: &Wanted, crowded: bool) -> Result<()> {
        if wanted.mappings.is_empty() || wanted.sources != Sources::Near {
            return Ok(());
        }
        for net in wanted.near.iter().map(IpNet::trunc) {
            let element = Element::near(net);
            let there = if crowded { element::list(&mut self.socket, element.set, |_| true)? } else { Vec::new() };
            let there: Vec<IpNet> = there.iter().filter_map(Element::as_near).collect();
            if there.iter().any(|other| other.contains(&net)) {
                continue;
            }
            for within in there.iter().filter(|other| net.contains(*other)) {
                transaction.element(Kind::DeleteElement, &Element::near(*within));
            }
            transaction.element(Kind::NewElement, &element);
        }
        Ok(())
    }
}

/// What the table's chains and rules are made of.
const NEEDED: &str = "nftables NAT in family inet (Linux 5.2; CONFIG_NFT_NAT, CONFIG_NFT_MASQ, CONFIG_NFT_FIB_INET, \
                      CONFIG_NFT_CT; modules nft_chain_nat, nft_nat, nft_masq, nft_fib_inet, nft_ct)";

/// Whether the kernel does not know a type of chain or an expression, of which it says that it cannot be found.
fn is_lacking(refusal: &Refusal) -> bool {
    refusal.is_unsupported() || [libc::ENOENT, libc::EAFNOSUPPORT].contains(&refusal.errno)
}

/// The ruleset's generation, which every transaction of anybody's raises. `None` on a kernel that does not say.
pub(super) fn generation(socket: &mut Socket) -> Result<Option<u32>> {
    let doing = "asking for the generation of the nftables ruleset";
    let request = Request { kind: Kind::GetGeneration.number(), flags: 0, doing };
    let answers = socket.query(&request, |body| body.fixed(&GENERIC)).map_err(|error| match error {
        // What nfnetlink_rcv_msg says when nobody registered for the subsystem.
        Error::Refused { doing, refusal } if refusal.errno == libc::EINVAL || refusal.is_unsupported() => {
            Error::Unsupported { doing, feature: NO_NFTABLES, refusal }
        }
        other => other,
    });
    Ok(answers?.find_map(|message| message.attributes(GENERIC.len()).get(GENERATION_ID)?.be32()))
}
