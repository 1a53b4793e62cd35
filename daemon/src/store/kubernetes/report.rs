//! [`Report`]: what occurs on this node as Events on its Node object (`kubectl describe node`). What repeats is counted on the
//! Event that is there; what is too much is dropped; without the right to write Events there are none, which is said once, until it is given.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::Method;
use ipam::NodeName;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

use super::client::{Client, Question};
use super::failure::Failure;
use super::sight::Sight;
use crate::store::talk::{Occurrence, Severity};
use crate::store::terms::Backoff;
use crate::store::utc::Utc;

/// So many at once, and then one each [`REFILL`].
const BURST: u32 = 10;
const REFILL: Duration = Duration::from_secs(60);
/// How seldom it is tried at last without the right to.
const REFUSED: Duration = Duration::from_secs(10 * 60);
/// Something that occurs again within this time is counted on the Event that is there; the API server forgets it then.
const MEMORY: Duration = Duration::from_secs(45 * 60);
/// So many different ones are remembered.
const MOST: usize = 32;
/// The API server takes 1,024 bytes of a message.
const LONGEST: usize = 1000;
/// Events of Nodes, which are in no namespace, are kept here.
const EVENTS: &str = "/api/v1/namespaces/default/events";

/// Writes Events.
pub struct Report<'a> {
    /// Over which it asks.
    pub client: Client,
    /// The own Node's name.
    pub node: &'a NodeName,
    /// What is seen of it.
    pub sight: watch::Receiver<Sight>,
    /// What occurs.
    pub occurrences: mpsc::Receiver<Occurrence>,
    /// What was written.
    pub said: Said,
}

/// What was written, and how much more may be.
#[derive(Debug)]
pub struct Said {
    events: Vec<Written>,
    tokens: u32,
    filled: Instant,
    /// How often in a row there was no right to.
    refusals: u32,
}

#[derive(Debug)]
struct Written {
    occurrence: Occurrence,
    name: String,
    count: u32,
    first: Utc,
    last: Instant,
}

impl Default for Said {
    fn default() -> Said {
        Said { events: Vec::new(), tokens: BURST, filled: Instant::now(), refusals: 0 }
    }
}

impl Said {
    /// Whether one more may be said.
    fn admit(&mut self) -> bool {
        let refills = u32::try_from(self.filled.elapsed().as_secs() / REFILL.as_secs()).unwrap_or(BURST);
        if refills > 0 {
            self.tokens = self.tokens.saturating_add(refills).min(BURST);
            self.filled = Instant::now();
        }
        let admitted = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        admitted
    }

    /// The Event that says the same already.
    fn again(&mut self, occurrence: &Occurrence) -> Option<&mut Written> {
        self.events.retain(|written| written.last.elapsed() < MEMORY);
        self.events.iter_mut().find(|written| written.occurrence == *occurrence)
    }
}

impl Report<'_> {
    /// Writes until nobody listens.
    pub async fn run(mut self) {
        while let Some(occurrence) = self.occurrences.recv().await {
            if self.said.admit() {
                self.write(occurrence).await;
            }
        }
        std::future::pending::<()>().await;
    }

    /// Writes one, as often as it takes while the API is away.
    async fn write(&mut self, occurrence: Occurrence) {
        let mut backoff = Backoff::default();
        loop {
            let (question, written) = self.question(&occurrence);
            match self.client.ask(&question).await {
                Ok(mut answer) => {
                    // Read, so that the connection can be used again.
                    if let Err(failure) = answer.whole(1 << 20).await {
                        tracing::debug!("an answer to an Event: {failure}");
                    }
                    self.said.events.retain(|other| other.occurrence != occurrence);
                    if self.said.events.len() >= MOST {
                        self.said.events.remove(0);
                    }
                    self.said.events.push(written);
                    self.said.refusals = 0;
                    return;
                }
                // A right that was given with the Pod, a moment ago, may not have got about yet.
                Err(Failure::Refused { code: 401 | 403, message, .. }) => {
                    if self.said.refusals == 0 {
                        tracing::info!("Events cannot be written, so there are none on the Node: {message}");
                    }
                    self.said.refusals += 1;
                    sleep((backoff.pause() * self.said.refusals).min(REFUSED)).await;
                }
                // It was forgotten meanwhile: say it anew.
                Err(Failure::Refused { code: 404, .. }) if question.method == Method::PATCH => {
                    self.said.events.retain(|other| other.occurrence != occurrence);
                }
                // An API server that has just begun has no namespace yet.
                Err(failure @ Failure::Refused { code: 400..=403 | 405..=428 | 430..=499, .. }) => {
                    tracing::debug!("an Event was refused: {failure}");
                    return;
                }
                Err(failure) => sleep(backoff.pause().max(failure.retry_after().unwrap_or_default())).await,
            }
        }
    }

    /// A new Event, or one more on the count of the one that is there.
    fn question(&mut self, occurrence: &Occurrence) -> (Question, Written) {
        let now = Utc::now();
        if let Some(before) = self.said.again(occurrence) {
            let count = before.count.saturating_add(1);
            let (name, first) = (before.name.clone(), before.first);
            let body = json!({ "count": count, "lastTimestamp": now.to_string() }).to_string();
            let path = format!("{EVENTS}/{name}");
            let body = Some(("application/merge-patch+json", body));
            let written = Written { occurrence: occurrence.clone(), name, count, first, last: Instant::now() };
            return (Question { method: Method::PATCH, path, body }, written);
        }
        // As other components name theirs: the object and the nanosecond.
        let nanoseconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let name = format!("{}.{nanoseconds:x}", self.node);
        let body = Some(("application/json", self.event(occurrence, (&name, now)).to_string()));
        let written = Written { occurrence: occurrence.clone(), name, count: 1, first: now, last: Instant::now() };
        (Question { method: Method::POST, path: EVENTS.to_owned(), body }, written)
    }

    fn event(&self, occurrence: &Occurrence, (name, now): (&str, Utc)) -> Value {
        let uid = self.sight.borrow().node.as_ref().map(|node| node.metadata.uid.clone());
        let kind = match occurrence.severity {
            Severity::Normal => "Normal",
            Severity::Warning => "Warning",
        };
        let message: String =
            occurrence.message.char_indices().take_while(|(at, _)| *at < LONGEST).map(|(_, c)| c).collect();
        json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": { "name": name, "namespace": "default" },
            "involvedObject": { "apiVersion": "v1", "kind": "Node", "name": self.node, "uid": uid },
            "type": kind,
            "reason": occurrence.reason,
            "message": message,
            "count": 1,
            "firstTimestamp": now.to_string(),
            "lastTimestamp": now.to_string(),
            "source": { "component": "towpathd", "host": self.node },
            "reportingComponent": "towpathd",
            "reportingInstance": self.node,
        })
    }
}
