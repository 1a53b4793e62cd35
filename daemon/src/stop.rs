//! [`Stop`]: the signals that end the daemon.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that end the daemon.
pub struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    /// Hears them from now on.
    ///
    /// # Errors
    /// When signals cannot be received.
    pub fn new() -> std::io::Result<Stop> {
        Ok(Stop { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for one.
    pub async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
