//! How a lease file gets to its name, so that two daemons never both believe that they hold a subnet, wherever one of
//! them is killed. Three ways, each one atomic step of the file system, after which nothing half-done can be seen:
//!
//! * **A new lease** is written under a name of its own, synced, and then linked (link(2)) to the lease's name, which
//!   fails when that name exists. Of any number of nodes exactly one succeeds.
//! * **The holder's own lease** is replaced by rename(2), as long as it is valid: nobody else touches a valid lease.
//! * **An expired lease** may be replaced by anybody, its holder included, who first wins the right to bury it: a link
//!   whose name is made of the very lease that has expired (holder and time of its last renewal). Such a lease never
//!   comes back, so whoever wins and then finds it still in place is the only one who will ever replace it.
//!
//! What a killed daemon leaves behind begins with a dot, is never read, and is swept when it is old.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::file::{Found, LeaseFile, read};
use crate::store::terms::dice;
use crate::store::utc::Utc;

/// How much of a lease's life must be left for its holder to replace it without winning the right to: more than a replacement
/// can take, at most a quarter of the whole.
const LEEWAY: Duration = Duration::from_secs(60);

/// The directory that the lease files are in.
#[derive(Clone, Debug)]
pub struct Place {
    directory: PathBuf,
}

impl Place {
    /// Of lease files in this directory.
    pub fn new(directory: PathBuf) -> Place {
        Place { directory }
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What is under a lease's name now.
    pub fn find(&self, name: &str) -> Found {
        read(&self.directory.join(name))
    }

    /// Puts a new lease in place. Whether the name was free.
    ///
    /// # Errors
    /// The file system's.
    pub fn put_new(&self, name: &str, lease: &LeaseFile) -> io::Result<bool> {
        let draft = self.draft(name, lease)?;
        let linked = fs::hard_link(&draft.0, self.directory.join(name));
        drop(draft);
        match linked {
            Ok(()) => self.sync().map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Replaces a lease by another, if it is still there: the holder's own, or an expired one. Whether it was done.
    ///
    /// # Errors
    /// The file system's.
    pub fn replace(&self, name: &str, old: &LeaseFile, new: &LeaseFile) -> io::Result<bool> {
        let right = match self.right_to(name, old)? {
            Right::Lost => return Ok(false),
            right => right,
        };
        let draft = self.draft(name, new)?;
        let unchanged = matches!(self.find(name), Found::Lease(found) if found == *old);
        if unchanged {
            fs::rename(&draft.0, self.directory.join(name))?;
            self.sync()?;
        }
        drop((draft, right));
        Ok(unchanged)
    }

    /// Replaces what is no lease by the lease that was held there until then.
    ///
    /// # Errors
    /// The file system's.
    pub fn restore(&self, name: &str, lease: &LeaseFile) -> io::Result<()> {
        let draft = self.draft(name, lease)?;
        fs::rename(&draft.0, self.directory.join(name))?;
        self.sync()
    }

    /// Removes the holder's own lease, if it is still there. Whether it was.
    ///
    /// # Errors
    /// The file system's.
    pub fn remove(&self, name: &str, old: &LeaseFile) -> io::Result<bool> {
        let right = self.right_to(name, old)?;
        let unchanged = matches!(self.find(name), Found::Lease(found) if found == *old);
        if matches!(right, Right::Lost) || !unchanged {
            return Ok(false);
        }
        fs::remove_file(self.directory.join(name))?;
        drop(right);
        self.sync().map(|()| true)
    }

    /// Removes what a daemon that was killed left behind, if the file is older than `age`.
    ///
    /// # Errors
    /// The file system's.
    pub fn sweep(&self, name: &OsStr, age: Duration) -> io::Result<()> {
        if !name.as_encoded_bytes().starts_with(b".") || !name.as_encoded_bytes().ends_with(LEFTOVER.as_bytes()) {
            return Ok(());
        }
        let path = self.directory.join(name);
        let modified = fs::symlink_metadata(&path)?.modified()?;
        let old = SystemTime::now().duration_since(modified).is_ok_and(|past| past > age);
        if old { fs::remove_file(path) } else { Ok(()) }
    }

    fn right_to(&self, name: &str, old: &LeaseFile) -> io::Result<Right> {
        let whole = old.renewed.until(old.expires);
        if Utc::now().until(old.expires) > LEEWAY.min(whole / 4) {
            return Ok(Right::Holder);
        }
        let mut hasher = DefaultHasher::new();
        (old.node.as_str(), old.renewed.seconds(), old.expires.seconds()).hash(&mut hasher);
        let right = self.directory.join(format!(".{name}.{:016x}{LEFTOVER}", hasher.finish()));
        match OpenOptions::new().write(true).create_new(true).mode(0o644).open(&right) {
            Ok(_) => Ok(Right::Heir { _removed_on_drop: Leftover(right) }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Right::Lost),
            Err(error) => Err(error),
        }
    }

    /// Writes a lease under a name of its own, to its last byte.
    fn draft(&self, name: &str, lease: &LeaseFile) -> io::Result<Leftover> {
        let draft = Leftover(self.directory.join(format!(".{name}.{:016x}{LEFTOVER}", dice())));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&draft.0)?;
        let mut text = serde_json::to_vec_pretty(lease)?;
        text.push(b'\n');
        file.write_all(&text)?;
        file.sync_all()?;
        Ok(draft)
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.directory)?.sync_all()
    }
}

/// The ending of what is not a lease yet.
const LEFTOVER: &str = ".part";

/// A file that is of no use any more when this value is dropped.
struct Leftover(PathBuf);

impl Drop for Leftover {
    fn drop(&mut self) {
        // After a rename it is gone; and if it cannot be removed it is swept later.
        if let Err(error) = fs::remove_file(&self.0)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::debug!(file = %self.0.display(), %error, "a leftover stays until it is swept");
        }
    }
}

/// The right to replace a lease.
enum Right {
    /// It is valid, and only its holder asks.
    Holder,
    /// It has expired, and nobody else will bury it.
    Heir { _removed_on_drop: Leftover },
    /// It has expired, and somebody else is about to bury it.
    Lost,
}
