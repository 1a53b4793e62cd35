//! The ledger's files, one call each. What they mean together is not decided here.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the one place of this crate that touches files"
)]

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::error::LedgerError;
use super::marks::Marks;

/// `O_NONBLOCK`, the same number wherever Linux runs but on MIPS, SPARC and Alpha: to open a FIFO that somebody put in a
/// file's place must not wait for ever.
const NONBLOCK: i32 = 0o4000;
/// No such note is longer.
const MOST_NOTED: u64 = 64 * 1024;
/// Our own note in the directory. `host-local` looks into every file for an owner's words and finds none here; what
/// lists addresses leaves out names that begin like this.
const COOLING: &str = "last_reserved_ip.cooling";

/// One network's directory.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
}

/// What an address's file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Nothing: somebody is about to write, under the lock, or was killed before.
    Empty,
    /// Without white space around it.
    Text(String),
}

impl Content {
    pub(super) fn says(&self, text: &str) -> bool {
        matches!(self, Content::Text(content) if content == text)
    }
}

/// The lock, held until this is dropped (or the process dies).
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    file: File,
    /// Why it cannot be written, by the system's number.
    refusal: Option<i32>,
}

impl Lock {
    /// The marks that stand in it. What cannot be read is none.
    pub(super) fn marks(&self) -> Marks {
        noted(&self.file).map(|text| Marks::parse(&String::from_utf8_lossy(&text))).unwrap_or_default()
    }

    /// Writes the marks.
    pub(super) fn note(&self, marks: &Marks) -> Result<(), LedgerError> {
        let written = match self.refusal {
            Some(number) => Err(io::Error::from_raw_os_error(number)),
            None => overwrite(&self.file, &marks.to_text()),
        };
        written.map_err(failure("write", &self.path))
    }
}

/// The file that says what a set gave last.
#[derive(Debug)]
pub(super) struct LastGiven {
    path: PathBuf,
    file: File,
    text: String,
}

impl Directory {
    pub(super) fn new(path: PathBuf) -> Directory {
        Directory { path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the lock that host-local takes (`flock` on `lock`), and makes it and the directory when they are not there.
    pub(super) fn lock(&self) -> Result<Lock, LedgerError> {
        let path = self.path.join("lock");
        let mut options = OpenOptions::new();
        options.read(true).write(true).mode(0o644).custom_flags(NONBLOCK);
        let mut refusal = None;
        let file = match options.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // As host-local makes it: nobody else writes here, whatever umask the runtime has.
                let made = DirBuilder::new().recursive(true).mode(0o755).create(&self.path);
                made.map_err(failure("create", &self.path))?;
                options.create(true).open(&path)
            }
            // Reading is enough for flock, and for who has nothing to write.
            Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                refusal = error.raw_os_error();
                options.write(false).open(&path)
            }
            opened => opened,
        };
        let file = file.map_err(failure("open", &path))?;
        file.lock().map_err(failure("lock", &path))?;
        Ok(Lock { path, file, refusal })
    }

    /// Makes an address's file. `false` when something of that name is there already.
    pub(super) fn create(&self, address: IpAddr, text: &str) -> Result<bool, LedgerError> {
        let path = &self.file(address);
        let mut file = match OpenOptions::new().write(true).create_new(true).mode(0o644).open(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
            opened => opened.map_err(failure("create", path))?,
        };
        if let Err(error) = file.write_all(text.as_bytes()) {
            remove(path)?;
            return Err(failure("write", path)(error));
        }
        Ok(true)
    }

    /// Removes an address's file. One that is not there any more is as good as removed.
    pub(super) fn remove(&self, address: IpAddr) -> Result<(), LedgerError> {
        remove(&self.file(address))
    }

    /// What an address's file says; `None` when there is none, or something that is not a file (to open a FIFO would wait
    /// for ever).
    pub(super) fn content(&self, address: IpAddr) -> Result<Option<Content>, LedgerError> {
        let path = self.file(address);
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_file() => read(&path),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failure("read", &path)(error)),
        }
    }

    /// Whether anything has the name of an address.
    pub(super) fn is_there(&self, address: IpAddr) -> bool {
        fs::symlink_metadata(self.file(address)).is_ok()
    }

    /// When an address's file was written; `None` when there is none.
    pub(super) fn written(&self, address: IpAddr) -> Result<Option<SystemTime>, LedgerError> {
        let path = self.file(address);
        match fs::symlink_metadata(&path).and_then(|metadata| metadata.modified()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            written => written.map(Some).map_err(failure("read", &path)),
        }
    }

    /// The addresses that have something of their name.
    pub(super) fn names(&self) -> Result<HashSet<IpAddr>, LedgerError> {
        let mut names = HashSet::new();
        for entry in fs::read_dir(&self.path).map_err(failure("list", &self.path))? {
            let name = entry.map_err(failure("list", &self.path))?.file_name();
            names.extend(name.to_str().and_then(|name| name.parse::<IpAddr>().ok()));
        }
        Ok(names)
    }

    /// The note of what was given back a moment ago. One that cannot be read is as good as empty.
    pub(super) fn cooling(&self) -> String {
        let path = self.path.join(COOLING);
        let opened = OpenOptions::new().read(true).custom_flags(NONBLOCK).open(path);
        opened
            .and_then(|file| noted(&file))
            .and_then(|text| String::from_utf8(text).map_err(io::Error::other))
            .unwrap_or_default()
    }

    /// Writes that note anew. Where it cannot be written, only the order of giving is lost.
    pub(super) fn note_cooling(&self, text: &str) {
        let path = self.path.join(COOLING);
        let mut options = OpenOptions::new();
        let opened = options.write(true).create(true).truncate(false).mode(0o644).custom_flags(NONBLOCK).open(path);
        opened.and_then(|file| overwrite(&file, text)).ok();
    }

    /// Visits every address's file. Whatever else lies in the directory is not ours to judge.
    pub(super) fn for_each(
        &self,
        mut visit: impl FnMut(IpAddr, Content) -> Result<(), LedgerError>,
    ) -> Result<(), LedgerError> {
        let entries = match fs::read_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(failure("list", &self.path))?,
        };
        for entry in entries {
            let entry = entry.map_err(failure("list", &self.path))?;
            let Some(address) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let kind = entry.file_type().map_err(failure("read", &entry.path()))?;
            if !kind.is_file() {
                continue;
            }
            if let Some(content) = read(&entry.path())? {
                visit(address, content)?;
            }
        }
        Ok(())
    }

    /// Opens the note of what set number `set` gave last, empty when it never gave anything.
    pub(super) fn last_given(&self, set: usize) -> Result<LastGiven, LedgerError> {
        let path = self.path.join(format!("last_reserved_ip.{set}"));
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o644).open(&path);
        let file = opened.map_err(failure("open", &path))?;
        let mut buffer = [0; 64];
        let length = file.read_at(&mut buffer, 0).map_err(failure("read", &path))?;
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        Ok(LastGiven { path, file, text })
    }

    /// Where an address is written down.
    pub(super) fn file(&self, address: IpAddr) -> PathBuf {
        self.path.join(address.to_string())
    }
}

