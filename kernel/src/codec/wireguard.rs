//! WireGuard devices and their peers: the family `wireguard` of generic netlink (include/uapi/linux/wireguard.h), and the kind of
//! link, which has no attributes of its own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use backends::LinkName;
use backends::state::{Link, Peer, Remote, Tag, WireGuard};
use ipam::{PublicKey, SecretKey};
use ipnet::IpNet;

use super::generic;
use super::link::{INFO, INFO_KIND, head};
use crate::netlink::{Attribute, Attributes, Body, Message};

/// The family's name, and what `IFLA_INFO_KIND` says.
pub const NAME: &str = "wireguard";
const VERSION: u8 = 1;
const GET_DEVICE: u8 = 0;
const SET_DEVICE: u8 = 1;

/// `WGDEVICE_A_*`
const DEVICE_INDEX: u16 = 1;
const DEVICE_PRIVATE_KEY: u16 = 3;
const DEVICE_PUBLIC_KEY: u16 = 4;
const DEVICE_PORT: u16 = 6;
const DEVICE_MARK: u16 = 7;
const DEVICE_PEERS: u16 = 8;
/// `WGPEER_A_*`
const PEER_KEY: u16 = 1;
const PEER_PRESHARED: u16 = 2;
const PEER_FLAGS: u16 = 3;
const PEER_ENDPOINT: u16 = 4;
const PEER_KEEPALIVE: u16 = 5;
const PEER_HANDSHAKE: u16 = 6;
const PEER_RECEIVED: u16 = 7;
const PEER_SENT: u16 = 8;
const PEER_ALLOWED: u16 = 9;
/// `WGPEER_F_*`
const REMOVE: u32 = 1;
const REPLACE_ALLOWED: u32 = 2;
const UPDATE_ONLY: u32 = 4;
/// `WGALLOWEDIP_A_*`
const ALLOWED_FAMILY: u16 = 1;
const ALLOWED_ADDRESS: u16 = 2;
const ALLOWED_LENGTH: u16 = 3;

/// A new device: `ip link add NAME mtu N type wireguard`.
pub fn make(body: &mut Body<'_>, name: LinkName, link: &Link) {
    head(body, 0, (0, 0));
    body.text(libc::IFLA_IFNAME, name.as_str());
    body.u32(libc::IFLA_MTU, link.mtu);
    body.nest(INFO, |info| info.text(INFO_KIND, NAME));
}

/// Port, mark and, where it is given, private key. The kernel forgets all sessions when the key is another (`wg_set_device`), so it
/// is said only then. `wg set LINK listen-port N fwmark M private-key …`
pub fn set_device(body: &mut Body<'_>, index: u32, (wanted, private): (&WireGuard, Option<&SecretKey>)) {
    generic::head(body, SET_DEVICE, VERSION);
    body.u32(DEVICE_INDEX, index);
    if let Some(private) = private {
        body.bytes(DEVICE_PRIVATE_KEY, private.expose());
    }
    body.u16(DEVICE_PORT, wanted.port);
    body.u32(DEVICE_MARK, wanted.mark);
}

/// Makes a peer or changes the one that is there, saying only what differs. `wg set LINK peer KEY …`
pub fn set_peer(body: &mut Body<'_>, (index, key): (u32, &PublicKey), (from, to): (Option<&Peer>, &Peer)) {
    let gained = |net: &&IpNet| from.is_none_or(|from| !from.allowed.contains(net));
    let lost = from.is_some_and(|from| from.allowed.iter().any(|net| !to.allowed.contains(net)));
    let mut flags = if from.is_some() { UPDATE_ONLY } else { REPLACE_ALLOWED };
    if lost {
        // Kernels before 6.16 cannot take a single prefix away.
        flags |= REPLACE_ALLOWED;
    }
    peer(body, index, |peer| {
        peer.bytes(PEER_KEY, key.octets());
        peer.u32(PEER_FLAGS, flags);
        if from.is_none_or(|from| from.preshared != to.preshared) {
            peer.bytes(PEER_PRESHARED, to.preshared.unwrap_or(SecretKey::NONE).expose());
        }
        if let Some(remote) = to.remote.address().filter(|_| from.is_none_or(|from| !from.remote.serves(&to.remote))) {
            peer.bytes(PEER_ENDPOINT, &socket_address(remote));
        }
        if from.is_none_or(|from| from.keepalive_secs != to.keepalive_secs) {
            peer.u16(PEER_KEEPALIVE, to.keepalive_secs);
        }
        let said: Vec<_> = to.allowed.iter().filter(|net| lost || gained(net)).collect();
        if !said.is_empty() {
            peer.nest(PEER_ALLOWED, |list| said.iter().for_each(|net| list.nest(0, |entry| allowed(entry, net))));
        }
    });
}

