//! Timers as values: when each of a connection's timers ends, and how long they run (RFC 4271 section 10).

use std::time::Duration;

use super::Event;

/// How long an OPEN is awaited (RFC 4271 section 8.2.2 suggests four minutes).
pub const OPEN_HOLD: Duration = Duration::from_secs(240);
/// The longest pause for a peer that comes and goes.
const LONGEST_IDLE_HOLD: Duration = Duration::from_secs(60);
/// The SendHoldTimer is twice the hold time and at least this, unless somebody says otherwise (RFC 9687 section 3.1).
pub const SEND_HOLD: Duration = Duration::from_secs(480);

/// When each timer ends; `None` when it does not run. Times are since a moment of the caller's choice, which never goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Timers {
    /// ConnectRetryTimer.
    pub connect_retry: Option<Duration>,
    /// HoldTimer.
    pub hold: Option<Duration>,
    /// KeepaliveTimer.
    pub keepalive: Option<Duration>,
    /// DelayOpenTimer.
    pub delay_open: Option<Duration>,
    /// IdleHoldTimer.
    pub idle_hold: Option<Duration>,
    /// SendHoldTimer.
    pub send_hold: Option<Duration>,
}

impl Timers {
    /// When the next one ends.
    pub fn next(&self) -> Option<Duration> {
        self.all().into_iter().filter_map(|(at, _)| at).min()
    }

    /// One that has ended by `now`, stopped, as the event that it is. A clock that jumped over several ends is asked again until there is none.
    /// What ends a session comes before what keeps it.
    pub fn expired(&mut self, now: Duration) -> Option<Event> {
        let (_, event) = self.all().into_iter().find(|(at, _)| at.is_some_and(|at| at <= now))?;
        *match event {
            Event::HoldExpires => &mut self.hold,
            Event::SendHoldExpires => &mut self.send_hold,
            Event::KeepaliveExpires => &mut self.keepalive,
            Event::DelayOpenExpires => &mut self.delay_open,
            Event::IdleHoldExpires => &mut self.idle_hold,
            _ => &mut self.connect_retry,
        } = None;
        Some(event)
    }

    fn all(&self) -> [(Option<Duration>, Event); 6] {
        [
            (self.hold, Event::HoldExpires),
            (self.send_hold, Event::SendHoldExpires),
            (self.keepalive, Event::KeepaliveExpires),
            (self.delay_open, Event::DelayOpenExpires),
            (self.idle_hold, Event::IdleHoldExpires),
            (self.connect_retry, Event::ConnectRetryExpires),
        ]
    }
}

/// How long the timers of a peer run.
#[derive(Clone, Debug)]
pub struct Timing {
    /// ConnectRetryTime: from one attempt to the next.
    pub connect_retry: Duration,
    /// DelayOpenTime; zero to send OPEN at once.
    pub delay_open: Duration,
    /// The first pause after a failure; it doubles with each.
    pub idle_hold: Duration,
    /// The SendHoldTimer, if twice the hold time is less.
    pub send_hold: Duration,
    /// From one keepalive to the next, where a third of the hold time is more.
    pub keepalive: Option<Duration>,
    agreed_hold: Duration,
    dice: u64,
}

impl Timing {
    /// With the chance from which jitter is made: equal seeds make equal times.
    pub fn new(connect_retry: Duration, idle_hold: Duration, seed: u64) -> Timing {
        let (delay_open, agreed_hold) = (Duration::ZERO, Duration::ZERO);
        Timing {
            connect_retry,
            delay_open,
            idle_hold,
            send_hold: SEND_HOLD,
            keepalive: None,
            agreed_hold,
            dice: seed | 1,
        }
    }

    /// Sets the hold time that both ends agreed upon.
    pub(super) fn agree(&mut self, hold: Duration) {
        self.agreed_hold = hold;
    }

    pub(super) fn agreed_hold(&self) -> Duration {
        self.agreed_hold
    }

    /// 0.75 to 1.0 of a duration, so that many sessions do not beat at once (section 10).
    pub(super) fn jitter(&mut self, whole: Duration) -> Duration {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        let thousandths = u32::try_from(self.dice % 251).unwrap_or(0);
        whole * (750 + thousandths) / 1000
    }

    pub(super) fn idle_hold(&mut self, retries: u32) -> Duration {
        let doubled = self.idle_hold * (1 << retries.saturating_sub(1).min(10));
        self.jitter(doubled.min(LONGEST_IDLE_HOLD))
    }

    pub(super) fn hold_from(&self, now: Duration) -> Option<Duration> {
        Some(now + self.agreed_hold).filter(|_| !self.agreed_hold.is_zero())
    }

    /// A third of the hold time or less, jittered, and not less than a second (section 4.4).
    pub(super) fn keepalive_from(&mut self, now: Duration) -> Option<Duration> {
        let third = self.agreed_hold / 3;
        let pause = self.keepalive.map_or(third, |wanted| wanted.min(third)).max(Duration::from_secs(1));
        Some(now + self.jitter(pause)).filter(|_| !self.agreed_hold.is_zero())
    }

    /// With a hold time of zero there is none (RFC 9687 section 3.1).
    pub(super) fn send_hold_time(&self) -> Option<Duration> {
        Some((self.agreed_hold * 2).max(self.send_hold)).filter(|_| !self.agreed_hold.is_zero())
    }
}
