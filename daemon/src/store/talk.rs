//! What runs between the node and its store: two ends of the same channels ([`ends`]), each bounded or with the latest value
//! only, and the figures that the store counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{mpsc, watch};

use super::{Event, Wish};

/// Whether pods of this node have their network: what the store shows where it has a place for it (the condition
/// NetworkUnavailable of the Node object). Latest value only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// Not known yet: what stands in the store stays as it is.
    #[default]
    Unknown,
    /// Own lease, kernel and reachable peers are as they should be.
    Available,
    /// They are not, and pods should not be sent here: one sentence that names the reason and the fix.
    Unavailable(String),
}

/// How much somebody must care.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// For the record.
    Normal,
    /// Somebody must look.
    Warning,
}

/// Something that an operator should find beside the node: in Kubernetes an Event on the Node object. The store says it
/// at most so often, counts repetitions, and drops what is too much.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Occurrence {
    /// How much somebody must care.
    pub severity: Severity,
    /// One word in CamelCase, for programs: `PodCidrMissing`.
    pub reason: &'static str,
    /// One sentence that names the thing and the fix.
    pub message: String,
}

/// What a store has counted since the daemon began.
#[derive(Debug, Default)]
pub struct Counted {
    received: AtomicU64,
    notices: AtomicU64,
    unchanged: AtomicU64,
    lists: AtomicU64,
}

/// The figures at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Bytes that came in answers, without TLS and headers.
    pub received: u64,
    /// What the watch said of single objects.
    pub notices: u64,
    /// How much of that changed nothing that this daemon looks at.
    pub unchanged: u64,
    /// How often everything was listed.
    pub lists: u64,
}

impl Counted {
    /// The figures now.
    pub fn now(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            received: read(&self.received),
            notices: read(&self.notices),
            unchanged: read(&self.unchanged),
            lists: read(&self.lists),
        }
    }

    pub(super) fn receive(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn notice(&self) {
        self.notices.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn no_change(&self) {
        self.unchanged.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn list(&self) {
        self.lists.fetch_add(1, Ordering::Relaxed);
    }
}

/// The node's end: it says what it wishes, how it stands and what occurred, and hears events.
#[derive(Debug)]
pub struct NodeEnd {
    /// What the store shall do.
    pub wishes: watch::Sender<Wish>,
    /// How the node stands.
    pub standing: watch::Sender<Standing>,
    /// What occurred; to be tried, never waited for.
    pub occurrences: mpsc::Sender<Occurrence>,
    /// What the store tells.
    pub events: mpsc::Receiver<Event>,
    /// What the store counts.
    pub counted: Arc<Counted>,
}

/// The store's end.
#[derive(Debug)]
pub struct StoreEnd {
    /// What the node wishes.
    pub wishes: watch::Receiver<Wish>,
    /// How the node stands. The directory and etcd have no place for it.
    pub standing: watch::Receiver<Standing>,
    /// What occurred. The directory and etcd have no place for it.
    pub occurrences: mpsc::Receiver<Occurrence>,
    /// Where events are told.
    pub events: mpsc::Sender<Event>,
    /// Where figures are counted.
    pub counted: Arc<Counted>,
}

/// How many events may wait for the node: when it is busy the store waits.
const EVENTS: usize = 64;
/// How many occurrences may wait for the store: what is more is dropped.
const OCCURRENCES: usize = 32;

/// Both ends, with this wish to begin with.
pub fn ends(wish: Wish) -> (NodeEnd, StoreEnd) {
    let (wishes, wished) = watch::channel(wish);
    let (standing, stands) = watch::channel(Standing::Unknown);
    let (occur, occurrences) = mpsc::channel(OCCURRENCES);
    let (tell, events) = mpsc::channel(EVENTS);
    let counted = Arc::new(Counted::default());
    let node = NodeEnd { wishes, standing, occurrences: occur, events, counted: Arc::clone(&counted) };
    (node, StoreEnd { wishes: wished, standing: stands, occurrences, events: tell, counted })
}
