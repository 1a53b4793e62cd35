//! [`Connection`]: one TCP connection of a peer: bytes read when they come, bytes written when they can be.
//!
//! It has no buffer for what comes: all connections read into one of the shell's, so that an idle session costs next to nothing. What cannot be
//! written waits here, at most a few chunks: the rest stays with the speaker, which knows by then what is still true.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

use bgp::machine::Waiting;
use bgp::machine::collision::Side;
use bgp::rib::{Chunk, PeerId};
use bgp::speaker::Speaker;
use kernel::tcp;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::ground::Ground;
use super::shell::Shell;

/// Chunks that are handed to the kernel at once.
const AT_ONCE: usize = 16;

/// Bytes that wait beside the speaker at most, but for one chunk: in the kernel as many again. What the speaker still has, a change of another
/// route can overtake.
const MOST_UNSENT: usize = 128 << 10;

/// Bytes after which others get a turn.
const TURN_BYTES: usize = 1 << 20;

/// How long the last words may take.
const FAREWELL: Duration = Duration::from_secs(5);

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    /// The other end.
    pub remote: SocketAddr,
    unsent: RefCell<Unsent>,
    /// Whether the kernel took no more.
    blocked: Cell<bool>,
    /// Whether it takes nothing more: the peer closed or reset it, as reading says in a moment.
    broken: Cell<bool>,
    /// Whether it ends when all is written.
    closing: Cell<bool>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Unsent {
    chunks: VecDeque<Chunk>,
    /// All their bytes.
    bytes: usize,
    /// Bytes of the first chunk that are gone.
    offset: usize,
}

/// What came of writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// There is nothing left.
    All,
    /// The kernel takes no more for now.
    Blocked,
    /// Nor will it.
    Broken,
    /// There is more, and others want their turn.
    More,
}

impl Connection {
    pub fn new(stream: TcpStream, remote: SocketAddr) -> Rc<Connection> {
        if let Err(error) = tcp::set_most_unsent(stream.as_fd(), MOST_UNSENT as u32) {
            tracing::debug!("the kernel may keep much that {remote} is told: {error}");
        }
        let unsent = RefCell::new(Unsent::default());
        let [blocked, broken, closing] = [const { Cell::new(false) }; 3];
        Rc::new(Connection { stream, remote, unsent, blocked, broken, closing, wake: Notify::new() })
    }

    /// The socket, for its options.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Writes what the speaker has for this connection, as far as the kernel takes it. The answer goes with the number of bytes.
    pub fn write(&self, speaker: &mut Speaker, (id, side): (PeerId, Side), now: Duration) -> (Written, usize) {
        let was_blocked = self.blocked.get();
        let mut unsent = self.unsent.borrow_mut();
        let mut bytes = 0;
        let written = loop {
            if self.broken.get() {
                break Written::Broken;
            }
            while unsent.chunks.len() < AT_ONCE && unsent.bytes < MOST_UNSENT {
                let Some(chunk) = speaker.pull(id, side) else { break };
                unsent.bytes += chunk.len();
                unsent.chunks.push_back(chunk);
            }
            if unsent.chunks.is_empty() {
                break Written::All;
            }
            if bytes > TURN_BYTES {
                break Written::More;
            }
            match unsent.write(&self.stream) {
                Ok(some) => bytes += some,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Written::Blocked,
                // Reading says so too, which ends the connection; to be writable means nothing from now on.
                Err(_) => break Written::Broken,
            }
        };
        self.blocked.set(written == Written::Blocked);
        self.broken.set(written == Written::Broken);
        // Its timer runs from when the peer last took something (RFC 9687 section 3.1), not from when we last tried.
        match written {
            Written::All => speaker.sending(id, side, Waiting::Nothing, now),
            Written::Blocked | Written::More if bytes > 0 || !was_blocked => {
                speaker.sending(id, side, Waiting::Something, now);
            }
            Written::Blocked | Written::More | Written::Broken => {}
        }
        if matches!(written, Written::Blocked | Written::More) {
            self.wake.notify_one();
        }
        (written, bytes)
    }

    /// Ends it after what waits and these last bytes.
    pub fn close(&self, farewell: Option<Chunk>) {
        let mut unsent = self.unsent.borrow_mut();
        unsent.chunks.extend(farewell);
        self.closing.set(true);
        // Mostly it is done at once.
        while !unsent.chunks.is_empty() && unsent.write(&self.stream).is_ok() {}
        self.wake.notify_one();
    }
}

impl Unsent {
    fn write(&mut self, stream: &TcpStream) -> io::Result<usize> {
        let mut offset = self.offset;
        let slices: Vec<IoSlice<'_>> = self
            .chunks
            .iter()
            .take(AT_ONCE)
            .map(|chunk| IoSlice::new(chunk.get(std::mem::take(&mut offset)..).unwrap_or_default()))
            .collect();
        let written = stream.try_write_vectored(&slices)?;
        let mut gone = self.offset + written;
        while let Some(first) = self.chunks.front().filter(|first| first.len() <= gone) {
            gone -= first.len();
            self.bytes = self.bytes.saturating_sub(first.len());
            self.chunks.pop_front();
        }
        self.offset = gone;
        Ok(written)
    }
}

