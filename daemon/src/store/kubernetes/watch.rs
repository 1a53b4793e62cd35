//! [`Watcher`]: follows all Nodes. First a list (streamed as the beginning of the watch where the server can, else in pages), then
//! what changes, from the version that was told last; a list again only when that version is gone. A list that is not the
//! first is told as changes, and who is not in it is told to be gone only when it is whole.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use ipam::table::Record;
use ipam::{NodeName, Stack};
use ipnet::IpNet;
use tokio::sync::{Mutex, watch};
use tokio::task::yield_now;
use tokio::time::Instant;

use super::client::{Answer, Client, Question, query};
use super::failure::Failure;
use super::lines::Lines;
use super::object::{Notice, Object, Page};
use super::peers::Peers;
use super::sight::{Sight, look_for_rivals};
use crate::store::Wish;
use crate::store::events::{Closed, Events, Topic};
use crate::store::talk::Counted;
use crate::store::terms::{Backoff, dice};

/// How many Nodes a page has: one is some 20 kB, and a page is read as a whole.
const PAGE: &str = "100";
/// The longest page that is taken.
const LONGEST_PAGE: usize = 64 << 20;
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

/// Follows all Nodes.
pub struct Watcher<'a> {
    /// Over which it asks.
    pub client: Client,
    /// Which Node is our own.
    pub node: &'a NodeName,
    /// For people: where the API is.
    pub place: String,
    /// What was told.
    pub peers: Peers,
    /// Where everything is told.
    pub events: &'a Mutex<Events>,
    /// Where the own Node is shown.
    pub sight: &'a watch::Sender<Sight>,
    /// Where figures are counted.
    pub counted: Arc<Counted>,
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
    listing: Option<Listing>,
    /// Not told yet.
    news: Vec<Record>,
    /// Whether there was a whole list.
    complete: bool,
    /// Nothing came on the last watch.
    silent: bool,
}

/// A list that is not whole yet.
#[derive(Debug, Default)]
struct Listing {
    own_seen: bool,
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
            tracing::debug!(?failure, "a watch of Nodes ended after {} ms", lasted.as_millis());
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
                if self.events.lock().await.trouble(Topic::Reach, sentence).await.is_err() {
                    return;
                }
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Lists if that must be, then watches once. It ends well when the server ends the watch in order.
    async fn follow(&mut self) -> Result<(), End> {
        if self.progress.version.is_none() {
            self.begin_list();
            match self.watch(&[("sendInitialEvents", "true"), ("resourceVersionMatch", "NotOlderThan")]).await {
                // A server that cannot, or whose etcd cannot (before 3.4.31 and 3.5.13).
                Err(End::Failed(Failure::Refused { code: 400 | 404 | 406 | 422 | 500 | 501, .. }))
                    if self.progress.listing.is_some() => {}
                ended => return ended,
            }
            self.list().await?;
        }
        let version = self.progress.version.clone().unwrap_or_default();
        self.watch(&[("resourceVersion", &version)]).await
    }

    fn begin_list(&mut self) {
        self.counted.list();
        if !self.progress.complete {
            // Nothing of a first list that was not whole was told.
            self.peers.forget();
            self.progress.news.clear();
        }
        if let Some(networks) = networks(&self.wishes.borrow_and_update()) {
            self.peers.fit_in(networks);
        }
        self.peers.begin_list();
        self.progress.listing = Some(Listing::default());
    }

