//! Deleting the wires of removed pods: the plugin takes a link out of service and leaves the 20 ms that its deletion takes
//! to us, who delete all there are in one go.
//!
//! The kernel's link group is the list of what is to be deleted ([`kernel::pod::burial`]); a connection to our socket says
//! that it may have grown, and carries no words. What was left while no daemon ran is deleted at the start. Nothing of the
//! desired state is touched: these links are the plugin's.

use std::io;
use std::time::Duration;

use kernel::pod::{Host, burial};
use tokio::net::UnixListener;
use tokio::time::timeout;

/// How long to wait for more after the first: of a hundred pods that are deleted at once, few are alone.
const GATHER: Duration = Duration::from_millis(2);

/// After an error, the next look without being asked; and how often another daemon's end is looked for.
const AGAIN: Duration = Duration::from_secs(10);

/// Serves for as long as the process runs.
///
/// # Errors
/// At once when no socket can be had. Another daemon's is waited for: until it ends, that one deletes.
pub async fn serve() -> io::Result<()> {
    let listener = loop {
        match burial::listen() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => tokio::time::sleep(AGAIN).await,
            listener => break UnixListener::from_std(listener?)?,
        }
    };
    loop {
        let swept = sweep().await;
        if let Err(error) = &swept {
            tracing::warn!("links of removed pods are still there, and are tried again: {error}");
        }
        let first = async {
            while let Err(error) = listener.accept().await {
                // Out of file descriptors, mostly: whoever connected stays in the queue until some are free again.
                tracing::debug!("the plugin cannot be heard: {error}");
                tokio::time::sleep(GATHER).await;
            }
        };
        if swept.is_ok() {
            first.await;
        } else if timeout(AGAIN, first).await.is_err() {
            continue;
        }
        let more = async { while listener.accept().await.is_ok() {} };
        // It ends by the time, or with an error that the next round meets again.
        timeout(GATHER, more).await.ok();
    }
}

/// Deletes them if there are any, on a thread that may wait for the kernel. It asks first: a start with nothing to do
/// sends nothing that could change the kernel.
async fn sweep() -> Result<(), String> {
    let sweep = || Host::open().and_then(|mut host| if host.retired()? { host.sweep() } else { Ok(()) });
    let swept = tokio::task::spawn_blocking(sweep).await;
    swept.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}
