//! [`Keys`]: what proves that a peer is it (RFC 2385, RFC 5925): read from files, given to sockets, changed under a session where both ends change.
//!
//! A key is in its file, here and in the kernel; no log line, error or answer has it.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use bgp::machine::collision::Side;
use bgp::rib::PeerId;
use ipnet::IpNet;
use kernel::tcp;
use kernel::tcp::ao::{self, Turn};

use crate::secret::Secret;

use super::shell::Shell;
use super::wish::{AoAlgorithm, AoKey, Authentication, Origin, Range, Wish};

mod file;
mod rollover;

use file::{File, stamp};

/// Key files as they were last read.
#[derive(Debug, Default)]
pub(super) struct Keys {
    files: HashMap<PathBuf, File>,
}

/// What is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signed {
    /// A socket that listens, or will: it knows all keys and uses none.
    Listener,
    /// A socket that is to be connected, the so-manyth time without success. A peer may not have the newest key yet: each attempt begins with the next.
    Attempt(usize),
    /// A connection.
    Connection,
}

impl Keys {
    /// A file's key.
    fn key(&mut self, path: &Path) -> Result<Secret<Vec<u8>>, String> {
        self.files.entry(path.to_owned()).or_insert_with(|| File::read(path, None)).key.clone()
    }

    /// Files with another key than when they were read last.
    fn changed(&mut self) -> Vec<PathBuf> {
        let mut changed = Vec::new();
        for (path, file) in &mut self.files {
            let now = stamp(path);
            if now != file.stamp {
                let read = File::read(path, Some(file));
                let before = std::mem::replace(file, read);
                // All files of a Kubernetes Secret are written when one of its keys changes.
                if before.key != file.key {
                    changed.push(path.clone());
                }
            }
        }
        changed
    }

    /// Whether a key is another one than was known by its numbers.
    fn is_replaced(&mut self, old: &AoKey, new: &AoKey) -> bool {
        (old.send, old.receive) == (new.send, new.receive)
            && (old.algorithm != new.algorithm || self.key(&old.file) != self.key(&new.file))
    }

    /// Gives a socket what it needs to know of some peers.
    fn sign(
        &mut self,
        socket: BorrowedFd<'_>,
        (peers, authentication): (IpNet, &Authentication),
        signed: Signed,
    ) -> Result<(), String> {
        match authentication {
            Authentication::Md5(file) => {
                let key = self.key(file)?;
                tcp::set_md5_key(socket, peers, key.expose()).map_err(|error| refused("MD5 signatures", &error))
            }
            Authentication::Ao(keys) => {
                let first = match signed {
                    Signed::Attempt(count) => count.checked_rem(keys.len()),
                    Signed::Listener | Signed::Connection => None,
                };
                let turn = |place| if first == Some(place) { Turn::First } else { Turn::Known };
                let given = keys.iter().enumerate().map(|(place, key)| self.give(socket, peers, (key, turn(place))));
                // With one of them the session is as safe as with all.
                let (mut known, mut fault) = (0, None);
                for result in given {
                    match result {
                        Ok(()) => known += 1,
                        Err(why) => fault = Some(why),
                    }
                }
                match fault {
                    Some(why) if known == 0 => Err(why),
                    Some(why) => {
                        tracing::warn!("BGP with {peers} goes on with {known} of {} keys: {why}", keys.len());
                        Ok(())
                    }
                    None => Ok(()),
                }
            }
        }
    }

