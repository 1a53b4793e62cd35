//! Bytes to messages and back: framing, OPEN, UPDATE, NOTIFICATION, ROUTE-REFRESH.
//!
//! Own code, for reasons that `docs/adr/0015-our-own-bgp-wire-layer.md` gives. Whatever the bytes, decoding ends, does not panic
//! and allocates no more than a small multiple of the message. An error is the NOTIFICATION that the RFCs ask for
//! ([`Notification`]), or a [`Fault`] that the session survives (RFC 7606). Does not know sessions, routes or time.
#![deny(clippy::indexing_slicing, clippy::unreachable)]

pub mod as_path;
pub mod attribute;
pub mod attributes;
pub mod capability;
pub mod community;
pub mod evpn;
pub mod family;
pub mod header;
pub mod message;
pub mod next_hop;
pub mod nlri;
pub mod notification;
pub mod open;
pub mod packing;
pub mod reader;
pub mod refresh;
pub mod terms;
pub mod update;

pub use as_path::{AsPath, Segment};
pub use attribute::{Fault, Handling};
pub use attributes::{Attributes, Origin};
pub use capability::Capability;
pub use community::{Community, ExtendedCommunity, LargeCommunity};
pub use family::Family;
pub use header::{Kind, MessageLimit};
pub use message::Message;
pub use next_hop::NextHop;
pub use nlri::{Nlri, NlriList};
pub use notification::Notification;
pub use open::Open;
pub use refresh::Refresh;
pub use terms::{AsWidth, Neighbour, PathIds, Terms};
pub use update::Update;
