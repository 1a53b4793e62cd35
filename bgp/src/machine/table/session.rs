//! Rows of the states with an OPEN on its way: Established, OpenSent, OpenConfirm.

use crate::machine::Action::*;
use crate::machine::Event as E;
use crate::machine::State::{Active, Established, Idle, OpenConfirm, OpenSent};
use crate::machine::{Action, Loss, Reason};

use super::{FAIL_QUIETLY, Row, STARTS, always};

const fn notify(reason: Reason) -> &'static [Action] {
    match reason {
        Reason::Cease => &[Notify(Reason::Cease), StopConnectRetry, CloseConnection, CountRetry, IdleHold],
        Reason::Collision => &[Notify(Reason::Collision), StopConnectRetry, CloseConnection, CountRetry, IdleHold],
        Reason::Hold => &[Notify(Reason::Hold), StopConnectRetry, CloseConnection, CountRetry, IdleHold],
        Reason::SendHold => &[Notify(Reason::SendHold), StopConnectRetry, CloseConnection, CountRetry, IdleHold],
        Reason::StateMachine => {
            &[Notify(Reason::StateMachine), StopConnectRetry, CloseConnection, CountRetry, IdleHold]
        }
        Reason::Error => &[Notify(Reason::Error), StopConnectRetry, CloseConnection, CountRetry, IdleHold],
        Reason::PathDown => &[Notify(Reason::PathDown), StopConnectRetry, CloseConnection, CountRetry, IdleHold],
    }
}

/// The same with routes to lose.
const fn end(reason: Reason) -> &'static [Action] {
    const NOTIFIED: Action = LoseRoutes(Loss::Notified);
    match reason {
        Reason::Cease => {
            &[Notify(Reason::Cease), StopConnectRetry, LoseRoutes(Loss::Ended), CloseConnection, CountRetry, IdleHold]
        }
        Reason::Collision => {
            &[Notify(Reason::Collision), StopConnectRetry, NOTIFIED, CloseConnection, CountRetry, IdleHold]
        }
        Reason::Hold => &[Notify(Reason::Hold), StopConnectRetry, NOTIFIED, CloseConnection, CountRetry, IdleHold],
        Reason::SendHold => {
            &[Notify(Reason::SendHold), StopConnectRetry, NOTIFIED, CloseConnection, CountRetry, IdleHold]
        }
        Reason::StateMachine => {
            &[Notify(Reason::StateMachine), StopConnectRetry, NOTIFIED, CloseConnection, CountRetry, IdleHold]
        }
        Reason::Error => &[Notify(Reason::Error), StopConnectRetry, NOTIFIED, CloseConnection, CountRetry, IdleHold],
        // What leads nowhere is not kept over a restart that is none: a peer that dies closes its connection first (RFC 5882 section 4.3.2).
        Reason::PathDown => {
            const ENDED: Action = LoseRoutes(Loss::Ended);
            &[Notify(Reason::PathDown), StopConnectRetry, ENDED, CloseConnection, CountRetry, IdleHold]
        }
    }
}

const CEASE_FOR_GOOD: &[Action] = &[Notify(Reason::Cease), StopConnectRetry, CloseConnection, ClearRetries];
const END_FOR_GOOD: &[Action] =
    &[Notify(Reason::Cease), StopConnectRetry, LoseRoutes(Loss::Ended), CloseConnection, ClearRetries];
const BREAK: &[Action] = &[StopConnectRetry, LoseRoutes(Loss::Broken), CloseConnection, CountRetry, IdleHold];
const HEAR_THE_END: &[Action] = &[StopConnectRetry, LoseRoutes(Loss::Notified), CloseConnection, CountRetry, IdleHold];
const FAIL: &[Action] = &[StopConnectRetry, StopDelayOpen, CloseConnection, CountRetry, IdleHold];

