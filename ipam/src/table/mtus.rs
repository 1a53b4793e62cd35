//! [`Mtus`]: what all leases say of the largest outer packet that their nodes take, counted, so that what all of them can
//! take costs no walk over the table.

use std::collections::BTreeMap;

use crate::Lease;

/// What is said, each with how many leases say it.
#[derive(Debug, Default)]
pub struct Mtus(BTreeMap<Option<u32>, usize>);

impl Mtus {
    /// One more.
    pub fn add(&mut self, lease: &Lease) {
        *self.0.entry(lease.mtu()).or_default() += 1;
    }

    /// One less.
    pub fn remove(&mut self, lease: &Lease) {
        if let Some(count) = self.0.get_mut(&lease.mtu()) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&lease.mtu());
            }
        }
    }

    /// All but one lease's.
    pub fn without(&self, lease: Option<&Lease>) -> impl Iterator<Item = Option<u32>> {
        let own = lease.map(Lease::mtu);
        self.0.iter().filter(move |(mtu, count)| **count > usize::from(own == Some(**mtu))).map(|it| *it.0)
    }
}
