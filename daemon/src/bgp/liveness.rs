//! What the speaker and BFD say to each other: which paths are watched and how, and what became of them (RFC 5880 to 5883).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::Duration;

use backends::state::LinkName;
use tokio::sync::{mpsc, watch};

use crate::bfd::Tally;

/// BFD beside a BGP session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Liveness {
    /// How fast.
    pub settings: BfdSettings,
    /// Whether BGP waits for it.
    pub strictness: Strictness,
}

/// Whether a session may begin before BFD is up (draft-ietf-idr-bgp-bfd-strict-mode).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// It may: only a path that was up and goes down ends it.
    Loose,
    /// It may not.
    Strict,
}

/// How fast a path is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BfdSettings {
    /// From one packet of ours to the next: Desired Min TX Interval.
    pub transmit: Duration,
    /// The least that we can take: Required Min RX Interval.
    pub receive: Duration,
    /// The peer gives us up when so many packets in a row are lost: Detect Mult.
    pub multiplier: NonZeroU8,
}

/// A path that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BfdKey {
    /// Our end; the unspecified address for whatever the kernel chooses.
    pub local: IpAddr,
    /// The other.
    pub remote: IpAddr,
    /// The link, where the addresses are of that link alone, or the path is of one hop and the link known.
    pub link: Option<LinkName>,
    /// How long it is.
    pub hops: BfdHops,
}

/// How long a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BfdHops {
    /// One hop: port 3784, hop limit 255 (RFC 5881).
    Single,
    /// More: port 4784 (RFC 5883). Packets are sent with 255, so a least of 254 lets one router lie between, and 1 takes all.
    Multi {
        /// The least hop limit that is taken.
        least_ttl: u8,
    },
}

/// What became of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BfdNews {
    /// Which.
    pub key: BfdKey,
    /// How it is.
    pub state: BfdState,
    /// Why, in a sentence: `no packet for 150 ms`.
    pub reason: String,
}

/// How a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BfdState {
    /// Packets go both ways.
    Up,
    /// They did, and do no longer; or not yet.
    Down,
    /// The other end does not want it (RFC 5880 section 6.8.16): no reason to end a session (RFC 5882 section 3.2).
    AdminDown,
}

/// The paths that are to be watched, all of them.
pub type BfdPaths = BTreeMap<BfdKey, BfdSettings>;

/// The speaker's end of the talk with BFD.
#[derive(Debug)]
pub struct BfdEnd {
    /// What is to be watched.
    pub paths: watch::Sender<BfdPaths>,
    /// What became of it.
    pub news: mpsc::Receiver<BfdNews>,
}

/// BFD's end.
#[derive(Debug)]
pub struct WatchEnd {
    /// What is to be watched.
    pub paths: watch::Receiver<BfdPaths>,
    /// What became of it; bounded: whoever tells waits for the speaker.
    pub news: mpsc::Sender<BfdNews>,
    /// What it counts.
    pub tally: Arc<Tally>,
}

/// Both ends of a talk.
pub fn talk() -> (BfdEnd, WatchEnd) {
    let (wanted, paths) = watch::channel(BfdPaths::new());
    let (tell, news) = mpsc::channel(64);
    (BfdEnd { paths: wanted, news }, WatchEnd { paths, news: tell, tally: Arc::default() })
}
