//! [`InstanceLock`]: one instance on a node runs once. A second one waits for the first to end, as at a rollout that starts the
//! new daemon before the old one has gone: with one subnet file, one table and one status socket they are one daemon
//! started twice.
//!
//! The lock is an abstract unix socket (unix(7)), as `device_lock`'s are.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use crate::config::Instance;

/// Held until it is dropped.
#[derive(Debug)]
pub struct InstanceLock {
    _held: UnixListener,
}

/// How long the other's end is waited for before the lock is tried again, whatever became of it.
const RETRY: Duration = Duration::from_secs(1);

impl InstanceLock {
    /// Waits until no other process is this instance.
    ///
    /// # Errors
    /// bind(2)'s, but for `EADDRINUSE`.
    pub async fn hold(instance: &Instance) -> io::Result<InstanceLock> {
        // The table of its own is what an instance is called where names must be short.
        let name = SocketAddr::from_abstract_name(format!("towpath/instance/{}", instance.table))?;
        let mut said = false;
        loop {
            match UnixListener::bind_addr(&name) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                bound => return Ok(InstanceLock { _held: bound? }),
            }
            if !std::mem::replace(&mut said, true) {
                tracing::info!(
                    "another towpathd with the same --subnet-file runs on this node (`ss -xlp` shows it as \
                     @towpath/instance/{}): waiting for it to end",
                    instance.table
                );
            }
            wait_for_its_end(&name).await;
        }
    }
}

/// It never takes a client; what it did not take is cut off when it ends.
async fn wait_for_its_end(name: &SocketAddr) {
    let connected = UnixStream::connect_addr(name).and_then(|stream| {
        stream.set_nonblocking(true)?;
        tokio::net::UnixStream::from_std(stream)
    });
    let Ok(mut stream) = connected else { return tokio::task::yield_now().await };
    // The end, an error or no answer: in each case the lock is tried again.
    timeout(RETRY, stream.read_u8()).await.ok();
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::InstanceLock;
    use crate::config::Instance;
    use std::path::PathBuf;
    use std::time::Duration;
    use tokio::time::timeout;

    #[tokio::test]
    async fn a_second_one_waits_for_the_first_to_end() {
        let file = PathBuf::from(format!("/run/{}/subnet.env", std::process::id()));
        let instance = Instance::of_subnet_file(&file);
        let other = Instance::of_subnet_file(&file.with_file_name("other.env"));
        let first = InstanceLock::hold(&instance).await.expect("free");
        InstanceLock::hold(&other).await.expect("another instance is nobody's business");
        let mut second = tokio::spawn(async move { InstanceLock::hold(&instance).await });
        assert!(timeout(Duration::from_millis(50), &mut second).await.is_err(), "it did not wait");
        drop(first);
        let held = timeout(Duration::from_secs(10), second).await.expect("in time");
        held.expect("it lives").expect("free");
    }
}
