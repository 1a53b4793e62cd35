//! BMP: what a monitoring station is told of sessions and routes (RFC 7854; the best routes, RFC 9069; what peers are told, RFC 8671).
//!
//! Messages only. Who is told what, and when, is the business of whoever has the sockets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use crate::wire::terms::AsWidth;
use crate::wire::{Capability, Family, Open, message};

/// The version of BMP (RFC 7854 section 4.1).
const VERSION: u8 = 3;
/// Bytes of a string that is told, at most: a station need not take more than it would show.
const LONGEST_TEXT: usize = 255;

/// Message types (RFC 7854 section 10.1).
mod kind {
    pub const ROUTE_MONITORING: u8 = 0;
    pub const STATISTICS_REPORT: u8 = 1;
    pub const PEER_DOWN: u8 = 2;
    pub const PEER_UP: u8 = 3;
    pub const INITIATION: u8 = 4;
    pub const TERMINATION: u8 = 5;
}

/// Information TLVs of initiation and termination (RFC 7854 sections 4.4 and 4.5), and of a Loc-RIB's peer up (RFC 9069 section 5.3).
mod information {
    pub const DESCRIPTION: u16 = 1;
    pub const NAME: u16 = 2;
    pub const REASON: u16 = 1;
    pub const TABLE: u16 = 3;
}

/// Whose view a message is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// What a peer said, before policy: Adj-RIB-In.
    Peer {
        /// Its address.
        address: IpAddr,
        /// Octets of AS numbers in its UPDATEs (RFC 7854 section 4.2, the A flag).
        width: AsWidth,
    },
    /// What a peer is told: Adj-RIB-Out (RFC 8671 section 4).
    Told {
        /// Its address.
        address: IpAddr,
        /// Octets of AS numbers in the UPDATEs to it.
        width: AsWidth,
        /// Before or after policy.
        stage: Stage,
    },
    /// What this speaker chose: Loc-RIB (RFC 9069 section 4.1).
    Chosen,
}

/// How far what a peer is told has come (RFC 8671 section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// What it would be told if the export policy accepted everything as it is.
    BeforePolicy,
    /// What it is told.
    AfterPolicy,
}

/// The header of all that is said of one view (RFC 7854 section 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerHeader {
    /// Whose view.
    pub view: View,
    /// The AS: the peer's; of what was chosen, ours.
    pub asn: u32,
    /// The BGP identifier, likewise.
    pub identifier: Ipv4Addr,
    /// When, since the epoch; zero where that is not known.
    pub at: Duration,
}

/// Why a session ended (RFC 7854 section 4.9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// We ended it with this NOTIFICATION, a whole message.
    Said(Vec<u8>),
    /// The peer did, with this one.
    Heard(Vec<u8>),
    /// The connection was closed, or broke.
    Closed,
    /// It is no longer told of; whether there is a session is not said (`Peer de-configured`).
    Forgotten,
}

/// A number of a peer's (RFC 7854 section 4.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistic {
    /// Routes of the peer that are kept, a gauge: those that policy let pass.
    RoutesIn(u64),
    /// Routes in the Loc-RIB, a gauge.
    RoutesChosen(u64),
    /// Routes that the peer is told, a gauge (RFC 8671 section 6.2).
    RoutesOut(u64),
}

/// The first message of a connection: who we are.
pub fn initiation(name: &str, description: &str) -> Vec<u8> {
    whole(kind::INITIATION, |out| {
        text(information::DESCRIPTION, description, out);
        text(information::NAME, name, out);
    })
}

/// The last: that we end it on purpose (reason 0, administratively closed).
pub fn termination() -> Vec<u8> {
    whole(kind::TERMINATION, |out| tlv(information::REASON, &0_u16.to_be_bytes(), out))
}

/// A session is up: its ends, and both OPENs as they went over the wire.
pub fn peer_up(
    header: &PeerHeader,
    (local, remote): (SocketAddr, SocketAddr),
    [sent, received]: [&[u8]; 2],
) -> Vec<u8> {
    whole(kind::PEER_UP, |out| {
        header.write(out);
        sixteen(local.ip(), out);
        out.extend_from_slice(&local.port().to_be_bytes());
        out.extend_from_slice(&remote.port().to_be_bytes());
        out.extend_from_slice(sent);
        out.extend_from_slice(received);
    })
}

