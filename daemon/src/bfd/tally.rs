//! [`Tally`]: packets of BFD that came, and why some of them were not taken, counted by BFD's thread and read by whoever makes a page of metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use bgp::bfd::{Discard, Sessions};

/// The counts as BFD's thread last left them.
#[derive(Debug, Default)]
pub struct Tally {
    received: AtomicU64,
    discarded: [AtomicU64; Discard::ALL.len()],
}

impl Tally {
    /// These are the counts now.
    pub(super) fn note(&self, sessions: &Sessions) {
        self.received.store(sessions.received(), Ordering::Relaxed);
        for (count, why) in self.discarded.iter().zip(Discard::ALL) {
            count.store(sessions.discards().of(why), Ordering::Relaxed);
        }
    }

    /// Packets that came, of all kinds.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// How many of them were discarded, for each reason.
    pub fn discarded(&self) -> Vec<(Discard, u64)> {
        Discard::ALL.into_iter().zip(self.discarded.iter().map(|count| count.load(Ordering::Relaxed))).collect()
    }
}

impl PartialEq for Tally {
    fn eq(&self, other: &Tally) -> bool {
        (self.received(), self.discarded()) == (other.received(), other.discarded())
    }
}
