//! Where the socket stands: its directory, its mode, and who had it before.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

/// Why there is no status socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// A daemon answers there already.
    #[error("another towpathd listens on {}; give this one its own by --status-socket", path.display())]
    Taken {
        /// The socket.
        path: PathBuf,
    },
    /// Something that is no socket is there, and not ours to remove.
    #[error("{} is there and is no socket; remove it, or choose another by --status-socket", path.display())]
    NoSocket {
        /// What is in the way.
        path: PathBuf,
    },
    /// The file system refuses.
    #[error(
        "cannot {action} {}: {source}; allow it, or name another by --status-socket (a pod needs that directory of the host \
         mounted)",
        path.display()
    )]
    File {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Listens at a path: makes its directory, replaces the socket of a daemon that is dead, and lets only root connect.
pub async fn listen(path: &Path) -> Result<UnixListener, SocketError> {
    let failed = |action| move |source| SocketError::File { action, path: path.to_owned(), source };
    if let Some(directory) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o755).create(directory).map_err(failed("make the directory of"))?;
    }
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("look at")(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(SocketError::NoSocket { path: path.to_owned() });
        }
        Ok(_) if is_dead(path).await => {}
        Ok(_) => return Err(SocketError::Taken { path: path.to_owned() }),
    }
    // Made under another name and moved: nobody can connect before the mode is right, and no instant is without a socket.
    let fresh = beside(path);
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("remove what is beside")(error)),
        _ => {}
    }
    let listener = UnixListener::bind(&fresh).map_err(failed("listen on"))?;
    fs::set_permissions(&fresh, Permissions::from_mode(0o600)).map_err(failed("restrict"))?;
    fs::rename(&fresh, path).map_err(failed("put in its place"))?;
    Ok(listener)
}

/// Whether nobody listens there any more. Somebody who is too busy to answer lives.
async fn is_dead(path: &Path) -> bool {
    UnixStream::connect(path).await.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// Always the same, so that one that a killed process left is the next one's to remove.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}
