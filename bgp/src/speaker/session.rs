//! A session: messages become events, actions become bytes, and routes go between the session and the table of all.

use std::time::Duration;

use crate::bmp::End;
use crate::machine::collision::{Identity, Side, kept};
use crate::machine::{Action, Event, Loss, Reason, State};
use crate::rib::membership::RefreshMarks;
use crate::rib::{PeerId, Source};
use crate::wire::header::frame;
use crate::wire::notification::{cease, code, open, state_machine};
use crate::wire::refresh::Subtype;
use crate::wire::{Kind, MessageLimit, Notification, Open, Refresh, Update, message};

use super::agreement::{Since, agree, our_open};
use super::config::{Direction, PeerConfig};
use super::diagnosis::{advice, refused};
use super::peer::Peer;
use super::{Output, Readiness, Speaker};

/// Failures of incoming connections after which a peer waits as outgoing ones do.
const FORGIVEN: u32 = 3;

impl Speaker {
    /// Starts what is not started.
    pub(super) fn start(&mut self, id: PeerId, peer: &mut Peer, now: Duration) {
        (peer.wanted, peer.resumes) = (true, None);
        self.step(id, peer, (Side::Incoming, Event::ManualStartPassive), now);
        if peer.config.direction == Direction::Both {
            self.step(id, peer, (Side::Outgoing, Event::ManualStart), now);
        }
    }

    /// After everything that happened to a peer: whichever side is idle and wanted begins again.
    pub(super) fn settle(&mut self, id: PeerId, peer: &mut Peer, now: Duration) {
        if !peer.wanted || peer.established().is_some() {
            return;
        }
        let incoming = peer.machine(Side::Incoming);
        if incoming.state == State::Idle && (incoming.timers.idle_hold.is_none() || incoming.failures() <= FORGIVEN) {
            incoming.timers.idle_hold = None;
            self.step(id, peer, (Side::Incoming, Event::AutomaticStartDampedPassive), now);
        }
        let outgoing = peer.machine(Side::Outgoing);
        let rests = outgoing.state == State::Idle && outgoing.timers.idle_hold.is_none();
        if rests && peer.config.direction == Direction::Both {
            self.step(id, peer, (Side::Outgoing, Event::AutomaticStartDamped), now);
        }
    }

    /// Timers of a peer that have ended.
    pub(super) fn expire(&mut self, id: PeerId, peer: &mut Peer, now: Duration) {
        for side in Side::ALL {
            while let Some(event) = peer.machine(side).timers.expired(now) {
                // The incoming side waits for connections; to open one is the other's.
                if (side, event) != (Side::Incoming, Event::ConnectRetryExpires) {
                    self.step(id, peer, (side, event), now);
                }
            }
        }
        if peer.resumes.is_some_and(|at| at <= now) {
            self.start(id, peer, now);
        }
        if peer.stale_until.is_some_and(|at| at <= now) {
            match peer.kept.is_some() {
                true => self.stale_time_is_over(id, peer, now),
                false => {
                    peer.stale_until = None;
                    crate::wire::Family::ALL.into_iter().for_each(|family| self.end_of_rib(id, peer, family));
                }
            }
        }
    }

    /// Steps one machine and does what its row says.
    pub(super) fn step(&mut self, id: PeerId, peer: &mut Peer, (side, event): (Side, Event), now: Duration) {
        let before = peer.state(side);
        let row = peer.machine(side).step(event, now);
        for action in row.actions {
            self.act(id, peer, (side, *action, before), now);
        }
        if row.next == State::Established && before != State::Established {
            self.establish(id, peer, side, now);
        }
        if before == State::Established && row.next != State::Established && self.monitored {
            self.outputs.push(Output::Ended(id, peer.end.take().unwrap_or(End::Closed)));
        }
        if before >= State::OpenSent && row.next < State::OpenSent {
            let why = peer.failure.take().unwrap_or_else(|| format!("{event:?}"));
            // Of two connections one goes each time both ends connect: the other is or becomes the session, and nothing was lost.
            if before == State::Established || peer.state(side.other()) < State::OpenSent {
                peer.last_error = Some(why.clone());
                self.outputs.push(Output::Down(id, why));
            }
        }
    }

