//! The commands of the extension backend: what is to be run ([`Orders`], from the node loop), when (`agenda`), and the running
//! (`process`). The node loop waits for none of it.
//!
//! A command that fails is tried again, each time later. After a restart all are run again: nobody knows what became of what they
//! did. Leases that were there before the restart and are gone get their SubnetRemoveCommand then.

mod agenda;
mod orders;
mod process;

use std::collections::BTreeMap;
use std::time::Duration;

use ipam::LeaseKey;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use agenda::{Agenda, Next};

pub use orders::{Call, Orders};

/// How long a command may take.
const LIMIT: Duration = Duration::from_secs(60);

/// What came of it so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What the PreStartupCommand printed; `None` until it has succeeded.
    pub output: Option<String>,
    /// Whether this node's own part is done: nothing stands in the way of pods.
    pub prepared: bool,
    /// What failed, of this node's own part: one sentence.
    pub trouble: Option<String>,
    /// What failed, per peer: one sentence each.
    pub faults: BTreeMap<LeaseKey, String>,
}

/// Begins the task: what it is told to run, and what came of it.
pub fn start() -> (watch::Sender<Option<Orders>>, watch::Receiver<Option<Report>>) {
    let ((order, orders), (tell, report)) = (watch::channel(None), watch::channel(None));
    tokio::spawn(keep(orders, tell));
    (order, report)
}

/// Runs what is ordered, one after another, until nobody orders any more.
async fn keep(mut orders: watch::Receiver<Option<Orders>>, tell: watch::Sender<Option<Report>>) {
    let mut agenda = Agenda::default();
    loop {
        let ordered = orders.borrow_and_update().clone();
        let Some(ordered) = ordered else {
            // Another backend, or none yet. What was done for peers is taken back, once; then all is forgotten.
            for call in std::mem::take(&mut agenda).farewell() {
                if let Err(sentence) = process::run(&call, ("SubnetRemoveCommand", LIMIT)).await {
                    tracing::warn!("SubnetRemoveCommand failed: {sentence}");
                }
            }
            tell.send_replace(None);
            if orders.changed().await.is_err() {
                return;
            }
            continue;
        };
        let next = agenda.next(&ordered, Instant::now());
        publish(&tell, agenda.report(&ordered));
        match next {
            Next::Run(step, call) => {
                let ended = process::run(&call, (step.name(), LIMIT)).await;
                agenda.ended((step, call), ended, Instant::now());
            }
            Next::At(moment) => tokio::select! {
                () = sleep_until(moment) => {}
                changed = orders.changed() => if changed.is_err() {
                    return;
                },
            },
            Next::Idle => {
                if orders.changed().await.is_err() {
                    return;
                }
            }
        }
    }
}

fn publish(tell: &watch::Sender<Option<Report>>, report: Report) {
    tell.send_if_modified(|told| {
        let changed = told.as_ref() != Some(&report);
        *told = Some(report);
        changed
    });
}

#[cfg(test)]
mod tests;
