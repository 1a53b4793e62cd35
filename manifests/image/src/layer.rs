//! The one layer: three programs, each under all the names that somebody calls it by. A further name is a hard link and
//! costs 512 octets.

use std::io::{self, Write};
use std::path::Path;

use flate2::{Compression, GzBuilder};
use tar::EntryType;

use crate::archive::{header, sha256};
use crate::{Architecture, ImageError, read};

/// A layer.
pub(crate) struct Layer {
    /// The digest of what it unpacks to, `sha256:…` (config.md, `diff_ids`).
    pub(crate) diff_id: String,
    /// As it is stored.
    pub(crate) compressed: Vec<u8>,
}

/// A program and its names in the image. What stock `kube-flannel.yml` calls is there too, so that it works with only the
/// image's name changed: `/opt/bin/flanneld`, `/opt/bin/install-conf` and `cp`, and `/flannel` to be copied.
struct Program {
    file: &'static str,
    path: &'static str,
    links: &'static [&'static str],
}

const PROGRAMS: [Program; 3] = [
    Program { file: "towpath", path: "opt/bin/towpath", links: &["flannel"] },
    Program {
        file: "towpathctl",
        path: "opt/bin/towpathctl",
        links: &["bin/cp", "opt/bin/install-conf", "opt/bin/kubectl-towpath"],
    },
    Program { file: "towpathd", path: "opt/bin/towpathd", links: &["opt/bin/flanneld"] },
];

const DIRECTORIES: [&str; 4] = ["bin/", "etc/", "opt/", "opt/bin/"];

/// Names are looked up in files and DNS alone: glibc would load anything else from libraries that are not here.
const NSSWITCH: (&str, &str) = ("etc/nsswitch.conf", "hosts: files dns\n");

/// Builds it from the programs in a directory.
pub(crate) fn build(binaries: &Path, architecture: Architecture) -> Result<Layer, ImageError> {
    let mut tar = tar::Builder::new(Vec::new());
    for directory in DIRECTORIES {
        tar.append_data(&mut header(EntryType::Directory, 0, 0o755), directory, io::empty())?;
    }
    let (path, text) = NSSWITCH;
    tar.append_data(&mut header(EntryType::Regular, text.len(), 0o644), path, text.as_bytes())?;
    for program in &PROGRAMS {
        let path = binaries.join(program.file);
        let bytes = read(&path)?;
        architecture.check(&path, &bytes)?;
        tar.append_data(&mut header(EntryType::Regular, bytes.len(), 0o755), program.path, bytes.as_slice())?;
        for link in program.links {
            tar.append_link(&mut header(EntryType::Link, 0, 0o755), link, program.path)?;
        }
    }
    let tar = tar.into_inner()?;
    let mut gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    gzip.write_all(&tar)?;
    Ok(Layer { diff_id: format!("sha256:{}", sha256(&tar)), compressed: gzip.finish()? })
}
