//! WireGuard's part of the state: the device ([`WireGuard`]) and its peers ([`PeerKey`] → [`Peer`]).
//!
//! Private keys are not in it: a device is told apart by its public key, and whoever applies a plan has the private one.

use std::net::SocketAddr;

use ipam::{PublicKey, SecretKey};
use ipnet::IpNet;

use super::{LinkName, Tag};

/// A WireGuard device's own attributes (`wg show`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireGuard {
    /// UDP port that it listens on.
    pub port: u16,
    /// The public half of its key; `None` of a device that was given none yet. Always there in a desired state.
    pub key: Option<PublicKey>,
    /// The mark on what it sends (`fwmark`); ours have none.
    pub mark: u32,
}

/// What identifies a peer in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerKey {
    /// The device.
    pub link: LinkName,
    /// The peer's key.
    pub key: PublicKey,
}

/// Where a peer's packets are sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remote {
    /// Nowhere yet: it has to speak first.
    Unknown,
    /// Where its lease says; observed: where it was, and nothing came from there of late.
    Told(SocketAddr),
    /// Where the peer itself spoke from not long ago, and proved that it was it (roaming): never desired. It is better than any
    /// lease, which may be older, or know nothing of a NAT before the node.
    Proven(SocketAddr),
}

impl Remote {
    /// Whether what is there may stay where this is desired.
    pub fn serves(&self, desired: &Remote) -> bool {
        matches!(self, Remote::Proven(_)) || *desired == Remote::Unknown || self == desired
    }

    /// The address and port.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Remote::Unknown => None,
            Remote::Told(address) | Remote::Proven(address) => Some(*address),
        }
    }
}

/// A peer of a WireGuard device: `wg set LINK peer KEY endpoint … persistent-keepalive … allowed-ips …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Where its packets are sent to.
    pub remote: Remote,
    /// Seconds between packets that keep a NAT's mapping alive; 0: none.
    pub keepalive_secs: u16,
    /// The key that both have beside their own.
    pub preshared: Option<SecretKey>,
    /// What it may send from and is sent, in order and once each. A prefix is one peer's of a device: who gets it takes it away
    /// from whoever had it, in one step.
    pub allowed: Vec<IpNet>,
    /// Whose it is.
    pub tag: Tag,
}

impl Peer {
    /// Whether it needs no change to be the desired one.
    pub fn serves(&self, desired: &Peer) -> bool {
        self.remote.serves(&desired.remote)
            && self.keepalive_secs == desired.keepalive_secs
            && self.preshared == desired.preshared
            && self.allowed == desired.allowed
    }
}
