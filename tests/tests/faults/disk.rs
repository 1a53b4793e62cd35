//! [`Disk`]: a small file system of its own for a daemon's files, mounted where only that daemon sees it: nothing is left of
//! it when the lab ends, however it ends.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use netns_harness::{Binaries, Node, Process};

use crate::cluster::LIMIT;

/// A tmpfs in a mount namespace that a process holds.
pub struct Disk {
    node: Node,
    holder: Process,
    place: PathBuf,
}

impl Disk {
    /// So many kilobytes, empty.
    pub fn mount(node: &Node, kilobytes: u32) -> Result<Disk> {
        let place = node.directory().join("disk");
        fs::create_dir(&place)?;
        let script = format!(
            "mount -t tmpfs -o size={kilobytes}k none {} && echo mounted && exec sleep infinity",
            place.display()
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-ec", &script]);
        let holder = node.start("disk", command)?;
        holder.wait_log("mounted", LIMIT)?;
        Ok(Disk { node: node.clone(), holder, place })
    }

    /// Where it is mounted.
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// Runs a shell script in its root.
    pub fn sh(&self, script: &str) -> Result<String> {
        // Nowhere else, whatever happens: scripts here fill what they are in.
        let there = format!("cd {} && mountpoint -q . || exit 1\n{script}", self.place.display());
        let pid = self.holder.pid()?.as_raw_nonzero().to_string();
        self.node.run(["nsenter", "--mount", "--target", &pid, "sh", "-ec", &there])
    }

    /// Fills it to the last byte.
    pub fn fill(&self) -> Result<()> {
        self.sh(
            "dd if=/dev/zero of=ballast bs=1k count=1024 2>/dev/null || true; dd if=/dev/zero of=dust bs=1 count=8192 2>/dev/null || true",
        )
        .map(drop)
    }

    /// Makes room again.
    pub fn make_room(&self) -> Result<()> {
        self.sh("rm -f ballast dust").map(drop)
    }

    /// A directory with a `towpathd` that sees it.
    pub fn binaries(&self) -> Result<Binaries> {
        let directory = self.node.directory().join("bin");
        fs::create_dir(&directory)?;
        let (real, pid) = (Binaries::built()?.find("towpathd")?, self.holder.pid()?.as_raw_nonzero());
        let file = directory.join("towpathd");
        fs::write(&file, format!("#!/bin/sh\nexec nsenter --mount --target {pid} {} \"$@\"\n", real.display()))?;
        fs::set_permissions(&file, Permissions::from_mode(0o755))?;
        Ok(Binaries::at(directory))
    }
}