    /// Gives a socket a key of TCP-AO, in place of what it had under the same numbers.
    fn give(&mut self, socket: BorrowedFd<'_>, peers: IpNet, (key, turn): (&AoKey, Turn)) -> Result<(), String> {
        let AoKey { send, receive, .. } = *key;
        let secret = self.key(&key.file)?;
        let wanted = ao::Key { send, receive, algorithm: algorithm(key.algorithm), octets: secret.expose(), turn };
        match ao::add(socket, peers, &wanted) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            // There is nothing else that it could not find.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(format!(
                    "this kernel cannot sign with {}, which key {send}:{receive} of TCP-AO says: take another algorithm, or another kernel",
                    wanted.algorithm
                ));
            }
            other => return other.map_err(|error| refused("TCP-AO (Linux 6.7 with CONFIG_TCP_AO)", &error)),
        }
        let replaced = ao::remove(socket, peers, (send, receive)).and_then(|()| ao::add(socket, peers, &wanted));
        replaced.map_err(|error| match error.raw_os_error() {
            Some(libc::ENOENT | libc::EEXIST) => format!(
                "the key {send}:{receive} of TCP-AO has a number of another key for addresses among {peers} (RFC 5925 section 3.1): give it others"
            ),
            _ => refused("TCP-AO (Linux 6.7 with CONFIG_TCP_AO)", &error),
        })
    }
}

/// Takes from a socket what it knows of some peers, as far as `now` does not say the same.
fn unsign(socket: BorrowedFd<'_>, peers: IpNet, before: &Authentication, now: Option<&Authentication>) {
    let gone = match (before, now) {
        (Authentication::Md5(_), Some(Authentication::Md5(_))) => Ok(()),
        (Authentication::Md5(_), _) => tcp::set_md5_key(socket, peers, &[]),
        (Authentication::Ao(keys), now) => {
            let kept = |id| matches!(now, Some(Authentication::Ao(now)) if now.iter().any(|key| (key.send, key.receive) == id));
            let mut ids = keys.iter().map(|key| (key.send, key.receive)).filter(|id| !kept(*id));
            ids.try_for_each(|id| ao::remove(socket, peers, id))
        }
    };
    if let Err(error) = gone {
        tracing::debug!("the keys for {peers} cannot be taken away: {error}");
    }
}

fn algorithm(algorithm: AoAlgorithm) -> &'static str {
    match algorithm {
        AoAlgorithm::HmacSha1 => "hmac(sha1)",
        AoAlgorithm::AesCmac => "cmac(aes128)",
        AoAlgorithm::HmacSha256 => "hmac(sha256)",
    }
}

fn refused(what: &str, error: &io::Error) -> String {
    // ENOPROTOOPT, which has no kind of its own.
    match error.raw_os_error() {
        Some(libc::ENOPROTOOPT) => {
            format!("this kernel has no {what}: take another way to authenticate, or another kernel")
        }
        _ => format!("the key cannot be given to the socket ({what}): {error}"),
    }
}

impl Shell {
    /// Tells the sockets that listen of a peer's key. Without it there must be no session.
    pub(super) fn authenticate(&mut self, id: PeerId) {
        let Some(seat) = self.roster.seat_mut(id) else { return };
        seat.locked = None;
        // Its range's key is there already.
        let of_range = matches!(seat.neighbour.origin, Origin::Range(_));
        let Some((address, authentication)) =
            seat.address.zip(seat.neighbour.authentication.clone()).filter(|_| !of_range)
        else {
            return;
        };
        let mut result = Ok(());
        for listener in self.listeners.iter().filter(|listener| listener.is_of(address)) {
            let wanted = (IpNet::from(address), &authentication);
            result = result.and(self.keys.sign(listener.socket.as_fd(), wanted, Signed::Listener));
        }
        if let (Err(why), Some(seat)) = (result, self.roster.seat_mut(id)) {
            seat.locked = Some(why.clone());
            self.trouble(id, why);
        }
    }

    /// Signs a connection that is to be.
    pub(super) fn sign(&mut self, id: PeerId, socket: BorrowedFd<'_>) -> Result<(), String> {
        let Some(seat) = self.roster.seat_mut(id) else { return Ok(()) };
        let Some((peers, authentication)) = seat.signed_for().zip(seat.neighbour.authentication.clone()) else {
            return Ok(());
        };
        let signed = Signed::Attempt(seat.attempts);
        seat.attempts = seat.attempts.wrapping_add(1);
        self.keys.sign(socket, (peers, &authentication), signed)
    }

