//! [`Kept`]: the configurations that were delegated, one file a container, where flannel's own plugin keeps them and in its
//! very octets (Go's `json.Marshal`).

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ipam::ledger::Identifier;
use serde_json::Value;

use crate::call::Attachments;
use crate::document::{Document, Mistakes};
use crate::environment::Attachment;
use crate::error::Error;
use crate::file;

const DATA_DIRECTORY: &str = "/var/lib/cni/flannel";
/// No configuration is longer that we would have taken.
const LONGEST: u64 = 2_000_000;

/// The directory of kept configurations.
pub struct Kept {
    directory: PathBuf,
}

impl Kept {
    /// `dataDir`.
    ///
    /// # Errors
    /// When that is no absolute path.
    pub fn of(document: &Document) -> Result<Kept, Error> {
        let mut mistakes = Mistakes::default();
        let directory = document.root().absolute_path("dataDir", &mut mistakes).unwrap_or(Path::new(DATA_DIRECTORY));
        mistakes.none_or(Kept { directory: directory.to_owned() })
    }

    /// Keeps a configuration, in place of an older one.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn write(&self, attachment: &Attachment, document: &Document) -> Result<(), Error> {
        let path = self.path(attachment);
        let create = || OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
        let file = match create() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.directory);
                made.and_then(|()| create())
            }
            file => file,
        };
        // Not synced, which flannel's plugin does and a pod would wait for: a power cut ends the pod as well, and DEL gets by
        // without the file.
        let written = file.and_then(|mut file| file.write_all(as_go_writes(&document.to_text()).as_bytes()));
        written.map_err(|source| Error::KeptFile { action: "write", path, source })
    }

    /// The configuration of a pod; `None` when none was kept, or what lies there is none, as after a power cut.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(&self, attachment: &Attachment) -> Result<Option<Document>, Error> {
        read(&self.path(attachment))
    }

    /// Removes the configuration of a pod. Gone is as good as removed.
    ///
    /// # Errors
    /// When that is refused.
    pub fn remove(&self, attachment: &Attachment) -> Result<(), Error> {
        remove(self.path(attachment))
    }

    /// Removes what is kept of this network for containers of which no attachment is valid.
    ///
    /// # Errors
    /// What could not be removed.
    pub fn collect(&self, network: &Identifier, valid: &Attachments) -> Result<(), Error> {
        let failed = |source| Error::KeptFile { action: "list", path: self.directory.clone(), source };
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(failed)?,
        };
        let stale = |path: &Path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let own = Identifier::new(name).is_ok() && !valid.contains_container(name);
            let document = if own { read(path)? } else { None };
            let of_network = |document: &Document| document.root().get("name") == Some(&Value::from(network.as_str()));
            Ok::<bool, Error>(document.as_ref().is_some_and(of_network))
        };
        Error::all(entries.map(|entry| {
            let path = entry.map_err(failed)?.path();
            if stale(&path)? { remove(path) } else { Ok(()) }
        }))
    }

    fn path(&self, attachment: &Attachment) -> PathBuf {
        // An identifier has no slashes.
        self.directory.join(attachment.owner.container.as_str())
    }
}

fn read(path: &Path) -> Result<Option<Document>, Error> {
    match file::read(path, LONGEST) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::KeptFile { action: "read", path: path.to_owned(), source }),
        Ok(text) => Ok(Document::parse(&text).ok()),
    }
}

fn remove(path: PathBuf) -> Result<(), Error> {
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::KeptFile { action: "remove", path, source: error })
        }
        _ => Ok(()),
    }
}

/// What Go's `json.Marshal` writes for the same value: with these characters escaped, so that JSON can stand in HTML.
/// Outside of texts JSON has none of them.
fn as_go_writes(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => text.push_str(&format!("\\u{:04x}", character as u32)),
            character => text.push(character),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn texts_are_escaped_as_go_escapes_them() {
        let document = Document::parse(br#"{"b": "a<b>&\u2028\u2029 \u00e4", "a": [1, null]}"#).unwrap();
        assert_eq!(
            as_go_writes(&document.to_text()),
            "{\"a\":[1,null],\"b\":\"a\\u003cb\\u003e\\u0026\\u2028\\u2029 ä\"}"
        );
    }
}
