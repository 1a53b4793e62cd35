//! [`Watcher`]: follows one collection of objects. First a list (streamed as the beginning of the watch where the server can, else in
//! pages), then what changes, from the version that was told last; a list again only when that version is gone. A list that is
//! not the first is told as changes, and who is not in it is told to be gone only when it is whole. What is known of nodes is
//! `register`'s.

use std::time::Duration;

use hyper::body::Bytes;
use ipam::{LeaseKey, NodeName, Stack};
use ipnet::IpNet;
use tokio::sync::{Mutex, watch};
use tokio::task::yield_now;
use tokio::time::Instant;

use super::client::{Answer, Client, Question, query};
use super::clock;
use super::failure::Failure;
use super::lease_object;
use super::lines::Lines;
use super::object::{Notice, Object, Page};
use super::register::{Collection, Listed, Register};
use crate::config::PeerObjects;
use crate::config::kube::AnnotationPrefix;
use crate::store::Wish;
use crate::store::events::{Closed, Events};
use crate::store::terms::{Backoff, dice};
use crate::store::utc::Utc;

/// How many objects a page has: a Node is some 20 kB, and a page is read as a whole.
const PAGE: &str = "100";
/// The longest page that is taken.
const LONGEST_PAGE: usize = 64 << 20;
/// The longest Lease object that is taken.
const LONGEST_OBJECT: usize = 16 << 20;
/// So many changes are told at once.
const MOST: usize = 500;
/// A watch that lasted so long was a good one.
const LONG: Duration = Duration::from_secs(5);
const NODES: &str = "/api/v1/nodes";

/// Why the way on is not straight.
enum End {
    Closed,
    Failed(Failure),
}

impl From<Failure> for End {
    fn from(failure: Failure) -> End {
        End::Failed(failure)
    }
}

impl From<Closed> for End {
    fn from(_: Closed) -> End {
        End::Closed
    }
}

/// Follows a collection.
pub struct Watcher<'a> {
    /// Over which it watches.
    pub client: Client,
    /// Over which it asks meanwhile.
    pub asking: Client,
    /// What it follows.
    pub collection: Collection,
    /// Our own name.
    pub node: &'a NodeName,
    /// What annotations begin with.
    pub prefix: &'a AnnotationPrefix,
    /// Where Lease objects are.
    pub peers: &'a PeerObjects,
    /// For people: where the API is.
    pub place: String,
    /// What is known.
    pub register: &'a Mutex<Register<'a>>,
    /// Where troubles are told.
    pub events: &'a Mutex<Events>,
    /// What the node wishes: from it follows what subnets must lie in.
    pub wishes: watch::Receiver<Wish>,
    /// Where it is.
    pub progress: Progress,
}

/// How far everything was told.
#[derive(Debug, Default)]
pub struct Progress {
    /// The version up to which all is told; `None`: list.
    version: Option<Box<str>>,
    /// A list is being told.
    listing: bool,
    /// Whether there was a whole list.
    complete: bool,
    /// Nothing came on the last watch.
    silent: bool,
}

