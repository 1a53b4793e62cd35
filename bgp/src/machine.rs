//! The state machine of one connection (RFC 4271 section 8): [`Machine`] steps through a [table](mod@table) that is data.
//!
//! A peer has two of them, one for the connection that we open and one for the connection that it opens; [`collision`] decides
//! between them. A machine keeps its state, its counter and its timers; what an [`Action`] does to bytes, sockets or routes is done
//! by who called. Does not read messages and has no clock: the time of each event is an argument.

use std::fmt;
use std::time::Duration;

pub mod collision;
pub mod table;
pub mod timers;

use table::row;
pub use table::{Row, rows};
pub use timers::{Timers, Timing};

/// Where a connection is on its way (RFC 4271 section 8.2.2). Further ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum State {
    /// Nothing is wanted, or it is too early to try again.
    #[default]
    Idle,
    /// Waiting for our connection to be there.
    Connect,
    /// Waiting for theirs, or to try ours again.
    Active,
    /// Our OPEN is sent, theirs is awaited.
    OpenSent,
    /// Their OPEN is good, their KEEPALIVE is awaited.
    OpenConfirm,
    /// Routes go to and fro.
    Established,
}

impl State {
    /// All of them, in their order.
    pub const ALL: [State; 6] =
        [State::Idle, State::Connect, State::Active, State::OpenSent, State::OpenConfirm, State::Established];
}

/// What happens to a connection. The numbers are RFC 4271's (section 8.1); those beyond 28 are of later RFCs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Event {
    /// 1: a person wants the session.
    ManualStart = 1,
    /// 2: a person wants it no longer.
    ManualStop = 2,
    /// 3: we want it ourselves.
    AutomaticStart = 3,
    /// 4: a person wants it, and the peer is to connect.
    ManualStartPassive = 4,
    /// 5: we want it, and the peer is to connect.
    AutomaticStartPassive = 5,
    /// 6: as 3, after the pause for a peer that comes and goes.
    AutomaticStartDamped = 6,
    /// 7: as 5, after that pause.
    AutomaticStartDampedPassive = 7,
    /// 8: we want it no longer.
    AutomaticStop = 8,
    /// 9: time to connect again.
    ConnectRetryExpires = 9,
    /// 10: nothing was heard for the hold time.
    HoldExpires = 10,
    /// 11: time to say that we are here.
    KeepaliveExpires = 11,
    /// 12: the peer had its time to send its OPEN first.
    DelayOpenExpires = 12,
    /// 13: the pause for a peer that comes and goes is over.
    IdleHoldExpires = 13,
    /// 14: a connection is asked for, from where it may be.
    TcpValid = 14,
    /// 15: a connection is asked for, from where it may not be.
    TcpInvalid = 15,
    /// 16: our connection is there.
    TcpAcknowledged = 16,
    /// 17: theirs is there.
    TcpConfirmed = 17,
    /// 18: the connection is gone, or did not come.
    TcpFails = 18,
    /// 19: a good OPEN.
    Open = 19,
    /// 20: a good OPEN while ours is delayed.
    OpenWhileDelayed = 20,
    /// 21: a bad header.
    HeaderError = 21,
    /// 22: a bad OPEN.
    OpenError = 22,
    /// 23: the other of two connections is kept.
    CollisionDump = 23,
    /// 24: a NOTIFICATION that our version is not theirs.
    NotificationOfVersion = 24,
    /// 25: another NOTIFICATION.
    Notification = 25,
    /// 26: a KEEPALIVE.
    Keepalive = 26,
    /// 27: a good UPDATE.
    Update = 27,
    /// 28: an UPDATE that ends the session.
    UpdateError = 28,
    /// 29: the peer took nothing for the send hold time (RFC 9687).
    SendHoldExpires = 29,
    /// 30: a ROUTE-REFRESH (RFC 2918; not numbered there).
    Refresh = 30,
    /// 31: a ROUTE-REFRESH of a wrong length (RFC 7313; not numbered there).
    RefreshError = 31,
    /// 32: BFD says that the path is down (RFC 5882 section 4.3, RFC 9384; not numbered there).
    PathDown = 32,
}

