//! A file that is only ever seen whole: what was there before, or what is there now, whatever happens in between.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Puts a file in the place of the one that is there, with exactly this mode; makes its directory (0755) where there is
/// none. On success it survives a loss of power.
///
/// # Errors
/// The system's, with the file that was there left as it was.
pub fn replace(path: &Path, mode: u32, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !directory.exists() {
        DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
        fs::set_permissions(directory, Permissions::from_mode(0o755))?;
    }
    let draft = draft_of(path);
    let written = draft_and_rename(&draft, path, mode, write);
    if written.is_err() {
        // What a full disk left. That it cannot be removed is not worth telling, the first error is.
        fs::remove_file(&draft).ok();
    }
    written?;
    // The name is on the disk when the directory is (fsync(2)).
    File::open(directory)?.sync_all()
}

fn draft_and_rename(
    draft: &Path,
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    // One that a killed process left; and nobody's symbolic link is followed.
    match fs::remove_file(draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = BufWriter::new(OpenOptions::new().write(true).create_new(true).mode(mode).open(draft)?);
    write(&mut file)?;
    let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
    // open(2) takes the process' umask from the mode, chmod(2) does not.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.sync_all()?;
    fs::rename(draft, path)
}

/// Beside the file, so that rename(2) stays on one file system.
fn draft_of(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::replace;
    use crate::scratch::Scratch;
    use std::fs;
    use std::io::Error;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_draft() {
        let scratch = Scratch::new("whole-file");
        let root = &scratch.0;
        let path = root.join("a/b");
        replace(&path, 0o644, |out| out.write_all(b"old")).unwrap();
        let failed = replace(&path, 0o644, |out| out.write_all(b"half").and(Err(Error::other("disk full"))));
        assert_eq!(failed.unwrap_err().to_string(), "disk full");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        // A draft that a killed process left does not stand in the way, not even as a link to somewhere else.
        std::os::unix::fs::symlink("/dev/null", root.join("a/b.new")).unwrap();
        replace(&path, 0o666, |out| out.write_all(b"new")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o666, "the umask does not count");
        assert_eq!(fs::metadata(root.join("a")).unwrap().permissions().mode() & 0o777, 0o755);
        assert_eq!(fs::read_dir(root.join("a")).unwrap().count(), 1);
    }
}
