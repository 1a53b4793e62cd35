//! `cp` and `install-conf`, as the image is called by the init containers of flannel's own manifest: two files, and options
//! that mean nothing here. The copy is made beside its place and renamed there, for whoever watches the directory, and
//! for whoever runs the file that is there now.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Why nothing was copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// Not two files.
    #[error("this image's {program} copies one file to one place: {program} SOURCE DESTINATION")]
    Arguments {
        /// As what we were called.
        program: String,
    },
    /// The system refused.
    #[error("cannot copy {} to {}: {error}", from.display(), to.display())]
    File {
        /// What.
        from: PathBuf,
        /// Where to.
        to: PathBuf,
        /// Why not.
        error: io::Error,
    },
}

/// The names by which this program is one that copies.
pub const NAMES: [&str; 2] = ["cp", "install-conf"];

/// Copies what the arguments say.
///
/// # Errors
/// [`CopyError`].
pub fn run(program: &str, arguments: impl Iterator<Item = OsString>) -> Result<(), CopyError> {
    let mut files = arguments.filter(|argument| !argument.to_string_lossy().starts_with('-')).map(PathBuf::from);
    let (Some(from), Some(to), None) = (files.next(), files.next(), files.next()) else {
        return Err(CopyError::Arguments { program: program.to_owned() });
    };
    let to = match from.file_name() {
        Some(name) if to.is_dir() => to.join(name),
        _ => to,
    };
    copy(&from, &to).map_err(|error| CopyError::File { from, to, error })
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let name = to.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut draft_name = OsString::from(".");
    draft_name.push(name);
    draft_name.push(".new");
    let draft = to.with_file_name(draft_name);
    // The mode comes with it.
    let written = fs::copy(from, &draft).and_then(|_| File::open(&draft)?.sync_all());
    let placed = written.and_then(|()| fs::rename(&draft, to));
    if placed.is_err() {
        // Whatever there is of it helps nobody; the error to report is the first one.
        fs::remove_file(&draft).ok();
    }
    placed
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_takes_the_place_of_another_with_its_mode() {
        let directory = std::env::temp_dir().join(format!("towpathctl-copy-{}", std::process::id()));
        fs::create_dir_all(directory.join("bin")).unwrap();
        let (from, to) = (directory.join("flannel"), directory.join("bin/plugin"));
        fs::write(&from, "new").unwrap();
        fs::set_permissions(&from, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(&to, "old").unwrap();
        let arguments = |to: &Path| [OsString::from("-f"), from.clone().into(), to.into()].into_iter();
        run("cp", arguments(&to)).unwrap();
        assert_eq!(fs::read_to_string(&to).unwrap(), "new");
        assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o755);
        run("cp", arguments(&directory.join("bin"))).unwrap();
        let mut names: Vec<_> = fs::read_dir(directory.join("bin")).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["flannel", "plugin"]);
        let error = run("cp", arguments(&directory.join("none/plugin"))).unwrap_err().to_string();
        assert!(error.contains("none/plugin"), "{error}");
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn anything_but_two_files_is_refused() {
        for words in [&[][..], &["-f", "a"], &["a", "b", "c"]] {
            let error = run("install-conf", words.iter().map(OsString::from)).unwrap_err().to_string();
            assert!(error.ends_with("install-conf SOURCE DESTINATION"), "{error}");
        }
    }
}
