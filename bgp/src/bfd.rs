//! Whether the path to a peer carries packets, known within milliseconds: BFD (RFC 5880) over one hop (RFC 5881) and over many
//! (RFC 5883), for a BGP session that it ends (RFC 5882).
//!
//! [`Sessions`] takes packets and the time, and says what is to be sent and what has changed. Asynchronous mode, without echo; a
//! peer that asks for demand mode gets it. Authentication is not in use: a packet with a section of it is discarded, as section
//! 6.8.6 says. Does not know sockets, clocks or BGP.
#![deny(clippy::indexing_slicing, clippy::unreachable)]

use std::net::IpAddr;
use std::num::{NonZeroU8, NonZeroU32};
use std::time::Duration;

mod discard;
pub mod packet;
mod poll;
mod session;
mod sessions;
pub mod state;

pub use discard::{Discard, Discards};
pub use packet::Packet;
pub use session::Status;
pub use sessions::{Change, Output, SessionId, Sessions};
pub use state::{Diagnostic, State};

/// UDP port of control packets over one hop (RFC 5881 section 4).
pub const SINGLE_HOP_PORT: u16 = 3784;
/// UDP port of control packets over many (RFC 5883 section 5).
pub const MULTIHOP_PORT: u16 = 4784;
/// Ports that control packets come from (RFC 5881 section 4).
pub const SOURCE_PORTS: std::ops::RangeInclusive<u16> = 49152..=65535;

/// How far away a peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hops {
    /// On the link: packets that have passed a router are discarded (RFC 5881 section 5).
    One,
    /// Beyond routers. Packets whose TTL or hop limit is below this are discarded; 1 takes all (RFC 5883 section 5).
    Many {
        /// 255 less the number of routers that may lie between.
        least_ttl: u8,
    },
}

impl Hops {
    /// The port that its packets go to.
    pub fn port(self) -> u16 {
        match self {
            Hops::One => SINGLE_HOP_PORT,
            Hops::Many { .. } => MULTIHOP_PORT,
        }
    }

    /// The least TTL or hop limit that is taken.
    pub fn least_ttl(self) -> u8 {
        match self {
            Hops::One => 255,
            Hops::Many { least_ttl } => least_ttl,
        }
    }
}

/// Between which addresses a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// Ours, if it matters which.
    pub local: Option<IpAddr>,
    /// The peer's.
    pub remote: IpAddr,
    /// The number of the link that packets must come by, if it matters.
    pub link: Option<u32>,
    /// How far it is.
    pub hops: Hops,
}

/// How often packets go, and how many may be missed. Microseconds, as on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// bfd.DesiredMinTxInterval once it is up; before that it is at least a second (RFC 5880 section 6.8.3).
    pub transmit_us: NonZeroU32,
    /// bfd.RequiredMinRxInterval.
    pub receive_us: NonZeroU32,
    /// bfd.DetectMult: the peer gives us up when so many of our packets are missed.
    pub multiplier: NonZeroU8,
}

impl Settings {
    /// The same interval both ways.
    pub fn symmetric(interval: Duration, multiplier: NonZeroU8) -> Settings {
        let us = u32::try_from(interval.as_micros()).unwrap_or(u32::MAX);
        let us = NonZeroU32::new(us).unwrap_or(NonZeroU32::MIN);
        Settings { transmit_us: us, receive_us: us, multiplier }
    }
}

impl Default for Settings {
    /// 3 × 300 ms.
    fn default() -> Settings {
        const THREE: NonZeroU8 = NonZeroU8::MIN.saturating_add(2);
        Settings::symmetric(Duration::from_millis(300), THREE)
    }
}

/// How a packet came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Its source address.
    pub source: IpAddr,
    /// The address of ours that it was sent to.
    pub destination: IpAddr,
    /// The number of the link that it came by.
    pub link: u32,
    /// Its TTL or hop limit as it came.
    pub ttl: u8,
    /// The port that it was sent to.
    pub port: u16,
}

#[cfg(test)]
mod tests;
