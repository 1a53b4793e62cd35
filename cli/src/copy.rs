//! `cp` and `install-conf`, as the image is called by the init containers of flannel's own manifest: two files, and options
//! that mean nothing here. The copy is made beside its place and renamed there, for whoever watches the directory, and
//! for whoever runs the file that is there now.
//!
//! Our plugin, when it is copied by that name, brings its other names with it where nobody has them: flannel's manifest
//! takes for granted that a distribution put `portmap`, `bridge`, `host-local` and `loopback` there, and not every one does.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use towpath_install::install::{FILE, InstallError, NAMES as PLUGINS, Placed, Replace, install};

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
    copy(&from, &to).map_err(|error| CopyError::File { from: from.clone(), to: to.clone(), error })?;
    let name = to.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match to.parent() {
        Some(directory) if PLUGINS.contains(&name) || name == FILE => name_plugins(&to, directory),
        _ => {}
    }
    Ok(())
}

/// What was asked for is done already, so that whatever stands in the way here is only told.
fn name_plugins(plugin: &Path, directory: &Path) {
    let missing = |name: &&str| fs::symlink_metadata(directory.join(name)).is_err();
    let missing: Vec<&str> = PLUGINS.into_iter().filter(missing).collect();
    match install(plugin, directory, &missing, Replace::Older) {
        // Somebody else's plugin, and nothing of ours.
        Err(InstallError::NotThePlugin { .. }) => {}
        Err(error) => eprintln!("{error}"),
        Ok(placed) => {
            for Placed { name, result } in placed {
                match result {
                    Ok(action) => println!("{}: {action:?}", directory.join(name).display()),
                    Err(error) => eprintln!("{name}: {error}"),
                }
            }
        }
    }
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
