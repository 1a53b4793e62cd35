//! What the Kubernetes store promises, as sentences, against a real API server in a namespace of its own. What a real one does not
//! do on command stands in `scripted`, against one that plays a script.
//!
//! Needs root and `make lab-kubernetes`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![forbid(unsafe_code)]

mod following;
mod ground;
#[path = "../store_contract/node.rs"]
#[allow(dead_code)] // what only the other stores' tests need
mod node;
mod peer_objects;
mod publishing;
mod scripted;
mod trouble;
