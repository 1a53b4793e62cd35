//! One session: what is known of the peer, when something is due, and what a packet or the time does to it (RFC 5880 section 6.8).

use std::time::Duration;

use super::packet::Packet;
use super::poll::{Intervals, Poll};
use super::sessions::Change;
use super::state::{Diagnostic, State, step};
use super::{Discard, Path, Settings};

/// The least that bfd.DesiredMinTxInterval is while a session is not up (section 6.8.3).
const SLOW_US: u32 = 1_000_000;
/// Nobody can want packets faster, whatever was written: they would be all that this node does.
const FASTEST_US: u32 = 1_000;

/// A session.
#[derive(Debug)]
pub(super) struct Session {
    pub path: Path,
    pub state: State,
    pub remote: Remote,
    /// When something is due, as the queue of all sessions knows it; what is due later is asked for then.
    pub queued: Option<Duration>,
    settings: Settings,
    discriminator: u32,
    diagnostic: Diagnostic,
    poll: Poll,
    /// What the last change told was.
    told: Option<Change>,
    /// How long nothing was heard when it last went down; zero when it was for another reason.
    silence: Duration,
    interval: Option<Duration>,
    last_sent: Duration,
    send_at: Option<Duration>,
    detect_at: Option<Duration>,
    ends_at: Option<Duration>,
    since: Duration,
    flaps: u32,
    dice: u64,
}

/// What the last packet of the peer said.
#[derive(Clone, Copy, Debug)]
pub(super) struct Remote {
    pub discriminator: u32,
    pub state: State,
    diagnostic: Diagnostic,
    transmit_us: u32,
    receive_us: u32,
    multiplier: u8,
    demand: bool,
}

/// As nothing is known (section 6.8.1).
const UNKNOWN: Remote = Remote {
    discriminator: 0,
    state: State::Down,
    diagnostic: Diagnostic::NONE,
    transmit_us: 0,
    receive_us: 1,
    multiplier: 0,
    demand: false,
};

/// How a session fares, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Our state.
    pub state: State,
    /// The peer's, as it last said.
    pub remote_state: State,
    /// Why we were last not up.
    pub diagnostic: Diagnostic,
    /// Why the peer was.
    pub remote_diagnostic: Diagnostic,
    /// Since when it is up or not.
    pub since: Duration,
    /// How often it went down after it was up.
    pub flaps: u32,
    /// From one packet of ours to the next, before jitter; `None` while the peer wants none.
    pub interval: Option<Duration>,
    /// How long nothing may be heard; `None` while nobody is known.
    pub detection: Option<Duration>,
    /// The intervals that our packets ask for, in microseconds: transmitting, receiving.
    pub announced_us: (u32, u32),
    /// Whether the peer has not yet answered to the last change of them.
    pub polling: bool,
}

impl Session {
    /// One that is Down, and says so at once.
    pub fn new((discriminator, seed): (u32, u64), path: Path, settings: Settings, now: Duration) -> Session {
        Session {
            path,
            state: State::Down,
            remote: UNKNOWN,
            queued: None,
            settings,
            discriminator,
            diagnostic: Diagnostic::NONE,
            poll: Poll::new(wanted(&settings, State::Down)),
            told: None,
            silence: Duration::ZERO,
            interval: None,
            last_sent: now,
            send_at: Some(now),
            detect_at: None,
            ends_at: None,
            since: now,
            flaps: 0,
            dice: seed | 1,
        }
    }

    /// When something is due.
    pub fn next(&self) -> Option<Duration> {
        [self.send_at, self.detect_at, self.ends_at].into_iter().flatten().min()
    }

    /// Whether it has said long enough that it is gone.
    pub fn has_ended(&self, now: Duration) -> bool {
        self.ends_at.is_some_and(|at| at <= now)
    }

    /// Whether it is wanted no longer.
    pub fn is_ending(&self) -> bool {
        self.ends_at.is_some()
    }

