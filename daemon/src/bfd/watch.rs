//! [`Watch`]: sessions, sockets and what is to be told, moved on one turn at a time.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::time::Duration;

use bgp::bfd::{Change, Diagnostic, Output, Path, SessionId, Sessions, Settings, State};
use tokio::time::Instant;

use super::news::News;
use super::receivers::{Port, Receivers};
use super::sender::{PathSender, hops, local};
use crate::bgp::liveness::{BfdKey, BfdNews, BfdPaths, BfdSettings, BfdState};

/// All paths that are watched.
#[derive(Debug)]
pub struct Watch {
    /// What the speaker is to be told.
    pub news: News,
    begun: Instant,
    sessions: Sessions,
    watched: BTreeMap<BfdKey, (SessionId, BfdSettings)>,
    /// Also of those that are saying goodbye.
    senders: HashMap<SessionId, (BfdKey, PathSender)>,
    leaving: Vec<SessionId>,
    receivers: Receivers,
}

impl Watch {
    /// Of nothing.
    pub fn new(seed: u64) -> Watch {
        Watch {
            news: News::default(),
            begun: Instant::now(),
            sessions: Sessions::new(seed),
            watched: BTreeMap::new(),
            senders: HashMap::new(),
            leaving: Vec::new(),
            receivers: Receivers::default(),
        }
    }

    /// These paths are to be watched, and no others. Those that are already go on; that they are up is told again, for whoever asks may have
    /// forgotten.
    pub fn want(&mut self, paths: &BfdPaths) {
        let now = self.begun.elapsed();
        let gone: Vec<BfdKey> = self.watched.keys().filter(|key| !paths.contains_key(key)).copied().collect();
        for key in gone {
            if let Some((id, _)) = self.watched.remove(&key) {
                self.sessions.remove(id, now);
                self.leaving.push(id);
                self.news.forget(&key);
            }
        }
        let ports = paths.keys().map(|key| Port::of(key.remote, hops(key).port())).collect();
        self.receivers.want(&ports);
        for (key, settings) in paths {
            match self.watched.get_mut(key) {
                Some((id, before)) => {
                    if before != settings {
                        *before = *settings;
                        self.sessions.configure(*id, meant(settings), now);
                    }
                    let status = self.sessions.status(*id).filter(|status| status.state == State::Up);
                    let again = status.map(|status| news(*key, Change::Up, status.detection));
                    again.into_iter().for_each(|news| self.news.add(news));
                }
                None => {
                    // Which number a link has is known when it is sent by; 0 is none's.
                    let link = key.link.map(|_| 0);
                    let path = Path { local: local(key), remote: key.remote, link, hops: hops(key) };
                    let id = self.sessions.add(path, meant(settings), now);
                    self.watched.insert(*key, (id, *settings));
                    self.senders.insert(id, (*key, PathSender::new(*key, id.0)));
                }
            }
        }
    }

    /// The sessions, to look at.
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// When the next turn is due.
    pub fn due(&self) -> Option<Instant> {
        self.sessions.deadline().map(|at| self.begun + at).into_iter().chain(self.receivers.due()).min()
    }

    /// Waits until a packet may have come.
    pub async fn heard(&self) {
        self.receivers.heard().await;
    }

    /// Reads what came, judges what did not, sends what is to be sent.
    pub fn turn(&mut self) {
        self.receivers.retry();
        // The time before it is read: who was kept waiting, by the kernel or by a flood, has not missed what is in the sockets.
        let now = self.begun.elapsed();
        self.receivers.read(|arrival, bytes| self.sessions.receive(arrival, bytes, now));
        self.sessions.tick(now);
        self.obey();
        if !self.leaving.is_empty() {
            self.leaving.retain(|id| self.sessions.status(*id).is_some());
            let (leaving, watched) = (&self.leaving, &self.watched);
            self.senders.retain(|id, (key, _)| {
                leaving.contains(id) || watched.get(key).is_some_and(|(current, _)| current == id)
            });
        }
    }

    fn obey(&mut self) {
        let outputs: Vec<Output> = self.sessions.outputs().collect();
        for output in outputs {
            match output {
                Output::Send(id, bytes) => {
                    let Some((_, sender)) = self.senders.get_mut(&id) else { continue };
                    if let Some(link) = sender.open() {
                        self.sessions.set_link(id, Some(link));
                    }
                    sender.send(&bytes);
                }
                Output::Changed(id, change) => {
                    let Some((key, _)) = self.senders.get(&id) else { continue };
                    let detection = self.sessions.status(id).and_then(|status| status.detection);
                    self.news.add(news(*key, change, detection));
                }
            }
        }
    }
}

/// As the protocol counts. What is longer than it can say (71 minutes) is as long as it can.
fn meant(settings: &BfdSettings) -> Settings {
    let us = |time: Duration| {
        NonZeroU32::new(u32::try_from(time.as_micros()).unwrap_or(u32::MAX)).unwrap_or(NonZeroU32::MIN)
    };
    Settings { transmit_us: us(settings.transmit), receive_us: us(settings.receive), multiplier: settings.multiplier }
}

fn news(key: BfdKey, change: Change, detection: Option<Duration>) -> BfdNews {
    BfdNews { key, state: state(change), reason: reason(change, detection) }
}

fn state(change: Change) -> BfdState {
    match change {
        Change::Up => BfdState::Up,
        Change::Down { .. } => BfdState::Down,
        Change::AdminDown => BfdState::AdminDown,
    }
}

fn reason(change: Change, detection: Option<Duration>) -> String {
    match change {
        Change::Up => format!("packets go both ways; silence is noticed after {:?}", detection.unwrap_or_default()),
        Change::Down { diagnostic: Diagnostic::TIME_EXPIRED, silence, .. } => format!("no packet for {silence:?}"),
        Change::Down { theirs: Diagnostic::TIME_EXPIRED, .. } => "the peer hears nothing of us".into(),
        Change::Down { theirs, .. } => format!("the peer says that it is down ({theirs})"),
        Change::AdminDown => "somebody switched BFD off at the peer".into(),
    }
}
