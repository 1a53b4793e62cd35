//! Reading small files that are somebody else's: as much as is sensible, and never waiting for whoever put a FIFO there.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// At most the first `limit` octets of a file; nothing when it is there and no regular one.
///
/// # Errors
/// When it cannot be opened or read.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    let file = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path)?;
    if file.metadata()?.is_file() {
        file.take(limit).read_to_end(&mut octets)?;
    }
    Ok(octets)
}
