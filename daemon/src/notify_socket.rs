//! How systemd is told what this daemon does (sd_notify(3)): one datagram of `KEY=value` lines a message, to the socket that
//! the environment names. Without systemd there is none, and nothing is said; nobody waits for it, and a message that it
//! does not take is a line in the log.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Start-up is over (`Type=notify`).
pub fn ready() {
    tell("READY=1\nSTATUS=ready");
}

/// What `systemctl status` shows: one line.
pub fn status(text: &str) {
    // A line break would begin another `KEY=value`.
    tell(&format!("STATUS={}", text.replace(['\n', '\r'], " ")));
}

/// The daemon is about to end.
pub fn stopping() {
    tell("STOPPING=1\nSTATUS=stopping");
}

fn tell(message: &str) {
    let Some(name) = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else { return };
    if let Err(error) = NotifySocket::new(&name).and_then(|socket| socket.send(message)) {
        tracing::warn!("{error}");
    }
}

/// The socket that systemd listens on.
#[derive(Debug)]
struct NotifySocket {
    socket: UnixDatagram,
    address: SocketAddr,
}

/// Why systemd cannot be told anything.
#[derive(Debug, thiserror::Error)]
enum NotifyError {
    /// The environment names something that is no socket's address.
    #[error("NOTIFY_SOCKET={name:?} is no address of a unix socket that can be sent to: {source}")]
    Address {
        /// What the environment says.
        name: String,
        /// Why not.
        source: io::Error,
    },
    /// The message was not taken.
    #[error("systemd takes no message on its notify socket: {0}")]
    Send(io::Error),
}

impl NotifySocket {
    /// The socket of a name: a path, or `@name` in the abstract namespace (unix(7)).
    fn new(name: &OsStr) -> Result<NotifySocket, NotifyError> {
        let refuse = |source| NotifyError::Address { name: name.to_string_lossy().into_owned(), source };
        let address = match name.as_bytes() {
            [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest),
            [b'/', ..] => SocketAddr::from_pathname(name),
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "it must begin with `/` or `@`")),
        };
        let address = address.map_err(refuse)?;
        let socket = UnixDatagram::unbound().map_err(refuse)?;
        // The run loop waits for nobody: a message that systemd has no room for is lost.
        socket.set_nonblocking(true).map_err(refuse)?;
        Ok(NotifySocket { socket, address })
    }

    fn send(&self, message: &str) -> Result<(), NotifyError> {
        self.socket.send_to_addr(message.as_bytes(), &self.address).map(drop).map_err(NotifyError::Send)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn listener(name: &[u8]) -> UnixDatagram {
        UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name).unwrap()).unwrap()
    }

    fn heard(listener: &UnixDatagram) -> String {
        let mut message = [0; 512];
        let length = listener.recv(&mut message).unwrap();
        String::from_utf8(message[..length].to_vec()).unwrap()
    }

    #[test]
    fn systemd_hears_what_is_sent_in_the_abstract_namespace() {
        let name = format!("towpath-notify-{}", std::process::id());
        let systemd = listener(name.as_bytes());
        let socket = NotifySocket::new(OsStr::new(&format!("@{name}"))).unwrap();
        socket.send("READY=1\nSTATUS=ready").unwrap();
        assert_eq!(heard(&systemd), "READY=1\nSTATUS=ready");
    }

    #[test]
    fn systemd_hears_what_is_sent_to_a_path() {
        let path = env::temp_dir().join(format!("towpath-notify-{}.sock", std::process::id()));
        let systemd = UnixDatagram::bind(&path).unwrap();
        NotifySocket::new(path.as_os_str()).unwrap().send("STOPPING=1").unwrap();
        assert_eq!(heard(&systemd), "STOPPING=1");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_systemd_that_does_not_listen_holds_nothing_up() {
        let name = format!("towpath-notify-deaf-{}", std::process::id());
        let systemd = listener(name.as_bytes());
        let socket = NotifySocket::new(OsStr::new(&format!("@{name}"))).unwrap();
        while socket.send("STATUS=x").is_ok() {}
        drop(systemd);
        assert!(matches!(socket.send("STATUS=x"), Err(NotifyError::Send(_))));
    }

    #[test]
    fn what_is_no_address_is_refused_by_name() {
        for name in ["run/systemd/notify", "vsock:2:1234", &format!("/{}", "x".repeat(200))] {
            let error = NotifySocket::new(OsStr::new(name)).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}
