//! THE SHELL AROUND THE BGP SPEAKER: a thread with a runtime of its own, the only one that calls [`bgp::speaker::Speaker`], so that half a million
//! routes keep nobody else waiting, and nobody else a keepalive.
//!
//! ```text
//!   node loop ── wish, latest ─────▶┌───────────────────┐
//!             ◀─ learnt, 16 ────────│ main loop         │ timers as one deadline; routes decided once for all that came
//!   who asks ─── questions, 16 ────▶│   and, in turns:  │
//!   BFD ──────── news, 64 ─────────▶│ a task a socket   │ connections, listeners, attempts to connect
//!             ◀─ paths, latest ─────└───────────────────┘
//! ```
//!
//! What it is to be is told whole ([`wish`]), and only what differs is touched; what it learns goes to the node loop ([`learnt`]); what it can be asked
//! stands in [`question`]. It does not decide which peers there are or what is announced (the node does), nor what learnt routes mean for the
//! kernel (`backends`). When the process ends its connections end without a word: neighbours that keep routes over a restart do.

mod addresses;
mod answers;
pub mod asked;
mod connection;
mod connector;
mod ground;
mod guests;
mod journal;
mod keys;
pub mod learnt;
mod leaving;
mod listener;
pub mod liveness;
mod overlay;
mod paths;
mod patience;
pub mod portrait;
pub mod question;
mod roster;
mod settling;
mod shell;
mod stations;
pub mod text;
mod tidings;
mod tracking;
pub mod trial;
mod unnumbered;
pub mod views;
mod waiting;
pub mod wish;

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::rand::{GetRandomFlags, getrandom};
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep_until};

use ground::Ground;
use learnt::{Learnt, Missing};
use liveness::{BfdEnd, BfdPaths};
use question::Question;
use tidings::Tidings;
use wish::Wish;

/// How often key files, addresses to listen at and peers of ranges are looked at.
const HOUSEKEEPING: Duration = Duration::from_secs(2);

/// The node loop's end of the talk with the speaker.
#[derive(Debug)]
pub struct NodeEnd {
    /// What the speaker is to be; nothing while there is no BGP.
    pub wish: watch::Sender<Option<Arc<Wish>>>,
    /// What it learnt. It waits while this is full, and tells then what is true by then.
    pub learnt: mpsc::Receiver<Learnt>,
    /// Which peers that this node needs are not up.
    pub missing: watch::Receiver<Missing>,
    /// What it is asked.
    pub questions: mpsc::Sender<Question>,
}

/// The speaker's end.
#[derive(Debug)]
pub struct SpeakerEnd {
    /// What it is to be.
    pub wish: watch::Receiver<Option<Arc<Wish>>>,
    /// Where what it learns is told.
    pub learnt: mpsc::Sender<Learnt>,
    /// Where it tells which peers that this node needs are not up.
    pub missing: watch::Sender<Missing>,
    /// What it is asked.
    pub questions: mpsc::Receiver<Question>,
}

/// Both ends of a talk.
pub fn talk() -> (NodeEnd, SpeakerEnd) {
    let (wish, wished) = watch::channel(None);
    let (tell, learnt) = mpsc::channel(16);
    let (questions, asked) = mpsc::channel(16);
    let (miss, missing) = watch::channel(Missing::new());
    let node = NodeEnd { wish, learnt, missing, questions };
    (node, SpeakerEnd { wish: wished, learnt: tell, missing: miss, questions: asked })
}

/// Starts the speaker's thread, in the network namespace of the one that calls. It ends when nobody can wish anything any more.
///
/// # Errors
/// When there is no thread or no runtime to be had.
pub fn start(end: SpeakerEnd, bfd: BfdEnd) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    allow_many_descriptors();
    std::thread::Builder::new()
        .name("bgp".into())
        .spawn(move || LocalSet::new().block_on(&runtime, speak(end, bfd)))?;
    Ok(())
}

/// As many sessions as the administrator allows, not as many as programs of old could take (`ulimit -Sn`, `-Hn`).
fn allow_many_descriptors() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::debug!("the limit of open files stays as it is: {error}");
    }
}

/// Lives as often as it is wished for.
async fn speak(mut end: SpeakerEnd, mut bfd: BfdEnd) {
    let mut tidings = Tidings::new(end.learnt.clone(), end.missing.clone());
    loop {
        let wish = end.wish.borrow_and_update().clone();
        match wish {
            Some(wish) => {
                let ground = Ground::new(&wish, seed(), tidings);
                live(&ground, wish, (&mut end, &mut bfd)).await;
                // The process ends: not a word, or neighbours would forget what the kernel goes on forwarding (RFC 4724 section 4).
                if end.wish.has_changed().is_err() {
                    return;
                }
                tidings = ground.with(|shell, now| shell.end(now));
            }
            None => {
                bfd.paths.send_replace(BfdPaths::new());
                tidings.tell(None);
            }
        }
        // Whoever asks meanwhile is told by silence that there is no speaker.
        while end.wish.borrow().is_none() {
            tokio::select! {
                biased;
                changed = end.wish.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                Some(question) = end.questions.recv() => drop(question),
            }
        }
    }
}

fn seed() -> u64 {
    let mut octets = [0; 8];
    if let Err(error) = getrandom(&mut octets, GetRandomFlags::empty()) {
        tracing::warn!("no chance from the kernel for BGP's tables: {error}");
    }
    u64::from_ne_bytes(octets)
}

/// One speaker, until another is wished for or none.
async fn live(ground: &Rc<Ground>, wish: Arc<Wish>, (end, bfd): (&mut SpeakerEnd, &mut BfdEnd)) {
    let identity = |wish: &Wish| (wish.asn, wish.router_id, wish.preferences);
    let who = identity(&wish);
    ground.wish_for(&wish);
    ground.begin_watching(&bfd.paths);
    let mut housekeeping = Instant::now() + HOUSEKEEPING;
    loop {
        let due = ground.look(|shell| shell.due()).map_or(housekeeping, |due| housekeeping.min(due.into()));
        let (waits, listener) = ground.look(|shell| (shell.tidings.wait(), shell.tidings.listener()));
        tokio::select! {
            // Timers first; what has always something to do last.
            biased;
            () = sleep_until(due) => {
                if Instant::now() >= housekeeping {
                    ground.keep_house();
                    ground.watch_paths(&bfd.paths);
                    housekeeping = Instant::now() + HOUSEKEEPING;
                }
                ground.turn();
            }
            changed = end.wish.changed() => {
                let wish = end.wish.borrow_and_update().clone();
                match wish.filter(|wish| changed.is_ok() && identity(wish) == who) {
                    Some(wish) => ground.wish_for(&wish),
                    // Another speaker, or none: whoever called looks.
                    None => return,
                }
                ground.watch_paths(&bfd.paths);
            }
            Some(news) = bfd.news.recv() => ground.with(|shell, now| shell.hear_of_path(news, now)),
            Some(question) = end.questions.recv() => ground.answer(question),
            room = listener.reserve_owned(), if waits => ground.with(|shell, _| shell.tidings.tell(room.ok())),
            () = ground.work.notified() => {
                if ground.turn() {
                    ground.work.notify_one();
                    tokio::task::yield_now().await;
                }
            }
        }
        ground.watch_waited_for(&bfd.paths);
    }
}
