//! Our one nftables table: written in one transaction ([`replace`]), read back ([`observe`]). `nft -f`, `nft list table`,
//! without a process.
//!
//! Owned here: exactly the rules that [`backends::ruleset`] can express, in a table of family `inet`. Sets, maps, objects and
//! other people's tables are neither written nor looked at. What the rules must say is decided in `backends`.

mod chain;
mod expression;
mod rule;
mod table;
mod transaction;

pub use table::observe;
pub use transaction::{FULLY_RANDOM, replace};

pub(crate) use table::{observe_on, touches};

use crate::error::{Error, Refusal, Result};
use crate::netlink::{Protocol, Socket};

/// `NFNL_SUBSYS_NFTABLES`, the upper octet of every message type here.
const SUBSYSTEM: u16 = 10 << 8;
/// `struct nfgenmsg` of our family: `NFPROTO_INET`, version 0, no resource.
const GENERIC: [u8; 4] = [INET, 0, 0, 0];
const INET: u8 = 1;

/// `NFTA_TABLE_…`
const TABLE_NAME: u16 = 1;
const TABLE_FLAGS: u16 = 2;
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
    NewRule = 6,
    GetRule = 7,
    GetGeneration = 16,
}

impl Kind {
    fn number(self) -> u16 {
        SUBSYSTEM | self as u16
    }
}

/// A socket to nftables in the calling thread's network namespace.
pub(crate) fn open() -> Result<Socket> {
    Socket::open(Protocol::Netfilter).map_err(|error| match error {
        Error::System { doing, source } if source.raw_os_error() == Some(libc::EPROTONOSUPPORT) => Error::Unsupported {
            doing,
            feature: NO_NFTABLES,
            refusal: Refusal { errno: libc::EPROTONOSUPPORT, words: None },
        },
        other => other,
    })
}