    /// All Nodes in pages of one version.
    async fn list(&mut self) -> Result<(), End> {
        self.begin_list();
        let mut next: Option<Box<str>> = None;
        loop {
            let mut pairs = vec![("limit", PAGE)];
            pairs.extend(next.as_deref().map(|next| ("continue", next)));
            let question = Question::get(format!("{NODES}?{}", query(&pairs)));
            let body = self.client.ask(&question).await?.whole(LONGEST_PAGE).await?;
            let page: Page = serde_json::from_slice(&body).map_err(unreadable)?;
            for node in &page.items {
                self.see(node);
            }
            self.tell_some().await?;
            next = page.metadata.next.filter(|next| !next.is_empty());
            if next.is_none() {
                return Ok(self.end_list(page.metadata.resource_version).await?);
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
        let mut answer = self.client.ask(&Question::get(format!("{NODES}?{}", query(&pairs)))).await?;
        if self.progress.listing.is_none() {
            self.well().await?;
            answer.patience = patience.watch;
        }
        let mut lines = Lines::default();
        loop {
            let piece = tokio::select! {
                piece = answer.piece() => piece,
                () = fitting(&mut self.wishes, self.progress.complete) => {
                    if self.is_unsettled() {
                        self.progress.version = None;
                        return Ok(());
                    }
                    continue;
                }
            };
            let Some(piece) = piece.or_else(|failure| self.unless_told(failure))? else { return Ok(()) };
            self.take(&mut lines, &piece).await?;
            self.take_waiting(&mut lines, &mut answer).await?;
            self.tell_some().await?;
            if self.progress.listing.is_none() {
                answer.patience = patience.watch;
            }
        }
    }

    /// A watch that is silent, or breaks, is begun again; whether something is wrong then shows itself. If not even a bookmark
    /// came twice, the server may have been put back to an older state, and would say nothing until it is as new again.
    fn unless_told(&mut self, failure: Failure) -> Result<Option<Bytes>, Failure> {
        match failure {
            Failure::Silence(_) | Failure::Broken(_) if self.progress.listing.is_none() => {
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
        while self.progress.news.len() < MOST {
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
            if let Some(version) = self.notice(notice)? {
                self.end_list(version).await?;
            }
        }
        Ok(())
    }

    /// One line of the watch. Gives the version of a streamed list that is whole now.
    fn notice(&mut self, notice: Notice) -> Result<Option<Box<str>>, Failure> {
        let node = notice.object;
        self.progress.silent = false;
        match &*notice.kind {
            "ADDED" | "MODIFIED" => self.see(&node),
            "DELETED" => self.lose(&node),
            "BOOKMARK" if node.ends_initial_events() => return Ok(Some(node.metadata.resource_version)),
            "ERROR" => {
                let message = node.message.map_or_else(String::new, String::from);
                return Err(Failure::Refused { code: node.code, message, retry_after: None });
            }
            _ => {}
        }
        // What a streamed list begins with is in no order that could be gone on from.
        if self.progress.listing.is_none() && !node.metadata.resource_version.is_empty() {
            self.progress.version = Some(node.metadata.resource_version);
        }
        Ok(None)
    }

    fn see(&mut self, node: &Object) {
        self.counted.notice();
        let own = *node.metadata.name == *self.node.as_str();
        let news = self.peers.take(node);
        if news.is_none() {
            self.counted.no_change();
        }
        if own {
            if let Some(listing) = &mut self.progress.listing {
                listing.own_seen = true;
            }
            let (rival, listed) = (self.peers.rival(node), self.progress.listing.is_some());
            self.sight.send_if_modified(|sight| {
                let changed = sight.rival != rival;
                sight.rival = rival;
                // What is listed is how it is, even if it was newer before.
                sight.node = sight.node.take().filter(|_| !listed);
                sight.take(node) || changed
            });
        }
        // Our own is told by the publication, when it is held; but the first list is told whole.
        let record = news.flatten().filter(|_| !own || !self.progress.complete);
        self.progress.news.extend(record);
    }

    fn lose(&mut self, node: &Object) {
        self.counted.notice();
        let uid = &node.metadata.uid;
        if !self.progress.complete {
            // A first list is told whole, so it must not name who has gone meanwhile.
            self.progress.news.retain(|record| record.key().as_str() != &**uid);
        }
        self.progress.news.extend(self.peers.lose(uid));
        self.sight.send_if_modified(|sight| sight.lose(uid));
    }

    /// The list is whole: everything up to this version is known.
    async fn end_list(&mut self, version: Box<str>) -> Result<(), Closed> {
        let Some(listing) = self.progress.listing.take() else { return Ok(()) };
        self.progress.version = Some(version);
        let gone = self.peers.end_list();
        self.well().await?;
        if std::mem::replace(&mut self.progress.complete, true) {
            self.progress.news.extend(gone);
            self.tell_some().await?;
        } else {
            let mut news = std::mem::take(&mut self.progress.news);
            news.shrink_to_fit();
            look_for_rivals(self.sight, &self.peers, &news);
            self.events.lock().await.snapshot(news).await?;
        }
        // Only now may our own lease be told: a snapshot after it would take its record away.
        self.sight.send_modify(|sight| {
            sight.complete = true;
            if !listing.own_seen {
                sight.node = None;
            }
        });
        Ok(())
    }

    /// Tells what is new, but of the first list nothing before it is whole.
    async fn tell_some(&mut self) -> Result<(), Closed> {
        if !self.progress.complete || self.progress.news.is_empty() {
            return Ok(());
        }
        let news = std::mem::take(&mut self.progress.news);
        look_for_rivals(self.sight, &self.peers, &news);
        self.events.lock().await.changed(news).await
    }

    /// Whether some Node would be judged otherwise, now that subnets must lie in something else; then all are listed again.
    fn is_unsettled(&mut self) -> bool {
        let networks = networks(&self.wishes.borrow_and_update());
        networks.is_some_and(|networks| self.peers.fit_in(networks))
    }

    async fn well(&mut self) -> Result<(), Closed> {
        self.events.lock().await.well(Topic::Reach).await
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