    /// Takes a packet that is this session's (section 6.8.6, from "Set bfd.RemoteDiscr"); what is to be sent at once is added.
    pub fn receive(&mut self, packet: &Packet, now: Duration, out: &mut Vec<Packet>) -> Result<(), Discard> {
        self.remote = Remote {
            discriminator: packet.my_discriminator,
            state: packet.state,
            diagnostic: packet.diagnostic,
            transmit_us: packet.transmit_us,
            receive_us: packet.receive_us,
            multiplier: packet.multiplier,
            demand: packet.demand,
        };
        if packet.is_final {
            self.poll.answered();
        }
        if self.state == State::AdminDown {
            self.retime(now);
            return Err(Discard::AdminDown);
        }
        let row = step(self.state, packet.state);
        let changes = row.next != self.state;
        if changes {
            self.silence = Duration::ZERO;
            self.diagnostic =
                row.diagnostic.unwrap_or(if row.next == State::Up { Diagnostic::NONE } else { self.diagnostic });
            self.enter(row.next, now);
        }
        // "If the Poll (P) bit is set, send a BFD Control packet to the remote system with the Poll (P) bit clear, and the Final (F) bit
        // set", whatever the timer says (section 6.8.7); a change of state is told at once too.
        if packet.poll {
            out.push(Packet { poll: false, is_final: true, ..self.packet() });
        } else if changes {
            self.send(now, out);
        }
        self.retime(now);
        self.detect_at = Some(now + self.detection());
        Ok(())
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Duration, out: &mut Vec<Packet>) {
        if self.detect_at.is_some_and(|at| at <= now) {
            self.detect_at = None;
            self.silence = self.detection();
            // "If a period of a Detection Time passes without the receipt of a valid, authenticated BFD packet from the remote system,
            // this variable MUST be set to zero" (section 6.8.1, bfd.RemoteDiscr). The rest of what it said is as old.
            let admin_down = self.remote.state == State::AdminDown;
            self.remote = Remote { state: if admin_down { State::AdminDown } else { State::Down }, ..UNKNOWN };
            self.poll.forget();
            // Section 6.8.4: "If bfd.SessionState is Init or Up".
            if matches!(self.state, State::Init | State::Up) {
                self.diagnostic = Diagnostic::TIME_EXPIRED;
                self.enter(State::Down, now);
                self.send(now, out);
            }
            self.retime(now);
        }
        if self.send_at.is_some_and(|at| at <= now) {
            self.send(now, out);
        }
    }

    /// Other intervals or another multiplier, agreed upon with the peer without going down (section 6.8.3).
    pub fn configure(&mut self, settings: Settings, now: Duration) {
        self.settings = settings;
        self.announce();
        self.retime(now);
    }

    /// Nobody wants it any longer: it says AdminDown for a detection time of the peer's, so that the peer knows (section 6.8.16).
    pub fn stop(&mut self, now: Duration, out: &mut Vec<Packet>) {
        let silent = self.remote.discriminator == 0;
        self.diagnostic = Diagnostic::ADMINISTRATIVE;
        self.enter(State::AdminDown, now);
        self.send(now, out);
        let lasts = self.interval.unwrap_or_default() * u32::from(self.settings.multiplier.get());
        self.ends_at = Some(if silent { now } else { now + lasts });
        self.detect_at = None;
    }

    /// A change that is to be told, once. That the peer is AdminDown says nothing of the path (RFC 5882 section 3.2), and it stays told
    /// until the session is up again: a peer that is on its way up has not lost anything.
    pub fn change(&mut self) -> Option<Change> {
        let (diagnostic, remote, silence) = (self.diagnostic, self.remote, self.silence);
        let is = match (self.state, remote.state, self.told) {
            (State::AdminDown, ..) => return None,
            (State::Up, ..) => Change::Up,
            (_, State::AdminDown, _) => Change::AdminDown,
            (.., Some(Change::Up)) => Change::Down { diagnostic, theirs: remote.diagnostic, silence },
            _ => return None,
        };
        let news = self.told != Some(is);
        self.told = Some(is);
        news.then_some(is)
    }

