//! [`Hand`]: our hold on one network namespace's kernel: the sockets, and the kernel's numbers for what we know by name.
//!
//! What it sees is [`crate::observe`]'s, what it does [`crate::apply`]'s.

use std::collections::HashSet;

use backends::state::{RouteKey, Scope};

use crate::codec::nexthop;
use crate::error::{Error, Result};
use crate::index::Index;
use crate::netlink::{Protocol, Request, Socket};
use crate::nft::Table;
use crate::relay::Relays;
use crate::wireguard::Keyring;

/// A hold on the kernel, in the network namespace of the thread that made it. Sysctls and the ruleset are those of the
/// calling thread's namespace, so keep to one thread, or to threads of that namespace.
#[derive(Debug)]
pub struct Hand {
    pub(crate) socket: Socket,
    pub(crate) index: Index,
    /// The alias of the scope that `index` was filled for; before the first look, none.
    pub(crate) instance: Option<String>,
    /// The ruleset of the scope used last, with its name.
    table: Option<(String, Table)>,
    /// Routes that were seen or made ours. One of these that is another's now was ours to begin with and is put back;
    /// one that was another's when we came stands, and is reported.
    pub(crate) held: HashSet<RouteKey>,
    pub(crate) writes: u64,
    pub(crate) keyring: Keyring,
    pub(crate) relays: Relays,
    nexthop_objects: bool,
}

impl Hand {
    /// Takes hold of the calling thread's network namespace and finds out what its kernel can do. Changes nothing.
    ///
    /// # Errors
    /// When there is no netlink socket to be had.
    pub fn open() -> Result<Hand> {
        let mut socket = Socket::open(Protocol::Route)?;
        let request = Request { kind: nexthop::GET, flags: 0, doing: "listing next-hop objects" };
        let nexthop_objects = match socket.dump(&request, nexthop::all) {
            Ok(_) => true,
            Err(Error::Refused { refusal, .. }) if refusal.is_unsupported() => false,
            Err(error) => return Err(error),
        };
        let (index, held) = (Index::default(), HashSet::new());
        let (keyring, relays) = (Keyring::default(), Relays::default());
        Ok(Hand { socket, index, instance: None, table: None, held, writes: 0, keyring, relays, nexthop_objects })
    }

    /// Whether the kernel has next-hop objects (Linux 5.3 and later). `ip nexthop`
    pub fn nexthop_objects(&self) -> bool {
        self.nexthop_objects
    }

    /// How many modifying messages were sent since [`Hand::open`]; a sysctl or a ruleset written counts as one.
    pub fn writes(&self) -> u64 {
        self.writes
    }

    /// The scope's ruleset, kept open: closing it after a change waits for the kernel.
    pub(crate) fn table(&mut self, scope: &Scope) -> Result<&mut Table> {
        let kept = self.table.take().filter(|(kept, _)| *kept == scope.table);
        let table = match kept {
            Some((_, table)) => table,
            None => Table::open(&scope.table)?.owned_by(&scope.alias),
        };
        Ok(&mut self.table.insert((scope.table.clone(), table)).1)
    }
}
