//! Netlink, the kernel's message interface: bytes ([`message`]), the socket ([`socket`]), bulk ([`batch`]).
//!
//! Owns what is the same for every netlink protocol. It knows no link, route or rule: those are in [`crate::codec`]
//! and [`crate::nft`].

pub mod batch;
pub mod message;
pub mod socket;

pub use batch::Batch;
pub use message::{Attribute, Attributes, Body, Datagram, Header, Message, Messages};
pub use socket::{Protocol, Request, Socket};
