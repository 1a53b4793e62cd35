//! The state machine (RFC 5880 sections 6.2 and 6.8.6) as a table: our state and what a packet says of the peer's.

use std::fmt;

/// bfd.SessionState, with its number on the wire (section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum State {
    /// Somebody wants it down; it says nothing of the path.
    AdminDown = 0,
    /// Nothing is heard, or a failure.
    #[default]
    Down = 1,
    /// We hear the peer; whether it hears us is not known.
    Init = 2,
    /// We hear each other.
    Up = 3,
}

impl State {
    /// All of them, in the order of their numbers.
    pub const ALL: [State; 4] = [State::AdminDown, State::Down, State::Init, State::Up];

    /// The state of the two bits that are lowest.
    pub fn of_bits(bits: u8) -> State {
        match bits & 3 {
            0 => State::AdminDown,
            1 => State::Down,
            2 => State::Init,
            _ => State::Up,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::AdminDown => "AdminDown",
            State::Down => "Down",
            State::Init => "Init",
            State::Up => "Up",
        })
    }
}

/// Why a session was last not up: bfd.LocalDiag (section 4.1). Numbers that have no name are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Diagnostic(pub u8);

impl Diagnostic {
    /// 0: nothing.
    pub const NONE: Diagnostic = Diagnostic(0);
    /// 1: the detection time passed without a packet.
    pub const TIME_EXPIRED: Diagnostic = Diagnostic(1);
    /// 3: the peer said that it is down.
    pub const NEIGHBOUR_DOWN: Diagnostic = Diagnostic(3);
    /// 7: somebody here wants it down.
    pub const ADMINISTRATIVE: Diagnostic = Diagnostic(7);
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            0 => "no diagnostic",
            1 => "control detection time expired",
            2 => "echo function failed",
            3 => "neighbour signalled session down",
            4 => "forwarding plane reset",
            5 => "path down",
            6 => "concatenated path down",
            7 => "administratively down",
            8 => "reverse concatenated path down",
            other => return write!(f, "diagnostic {other}"),
        })
    }
}

/// Where a packet leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Our state.
    pub state: State,
    /// The State field of the packet.
    pub received: State,
    /// Our state after it.
    pub next: State,
    /// The diagnostic that is set on the way.
    pub diagnostic: Option<Diagnostic>,
}

const fn row(state: State, received: State, next: State) -> Row {
    Row { state, received, next, diagnostic: None }
}

const fn falls(state: State, received: State) -> Row {
    Row { diagnostic: Some(Diagnostic::NEIGHBOUR_DOWN), ..row(state, received, State::Down) }
}

/// Section 6.8.6, "If bfd.SessionState is AdminDown" and what follows; the same as the picture of section 6.2.
pub const ROWS: [Row; 16] = [
    // "If bfd.SessionState is AdminDown, the packet MUST be discarded."
    row(State::AdminDown, State::AdminDown, State::AdminDown),
    row(State::AdminDown, State::Down, State::AdminDown),
    row(State::AdminDown, State::Init, State::AdminDown),
    row(State::AdminDown, State::Up, State::AdminDown),
    // "If received state is AdminDown: if bfd.SessionState is not Down …"
    row(State::Down, State::AdminDown, State::Down),
    falls(State::Init, State::AdminDown),
    falls(State::Up, State::AdminDown),
    row(State::Down, State::Down, State::Init),
    row(State::Down, State::Init, State::Up),
    row(State::Down, State::Up, State::Down),
    row(State::Init, State::Down, State::Init),
    row(State::Init, State::Init, State::Up),
    row(State::Init, State::Up, State::Up),
    falls(State::Up, State::Down),
    row(State::Up, State::Init, State::Up),
    row(State::Up, State::Up, State::Up),
];

/// The row for a state and what was received.
pub fn step(state: State, received: State) -> Row {
    ROWS.into_iter().find(|row| (row.state, row.received) == (state, received)).unwrap_or(row(state, received, state))
}
