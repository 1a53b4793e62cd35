//! [`Ledger`]: which pod has which address on this node, on disk, in the reference `host-local` plugin's own layout.
//!
//! `<dataDir>/<network>/<address>` holds `containerID CR LF ifname`; `last_reserved_ip.<n>` what set n gave last; `lock` is
//! flocked while addresses are given. `host-local` and we can use one directory at the same time, and each reads what the
//! other wrote. The order of giving is [`range`]'s and `claim`'s; files are touched in `directory` alone, the only place in
//! this crate.
//!
//! Where we differ from `host-local`, on purpose: an owner who asks again while its address is still the last one given
//! (a first attempt was killed) gets that address again instead of an error; an address that was given back a moment ago
//! comes last (a note of our own, `last_reserved_ip.cooling`, which `host-local` passes by); and when a range is used up,
//! files that a crash left empty and addresses of owners that are [`Fate::Gone`] are given anew. No file is read to give
//! an address but the last one's, so giving one of a thousand takes as long as giving one of ten.
//!
//! A DEL that has the ADD's answer goes by that instead of looking into every file. It may, because an ADD that is killed
//! before it is done leaves a mark in `lock`, and one that is done has removed it.
//!
//! Nothing is fsynced. What has to survive is a killed process, and that the page cache does; what a machine loses with
//! its power is about pods that it lost as well.

mod census;
mod claim;
mod cooling;
mod directory;
mod error;
mod marks;
mod owner;
pub mod range;

use std::net::IpAddr;
use std::path::Path;
use std::time::SystemTime;

use ipnet::IpNet;

pub use census::{Census, Entry, Fate, NoCensus};
pub use claim::Claim;
use claim::Turn;
use cooling::Cooling;
use directory::{Content, Directory};
pub use error::{LedgerError, Lost};
use owner::Inscription;
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

/// What the files of the whole directory say.
struct Survey {
    /// The owner's addresses.
    held: Vec<IpAddr>,
    /// Whether there are files without content.
    empty: bool,
}

impl Ledger {
    /// The ledger of a network below a data directory (`/var/lib/cni/networks` unless configured). Touches nothing yet.
    pub fn new(data_directory: &Path, network: &Identifier) -> Ledger {
        Ledger { directory: Directory::new(data_directory.join(network.as_str())) }
    }

    /// Gives the owner one address of each set, in the sets' order; all of them or none. What it has by an earlier request
    /// it may get again: whoever puts the address on a wire notices when there is one already. What follows must be told:
    /// [`Ledger::settle`] or [`Ledger::withdraw`].
    ///
    /// # Errors
    /// When a set is used up, an address that was asked for is not to be had, or the disk does not take it. Nothing stays
    /// reserved then that was not before.
    pub fn reserve(&self, claim: &Claim<'_>, census: &dyn Census) -> Result<Vec<Reservation>, LedgerError> {
        let wanted = claim.assign()?;
        let lock = self.directory.lock()?;
        let mut turn = Turn::new(&self.directory, claim, census);
        let mut marks = lock.marks();
        if !marks.begin(claim.owner) {
            let held = self.survey(claim.owner)?.held;
            if !held.is_empty() {
                marks.keep(claim.owner);
            }
            turn = turn.resumed(held);
        }
        lock.note(&marks)?;
        let given = turn.give(claim.sets, &wanted);
        if given.is_err() {
            marks.finish(claim.owner);
            // The first error is the one to report; a mark that stays costs a DEL a look into every file.
            lock.note(&marks).ok();
        }
        given
    }

    /// As [`Ledger::reserve`], for a caller who would not notice that the owner has its addresses already: this is refused, as
    /// `host-local` does. Reads every file.
    ///
    /// # Errors
    /// As there, and [`LedgerError::Duplicate`].
    pub fn reserve_once(&self, claim: &Claim<'_>, census: &dyn Census) -> Result<Vec<Reservation>, LedgerError> {
        let wanted = claim.assign()?;
        let _lock = self.directory.lock()?;
        let turn = Turn::new(&self.directory, claim, census);
        let held = self.survey(claim.owner)?.held;
        if let Some(&address) = held.iter().find(|address| claim.sets.iter().any(|set| set.contains(**address))) {
            return Err(LedgerError::Duplicate { address, owner: claim.owner.to_string() });
        }
        turn.give(claim.sets, &wanted)
    }

    /// Notes that the owner may have something by a request that came to its end: the next [`Ledger::reserve`] looks for it,
    /// and so does [`Ledger::release`].
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn suspect(&self, owner: &Owner) -> Result<(), LedgerError> {
        let lock = self.directory.lock()?;
        let mut marks = lock.marks();
        marks.begin(owner);
        lock.note(&marks)
    }

    /// Notes that the owner has what was given to it: its result names all of it, and [`Ledger::release`] can go by that.
    ///
    /// # Errors
    /// When the mark of the request cannot be removed.
    pub fn settle(&self, owner: &Owner) -> Result<(), LedgerError> {
        let lock = self.directory.lock()?;
        let mut marks = lock.marks();
        marks.finish(owner);
        lock.note(&marks)
    }

