//! THE SHELL `towpathd`: stores, trigger, reconcile, health, metrics, status socket.
#![forbid(unsafe_code)]

pub mod config;
pub mod fingerprint;
pub mod netconf;
pub mod node;
pub mod reconcile;
pub mod record;
pub mod secret;
pub mod spelling;
pub mod state_file;
pub mod store;
pub mod subnet_file;
pub mod trigger;
pub mod whole_file;
#[cfg(test)]
mod scratch;
