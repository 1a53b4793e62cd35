//! The record that each lab keeps in `/run/netns-harness/`: who owns it and what it has outside of memory. What makes
//! a lab removable by somebody else, after a `kill -9`.
//!
//! A lab's namespaces are not listed: they are all those whose name begins with the lab's id and a dot. Its processes
//! are not listed either: they are those that live in its namespaces.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::cgroup;
use crate::namespace::{NAMES, Namespace};
use crate::spawner::Life;
use crate::wait_for;

const RECORDS: &str = "/run/netns-harness";
/// What the id of every lab begins with.
const PREFIX: &str = "lab-";

/// Who owns a lab. Written before the first namespace is made, removed after the last one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The lab's id: `lab-NAME-PID-NUMBER`.
    pub id: String,
    /// The owner's process id and start time (ticks since boot, field 22 of /proc/PID/stat): ids are used again.
    pub owner: (u32, u64),
    /// The lab stays when its owner ends.
    pub kept: bool,
    /// Its files.
    pub directory: PathBuf,
}

impl Record {
    /// A record of this process, on disk in one step (rename), with its directory.
    pub fn write(name: &str, number: u32, life: Life) -> Result<Record> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        ensure!(
            !name.is_empty() && name.len() <= 24 && name.chars().all(plain),
            "a lab's name is 1 to 24 of a-z and 0-9, not `{name}`"
        );
        let pid = std::process::id();
        let id = format!("{PREFIX}{name}-{pid}-{number}");
        let start = start_time(pid).context("cannot read this process's own start time from /proc")?;
        let directory = std::env::temp_dir().join(&id);
        let record = Record { id, owner: (pid, start), kept: life == Life::BeyondOwner, directory };
        std::fs::create_dir_all(RECORDS).with_context(|| format!("cannot make {RECORDS}"))?;
        let draft = record.path().with_extension("draft");
        std::fs::write(&draft, serde_json::to_vec(&record)?)?;
        std::fs::rename(&draft, record.path())?;
        std::fs::create_dir(&record.directory)
            .with_context(|| format!("cannot make {}", record.directory.display()))?;
        Ok(record)
    }

    fn path(&self) -> PathBuf {
        Path::new(RECORDS).join(&self.id)
    }

    fn read(id: &str) -> Option<Record> {
        serde_json::from_slice(&std::fs::read(Path::new(RECORDS).join(id)).ok()?).ok()
    }

    /// Whether nobody will ever remove this lab but us.
    fn abandoned(&self) -> bool {
        !self.kept && start_time(self.owner.0) != Some(self.owner.1)
    }

    /// Ends the lab's processes, removes its namespaces, its cgroups, its files and at last the record.
    pub fn remove(&self) -> Result<()> {
        remove_namespaces(&self.id)?;
        cgroup::remove(&self.id)?;
        // Only a directory that is named like the lab is the lab's.
        if self.directory.file_name() == Some(self.id.as_ref()) {
            gone(std::fs::remove_dir_all(&self.directory))?;
        }
        gone(std::fs::remove_file(self.path()))
    }
}

/// Removes every lab whose owner is dead; gives their ids.
///
/// # Errors
/// What could not be removed.
pub fn sweep() -> Result<Vec<String>> {
    let mut swept = Vec::new();
    for id in labs()? {
        let abandoned = match Record::read(&id) {
            Some(record) => record.abandoned(),
            None => owner_in(&id).is_none_or(|pid| start_time(pid).is_none()),
        };
        if abandoned {
            remove(&id)?;
            swept.push(id);
        }
    }
    Ok(swept)
}

/// Removes one lab, kept or not, with all that runs in it.
///
/// # Errors
/// When there is no such lab (the sentence lists those there are), and what could not be removed.
pub fn remove_lab(id: &str) -> Result<()> {
    let known = labs()?;
    ensure!(known.contains(id), "no lab is called `{id}`; there are: {}", Vec::from_iter(known).join(" "));
    remove(id)
}

fn remove(id: &str) -> Result<()> {
    let removed = Record::read(id).map_or_else(|| remove_namespaces(id), |record| record.remove());
    removed
        .and_then(|()| gone(std::fs::remove_file(Path::new(RECORDS).join(format!("{id}.draft")))))
        .with_context(|| format!("cannot remove lab {id}"))
}

/// The ids of all labs on this machine, alive, kept or dead: those with a record and those with a namespace.
///
/// # Errors
/// When the directories cannot be read.
pub fn labs() -> Result<BTreeSet<String>> {
    let named = entries(NAMES)?.into_iter().filter_map(|name| Some(name.split_once('.')?.0.to_owned()));
    let recorded = entries(RECORDS)?.into_iter().map(|name| name.trim_end_matches(".draft").to_owned());
    Ok(named.chain(recorded).filter(|id| id.starts_with(PREFIX)).collect())
}

/// The namespaces of a lab.
pub(crate) fn namespaces(id: &str) -> Result<Vec<Namespace>> {
    let ours = |name: &String| name.strip_prefix(id).is_some_and(|rest| rest.starts_with('.'));
    Ok(entries(NAMES)?.iter().filter(|name| ours(name)).map(|name| Namespace::named(name)).collect())
}

fn remove_namespaces(id: &str) -> Result<()> {
    let namespaces = namespaces(id)?;
    for namespace in &namespaces {
        wait_for("the processes of a lab to end", Duration::from_secs(10), || end_processes(namespace))?;
    }
    namespaces.iter().try_for_each(Namespace::remove)
}

/// Kills what lives in a namespace; an error names what is still there.
fn end_processes(namespace: &Namespace) -> Result<()> {
    // Nothing is mounted on the name: nothing can live there.
    let Ok(processes) = namespace.processes() else { return Ok(()) };
    for process in &processes {
        match kill_process(*process, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(error).with_context(|| format!("cannot kill process {process:?}")),
        }
    }
    ensure!(processes.is_empty(), "{} has processes {processes:?}", namespace.name());
    Ok(())
}

/// What a directory has; nothing when there is no such directory.
fn entries(directory: &str) -> Result<Vec<String>> {
    let read = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.with_context(|| format!("cannot read {directory}"))?,
    };
    Ok(read.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect())
}

/// Two sweepers may meet: what is already gone is not an error.
fn gone(removed: std::io::Result<()>) -> Result<()> {
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// The process id in a lab's id.
fn owner_in(id: &str) -> Option<u32> {
    id.rsplit('-').nth(1)?.parse().ok()
}

/// When a process started, in ticks since boot; `None` when there is no such process, or only its corpse.
fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses, and may contain anything, parentheses too.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if state == "Z" { None } else { fields.nth(18)?.parse().ok() }
}
