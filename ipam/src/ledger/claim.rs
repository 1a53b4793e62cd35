//! [`Claim`]: what somebody wants of the ledger, and the giving itself, which happens under the lock.
//!
//! An address is given by making its file with `O_EXCL`; everything else here is the order in which that is tried. In the
//! usual case it succeeds at once. When many in a row are taken, the directory is listed once instead of tried; when
//! only addresses that were given back a moment ago are left, the coolest is taken; and when none are, files are read at
//! last: what a crash left empty, what is this owner's already, and what belongs to somebody who is gone for sure.

use std::cell::OnceCell;
use std::collections::HashSet;
use std::net::IpAddr;
use std::time::SystemTime;

use ipnet::IpNet;

use super::census::{Census, Entry, Fate};
use super::cooling::Cooling;
use super::directory::{Content, Directory, LastGiven};
use super::error::{LedgerError, Lost};
use super::owner::{Inscription, Owner};
use super::range::{Range, RangeSet};
use super::{Origin, Reservation};

/// After so many taken addresses in a row it is cheaper to list the directory.
const TRIED: usize = 16;

/// What an owner wants.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// Whose the addresses will be.
    pub owner: &'a Owner,
    /// One address of each, in this order.
    pub sets: &'a [RangeSet],
    /// Addresses that it has to be, at most one of each set; the other sets give what comes next.
    pub wanted: &'a [IpAddr],
    /// The wall clock.
    pub now: SystemTime,
}

/// A claim while the lock is held.
pub(super) struct Turn<'a> {
    directory: &'a Directory,
    census: &'a dyn Census,
    inscription: String,
    cooling: Cooling,
    /// What an earlier request of the owner left.
    held: Vec<IpAddr>,
}

impl Claim<'_> {
    /// Which of the wanted addresses each set has to give.
    pub(super) fn assign(&self) -> Result<Vec<Option<IpAddr>>, LedgerError> {
        let mut assigned: Vec<Option<IpAddr>> = vec![None; self.sets.len()];
        for &address in self.wanted {
            let Some(index) = self.sets.iter().position(|set| set.contains(address)) else {
                if self.sets.iter().any(|set| set.is_gateway(address)) {
                    return Err(LedgerError::IsGateway { address });
                }
                let ranges: Vec<String> = self.sets.iter().map(RangeSet::to_string).collect();
                return Err(LedgerError::OutOfRanges { address, ranges: ranges.join(" and ") });
            };
            if self.sets[index].is_gateway(address) {
                return Err(LedgerError::IsGateway { address });
            }
            match assigned[index].replace(address) {
                Some(first) if first != address => {
                    let ranges = self.sets[index].to_string();
                    return Err(LedgerError::TwoOfOneSet { first, second: address, ranges });
                }
                _ => {}
            }
        }
        Ok(assigned)
    }
}

impl<'a> Turn<'a> {
    pub(super) fn new(directory: &'a Directory, claim: &Claim<'a>, census: &'a dyn Census) -> Turn<'a> {
        let cooling = Cooling::parse(&directory.cooling(), claim.now);
        Turn { directory, census, inscription: claim.owner.inscription(), cooling, held: Vec::new() }
    }

    /// A turn that gives nothing. What it writes to try the disk is garbage to everybody, should it be killed meanwhile.
    pub(super) fn probe(directory: &'a Directory, census: &'a dyn Census) -> Turn<'a> {
        Turn { directory, census, inscription: "\r\n".to_owned(), cooling: Cooling::default(), held: Vec::new() }
    }

