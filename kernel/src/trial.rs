//! [`run`]: whether TCP gets through a backend's tunnel devices with transmit checksum offload and without, tried out: two network
//! namespaces of nobody's, a wire between them, and on it the very devices that the node would make. A bad checksum is one that the
//! kernel of the other end counts.
//!
//! The wire takes no offload, as the simplest card: whatever a device leaves undone the kernel must do at the wire, and the other
//! end checks it. A card's own mistakes are not seen from here. The namespaces have no name and live by the descriptors of this
//! process, so nothing is left when it is killed; nothing else of the machine is touched.

mod ground;
mod transfer;

use std::io;
use std::time::Duration;

use backends::Backend;
use backends::offload::Offload;
use ipam::Family;

use crate::error::Error;
use crate::netns::NetnsError;
use ground::Ground;

/// What came of it with one of the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measure {
    /// Octets that arrived.
    pub arrived: u64,
    /// The least time that a transfer of [`OCTETS`] took, of both families the sum; `None` when none arrived whole.
    pub took: Option<Duration>,
    /// Packets that were dropped because of a checksum.
    pub bad_checksums: u64,
}

/// Octets of a transfer: hundreds of the longest packets that there are.
pub const OCTETS: u64 = 4 << 20;
/// Offload that makes a transfer so many times slower is a fault and no matter of taste: without it a transfer takes one to five times
/// as long, and where the offload is what is broken fifty times less of it have been seen.
pub const SLOWER: u32 = 4;
/// Each setting is tried so often, in turns: the machine has other things to do.
const ROUNDS: usize = 2;
/// And so often while the clock alone speaks against one: on a machine that is busy enough both rounds of one setting are slow by chance.
const MOST_ROUNDS: usize = 6;

/// Why nothing was found out.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// No namespace.
    #[error("a network namespace cannot be made: {0} (it needs CAP_SYS_ADMIN)")]
    Namespace(#[source] io::Error),
    /// It cannot be entered.
    #[error(transparent)]
    Enter(#[from] NetnsError),
    /// The kernel refused a part of it.
    #[error(transparent)]
    Kernel(#[from] Error),
    /// The devices could not be made as on the node.
    #[error("`{change}` is refused in a network namespace of its own: {reason}")]
    Refused {
        /// As a command.
        change: String,
        /// One sentence.
        reason: String,
    },
    /// No connection, before it came to checksums.
    #[error("no {family} connection through a pair of devices in network namespaces of their own: {source}")]
    NoConnection {
        /// Of which family.
        family: Family,
        /// Why not.
        source: io::Error,
    },
    /// The system did not let us.
    #[error("{doing}: {source}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// Why not.
        source: io::Error,
    },
}

/// Tries both settings on the devices of a backend over an uplink of this MTU: on, off.
///
/// # Errors
/// [`TrialError`]: it could not be tried.
pub fn run(backend: &Backend, mtu: u32) -> Result<[Measure; 2], TrialError> {
    let mut found = [Measure { arrived: 0, took: Some(Duration::ZERO), bad_checksums: 0 }; 2];
    for family in Family::ALL {
        let Some(device) = backend.device(family) else { continue };
        let ground = Ground::new(backend, family, mtu)?;
        ground.set(*device, Offload::Off)?;
        transfer::meet(&ground)?;
        let mut least: [Option<Duration>; 2] = [None; 2];
        for round in 1..=MOST_ROUNDS {
            for (at, offload) in [Offload::On, Offload::Off].into_iter().enumerate() {
                ground.set(*device, offload)?;
                let one = transfer::one(&ground)?;
                found[at].arrived += one.arrived;
                found[at].bad_checksums += one.bad_checksums;
                // What hangs for want of a processor does so once; what is broken, each time.
                least[at] = least[at].into_iter().chain(one.took).min();
            }
            let bad = found.iter().any(|measure| measure.bad_checksums > 0);
            if round >= ROUNDS && (bad || in_order(least)) {
                break;
            }
        }
        for (whole, least) in found.iter_mut().zip(least) {
            whole.took = whole.took.zip(least).map(|(before, least)| before + least);
        }
    }
    Ok(found)
}

/// Whether both settings carried a transfer, and none was suspiciously slow: on, off.
fn in_order(least: [Option<Duration>; 2]) -> bool {
    matches!(least, [Some(on), Some(off)] if on <= off.saturating_mul(SLOWER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_slow_or_missing_is_looked_at_again() {
        let millis = |[on, off]: [u64; 2]| [on, off].map(|it| (it > 0).then(|| Duration::from_millis(it)));
        assert!([[3, 11], [44, 11], [11, 300]].into_iter().all(|it| in_order(millis(it))));
        assert!(![[104, 15], [0, 15], [15, 0], [0, 0]].into_iter().any(|it| in_order(millis(it))));
    }
}
