//! The cgroups that kubelets of a lab made: below a directory with the lab's id in each hierarchy. Here they are only
//! removed; who makes them is the machine's init.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::wait_for;

const ROOT: &str = "/sys/fs/cgroup";

/// Removes a lab's cgroups from every hierarchy, once their processes are dead.
pub(crate) fn remove(id: &str) -> Result<()> {
    trees(id).try_for_each(|tree| once_empty(|| remove_tree(&tree)))
}

/// Removes what is below a cgroup of every hierarchy.
pub(crate) fn clear(path: &str) -> Result<()> {
    trees(path).try_for_each(|tree| once_empty(|| remove_children(&tree)))
}

fn trees(path: &str) -> impl Iterator<Item = PathBuf> {
    let hierarchies = std::fs::read_dir(ROOT).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
    // The unified hierarchy alone is mounted on the root itself.
    let trees = hierarchies.chain([PathBuf::from(ROOT)]).map(move |hierarchy| hierarchy.join(path));
    trees.filter(|tree| tree.is_dir())
}

/// A process that is dead is counted until its parent knows.
fn once_empty(remove: impl FnMut() -> Result<()>) -> Result<()> {
    wait_for("the cgroups of a lab to be empty", Duration::from_secs(10), remove)
}

/// A cgroup is removed like an empty directory, whatever files it shows, children first.
fn remove_tree(directory: &Path) -> Result<()> {
    remove_children(directory)?;
    match std::fs::remove_dir(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", directory.display()))
        }
        _ => Ok(()),
    }
}

fn remove_children(directory: &Path) -> Result<()> {
    let children = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => other.with_context(|| directory.display().to_string())?,
    };
    for child in children {
        let child = child?;
        if child.file_type()?.is_dir() {
            remove_tree(&child.path())?;
        }
    }
    Ok(())
}
