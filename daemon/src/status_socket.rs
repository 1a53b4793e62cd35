//! The status socket: `towpathctl` sends one line of JSON, the daemon answers one line of JSON and closes. The daemon
//! renders, `towpathctl` prints: the two need not be of one version.
//!
//! Only root may connect (mode 0600). It asks the run loop and knows nothing itself.

mod place;
mod reply;
mod speaker;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::ask::Ears;
use crate::seats::Seats;
pub use place::SocketError;
use reply::{Reply, Request};

/// How many clients there may be; of more, the one that came first ends.
const CLIENTS: usize = 64;

/// How many answers there are in memory at a time: one about fifteen thousand peers has ten megabytes.
const ANSWERS: usize = 8;

/// Octets of a request. The longest that makes sense has a hundred.
const LONGEST_REQUEST: u64 = 4096;

/// How long a client may take to ask, and to take the answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Serves for as long as the process runs.
///
/// # Errors
/// [`SocketError`] at once when the socket cannot be made, or another daemon has it. The daemon does well without.
pub async fn serve(path: &Path, ears: Ears) -> Result<(), SocketError> {
    let listener = place::listen(path).await?;
    accept(&listener, &ears).await;
    Ok(())
}

/// Answers each client in a task of its own.
async fn accept(listener: &UnixListener, ears: &Ears) {
    let (seats, answers) = (Seats::new(CLIENTS), Arc::new(Semaphore::new(ANSWERS)));
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                let (mut seat, ears, answers) = (seats.take(), ears.clone(), Arc::clone(&answers));
                tokio::spawn(async move {
                    let ended = tokio::select! {
                        ended = talk(client, &ears, &answers) => ended,
                        () = seat.lost() => Err(io::Error::other("others came")),
                    };
                    if let Err(error) = ended {
                        tracing::debug!("a client of the status socket is gone: {error}");
                    }
                });
            }
            Err(error) => {
                // Out of file descriptors, mostly: the client stays in the queue until some are free again.
                tracing::warn!("the status socket cannot take a client: {error}");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// One request, one reply.
async fn talk(mut client: UnixStream, ears: &Ears, answers: &Semaphore) -> io::Result<()> {
    let line = timeout(PATIENCE, read_line(&mut client)).await;
    let request = line.as_ref().ok().and_then(|line| Request::parse(line.as_ref().ok()?).ok());
    if let Some((asked, output)) = request.as_ref().and_then(Request::of_bgp) {
        return speaker::answer(&mut client, asked, (ears, output)).await;
    }
    // It fails only for a semaphore that was closed, and nobody closes this one.
    let _turn = answers.acquire().await.map_err(io::Error::other)?;
    let reply = match line {
        Ok(Ok(line)) => match Request::parse(&line) {
            Ok(request) => request.answer(ears).await,
            Err(reason) => Reply::error(reason),
        },
        Ok(Err(error)) => return Err(error),
        Err(_) => Reply::error(format!("no request came within {} s", PATIENCE.as_secs())),
    };
    let taken = say(&mut client, reply).await;
    // With ten thousand peers an answer took ten megabytes on its way.
    kernel::memory::give_back();
    taken?;
    client.shutdown().await
}

/// One line of an answer.
async fn say(client: &mut UnixStream, reply: Reply) -> io::Result<()> {
    let line = serde_json::to_string(&reply)? + "\n";
    drop(reply);
    timeout(PATIENCE, client.write_all(line.as_bytes())).await?
}

/// The first line, or as much of it as there may be: what is longer does not parse.
async fn read_line(client: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    BufReader::new(client.take(LONGEST_REQUEST)).read_until(b'\n', &mut line).await?;
    Ok(line)
}

#[cfg(test)]
mod tests;
