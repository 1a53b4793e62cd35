//! [`Speech`]: the node loop's end of the talk with the BGP speaker. Its threads begin with the first wish: a node without BGP has none.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use crate::bgp::learnt::{Learnt, Missing};
use crate::bgp::question::Question;
use crate::bgp::wish::{Necessity, Wish};
use crate::bgp::{self, NodeEnd, SpeakerEnd, liveness};
use crate::{bfd, reconcile::Reconciler};

/// Messages of what was learnt that are one turn; each has thousands of routes at most.
const MOST_AT_ONCE: usize = 8;

/// How long the end of the process waits for last packets, and how often it looks.
const FAREWELL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_millis(5));

/// The node loop's end.
pub struct Speech {
    wish: watch::Sender<Option<Arc<Wish>>>,
    learnt: mpsc::Receiver<Learnt>,
    missing: watch::Receiver<Missing>,
    /// The speaker's, as long as there is none.
    idle: Option<SpeakerEnd>,
    /// The thread that watches paths, once there is one.
    watcher: Option<JoinHandle<()>>,
}

/// What is new.
pub enum News {
    /// Routes.
    Learnt(Learnt),
    /// Which peers the node needs and has not.
    Missing,
}

impl Speech {
    /// Nobody speaks yet. And where questions are put.
    pub fn new() -> (Speech, mpsc::Sender<Question>) {
        let (NodeEnd { wish, learnt, missing, questions }, end) = bgp::talk();
        (Speech { wish, learnt, missing, idle: Some(end), watcher: None }, questions)
    }

    /// Waits until there is something new.
    pub async fn next(&mut self) -> Option<News> {
        loop {
            if let Some(end) = &mut self.idle {
                // Whoever asks is told by silence that there is no speaker.
                drop(end.questions.recv().await?);
                continue;
            }
            return tokio::select! {
                learnt = self.learnt.recv() => learnt.map(News::Learnt),
                changed = self.missing.changed() => changed.ok().map(|()| News::Missing),
            };
        }
    }

    /// Gives the node what is new, and what came with it.
    pub fn hear(&mut self, news: News, reconciler: &mut Reconciler) {
        let first = match news {
            News::Learnt(learnt) => learnt,
            News::Missing => {
                reconciler.record.missing_peers = self.missing.borrow_and_update().values().cloned().collect();
                return;
            }
        };
        let more = std::iter::from_fn(|| self.learnt.try_recv().ok()).take(MOST_AT_ONCE - 1);
        for told in std::iter::once(first).chain(more) {
            if reconciler.node.on_learnt(told) {
                reconciler.settle();
            }
            if reconciler.node.lost().next().is_some() {
                // The rest can wait, and packets cannot.
                return;
            }
        }
    }

    /// Says what the speaker is to be, where that is something new.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn tell(&mut self, reconciler: &mut Reconciler) -> io::Result<()> {
        let Some(wish) = reconciler.node.new_wish_of_speaker() else { return Ok(()) };
        if wish.is_some()
            && let Some(end) = self.idle.take()
        {
            let (paths, watcher) = liveness::talk();
            reconciler.record.bfd = Some(Arc::clone(&watcher.tally));
            self.watcher = Some(bfd::start(watcher)?);
            bgp::start(end, paths)?;
        }
        // Until the speaker says how they are: the node is not ready before the first word.
        let needed = wish.iter().flat_map(|wish| &wish.neighbours);
        let needed = needed.filter(|(_, neighbour)| neighbour.necessity == Necessity::Required).map(|(name, _)| name);
        let told = self.wish.borrow().clone();
        let new = needed.filter(|name| told.as_ref().is_none_or(|told| !told.neighbours.contains_key(*name)));
        let unmet = |name| format!("BGP peer {name}, which is required, is not up: no session yet");
        reconciler.record.missing_peers.extend(new.map(unmet));
        self.wish.send_if_modified(|told| {
            let changed = told.as_deref() != wish.as_ref();
            if changed {
                *told = wish.map(Arc::new);
            }
            changed
        });
        Ok(())
    }

    /// Ends the speaker without a word, and waits until BFD has told its peers that nothing is wrong with their paths: one that hears nothing more
    /// takes the routes that a graceful restart would keep (RFC 5882 section 4.3.2).
    pub async fn end(self) {
        let Speech { wish, learnt, missing, idle, watcher } = self;
        drop((wish, learnt, missing, idle));
        let Some(watcher) = watcher else { return };
        let ended = async {
            while !watcher.is_finished() {
                sleep(FAREWELL.1).await;
            }
        };
        if timeout(FAREWELL.0, ended).await.is_err() {
            tracing::warn!("BFD's peers could not be told of the end: they may take their path here for a dead one");
        }
    }
}
