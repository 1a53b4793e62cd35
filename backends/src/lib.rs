//! WHAT SHOULD BE TRUE ON THIS NODE: leases in, one value [`KernelState`] out; two of them in, a [`Plan`] out.
//!
//! Pure: no I/O, no clock, no async, no netlink. Cargo is the fence: nothing that could do them is a dependency.
#![forbid(unsafe_code)]

pub mod plan;
pub mod ruleset;
pub mod state;

pub use plan::{Change, Failure, Outcome, Plan};
pub use state::{KernelState, LinkName, PROTOCOL, Scope};