    fn act(&mut self, id: PeerId, peer: &mut Peer, (side, action, before): (Side, Action, State), now: Duration) {
        match action {
            Action::OpenConnection => self.outputs.push(Output::Connect(id)),
            Action::CloseConnection | Action::RefuseConnection => {
                if let Some(connection) = peer.close(side) {
                    self.outputs.push(Output::Close(id, side, connection.farewell()));
                }
            }
            Action::SendOpen => {
                let since = match (peer.had_session, self.readiness) {
                    (true, _) => Since::Session,
                    (false, Readiness::Restarting) => Since::Gathering,
                    (false, Readiness::Complete) => Since::Start,
                };
                let open = message::open(&our_open(&peer.config, &self.settings, since));
                if let Some(connection) = peer.connection_mut(side) {
                    connection.opens[0] = open.as_slice().into();
                }
                self.say(id, peer, side, open);
            }
            Action::SendKeepalive => self.say(id, peer, side, message::keepalive()),
            Action::Notify(reason) => {
                let notification = self.reason(peer, side, (reason, before));
                let diagnosis = peer.diagnosis.take();
                // RFC 4271 section 8.2.2 answers a NOTIFICATION before Established with one: who spoke first ended it.
                if peer.failure.is_none() {
                    peer.failure = Some(match diagnosis {
                        Some(why) => format!("we ended it: {why} ({}/{})", notification.code, notification.subcode),
                        None => format!("we ended it: {notification}"),
                    });
                    // Of two connections one goes each time both ends connect: that is nothing to look for.
                    if reason != Reason::Collision {
                        peer.last_said = Some(notification.to_string());
                    }
                }
                let notification = message::notification(&notification);
                peer.end.get_or_insert_with(|| End::Said(notification.clone()));
                peer.say(side, notification);
            }
            Action::ResolveCollision => self.resolve_collision(id, peer, side, now),
            Action::LoseRoutes(loss) => {
                let agreement = peer.connection_mut(side).and_then(|connection| connection.agreement.take());
                peer.flaps = peer.flaps.saturating_add(1);
                peer.since = now;
                // A hard reset of theirs is the end, whatever was agreed (RFC 8538 section 4).
                let hard = peer.error.take().is_some_and(|notification| notification.is_hard());
                let loss = if hard { Loss::Ended } else { loss };
                if let Some(agreement) = agreement {
                    self.lose(id, peer, (agreement, loss), now);
                }
            }
            _ => {}
        }
    }

    fn say(&mut self, id: PeerId, peer: &mut Peer, side: Side, bytes: Vec<u8>) {
        peer.say(side, bytes);
        self.outputs.push(Output::Send(id, side));
    }

    fn reason(&self, peer: &mut Peer, side: Side, (reason, before): (Reason, State)) -> Notification {
        match reason {
            Reason::Cease => for_good(peer, side, (peer.cease.clone(), before)),
            Reason::Collision => Notification::new(code::CEASE, cease::COLLISION),
            Reason::Hold => Notification::new(code::HOLD_TIMER, 0),
            Reason::SendHold => Notification::new(code::SEND_HOLD_TIMER, 0),
            Reason::PathDown => for_good(peer, side, (Notification::new(code::CEASE, cease::BFD_DOWN), before)),
            Reason::StateMachine => Notification::new(
                code::STATE_MACHINE,
                match before {
                    State::OpenConfirm => state_machine::OPEN_CONFIRM,
                    State::Established => state_machine::ESTABLISHED,
                    _ => state_machine::OPEN_SENT,
                },
            ),
            Reason::Error => peer.error.take().unwrap_or(Notification::new(code::CEASE, 0)),
        }
    }

    /// Two connections: one is kept (RFC 4271 section 6.8). The one that is up stays, unless the peer has restarted (RFC 4724 section 5).
    fn resolve_collision(&mut self, id: PeerId, peer: &mut Peer, side: Side, now: Duration) {
        let other = side.other();
        let theirs = peer.connection(side).and_then(|connection| connection.agreement.as_ref());
        let Some(theirs) = theirs.map(|it| Identity { identifier: it.theirs.identifier, asn: it.theirs.asn }) else {
            return;
        };
        let ours = Identity { identifier: self.settings.identifier, asn: self.settings.asn };
        match peer.state(other) {
            State::Established if peer.keeps_over_restart() => self.step(id, peer, (other, Event::TcpFails), now),
            State::Established => self.step(id, peer, (side, Event::CollisionDump), now),
            State::OpenConfirm => {
                let dumped = kept(ours, theirs).other();
                self.step(id, peer, (dumped, Event::CollisionDump), now);
            }
            _ => {}
        }
    }