/// The view of what was chosen begins: both OPENs are made up, and say which families there are (RFC 9069 section 5.1).
pub fn table_up(header: &PeerHeader) -> Vec<u8> {
    let capabilities = Family::ALL.into_iter().map(Capability::MultiProtocol);
    let others = [Capability::FourOctetAs(header.asn), Capability::ExtendedNextHop(vec![(Family::IPV4, 2)])];
    let open = Open {
        asn: header.asn,
        hold_secs: 0,
        identifier: header.identifier,
        capabilities: capabilities.chain(others).collect(),
    };
    let open = message::open(&open);
    whole(kind::PEER_UP, |out| {
        header.write(out);
        out.extend_from_slice(&[0; 20]);
        out.extend_from_slice(&open);
        out.extend_from_slice(&open);
        text(information::TABLE, "main", out);
    })
}

/// A session is down.
pub fn peer_down(header: &PeerHeader, end: &End) -> Vec<u8> {
    whole(kind::PEER_DOWN, |out| {
        header.write(out);
        match end {
            End::Said(notification) => {
                out.push(1);
                out.extend_from_slice(notification);
            }
            End::Heard(notification) => {
                out.push(3);
                out.extend_from_slice(notification);
            }
            End::Closed => out.push(4),
            End::Forgotten => out.push(5),
        }
    })
}

/// Routes: an UPDATE as it stood on the wire, or as it would.
pub fn route_monitoring(header: &PeerHeader, update: &[u8]) -> Vec<u8> {
    whole(kind::ROUTE_MONITORING, |out| {
        header.write(out);
        out.extend_from_slice(update);
    })
}

/// Numbers of a view.
pub fn statistics(header: &PeerHeader, statistics: &[Statistic]) -> Vec<u8> {
    whole(kind::STATISTICS_REPORT, |out| {
        header.write(out);
        out.extend_from_slice(&(statistics.len() as u32).to_be_bytes());
        for statistic in statistics {
            let (number, value) = match *statistic {
                Statistic::RoutesIn(routes) => (7_u16, routes),
                Statistic::RoutesChosen(routes) => (8, routes),
                Statistic::RoutesOut(routes) => (15, routes),
            };
            tlv(number, &value.to_be_bytes(), out);
        }
    })
}

impl PeerHeader {
    /// Of what the same peer is told.
    pub fn told(self, stage: Stage) -> PeerHeader {
        match self.view {
            View::Peer { address, width } => PeerHeader { view: View::Told { address, width, stage }, ..self },
            View::Told { .. } | View::Chosen => self,
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        let (number, flags, address) = match self.view {
            View::Peer { address, width } => (0, flags(address, width), address),
            View::Told { address, width, stage } => {
                let l = if stage == Stage::AfterPolicy { 0x40 } else { 0 };
                (0, flags(address, width) | l | 0x10, address)
            }
            View::Chosen => (3, 0, Ipv6Addr::UNSPECIFIED.into()),
        };
        out.extend_from_slice(&[number, flags]);
        out.extend_from_slice(&[0; 8]);
        sixteen(address, out);
        out.extend_from_slice(&self.asn.to_be_bytes());
        out.extend_from_slice(&self.identifier.octets());
        // 32 bits until 2106, as the RFC has it.
        out.extend_from_slice(&(self.at.as_secs() as u32).to_be_bytes());
        out.extend_from_slice(&self.at.subsec_micros().to_be_bytes());
    }
}

/// The flags V and A (RFC 7854 section 4.2).
fn flags(address: IpAddr, width: AsWidth) -> u8 {
    (if address.is_ipv6() { 0x80 } else { 0 }) | (if width == AsWidth::Two { 0x20 } else { 0 })
}

/// IPv4 in the last four of sixteen octets.
fn sixteen(address: IpAddr, out: &mut Vec<u8>) {
    match address {
        IpAddr::V4(v4) => {
            out.extend_from_slice(&[0; 12]);
            out.extend_from_slice(&v4.octets());
        }
        IpAddr::V6(v6) => out.extend_from_slice(&v6.octets()),
    }
}

fn text(number: u16, value: &str, out: &mut Vec<u8>) {
    let whole = (0..=LONGEST_TEXT).rev().find_map(|end| value.get(..end.min(value.len())));
    tlv(number, whole.unwrap_or_default().as_bytes(), out);
}

fn tlv(number: u16, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&number.to_be_bytes());
    out.extend_from_slice(&(value.len() as u16).to_be_bytes());
    out.extend_from_slice(value);
}

/// Version, length of the whole, type; then the rest.
fn whole(number: u8, write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = vec![VERSION, 0, 0, 0, 0, number];
    write(&mut out);
    let length = (out.len() as u32).to_be_bytes();
    out.iter_mut().skip(1).zip(length).for_each(|(place, octet)| *place = octet);
    out
}

#[cfg(test)]
mod tests;
