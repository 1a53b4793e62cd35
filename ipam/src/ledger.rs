//! [`Ledger`]: which pod has which address on this node, on disk, in the reference `host-local` plugin's own layout.
//!
//! `<dataDir>/<network>/<address>` holds `containerID CR LF ifname`; `last_reserved_ip.<n>` what set n gave last; `lock` is
//! flocked while addresses are given. `host-local` and we can use one directory at the same time, and each reads what the
//! other wrote. The order of giving is [`range`]'s; files are touched in `directory` alone, the only place in this crate.
//!
//! Where we differ from `host-local`, on purpose: an owner who asks again while its address is still the last one given
//! (a first attempt was killed) gets that address again instead of an error, and when a range is used up, files that a
//! crash left empty are given anew. No file is read to give an address but the last one's, so giving one of a thousand
//! takes as long as giving one of ten.

mod directory;
mod owner;
pub mod range;

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;

use directory::{Content, Directory};
pub use owner::{Identifier, IdentifierError, Owner};
pub use range::{Range, RangeError, RangeSet, RangeText};

/// The addresses of one network's pods on this node.
#[derive(Debug)]
pub struct Ledger {
    directory: Directory,
}

/// An address that a pod has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// The address with its subnet's prefix length, as it goes onto the interface.
    pub address: IpNet,
    /// The router.
    pub gateway: IpAddr,
    /// Whether this very request made it, and may take it back.
    pub origin: Origin,
}

/// Where a reservation comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This request.
    Fresh,
    /// An earlier request of the same owner.
    Earlier,
}

