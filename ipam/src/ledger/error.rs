//! [`LedgerError`]: why the ledger did not do what it was asked.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

/// Why the ledger did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Every address of a set is in use.
    #[error("no address is left in {ranges}: all {count} are in use{lost}, see {}", directory.display())]
    Exhausted {
        /// The set, as `host-local` writes it: `10.1.0.1-10.1.0.254`.
        ranges: String,
        /// How many addresses it has.
        count: u128,
        /// Who has one, and is nowhere to be seen.
        lost: Lost,
        /// Where they are written down.
        directory: PathBuf,
    },
    /// An address that was asked for belongs to somebody else.
    #[error("the address {address} that was asked for is in use by {holder}: ask for another, or delete that one; see {}", path.display())]
    Taken {
        /// The address.
        address: IpAddr,
        /// Container and interface.
        holder: String,
        /// Where it is written down.
        path: PathBuf,
    },
    /// An address that was asked for is in no range.
    #[error(
        "the address {address} that was asked for is in none of the ranges {ranges}: ask for one of these, or none"
    )]
    OutOfRanges {
        /// The address.
        address: IpAddr,
        /// All sets.
        ranges: String,
    },
    /// The gateway was asked for.
    #[error("the address {address} that was asked for is the gateway's: ask for another")]
    IsGateway {
        /// The address.
        address: IpAddr,
    },
    /// Two addresses of a set, which gives one.
    #[error("{first} and {second} were both asked for, and {ranges} gives one address to a pod: ask for one of them")]
    TwoOfOneSet {
        /// One.
        first: IpAddr,
        /// The other.
        second: IpAddr,
        /// The set.
        ranges: String,
    },
    /// An owner that asks again without having given back, where that is not done.
    #[error("{address} has been allocated to {owner} already, a duplicate allocation is not allowed: delete it first")]
    Duplicate {
        /// What it has.
        address: IpAddr,
        /// Container and interface.
        owner: String,
    },
    /// A file of the ledger cannot be used.
    #[error("cannot {action} {} in the address ledger: {source}{}", path.display(), remedy(source))]
    File {
        /// What was tried: `read`, `write`, `lock`…
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Owners of which nothing was found on the node, as far as there is room in a sentence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// How many.
    pub count: usize,
    /// Container and interface of some.
    pub names: Vec<String>,
}

impl Lost {
    /// Longer lists are not read by anybody.
    const NAMES: usize = 5;

    pub(super) fn push(&mut self, name: String) {
        self.count += 1;
        if self.names.len() < Lost::NAMES {
            self.names.push(name);
        }
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.count == 0 {
            return Ok(());
        }
        let more = if self.count > self.names.len() { ", …" } else { "" };
        let (count, names) = (self.count, self.names.join(", "));
        write!(f, ", {count} of them by containers of which nothing is left on this node ({names}{more}): ")?;
        f.write_str("a DEL for these or a GC gives their addresses back")
    }
}

/// What to do about a file that cannot be used, where that can be told.
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ": make room on that file system",
        io::ErrorKind::ReadOnlyFilesystem => ": mount it writable, or set `dataDir` to a place that is",
        io::ErrorKind::PermissionDenied => ": the plugin must be allowed to write there",
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            ": a part of that path is no directory; remove it, or set `dataDir` to another place"
        }
        _ => "",
    }
}
