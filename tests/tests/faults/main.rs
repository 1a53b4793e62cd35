//! WHAT IS PROMISED of bad input and faults, as sentences, shown with the real programs: stores that are away, silent, full
//! or full of rubbish, configurations with mistakes, hostile clients, and what is left when all is over.
//!
//! Each test has a lab of its own and waits for conditions, never for time. It needs root and the packages that the lab
//! names, openssl, and the programs: `cargo build -p towpathd -p towpath -p towpathctl` (`make test` does it).
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code, reason = "the other binary of labs uses the rest")]
#[path = "../overlay/cluster.rs"]
mod cluster;
#[allow(dead_code, reason = "the other binary of labs uses the rest")]
#[path = "../overlay/picture.rs"]
mod picture;

mod ask;
mod disk;
mod lease;

mod away;
mod claims;
mod cleanup;
mod clients;
mod flags;
mod full;
mod garbage;
mod lost;
mod many;
mod network;
mod own;
mod peers;
mod secrets;
mod silence;
mod storm;
mod tls;
