//! The network's configuration as a file: what the Kubernetes store has instead of one of its own. A ConfigMap that is mounted, or
//! a plain file.
//!
//! The kubelet swaps a mounted ConfigMap by renaming a symbolic link (`..data`) in the directory, so that is watched; an
//! editor replaces the file or writes into it, so that is watched too. It does not parse: that is `netconf`.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::file_notices::FileNotices;
use crate::netconf::LONGEST;

/// What became of the file: its text, or one sentence that says why there is none.
pub type Found = Result<String, String>;

/// How often the file is looked at without a notice.
const SLOW_LOOK: Duration = Duration::from_secs(30);

/// The same where it cannot be watched: not even its directory is there.
const UNWATCHED: Duration = Duration::from_secs(1);

/// Tells what the file says, first and after every change, until nobody listens.
pub async fn follow(path: PathBuf, out: mpsc::Sender<Found>) {
    let mut notices = FileNotices::new().inspect_err(|error| {
        tracing::warn!(%error, "no inotify (see fs.inotify.max_user_instances): {} is looked at every second", path.display());
    });
    let mut told = None;
    loop {
        // Watched before it is read, so that nothing is missed in between.
        let watched = notices.as_mut().is_ok_and(|notices| watch(notices, &path));
        let found = read(&path);
        if told.as_ref() != Some(&found) {
            told = Some(found.clone());
            if out.send(found).await.is_err() {
                return;
            }
        }
        let slow_look = sleep(if watched { SLOW_LOOK } else { UNWATCHED });
        let next = async {
            match &mut notices {
                Ok(notices) => notices.next().await,
                Err(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            said = next => if let Err(error) = said {
                notices = Err(error);
            },
            () = slow_look => {}
            () = out.closed() => return,
        }
    }
}

/// The directory (the swap of `..data`, a rename over the file), and the file behind all links, which somebody may write
/// into, in the directory where it really is.
fn watch(notices: &mut FileNotices, path: &Path) -> bool {
    let real = path.canonicalize().ok();
    let directories = [Some(path), real.as_deref()].into_iter().flatten().filter_map(Path::parent);
    let mut places = directories.chain(real.as_deref());
    places.try_for_each(|place| notices.watch(place)).is_ok() && real.is_some()
}

fn read(path: &Path) -> Found {
    let shown = path.display();
    text(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => format!(
            "the network's configuration {shown} is not there: mount the ConfigMap that has net-conf.json, or name its place \
             by --net-config-path"
        ),
        _ => format!(
            "the network's configuration {shown} cannot be read: {error}; allow it, or name another by --net-config-path"
        ),
    })
}

fn text(path: &Path) -> io::Result<String> {
    // Opening a named pipe would wait for its writer.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a regular file"));
    }
    let mut bytes = Vec::new();
    // One more than `netconf` takes, so that it says what is wrong with it.
    file.take(LONGEST as u64 + 1).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::{Found, follow};
    use crate::scratch::Scratch;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;
    use std::time::Duration;
    use tokio::sync::mpsc;
    use tokio::time::timeout;

    /// What is told within five seconds: less than it takes without a notice.
    async fn heard(found: &mut mpsc::Receiver<Found>) -> Found {
        timeout(Duration::from_secs(5), found.recv()).await.expect("something is told").expect("it goes on")
    }

    fn begin(path: &Path) -> mpsc::Receiver<Found> {
        let (tell, found) = mpsc::channel(8);
        tokio::spawn(follow(path.to_owned(), tell));
        found
    }

    /// What the kubelet does: a new directory, a link to it under another name, renamed over the old one.
    fn swap(root: &Path, version: &str, text: &str) {
        fs::create_dir(root.join(version)).unwrap();
        fs::write(root.join(version).join("net-conf.json"), text).unwrap();
        let old = fs::read_link(root.join("..data")).ok();
        symlink(version, root.join("..data_tmp")).unwrap();
        fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
        if let Some(old) = old {
            fs::remove_dir_all(root.join(old)).unwrap();
        }
    }

    #[tokio::test]
    async fn a_config_map_that_is_swapped_is_followed() {
        let scratch = Scratch::new("net-config-swap");
        let root = &scratch.0;
        swap(root, "..2026_1", "one");
        symlink("..data/net-conf.json", root.join("net-conf.json")).unwrap();
        let mut found = begin(&root.join("net-conf.json"));
        assert_eq!(heard(&mut found).await, Ok("one".to_owned()));
        for (version, text) in [("..2026_2", "two"), ("..2026_3", "three"), ("..2026_4", "four")] {
            swap(root, version, text);
            assert_eq!(heard(&mut found).await, Ok(text.to_owned()));
        }
    }

    #[tokio::test]
    async fn a_plain_file_is_followed_however_it_is_edited() {
        let scratch = Scratch::new("net-config-plain");
        let path = scratch.0.join("net-conf.json");
        fs::write(&path, "one").unwrap();
        let mut found = begin(&path);
        assert_eq!(heard(&mut found).await, Ok("one".to_owned()));
        fs::write(&path, "written into").unwrap();
        assert_eq!(heard(&mut found).await, Ok("written into".to_owned()));
        fs::write(scratch.0.join("draft"), "renamed").unwrap();
        fs::rename(scratch.0.join("draft"), &path).unwrap();
        assert_eq!(heard(&mut found).await, Ok("renamed".to_owned()));
        fs::remove_file(&path).unwrap();
        let gone = heard(&mut found).await.expect_err("it is gone");
        assert!(gone.contains("is not there: mount the ConfigMap"), "{gone}");
        fs::write(&path, "back").unwrap();
        assert_eq!(heard(&mut found).await, Ok("back".to_owned()));
    }

    #[tokio::test]
    async fn a_file_whose_directory_comes_later_is_waited_for() {
        let scratch = Scratch::new("net-config-late");
        let path = scratch.0.join("later/net-conf.json");
        let mut found = begin(&path);
        heard(&mut found).await.expect_err("not there yet");
        fs::create_dir(scratch.0.join("later")).unwrap();
        fs::write(&path, "here").unwrap();
        assert_eq!(heard(&mut found).await, Ok("here".to_owned()));
        // What is no file is said, and does not stop it.
        fs::remove_file(&path).unwrap();
        heard(&mut found).await.expect_err("gone");
        fs::create_dir(&path).unwrap();
        let wrong = heard(&mut found).await.expect_err("a directory");
        assert!(wrong.contains("not a regular file"), "{wrong}");
    }
}