/// All of them.
pub(super) static ROWS: &[Row] = &[
    // Established. What comes a thousand times a second stands first.
    always(Established, &[E::Update], &[RestartHold, Deliver], Established, "8.2.2 Established, event 27"),
    always(Established, &[E::Keepalive], &[RestartHold], Established, "8.2.2 Established, event 26"),
    always(
        Established,
        &[E::KeepaliveExpires],
        &[SendKeepalive, RestartKeepalive],
        Established,
        "8.2.2 Established, event 11",
    ),
    always(Established, &[E::Refresh], &[RestartHold, Deliver], Established, "RFC 2918 section 4"),
    always(Established, STARTS, &[], Established, "8.2.2 Established, events 1, 3-7"),
    always(Established, &[E::ManualStop], END_FOR_GOOD, Idle, "8.2.2 Established, event 2"),
    always(Established, &[E::AutomaticStop], end(Reason::Cease), Idle, "8.2.2 Established, event 8"),
    always(Established, &[E::HoldExpires], end(Reason::Hold), Idle, "8.2.2 Established, event 10; RFC 8538 section 4"),
    always(
        Established,
        &[E::TcpValid, E::TcpInvalid, E::TcpAcknowledged, E::TcpConfirmed],
        &[],
        Established,
        "8.2.2 Established, events 14-17: the second connection has a machine of its own",
    ),
    always(Established, &[E::TcpFails], BREAK, Idle, "8.2.2 Established, event 18; RFC 4724 section 4.2"),
    always(Established, &[E::Open], &[ResolveCollision], Established, "8.2.2 Established, event 19"),
    always(Established, &[E::CollisionDump], end(Reason::Collision), Idle, "8.2.2 Established, event 23"),
    always(
        Established,
        &[E::NotificationOfVersion, E::Notification],
        HEAR_THE_END,
        Idle,
        "8.2.2 Established, events 24, 25; RFC 8538 section 4",
    ),
    always(Established, &[E::UpdateError], end(Reason::Error), Idle, "8.2.2 Established, event 28"),
    // 8.2.2 has events 21 and 22 among those answered with a state machine error; 6.1 and 6.2 say that they MUST be answered with what is wrong.
    always(
        Established,
        &[E::HeaderError, E::OpenError],
        end(Reason::Error),
        Idle,
        "6.1, 6.2, against 8.2.2 Established",
    ),
    always(Established, &[E::RefreshError], end(Reason::Error), Idle, "RFC 7313 section 5"),
    always(Established, &[E::SendHoldExpires], end(Reason::SendHold), Idle, "RFC 9687 section 3.2"),
    always(Established, &[E::PathDown], end(Reason::PathDown), Idle, "RFC 5882 section 4.3, RFC 9384"),
    always(
        Established,
        &[E::ConnectRetryExpires, E::DelayOpenExpires, E::IdleHoldExpires, E::OpenWhileDelayed],
        end(Reason::StateMachine),
        Idle,
        "8.2.2 Established, events 9, 12, 13, 20",
    ),
    // OpenSent.
    always(OpenSent, STARTS, &[], OpenSent, "8.2.2 OpenSent, events 1, 3-7"),
    always(OpenSent, &[E::ManualStop], CEASE_FOR_GOOD, Idle, "8.2.2 OpenSent, event 2"),
    always(OpenSent, &[E::AutomaticStop], notify(Reason::Cease), Idle, "8.2.2 OpenSent, event 8"),
    always(OpenSent, &[E::HoldExpires], notify(Reason::Hold), Idle, "8.2.2 OpenSent, event 10"),
    always(
        OpenSent,
        &[E::TcpValid, E::TcpInvalid, E::TcpAcknowledged, E::TcpConfirmed],
        &[],
        OpenSent,
        "8.2.2 OpenSent, events 14-17: the second connection has a machine of its own",
    ),
    always(OpenSent, &[E::TcpFails], &[CloseConnection, StartConnectRetry], Active, "8.2.2 OpenSent, event 18"),
    always(
        OpenSent,
        &[E::Open],
        &[StopDelayOpen, StopConnectRetry, SendKeepalive, StartAgreed, ResolveCollision],
        OpenConfirm,
        "8.2.2 OpenSent, event 19",
    ),
    always(OpenSent, &[E::HeaderError, E::OpenError], notify(Reason::Error), Idle, "8.2.2 OpenSent, events 21, 22"),
    always(OpenSent, &[E::CollisionDump], notify(Reason::Collision), Idle, "8.2.2 OpenSent, event 23"),
    always(OpenSent, &[E::NotificationOfVersion], FAIL_QUIETLY, Idle, "8.2.2 OpenSent, event 24"),
    always(OpenSent, &[E::PathDown], notify(Reason::PathDown), Idle, "RFC 5882 section 4.3, RFC 9384"),
    always(
        OpenSent,
        &[
            E::ConnectRetryExpires,
            E::KeepaliveExpires,
            E::DelayOpenExpires,
            E::IdleHoldExpires,
            E::OpenWhileDelayed,
            E::Notification,
            E::Keepalive,
            E::Update,
            E::UpdateError,
            E::SendHoldExpires,
            E::Refresh,
            E::RefreshError,
        ],
        notify(Reason::StateMachine),
        Idle,
        "8.2.2 OpenSent, events 9, 11-13, 20, 25-28",
    ),
    // OpenConfirm.
    always(OpenConfirm, STARTS, &[], OpenConfirm, "8.2.2 OpenConfirm, events 1, 3-7"),
    always(OpenConfirm, &[E::ManualStop], CEASE_FOR_GOOD, Idle, "8.2.2 OpenConfirm, event 2"),
    always(OpenConfirm, &[E::AutomaticStop], notify(Reason::Cease), Idle, "8.2.2 OpenConfirm, event 8"),
    always(OpenConfirm, &[E::HoldExpires], notify(Reason::Hold), Idle, "8.2.2 OpenConfirm, event 10"),
    always(
        OpenConfirm,
        &[E::KeepaliveExpires],
        &[SendKeepalive, RestartKeepalive],
        OpenConfirm,
        "8.2.2 OpenConfirm, event 11",
    ),
    always(
        OpenConfirm,
        &[E::TcpValid, E::TcpInvalid, E::TcpAcknowledged, E::TcpConfirmed],
        &[],
        OpenConfirm,
        "8.2.2 OpenConfirm, events 14-17: the second connection has a machine of its own",
    ),
    always(OpenConfirm, &[E::TcpFails, E::Notification], FAIL, Idle, "8.2.2 OpenConfirm, events 18, 25"),
    always(OpenConfirm, &[E::NotificationOfVersion], FAIL_QUIETLY, Idle, "8.2.2 OpenConfirm, event 24"),
    always(OpenConfirm, &[E::Open], &[ResolveCollision], OpenConfirm, "8.2.2 OpenConfirm, event 19"),
    always(
        OpenConfirm,
        &[E::HeaderError, E::OpenError],
        notify(Reason::Error),
        Idle,
        "8.2.2 OpenConfirm, events 21, 22",
    ),
    always(OpenConfirm, &[E::CollisionDump], notify(Reason::Collision), Idle, "8.2.2 OpenConfirm, event 23"),
    always(OpenConfirm, &[E::Keepalive], &[RestartHold], Established, "8.2.2 OpenConfirm, event 26"),
    always(OpenConfirm, &[E::PathDown], notify(Reason::PathDown), Idle, "RFC 5882 section 4.3, RFC 9384"),
    always(
        OpenConfirm,
        &[
            E::ConnectRetryExpires,
            E::DelayOpenExpires,
            E::IdleHoldExpires,
            E::OpenWhileDelayed,
            E::Update,
            E::UpdateError,
            E::SendHoldExpires,
            E::Refresh,
            E::RefreshError,
        ],
        notify(Reason::StateMachine),
        Idle,
        "8.2.2 OpenConfirm, events 9, 12, 13, 20, 27, 28",
    ),
];
