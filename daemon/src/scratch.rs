//! [`Scratch`]: a directory for one test, gone with the value. Tests only.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::PathBuf;

/// A directory of its own.
pub struct Scratch(pub PathBuf);

impl Scratch {
    /// An empty one; the name tells tests of one process apart.
    pub fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("towpathd-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A test that panicked may have left anything.
        fs::remove_dir_all(&self.0).ok();
    }
}
