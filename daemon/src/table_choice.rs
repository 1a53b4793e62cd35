//! Which nftables table is this instance's: `towpath` where it may be, its own private one where another instance has that.
//!
//! The kernel is the memory: a table carries its instance's alias as its comment. A lock beside it decides between two
//! that start at the same moment on a node that has neither.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use backends::instance::COMMON_TABLE;
use kernel::nft::Table;

use crate::config::Instance;

/// The instance with its table chosen.
#[derive(Debug)]
pub struct Chosen {
    /// Alias and table.
    pub instance: Instance,
    /// Held as long as the process lives, so that no other instance chooses the common table.
    lock: Option<UnixListener>,
}

impl Chosen {
    /// Chooses. The table that this instance has already stays its own, whatever became of the other: between two tables
    /// there would be a moment without rules.
    ///
    /// # Errors
    /// When nftables cannot be asked. A kernel without it leaves the common name.
    pub fn new(instance: Instance) -> Result<Chosen, kernel::Error> {
        let free = match owner_of(COMMON_TABLE)? {
            Some(owner) => owner == instance.alias,
            None => owner_of(&instance.table)?.is_none_or(|owner| owner != instance.alias),
        };
        let lock = if free { take() } else { None };
        if lock.is_none() {
            tracing::info!(
                "nftables table inet {}: another instance on this node has, or had, inet {COMMON_TABLE}",
                instance.table
            );
            return Ok(Chosen { instance, lock });
        }
        Ok(Chosen { instance: Instance { table: COMMON_TABLE.to_owned(), ..instance }, lock })
    }

    /// Whether the common table is this instance's.
    pub fn is_common(&self) -> bool {
        self.lock.is_some()
    }
}

/// Whose a table is, by its comment.
fn owner_of(table: &str) -> Result<Option<String>, kernel::Error> {
    match Table::open(table).and_then(|mut table| table.owner()) {
        Err(kernel::Error::Unsupported { .. }) => Ok(None),
        other => other,
    }
}

fn take() -> Option<UnixListener> {
    let name = SocketAddr::from_abstract_name(format!("towpath table {COMMON_TABLE}"));
    name.and_then(|name| UnixListener::bind_addr(&name)).ok()
}