    /// Sees that a connection that came is signed if it must be: it may be older than the key, or come by a socket that the key could not be given to.
    pub(super) fn check_signature(&mut self, id: PeerId, socket: BorrowedFd<'_>) -> Result<(), String> {
        let Some(seat) = self.roster.seat(id) else { return Ok(()) };
        let Some((peers, authentication)) = seat.signed_for().zip(seat.neighbour.authentication.clone()) else {
            return Ok(());
        };
        match authentication {
            Authentication::Md5(_) => self.keys.sign(socket, (peers, &authentication), Signed::Connection),
            Authentication::Ao(_) => match ao::held(socket) {
                Ok(keys) if keys.is_empty() => Err("its connection is not signed (TCP-AO)".to_owned()),
                Ok(_) => Ok(()),
                Err(error) => Err(refused("TCP-AO (Linux 6.7 with CONFIG_TCP_AO)", &error)),
            },
        }
    }

    /// Tells a socket that begins to listen of all keys.
    pub(super) fn sign_listener(&mut self, socket: BorrowedFd<'_>, of: impl Fn(IpNet) -> bool) {
        let seats = self.roster.seats().filter(|(_, seat)| !matches!(seat.neighbour.origin, Origin::Range(_)));
        let of_seats = seats.filter_map(|(_, seat)| seat.signed_for().zip(seat.neighbour.authentication.clone()));
        let of_ranges =
            self.wish.ranges.iter().filter_map(|range| Some((range.prefix, range.template.authentication.clone()?)));
        let wanted: Vec<(IpNet, Authentication)> = of_seats.chain(of_ranges).filter(|(peers, _)| of(*peers)).collect();
        for (peers, authentication) in wanted {
            if let Err(why) = self.keys.sign(socket, (peers, &authentication), Signed::Listener) {
                tracing::warn!("BGP neighbours in {peers}: {why}");
            }
        }
    }

    /// Tells the sockets that listen which ranges have keys.
    pub(super) fn sign_ranges(&mut self, before: &Wish) {
        let wish = std::sync::Arc::clone(&self.wish);
        for range in &before.ranges {
            let now = wish.ranges.iter().find(|now| now.prefix == range.prefix);
            let now = now.and_then(|now| now.template.authentication.as_ref());
            let Some(authentication) = range.template.authentication.as_ref().filter(|it| Some(*it) != now) else {
                continue;
            };
            for listener in self.listeners.iter().filter(|listener| listener.is_of(range.prefix.addr())) {
                unsign(listener.socket.as_fd(), range.prefix, authentication, now);
            }
        }
        let known = |range: &Range| {
            let before = before.ranges.iter().find(|before| before.prefix == range.prefix);
            before.is_some_and(|before| before.template.authentication == range.template.authentication)
        };
        self.sign_ranges_that(|range| !known(range));
    }

    fn sign_ranges_that(&mut self, wanted: impl Fn(&Range) -> bool) {
        let wish = std::sync::Arc::clone(&self.wish);
        for range in wish.ranges.iter().filter(|range| wanted(range)) {
            let Some(authentication) = &range.template.authentication else { continue };
            for listener in self.listeners.iter().filter(|listener| listener.is_of(range.prefix.addr())) {
                let signed = self.keys.sign(listener.socket.as_fd(), (range.prefix, authentication), Signed::Listener);
                if let Err(why) = signed {
                    tracing::warn!("BGP neighbours in {}: {why}", range.prefix);
                }
            }
        }
    }

    /// A peer's keys are others, or those in its files: its session goes on where both ends have the new ones.
    /// `before` is what they were by the configuration, if that changed.
    pub(super) fn resign(&mut self, id: PeerId, before: Option<&Authentication>) {
        self.resign_with(id, before, &[]);
    }