    /// The same for an owner that has something already.
    pub(super) fn resumed(self, held: Vec<IpAddr>) -> Turn<'a> {
        Turn { held, ..self }
    }

    /// Whether an address of a set could be given.
    pub(super) fn could_give(&self, set: &RangeSet) -> Result<(), LedgerError> {
        let names = self.directory.names()?;
        for (address, _) in set.candidates(None).filter(|(address, _)| !names.contains(address)) {
            if self.directory.create(address, &self.inscription)? {
                return self.directory.remove(address);
            }
        }
        let mut lost = Lost::default();
        for (address, _) in set.candidates(None) {
            match self.taken(address)? {
                Taken::ByOwner | Taken::ByNobody => return Ok(()),
                Taken::By { name, fate: Fate::Lost } => lost.push(name),
                Taken::By { .. } => {}
            }
        }
        Err(self.exhausted(set, lost))
    }

    /// Gives one address of each set, the wanted one where there is one; all or none.
    pub(super) fn give(&self, sets: &[RangeSet], wanted: &[Option<IpAddr>]) -> Result<Vec<Reservation>, LedgerError> {
        let mut reserved = Vec::with_capacity(sets.len());
        for (index, (set, wanted)) in sets.iter().zip(wanted).enumerate() {
            let given = match wanted {
                Some(address) => self.give_wanted(set, index, *address),
                None => self.give_next(set, index),
            };
            match given {
                Ok(reservation) => reserved.push(reservation),
                Err(error) => {
                    // The first error is the one to report; what cannot be taken back now, the owner's DEL will.
                    self.take_back(&reserved).ok();
                    return Err(error);
                }
            }
        }
        Ok(reserved)
    }

    /// Takes back what this turn gave.
    fn take_back(&self, given: &[Reservation]) -> Result<(), LedgerError> {
        let fresh = given.iter().filter(|reservation| reservation.origin == Origin::Fresh);
        fresh.map(|reservation| self.directory.remove(reservation.address.addr())).fold(Ok(()), Result::and)
    }

    /// Gives the address that was asked for, whoever had it a moment ago.
    fn give_wanted(&self, set: &RangeSet, index: usize, address: IpAddr) -> Result<Reservation, LedgerError> {
        let Some(range) = set.range_of(address) else {
            return Err(LedgerError::OutOfRanges { address, ranges: set.to_string() });
        };
        let mut last_given = self.directory.last_given(index)?;
        if self.create(address, &mut last_given)? {
            return Ok(reservation(address, range, Origin::Fresh));
        }
        match self.taken(address)? {
            Taken::ByOwner => Ok(reservation(address, range, Origin::Earlier)),
            Taken::ByNobody if self.seize(address)? => Ok(reservation(address, range, Origin::Fresh)),
            Taken::ByNobody => self.give_wanted(set, index, address),
            Taken::By { name, .. } => {
                let path = self.directory.file(address);
                Err(LedgerError::Taken { address, holder: name, path })
            }
        }
    }

    /// Gives the next address of a set.
    fn give_next(&self, set: &RangeSet, index: usize) -> Result<Reservation, LedgerError> {
        let mut last_given = self.directory.last_given(index)?;
        let last = last_given.address();
        // An owner whose first attempt was killed gets what it left; and what was given last, if that is its own.
        let own_last = match last {
            Some(last) => {
                self.directory.content(last)?.filter(|content| content.says(&self.inscription)).and(Some(last))
            }
            None => None,
        };
        let mut earlier = self.held.iter().copied().chain(own_last);
        if let Some((address, range)) = earlier.find_map(|address| Some((address, set.range_of(address)?))) {
            return Ok(reservation(address, range, Origin::Earlier));
        }
        let listed = OnceCell::new();
        for (tried, (address, range)) in set.candidates(last).filter(|(a, _)| !self.cooling.contains(*a)).enumerate() {
            if tried == TRIED {
                listed.set(self.directory.names()?).ok();
            }
            if !listed.get().is_some_and(|names: &HashSet<IpAddr>| names.contains(&address))
                && self.create(address, &mut last_given)?
            {
                return Ok(reservation(address, range, Origin::Fresh));
            }
        }
        for address in self.cooling.oldest_first() {
            if let Some(range) = set.range_of(address)
                && self.create(address, &mut last_given)?
            {
                return Ok(reservation(address, range, Origin::Fresh));
            }
        }
        self.give_left(set, last)
    }

    /// Every address has a file, so it is time to read these.
    fn give_left(&self, set: &RangeSet, last: Option<IpAddr>) -> Result<Reservation, LedgerError> {
        let mut lost = Lost::default();
        for (address, range) in set.candidates(last) {
            match self.taken(address)? {
                Taken::ByOwner => return Ok(reservation(address, range, Origin::Earlier)),
                Taken::ByNobody if self.seize(address)? => return Ok(reservation(address, range, Origin::Fresh)),
                Taken::By { name, fate: Fate::Lost } => lost.push(name),
                Taken::ByNobody | Taken::By { .. } => {}
            }
        }
        Err(self.exhausted(set, lost))
    }

    fn exhausted(&self, set: &RangeSet, lost: Lost) -> LedgerError {
        let directory = self.directory.path().to_owned();
        LedgerError::Exhausted { ranges: set.to_string(), count: set.len(), lost, directory }
    }

    /// Who has an address that has a file.
    fn taken(&self, address: IpAddr) -> Result<Taken, LedgerError> {
        let Some(content) = self.directory.content(address)? else {
            // Gone by now, or no file at all but a directory or the like, which stands in the way for good.
            let there = self.directory.is_there(address);
            let name = "something that is no file".to_owned();
            return Ok(if there { Taken::By { name, fate: Fate::Alive } } else { Taken::ByNobody });
        };
        let text = match &content {
            Content::Empty => return Ok(Taken::ByNobody),
            content if content.says(&self.inscription) => return Ok(Taken::ByOwner),
            Content::Text(text) => text,
        };
        let Some(inscription) = Inscription::parse(text) else {
            return Ok(Taken::By { name: "something that is no container".to_owned(), fate: Fate::Alive });
        };
        let (container, ifname) = (inscription.container, inscription.ifname);
        let written = self.directory.written(address)?;
        let fate = written.map_or(Fate::Alive, |written| self.census.fate(&Entry { container, ifname, written }));
        if fate == Fate::Gone {
            return Ok(Taken::ByNobody);
        }
        Ok(Taken::By { name: inscription.to_string(), fate })
    }

    /// Gives the file of an address anew. `false` when somebody who does not heed the lock was faster.
    fn seize(&self, address: IpAddr) -> Result<bool, LedgerError> {
        self.directory.remove(address)?;
        self.directory.create(address, &self.inscription)
    }

    /// Makes the file of an address and notes that it was given last; both or nothing.
    fn create(&self, address: IpAddr, last_given: &mut LastGiven) -> Result<bool, LedgerError> {
        let created = self.directory.create(address, &self.inscription)?;
        if created {
            last_given.store(address).or_else(|error| self.directory.remove(address).and(Err(error)))?;
        }
        Ok(created)
    }
}

/// Whose an address with a file is.
enum Taken {
    /// The one that asks.
    ByOwner,
    /// Nobody who could want it back.
    ByNobody,
    /// Somebody else.
    By { name: String, fate: Fate },
}

fn reservation(address: IpAddr, range: &Range, origin: Origin) -> Reservation {
    let prefix = range.subnet().prefix_len();
    // Cannot fail: the prefix length is that of a subnet of the same family.
    let address = IpNet::new(address, prefix).unwrap_or_else(|_| IpNet::from(address));
    Reservation { address, gateway: range.gateway(), origin }
}

#[cfg(test)]
mod tests;
