//! Rows of the states without a session: Idle, Connect, Active.

use crate::machine::Action::*;
use crate::machine::Event as E;
use crate::machine::State::{Active, Connect, Idle, OpenConfirm, OpenSent};
use crate::machine::{Action, Event};

use super::{FAIL_QUIETLY, Row, STARTS, When, always, only};

const TRY: &[Action] = &[ClearRetries, StartConnectRetry, OpenConnection];
const TRY_AGAIN: &[Action] = &[StartConnectRetry, OpenConnection];
const GREET: &[Action] = &[StopConnectRetry, StopDelayOpen, SendOpen, StartOpenHold];
const DELAY: &[Action] = &[StopConnectRetry, StartDelayOpen];
const ANSWER: &[Action] = &[StopConnectRetry, StopDelayOpen, SendOpen, SendKeepalive, StartAgreed];
const FAIL: &[Action] = &[StopConnectRetry, StopDelayOpen, CloseConnection, CountRetry, IdleHold];
const MISS: &[Action] = &[StopConnectRetry, StopDelayOpen, CloseConnection, Pause];
const STOP: &[Action] = &[StopConnectRetry, StopDelayOpen, CloseConnection, ClearRetries];

/// Events of states without a session that end the attempt: 8, 10, 11, 13, 19, 23, 25 to 28, and the later ones.
const OUT_OF_PLACE_EARLY: &[Event] = &[
    E::AutomaticStop,
    E::HoldExpires,
    E::KeepaliveExpires,
    E::IdleHoldExpires,
    E::Open,
    E::CollisionDump,
    E::Notification,
    E::Keepalive,
    E::Update,
    E::UpdateError,
    E::SendHoldExpires,
    E::Refresh,
    E::RefreshError,
    E::PathDown,
];

