//! [`Files`]: what the node loop leaves on disk — `subnet.env` for other programs, the state file for the next start.
//!
//! It decides when; what stands in them and how they are written is `subnet_file`'s and `state_file`'s.

use std::path::PathBuf;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::config::Settings;
use crate::reconcile::Reconciler;
use crate::state_file::{self, Owner};
use crate::subnet_file;
use crate::trigger::Moment;

/// How long changes are gathered before the state file is written again.
const GATHERING: Duration = Duration::from_secs(1);

/// The files of one daemon.
pub struct Files {
    subnet_path: PathBuf,
    state_path: PathBuf,
    owner: Owner,
    /// The look at the kernel after which `subnet.env` was compared last.
    compared_at: u64,
    unsaved_since: Option<Moment>,
    saving: Option<JoinHandle<()>>,
    complaint: Option<String>,
}

impl Files {
    /// Nothing is written yet.
    pub fn new(settings: &Settings, owner: Owner) -> Files {
        Files {
            subnet_path: settings.subnet_file.clone(),
            state_path: settings.state_file.clone(),
            owner,
            compared_at: 0,
            unsaved_since: None,
            saving: None,
            complaint: None,
        }
    }

    /// When there is something to write next.
    pub fn due(&self) -> Option<Moment> {
        self.unsaved_since.map(|since| since + GATHERING)
    }

    /// Writes what has to be written by now.
    pub fn keep(&mut self, reconciler: &mut Reconciler, now: Moment) {
        self.keep_subnet_file(reconciler);
        if std::mem::take(&mut reconciler.node.unsaved) {
            self.unsaved_since.get_or_insert(now);
        }
        if self.saving.take_if(|saving| saving.is_finished()).is_some() {
            // A copy of all leases is free again, in the arena of the thread that wrote it.
            kernel::memory::give_back();
        }
        let busy = self.saving.is_some();
        if !busy && self.due().is_some_and(|due| due <= now) {
            self.unsaved_since = None;
            let (path, owner, state) = (self.state_path.clone(), self.owner.clone(), reconciler.node.last_known());
            self.saving = Some(tokio::task::spawn_blocking(move || save(&path, &owner, &state)));
        } else if busy && self.due().is_some_and(|due| due <= now) {
            self.unsaved_since = Some(now);
        }
    }

    /// The last word before the process ends.
    pub async fn finish(&mut self, reconciler: &mut Reconciler) {
        if let Some(saving) = self.saving.take()
            && let Err(error) = saving.await
        {
            tracing::error!("the state file was not written: {error}");
        }
        if self.unsaved_since.take().is_some() || std::mem::take(&mut reconciler.node.unsaved) {
            save(&self.state_path, &self.owner, &reconciler.node.last_known());
        }
    }

    /// After each look at the kernel that left the node's own devices and rules as desired, so that others may use them. A
    /// way to a peer that cannot be had keeps no pod here from getting an address of the right subnet.
    fn keep_subnet_file(&mut self, reconciler: &Reconciler) {
        let record = &reconciler.record;
        if !record.founded || record.looks == self.compared_at {
            return;
        }
        let cluster = reconciler.desired().map(backends::sum::Desired::cluster);
        let Some(file) = cluster.and_then(|cluster| reconciler.node.subnet_file(cluster)) else { return };
        match subnet_file::write(&self.subnet_path, &file) {
            Ok(()) => {
                self.compared_at = record.looks;
                self.complaint = None;
            }
            Err(error) => {
                let error = error.to_string();
                if self.complaint.as_ref() != Some(&error) {
                    tracing::error!("{error}");
                    self.complaint = Some(error);
                }
            }
        }
    }
}

fn save(path: &std::path::Path, owner: &Owner, state: &state_file::LastKnown) {
    if let Err(error) = state_file::save(path, owner, state) {
        tracing::error!("{error}");
    }
}