    /// Bytes become messages, and these events. What is not whole stays for the next time, never more than one message.
    pub(super) fn read(&mut self, id: PeerId, peer: &mut Peer, (side, bytes): (Side, &[u8]), now: Duration) {
        let Some(connection) = peer.connection_mut(side) else { return };
        let mut kept = std::mem::take(&mut connection.buffer);
        let whole: &[u8] = match kept.is_empty() {
            true => bytes,
            false => {
                kept.extend_from_slice(bytes);
                &kept
            }
        };
        let mut rest = whole;
        while let Some(connection) = peer.connection(side) {
            // We say that we take long messages, so the peer may send them after its OPEN, whatever it takes itself (RFC 8654 section 3).
            let limit = connection.agreement.as_ref().map_or(MessageLimit::Standard, |_| MessageLimit::Extended);
            match frame(rest, limit) {
                Ok(Some(frame)) => {
                    peer.received.count(frame.kind);
                    self.overhear(id, peer, (side, frame.kind), rest.get(..frame.length).unwrap_or_default());
                    rest = rest.get(frame.length..).unwrap_or_default();
                    self.message(id, peer, (side, &frame), now);
                }
                Ok(None) => break,
                Err(error) => {
                    peer.error = Some(error);
                    self.step(id, peer, (side, Event::HeaderError), now);
                    return;
                }
            }
        }
        let (read, left) = (whole.len().saturating_sub(rest.len()), rest.len());
        let Some(connection) = peer.connection_mut(side).filter(|_| left > 0) else { return };
        // Bytes that come one by one are not copied anew each time, and nothing is held for a peer that says nothing.
        connection.buffer = match kept.is_empty() {
            true => rest.to_vec(),
            false => {
                kept.drain(..read);
                kept
            }
        };
    }