impl LastGiven {
    /// The address; `None` when the file is new or says something else. Only the order of giving is lost then.
    pub(super) fn address(&self) -> Option<IpAddr> {
        self.text.parse().ok()
    }

    /// Notes another address.
    pub(super) fn store(&mut self, address: IpAddr) -> Result<(), LedgerError> {
        let text = address.to_string();
        let stored = match text.len() < self.text.len() {
            true => overwrite(&self.file, &text),
            false => self.file.write_all_at(text.as_bytes(), 0),
        };
        stored.map_err(failure("write", &self.path))?;
        self.text = text;
        Ok(())
    }
}

/// All that a file says. Into room for it at once: without that it is asked for in small pieces.
fn noted(file: &File) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len().min(MOST_NOTED);
    // One more, so that the end is seen.
    let mut text = Vec::with_capacity(length as usize + 1);
    file.take(MOST_NOTED).read_to_end(&mut text)?;
    Ok(text)
}

/// Replaces what a file says. Not by emptying it first: ext4 takes that for a file that must not be lost, and writes it to
/// the disk when it is closed (`auto_da_alloc`), which a pod would wait for.
fn overwrite(file: &File, text: &str) -> io::Result<()> {
    file.write_all_at(text.as_bytes(), 0)?;
    file.set_len(text.len() as u64)
}

fn remove(path: &Path) -> Result<(), LedgerError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failure("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Reads a file that somebody else may be removing.
fn read(path: &Path) -> Result<Option<Content>, LedgerError> {
    // An owner is a container's id and an interface's name. What is longer than a page is no owner that we would match.
    let mut buffer = [0; 4096];
    let length = match File::open(path).and_then(|mut file| file.read(&mut buffer)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        length => length.map_err(failure("read", path))?,
    };
    let text = String::from_utf8_lossy(&buffer[..length]);
    // What a machine that lost its power has of a file may be zeros.
    Ok(Some(match text.trim().trim_matches('\0') {
        "" => Content::Empty,
        text => Content::Text(text.to_owned()),
    }))
}

fn failure(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LedgerError {
    let path = path.to_owned();
    move |source| LedgerError::File { action, path, source }
}
