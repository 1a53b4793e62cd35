//! WireGuard devices: what they and their peers are set to, changing them in bulk, and how their sessions go ([`Session`]).
//!
//! The devices' private keys are in [`Hand`]'s keyring and nowhere else; plans name them by their public halves. One peer a
//! message, so that a refusal is known by its peer, and many messages a datagram.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::{Duration, SystemTime};

use backends::LinkName;
use backends::plan::Change;
use backends::state::{KernelState, LinkKind, PeerKey, WireGuard};
use ipam::{PublicKey, SecretKey};

use crate::codec::wireguard::{Entry, NAME, PeerEntry};
use crate::codec::{generic, wireguard as codec};
use crate::error::{Error, Refusal, Result};
use crate::hand::Hand;
use crate::netlink::batch::Refused;
use crate::netlink::{Batch, Protocol, Request, Socket};

/// What a kernel lacks that does not know the kind.
pub(crate) const NO_WIREGUARD: &str =
    "WireGuard: it needs Linux 5.6 and the module wireguard, or CONFIG_WIREGUARD built in";

/// How the session with a peer goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Device and key.
    pub peer: PeerKey,
    /// Where its packets are sent to.
    pub remote: Option<SocketAddr>,
    /// How long ago the last handshake was completed; `None`: never.
    pub handshake: Option<Duration>,
    /// Octets received.
    pub received: u64,
    /// Octets sent.
    pub sent: u64,
}

/// The socket for WireGuard's messages, opened when the first device is looked at, and the private keys.
#[derive(Debug, Default)]
pub(crate) struct Keyring {
    family: Option<(Socket, u16)>,
    private: BTreeMap<PublicKey, SecretKey>,
}

impl Keyring {
    fn family(&mut self) -> Result<(&mut Socket, u16)> {
        let (mut socket, number) = match self.family.take() {
            Some(known) => known,
            None => (Socket::open(Protocol::Generic)?, 0),
        };
        let number = if number == 0 { look_up(&mut socket)? } else { number };
        let (socket, number) = self.family.insert((socket, number));
        Ok((socket, *number))
    }
}

fn look_up(socket: &mut Socket) -> Result<u16> {
    let doing = "looking for WireGuard in the kernel";
    let request = Request { kind: generic::CONTROL, flags: 0, doing };
    match socket.query(&request, |body| generic::family(body, NAME)) {
        Ok(mut answers) => answers
            .find_map(|answer| generic::number(&answer))
            .ok_or_else(|| Error::Malformed { doing: doing.to_owned(), what: "no family number in it" }),
        Err(Error::Refused { doing, refusal }) if refusal.errno == libc::ENOENT => {
            Err(Error::Unsupported { doing, feature: NO_WIREGUARD, refusal })
        }
        Err(error) => Err(error),
    }
}

impl Hand {
    /// Takes a private key that a device may be given: the one whose public half a plan names.
    pub fn keep_key(&mut self, public: PublicKey, private: SecretKey) {
        self.keyring.private.insert(public, private);
    }

    /// Forgets one that no device needs any more.
    pub fn forget_key(&mut self, public: PublicKey) {
        self.keyring.private.remove(&public);
    }

    /// How the sessions of these devices go. `wg show all dump`
    ///
    /// # Errors
    /// When a list cannot be had; a device that is gone has none.
    pub fn sessions(&mut self, links: &[LinkName]) -> Result<Vec<Session>> {
        let now = since_1970();
        let mut sessions = Vec::new();
        for link in links {
            let Some(index) = self.index.link(*link) else { continue };
            self.device(index, |peer| {
                sessions.push(Session {
                    peer: PeerKey { link: *link, key: peer.key },
                    remote: peer.remote,
                    handshake: peer.handshake.map(|at| now.saturating_sub(at)),
                    received: peer.received,
                    sent: peer.sent,
                });
            })?;
        }
        Ok(sessions)
    }

    /// Fills in what devices of the kind are set to, and their peers.
    pub(crate) fn tunnels(&mut self, state: &mut KernelState) -> Result<()> {
        let now = since_1970();
        let mut peers = BTreeMap::new();
        for (name, link) in &mut state.links {
            let (LinkKind::Other(kind), Some(index)) = (&link.kind, self.index.link(*name)) else { continue };
            if kind != NAME {
                continue;
            }
            let tag = link.tag;
            let device = self.device(index, |entry| {
                peers.insert(PeerKey { link: *name, key: entry.key }, entry.peer(now, tag));
            })?;
            if let Some(device) = device {
                link.kind = LinkKind::WireGuard(device);
            }
        }
        state.peers = peers;
        Ok(())
    }

