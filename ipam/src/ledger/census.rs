//! [`Census`]: who of those that have addresses still lives. The ledger asks when a range is used up, and never before;
//! where the answer comes from (links, namespaces, the time of boot) is the shell's business.

use std::time::SystemTime;

/// What is known of an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It lives, or may live: its address is its own.
    Alive,
    /// Nothing of it is to be seen on this node, but nothing proves that it is gone: its address is its own, and a person
    /// is told.
    Lost,
    /// It is gone for sure, as after a reboot: its address is given to who needs it.
    Gone,
}

/// An address's file, as far as it tells of its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The container's id.
    pub container: &'a str,
    /// The interface; `host-local` before 0.8 did not write it.
    pub ifname: Option<&'a str>,
    /// When it was written, by the wall clock of that moment.
    pub written: SystemTime,
}

/// Who knows what became of owners.
pub trait Census {
    /// What became of one.
    fn fate(&self, entry: &Entry<'_>) -> Fate;
}

/// The census of somebody who cannot look: everybody lives.
#[derive(Clone, Copy, Debug)]
pub struct NoCensus;

impl Census for NoCensus {
    fn fate(&self, _entry: &Entry<'_>) -> Fate {
        Fate::Alive
    }
}
