//! A BGP SPEAKER WITHOUT SOCKETS: the wire codec, the state machine, the routes, the policy.
//!
//! Pure: time and bytes are arguments, and so is everything that was read from a file. It depends on nothing of ours, starts
//! nothing and waits for nothing; the daemon has the sockets, the clock and the kernel.
#![forbid(unsafe_code)]

pub mod bfd;
pub mod bmp;
pub mod evpn;
pub mod machine;
pub mod policy;
pub mod rib;
pub mod speaker;
pub mod wire;
