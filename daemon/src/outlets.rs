//! [`Outlets`]: what the node loop tells others after each turn: the store what is wished, how the node stands and what
//! occurred; the installation that the node is ready. It waits for nobody.

use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::extension::Orders;
use crate::occurrences::Occurrences;
use crate::offloads::Order;
use crate::pod_mtu;
use crate::reconcile::Reconciler;
use crate::standing::standing;
use crate::store::Wish;
use crate::store::talk::{Occurrence, Standing};

/// What the node loop tells others after each turn.
pub struct Outlets {
    /// To the store: what it shall do.
    pub wishes: watch::Sender<Wish>,
    /// To the store: how the node stands.
    pub standing: watch::Sender<Standing>,
    /// To the store: what occurred.
    pub occurrences: mpsc::Sender<Occurrence>,
    /// To the installation: the node is ready for pods.
    pub ready: watch::Sender<bool>,
    /// To the extension backend's commands: which are to be run.
    pub orders: watch::Sender<Option<Orders>>,
    /// To the trial of checksum offload: what is to be tried.
    pub trial: watch::Sender<Option<Order>>,
    /// To those who change pods that run, and measure paths.
    pub pod_mtu: watch::Sender<pod_mtu::Order>,
    /// What was said to have occurred.
    pub said: Occurrences,
}

impl Outlets {
    /// Tells each what is new for it.
    pub fn tell(&mut self, reconciler: &Reconciler, now: Duration) {
        tell_change(&self.wishes, reconciler.node.wish());
        tell_change(&self.orders, reconciler.node.orders());
        // Nothing that pods wait for waits for it.
        tell_change(&self.trial, reconciler.node.trial().filter(|_| reconciler.record.settled));
        if reconciler.record.founded {
            let order = pod_mtu::Order { mtu: reconciler.pod_mtu(), paths: reconciler.node.paths() };
            tell_change(&self.pod_mtu, order);
        }
        let standing = standing(reconciler, now);
        if standing == Standing::Available {
            // A runtime that was told once is not told otherwise: what runs here keeps running.
            tell_change(&self.ready, true);
        }
        tell_change(&self.standing, standing);
        for occurrence in self.said.of(reconciler, now) {
            if let Err(error) = self.occurrences.try_send(occurrence) {
                tracing::debug!("an occurrence is not told: {error}");
            }
        }
    }
}

fn tell_change<T: PartialEq>(outlet: &watch::Sender<T>, value: T) {
    outlet.send_if_modified(|told| {
        let changed = *told != value;
        *told = value;
        changed
    });
}
