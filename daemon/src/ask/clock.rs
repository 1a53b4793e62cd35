//! [`Clock`]: from the process's own time to the one on the wall, for people.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::store::utc::Utc;
use crate::trigger::Moment;

/// Both clocks, read at the same instant: a wall clock that is set while the daemon runs then moves no age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// The process's time.
    pub now: Moment,
    /// The wall's.
    pub wall: SystemTime,
}

impl Clock {
    /// The wall clock now, when the process's time is this.
    pub fn at(now: Moment) -> Clock {
        Clock { now, wall: SystemTime::now() }
    }

    /// The time of day of a moment, as RFC 3339 section 5.6 writes it, in UTC, to the second: `2026-11-21T12:00:00Z`.
    pub fn time_of(&self, moment: Moment) -> String {
        rfc3339(self.since_epoch(moment))
    }

    /// Seconds from 1970 to a moment.
    pub fn since_epoch(&self, moment: Moment) -> Duration {
        // A wall clock before 1970 belongs to a machine that has not been told the time yet.
        let wall = self.wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        wall.saturating_sub(self.age(moment))
    }

    /// How long ago a moment was.
    pub fn age(&self, moment: Moment) -> Duration {
        self.now.saturating_sub(moment)
    }
}

fn rfc3339(since_epoch: Duration) -> String {
    Utc::at(since_epoch).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_day_are_those_that_date_prints() {
        // `date -u -d @N +%FT%TZ`
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_732_147_200, "2024-11-21T00:00:00Z"),
            (1_795_262_400, "2026-11-21T12:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn a_clock_that_is_set_while_the_daemon_runs_moves_no_age() {
        let minute = Duration::from_secs(60);
        let wall = UNIX_EPOCH + Duration::from_secs(1_795_262_400);
        let clock = Clock { now: 10 * minute, wall };
        assert_eq!(clock.time_of(9 * minute), "2026-11-21T11:59:00Z");
        assert_eq!(clock.age(9 * minute), minute);
        assert_eq!(clock.age(11 * minute), Duration::ZERO, "the future is now");
    }
}
