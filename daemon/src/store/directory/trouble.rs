//! [`Trouble`]: what can be wrong with a directory of leases, in sentences that name the thing and the fix.

use std::io::{self, ErrorKind};
use std::path::PathBuf;

/// What stands in the way.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The directory cannot be made or read.
    #[error("the store's directory {} cannot be used: {source}; {}", .directory.display(), advice(.source))]
    Read {
        /// The directory.
        directory: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The directory was there and is gone.
    #[error("the store's directory {} is gone: is a file system not mounted? What is running goes on; mount it again", .directory.display())]
    Away {
        /// The directory.
        directory: PathBuf,
    },
    /// The configuration of the network is not there (yet).
    #[error(
        "{} does not exist: write the network's configuration to it, for example \
         {{\"Network\":\"10.244.0.0/16\",\"Backend\":{{\"Type\":\"vxlan\"}}}}", .file.display()
    )]
    NoNetwork {
        /// The file.
        file: PathBuf,
    },
    /// The configuration of the network cannot be read.
    #[error("{} cannot be read: {source}; {}", .file.display(), advice(.source))]
    Network {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A lease cannot be written.
    #[error("this node's lease cannot be written to {}: {source}; {}", .directory.display(), advice(.source))]
    Write {
        /// The directory.
        directory: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others are always faster.
    #[error("this node's lease: other nodes are busy with {key}; trying again")]
    Busy {
        /// The file.
        key: String,
    },
    /// No subnet is left.
    #[error(
        "no free pod subnet is left in {networks}: remove the leases of nodes that are gone, or give the cluster a wider network or a longer SubnetLen"
    )]
    Exhausted {
        /// The networks.
        networks: String,
    },
    /// What we would publish is not a lease.
    #[error("this node cannot be published: {reason}")]
    Refused {
        /// A clause.
        reason: String,
    },
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "free some space there",
        ErrorKind::ReadOnlyFilesystem => "mount the file system read-write",
        ErrorKind::PermissionDenied => "let the daemon's user write there",
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => "something else has that name: move it away",
        ErrorKind::Unsupported => "use a file system that has hard links",
        ErrorKind::StaleNetworkFileHandle => "mount it again",
        _ => "trying again",
    }
}
