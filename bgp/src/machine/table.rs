//! The table: for each state and event what is done and where it leads, with the section that says so.
//!
//! Sections without an RFC are RFC 4271's, where 8.2.2 describes each state in turn. It is read from the top: the first row that has the
//! state, the event and the circumstances holds; a test says that for every pair and circumstance there is exactly one.

use super::Action::*;
use super::Event as E;
use super::{Action, Event, State};

mod early;
mod session;

/// A circumstance that 8.2.2 distinguishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// In any.
    Always,
    /// The DelayOpen attribute is set.
    DelayIsSet,
    /// It is not.
    DelayIsNotSet,
    /// The DelayOpenTimer runs.
    DelayRuns,
    /// It does not.
    DelayDoesNotRun,
}

/// One row.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    /// In which state.
    pub state: State,
    /// At which events.
    pub events: &'static [Event],
    /// In which circumstance.
    pub when: When,
    /// What is done, in this order.
    pub actions: &'static [Action],
    /// Where it leads.
    pub next: State,
    /// Who says so.
    pub section: &'static str,
}

impl Row {
    fn holds(&self, (state, event): (State, Event), (delay_set, delay_runs): (bool, bool)) -> bool {
        let circumstance = match self.when {
            When::Always => true,
            When::DelayIsSet => delay_set,
            When::DelayIsNotSet => !delay_set,
            When::DelayRuns => delay_runs,
            When::DelayDoesNotRun => !delay_runs,
        };
        self.state == state && circumstance && self.events.contains(&event)
    }
}

/// All rows. What comes a thousand times a second stands first.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    session::ROWS.iter().chain(early::ROWS)
}

/// The row for a state and an event, with the DelayOpen attribute and the DelayOpenTimer as circumstances.
pub(super) fn find(pair: (State, Event), circumstances: (bool, bool)) -> impl Iterator<Item = &'static Row> {
    rows().filter(move |row| row.holds(pair, circumstances))
}

/// The row that holds; staying where one is, should there be none, which a test excludes.
pub(super) fn row(state: State, event: Event, circumstances: (bool, bool)) -> &'static Row {
    static STAYS: [Row; 6] = [
        always(State::Idle, &[], &[], State::Idle, ""),
        always(State::Connect, &[], &[], State::Connect, ""),
        always(State::Active, &[], &[], State::Active, ""),
        always(State::OpenSent, &[], &[], State::OpenSent, ""),
        always(State::OpenConfirm, &[], &[], State::OpenConfirm, ""),
        always(State::Established, &[], &[], State::Established, ""),
    ];
    let [idle, ..] = &STAYS;
    let stays = STAYS.iter().find(|row| row.state == state).unwrap_or(idle);
    find((state, event), circumstances).next().unwrap_or(stays)
}

const fn always(
    state: State,
    events: &'static [Event],
    actions: &'static [Action],
    next: State,
    section: &'static str,
) -> Row {
    Row { state, events, when: When::Always, actions, next, section }
}

const fn only(when: When, row: Row) -> Row {
    Row { when, ..row }
}

/// Starts that a state which is not Idle ignores.
pub(super) const STARTS: &[Event] = &[
    E::ManualStart,
    E::AutomaticStart,
    E::ManualStartPassive,
    E::AutomaticStartPassive,
    E::AutomaticStartDamped,
    E::AutomaticStartDampedPassive,
];

const FAIL_QUIETLY: &[Action] = &[StopConnectRetry, StopDelayOpen, CloseConnection, IdleHold];
