//! What is installed on a Kubernetes cluster: one manifest, in three forms that say the same; taken by a real API server;
//! put there, and put in flannel's place, by `towpathctl`.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::disallowed_types, reason = "no process on a node; here helm and kubectl are the judges")]

mod forms;
mod helm;
mod kubelets;
mod nodes;
mod objects;
mod server;
mod takeover;
