//! [`Traces`]: which daemons have left something in this network namespace: links by their alias, nftables tables by their
//! comment. For cleanup, which must find what nobody remembers; a daemon knows its own by its [`Scope`](backends::Scope).

use std::collections::BTreeSet;

use backends::LinkName;
use backends::instance::{ALIAS_PREFIX, COMMON_TABLE};

use crate::codec::link;
use crate::error::{Error, Result};
use crate::netlink::{Protocol, Request, Socket};
use crate::nft;

/// What daemons have left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traces {
    /// Links with an alias of ours, and the alias. What the plugin makes for a pod has another one.
    pub links: Vec<(LinkName, String)>,
    /// Tables of family `inet` with a name of ours, and in whose name they were written: an alias.
    pub tables: Vec<(String, String)>,
    /// Aliases that stand on rules in iptables' chain FORWARD.
    pub passages: BTreeSet<String>,
}

/// Looks for them in the calling thread's network namespace. `ip link; nft list tables inet`
///
/// # Errors
/// When a list cannot be had. A kernel without nftables has no tables.
pub fn read() -> Result<Traces> {
    let mut socket = Socket::open(Protocol::Route)?;
    let request = Request { kind: link::GET, flags: 0, doing: "listing links" };
    let entries = socket.dump(&request, link::all)?.filter_map(|message| link::Entry::read(&message));
    let marked = |entry: link::Entry<'_>| {
        let alias = entry.alias.filter(|alias| alias.starts_with(ALIAS_PREFIX))?;
        Some((entry.name?, alias.to_owned()))
    };
    Ok(Traces { links: entries.filter_map(marked).collect(), tables: tables()?, passages: passages()? })
}

fn passages() -> Result<BTreeSet<String>> {
    match Socket::open(Protocol::Netfilter) {
        Err(Error::System { source, .. }) if source.raw_os_error() == Some(libc::EPROTONOSUPPORT) => {
            Ok(BTreeSet::new())
        }
        socket => nft::passage::owners(&mut socket?, ALIAS_PREFIX),
    }
}

fn tables() -> Result<Vec<(String, String)>> {
    let mut names = match nft::tables() {
        Err(Error::Unsupported { .. }) => Vec::new(),
        names => names?,
    };
    names.retain(|name| {
        name == COMMON_TABLE || name.strip_prefix(COMMON_TABLE).is_some_and(|rest| rest.starts_with('_'))
    });
    let mut tables = Vec::new();
    for name in names {
        // One that is gone since was not left; one without our comment is somebody else's, whatever its name.
        if let Some(owner) = nft::Table::open(&name)?.owner()?.filter(|owner| owner.starts_with(COMMON_TABLE)) {
            tables.push((name, owner));
        }
    }
    Ok(tables)
}
