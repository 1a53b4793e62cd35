//! WHAT IS PROMISED on Kubernetes, as sentences: the real daemon in lab nodes, a real API server, Node objects made by hand.
//!
//! Each test has a lab of its own and waits for conditions, never for time. It needs root, the packages that the lab names,
//! `make lab-kubernetes` once, and the programs: `cargo build -p towpathd -p towpath -p towpathctl`.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cluster;

mod assignment;
mod away;
mod configuration;
mod crowd;
mod leases;
mod proxy;
mod reflectors;
mod rights;
mod runtime;
mod takeover;
