//! [`Files`]: what the node loop leaves on disk — `subnet.env` for other programs, the state file for the next start.
//!
//! It decides when; what stands in them and how they are written is `subnet_file`'s and `state_file`'s.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::oneshot::{self, error::TryRecvError};

use crate::config::Settings;
use crate::reconcile::Reconciler;
use crate::record::LocalFile;
use crate::state_file::{self, Owner, StateFileError};
use crate::subnet_file;
use crate::trigger::Moment;

/// The state file is written at most so often: what changes meanwhile is gathered.
const GATHERING: Duration = Duration::from_secs(1);

/// How long until a file that could not be written is tried again: room may have been made.
const RETRY: Duration = Duration::from_secs(2);

/// The files of one daemon.
pub struct Files {
    subnet_path: PathBuf,
    state_path: PathBuf,
    owner: Owner,
    /// The look at the kernel after which `subnet.env` was compared last.
    compared_at: u64,
    /// When `subnet.env` is tried again, which could not be written.
    subnet_due: Option<Moment>,
    /// When the state file is to be written next.
    state_due: Option<Moment>,
    /// When it was written last.
    saved_at: Option<Moment>,
    saving: Option<Saving>,
}

/// The state file is being written beside the node loop.
struct Saving {
    outcome: oneshot::Receiver<Result<(), StateFileError>>,
    /// When it is asked how that went.
    ask_at: Moment,
}

impl Files {
    /// Nothing is written yet.
    pub fn new(settings: &Settings, owner: Owner) -> Files {
        Files {
            subnet_path: settings.subnet_file.clone(),
            state_path: settings.state_file.clone(),
            owner,
            compared_at: 0,
            subnet_due: None,
            state_due: None,
            saved_at: None,
            saving: None,
        }
    }

    /// When there is something to do next.
    pub fn due(&self) -> Option<Moment> {
        let state_due = self.saving.as_ref().map_or(self.state_due, |saving| Some(saving.ask_at));
        state_due.into_iter().chain(self.subnet_due).min()
    }

    /// Writes what has to be written by now.
    pub fn keep(&mut self, reconciler: &mut Reconciler, now: Moment) {
        self.keep_subnet_file(reconciler, now);
        self.learn_how_saving_went(reconciler, now);
        if std::mem::take(&mut reconciler.node.unsaved) {
            // The first of a burst at once: a daemon that is killed the moment after it was ready, with the store away when
            // it starts, has nothing else to go by. Before there is a lease there is nothing that would let it come up.
            let first = if reconciler.node.own().is_some() { now } else { now + GATHERING };
            let due = self.saved_at.map_or(first, |at| now.max(at + GATHERING));
            self.state_due = Some(self.state_due.map_or(due, |before| before.min(due)));
        }
        if self.saving.is_none() && self.state_due.take_if(|due| *due <= now).is_some() {
            self.saved_at = Some(now);
            let (path, owner, state) = (self.state_path.clone(), self.owner.clone(), reconciler.node.last_known());
            let (tell, outcome) = oneshot::channel();
            tokio::task::spawn_blocking(move || {
                let outcome = state_file::save(&path, &owner, &state);
                drop(state);
                // Whether anybody still wants to know is not this task's business.
                tell.send(outcome).ok();
            });
            self.saving = Some(Saving { outcome, ask_at: now + GATHERING });
        }
    }

    fn learn_how_saving_went(&mut self, reconciler: &mut Reconciler, now: Moment) {
        let Some(saving) = &mut self.saving else { return };
        let outcome = match saving.outcome.try_recv() {
            Ok(outcome) => outcome.map_err(|error| error.to_string()),
            Err(TryRecvError::Empty) => {
                if saving.ask_at <= now {
                    saving.ask_at = now + GATHERING;
                }
                return;
            }
            Err(TryRecvError::Closed) => Err("the state file was not written: its task ended early".to_owned()),
        };
        self.saving = None;
        // A copy of all leases is free again, in the arena of the thread that wrote it.
        kernel::memory::give_back();
        if outcome.is_err() {
            self.state_due = Some(now + RETRY);
        }
        reconciler.record.wrote(LocalFile::State, outcome);
    }

    /// The last word before the process ends.
    pub async fn finish(&mut self, reconciler: &mut Reconciler) {
        let failed = match self.saving.take() {
            Some(saving) => !matches!(saving.outcome.await, Ok(Ok(()))),
            None => false,
        };
        if failed || self.state_due.take().is_some() || std::mem::take(&mut reconciler.node.unsaved) {
            let outcome = state_file::save(&self.state_path, &self.owner, &reconciler.node.last_known());
            reconciler.record.wrote(LocalFile::State, outcome.map_err(|error| error.to_string()));
        }
    }

    /// After each look at the kernel that left the node's own devices and rules as desired, so that others may use them. A
    /// way to a peer that cannot be had keeps no pod here from getting an address of the right subnet.
    fn keep_subnet_file(&mut self, reconciler: &mut Reconciler, now: Moment) {
        let record = &reconciler.record;
        let retry = self.subnet_due.take_if(|due| *due <= now).is_some();
        if !record.founded || (record.looks == self.compared_at && !retry) {
            return;
        }
        let looks = record.looks;
        let cluster = reconciler.desired().map(backends::sum::Desired::cluster);
        let Some(file) = cluster.and_then(|cluster| reconciler.node.subnet_file(cluster)) else { return };
        let outcome = subnet_file::write(&self.subnet_path, &file);
        self.compared_at = looks;
        self.subnet_due = outcome.is_err().then_some(now + RETRY);
        reconciler.record.wrote(LocalFile::Subnet, outcome.map_err(|error| error.to_string()));
    }
}
