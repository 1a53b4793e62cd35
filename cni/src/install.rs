//! [`install`]: the plugin's one file into a directory like `/opt/cni/bin`, and links to it by the usual names (one is a copy). Whole or
//! not at all: every name is made beside its place and renamed, so a runtime that starts a plugin meanwhile gets the old one
//! or the new one.
//!
//! What is there and newer, or somebody else's, is kept unless told otherwise. Asking again changes nothing that is right, so
//! it is also the repair. Which names a node needs, and when to look again, is the caller's.

mod file;

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use file::Kind;
pub use file::{MARK, Release};

/// The plugin's own file.
pub const FILE: &str = "towpath";
/// The usual names that it answers to as well.
pub const NAMES: [&str; 7] = ["bandwidth", "bridge", "flannel", "host-local", "loopback", "portmap", "tuning"];

/// Not a link but a copy: flannel's own installer (`cp -f /flannel /opt/cni/bin/flannel`) writes through a link, into the file
/// that all other names lead to.
const COPIED: &str = "flannel";

/// What may be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replace {
    /// Older files of ours.
    Older,
    /// Anything that has one of our names, as `--force` says.
    Anything,
}

/// What became of one name.
#[derive(Debug)]
pub struct Placed {
    /// `towpath`, or one of [`NAMES`].
    pub name: String,
    /// What was done.
    pub result: Result<Action, InstallError>,
}

/// What was done about one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It was right.
    Left,
    /// It was not there.
    Made,
    /// It was something else before.
    Replaced,
    /// It is ours and newer.
    KeptNewer(Release),
    /// It is not ours.
    KeptForeign,
}

/// Why something could not be put in its place.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file to install is not the plugin.
    #[error("{} is not the plugin `towpath`: nothing in it says so", path.display())]
    NotThePlugin {
        /// The file.
        path: PathBuf,
    },
    /// Links to a file that is not ours would lead a runtime to a stranger.
    #[error("{} is not ours, so nothing was linked to it: remove it, or install by force", path.display())]
    NothingToLinkTo {
        /// The file.
        path: PathBuf,
    },
}

/// Whether what lies at a path is the plugin, of whatever release.
///
/// # Errors
/// When it cannot be read.
pub fn is_ours(path: &Path) -> Result<bool, InstallError> {
    Ok(matches!(file::kind(path)?, Kind::Ours(_)))
}

/// Puts the plugin's file and a link by each of `names` into a directory, which is made when it is not there. Goes on after
/// an error, and says what became of each name.
///
/// # Errors
/// When the directory or the file to install cannot be used at all.
pub fn install(source: &Path, directory: &Path, names: &[&str], replace: Replace) -> Result<Vec<Placed>, InstallError> {
    let Kind::Ours(release) = file::kind(source)? else {
        return Err(InstallError::NotThePlugin { path: source.to_owned() });
    };
    fs::create_dir_all(directory).map_err(failure("create", directory))?;
    // Two at once, as the daemon and an init container, would remove each other's half-made files.
    let lock = File::open(directory).map_err(failure("open", directory))?;
    lock.lock().map_err(failure("lock", directory))?;
    remove_leftovers(directory)?;
    let place = Place { directory, replace, release };
    let file = place.file(source);
    let linkable = !matches!(file, Ok(Action::KeptForeign) | Err(_));
    let mut placed = vec![Placed { name: FILE.to_owned(), result: file }];
    for name in names.iter().filter(|name| **name != FILE) {
        let path = directory.join(FILE);
        let result = if linkable { place.link(name) } else { Err(InstallError::NothingToLinkTo { path }) };
        placed.push(Placed { name: (*name).to_owned(), result });
    }
    Ok(placed)
}

struct Place<'a> {
    directory: &'a Path,
    replace: Replace,
    release: Release,
}

