//! [`Trigger`]: who says "look again" and when it is done. Pure: time is an argument.
//!
//! Any number of reasons make one look, at most so often (`SPACING`), after a failure with a growing delay (`RETRY`), and
//! at least so often (`HEARTBEAT`), for ever. It does not know what a look is.

use std::time::Duration;

/// Time since the process began, or virtual time.
pub type Moment = Duration;

/// The least time between the starts of two looks: a storm of reasons costs one look in this time.
const SPACING: Duration = Duration::from_millis(100);

/// First and longest delay before a failed look is tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// When the next look is due.
#[derive(Debug)]
pub struct Trigger {
    heartbeat: Duration,
    last: Option<Moment>,
    wanted: bool,
    failures: u32,
}

impl Trigger {
    /// A first look is due at once; without any reason one follows each `heartbeat`.
    pub fn new(heartbeat: Duration) -> Trigger {
        Trigger { heartbeat: heartbeat.max(SPACING), last: None, wanted: true, failures: 0 }
    }

    /// There is a reason to look.
    pub fn look_again(&mut self) {
        self.wanted = true;
    }

    /// When the next look is due.
    pub fn due(&self) -> Moment {
        let Some(last) = self.last else { return Duration::ZERO };
        let after_failure = (self.failures > 0).then(|| last + self.delay());
        let wanted = self.wanted.then(|| last + SPACING);
        let heartbeat = last + self.heartbeat;
        [after_failure, wanted].into_iter().flatten().fold(heartbeat, Duration::min)
    }

    /// Whether a look is due now. If so it counts as begun: say how it went by [`Trigger::done`] or [`Trigger::failed`].
    pub fn begin(&mut self, now: Moment) -> bool {
        if self.due() > now {
            return false;
        }
        self.last = Some(now);
        self.wanted = false;
        true
    }

    /// The look found everything right, or made it so.
    pub fn done(&mut self) {
        self.failures = 0;
    }

    /// The look failed: another one follows with a delay that doubles each time.
    pub fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    fn delay(&self) -> Duration {
        let (first, longest) = RETRY;
        first.saturating_mul(1 << (self.failures - 1).min(16)).min(longest)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn many_reasons_make_one_look_and_never_two_within_the_spacing() {
        let mut trigger = Trigger::new(60_000 * MS);
        assert!(trigger.begin(Duration::ZERO), "the first look is due at once");
        trigger.done();
        for _ in 0..1000 {
            trigger.look_again();
        }
        assert!(!trigger.begin(99 * MS));
        assert!(trigger.begin(100 * MS));
        trigger.done();
        assert_eq!(trigger.due(), 60_100 * MS, "then only the heartbeat is left");
    }

    #[test]
    fn a_failure_is_tried_again_for_ever_with_a_delay_that_ends_growing() {
        let mut trigger = Trigger::new(60_000 * MS);
        let mut gaps = Vec::new();
        let mut now = Duration::ZERO;
        for _ in 0..40 {
            assert!(trigger.begin(now));
            trigger.failed();
            gaps.push(trigger.due() - now);
            now = trigger.due();
        }
        assert_eq!(gaps[..3], [100 * MS, 200 * MS, 400 * MS]);
        assert_eq!(gaps.last(), Some(&(5_000 * MS)));
        assert!(trigger.begin(now));
        trigger.done();
        assert_eq!(trigger.due() - now, 60_000 * MS);
    }

    #[test]
    fn a_reason_during_a_back_off_is_not_made_to_wait_for_it() {
        let mut trigger = Trigger::new(60_000 * MS);
        for at in [0, 100, 300, 700, 1500] {
            assert!(trigger.begin(at * MS));
            trigger.failed();
        }
        trigger.look_again();
        assert_eq!(trigger.due(), 1600 * MS);
    }
}
