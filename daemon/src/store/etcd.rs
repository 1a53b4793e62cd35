//! The etcd store (API version 3), by flannel's keys, JSON and terms, so that flannel nodes and ours share one cluster.
//!
//! ```text
//! <prefix>/config                                the network's configuration
//! <prefix>/subnets/10.244.3.0-24                 a lease, attached to an etcd lease of 24 h
//! <prefix>/subnets/10.244.3.0-24&fd00:1::-64     a dual-stack lease
//! ```
//!
//! A key without an etcd lease is a reservation, made by an operator for the node with that address. It is used in place
//! and stays without end.
//!
//! This file is the outermost loop: one endpoint after the other, a pause after each round in vain.

mod claim;
mod connect;
mod failure;
mod families;
mod keys;
mod session;

use tokio::sync::{mpsc, watch};

pub use self::connect::Patience;
use self::connect::connect;
use self::failure::Way;
use self::keys::Keys;
use self::session::{End, Memory, Session};
use super::events::{Events, Topic};
use super::terms::{Backoff, Terms, dice};
use super::{Event, Wish};
use crate::config::settings::EtcdSettings;

/// A cluster network's leases in etcd.
#[derive(Clone, Debug)]
pub struct Etcd {
    settings: EtcdSettings,
    terms: Terms,
    patience: Patience,
}

impl Etcd {
    /// The store that the settings name.
    pub fn new(settings: &EtcdSettings, terms: Terms) -> Etcd {
        Etcd { settings: settings.clone(), terms, patience: Patience::default() }
    }

    /// The same with another patience.
    pub fn with_patience(self, patience: Patience) -> Etcd {
        Etcd { patience, ..self }
    }

    /// See [`Store::run`](super::Store::run).
    pub async fn run(self, mut wishes: watch::Receiver<Wish>, out: mpsc::Sender<Event>) {
        let keys = Keys::new(&self.settings.prefix);
        let (mut events, mut memory, mut backoff) = (Events::new(out), Memory::default(), Backoff::default());
        // What each endpoint's last failure was, since one last worked.
        let mut failures: Vec<String> = Vec::new();
        // The nodes of a cluster begin at different members.
        let endpoints = &self.settings.endpoints;
        let first = usize::try_from(dice() % endpoints.len().max(1) as u64).unwrap_or(0);
        for endpoint in endpoints.iter().cycle().skip(first) {
            let end = loop {
                let client = match connect(&self.settings, endpoint, self.patience).await {
                    Ok(client) => client,
                    Err(failure) => break End::Failed(failure),
                };
                let mut session =
                    Session { client, keys: &keys, terms: self.terms, memory: &mut memory, events: &mut events };
                match session.run(&mut wishes).await {
                    End::Again => {}
                    end => break end,
                }
            };
            let End::Failed(failure) = end else { return };
            tracing::debug!(endpoint, ?failure, "the session with etcd ended");
            let worked = std::mem::take(&mut memory.worked);
            if worked {
                failures.clear();
                backoff = Backoff::default();
            }
            failures.push(failure.sentence(Way { endpoint, settings: &self.settings, worked }));
            if failures.len() < endpoints.len() {
                continue;
            }
            if events.trouble(Topic::Reach, failures.join("; ")).await.is_err() {
                return;
            }
            failures.clear();
            tokio::select! {
                () = tokio::time::sleep(backoff.pause()) => {}
                () = events.closed() => return,
            }
        }
    }
}
