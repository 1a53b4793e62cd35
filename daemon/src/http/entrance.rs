//! [`Entrance`]: lets so many in at a time and nobody stay who does not ask, so that whoever can reach the port can neither
//! use up the daemon's file descriptors nor keep a probe from its answer.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep, sleep};

use crate::seats::{Seat, Seats};

/// How many connections there may be; of more, the one that has been silent for the longest time ends.
pub const SEATS: usize = 64;

/// How long a guest may take to ask, and to ask again after an answer. Longer than probes are apart.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A listener with a doorkeeper.
pub struct Entrance {
    listener: TcpListener,
    seats: Arc<Seats>,
}

impl Entrance {
    /// All seats are free.
    pub fn new(listener: TcpListener) -> Entrance {
        Entrance { listener, seats: Seats::new(SEATS) }
    }
}

impl Listener for Entrance {
    type Io = Guest;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Guest, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.listener).await;
        (Guest { stream, patience: Box::pin(sleep(PATIENCE)), seat: self.seats.take() }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that ends when nothing was answered on it for a while: sending a little now and then does not help.
pub struct Guest {
    stream: TcpStream,
    patience: Pin<Box<Sleep>>,
    seat: Seat,
}

impl Guest {
    /// The stream's own verdict, unless patience is at an end or somebody else needs the seat.
    fn unless_late<T>(&mut self, context: &mut Context<'_>, verdict: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if self.patience.as_mut().poll(context).is_ready() || self.seat.poll_lost(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        verdict
    }
}

impl AsyncRead for Guest {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let verdict = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.unless_late(context, verdict)
    }
}

impl AsyncWrite for Guest {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let verdict = Pin::new(&mut self.stream).poll_write(context, bytes);
        if matches!(verdict, Poll::Ready(Ok(written)) if written > 0) {
            self.patience.as_mut().reset(Instant::now() + PATIENCE);
            self.seat.keep();
        }
        self.unless_late(context, verdict)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
