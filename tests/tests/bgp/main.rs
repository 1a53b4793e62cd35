//! WHAT IS PROMISED of BGP, as sentences, with routers of others at the other end: BIRD 2, FRR, GoBGP, OpenBGPD and ExaBGP.
//!
//! It needs root and those five, which `make deps` installs. The speaker runs on sockets of these tests' own.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::disallowed_types, reason = "no process on a node; here other people's routers are the neighbours")]

mod able;
mod daemon;
mod driver;
mod everybody;
mod evpn;
mod inside;
mod neighbour;
mod reflection;
mod restart;
mod speaker;
mod vtep;
mod words;