impl Place<'_> {
    fn file(&self, source: &Path) -> Result<Action, InstallError> {
        let path = self.directory.join(FILE);
        let (verdict, kind) = self.verdict(&path)?;
        if matches!(kind, Kind::Ours(release) if release == self.release) && file::same_content(source, &path)? {
            return make_executable(&path).map(|()| Action::Left);
        }
        if !matches!(verdict, Action::Made | Action::Replaced) {
            return Ok(verdict);
        }
        self.place(FILE, |temporary| copy(source, temporary)).map(|()| verdict)
    }

    fn link(&self, name: &str) -> Result<Action, InstallError> {
        let path = self.directory.join(name);
        let (verdict, kind) = self.verdict(&path)?;
        let file = self.directory.join(FILE);
        let identity = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
        let same = identity(&file).is_some() && identity(&path) == identity(&file);
        let right = match name {
            COPIED => matches!(kind, Kind::Ours(_)) && !same && file::same_content(&file, &path)?,
            _ => same,
        };
        if right {
            return Ok(Action::Left);
        }
        if !matches!(verdict, Action::Made | Action::Replaced) {
            return Ok(verdict);
        }
        let make = |path: &Path| match name {
            COPIED => copy(&file, path),
            _ => symlink(FILE, path).map_err(failure("link", path)),
        };
        self.place(name, make).map(|()| verdict)
    }

    /// What is to be done about a path, by what lies there.
    fn verdict(&self, path: &Path) -> Result<(Action, Kind), InstallError> {
        let kind = file::kind(path)?;
        let verdict = match (kind, self.replace) {
            (Kind::Nothing, _) => Action::Made,
            (Kind::Ours(release), Replace::Older) if release > self.release => Action::KeptNewer(release),
            (Kind::Ours(_), _) | (Kind::Foreign, Replace::Anything) => Action::Replaced,
            (Kind::Foreign, Replace::Older) => Action::KeptForeign,
        };
        Ok((verdict, kind))
    }

    /// Makes something beside its place and moves it there.
    fn place(&self, name: &str, make: impl FnOnce(&Path) -> Result<(), InstallError>) -> Result<(), InstallError> {
        let (temporary, path) = (self.directory.join(format!("{LEFTOVER}{name}")), self.directory.join(name));
        let placed = make(&temporary).and_then(|()| fs::rename(&temporary, &path).map_err(failure("replace", &path)));
        if placed.is_err() {
            // The first error is the one to report; the next install removes what is left.
            fs::remove_file(&temporary).ok();
        }
        placed
    }
}

/// What half-made files begin with. Runtimes take a plugin by its whole name, so none of these.
const LEFTOVER: &str = ".towpath-new-";

/// An install that was killed left these; nobody else makes them while we hold the lock.
fn remove_leftovers(directory: &Path) -> Result<(), InstallError> {
    for entry in fs::read_dir(directory).map_err(failure("list", directory))? {
        let entry = entry.map_err(failure("list", directory))?;
        if entry.file_name().to_string_lossy().starts_with(LEFTOVER) {
            fs::remove_file(entry.path()).map_err(failure("remove", &entry.path()))?;
        }
    }
    Ok(())
}

/// A copy that is on the disk before it gets its name: after a power cut there is the old file or the new one.
fn copy(source: &Path, to: &Path) -> Result<(), InstallError> {
    let mut from = File::open(source).map_err(failure("read", source))?;
    let mut file = File::create_new(to).map_err(failure("create", to))?;
    io::copy(&mut from, &mut file).map_err(failure("write", to))?;
    file.set_permissions(Permissions::from_mode(0o755)).map_err(failure("make executable", to))?;
    file.sync_all().map_err(failure("write", to))
}

fn make_executable(path: &Path) -> Result<(), InstallError> {
    let mode = fs::metadata(path).map_err(failure("read", path))?.permissions().mode();
    match mode & 0o555 {
        0o555 => Ok(()),
        _ => fs::set_permissions(path, Permissions::from_mode(0o755)).map_err(failure("make executable", path)),
    }
}

fn failure(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> InstallError {
    let path = path.to_owned();
    move |source| InstallError::File { action, path, source }
}

#[cfg(test)]
mod tests;
