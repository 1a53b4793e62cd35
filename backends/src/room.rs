//! [`Room`]: how large an outer packet may be: what this node can take, which it says in its lease, and what it may send, which is
//! what all nodes can take. Devices, pods and `subnet.env` follow the latter.
//!
//! Less is sent at once, more only when every lease says that its node can take it: a packet that is too large for an
//! underlay vanishes without a word. What a device receives is not limited by its own MTU, so to take more needs no step of its
//! own (`vxlan_rcv`, `ipip_rcv` and `wg_packet_consume_data_done` in the kernel look at no MTU).

use ipam::{Family, LeaseTable};

use crate::bgp::Encapsulation;
use crate::cluster::Backend;

/// How large an outer packet may be, octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// What this node takes.
    pub takes: u32,
    /// What it sends at most.
    pub sends: u32,
}

/// What this node knows of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Underlay {
    /// What the uplink carries.
    pub link: u32,
    /// What the configuration says that the underlay carries (`MTU`).
    pub configured: Option<u32>,
    /// What this node's lease has said.
    pub said: Option<u32>,
}

impl Room {
    /// With what the others say.
    ///
    /// Flannel's nodes say nothing. To begin with they are taken to carry what this node carries, as flannel does; but an increase
    /// waits for them, unless the configuration says it, which is their configuration too.
    pub fn new(underlay: Underlay, table: &LeaseTable, usable: impl Fn(u32) -> bool) -> Room {
        let Underlay { link, configured, said } = underlay;
        let silent = table.mtus().any(|mtu| mtu.is_none());
        let takes = match (configured, said) {
            (Some(configured), _) => link.min(configured),
            (None, Some(said)) if silent => link.min(said),
            (None, _) => link,
        };
        let least = table.mtus().flatten().find(|mtu| usable(*mtu));
        Room { takes, sends: least.map_or(takes, |least| least.min(takes)) }
    }
}

impl Backend {
    /// What the configuration says that the underlay carries, octets (`MTU`).
    pub fn configured_mtu(&self) -> Option<u32> {
        match self {
            Backend::Vxlan(settings) => settings.mtu,
            Backend::WireGuard(settings) => settings.mtu,
            Backend::Ipip(settings) => settings.mtu,
            Backend::Bgp(settings) => match &settings.encapsulation {
                Encapsulation::Never => None,
                Encapsulation::Vxlan(settings) | Encapsulation::CrossSubnet(settings) => settings.mtu,
                Encapsulation::Ipip(settings) => settings.mtu,
            },
            Backend::HostGw | Backend::Udp(_) | Backend::Extension(_) | Backend::Alloc => None,
        }
    }

    /// Whether packets of these families have enough room where outer ones have so many octets: any host takes 576 of IPv4
    /// (RFC 791 section 3.2), and there is no IPv6 below 1280 (RFC 8200 section 5).
    pub fn has_room(&self, mut families: impl Iterator<Item = Family>, outer: u32) -> bool {
        families.all(|family| self.mtu(family, outer) >= least(family))
    }
}

/// Octets that every link of a family must carry for pods.
pub fn least(family: Family) -> u32 {
    match family {
        Family::V4 => 576,
        Family::V6 => 1280,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ipam::table::Record;
    use ipam::{BackendData, Carrier, Endpoint, Lease, LeaseKey, NodeName, Rollout, Stack};

    use super::*;

    fn table(said: &[Option<u32>]) -> LeaseTable {
        let mut table = LeaseTable::default();
        for (number, mtu) in said.iter().enumerate() {
            let rollout = Rollout { mtu: *mtu, ..Rollout::settled(Carrier::new("host-gw").unwrap(), 0) };
            let data = BackendData::Other("host-gw".into());
            let subnet = format!("10.244.{number}.0/24").parse().unwrap();
            let public = format!("192.0.2.{}", number + 1).parse().unwrap();
            let endpoints = Stack::V4(Endpoint { subnet, public, data });
            let (key, node) = (LeaseKey::new(&number.to_string()), NodeName::new(&format!("n{number}")).unwrap());
            let rollout = mtu.map(|_| Box::new(rollout));
            table.apply(Record::Lease(Lease { key, node, since: 0, endpoints, rollout }));
        }
        table
    }

    fn room(underlay: (u32, Option<u32>, Option<u32>), others: &[Option<u32>]) -> (u32, u32) {
        let underlay = Underlay { link: underlay.0, configured: underlay.1, said: underlay.2 };
        let room = Room::new(underlay, &table(others), |mtu| mtu >= 626);
        (room.takes, room.sends)
    }

    #[test]
    fn less_at_once_and_more_when_all_take_it() {
        let jumbo = (9000, None, Some(1500));
        for (underlay, others, expected) in [
            ((1500, None, None), vec![], (1500, 1500)),
            ((1400, None, Some(1500)), vec![Some(1500)], (1400, 1400)),
            ((1500, None, Some(1500)), vec![Some(1500), Some(1400)], (1500, 1400)),
            (jumbo, vec![Some(9000), Some(1500)], (9000, 1500)),
            (jumbo, vec![Some(9000), Some(9000)], (9000, 9000)),
            // What leaves pods nothing is a fault of that lease.
            ((1500, None, None), vec![Some(100), Some(1450)], (1500, 1450)),
            ((1500, Some(1400), None), vec![Some(1500)], (1400, 1400)),
            ((1500, Some(9000), Some(1400)), vec![Some(1500)], (1500, 1500)),
        ] {
            assert_eq!(room(underlay, &others), expected, "{underlay:?} {others:?}");
        }
    }

    #[test]
    fn who_says_nothing_holds_up_an_increase_alone() {
        for (underlay, expected) in [
            ((1500, None, None), (1500, 1500)),
            ((9000, None, Some(1500)), (1500, 1500)),
            ((1400, None, Some(1500)), (1400, 1400)),
            // The configuration is flannel's too.
            ((9000, Some(9000), Some(1500)), (9000, 9000)),
        ] {
            assert_eq!(room(underlay, &[None]), expected, "{underlay:?}");
        }
        assert_eq!(room((9000, None, Some(1500)), &[None, Some(9000)]), (1500, 1500));
    }

    #[test]
    fn our_own_lease_is_no_peers() {
        let mut table = table(&[Some(1400), Some(1500)]);
        table.set_own(Some(LeaseKey::new("0")));
        let underlay = Underlay { link: 1500, configured: None, said: Some(1400) };
        assert_eq!(Room::new(underlay, &table, |_| true), Room { takes: 1500, sends: 1500 });
    }
}
