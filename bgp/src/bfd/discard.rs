//! Why a packet was discarded. They are counted and not told one by one: who sends them decides how many there are.

use std::fmt;

/// Why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Discard {
    /// The TTL or hop limit is too low: it was not sent by a neighbour (RFC 5881 section 5), or came from too far (RFC 5883 section 5).
    HopLimit,
    /// Fewer bytes than a packet has, or than it says itself (RFC 5880 section 6.8.6).
    Length,
    /// The version is not 1.
    Version,
    /// Detect Mult is 0.
    Multiplier,
    /// The Multipoint bit is set.
    Multipoint,
    /// My Discriminator is 0.
    NoDiscriminator,
    /// Your Discriminator is 0 in a state in which the peer must know ours.
    Unaddressed,
    /// Your Discriminator is nobody's.
    UnknownDiscriminator,
    /// No session is wanted with where it came from.
    UnknownPeer,
    /// It has a section of authentication, which is not in use.
    Authentication,
    /// We are AdminDown.
    AdminDown,
}

impl Discard {
    /// All of them, in the order of their numbers.
    pub const ALL: [Discard; 11] = [
        Discard::HopLimit,
        Discard::Length,
        Discard::Version,
        Discard::Multiplier,
        Discard::Multipoint,
        Discard::NoDiscriminator,
        Discard::Unaddressed,
        Discard::UnknownDiscriminator,
        Discard::UnknownPeer,
        Discard::Authentication,
        Discard::AdminDown,
    ];
}

impl fmt::Display for Discard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Discard::HopLimit => "hop-limit",
            Discard::Length => "length",
            Discard::Version => "version",
            Discard::Multiplier => "multiplier",
            Discard::Multipoint => "multipoint",
            Discard::NoDiscriminator => "no-discriminator",
            Discard::Unaddressed => "unaddressed",
            Discard::UnknownDiscriminator => "unknown-discriminator",
            Discard::UnknownPeer => "unknown-peer",
            Discard::Authentication => "authentication",
            Discard::AdminDown => "admin-down",
        })
    }
}

/// How many were discarded, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Discards([u64; Discard::ALL.len()]);

impl Discards {
    /// One more.
    pub fn count(&mut self, why: Discard) {
        if let Some(count) = self.0.get_mut(why as usize) {
            *count = count.saturating_add(1);
        }
    }

    /// How many for this reason.
    pub fn of(&self, why: Discard) -> u64 {
        self.0.get(why as usize).copied().unwrap_or(0)
    }
}
