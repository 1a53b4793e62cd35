//! [`File`]: a key as it stands in its file: the first line, and nothing else.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use kernel::tcp::MOST_KEY_OCTETS;

use crate::secret::Secret;

/// A key file as it was last read.
#[derive(Debug)]
pub(super) struct File {
    /// Device, inode, and when it was last written: another one when the file is.
    pub stamp: Option<[u64; 4]>,
    pub key: Result<Secret<Vec<u8>>, String>,
    /// Whether others than its owner can read it.
    pub exposed: bool,
}

impl File {
    /// Reads it, which was this before. That others can read it is said once.
    pub fn read(path: &Path, before: Option<&File>) -> File {
        let file = File { stamp: stamp(path), key: read(path), exposed: is_exposed(path) };
        if file.exposed && !before.is_some_and(|before| before.exposed) {
            let path = path.display();
            tracing::warn!("the key file {path} can be read by others than its owner: chmod 600 {path}");
        }
        file
    }
}

pub(super) fn stamp(path: &Path) -> Option<[u64; 4]> {
    let metadata = std::fs::metadata(path).ok()?;
    let written = metadata.mtime().unsigned_abs();
    Some([metadata.dev(), metadata.ino(), written, metadata.mtime_nsec().unsigned_abs()])
}

/// Whether its group or everybody may read a file.
pub(super) fn is_exposed(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.mode() & 0o044 != 0)
}

/// The first line of a file, as a key.
fn read(path: &Path) -> Result<Secret<Vec<u8>>, String> {
    let fault = |what: &str| Err(format!("the key file {} {what}", path.display()));
    let mut text = Vec::new();
    let opened = std::fs::File::open(path).and_then(|file| file.take(4096).read_to_end(&mut text));
    if let Err(error) = opened {
        return fault(&format!("cannot be read: {error}"));
    }
    let line = text.split(|octet| *octet == b'\n').next().unwrap_or_default();
    let key = line.strip_suffix(b"\r").unwrap_or(line);
    match key.len() {
        0 => fault("has no key in its first line"),
        length if length > MOST_KEY_OCTETS => {
            fault(&format!("has a first line of {length} octets: a key has {MOST_KEY_OCTETS} at most"))
        }
        _ => Ok(Secret::new(key.to_vec())),
    }
}
