//! The plugin's binary, and the names under which runtimes and other configurations call it. How they are put in their places,
//! and what is left alone because it is newer or somebody else's, is the plugin's own business: `towpath --install` does
//! the same.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use towpath_install::install::{Action, FILE, NAMES, Placed, Replace, install, is_ours};

use super::conflist::removed;
use super::{Looked, PluginSettings};

/// The plugin in its directory, and what was there when all was last well: to look is cheap, to compare contents is not.
#[derive(Debug)]
pub(super) struct Plugins {
    settings: PluginSettings,
    right: Option<Vec<Option<Trace>>>,
    /// Names that are somebody else's, said once.
    foreign: Vec<String>,
}

/// What changes when a file does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Trace {
    inode: u64,
    changed: (i64, i64),
}

impl Plugins {
    /// Nothing was looked at yet.
    pub fn new(settings: PluginSettings) -> Plugins {
        Plugins { settings, right: None, foreign: Vec::new() }
    }

    /// Where the plugin is put.
    pub fn directory(&self) -> &Path {
        &self.settings.directory
    }

    /// Puts binary and names in their places, where they are not.
    pub fn keep(&mut self, looked: &mut Looked) {
        if self.right.is_some() && self.right == Some(self.traces()) {
            return;
        }
        let PluginSettings { binary, directory } = &self.settings;
        let placed = install(binary, directory, &NAMES, Replace::Older);
        let placed = placed.unwrap_or_else(|error| vec![Placed { name: FILE.to_owned(), result: Err(error) }]);
        let before = looked.troubles.len();
        for Placed { name, result } in placed {
            match result {
                Ok(action) => self.say(&name, action, looked),
                Err(error) => looked.troubles.push(format!(
                    "the plugin {name} cannot be installed: {error}; mount that directory of the host into the pod, writable, \
                     or name another by --cni-bin-dir"
                )),
            }
        }
        self.right = (looked.troubles.len() == before).then(|| self.traces());
    }

    fn say(&mut self, name: &str, action: Action, looked: &mut Looked) {
        let path = self.settings.directory.join(name);
        let path = path.display();
        match action {
            Action::Left => {}
            Action::Made => tracing::info!("plugin {path} installed"),
            Action::Replaced => tracing::info!("plugin {path} replaced by ours"),
            Action::KeptNewer(release) => {
                tracing::info!("plugin {path} is of release {release}, newer than ours, and kept")
            }
            Action::KeptForeign if self.foreign.iter().any(|known| known == name) => {}
            Action::KeptForeign => {
                tracing::info!("plugin {path} is somebody else's and kept");
                self.foreign.push(name.to_owned());
            }
        }
        looked.wrote |= matches!(action, Action::Made | Action::Replaced);
    }

    fn traces(&self) -> Vec<Option<Trace>> {
        let names = NAMES.iter().copied().chain([FILE]).map(|name| self.settings.directory.join(name));
        names.chain([self.settings.binary.clone()]).map(|path: PathBuf| trace(&path)).collect()
    }
}

fn trace(path: &Path) -> Option<Trace> {
    let found = fs::metadata(path).ok()?;
    Some(Trace { inode: found.ino(), changed: (found.ctime(), found.ctime_nsec()) })
}

/// Whether a name there is our plugin's.
pub(super) fn has(settings: &PluginSettings, name: &str) -> bool {
    (NAMES.contains(&name) || name == FILE) && is_ours(&settings.directory.join(name)).unwrap_or(false)
}

/// Removes the links to our binary, its copy, and the binary.
pub(super) fn remove(settings: &PluginSettings) -> Vec<String> {
    let links = NAMES.iter().map(|name| settings.directory.join(name));
    // One of them is a copy.
    let is_copy =
        |path: &Path| fs::symlink_metadata(path).is_ok_and(|found| found.is_file()) && is_ours(path).unwrap_or(false);
    let ours = links.filter(|path| fs::read_link(path).is_ok_and(|target| target == Path::new(FILE)) || is_copy(path));
    let mut said: Vec<String> = ours.map(|link| removed(&link)).collect();
    let place = settings.directory.join(FILE);
    if fs::symlink_metadata(&place).is_ok() {
        said.push(removed(&place));
    }
    said
}
