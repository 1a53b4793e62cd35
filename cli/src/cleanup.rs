//! `towpathctl cleanup`: removes what daemons have left on this node, in the kernel and on disk, without a daemon. It
//! shows first, asks, removes, and looks again.
//!
//! It never takes what only looks like ours: links by our alias, tables by our names, blackholes by our protocol number,
//! files by what stands in them. Pods keep running; their own interfaces and the bridge are the plugin's.

mod alive;
mod files;
mod kernel_side;
mod leavings;

use std::path::{Path, PathBuf};

use ::kernel::inventory;

use crate::arguments::Cleanup;
use crate::consent::{self, Consent, ConsentError};
use crate::print;
use leavings::Leavings;

/// Why nothing was removed, or not all.
#[derive(Debug, thiserror::Error)]
pub enum CleanupError {
    /// Not root.
    #[error("what is left can be seen and removed only with the capability CAP_NET_ADMIN: run towpathctl as root")]
    Forbidden,
    /// A daemon would put it back.
    #[error("{who}, and would put everything back: stop it first, or say --force")]
    Alive {
        /// Which, and how that is known.
        who: String,
    },
    /// The kernel could not be asked.
    #[error("looking for what is left: {0}")]
    Kernel(#[from] ::kernel::Error),
    /// A file or directory could not be read.
    #[error("looking at {}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Nobody could be asked.
    #[error(transparent)]
    Consent(#[from] ConsentError),
    /// What was found could not be shown.
    #[error("standard output: {0}")]
    Output(std::io::Error),
}

const SPARED: &str = "\
Left as they are: pods' interfaces, host ports and bridge, their addresses in /var/lib/cni, sysctls, and the lease in the store
(`towpathctl release` gives it back while towpathd runs). Pods keep running and cannot reach other nodes.
";

/// Does it; gives the exit status.
pub fn run(wish: &Cleanup, socket: &Path) -> Result<u8, CleanupError> {
    if !inventory::net_admin() {
        return Err(CleanupError::Forbidden);
    }
    let found = Leavings::find(wish, socket)?;
    if found.is_empty() {
        print("nothing of towpath's is left here\n").map_err(CleanupError::Output)?;
        return Ok(0);
    }
    print(&format!("{found}\n{SPARED}")).map_err(CleanupError::Output)?;
    if wish.dry_run {
        return Ok(0);
    }
    if let Some(who) = alive::daemon(&found, socket).filter(|_| !wish.force) {
        return Err(CleanupError::Alive { who });
    }
    if !wish.yes && consent::ask("\nRemove these?")? == Consent::Refused {
        print("nothing was removed\n").map_err(CleanupError::Output)?;
        return Ok(1);
    }
    let failures = found.remove()?;
    failures.iter().for_each(|failure| eprintln!("towpathctl: {failure}"));
    let left = Leavings::find(wish, socket)?;
    if left.is_empty() {
        print("removed\n").map_err(CleanupError::Output)?;
        return Ok(0);
    }
    eprint!("towpathctl: still there:\n{left}");
    Ok(1)
}