/// Why the ledger did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Every address of a set is in use.
    #[error("no address is left in {ranges}: all {count} are in use, see {}", directory.display())]
    Exhausted {
        /// The set, as `host-local` writes it: `10.1.0.1-10.1.0.254`.
        ranges: String,
        /// How many addresses it has.
        count: u128,
        /// Where they are written down.
        directory: PathBuf,
    },
    /// A file of the ledger cannot be used.
    #[error("cannot {action} {} in the address ledger: {source}", path.display())]
    File {
        /// What was tried: `read`, `write`, `lock`…
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl Ledger {
    /// The ledger of a network below a data directory (`/var/lib/cni/networks` unless configured). Touches nothing yet.
    pub fn new(data_directory: &Path, network: &Identifier) -> Ledger {
        Ledger { directory: Directory::new(data_directory.join(network.as_str())) }
    }

    /// Gives the owner one address of each set, in the sets' order; all of them or none.
    ///
    /// # Errors
    /// When a set is used up, or the disk does not take it. Nothing stays reserved then that was not before.
    pub fn reserve(&self, owner: &Owner, sets: &[RangeSet]) -> Result<Vec<Reservation>, LedgerError> {
        let lock = self.directory.lock()?;
        let mut reserved = Vec::with_capacity(sets.len());
        for (index, set) in sets.iter().enumerate() {
            match self.reserve_one(owner, set, index) {
                Ok(reservation) => reserved.push(reservation),
                Err(error) => {
                    // The first error is the one to report; what cannot be taken back now, the owner's DEL will.
                    self.withdraw(&reserved).ok();
                    return Err(error);
                }
            }
        }
        drop(lock);
        Ok(reserved)
    }

    /// Takes back what [`Ledger::reserve`] gave to the same request, and nothing that was given earlier.
    ///
    /// # Errors
    /// The first file that cannot be removed.
    pub fn withdraw(&self, reservations: &[Reservation]) -> Result<(), LedgerError> {
        let fresh = reservations.iter().filter(|reservation| reservation.origin == Origin::Fresh);
        fresh.map(|reservation| self.directory.remove(reservation.address.addr())).fold(Ok(()), Result::and)
    }

    /// The addresses that an owner has.
    ///
    /// # Errors
    /// When the directory cannot be read. One that is not there holds nothing.
    pub fn holdings(&self, owner: &Owner) -> Result<Vec<IpAddr>, LedgerError> {
        Ok(self.survey(owner)?.held)
    }

    /// Gives back all that an owner has, and clears away what a crash left empty. Returns the addresses given back.
    ///
    /// # Errors
    /// When a file cannot be read or removed; the others are given back nevertheless, and asking again does the rest.
    pub fn release(&self, owner: &Owner) -> Result<Vec<IpAddr>, LedgerError> {
        let survey = self.survey(owner)?;
        let removed = survey.held.iter().map(|address| self.directory.remove(*address)).fold(Ok(()), Result::and);
        if survey.empty {
            self.clear_empty()?;
        }
        removed.map(|()| survey.held)
    }

    /// Where the addresses are written down.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    fn reserve_one(&self, owner: &Owner, set: &RangeSet, index: usize) -> Result<Reservation, LedgerError> {
        let inscription = owner.inscription();
        let mut last_given = self.directory.last_given(index)?;
        let reservation = |address: IpAddr, range: &Range, origin| {
            let prefix = range.subnet().prefix_len();
            // Cannot fail: the prefix length is that of a subnet of the same family.
            let address = IpNet::new(address, prefix).unwrap_or_else(|_| IpNet::from(address));
            Reservation { address, gateway: range.gateway(), origin }
        };
        let last = last_given.address();
        if let Some((address, range)) = last.and_then(|address| Some((address, set.range_of(address)?)))
            && self.directory.content(address)?.is_some_and(|content| content.says(&inscription))
        {
            return Ok(reservation(address, range, Origin::Earlier));
        }
        for (address, range) in set.candidates(last) {
            if self.directory.create(address, &inscription)? {
                last_given.store(address).or_else(|error| self.directory.remove(address).and(Err(error)))?;
                return Ok(reservation(address, range, Origin::Fresh));
            }
        }
        // All are taken, or so their names say: only now is it worth reading them.
        for (address, range) in set.candidates(last) {
            match self.directory.content(address)? {
                Some(content) if content.says(&inscription) => {
                    return Ok(reservation(address, range, Origin::Earlier));
                }
                Some(Content::Empty) => {
                    self.directory.remove(address)?;
                    if self.directory.create(address, &inscription)? {
                        return Ok(reservation(address, range, Origin::Fresh));
                    }
                }
                _ => {}
            }
        }
        let directory = self.directory.path().to_owned();
        Err(LedgerError::Exhausted { ranges: set.to_string(), count: set.len(), directory })
    }

    /// Looks into every file once, without the lock: an owner's files are nobody else's.
    fn survey(&self, owner: &Owner) -> Result<Survey, LedgerError> {
        let (mut exact, mut by_container, mut empty) = (Vec::new(), Vec::new(), false);
        let inscription = owner.inscription();
        self.directory.for_each(|address, content| {
            match content {
                Content::Empty => empty = true,
                content if content.says(&inscription) => exact.push(address),
                content if content.says(owner.container.as_str()) => by_container.push(address),
                Content::Text(_) => {}
            }
            Ok(())
        })?;
        // host-local before 0.8 wrote the container's id alone; it counts when nothing newer is there, as in its own code.
        let held = if exact.is_empty() { by_container } else { exact };
        Ok(Survey { held, empty })
    }

    /// Removes address files without content. Whoever gives addresses holds the lock from making the file until its
    /// content is written (so does host-local), so one that is empty under the lock was left by a crash.
    fn clear_empty(&self) -> Result<(), LedgerError> {
        let _lock = self.directory.lock()?;
        self.directory.for_each(|address, content| match content {
            Content::Empty => self.directory.remove(address),
            Content::Text(_) => Ok(()),
        })
    }
}

/// What a look into every file found.
struct Survey {
    /// The owner's addresses.
    held: Vec<IpAddr>,
    /// Whether there are files without content.
    empty: bool,
}

#[cfg(test)]
mod tests;
