//! [`Poll`]: how a change of intervals is agreed upon (RFC 5880 sections 6.5 and 6.8.3).
//!
//! What is announced is not yet what is done: until the peer has answered with F, we send no slower than it was told before
//! and expect its packets no faster than it knows to send them.

use super::state::State;

/// A session's intervals, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intervals {
    /// bfd.DesiredMinTxInterval.
    pub transmit_us: u32,
    /// bfd.RequiredMinRxInterval.
    pub receive_us: u32,
}

/// A Poll Sequence, if one is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sequence {
    None,
    Running,
    /// There was another change meanwhile: an F that comes may answer what was before it, so another sequence follows.
    RunningAndAgain,
}

/// The intervals of a session.
#[derive(Clone, Copy, Debug)]
pub struct Poll {
    /// What our packets say.
    pub announced: Intervals,
    /// What is kept to.
    pub used: Intervals,
    sequence: Sequence,
}

impl Poll {
    /// Before anything was said to anybody.
    pub fn new(intervals: Intervals) -> Poll {
        Poll { announced: intervals, used: intervals, sequence: Sequence::None }
    }

    /// Whether our packets have the P bit.
    pub fn runs(&self) -> bool {
        self.sequence != Sequence::None
    }

    /// Other intervals. While the session is not up they hold at once (section 6.8.3 asks for care when it is up alone).
    pub fn announce(&mut self, intervals: Intervals, state: State) {
        if intervals == self.announced {
            return;
        }
        self.announced = intervals;
        self.sequence = if self.runs() { Sequence::RunningAndAgain } else { Sequence::Running };
        self.used = match state {
            // "the actual transmission interval used MUST NOT change until the Poll Sequence has terminated", if it is longer; "the
            // previous value […] MUST be used when calculating the Detection Time", if ours is shorter.
            State::Up => Intervals {
                transmit_us: self.used.transmit_us.min(intervals.transmit_us),
                receive_us: self.used.receive_us.max(intervals.receive_us),
            },
            _ => intervals,
        };
    }

    /// The peer has answered.
    pub fn answered(&mut self) {
        match self.sequence {
            Sequence::None => {}
            Sequence::Running => {
                self.sequence = Sequence::None;
                self.used = self.announced;
            }
            Sequence::RunningAndAgain => self.sequence = Sequence::Running,
        }
    }

    /// The session is down: nobody is there to answer, and there is nothing to be careful about.
    pub fn forget(&mut self) {
        self.sequence = Sequence::None;
        self.used = self.announced;
    }
}
