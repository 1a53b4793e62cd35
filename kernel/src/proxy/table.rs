//! Which peer has which subnet: the proxy's routing table, made anew from what it is told and never changed.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// Subnets and the peers that have them. Subnets of standing leases do not overlap.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// First and last address, and the peer; in order.
    rows: Vec<(Ipv4Addr, Ipv4Addr, Ipv4Addr)>,
}

impl Table {
    /// Of these.
    pub fn new(peers: impl IntoIterator<Item = (Ipv4Net, Ipv4Addr)>) -> Table {
        let mut rows: Vec<_> =
            peers.into_iter().map(|(subnet, peer)| (subnet.network(), subnet.broadcast(), peer)).collect();
        rows.sort_unstable();
        Table { rows }
    }

    /// Who has an address.
    pub fn peer(&self, address: Ipv4Addr) -> Option<Ipv4Addr> {
        let after = self.rows.partition_point(|(first, ..)| *first <= address);
        let (_, last, peer) = self.rows.get(after.checked_sub(1)?)?;
        (address <= *last).then_some(*peer)
    }
}
