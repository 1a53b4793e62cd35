//! THE HAND ON THE KERNEL: what is there ([`observe`]), doing a plan ([`apply`]), and what somebody else changed.
//!
//! All of it over our own netlink codec ([`netlink`]; the reason is in docs/adr/0001-one-netlink-codec.md), shared by the
//! daemon and the plugin. No process is started and nothing waits for anything but the kernel. What should be true is
//! not decided here: that is `backends`.

pub mod apply;
pub mod codec;
pub mod conntrack;
pub mod datagram;
pub mod error;
pub mod hand;
mod index;
pub mod inventory;
pub mod listener;
pub mod loopback;
pub mod memory;
pub mod netlink;
pub mod netns;
pub mod nft;
pub mod notices;
pub mod observe;
pub mod offload;

pub mod path;
pub mod pod;
pub mod proxy;
pub mod relay;
pub mod routers;
pub mod shaping;
pub mod sysctl;
pub mod tag;
pub mod tcp;
pub mod traces;
pub mod trial;
pub mod tun;
pub mod wireguard;
mod x_tables;

pub use error::{Error, Refusal, Result};
pub use hand::Hand;