/// Reads and writes for as long as the connection is the peer's.
pub(super) async fn run(ground: Rc<Ground>, (id, side): (PeerId, Side), connection: Rc<Connection>) {
    while !connection.closing.get() {
        let blocked = connection.blocked.get();
        let interest = if blocked { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        let ready = tokio::select! {
            ready = connection.stream.ready(interest) => ready,
            () = connection.wake.notified() => {
                // There is more to write, or nothing could be: then it is waited for that too.
                if !connection.closing.get() && !connection.blocked.get() {
                    ground.with(|shell, now| shell.write((id, side), now));
                    tokio::task::yield_now().await;
                }
                continue;
            }
        };
        let Ok(ready) = ready else { break };
        if blocked && ready.is_writable() {
            ground.with(|shell, now| shell.write((id, side), now));
            // What the kernel says of the other connections is heard in between.
            tokio::task::yield_now().await;
        }
        if ready.is_readable() || ready.is_read_closed() || ready.is_error() {
            let open = ground.with(|shell, now| shell.read((id, side), &connection, now));
            if !open {
                break;
            }
            // Whoever has something of less than this many bytes is not kept waiting by one who has much.
            tokio::task::yield_now().await;
        }
    }
    if connection.closing.get() && tokio::time::timeout(FAREWELL, finish(&connection)).await.is_err() {
        tracing::debug!("{} did not take our last words", connection.remote);
    }
}

/// Writes the rest, says that it was the last, and waits for the peer to see it: an end that overtakes unread bytes of the peer's would be a
/// reset, which takes the last words from its hands.
async fn finish(connection: &Connection) {
    loop {
        let done = {
            let mut unsent = connection.unsent.borrow_mut();
            while !unsent.chunks.is_empty() {
                match unsent.write(&connection.stream) {
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(_) => return,
                }
            }
            unsent.chunks.is_empty()
        };
        if done {
            break;
        }
        if connection.stream.writable().await.is_err() {
            return;
        }
    }
    if rustix::net::shutdown(&connection.stream, rustix::net::Shutdown::Write).is_err() {
        return;
    }
    let mut rest = [0; 512];
    loop {
        match connection.stream.try_read(&mut rest) {
            Ok(0) => return,
            Ok(_) => tokio::task::yield_now().await,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if connection.stream.readable().await.is_err() {
                    return;
                }
            }
            Err(_) => return,
        }
    }
}

impl Shell {
    /// Reads once what has come; whether the connection is still the peer's.
    fn read(&mut self, (id, side): (PeerId, Side), connection: &Rc<Connection>, now: Duration) -> bool {
        let current = |shell: &Shell| {
            let open = shell.roster.seat(id).and_then(|seat| seat.connection(side));
            open.is_some_and(|open| Rc::ptr_eq(open, connection))
        };
        if !current(self) {
            return false;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let read = connection.stream.try_read(&mut buffer);
        let gone = match read {
            Ok(0) => Some(None),
            Ok(bytes) => {
                if let Some(seat) = self.roster.seat_mut(id) {
                    seat.traffic.bytes_in += bytes as u64;
                }
                self.speaker.received(id, side, buffer.get(..bytes).unwrap_or_default(), now);
                self.heard(bytes);
                None
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => Some(Some(error)),
        };
        self.buffer = buffer;
        if let Some(error) = gone {
            self.broken((id, side), error, now);
        }
        current(self)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::net::Ipv4Addr;

    use bgp::rib::Settings;
    use bgp::rib::decision::Preferences;
    use bgp::speaker::Readiness;

    use super::*;

    #[tokio::test]
    async fn what_broke_is_not_written_to_again() {
        let identifier = Ipv4Addr::LOCALHOST;
        let settings =
            Settings { asn: 1, identifier, cluster: identifier, preferences: Preferences::default(), seed: 1 };
        let mut speaker = Speaker::new(settings, Readiness::Complete);
        let listener = std::net::TcpListener::bind((identifier, 0)).unwrap();
        let remote = listener.local_addr().unwrap();
        let connection = Connection::new(TcpStream::connect(remote).await.unwrap(), remote);
        let (peer, _) = listener.accept().unwrap();
        let mut write = || {
            connection.unsent.borrow_mut().chunks.push_back(vec![7; 100].into());
            connection.write(&mut speaker, (PeerId(1), Side::Outgoing), Duration::ZERO).0
        };
        assert_eq!(write(), Written::All);
        // With unread bytes: a reset.
        drop(peer);
        while write() == Written::All {}
        assert_eq!(write(), Written::Broken);
        // Its task waits for what there is to read.
        assert!(!connection.blocked.get());
    }
}