/// `wg set LINK peer KEY remove`
pub fn delete_peer(body: &mut Body<'_>, index: u32, key: &PublicKey) {
    peer(body, index, |peer| {
        peer.bytes(PEER_KEY, key.octets());
        peer.u32(PEER_FLAGS, REMOVE);
    });
}

/// A device with all its peers, as a list. `wg show LINK dump`
pub fn of_link(body: &mut Body<'_>, index: u32) {
    generic::head(body, GET_DEVICE, VERSION);
    body.u32(DEVICE_INDEX, index);
}

fn peer(body: &mut Body<'_>, index: u32, inside: impl FnOnce(&mut Body<'_>)) {
    generic::head(body, SET_DEVICE, VERSION);
    body.u32(DEVICE_INDEX, index);
    body.nest(DEVICE_PEERS, |peers| peers.nest(0, inside));
}

fn allowed(body: &mut Body<'_>, net: &IpNet) {
    body.u16(ALLOWED_FAMILY, super::family(net.addr()).into());
    body.address(ALLOWED_ADDRESS, net.network());
    body.u8(ALLOWED_LENGTH, net.prefix_len());
}

/// `struct sockaddr_in` or `sockaddr_in6`.
fn socket_address(address: SocketAddr) -> Vec<u8> {
    let mut octets = u16::from(super::family(address.ip())).to_ne_bytes().to_vec();
    octets.extend(address.port().to_be_bytes());
    match address.ip() {
        IpAddr::V4(v4) => {
            octets.extend(v4.octets());
            octets.extend([0; 8]);
        }
        IpAddr::V6(v6) => {
            octets.extend([0; 4]);
            octets.extend(v6.octets());
            octets.extend([0; 4]);
        }
    }
    octets
}

/// What one message of a device's list says. A device with many peers takes several, a peer with many prefixes too.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a>(Attributes<'a>);

impl<'a> Entry<'a> {
    /// Reads a list's message.
    pub fn read(message: &Message<'a>) -> Entry<'a> {
        Entry(message.attributes(generic::HEAD_OCTETS))
    }

    /// The device itself. What is a key is one even if it is of small order: the kernel made it of a private one.
    pub fn device(&self) -> WireGuard {
        WireGuard {
            port: self.0.get(DEVICE_PORT).and_then(|port| port.u16()).unwrap_or(0),
            key: self.0.get(DEVICE_PUBLIC_KEY).as_ref().and_then(key),
            mark: self.0.get(DEVICE_MARK).and_then(|mark| mark.u32()).unwrap_or(0),
        }
    }

    /// The peers.
    pub fn peers(&self) -> impl Iterator<Item = PeerEntry> + use<'a> {
        let list = self.0.get(DEVICE_PEERS).map(|peers| peers.nested()).unwrap_or_default();
        list.filter_map(|peer| PeerEntry::read(peer.nested()))
    }
}

/// A peer as the kernel lists it.
#[derive(Clone, Debug)]
pub struct PeerEntry {
    /// Its key.
    pub key: PublicKey,
    /// Where its packets are sent to.
    pub remote: Option<SocketAddr>,
    /// Seconds between keepalives.
    pub keepalive_secs: u16,
    /// The key beside the own ones.
    pub preshared: Option<SecretKey>,
    /// When the last handshake was completed, since 1970; `None`: never.
    pub handshake: Option<Duration>,
    /// Octets received.
    pub received: u64,
    /// Octets sent.
    pub sent: u64,
    /// What it may send from.
    pub allowed: Vec<IpNet>,
}

impl PeerEntry {
    fn read(attributes: Attributes<'_>) -> Option<PeerEntry> {
        let key = attributes.get(PEER_KEY).as_ref().and_then(key)?;
        let number = |kind| attributes.get(kind).and_then(|a| a.bytes.try_into().ok()).map_or(0, u64::from_ne_bytes);
        let preshared = attributes.get(PEER_PRESHARED).and_then(|a| a.bytes.try_into().ok()).map(SecretKey::new);
        let list = attributes.get(PEER_ALLOWED).map(|list| list.nested()).unwrap_or_default();
        Some(PeerEntry {
            key,
            remote: attributes.get(PEER_ENDPOINT).and_then(|a| read_socket_address(a.bytes)),
            keepalive_secs: attributes.get(PEER_KEEPALIVE).and_then(|a| a.u16()).unwrap_or(0),
            preshared: preshared.filter(|key| !key.is_none()),
            handshake: attributes.get(PEER_HANDSHAKE).and_then(|a| moment(a.bytes)),
            received: number(PEER_RECEIVED),
            sent: number(PEER_SENT),
            allowed: list.filter_map(|entry| read_allowed(entry.nested())).collect(),
        })
    }

