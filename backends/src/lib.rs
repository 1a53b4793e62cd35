//! WHAT SHOULD BE TRUE ON THIS NODE: leases in, one value [`KernelState`] out; two of them in, a [`Plan`] out.
//!
//! Pure: no I/O, no clock, no async, no netlink. Cargo is the fence: nothing that could do them is a dependency.
#![forbid(unsafe_code)]

pub mod cluster;
pub mod diff;
pub mod fingerprint;
pub mod instance;
pub mod masquerade;
pub mod plan;
pub mod render;
pub mod ruleset;
pub mod state;
pub mod sum;
pub mod vxlan;

pub use cluster::{Backend, Cluster, Uplink};
pub use instance::Instance;
pub use plan::{Change, Failure, Outcome, Plan};
pub use state::{KernelState, LinkName, PROTOCOL, Scope};
