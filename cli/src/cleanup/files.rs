//! [`Files`]: what one instance has left on disk. A file is ours by what stands in it, not by its name alone: `subnet.env` may
//! be flannel's.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use backends::instance;
use ipnet::IpNet;
use serde::Deserialize;

use super::CleanupError;
use super::kernel_side::KernelSide;

/// The files of one instance.
#[derive(Debug)]
pub struct Files {
    subnet_file: PathBuf,
    /// What stands in it, if it is a subnet file.
    subnet_text: Option<String>,
    state_files: Vec<PathBuf>,
}

impl Files {
    /// Looks for them.
    pub fn find(subnet_file: &Path, state_directory: &Path) -> Result<Files, CleanupError> {
        let text = match fs::read_to_string(subnet_file) {
            Err(error) if absent(&error) => None,
            text => Some(text.map_err(|source| CleanupError::File { path: subnet_file.to_owned(), source })?),
        };
        let state_files = state_files(subnet_file, state_directory)?;
        Ok(Files {
            subnet_file: subnet_file.to_owned(),
            subnet_text: text.filter(|text| is_subnet_file(text)),
            state_files,
        })
    }

    /// The cluster's networks that the subnet file names.
    pub fn networks(&self) -> Vec<IpNet> {
        let lines = self.subnet_text.iter().flat_map(|text| text.lines());
        let values = lines.filter_map(|line| line.split_once('=')).filter(|(key, _)| key.ends_with("_NETWORK"));
        values.flat_map(|(_, value)| value.split(',')).filter_map(|net| net.trim().parse().ok()).collect()
    }

    /// Those that a daemon of ours wrote. Without a state file, and when the kernel has nothing of the instance, the subnet
    /// file is somebody else's.
    pub fn of_daemon(self, kernel: &[KernelSide]) -> impl Iterator<Item = PathBuf> + use<> {
        let ours = !self.state_files.is_empty() || !kernel.iter().all(KernelSide::is_empty);
        let subnet_file = self.subnet_text.filter(|_| ours).map(|_| self.subnet_file);
        self.state_files.into_iter().chain(subnet_file)
    }
}

fn is_subnet_file(text: &str) -> bool {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty()).peekable();
    lines.peek().is_some() && lines.all(|line| line.starts_with("FLANNEL_"))
}

/// The beginning of a state file: whose it is.
#[derive(Deserialize)]
struct Owner {
    node: String,
    store: String,
}

/// A state file's name follows from node, store and subnet file; the first two stand in it.
fn state_files(subnet_file: &Path, directory: &Path) -> Result<Vec<PathBuf>, CleanupError> {
    let failed = |source| CleanupError::File { path: directory.to_owned(), source };
    let entries = match fs::read_dir(directory) {
        Err(error) if absent(&error) => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let Ok(text) = fs::read(&path) else { continue };
        let Ok(Owner { node, store }) = serde_json::from_slice(&text) else { continue };
        if path == instance::state_file(directory, [&node, &store], subnet_file) {
            files.push(path);
        }
    }
    Ok(files)
}

fn absent(error: &io::Error) -> bool {
    [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&error.kind())
}

/// The status socket, when nobody listens on it any more.
pub fn dead_socket(path: &Path) -> Option<PathBuf> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    (is_socket && UnixStream::connect(path).is_err_and(refused)).then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_file_is_known_by_what_stands_in_it() {
        let text = "FLANNEL_NETWORK=10.244.0.0/16,10.9.0.0/16\nFLANNEL_IPV6_NETWORK=fd00::/48\nFLANNEL_MTU=1450\n";
        assert!(is_subnet_file(text));
        for other in ["", "\n", "root:x:0:0\n", "FLANNEL_MTU=1450\nrm -rf\n"] {
            assert!(!is_subnet_file(other), "{other:?}");
        }
        let files = Files { subnet_file: "/s".into(), subnet_text: Some(text.into()), state_files: Vec::new() };
        let networks: Vec<String> = files.networks().iter().map(ToString::to_string).collect();
        assert_eq!(networks, ["10.244.0.0/16", "10.9.0.0/16", "fd00::/48"]);
    }
}
