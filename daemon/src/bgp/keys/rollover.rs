//! One key of TCP-AO after another, under a connection (RFC 5925 section 5.3): a new key is added, the peer is asked for it, and once it signs with it so
//! does our kernel; then the old one goes. Nothing is dropped on the way, whichever end begins.
//!
//! What a connection has is asked of the kernel each time: there is no list of it here. A key that is in use is neither changed nor taken away, since segments
//! that are under way need it.

use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;

use bgp::machine::collision::Side;
use bgp::rib::PeerId;
use ipnet::IpNet;
use kernel::tcp::ao::{self, Held, Turn};

use crate::bgp::connection::Connection;
use crate::bgp::roster::Seat;
use crate::bgp::shell::Shell;
use crate::bgp::wish::{AoKey, Authentication};

use super::Keys;

/// Connections that lose keys in one go. For each the kernel waits until all processors have seen it; the rest has its turn later.
const AT_ONCE: usize = 8;

/// What became of the keys of a connection.
#[derive(Debug, Default)]
struct Rolled {
    /// What segments are signed with now.
    signing: Option<(u8, u8)>,
    /// Keys that are other ones now, and in use as they were.
    kept: Vec<(u8, u8)>,
    /// Whether a key was taken away.
    shortened: bool,
}

fn numbers(key: &Held) -> (u8, u8) {
    (key.send, key.receive)
}

impl Keys {
    /// Gives a connection the keys that are wanted, in place of those that are `altered` or wanted no longer, as far as they are not in use.
    fn roll(
        &mut self,
        connection: &Connection,
        (peers, wanted): (IpNet, &[AoKey]),
        altered: &[(u8, u8)],
    ) -> io::Result<Rolled> {
        let socket = connection.stream().as_fd();
        let held = ao::held(socket)?;
        let mut rolled = Rolled { signing: held.iter().find(|key| key.signs).map(numbers), ..Rolled::default() };
        let mut known: Vec<(u8, u8)> = held.iter().map(numbers).collect();
        for key in &held {
            let is_wanted = wanted.iter().any(|wanted| (wanted.send, wanted.receive) == numbers(key));
            let is_altered = altered.contains(&numbers(key));
            match (is_wanted, is_altered) {
                (true, false) => continue,
                (true, true) if key.in_use() => rolled.kept.push(numbers(key)),
                (false, _) if key.in_use() => {}
                _ => {
                    ao::remove(socket, key.peers, numbers(key))?;
                    rolled.shortened = true;
                    known.retain(|known| *known != numbers(key));
                }
            }
        }
        for key in wanted {
            if known.contains(&(key.send, key.receive)) {
                continue;
            }
            match self.give(socket, peers, (key, Turn::Known)) {
                Ok(()) => known.push((key.send, key.receive)),
                Err(why) => tracing::debug!("a connection with {peers} goes on with the keys that it has: {why}"),
            }
        }
        let first = wanted.iter().find(|key| known.contains(&(key.send, key.receive)));
        let asked = held.iter().find(|key| key.asked_for).map(|key| key.receive);
        if let Some(first) = first.filter(|first| Some(first.receive) != asked) {
            ao::ask_for(socket, first.receive)?;
        }
        Ok(rolled)
    }
}

impl Seat {
    fn open(&self) -> Vec<Rc<Connection>> {
        Side::ALL.into_iter().filter_map(|side| self.connection(side).cloned()).collect()
    }

    fn rolling(&self) -> Option<(IpNet, Vec<AoKey>)> {
        match (self.signed_for(), &self.neighbour.authentication) {
            (Some(peers), Some(Authentication::Ao(keys))) => Some((peers, keys.clone())),
            _ => None,
        }
    }

    /// How its segments are signed, in a sentence; and what is the matter with that, in another.
    pub(in crate::bgp) fn signature(&self) -> (Option<String>, Option<String>) {
        let Some((_, wanted)) = self.rolling() else { return (None, None) };
        let held = self.open().first().and_then(|connection| ao::held(connection.stream().as_fd()).ok());
        let held = held.unwrap_or_default();
        let (signs, asked) = (held.iter().find(|key| key.signs), held.iter().find(|key| key.asked_for));
        let (Some(signs), Some(asked)) = (signs, asked) else { return (None, None) };
        let said = format!("TCP-AO: the peer asked for key {}, and is asked for key {}", signs.send, asked.receive);
        let old =
            held.iter().find(|key| key.in_use() && !wanted.iter().any(|it| (it.send, it.receive) == numbers(key)));
        let note = old.map(|key| {
            let (send, receive) = numbers(key);
            format!("its key {send}:{receive} is wanted no longer, and stays in use until the peer asks for another")
        });
        (Some(said), note)
    }
}

impl Shell {
    /// Goes on with the keys of all connections: a peer may have moved to a new one, so that an old one can go.
    pub(in crate::bgp) fn roll_keys(&mut self) {
        let signed = self.roster.seats().filter(|(_, seat)| seat.rolling().is_some());
        let ids: Vec<PeerId> = signed.map(|(id, _)| id).collect();
        let mut shortened = 0;
        for id in ids {
            shortened += usize::from(self.roll(id, &[]));
            if shortened == AT_ONCE {
                return;
            }
        }
    }

    /// Makes the keys of a peer's connections those that are wanted; `altered` are other ones than before under the same numbers. Whether any was taken
    /// away.
    pub(in crate::bgp) fn roll(&mut self, id: PeerId, altered: &[(u8, u8)]) -> bool {
        let mut shortened = false;
        let Some(seat) = self.roster.seat_mut(id) else { return false };
        let Some((peers, wanted)) = seat.rolling() else { return false };
        let label = seat.label();
        for connection in seat.open() {
            let rolled = match self.keys.roll(&connection, (peers, &wanted), altered) {
                Ok(rolled) => rolled,
                // A connection that has just ended has no keys to be changed.
                Err(error) => {
                    tracing::debug!("the keys of a connection with {label} stay as they are: {error}");
                    continue;
                }
            };
            shortened |= rolled.shortened;
            for (send, receive) in rolled.kept {
                tracing::warn!(
                    "BGP session with {label} goes on with the key {send}:{receive} as it was: one that is in use does not change under a session. \
                     To change it without an interruption, add a key with other numbers"
                );
            }
            let before = rolled.signing.and_then(|signing| seat.signing.replace(signing));
            if let Some((send, receive)) = rolled.signing.filter(|now| seat.up && before.is_some_and(|old| old != *now))
            {
                tracing::info!("BGP session with {label} goes on with the key {send}:{receive} of TCP-AO");
            }
        }
        shortened
    }
}