    fn message(
        &mut self,
        id: PeerId,
        peer: &mut Peer,
        (side, frame): (Side, &crate::wire::header::Frame<'_>),
        now: Duration,
    ) {
        let agreed =
            |peer: &Peer| peer.connection(side).and_then(|it| it.agreement.as_ref()).map(|it| it.terms.clone());
        let event = match frame.kind {
            Kind::Keepalive => Event::Keepalive,
            Kind::Open => self.take_open(peer, side, Open::decode(frame.body)),
            Kind::Notification => self.take_notification(peer, Notification::decode(frame.body)),
            Kind::Refresh => match Refresh::decode(frame.body) {
                Ok(refresh) => {
                    self.step(id, peer, (side, Event::Refresh), now);
                    self.take_refresh(id, peer, refresh, now);
                    return;
                }
                Err(error) => {
                    peer.error = Some(error);
                    Event::RefreshError
                }
            },
            Kind::Update => match agreed(peer).filter(|_| peer.state(side) == State::Established) {
                None => Event::Update,
                Some(terms) => match Update::decode(frame.body, &terms) {
                    Ok(update) => {
                        self.step(id, peer, (side, Event::Update), now);
                        self.take_update(id, peer, (side, &update), now);
                        return;
                    }
                    Err(error) => {
                        peer.error = Some(error);
                        Event::UpdateError
                    }
                },
            },
        };
        self.step(id, peer, (side, event), now);
    }

    fn take_open(&self, peer: &mut Peer, side: Side, open: Result<Open, Notification>) -> Event {
        let theirs = open.as_ref().ok().cloned();
        let agreement = open.and_then(|open| agree(&peer.config, &self.settings, open));
        match agreement {
            // An OPEN where there was one is for the table to judge; what was agreed stays.
            Ok(_) if peer.connection(side).is_some_and(|connection| connection.agreement.is_some()) => Event::Open,
            Ok(agreement) => {
                let delayed = peer.machine(side).timers.delay_open.is_some();
                peer.machine(side).agree(agreement.hold);
                if let Some(connection) = peer.connection_mut(side) {
                    connection.agreement = Some(agreement);
                }
                if delayed { Event::OpenWhileDelayed } else { Event::Open }
            }
            Err(error) => {
                peer.diagnosis = theirs.and_then(|open| refused(&peer.config, &self.settings, &open, &error));
                peer.error = Some(error);
                Event::OpenError
            }
        }
    }

    fn take_update(&mut self, id: PeerId, peer: &mut Peer, (side, update): (Side, &Update<'_>), now: Duration) {
        self.rib.update(id, update);
        if let Some(fault) = update.faults.last() {
            peer.malformed = peer.malformed.saturating_add(1);
            // The first of a session is said, the others are counted: whoever sends one mostly sends more.
            if peer.last_fault.replace(fault.to_string()).is_none() {
                self.outputs.push(Output::Malformed(id, fault.to_string()));
            }
        }
        if let Some(family) = update.end_of_rib {
            peer.heard_all.insert(family);
            self.end_of_rib(id, peer, family);
            self.outputs.push(Output::EndOfRib(id, family));
        }
        self.limit_prefixes(id, peer, side, now);
    }

    fn take_refresh(&mut self, id: PeerId, peer: &mut Peer, refresh: Refresh, now: Duration) {
        let Some(agreement) = peer.established().and_then(|_| peer.agreement()) else { return };
        if agreement.terms.of(refresh.family).is_none() {
            return;
        }
        let marks = if agreement.enhanced_refresh { RefreshMarks::Sent } else { RefreshMarks::NotSent };
        match refresh.subtype {
            Subtype::Request => self.rib.refresh(id, refresh.family, marks),
            Subtype::Begin if peer.marks.begin(refresh.family, now) => self.rib.mark_stale(id, refresh.family),
            Subtype::Begin => {}
            Subtype::End => {
                self.overhear_end(id, refresh.family);
                self.end_of_rib(id, peer, refresh.family);
            }
            Subtype::Unknown(_) => {}
        }
    }

    /// The session is up on this side: the other is quiet, and routes begin to flow.
    fn establish(&mut self, id: PeerId, peer: &mut Peer, side: Side, now: Duration) {
        let other = side.other();
        let quiet = if peer.state(other) >= State::OpenSent { Event::CollisionDump } else { Event::ManualStop };
        self.step(id, peer, (other, quiet), now);
        peer.machine(other).timers.idle_hold = None;
        let Some(connection) = peer.connection(side) else { return };
        let Some(agreement) = connection.agreement.clone() else { return };
        let source = Source {
            relation: agreement.relation,
            asn: agreement.theirs.asn,
            identifier: agreement.theirs.identifier,
            address: peer.config.address,
            role: peer.config.role,
            own_addresses: connection.local.all(),
            import: PeerConfig::policy(peer.config.import.as_ref(), agreement.relation),
        };
        self.rib.add_source(id, source);
        self.return_from_restart(id, peer, &agreement, now);
        (peer.had_session, peer.last_fault) = (true, None);
        peer.near_limit.clear();
        peer.since = now;
        self.outputs.push(Output::Up(id));
        self.join(id, peer);
    }

    fn take_notification(&self, peer: &mut Peer, notification: Option<Notification>) -> Event {
        let Some(notification) = notification else { return Event::Notification };
        let advice = advice(&peer.config, &self.settings, &notification);
        let advice = advice.map_or_else(String::new, |advice| format!("; {advice}"));
        peer.failure = Some(format!("the peer ended it: {notification}{advice}"));
        if (notification.code, notification.subcode) != (code::CEASE, cease::COLLISION) {
            peer.last_heard = Some(notification.to_string());
        }
        let version = (notification.code, notification.subcode) == (code::OPEN, open::UNSUPPORTED_VERSION);
        peer.error = Some(notification);
        if version { Event::NotificationOfVersion } else { Event::Notification }
    }
}

/// What is meant to end for good says so to a peer that would keep routes (RFC 8538 section 3).
fn for_good(peer: &Peer, side: Side, (why, before): (Notification, State)) -> Notification {
    let agreement = peer.connection(side).and_then(|connection| connection.agreement.as_ref());
    let softens = agreement.is_some_and(|agreement| agreement.notifications);
    if softens && before == State::Established { why.hard() } else { why }
}