    /// As part of a state, at a time since 1970.
    pub fn peer(self, now: Duration, tag: Tag) -> Peer {
        // A session that is in use makes a new handshake every two minutes, and is given up after three (`REJECT_AFTER_TIME`).
        const ALIVE: Duration = Duration::from_secs(180);
        let alive = self.handshake.is_some_and(|at| now.saturating_sub(at) < ALIVE);
        let remote = match self.remote {
            None => Remote::Unknown,
            Some(address) if alive => Remote::Proven(address),
            Some(address) => Remote::Told(address),
        };
        let mut allowed = self.allowed;
        allowed.sort_unstable();
        Peer { remote, keepalive_secs: self.keepalive_secs, preshared: self.preshared, allowed, tag }
    }
}

fn key(attribute: &Attribute<'_>) -> Option<PublicKey> {
    PublicKey::new(attribute.bytes.try_into().ok()?).ok()
}

fn read_allowed(attributes: Attributes<'_>) -> Option<IpNet> {
    let address = attributes.get(ALLOWED_ADDRESS)?.address()?;
    IpNet::new(address, attributes.get(ALLOWED_LENGTH)?.u8()?).ok()
}

/// `struct __kernel_timespec`; all zero is "never".
fn moment(bytes: &[u8]) -> Option<Duration> {
    let secs = i64::from_ne_bytes(bytes.get(..8)?.try_into().ok()?);
    let nanos = i64::from_ne_bytes(bytes.get(8..16)?.try_into().ok()?);
    let moment = Duration::new(u64::try_from(secs).ok()?, u32::try_from(nanos).ok().filter(|n| *n < 1_000_000_000)?);
    Some(moment).filter(|moment| !moment.is_zero())
}

fn read_socket_address(bytes: &[u8]) -> Option<SocketAddr> {
    let family = i32::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
    let port = u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?);
    let address = match family {
        libc::AF_INET => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(4..8)?).ok()?)),
        libc::AF_INET6 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes.get(8..24)?).ok()?)),
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::netlink::{Datagram, Header, Messages};

    fn peer_of(allowed: &[&str]) -> Peer {
        let remote = Remote::Told("[2001:db8::2]:51820".parse().unwrap());
        let allowed = allowed.iter().map(|net| net.parse().unwrap()).collect();
        Peer { remote, keepalive_secs: 25, preshared: Some(SecretKey::new([5; 32])), allowed, tag: Tag::Ours }
    }

    fn written(change: (Option<&Peer>, &Peer)) -> Vec<u8> {
        let mut datagram = Datagram::default();
        let key = PublicKey::new([9; 32]).unwrap();
        datagram.push(Header { kind: 30, flags: 0, sequence: 1 }, |body| set_peer(body, (7, &key), change));
        datagram.bytes().to_vec()
    }

    fn read(bytes: &[u8]) -> Vec<PeerEntry> {
        Messages::new(bytes).flat_map(|message| Entry::read(&message).peers()).collect()
    }

    #[test]
    fn a_peer_is_read_as_it_is_written() {
        let peer = peer_of(&["10.2.0.0/24", "fd00:2::/64"]);
        let entry = read(&written((None, &peer))).remove(0);
        assert_eq!(entry.key, PublicKey::new([9; 32]).unwrap());
        assert_eq!(entry.peer(Duration::ZERO, Tag::Ours), peer);
    }

    #[test]
    fn of_a_change_only_what_differs_is_said() {
        let (one, both) = (peer_of(&["10.2.0.0/24"]), peer_of(&["10.2.0.0/24", "10.3.0.0/24"]));
        let gained = read(&written((Some(&one), &both))).remove(0);
        assert_eq!((gained.remote, gained.preshared, gained.keepalive_secs), (None, None, 0));
        assert_eq!(gained.allowed, [both.allowed[1]], "what it had stays without being said");
        let lost = read(&written((Some(&both), &one))).remove(0);
        assert_eq!(lost.allowed, one.allowed, "one prefix alone cannot be taken away: all others are said anew");
        let roamed = Peer { remote: Remote::Proven("192.0.2.9:1".parse().unwrap()), ..one.clone() };
        assert_eq!(read(&written((Some(&roamed), &both))).remove(0).remote, None, "where it is, it has proven");
    }

    proptest! {
        #[test]
        fn any_octets_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..400), cut in 0_usize..200) {
            let _seen = read(&bytes);
            let mut altered = written((None, &peer_of(&["10.2.0.0/24"])));
            for (place, octet) in bytes.iter().enumerate().skip(16) {
                if let Some(there) = altered.get_mut(place) {
                    *there ^= octet & 0x11;
                }
            }
            altered.truncate(altered.len().saturating_sub(cut));
            let _seen = read(&altered);
        }
    }
}
