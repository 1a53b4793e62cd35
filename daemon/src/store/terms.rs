//! How long a lease lasts, and how long a store waits before it tries again.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// How long a lease lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// From its last renewal to its end.
    pub validity: Duration,
    /// How long before its end it is renewed.
    pub margin: Duration,
}

impl Terms {
    /// Flannel's: a day, renewed when `margin` is left.
    pub fn of_a_day(margin: Duration) -> Terms {
        Terms { validity: Duration::from_secs(24 * 60 * 60), margin }
    }

    /// The margin; of a lease that is shorter than that, half of it.
    pub fn effective_margin(&self) -> Duration {
        if self.margin < self.validity { self.margin } else { self.validity / 2 }
    }
}

const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// Pauses that grow from 100 ms to 5 s, each shortened at random by up to a half, so that the nodes of a cluster do not all
/// come back in the same instant.
#[derive(Debug)]
pub struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Backoff {
        Backoff(SHORTEST)
    }
}

impl Backoff {
    /// How long to wait now.
    pub fn pause(&mut self) -> Duration {
        let full = self.0;
        self.0 = (full * 2).min(LONGEST);
        full / 2 + full.mul_f64((dice() % 1000) as f64 / 2000.0)
    }
}

/// A random number: the standard library's own seed for hash tables, which is all the chance that choosing a subnet or a
/// pause needs.
pub fn dice() -> u64 {
    RandomState::new().hash_one(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_five_seconds_and_stay_there() {
        let mut backoff = Backoff::default();
        let pauses: Vec<Duration> = (0..12).map(|_| backoff.pause()).collect();
        assert!(pauses[0] >= SHORTEST / 2 && pauses[0] <= SHORTEST, "{pauses:?}");
        assert!(pauses[11] >= LONGEST / 2 && pauses[11] <= LONGEST, "{pauses:?}");
    }

    #[test]
    fn the_dice_do_not_fall_twice_alike() {
        assert_ne!((dice(), dice()), (dice(), dice()));
    }
}
