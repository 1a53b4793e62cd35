//! Deleting the wires of removed pods: the plugin takes a link out of service and leaves the 20 ms that its deletion takes
//! to us, who delete all there are in one go.
//!
//! The kernel's link group is the list of what is to be deleted ([`kernel::pod::burial`]); a connection to our socket says
//! that it may have grown, and carries no words; what comes with it is closed. What was left while no daemon ran is deleted at the start. Nothing of the
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
    // It asks first here: a start with nothing to do sends nothing that could change the kernel.
    let mut swept =
        on_a_thread(|| Host::open().and_then(|mut host| if host.retired()? { host.sweep() } else { Ok(()) })).await;
    loop {
        if let Err(error) = &swept {
            tracing::warn!("links of removed pods are still there, and are tried again: {error}");
        }
        let first = async {
            loop {
                match listener.accept().await {
                    Ok((connection, _)) => return connection,
                    // Out of file descriptors, mostly: whoever connected stays in the queue until some are free again.
                    Err(error) => tracing::debug!("the plugin cannot be heard: {error}"),
                }
                tokio::time::sleep(GATHER).await;
            }
        };
        let mut heard = Vec::new();
        if swept.is_ok() {
            heard.push(first.await);
        } else if let Ok(connection) = timeout(AGAIN, first).await {
            heard.push(connection);
        }
        let more = async {
            while let Ok((connection, _)) = listener.accept().await {
                heard.push(connection);
            }
        };
        // It ends by the time, or with an error that the next round meets again.
        timeout(GATHER, more).await.ok();
        // With some of them came a socket whose closing waits for the kernel. Nobody waits for that.
        tokio::task::spawn_blocking(move || drop(heard));
        swept = on_a_thread(|| Host::open().and_then(|mut host| host.sweep())).await;
    }
}

/// Does what waits for the kernel.
async fn on_a_thread(work: impl FnOnce() -> kernel::Result<()> + Send + 'static) -> Result<(), String> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}
