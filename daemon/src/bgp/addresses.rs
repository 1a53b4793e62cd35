//! [`Addresses`]: what we are called on a connection, in both families: its own end, and for routes of the other family an address of
//! the same link (RFC 4760 section 3, RFC 2545 section 3).
//!
//! The node's addresses are read when a connection comes and they are not known well enough, at most once a second; and now and then, for a connection
//! may live on while they change.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use backends::state::LinkName;
use bgp::machine::collision::Side;
use bgp::rib::PeerId;
use bgp::speaker::LocalAddresses;
use kernel::inventory::{AddressScope, Interface, InterfaceAddress};

use super::roster::Seat;
use super::shell::Shell;

/// For so long what was read is good enough.
const FRESH: Duration = Duration::from_secs(1);

/// The node's links with their addresses.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    links: Vec<Interface>,
    read: Option<Instant>,
}

impl Addresses {
    /// Our addresses on a connection.
    pub fn of(&mut self, local: SocketAddr, seat: Option<&Seat>) -> LocalAddresses {
        let own = local.ip();
        if !self.has(own) || self.read.is_none_or(|read| read.elapsed() > FRESH) {
            self.read();
        }
        let named = seat.and_then(Seat::link);
        let link = self.links.iter().find(|link| match named {
            Some(name) => link.name == name,
            None => has(link, own),
        });
        let v4 = link.and_then(|link| link.addresses.iter().find_map(global_v4)).or_else(|| {
            // Whoever has no numbers on the link is reached by its link-local address, which such peers agree upon (RFC 8950).
            named.is_none().then_some(())?;
            // An address of the host itself, as nodes of a fabric without numbers have it.
            let of_host = self.links.iter().filter(|link| link.loopback).flat_map(|link| &link.addresses);
            of_host.into_iter().find_map(global_v4)
        });
        let global = link.and_then(|link| link.addresses.iter().find_map(global_v6));
        let local_v6 = link.and_then(|link| link.addresses.iter().find_map(link_local));
        match own {
            IpAddr::V4(own) => LocalAddresses { v4: Some(own), v6: global.map(|global| (global, local_v6)) },
            // A lone link-local address stands in both places (RFC 2545 section 3 has it second; peers of one link take it so).
            IpAddr::V6(own) if own.is_unicast_link_local() => {
                LocalAddresses { v4, v6: Some((global.unwrap_or(own), Some(own))) }
            }
            IpAddr::V6(own) => LocalAddresses { v4, v6: Some((own, local_v6)) },
        }
    }

    /// The link with an index.
    pub fn link(&mut self, index: u32) -> Option<LinkName> {
        if !self.links.iter().any(|link| link.index == index) {
            self.read();
        }
        self.links.iter().find(|link| link.index == index).map(|link| link.name)
    }

    /// The index of a link, as it is now.
    pub fn index(&mut self, name: LinkName) -> Option<u32> {
        self.read();
        self.links.iter().find(|link| link.name == name).map(|link| link.index)
    }

    /// Reads the node's links anew.
    pub fn refresh(&mut self) {
        self.read();
    }

    /// The index of a link as it was last read.
    pub fn known_index(&self, name: LinkName) -> Option<u32> {
        self.links.iter().find(|link| link.name == name && link.up).map(|link| link.index)
    }

    fn has(&self, address: IpAddr) -> bool {
        self.links.iter().any(|link| has(link, address))
    }

    fn read(&mut self) {
        self.read = Some(Instant::now());
        match kernel::inventory::interfaces() {
            Ok(links) => self.links = links,
            Err(error) => tracing::warn!("{error}; BGP goes on with the addresses that it knew"),
        }
    }
}

impl Shell {
    /// Tells peers where this node is now, if its addresses are others than when their sessions began.
    pub(super) fn readdress(&mut self, now: Duration) {
        let before = std::mem::take(&mut self.addresses.links);
        self.addresses.read();
        if before == self.addresses.links {
            return;
        }
        let ids: Vec<PeerId> = self.roster.seats().filter(|(_, seat)| seat.up).map(|(id, _)| id).collect();
        for id in ids {
            let Some(seat) = self.roster.seat(id) else { continue };
            let connection = Side::ALL.into_iter().find_map(|side| seat.connection(side));
            let Some(Ok(own)) = connection.map(|connection| connection.stream().local_addr()) else { continue };
            // One whose own address is gone ends by itself, or goes on when that is back.
            if !self.addresses.has(own.ip()) {
                continue;
            }
            let local = self.addresses.of(own, Some(seat));
            if self.speaker.readdress(id, local, now) {
                tracing::info!("BGP: {} is told that this node's addresses are others now", seat.label());
            }
        }
    }
}

fn has(link: &Interface, address: IpAddr) -> bool {
    link.addresses.iter().any(|its| its.net.addr() == address)
}

fn global_v4(address: &InterfaceAddress) -> Option<std::net::Ipv4Addr> {
    match address.net.addr() {
        IpAddr::V4(v4) if address.scope == AddressScope::Global => Some(v4),
        _ => None,
    }
}

fn global_v6(address: &InterfaceAddress) -> Option<Ipv6Addr> {
    let usable = !address.tentative && !address.temporary && !address.deprecated;
    match address.net.addr() {
        IpAddr::V6(v6) if address.scope == AddressScope::Global && usable => Some(v6),
        _ => None,
    }
}

fn link_local(address: &InterfaceAddress) -> Option<Ipv6Addr> {
    match address.net.addr() {
        IpAddr::V6(v6) if v6.is_unicast_link_local() && !address.tentative => Some(v6),
        _ => None,
    }
}
