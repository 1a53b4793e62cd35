//! The plugin's binary, and the names under which runtimes and other configurations call it: links to it, each only where
//! nobody else has put a plugin of that name.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use super::conflist::removed;
use super::{Looked, PluginSettings};
use crate::whole_file;

/// The binary's own name.
const OWN: &str = "towpath";

/// What else it is called: flannel's plugin, and the reference plugins that it stands for.
const NAMES: [&str; 7] = ["flannel", "bridge", "host-local", "loopback", "portmap", "bandwidth", "tuning"];

/// Anybody may run it.
const MODE: u32 = 0o755;

/// Puts binary and names in their places, where they are not.
pub(super) fn install(settings: &PluginSettings, looked: &mut Looked) {
    let place = settings.directory.join(OWN);
    let installed = same(&settings.binary, &place).and_then(|same| {
        if !same {
            copy(&settings.binary, &place)?;
            looked.wrote = true;
            tracing::info!("plugin {} installed", place.display());
        }
        Ok(())
    });
    if let Err(error) = installed {
        looked.troubles.push(format!(
            "the plugin {} cannot be installed as {}: {error}; mount that directory of the host into the pod, writable, or \
             name another by --cni-bin-dir",
            settings.binary.display(),
            place.display()
        ));
        return;
    }
    for name in NAMES {
        let link = settings.directory.join(name);
        match link_to_own(&link) {
            Ok(made) => {
                looked.wrote |= made;
                if made {
                    tracing::info!("plugin {} installed, a link to {OWN}", link.display());
                }
            }
            Err(error) => looked.troubles.push(format!("the plugin {} cannot be linked: {error}", link.display())),
        }
    }
}

/// Whether both have the same bytes and may be run.
fn same(binary: &Path, place: &Path) -> io::Result<bool> {
    let wanted = fs::metadata(binary)?;
    let found = match fs::symlink_metadata(place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        found => found?,
    };
    if !found.is_file() || found.size() != wanted.size() || found.permissions().mode() & 0o777 != MODE {
        return Ok(false);
    }
    let (mut wanted, mut found) = (File::open(binary)?, File::open(place)?);
    let (mut one, mut other) = ([0; 1 << 14], [0; 1 << 14]);
    loop {
        let read = wanted.read(&mut one)?;
        let Some(part) = other.get_mut(..read) else { return Ok(false) };
        match found.read_exact(part) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            read => read?,
        }
        if one.get(..read) != Some(part) {
            return Ok(false);
        }
        if read == 0 {
            return Ok(true);
        }
    }
}

/// A pod may start while this happens: it finds the old one or the new one.
fn copy(binary: &Path, place: &Path) -> io::Result<()> {
    let mut from = File::open(binary)?;
    whole_file::replace(place, MODE, |mut out| io::copy(&mut from, &mut out).map(drop))
}

/// A link where there is none; whether one was made. What is there already is somebody's, or ours.
fn link_to_own(link: &Path) -> io::Result<bool> {
    match symlink(OWN, link) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        made => made.map(|()| true),
    }
}

/// Removes the links to our binary, and the binary.
pub(super) fn remove(settings: &PluginSettings) -> Vec<String> {
    let links = NAMES.iter().map(|name| settings.directory.join(name));
    let ours = links.filter(|link| fs::read_link(link).is_ok_and(|target| target == Path::new(OWN)));
    let mut said: Vec<String> = ours.map(|link| removed(&link)).collect();
    let place = settings.directory.join(OWN);
    if fs::symlink_metadata(&place).is_ok() {
        said.push(removed(&place));
    }
    said
}