impl Watcher<'_> {
    /// Follows until nobody listens.
    pub async fn run(mut self) {
        let (mut backoff, mut gone) = (Backoff::default(), 0_u32);
        loop {
            let began = Instant::now();
            let failure = match self.follow().await {
                Ok(()) => None,
                Err(End::Closed) => return,
                Err(End::Failed(failure)) => Some(failure),
            };
            let lasted = began.elapsed();
            tracing::debug!(?failure, "a watch of {:?} ended after {} ms", self.collection, lasted.as_millis());
            if lasted > LONG {
                backoff = Backoff::default();
            }
            let Some(failure) = failure else {
                // One that ends in order is begun again at once, but not one that ends as it begins.
                if lasted < LONG {
                    tokio::time::sleep(backoff.pause()).await;
                }
                continue;
            };
            let pause = backoff.pause().max(failure.retry_after().unwrap_or_default());
            if failure.is_gone() || matches!(failure, Failure::Unreadable(_)) {
                self.progress.version = None;
            }
            gone = if failure.is_gone() { gone + 1 } else { 0 };
            // Once that is the way of things; but a list may not be of a version that is gone again and again.
            if gone == 0 || gone > 3 {
                let sentence = format!("{}: {failure}", self.place);
                if failure.tell(&mut *self.events.lock().await, self.collection.topic(), sentence).await.is_err() {
                    return;
                }
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Lists if that must be, then watches once. It ends well when the server ends the watch in order.
    async fn follow(&mut self) -> Result<(), End> {
        if self.progress.version.is_none() {
            self.begin_list().await;
            match self.watch(&[("sendInitialEvents", "true"), ("resourceVersionMatch", "NotOlderThan")]).await {
                // A server that cannot, or whose etcd cannot (before 3.4.31 and 3.5.13).
                Err(End::Failed(Failure::Refused { code: 400 | 404 | 406 | 422 | 500 | 501, .. }))
                    if self.progress.listing => {}
                ended => return ended,
            }
            self.list().await?;
        }
        let version = self.progress.version.clone().unwrap_or_default();
        self.watch(&[("resourceVersion", &version)]).await
    }

    async fn begin_list(&mut self) {
        let networks = networks(&self.wishes.borrow_and_update());
        self.register.lock().await.begin_list(self.collection, networks);
        self.progress.listing = true;
    }

    /// Where the collection is, and what of it is meant.
    fn question(&self, pairs: &[(&str, &str)]) -> Question {
        let mut pairs = pairs.to_vec();
        let own = format!("metadata.name={}", self.node);
        let others = format!("!{}", lease_object::label(self.prefix));
        match self.collection {
            Collection::OwnNode => pairs.push(("fieldSelector", &own)),
            Collection::OtherNodes => pairs.push(("labelSelector", &others)),
            Collection::Nodes | Collection::Leases => {}
        }
        Question::get(format!("{}?{}", self.path(), query(&pairs)))
    }

    fn path(&self) -> String {
        match (self.collection, self.peers) {
            (Collection::Leases, PeerObjects::Leases { namespace }) => lease_object::path(namespace),
            _ => NODES.to_owned(),
        }
    }

    /// All objects in pages of one version.
    async fn list(&mut self) -> Result<(), End> {
        self.begin_list().await;
        let mut next: Option<Box<str>> = None;
        loop {
            let mut pairs = vec![("limit", PAGE)];
            pairs.extend(next.as_deref().map(|next| ("continue", next)));
            let question = self.question(&pairs);
            let body = self.client.ask(&question).await?.whole(LONGEST_PAGE).await?;
            let page: Page = serde_json::from_slice(&body).map_err(unreadable)?;
            for object in &page.items {
                self.register.lock().await.see(self.collection, object, Listed::Yes);
            }
            self.register.lock().await.tell().await?;
            next = page.metadata.next.filter(|next| !next.is_empty());
            if next.is_none() {
                return self.end_list(page.metadata.resource_version).await;
            }
        }
    }

    /// One watch until the server ends it.
    async fn watch(&mut self, more: &[(&str, &str)]) -> Result<(), End> {
        let patience = self.client.patience;
        // Not all nodes of a cluster come back in the same second.
        let whole = patience.whole_watch.mul_f64(1.0 + (dice() % 1000) as f64 / 1000.0).as_secs().max(1).to_string();
        let mut pairs = vec![("watch", "1"), ("allowWatchBookmarks", "true"), ("timeoutSeconds", whole.as_str())];
        pairs.extend_from_slice(more);
        let question = self.question(&pairs);
        let mut answer = self.client.ask(&question).await?;
        // Now, and whenever a watch ends: the API server lets none last an hour.
        if let Some(theirs) = answer.date {
            self.events.lock().await.clock(clock::compare(self.node, Utc::now(), theirs)).await?;
        }
        if !self.progress.listing {
            self.well().await?;
            answer.patience = patience.watch;
        }
        let mut lines = Lines::default();
        loop {
            let piece = tokio::select! {
                piece = answer.piece() => piece,
                () = fitting(&mut self.wishes, self.progress.complete) => {
                    if self.is_unsettled().await {
                        self.progress.version = None;
                        return Ok(());
                    }
                    continue;
                }
            };
            let Some(piece) = piece.or_else(|failure| self.unless_told(failure))? else { return Ok(()) };
            self.take(&mut lines, &piece).await?;
            self.take_waiting(&mut lines, &mut answer).await?;
            self.register.lock().await.tell().await?;
            if !self.progress.listing {
                answer.patience = patience.watch;
            }
        }
    }

    /// A watch that is silent, or breaks, is begun again; whether something is wrong then shows itself. If not even a bookmark
    /// came twice, the server may have been put back to an older state, and would say nothing until it is as new again.
    fn unless_told(&mut self, failure: Failure) -> Result<Option<Bytes>, Failure> {
        match failure {
            Failure::Silence(_) | Failure::Broken(_) if !self.progress.listing => {
                tracing::debug!("the watch is begun again: {failure}");
                let silent = matches!(failure, Failure::Silence(_));
                if silent && std::mem::replace(&mut self.progress.silent, true) {
                    self.progress.version = None;
                }
                Ok(None)
            }
            failure => Err(failure),
        }
    }

    /// What is there already: a burst is told at once.
    async fn take_waiting(&mut self, lines: &mut Lines, answer: &mut Answer) -> Result<(), End> {
        while self.register.lock().await.untold() < MOST {
            let piece = tokio::select! {
                biased;
                piece = answer.piece() => piece?,
                // The connection's own task has a turn, and what it read comes first.
                () = yield_now() => None,
            };
            let Some(piece) = piece else { break };
            self.take(lines, &piece).await?;
        }
        Ok(())
    }

    async fn take(&mut self, lines: &mut Lines, piece: &[u8]) -> Result<(), End> {
        let mut notices: Vec<Notice> = Vec::new();
        lines.push(piece, |line| {
            notices.push(serde_json::from_slice(line).map_err(unreadable)?);
            Ok(())
        })?;
        for notice in notices {
            if let Some(version) = self.notice(notice).await? {
                self.end_list(version).await?;
            }
        }
        Ok(())
    }

    /// One line of the watch. Gives the version of a streamed list that is whole now.
    async fn notice(&mut self, notice: Notice) -> Result<Option<Box<str>>, Failure> {
        let object = notice.object;
        let listed = if self.progress.listing { Listed::Yes } else { Listed::No };
        self.progress.silent = false;
        match &*notice.kind {
            "ADDED" => self.register.lock().await.see(self.collection, &object, listed),
            "MODIFIED" => {
                let mut register = self.register.lock().await;
                if self.collection == Collection::Leases {
                    register.inherit(&object);
                }
                register.see(self.collection, &object, listed);
            }
            "DELETED" if self.collection == Collection::OtherNodes => {
                self.hand_over(&LeaseKey::new(&object.metadata.uid), &object.metadata.name).await?;
            }
            "DELETED" => self.register.lock().await.lose(self.collection, &object),
            "BOOKMARK" if object.ends_initial_events() => return Ok(Some(object.metadata.resource_version)),
            "ERROR" => {
                let message = object.message.map_or_else(String::new, String::from);
                return Err(Failure::Refused { code: object.code, message, retry_after: None });
            }
            _ => {}
        }
        // What a streamed list begins with is in no order that could be gone on from.
        if !self.progress.listing && !object.metadata.resource_version.is_empty() {
            self.progress.version = Some(object.metadata.resource_version);
        }
        Ok(None)
    }

    /// A Node is not among those any more that no Lease object tells of: it looks for the object, if that did not come yet.
    async fn hand_over(&mut self, uid: &LeaseKey, name: &str) -> Result<(), Failure> {
        if !self.register.lock().await.is_in_doubt(uid) {
            self.register.lock().await.hand_over(uid, None);
            return Ok(());
        }
        let PeerObjects::Leases { namespace } = self.peers else { return Ok(()) };
        let question = Question::get(format!("{}/{name}", lease_object::path(namespace)));
        let heir: Option<Object> = match self.asking.ask(&question).await {
            Ok(mut answer) => Some(serde_json::from_slice(&answer.whole(LONGEST_OBJECT).await?).map_err(unreadable)?),
            Err(Failure::Refused { code: 404, .. }) => None,
            Err(failure) => return Err(failure),
        };
        self.register.lock().await.hand_over(uid, heir.as_ref());
        Ok(())
    }

    /// The list is whole: everything up to this version is known.
    async fn end_list(&mut self, version: Box<str>) -> Result<(), End> {
        if !std::mem::take(&mut self.progress.listing) {
            return Ok(());
        }
        if self.collection == Collection::OtherNodes {
            let absent = self.register.lock().await.absent(self.collection);
            for (uid, name) in absent {
                self.hand_over(&uid, &name).await?;
            }
        }
        self.progress.version = Some(version);
        self.well().await?;
        self.progress.complete = true;
        Ok(self.register.lock().await.end_list(self.collection).await?)
    }

    /// Whether some node would be judged otherwise, now that subnets must lie in something else; then all are listed again.
    async fn is_unsettled(&mut self) -> bool {
        let networks = networks(&self.wishes.borrow_and_update());
        let Some(networks) = networks else { return false };
        self.register.lock().await.is_unsettled(self.collection, networks)
    }

    async fn well(&mut self) -> Result<(), Closed> {
        self.events.lock().await.well(self.collection.topic()).await
    }
}

/// What the claim's subnets must lie in.
fn networks(wish: &Wish) -> Option<Stack<IpNet>> {
    match wish {
        Wish::Hold(claim) => Some(claim.pools.map(|_, pool| pool.network)),
        Wish::Watch | Wish::Release => None,
    }
}

/// Until the wish may say another network, if that matters yet.
async fn fitting(wishes: &mut watch::Receiver<Wish>, complete: bool) {
    if !complete || wishes.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn unreadable(error: serde_json::Error) -> Failure {
    Failure::Unreadable(error.to_string())
}
