//! THE SHELL `towpathd`: stores, trigger, reconcile, health, metrics, status socket.
#![forbid(unsafe_code)]

pub mod store;