    /// Takes back what [`Ledger::reserve`] gave to the same request, and nothing that was given earlier.
    ///
    /// # Errors
    /// The first file that cannot be removed.
    pub fn withdraw(&self, owner: &Owner, reservations: &[Reservation]) -> Result<(), LedgerError> {
        let fresh = reservations.iter().filter(|reservation| reservation.origin == Origin::Fresh);
        let fresh: Vec<IpAddr> = fresh.map(|reservation| reservation.address.addr()).collect();
        let lock = self.directory.lock()?;
        let mut marks = lock.marks();
        marks.finish(owner);
        self.remove_of(owner, &fresh).and(lock.note(&marks))
    }

    /// Whether an address is an owner's, as far as can be read. A DEL of the same owner that ran at the same time may have
    /// given it back.
    pub fn confirms(&self, owner: &Owner, address: IpAddr) -> bool {
        self.directory.content(address).is_ok_and(|content| content.is_some_and(|c| c.says(&owner.inscription())))
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
    /// What the owner's result `told` is all that it has, if it has that and no request of its was killed; otherwise every
    /// file is looked into, which takes a thousand times as long with a thousand pods.
    ///
    /// # Errors
    /// When a file cannot be read or removed; the others are given back nevertheless, and asking again does the rest.
    pub fn release(&self, owner: &Owner, told: &[IpAddr], now: SystemTime) -> Result<Vec<IpAddr>, LedgerError> {
        if !self.directory.path().exists() {
            return Ok(Vec::new());
        }
        let lock = match self.directory.lock() {
            // Where nothing can be written, nothing need be if there is nothing to be given back.
            Err(_) if self.survey(owner).is_ok_and(|survey| survey.held.is_empty()) => return Ok(Vec::new()),
            lock => lock?,
        };
        let mut marks = lock.marks();
        let marked = marks.has(owner);
        let complete = !marked && !told.is_empty() && told.iter().all(|address| self.confirms(owner, *address));
        let survey = if complete { Survey { held: told.to_owned(), empty: false } } else { self.survey(owner)? };
        self.note_cooling(&survey.held, now);
        self.remove_of(owner, &survey.held)?;
        if marked {
            marks.forget(owner);
            // One that stays, as on a disk that is full, costs a look into every file.
            lock.note(&marks).ok();
        }
        if survey.empty {
            self.clear_empty()?;
        }
        Ok(survey.held)
    }

    /// Gives back what belongs to none of these owners, and clears away what a crash left empty: CNI's GC. What speaks of
    /// no container is left alone. Returns the addresses given back.
    ///
    /// # Errors
    /// When a file cannot be read or removed; the others are given back nevertheless.
    pub fn retain(&self, valid: &[Owner], now: SystemTime) -> Result<Vec<IpAddr>, LedgerError> {
        let mut stale = Vec::new();
        // What speaks of nobody is kept.
        let is_valid = |text: &str| {
            let inscription = Inscription::parse(text);
            inscription.is_none_or(|inscription| valid.iter().any(|owner| inscription.is_of(owner)))
        };
        let collect = |address, content: Content| {
            if matches!(content, Content::Text(text) if !is_valid(&text)) {
                stale.push(address);
            }
            Ok(())
        };
        if !self.directory.path().exists() {
            return Ok(stale);
        }
        let lock = self.directory.lock()?;
        self.directory.for_each(collect)?;
        self.note_cooling(&stale, now);
        stale.iter().map(|address| self.directory.remove(*address)).fold(Ok(()), Result::and)?;
        let mut marks = lock.marks();
        let before = marks.clone();
        marks.forget_all_but(valid);
        if marks != before {
            lock.note(&marks).ok();
        }
        self.clear_empty()?;
        Ok(stale)
    }

    /// Whether an address of each set could be given now; leaves everything as it is. CNI's STATUS.
    ///
    /// # Errors
    /// What [`Ledger::reserve`] would say.
    pub fn ready(&self, sets: &[RangeSet], census: &dyn Census) -> Result<(), LedgerError> {
        let _lock = self.directory.lock()?;
        let probe = Turn::probe(&self.directory, census);
        sets.iter().try_for_each(|set| probe.could_give(set))
    }

    /// Where the addresses are written down.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Notes that addresses have to cool, before their files go, so that a crash between cannot forget it. Under the lock.
    fn note_cooling(&self, addresses: &[IpAddr], now: SystemTime) {
        if addresses.is_empty() {
            return;
        }
        let mut cooling = Cooling::parse(&self.directory.cooling(), now);
        addresses.iter().for_each(|address| cooling.push(*address, now));
        self.directory.note_cooling(cooling.to_text());
    }

    /// Removes addresses' files that are an owner's, and not by now somebody else's. Under the lock.
    fn remove_of(&self, owner: &Owner, addresses: &[IpAddr]) -> Result<(), LedgerError> {
        let remove = |address: &IpAddr| match self.directory.content(*address)? {
            Some(Content::Text(text))
                if Inscription::parse(&text).is_some_and(|inscription| inscription.is_of(owner)) =>
            {
                self.directory.remove(*address)
            }
            _ => Ok(()),
        };
        addresses.iter().map(remove).fold(Ok(()), Result::and)
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
    /// content is written (so does host-local), so one that is empty under the lock was left by a crash. Under the lock.
    fn clear_empty(&self) -> Result<(), LedgerError> {
        self.directory.for_each(|address, content| match content {
            Content::Empty => self.directory.remove(address),
            Content::Text(_) => Ok(()),
        })
    }
}

#[cfg(test)]
mod history;
#[cfg(test)]
mod tests;