    /// Reads one device, peer by peer; `None` when it is gone.
    fn device(&mut self, index: u32, mut each: impl FnMut(PeerEntry)) -> Result<Option<WireGuard>> {
        let (socket, kind) = self.keyring.family()?;
        let request = Request { kind, flags: 0, doing: "listing the peers of a WireGuard device" };
        let messages = match socket.dump(&request, |body| codec::of_link(body, index)) {
            Err(Error::Refused { refusal, .. }) if [libc::ENODEV, libc::EOPNOTSUPP].contains(&refusal.errno) => {
                return Ok(None);
            }
            other => other?,
        };
        let (mut device, mut last): (Option<WireGuard>, Option<PeerEntry>) = (None, None);
        for entry in messages.map(|message| Entry::read(&message)) {
            device.get_or_insert_with(|| entry.device());
            for peer in entry.peers() {
                match &mut last {
                    // What did not fit goes on in the next message (`wg_get_device_dump`).
                    Some(before) if before.key == peer.key => before.allowed.extend(peer.allowed),
                    _ => last.replace(peer).into_iter().for_each(&mut each),
                }
            }
        }
        last.into_iter().for_each(each);
        socket.rest();
        Ok(device)
    }

    /// Sets a device's port and, where it has another, its key.
    pub(crate) fn set_tunnel(
        &mut self,
        (index, doing): (u32, &str),
        from: Option<&WireGuard>,
        to: &WireGuard,
    ) -> Result<()> {
        let private = match to.key.filter(|key| from.is_none_or(|from| from.key != Some(*key))) {
            Some(key) => Some(self.keyring.private.get(&key).copied().ok_or_else(|| no_private_key(doing, &key))?),
            None => None,
        };
        let (socket, kind) = self.keyring.family()?;
        self.writes += 1;
        socket
            .request(&Request { kind, flags: 0, doing }, |body| codec::set_device(body, index, (to, private.as_ref())))
    }

    /// Sends the changes of peers at these places and gives what was refused.
    pub(crate) fn set_peers(&mut self, changes: &[Change], places: Range<usize>) -> Vec<Refused> {
        let all = |refusal: Refusal| places.clone().map(|key| Refused { key, refusal: refusal.clone() }).collect();
        let (socket, kind) = match self.keyring.family() {
            Ok(family) => family,
            Err(error) => return all(Refusal { errno: error.errno(), words: Some(error.to_string()) }),
        };
        let mut batch = Batch::new(socket);
        let mut missing = Vec::new();
        for at in places.clone() {
            let link = match &changes[at] {
                Change::PeerSet { key, .. } | Change::PeerDelete(key) => key.link,
                _ => continue,
            };
            let Some(index) = self.index.link(link) else {
                let refusal = Refusal { errno: libc::ENODEV, words: Some(format!("there is no link {link}")) };
                missing.push(Refused { key: at, refusal });
                continue;
            };
            self.writes += 1;
            match &changes[at] {
                Change::PeerSet { key, from, to } => {
                    let change = (from.as_deref(), &**to);
                    batch.push(at, (kind, 0), |body| codec::set_peer(body, (index, &key.key), change));
                }
                Change::PeerDelete(key) => batch.push(at, (kind, 0), |body| codec::delete_peer(body, index, &key.key)),
                _ => {}
            }
        }
        let mut refused = batch.finish();
        // A peer that is to go has gone with its device.
        let gone = |at: usize, errno| errno == libc::ENODEV && matches!(changes[at], Change::PeerDelete(_));
        refused.extend(missing);
        refused.retain(|refused| !gone(refused.key, refused.refusal.errno));
        refused.sort_by_key(|refused| refused.key);
        refused
    }
}

fn no_private_key(doing: &str, key: &PublicKey) -> Error {
    let words = format!("the private key that belongs to {key} is not known to this process");
    Error::Refused { doing: doing.to_owned(), refusal: Refusal { errno: libc::ENOKEY, words: Some(words) } }
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