/// All of them.
pub(super) static ROWS: &[Row] = &[
    // Idle.
    always(
        Idle,
        &[E::ManualStart, E::AutomaticStart, E::AutomaticStartDamped],
        TRY,
        Connect,
        "8.2.2 Idle, events 1, 3, 6",
    ),
    always(
        Idle,
        &[E::ManualStartPassive, E::AutomaticStartPassive, E::AutomaticStartDampedPassive],
        &[ClearRetries, StartConnectRetry],
        Active,
        "8.2.2 Idle, events 4, 5, 7",
    ),
    always(
        Idle,
        &[E::IdleHoldExpires],
        &[],
        Idle,
        "8.1.3 event 13: whoever waited for it starts again, by events 6 or 7",
    ),
    always(Idle, &[E::ManualStop, E::AutomaticStop], &[], Idle, "8.2.2 Idle, events 2, 8"),
    always(
        Idle,
        &[E::TcpValid, E::TcpAcknowledged, E::TcpConfirmed],
        &[RefuseConnection],
        Idle,
        "8.2.2 Idle: \"refuses all incoming BGP connections\"",
    ),
    always(
        Idle,
        &[
            E::ConnectRetryExpires,
            E::HoldExpires,
            E::KeepaliveExpires,
            E::DelayOpenExpires,
            E::TcpInvalid,
            E::TcpFails,
            E::Open,
            E::OpenWhileDelayed,
            E::HeaderError,
            E::OpenError,
            E::CollisionDump,
            E::NotificationOfVersion,
            E::Notification,
            E::Keepalive,
            E::Update,
            E::UpdateError,
            E::SendHoldExpires,
            E::Refresh,
            E::RefreshError,
            E::PathDown,
        ],
        &[],
        Idle,
        "8.2.2 Idle, events 9-12, 15-28",
    ),
    // Connect.
    always(Connect, STARTS, &[], Connect, "8.2.2 Connect, events 1, 3-7"),
    always(Connect, &[E::ManualStop], STOP, Idle, "8.2.2 Connect, event 2"),
    always(
        Connect,
        &[E::ConnectRetryExpires],
        &[CloseConnection, StopDelayOpen, StartConnectRetry, OpenConnection],
        Connect,
        "8.2.2 Connect, event 9",
    ),
    always(Connect, &[E::DelayOpenExpires], GREET, OpenSent, "8.2.2 Connect, event 12"),
    always(Connect, &[E::TcpValid, E::TcpInvalid], &[], Connect, "8.2.2 Connect, events 14, 15"),
    only(
        When::DelayIsSet,
        always(
            Connect,
            &[E::TcpAcknowledged, E::TcpConfirmed],
            DELAY,
            Connect,
            "8.2.2 Connect, events 16, 17 with DelayOpen",
        ),
    ),
    only(
        When::DelayIsNotSet,
        always(Connect, &[E::TcpAcknowledged, E::TcpConfirmed], GREET, OpenSent, "8.2.2 Connect, events 16, 17"),
    ),
    only(
        When::DelayRuns,
        always(
            Connect,
            &[E::TcpFails],
            &[StartConnectRetry, StopDelayOpen],
            Active,
            "8.2.2 Connect, event 18 with the DelayOpenTimer",
        ),
    ),
    only(When::DelayDoesNotRun, always(Connect, &[E::TcpFails], MISS, Idle, "8.2.2 Connect, event 18")),
    always(Connect, &[E::OpenWhileDelayed], ANSWER, OpenConfirm, "8.2.2 Connect, event 20"),
    always(Connect, &[E::HeaderError, E::OpenError], FAIL, Idle, "8.2.2 Connect, events 21, 22"),
    only(
        When::DelayRuns,
        always(
            Connect,
            &[E::NotificationOfVersion],
            FAIL_QUIETLY,
            Idle,
            "8.2.2 Connect, event 24 with the DelayOpenTimer",
        ),
    ),
    only(When::DelayDoesNotRun, always(Connect, &[E::NotificationOfVersion], FAIL, Idle, "8.2.2 Connect, event 24")),
    always(Connect, OUT_OF_PLACE_EARLY, FAIL, Idle, "8.2.2 Connect, events 8, 10, 11, 13, 19, 23, 25-28"),
    // Active.
    always(Active, STARTS, &[], Active, "8.2.2 Active, events 1, 3-7"),
    always(Active, &[E::ManualStop], STOP, Idle, "8.2.2 Active, event 2"),
    always(Active, &[E::ConnectRetryExpires], TRY_AGAIN, Connect, "8.2.2 Active, event 9"),
    always(Active, &[E::DelayOpenExpires], GREET, OpenSent, "8.2.2 Active, event 12"),
    always(Active, &[E::TcpValid, E::TcpInvalid], &[], Active, "8.2.2 Active, events 14, 15"),
    only(
        When::DelayIsSet,
        always(
            Active,
            &[E::TcpAcknowledged, E::TcpConfirmed],
            DELAY,
            Active,
            "8.2.2 Active, events 16, 17 with DelayOpen",
        ),
    ),
    only(
        When::DelayIsNotSet,
        always(Active, &[E::TcpAcknowledged, E::TcpConfirmed], GREET, OpenSent, "8.2.2 Active, events 16, 17"),
    ),
    always(
        Active,
        &[E::TcpFails],
        &[StartConnectRetry, StopDelayOpen, CountRetry, IdleHold],
        Idle,
        "8.2.2 Active, event 18",
    ),
    always(Active, &[E::OpenWhileDelayed], ANSWER, OpenConfirm, "8.2.2 Active, event 20"),
    always(Active, &[E::HeaderError, E::OpenError], FAIL, Idle, "8.2.2 Active, events 21, 22"),
    only(
        When::DelayRuns,
        always(
            Active,
            &[E::NotificationOfVersion],
            FAIL_QUIETLY,
            Idle,
            "8.2.2 Active, event 24 with the DelayOpenTimer",
        ),
    ),
    only(When::DelayDoesNotRun, always(Active, &[E::NotificationOfVersion], FAIL, Idle, "8.2.2 Active, event 24")),
    always(Active, OUT_OF_PLACE_EARLY, FAIL, Idle, "8.2.2 Active, events 8, 10, 11, 13, 19, 23, 25-28"),
];