impl Event {
    /// All of them, in the order of their numbers.
    pub const ALL: [Event; 32] = [
        Event::ManualStart,
        Event::ManualStop,
        Event::AutomaticStart,
        Event::ManualStartPassive,
        Event::AutomaticStartPassive,
        Event::AutomaticStartDamped,
        Event::AutomaticStartDampedPassive,
        Event::AutomaticStop,
        Event::ConnectRetryExpires,
        Event::HoldExpires,
        Event::KeepaliveExpires,
        Event::DelayOpenExpires,
        Event::IdleHoldExpires,
        Event::TcpValid,
        Event::TcpInvalid,
        Event::TcpAcknowledged,
        Event::TcpConfirmed,
        Event::TcpFails,
        Event::Open,
        Event::OpenWhileDelayed,
        Event::HeaderError,
        Event::OpenError,
        Event::CollisionDump,
        Event::NotificationOfVersion,
        Event::Notification,
        Event::Keepalive,
        Event::Update,
        Event::UpdateError,
        Event::SendHoldExpires,
        Event::Refresh,
        Event::RefreshError,
        Event::PathDown,
    ];
}

/// What is to be done. Timers and the counter are the machine's own; the rest is for who called it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Start or restart the ConnectRetryTimer.
    StartConnectRetry,
    /// Stop it: "sets the ConnectRetryTimer to zero".
    StopConnectRetry,
    /// ConnectRetryCounter = 0.
    ClearRetries,
    /// ConnectRetryCounter + 1.
    CountRetry,
    /// Pause before the next start, the longer the more often it failed: "performs peer oscillation damping".
    IdleHold,
    /// Pause before the next attempt as long as between two: nobody was there, which is no fault.
    Pause,
    /// Start the DelayOpenTimer.
    StartDelayOpen,
    /// Stop it.
    StopDelayOpen,
    /// Wait for an OPEN, but not for ever: "sets the HoldTimer to a large value".
    StartOpenHold,
    /// Start HoldTimer and KeepaliveTimer with the values agreed upon, or neither for a hold time of 0.
    StartAgreed,
    /// The peer is there: restart the HoldTimer.
    RestartHold,
    /// Restart the KeepaliveTimer.
    RestartKeepalive,
    /// Open a connection.
    OpenConnection,
    /// Close the connection.
    CloseConnection,
    /// Refuse a connection for which it is not the time.
    RefuseConnection,
    /// Send OPEN.
    SendOpen,
    /// Send KEEPALIVE.
    SendKeepalive,
    /// Send NOTIFICATION with what is said here or what is at hand.
    Notify(Reason),
    /// Compare with the peer's other connection ([`collision`]).
    ResolveCollision,
    /// Take the routes of an UPDATE, or answer a ROUTE-REFRESH.
    Deliver,
    /// The routes of this session are lost.
    LoseRoutes(Loss),
}

/// What a NOTIFICATION of ours says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Cease, with the subcode and the words of whoever ended it.
    Cease,
    /// Cease/7.
    Collision,
    /// Hold Timer Expired.
    Hold,
    /// Send Hold Timer Expired.
    SendHold,
    /// Finite State Machine Error, with the state (RFC 6608).
    StateMachine,
    /// What was found wrong with the message at hand.
    Error,
    /// Cease/10.
    PathDown,
}

/// How a session was lost: what may be kept of its routes follows from it and from what was agreed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Loss {
    /// It was ended by us on purpose: nothing is kept.
    Ended,
    /// Only the connection broke: kept under graceful restart (RFC 4724 section 4.2).
    Broken,
    /// With a NOTIFICATION or an expired timer: kept when both ends have the N bit, and it was no hard reset (RFC 8538 section 4).
    Notified,
}

/// The state machine of one connection.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Where it is.
    pub state: State,
    /// ConnectRetryCounter: attempts that failed since the last that somebody wanted.
    pub retries: u32,
    /// What is waited for.
    pub timers: Timers,
    timing: Timing,
    /// Failures in a row, which a start does not clear: the pause grows with them.
    failures: u32,
    established_at: Duration,
}

