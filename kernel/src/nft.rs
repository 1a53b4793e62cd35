//! [`Table`]: our one nftables table, written in one transaction and read back. `nft -f`, `nft list table`, without a
//! process.
//!
//! Owned here: exactly the rules that [`backends::ruleset`] can express, in a table of family `inet`. Sets, maps, objects and
//! other people's tables are neither written nor looked at. What the rules must say is decided in `backends`. The plugin's
//! table, with one element for each host port, is [`nat`]'s; what flannel leaves goes by [`predecessor`].

mod batch;
mod chain;
mod expression;
mod foreign;
pub mod gate;
pub(crate) mod guard;
pub mod leftovers;
mod listing;
pub mod nat;
mod observation;
pub(crate) mod passage;
pub mod predecessor;
mod rule;
mod transaction;
mod uapi;

use std::collections::BTreeMap;

use backends::ruleset::Ruleset;
use backends::state::Passage;
use ipnet::IpNet;

pub use listing::tables;
pub(crate) use observation::{may_drop, touches};
pub use transaction::FULLY_RANDOM;

use crate::error::{Error, Refusal, Result};
use crate::netlink::{Protocol, Socket};

/// A table of family `inet` by name, whether it exists or not, and a socket to ask about it.
///
/// Keep it open: closing a socket that has just replaced a table waits for the kernel to free the old one (RCU, 7 to
/// 25 ms), and the transaction itself takes a fraction of a millisecond.
#[derive(Debug)]
pub struct Table {
    name: String,
    /// Stands in the table as its comment, for people and for [`Table::owner`].
    owner: String,
    socket: Socket,
}

impl Table {
    /// Opens a socket to the nftables of the calling thread's network namespace.
    ///
    /// # Errors
    /// [`Error::Unsupported`] on a kernel without nftables.
    pub fn open(name: &str) -> Result<Table> {
        let socket = Socket::open(Protocol::Netfilter).map_err(|error| match error {
            Error::System { doing, source } if source.raw_os_error() == Some(libc::EPROTONOSUPPORT) => {
                let refusal = Refusal { errno: libc::EPROTONOSUPPORT, words: None };
                Error::Unsupported { doing, feature: NO_NFTABLES, refusal }
            }
            other => other,
        })?;
        Ok(Table { name: name.to_owned(), owner: "towpath".to_owned(), socket })
    }

    /// The same, to be written in somebody's name: an instance's alias.
    pub fn owned_by(self, owner: &str) -> Table {
        Table { owner: owner.to_owned(), ..self }
    }

    /// In whose name the table was written: its comment, empty when it has none. `None` when there is no table.
    ///
    /// # Errors
    /// [`Error::Unsupported`] on a kernel without nftables.
    pub fn owner(&mut self) -> Result<Option<String>> {
        observation::comment(&mut self.socket, &self.name)
    }

    /// Makes the table say this and nothing else, in one transaction: no packet sees it missing, half, or double. `None`
    /// removes it; that there was none is well. `nft -f` with `flush chain` and `add rule`, or, where anything but rules is
    /// not as it should be, with `table inet T {}; delete table inet T; table inet T { … }`
    ///
    /// # Errors
    /// The first thing that was refused is named, with the kernel's words, and nothing was changed.
    /// [`Error::Unsupported`] says what the kernel lacks: nftables, a chain type, an expression, or [`FULLY_RANDOM`].
    pub fn replace(&mut self, ruleset: Option<&Ruleset>) -> Result<()> {
        transaction::replace(&mut self.socket, (&self.name, &self.owner), ruleset)
    }

    /// The table as it is, `None` when there is none. `nft list table inet NAME`
    ///
    /// What [`Table::replace`] wrote comes back equal, with chains in the order of their hooks and prefixes without host
    /// bits. What it would never write comes back as [`backends::ruleset::ChainKind::Foreign`] and
    /// [`backends::ruleset::Verdict::Foreign`]; so does a table that was put to sleep (`flags dormant`), whose chains
    /// do nothing.
    ///
    /// # Errors
    /// [`Error::Unsupported`] on a kernel without nftables, [`Error::Unsettled`] when it never stands still.
    pub fn observe(&mut self) -> Result<Option<Ruleset>> {
        observation::observe(&mut self.socket, &self.name)
    }

    /// Where iptables' chain FORWARD drops what nothing accepts: how far it lets these networks through because of rules with
    /// this table's owner as their comment; and all networks of which there are such. `iptables -S FORWARD`
    ///
    /// # Errors
    /// When the kernel refuses to list.
    pub fn passages(&mut self, networks: &[IpNet]) -> Result<BTreeMap<IpNet, Passage>> {
        passage::observe(&mut self.socket, &self.owner, networks)
    }

    /// Lets that chain accept a network's packets before it drops the rest. `iptables -A FORWARD -s NET -m comment --comment
    /// OWNER -j ACCEPT`, and the same with `-d`
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn open_passage(&mut self, network: &IpNet) -> Result<()> {
        passage::open(&mut self.socket, &self.owner, network)
    }

    /// Takes that back.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn close_passage(&mut self, network: &IpNet) -> Result<()> {
        passage::close(&mut self.socket, &self.owner, network)
    }
}

/// `NFNL_SUBSYS_NFTABLES`, the upper octet of every message type here.
const SUBSYSTEM: u16 = 10 << 8;
/// `struct nfgenmsg` of our family: `NFPROTO_INET`, version 0, no resource.
const GENERIC: [u8; 4] = [INET, 0, 0, 0];
const INET: u8 = 1;

/// `NFTA_TABLE_…`
const TABLE_NAME: u16 = 1;
const TABLE_FLAGS: u16 = 2;
const TABLE_USE: u16 = 3;
const TABLE_USERDATA: u16 = 6;
/// `NFTA_RULE_…`
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
const RULE_USERDATA: u16 = 7;
/// `NFTA_LIST_ELEM`
const LIST_ELEMENT: u16 = 1;

/// What the kernel lacks when it knows no nftables at all.
const NO_NFTABLES: &str = "nftables (CONFIG_NF_TABLES, module nf_tables)";

/// The message types that we use (`enum nf_tables_msg_types`).
#[derive(Clone, Copy)]
enum Kind {
    NewTable = 0,
    GetTable = 1,
    DeleteTable = 2,
    NewChain = 3,
    GetChain = 4,
    DeleteChain = 5,
    NewRule = 6,
    GetRule = 7,
    DeleteRule = 8,
    NewSet = 9,
    NewElement = 12,
    GetElement = 13,
    DeleteElement = 14,
    GetGeneration = 16,
}

impl Kind {
    fn number(self) -> u16 {
        SUBSYSTEM | self as u16
    }
}
