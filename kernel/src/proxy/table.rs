//! Which peer has which subnet: the proxy's routing table.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// Subnets and the peers that have them. Subnets of standing leases do not overlap.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    /// First and last address, and the peer; in order.
    rows: Vec<(Ipv4Addr, Ipv4Addr, Ipv4Addr)>,
}

impl Table {
    /// A subnet has a peer from now on, or none.
    pub fn set(&mut self, subnet: Ipv4Net, peer: Option<Ipv4Addr>) {
        let (first, last) = (subnet.network(), subnet.broadcast());
        match (self.rows.binary_search_by_key(&(first, last), |(first, last, _)| (*first, *last)), peer) {
            (Ok(at), Some(peer)) => self.rows.splice(at..=at, [(first, last, peer)]).for_each(drop),
            (Ok(at), None) => drop(self.rows.remove(at)),
            (Err(at), Some(peer)) => self.rows.insert(at, (first, last, peer)),
            (Err(_), None) => {}
        }
    }

    /// Who has an address.
    pub fn peer(&self, address: Ipv4Addr) -> Option<Ipv4Addr> {
        let after = self.rows.partition_point(|(first, ..)| *first <= address);
        let (_, last, peer) = self.rows.get(after.checked_sub(1)?)?;
        (address <= *last).then_some(*peer)
    }
}