    /// For people.
    pub fn status(&self) -> Status {
        Status {
            state: self.state,
            remote_state: self.remote.state,
            diagnostic: self.diagnostic,
            remote_diagnostic: self.remote.diagnostic,
            since: self.since,
            flaps: self.flaps,
            interval: self.interval,
            detection: (self.remote.discriminator != 0).then(|| self.detection()),
            announced_us: (self.poll.announced.transmit_us, self.poll.announced.receive_us),
            polling: self.poll.runs(),
        }
    }

    fn enter(&mut self, state: State, now: Duration) {
        let was_up = self.state == State::Up;
        self.state = state;
        if was_up || state == State::Up {
            self.since = now;
            self.flaps = self.flaps.saturating_add(u32::from(was_up));
        }
        self.announce();
    }

    fn announce(&mut self) {
        self.poll.announce(wanted(&self.settings, self.state), self.state);
        if self.remote.discriminator == 0 {
            // Nobody is there who could answer.
            self.poll.forget();
        }
    }

    /// Section 6.8.4: the peer's multiplier, and the greater of what we take and what it sends.
    fn detection(&self) -> Duration {
        let interval = self.poll.used.receive_us.max(self.remote.transmit_us);
        Duration::from_micros(u64::from(interval) * u64::from(self.remote.multiplier))
    }

    /// From one packet to the next (section 6.8.7); `None` when none are to be sent.
    fn next_interval(&self) -> Option<Duration> {
        let asked_not_to =
            self.remote.demand && self.state == State::Up && self.remote.state == State::Up && !self.poll.runs();
        let us = self.poll.used.transmit_us.max(self.remote.receive_us).max(FASTEST_US);
        (self.remote.receive_us != 0 && !asked_not_to).then(|| Duration::from_micros(us.into()))
    }

    /// The interval may be another: what is due sooner by it is sent sooner.
    fn retime(&mut self, now: Duration) {
        let interval = self.next_interval();
        if interval == self.interval && (interval.is_none() || self.send_at.is_some()) {
            return;
        }
        self.interval = interval;
        let at = interval.map(|interval| (self.last_sent + self.jitter(interval)).max(now));
        self.send_at = match (at, self.send_at) {
            (Some(at), Some(before)) => Some(at.min(before)),
            (at, _) => at,
        };
    }

    fn send(&mut self, now: Duration, out: &mut Vec<Packet>) {
        out.push(self.packet());
        self.last_sent = now;
        self.interval = self.next_interval();
        self.send_at = self.interval.map(|interval| now + self.jitter(interval));
    }

    /// Section 6.8.7. C is not set: the kernel's routes outlive us, these packets do not.
    fn packet(&self) -> Packet {
        Packet {
            diagnostic: self.diagnostic,
            state: self.state,
            poll: self.poll.runs(),
            is_final: false,
            independent: false,
            demand: false,
            multiplier: self.settings.multiplier.get(),
            my_discriminator: self.discriminator,
            your_discriminator: self.remote.discriminator,
            transmit_us: self.poll.announced.transmit_us,
            receive_us: self.poll.announced.receive_us,
            echo_us: 0,
        }
    }

    /// 75 to 100 % of it, and at most 90 % when one lost packet is too many (section 6.8.7).
    fn jitter(&mut self, interval: Duration) -> Duration {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        let span = if self.settings.multiplier.get() == 1 { 150 } else { 250 };
        let thousandths = 750 + u32::try_from(self.dice % (span + 1)).unwrap_or(0);
        interval * thousandths / 1000
    }
}

fn wanted(settings: &Settings, state: State) -> Intervals {
    let transmit_us = settings.transmit_us.get();
    let transmit_us = if state == State::Up { transmit_us } else { transmit_us.max(SLOW_US) };
    Intervals { transmit_us, receive_us: settings.receive_us.get() }
}
