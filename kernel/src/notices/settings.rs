//! Watched kernel settings: their files kept open, so that a look is one `pread` each.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::Notice;
use crate::sysctl;

/// No setting that is watched is longer.
const LONGEST_VALUE: usize = 256;

/// The settings.
#[derive(Debug, Default)]
pub(super) struct Settings(Vec<Watched>);

#[derive(Debug)]
struct Watched {
    path: String,
    /// `None` when there is no such setting, or not yet.
    file: Option<File>,
    /// What was told last; `None` before the first time.
    told: Option<Value>,
}

/// The octets of a setting; `None` when there is no such setting.
type Value = Option<Vec<u8>>;

impl Settings {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Watches these and no others. A path that is none is passed over: writing it names the mistake.
    pub(super) fn watch(&mut self, paths: &[String]) {
        self.0.retain(|watched| paths.contains(&watched.path));
        for path in paths {
            if !self.0.iter().any(|watched| watched.path == *path) {
                self.0.push(Watched { path: path.clone(), file: None, told: None });
            }
        }
    }

    /// Reads all, and tells those that changed.
    pub(super) fn read(&mut self, seen: &mut Vec<Notice>) {
        seen.extend(self.0.iter_mut().filter_map(Watched::read));
    }
}

impl Watched {
    fn read(&mut self) -> Option<Notice> {
        let mut room = [0; LONGEST_VALUE];
        let octets = self.octets(&mut room);
        let told = self.told.as_ref().map(|told| told.as_deref());
        if told == Some(octets) {
            return None;
        }
        let now = octets.map(sysctl::value_of);
        self.told = Some(octets.map(<[u8]>::to_vec));
        Some(Notice::Sysctl { path: self.path.clone(), now })
    }

    fn octets<'r>(&mut self, room: &'r mut [u8]) -> Option<&'r [u8]> {
        // A kept file of a device that went, and came back, gives errors for ever: it is opened anew.
        let kept = self.file.as_ref().and_then(|file| file.read_at(room, 0).ok());
        let length = kept.or_else(|| {
            self.file = sysctl::absolute(&self.path).ok().and_then(|path| File::open(path).ok());
            self.file.as_ref()?.read_at(room, 0).ok()
        })?;
        room.get(..length)
    }
}
