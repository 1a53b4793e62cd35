//! [`Ground`]: what the parts of one lab share: its record and what has to be ended before its namespaces can go.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use anyhow::{Context, Result};

use crate::echo::Echo;
use crate::namespace::Namespace;
use crate::process::Process;
use crate::record::Record;
use crate::spawner::Life;

pub(crate) struct Ground {
    record: Record,
    living: Mutex<Living>,
}

#[derive(Default)]
struct Living {
    processes: Vec<Process>,
    echoes: Vec<Weak<Echo>>,
    removed: bool,
}

impl Ground {
    pub fn new(record: Record) -> Arc<Ground> {
        Arc::new(Ground { record, living: Mutex::default() })
    }

    pub fn id(&self) -> &str {
        &self.record.id
    }

    pub fn directory(&self) -> &Path {
        &self.record.directory
    }

    pub fn kept(&self) -> bool {
        self.record.kept
    }

    pub fn life(&self) -> Life {
        if self.record.kept { Life::BeyondOwner } else { Life::WithOwner }
    }

    /// Makes a namespace of this lab: its name begins with the lab's id, which is how it is found again.
    pub fn namespace(&self, name: &str) -> Result<Namespace> {
        Namespace::create(&format!("{}.{name}", self.record.id)).with_context(|| format!("cannot make {name}"))
    }

    /// Gives a namespace that exists a name of this lab.
    pub fn adopt_namespace(&self, name: &str, file: &Path) -> Result<Namespace> {
        Namespace::adopt(&format!("{}.{name}", self.record.id), file).with_context(|| format!("cannot name {name}"))
    }

    pub fn adopt(&self, process: Process) {
        self.living().processes.push(process);
    }

    pub fn adopt_echo(&self, echo: &Arc<Echo>) {
        self.living().echoes.push(Arc::downgrade(echo));
    }

    /// Ends everything and removes everything, once.
    pub fn remove(&self) -> Result<()> {
        let living = std::mem::replace(&mut *self.living(), Living { removed: true, ..Living::default() });
        if living.removed {
            return Ok(());
        }
        living.echoes.iter().filter_map(Weak::upgrade).for_each(|echo| echo.stop());
        // A process that cannot be killed is found again by where it lives, and named then.
        let killed = living.processes.iter().map(Process::kill).filter_map(Result::err).next();
        self.record.remove().with_context(|| match killed {
            Some(error) => format!("lab {}: {error:#}", self.record.id),
            None => format!("lab {}", self.record.id),
        })
    }

    fn living(&self) -> std::sync::MutexGuard<'_, Living> {
        self.living.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
