//! Two connections to one peer: which is kept (RFC 4271 section 6.8, RFC 6286 section 2.3).

use std::net::Ipv4Addr;

/// Who opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// We did.
    Outgoing,
    /// The peer did.
    Incoming,
}

impl Side {
    /// Both.
    pub const ALL: [Side; 2] = [Side::Outgoing, Side::Incoming];

    /// The other.
    pub fn other(self) -> Side {
        match self {
            Side::Outgoing => Side::Incoming,
            Side::Incoming => Side::Outgoing,
        }
    }
}

/// A speaker as the comparison sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    /// Its identifier, compared as a number.
    pub identifier: Ipv4Addr,
    /// Its AS, compared when the identifiers are equal.
    pub asn: u32,
}

/// The connection that is kept: the one that the greater of the two opened.
pub fn kept(ours: Identity, theirs: Identity) -> Side {
    if ours > theirs { Side::Outgoing } else { Side::Incoming }
}
