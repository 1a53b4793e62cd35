//! WHAT SHOULD BE TRUE ON THIS NODE: leases in, one value [`KernelState`] out; two of them in, a [`Plan`] out.
//!
//! Pure: no I/O, no clock, no async, no netlink. Cargo is the fence: nothing that could do them is a dependency.
#![forbid(unsafe_code)]

pub mod bgp;
pub mod cluster;
pub mod diff;
mod direct;
pub mod evpn;
pub mod extension;
pub mod fingerprint;
mod half;
pub mod host_gw;
pub mod instance;
pub mod ipip;
pub mod learnt;
pub mod masquerade;
pub mod offload;
pub mod on_link;
pub mod plan;
pub mod render;
pub mod rollout;
pub mod room;
pub mod ruleset;
pub mod state;
pub mod sum;
mod tunnel;
pub mod udp;
pub mod vxlan;
pub mod ways;
pub mod wireguard;

pub use cluster::{Backend, Cluster, Uplink, Way};
pub use instance::Instance;
pub use learnt::Learnt;
pub use on_link::OnLink;
pub use plan::{Change, Failure, Outcome, Plan};
pub use state::{KernelState, LinkName, PROTOCOL, Scope};
