//! `towpathctl host-files`: drop-in files that tell systemd-networkd or NetworkManager to leave our devices and routes alone, written and
//! removed on request. They match our names only: the bridge, `flannel…`, and our plugin's ends of pods' wires.
//!
//! Nobody's file is overwritten or removed: ours say whose they are in their first line. Nothing is started: what takes them
//! over is printed.

use std::fmt::Write;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::arguments::{HostFiles, HostProgram};

/// What went wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum HostFileError {
    /// It could not be read, written or removed.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Somebody wrote it.
    #[error("{} is not ours: it does not begin with `{FIRST}`; look at it, and move it away", path.display())]
    Foreign {
        /// Which.
        path: PathBuf,
    },
}

const FIRST: &str = "# Written by `towpathctl host-files`, which removes it with `--remove`.";

/// A drop-in file: where, and what it says behind the first line. The host's ends of pods' wires are `veth` and eleven digits.
struct HostFile {
    path: &'static str,
    text: &'static str,
}

/// systemd.network(5): before all that may match every link. networkd.conf(5): it removes routes, rules and next hops that it does not know,
/// on the uplink and those without a link above all; keys that a version does not know are passed over.
const NETWORKD: [HostFile; 2] = [
    HostFile {
        path: "etc/systemd/network/00-towpath.network",
        text: "[Match]\nName=cni0 flannel* veth???????????\n\n[Link]\nUnmanaged=yes\n",
    },
    HostFile {
        path: "etc/systemd/networkd.conf.d/10-towpath.conf",
        text: "[Network]\nManageForeignRoutes=no\nManageForeignRoutingPolicyRules=no\nManageForeignNextHops=no\n",
    },
];

/// NetworkManager.conf(5), "Device List Format"; what others say of their devices stays.
const NETWORK_MANAGER: [HostFile; 1] = [HostFile {
    path: "etc/NetworkManager/conf.d/10-towpath.conf",
    text: "[keyfile]\nunmanaged-devices+=interface-name:cni0;interface-name:flannel*;interface-name:veth???????????\n",
}];

/// Does it; gives what was done, in words.
///
/// # Errors
/// The first file that is somebody else's, or that the system refuses. Those before it are done.
pub fn run(wish: &HostFiles) -> Result<String, HostFileError> {
    let mut said = String::new();
    for program in &wish.programs {
        let (files, takes_over): (&[HostFile], _) = match program {
            HostProgram::Networkd => (&NETWORKD, "systemctl restart systemd-networkd"),
            HostProgram::NetworkManager => (&NETWORK_MANAGER, "systemctl reload NetworkManager"),
        };
        let mut changed = false;
        for file in files {
            let path = wish.root.join(file.path);
            let words = if wish.remove { remove(&path)? } else { write(&path, file.text)? };
            changed |= words.is_change;
            // Writing to a String cannot fail.
            writeln!(said, "{}: {}", path.display(), words.text).unwrap_or_default();
        }
        if changed {
            writeln!(said, "`{takes_over}` takes it over").unwrap_or_default();
        }
    }
    Ok(said)
}

/// What was done to a file.
struct Done {
    text: &'static str,
    is_change: bool,
}

fn write(path: &Path, text: &str) -> Result<Done, HostFileError> {
    let failed = |source| HostFileError::Io { path: path.to_owned(), source };
    let wanted = format!("{FIRST}\n{text}");
    if ours(path)?.is_some_and(|there| there == wanted) {
        return Ok(Done { text: "there already", is_change: false });
    }
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(failed)?;
    }
    // Whole or not at all, for whoever reads it at this moment.
    let fresh = path.with_extension("towpath-new");
    fs::write(&fresh, wanted).and_then(|()| fs::rename(&fresh, path)).map_err(failed)?;
    Ok(Done { text: "written", is_change: true })
}

fn remove(path: &Path) -> Result<Done, HostFileError> {
    if ours(path)?.is_none() {
        return Ok(Done { text: "not there", is_change: false });
    }
    fs::remove_file(path).map_err(|source| HostFileError::Io { path: path.to_owned(), source })?;
    Ok(Done { text: "removed", is_change: true })
}

/// The file as it is, if there is one and it is ours.
fn ours(path: &Path) -> Result<Option<String>, HostFileError> {
    match fs::read_to_string(path) {
        Ok(text) if text.starts_with(FIRST) => Ok(Some(text)),
        Ok(_) => Err(HostFileError::Foreign { path: path.to_owned() }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(HostFileError::Io { path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn wish(root: &Path) -> HostFiles {
        let programs = vec![HostProgram::Networkd, HostProgram::NetworkManager];
        HostFiles { programs, remove: false, root: root.to_owned() }
    }

    #[test]
    fn files_are_written_once_and_removed_once_and_nobody_elses_is_touched() {
        let root = std::env::temp_dir().join(format!("towpathctl-host-files-{}", std::process::id()));
        let (write, remove) = (wish(&root), HostFiles { remove: true, ..wish(&root) });
        let first = run(&write).unwrap();
        assert_eq!(first.matches(": written\n").count(), 3, "{first}");
        assert!(first.contains("`systemctl restart systemd-networkd` takes it over"), "{first}");
        let again = run(&write).unwrap();
        assert_eq!(again.matches(": there already\n").count(), 3, "{again}");
        assert!(!again.contains("takes it over"), "{again}");
        // What somebody changed of ours is ours still; what somebody wrote is not.
        let path = root.join(NETWORK_MANAGER[0].path);
        fs::write(&path, format!("{FIRST}\n[keyfile]\n")).unwrap();
        assert_eq!(run(&write).unwrap().matches(": written\n").count(), 1);
        fs::write(&path, "[keyfile]\n").unwrap();
        for wish in [&write, &remove] {
            assert!(matches!(run(wish), Err(HostFileError::Foreign { path: told }) if told == path));
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "[keyfile]\n");
        fs::remove_file(&path).unwrap();
        run(&write).unwrap();
        assert_eq!(run(&remove).unwrap().matches(": removed\n").count(), 3);
        assert_eq!(run(&remove).unwrap().matches(": not there\n").count(), 3);
        fs::remove_dir_all(root).unwrap();
    }
}
