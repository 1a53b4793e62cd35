//! [`Archive`]: the outer tar file, an OCI image layout (image-layout.md): blobs by digest and a few files with names.

use std::collections::BTreeMap;
use std::io;

use sha2::{Digest, Sha256};

/// A blob that is in an archive.
#[derive(Clone, Debug)]
pub(crate) struct Blob {
    pub(crate) media_type: &'static str,
    pub(crate) size: usize,
    hex: String,
}

impl Blob {
    /// `sha256:…`
    pub(crate) fn digest(&self) -> String {
        format!("sha256:{}", self.hex)
    }

    /// Where it lies in the archive.
    pub(crate) fn path(&self) -> String {
        format!("blobs/sha256/{}", self.hex)
    }
}

/// Files by name; written in the order of their names.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    files: BTreeMap<String, Vec<u8>>,
}

impl Archive {
    /// Adds a blob under its digest.
    pub(crate) fn add(&mut self, media_type: &'static str, bytes: Vec<u8>) -> Blob {
        let blob = Blob { media_type, size: bytes.len(), hex: sha256(&bytes) };
        self.files.insert(blob.path(), bytes);
        blob
    }

    /// Adds a file under a name.
    pub(crate) fn put(&mut self, name: &str, bytes: Vec<u8>) {
        self.files.insert(name.to_owned(), bytes);
    }

    /// The tar file.
    pub(crate) fn finish(self) -> io::Result<Vec<u8>> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, bytes) in self.files {
            tar.append_data(&mut header(tar::EntryType::Regular, bytes.len(), 0o644), name, bytes.as_slice())?;
        }
        tar.into_inner()
    }
}

/// A header that says nothing of when, where and by whom it was written.
pub(crate) fn header(kind: tar::EntryType, size: usize, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_size(size as u64);
    header.set_mode(mode);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// In hexadecimal digits.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|octet| format!("{octet:02x}")).collect()
}