    fn resign_with(&mut self, id: PeerId, before: Option<&Authentication>, changed: &[PathBuf]) {
        let Some(seat) = self.roster.seat(id) else { return };
        let Some((peers, now)) = seat.signed_for().zip(seat.neighbour.authentication.clone()) else { return };
        // First, since a new key may have a number of an old one.
        if let Some(before) = before.filter(|before| **before != now) {
            for listener in self.listeners.iter().filter(|listener| listener.is_of(peers.addr())) {
                unsign(listener.socket.as_fd(), peers, before, Some(&now));
            }
        }
        self.authenticate(id);
        let Some(seat) = self.roster.seat(id) else { return };
        match &now {
            Authentication::Md5(_) => {
                let open: Vec<_> = Side::ALL.into_iter().filter_map(|side| seat.connection(side).cloned()).collect();
                for connection in open {
                    let signed = self.keys.sign(connection.stream().as_fd(), (peers, &now), Signed::Connection);
                    signed.unwrap_or_else(|why| self.trouble(id, why));
                }
            }
            Authentication::Ao(keys) => {
                let mut altered = Vec::new();
                for key in keys {
                    let other = match before {
                        Some(Authentication::Ao(before)) => before.iter().any(|old| self.keys.is_replaced(old, key)),
                        _ => changed.contains(&key.file),
                    };
                    altered.extend(other.then_some((key.send, key.receive)));
                }
                self.roll(id, &altered);
            }
        }
    }

    /// A peer is wanted no longer.
    pub(super) fn unsign(&mut self, id: PeerId) {
        let Some(seat) = self.roster.seat(id) else { return };
        let of_range = matches!(seat.neighbour.origin, Origin::Range(_));
        let known = seat.signed_for().zip(seat.neighbour.authentication.as_ref()).filter(|_| !of_range);
        let Some((peers, authentication)) = known else { return };
        for listener in self.listeners.iter().filter(|listener| listener.is_of(peers.addr())) {
            unsign(listener.socket.as_fd(), peers, authentication, None);
        }
    }

    /// Reads key files that changed, and tells the sockets of it.
    pub(super) fn reread_keys(&mut self) {
        let changed = self.keys.changed();
        if changed.is_empty() {
            return;
        }
        let names = |authentication: &Authentication| match authentication {
            Authentication::Md5(file) => changed.contains(file),
            Authentication::Ao(keys) => keys.iter().any(|key| changed.contains(&key.file)),
        };
        let peers: Vec<PeerId> = self
            .roster
            .seats()
            .filter(|(_, seat)| seat.neighbour.authentication.as_ref().is_some_and(names))
            .map(|(id, _)| id)
            .collect();
        self.sign_ranges_that(|range| range.template.authentication.as_ref().is_some_and(names));
        tracing::info!("BGP key files changed: those of {} peers", peers.len());
        peers.into_iter().for_each(|id| self.resign_with(id, None, &changed));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::PermissionsExt;

    use super::file::is_exposed;
    use super::*;

    #[test]
    fn a_key_is_the_first_line_and_is_read_again_when_its_file_is_another() {
        let directory = crate::scratch::Scratch::new("bgpkeys");
        let path = directory.0.join("key");
        let mut keys = Keys::default();
        assert!(keys.key(&path).unwrap_err().contains("cannot be read"));
        std::fs::write(&path, "first\r\nsecond\n").unwrap();
        assert_eq!(keys.changed(), vec![path.clone()]);
        assert_eq!(keys.key(&path).unwrap().expose(), b"first");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(is_exposed(&path) && File::read(&path, None).exposed);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(!is_exposed(&path) && !File::read(&path, None).exposed);
        assert_eq!(keys.changed(), Vec::<PathBuf>::new());
        std::fs::write(&path, "first\nthird\n").unwrap();
        assert_eq!(keys.changed(), Vec::<PathBuf>::new(), "the key is the same");
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "x".repeat(81)).unwrap();
        assert_eq!(keys.changed().len(), 1);
        assert!(keys.key(&path).unwrap_err().contains("81 octets"));
    }
}
