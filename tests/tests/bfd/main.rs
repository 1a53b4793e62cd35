//! WHAT IS PROMISED of BFD, as sentences, with BIRD 2 and FRR's bfdd at the other end, and with strangers.
//!
//! It needs root, BIRD (`bird2`) and FRR (`frr`), which `make deps` installs.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::disallowed_types, reason = "no process on a node; here routers of others are started")]

mod neighbour;
mod ours;
mod paths;
mod strangers;