/// A session that held so long was none of a peer that comes and goes.
const STEADY: Duration = Duration::from_secs(60);

impl Machine {
    /// One in Idle.
    pub fn new(timing: Timing) -> Machine {
        Machine {
            state: State::Idle,
            retries: 0,
            timers: Timers::default(),
            timing,
            failures: 0,
            established_at: Duration::ZERO,
        }
    }

    /// Takes an event: the row that holds for it, its timers and its counter already done. The rest of its actions is the caller's, in
    /// their order.
    pub fn step(&mut self, event: Event, now: Duration) -> &'static Row {
        let delayed = self.timers.delay_open.is_some();
        let row = row(self.state, event, (!self.timing.delay_open.is_zero(), delayed));
        let leaves = self.state == State::Established && row.next == State::Idle;
        let steady = leaves && now.saturating_sub(self.established_at) >= STEADY;
        if steady || matches!(event, Event::ManualStart | Event::ManualStartPassive | Event::ManualStop) {
            self.failures = 0;
        }
        if row.next == State::Established && self.state != State::Established {
            self.established_at = now;
        }
        for action in row.actions {
            self.own(*action, now);
        }
        // Whoever starts sooner waits no longer.
        if self.state == State::Idle && row.next != State::Idle {
            self.timers.idle_hold = None;
        }
        if row.next == State::Idle && self.state != State::Idle {
            let idle_hold = self.timers.idle_hold;
            self.timers = Timers { idle_hold, ..Timers::default() };
        }
        self.state = row.next;
        row
    }

    /// What both ends agreed upon: seconds without a message, 0 for never. Said before the OPEN that agreed is stepped with.
    pub fn agree(&mut self, hold: Duration) {
        self.timing.agree(hold);
    }

    /// Starts that failed one after another.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// It had so many before somebody forgot it.
    pub fn recall_failures(&mut self, failures: u32) {
        self.failures = self.failures.max(failures);
    }

    /// The hold time in force.
    pub fn hold(&self) -> Duration {
        self.timing.agreed_hold()
    }

    fn own(&mut self, action: Action, now: Duration) {
        let (timers, timing) = (&mut self.timers, &mut self.timing);
        match action {
            Action::StartConnectRetry => timers.connect_retry = Some(now + timing.jitter(timing.connect_retry)),
            Action::StopConnectRetry => timers.connect_retry = None,
            Action::ClearRetries => self.retries = 0,
            Action::CountRetry => self.retries = self.retries.saturating_add(1),
            Action::IdleHold => {
                self.failures = self.failures.saturating_add(1);
                timers.idle_hold = Some(now + timing.idle_hold(self.failures));
            }
            Action::Pause => timers.idle_hold = Some(now + timing.jitter(timing.connect_retry)),
            Action::StartDelayOpen => timers.delay_open = Some(now + timing.delay_open),
            Action::StopDelayOpen => timers.delay_open = None,
            Action::StartOpenHold => timers.hold = Some(now + timers::OPEN_HOLD),
            Action::StartAgreed => {
                timers.hold = timing.hold_from(now);
                timers.keepalive = timing.keepalive_from(now);
            }
            Action::RestartHold => timers.hold = timing.hold_from(now),
            Action::RestartKeepalive => timers.keepalive = timing.keepalive_from(now),
            _ => {}
        }
    }

    /// The peer took something of what waits for it, or something waits for it now: the SendHoldTimer runs from here (RFC 9687 section
    /// 3.1). Nothing waits: it does not run.
    pub fn sending(&mut self, waiting: Waiting, now: Duration) {
        let runs = waiting == Waiting::Something && self.state == State::Established;
        self.timers.send_hold = self.timing.send_hold_time().filter(|_| runs).map(|hold| now + hold);
    }
}

/// Whether bytes wait for a peer to take them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Some do.
    Something,
    /// None do.
    Nothing,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::Idle => "Idle",
            State::Connect => "Connect",
            State::Active => "Active",
            State::OpenSent => "OpenSent",
            State::OpenConfirm => "OpenConfirm",
            State::Established => "Established",
        })
    }
}

#[cfg(test)]
mod tests;
