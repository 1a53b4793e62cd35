//! The directory store: one small JSON file a lease, in a directory of one host or one that all nodes share. There is no lock
//! and no server; what keeps two nodes from one subnet is that link(2) does not overwrite (`place`).
//!
//! ```text
//! <directory>/net-conf.json                 the network's configuration
//! <directory>/leases/10.244.3.0-24.json     a lease (`file`)
//! <directory>/leases/.…part                 not yet, or no longer, a lease; never read
//! ```
//!
//! Nodes that share a directory must agree about the time to within the renewal margin.
//!
//! This file is the loop: it waits for a notice, a timer or a wish, and lets a `turn` be done beside the daemon's thread.

mod claim;
mod file;
mod leases;
mod notices;
mod place;
mod trouble;
mod turn;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};

use self::leases::Look;
use self::notices::Notices;
use self::turn::{Desk, Said, Turn};
use super::events::{Closed, Events, Topic};
use super::terms::{Backoff, Terms};
use super::{Event, Wish};

/// How often the directory is looked at without being told to.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// All files, without a notice.
    pub slow_look: Duration,
    /// How old a leftover must be to be removed: older than any daemon could still be busy with.
    pub sweep_after: Duration,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { slow_look: Duration::from_secs(30), sweep_after: Duration::from_secs(10 * 60) }
    }
}

/// A directory of leases.
#[derive(Clone, Debug)]
pub struct Directory {
    path: PathBuf,
    terms: Terms,
    pace: Pace,
}

impl Directory {
    /// The store in this directory, which is made when it is missing.
    pub fn new(path: &Path, terms: Terms) -> Directory {
        Directory { path: path.to_owned(), terms, pace: Pace::default() }
    }

    /// The same at another pace.
    pub fn at_pace(self, pace: Pace) -> Directory {
        Directory { pace, ..self }
    }

    /// See [`Store::run`](super::Store::run).
    pub async fn run(self, mut wishes: watch::Receiver<Wish>, out: mpsc::Sender<Event>) {
        let mut events = Events::new(out);
        let mut desk = Desk::new(&self.path, self.terms, self.pace);
        let (mut look, mut backoff) = (Look::All, Backoff::default());
        let mut watcher = Watcher::new(&self.path);
        let mut slow_look = Instant::now() + self.pace.slow_look;
        let mut wishing = true;
        loop {
            if look == Look::All {
                watcher.watch(&desk);
                slow_look = Instant::now() + self.pace.slow_look;
            }
            let wish = wishes.borrow_and_update().clone();
            let turn = spawn_blocking(move || {
                let turn = desk.turn(look, &wish);
                (desk, turn)
            });
            let turn: Turn = match turn.await {
                Ok((same, turn)) => {
                    desk = same;
                    turn
                }
                // The runtime is being shut down.
                Err(_) => return,
            };
            let wake = match turn.failed {
                true => slow_look.min(Instant::now() + backoff.pause()),
                false => turn.next.map_or(slow_look, |next| slow_look.min(Instant::now() + next)),
            };
            if !turn.failed {
                backoff = Backoff::default();
            }
            let failed = turn.failed;
            if tell(&mut events, turn.said).await.is_err() {
                return;
            }
            look = tokio::select! {
                look = watcher.next() => look,
                () = sleep_until(wake) => if failed || Instant::now() >= slow_look { Look::All } else { Look::none() },
                changed = wishes.changed(), if wishing => {
                    // Nobody wishes for anything any more: the last wish stands.
                    wishing = changed.is_ok();
                    Look::none()
                }
                () = events.closed() => return,
            };
        }
    }
}

async fn tell(events: &mut Events, said: Vec<Said>) -> Result<(), Closed> {
    for said in said {
        match said {
            Said::Event(Event::Network(text)) => events.network(text).await?,
            Said::Event(Event::Mine(lease)) => events.mine(lease).await?,
            Said::Event(Event::Snapshot(records)) => events.snapshot(records).await?,
            Said::Event(Event::Changed(records)) => events.changed(records).await?,
            Said::Event(_) => events.released().await?,
            Said::Trouble(topic, trouble) => events.trouble(topic, trouble.to_string()).await?,
            Said::Taken(sentence) => events.trouble(Topic::Taken, sentence).await?,
            Said::Well(topic) => events.well(topic).await?,
        }
    }
    Ok(())
}

/// Notices where there are any: without inotify the slow look alone must do.
struct Watcher {
    root: PathBuf,
    notices: Option<Notices>,
}

impl Watcher {
    fn new(root: &Path) -> Watcher {
        let notices = Notices::new().inspect_err(|error| {
            tracing::warn!(%error, "no inotify (see fs.inotify.max_user_instances): leases are looked at every 30 seconds");
        });
        Watcher { root: root.to_owned(), notices: notices.ok() }
    }

    /// Watches before the look, so that nothing is missed in between.
    fn watch(&mut self, desk: &Desk) {
        // What is wrong with the directory is the next turn's to say.
        if desk.prepare().is_err() {
            return;
        }
        if let Some(notices) = &mut self.notices
            && let Err(error) = notices.watch(&self.root, &self.root.join("leases"))
        {
            tracing::warn!(%error, "no inotify watch (see fs.inotify.max_user_watches): leases are looked at every 30 seconds");
        }
    }

    async fn next(&mut self) -> Look {
        let next = match &mut self.notices {
            Some(notices) => notices.next().await,
            None => std::future::pending().await,
        };
        next.unwrap_or_else(|error| {
            tracing::warn!(%error, "inotify failed: leases are looked at every 30 seconds");
            self.notices = None;
            Look::All
        })
    }
}
