//! The udp backend's part of the state: who is behind its TUN device ([`Proxy`]) and what it sends where ([`RelayKey`] → the
//! peer's address). The kernel holds the device alone; the rest is the running daemon's, and is observed and changed as if it
//! were the kernel's.

use std::net::SocketAddrV4;

use ipnet::Ipv4Net;

use super::LinkName;

/// The proxy behind a TUN device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// The address that it receives at and sends from; peers have the same port.
    pub local: SocketAddrV4,
    /// This node's own subnet: what comes is for it, or for nobody.
    pub subnet: Ipv4Net,
}

/// Whose packets go in datagrams to a peer. IPv4 alone: flannel's udp backend has no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelayKey {
    /// The TUN device.
    pub link: LinkName,
    /// The peer's subnet.
    pub subnet: Ipv4Net,
}
