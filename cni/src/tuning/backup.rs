//! [`Backup`]: what an interface was like before it was tuned, kept where the reference `tuning` plugin keeps it and in its
//! form, so that either puts it back. It matters for interfaces that outlive their pod, as network cards do.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use kernel::pod::Tuning;
use serde_json::{Value, json};

use crate::document::{Document, Mistakes, Object};
use crate::environment::Attachment;
use crate::error::Error;

const DATA_DIRECTORY: &str = "/run/cni/tuning";

/// The directory of backups.
pub struct Backup {
    directory: PathBuf,
}

impl Backup {
    /// `dataDir`.
    ///
    /// # Errors
    /// When that is no absolute path.
    pub fn of(document: &Document) -> Result<Backup, Error> {
        let mut mistakes = Mistakes::default();
        let directory = document.root().absolute_path("dataDir", &mut mistakes).unwrap_or(Path::new(DATA_DIRECTORY));
        mistakes.none_or(Backup { directory: directory.to_owned() })
    }

    /// Whether a `tuning` plugin, ours or the reference one, remembers something of this interface in its usual place.
    pub fn is_tuned(attachment: &Attachment) -> bool {
        Backup { directory: DATA_DIRECTORY.into() }.path(attachment).exists()
    }

    /// Keeps of what is found that which will be changed.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn write(&self, attachment: &Attachment, wanted: &Tuning, found: &Tuning) -> Result<(), Error> {
        let mut kept = serde_json::Map::new();
        let mut keep = |key: &str, changed: bool, value: Value| {
            if changed && !value.is_null() {
                kept.insert(key.to_owned(), value);
            }
        };
        keep("mac", wanted.mac.is_some(), json!(found.mac));
        keep("promisc", wanted.promiscuous.is_some(), json!(found.promiscuous));
        keep("mtu", wanted.mtu.is_some(), json!(found.mtu));
        keep("allmulti", wanted.all_multicast.is_some(), json!(found.all_multicast));
        keep("txQLen", wanted.queue.is_some(), json!(found.queue));
        let path = self.path(attachment);
        let written = DirBuilder::new().recursive(true).mode(0o700).create(&self.directory).and_then(|()| {
            let mut options = fs::OpenOptions::new();
            let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&path)?;
            io::Write::write_all(&mut file, Value::Object(kept).to_string().as_bytes())
        });
        written.map_err(|source| Error::File { path, source })
    }

    /// What an interface was like; `None` when nothing was kept, or nothing that says so.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(&self, attachment: &Attachment) -> Result<Option<Tuning>, Error> {
        let path = self.path(attachment);
        let text = match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Ok(found) if !found.is_file() => return Ok(None),
            found => found.and_then(|_| fs::read(&path)).map_err(|source| Error::File { path, source })?,
        };
        let Ok(Value::Object(kept)) = serde_json::from_slice(&text) else { return Ok(None) };
        let (kept, mut mistakes) = (Object::from(&kept), Mistakes::default());
        Ok(Some(Tuning {
            up: None,
            mac: kept.parsed("mac", &mut mistakes, ""),
            mtu: kept.number("mtu", &mut mistakes),
            queue: kept.number("txQLen", &mut mistakes),
            promiscuous: kept.flag("promisc", &mut mistakes),
            all_multicast: kept.flag("allmulti", &mut mistakes),
        }))
    }

    /// Removes what was kept. Gone is as good as removed.
    ///
    /// # Errors
    /// When that is refused.
    pub fn remove(&self, attachment: &Attachment) -> Result<(), Error> {
        let path = self.path(attachment);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::File { path, source }),
            _ => Ok(()),
        }
    }

    fn path(&self, attachment: &Attachment) -> PathBuf {
        let owner = &attachment.owner;
        self.directory.join(format!("{}_{}.json", owner.container, owner.ifname))
    }
}
