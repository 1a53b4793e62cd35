//! [`OnLink`]: which addresses the kernel reaches without a gateway, over the uplink and over the node's other links, as its own route
//! look-up would say, without asking it for each.
//!
//! It is the look-up's order written down, so that it can be compared: the first route that contains an address decides.
//! Reading the routes is `kernel::inventory`'s.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::state::{LinkName, RouteKey};

/// Where a route leads, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// Over the uplink to the destination itself. `ip route … dev eth0 scope link`
    Direct,
    /// The same over another link, on which routers may be.
    Beside(LinkName),
    /// By a gateway, by a device that does not matter, or nowhere.
    Elsewhere,
}

/// Which addresses are on the uplink's own link, and which on another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OnLink {
    order: Vec<(IpNet, Hop)>,
    /// Links whose other end is gone, the uplink among them: the kernel sends nothing over those that it has a choice against.
    dead: BTreeSet<LinkName>,
}

impl OnLink {
    /// From the routes of each table that a packet to a peer is looked up in, the tables in the order in which policy rules
    /// name them (`ip rule`). Within a table the longest prefix decides, and of equal ones the least metric.
    pub fn new(tables: impl IntoIterator<Item = Vec<(RouteKey, Hop)>>) -> OnLink {
        let mut order = Vec::new();
        for mut table in tables {
            table.sort_by_key(|(key, _)| (Reverse(key.destination.prefix_len()), key.destination, key.metric));
            order.extend(table.into_iter().map(|(key, hop)| (key.destination, hop)));
        }
        // Only what stands before a direct route to the same addresses says anything: a node has many other routes, which
        // come and go, and none of them makes this another value.
        let mut kept: Vec<(IpNet, Hop)> = Vec::new();
        let mut direct: Vec<IpNet> = Vec::new();
        for (net, hop) in order.into_iter().rev() {
            let overlaps = |other: &IpNet| other.contains(&net) || net.contains(other);
            match hop {
                Hop::Direct | Hop::Beside(_) => direct.push(net),
                Hop::Elsewhere if !direct.iter().any(overlaps) => continue,
                Hop::Elsewhere => {}
            }
            kept.push((net, hop));
        }
        kept.reverse();
        OnLink { order: kept, dead: BTreeSet::new() }
    }

    /// The same, while these links have no carrier. `ip link` says `NO-CARRIER`
    #[must_use]
    pub fn with_dead(self, dead: BTreeSet<LinkName>) -> OnLink {
        OnLink { dead, ..self }
    }

    /// The network on the uplink's link that an address is of. `ip route get ADDRESS`, and the route that it took
    pub fn network_of(&self, address: IpAddr) -> Option<IpNet> {
        self.decides(address).filter(|(_, hop)| *hop == Hop::Direct).map(|(net, _)| *net)
    }

    /// The link that an address is on. `ip route get ADDRESS` names it and no `via`.
    pub fn link_of(&self, address: IpAddr, uplink: LinkName) -> Option<LinkName> {
        match self.decides(address)?.1 {
            Hop::Direct => Some(uplink),
            Hop::Beside(link) => Some(link),
            Hop::Elsewhere => None,
        }
    }

    /// The networks on other links than the uplink's.
    pub fn beside(&self) -> impl Iterator<Item = (IpNet, LinkName)> {
        self.order.iter().filter_map(|(net, hop)| match hop {
            Hop::Beside(link) => Some((*net, *link)),
            Hop::Direct | Hop::Elsewhere => None,
        })
    }

    /// Whether a link has no carrier.
    pub fn is_dead(&self, link: LinkName) -> bool {
        self.dead.contains(&link)
    }

    fn decides(&self, address: IpAddr) -> Option<&(IpNet, Hop)> {
        self.order.iter().find(|(net, _)| net.contains(&address))
    }

    /// Whether an address is on the uplink's link. `ip route get ADDRESS` names the uplink and no `via`.
    pub fn has(&self, address: IpAddr) -> bool {
        self.network_of(address).is_some()
    }
}

impl FromIterator<IpNet> for OnLink {
    /// The prefixes on the uplink's link, where nothing else is routed.
    fn from_iter<I: IntoIterator<Item = IpNet>>(nets: I) -> OnLink {
        OnLink::new([nets.into_iter().map(|net| (RouteKey::new(net), Hop::Direct)).collect()])
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn route(destination: &str, metric: u32, hop: Hop) -> (RouteKey, Hop) {
        (RouteKey { destination: destination.parse().unwrap(), metric }, hop)
    }

    fn said(tables: Vec<Vec<(RouteKey, Hop)>>, addresses: &[&str]) -> Vec<bool> {
        let on_link = OnLink::new(tables);
        addresses.iter().map(|address| on_link.has(address.parse().unwrap())).collect()
    }

    #[test]
    fn the_longest_prefix_decides_and_of_equal_ones_the_least_metric() {
        let main = vec![
            route("0.0.0.0/0", 0, Hop::Elsewhere),
            route("192.0.2.0/24", 100, Hop::Direct),
            route("192.0.2.0/24", 0, Hop::Elsewhere),
            route("198.51.100.0/24", 0, Hop::Direct),
            route("198.51.100.0/24", 9, Hop::Elsewhere),
            route("198.51.100.7/32", 0, Hop::Elsewhere),
            route("2001:db8::/64", 256, Hop::Direct),
        ];
        let addresses = ["192.0.2.5", "198.51.100.5", "198.51.100.7", "203.0.113.1", "2001:db8::5", "2001:db8:0:1::5"];
        assert_eq!(said(vec![main], &addresses), [false, true, false, false, true, false]);
        assert_eq!(said(vec![], &addresses), [false; 6]);
    }

    #[test]
    fn a_table_that_a_rule_names_before_main_has_the_first_word() {
        let main = || vec![route("192.0.2.0/24", 0, Hop::Direct)];
        let through_a_tunnel = vec![route("0.0.0.0/0", 0, Hop::Elsewhere)];
        assert_eq!(said(vec![through_a_tunnel.clone(), main()], &["192.0.2.5"]), [false]);
        assert_eq!(said(vec![main(), through_a_tunnel], &["192.0.2.5"]), [true]);
        let one_peer = vec![route("192.0.2.5/32", 0, Hop::Elsewhere)];
        assert_eq!(said(vec![one_peer, main()], &["192.0.2.5", "192.0.2.6"]), [false, true]);
    }

    #[test]
    fn an_address_is_on_the_link_that_its_network_is_on() {
        let [eth0, eth1] = ["eth0", "eth1"].map(|name| LinkName::new(name).unwrap());
        let main = vec![
            route("0.0.0.0/0", 0, Hop::Elsewhere),
            route("192.0.2.0/24", 0, Hop::Direct),
            route("198.51.100.10/31", 0, Hop::Beside(eth1)),
            route("198.51.100.0/24", 0, Hop::Direct),
            route("2001:db8:1::/64", 256, Hop::Beside(eth1)),
            route("2001:db8:1::9/128", 0, Hop::Elsewhere),
        ];
        let on_link = OnLink::new([main]);
        let link = |address: &str| on_link.link_of(address.parse().unwrap(), eth0);
        assert_eq!(
            [link("192.0.2.1"), link("198.51.100.11"), link("198.51.100.12")],
            [Some(eth0), Some(eth1), Some(eth0)]
        );
        assert_eq!([link("203.0.113.1"), link("2001:db8:1::1"), link("2001:db8:1::9")], [None, Some(eth1), None]);
        assert!(!on_link.has("198.51.100.11".parse().unwrap()), "that is another link");
        assert_eq!(on_link.beside().count(), 2);
    }

    #[test]
    fn routes_that_decide_nothing_make_no_difference() {
        let with = |more: &[&str]| {
            let others = more.iter().map(|net| route(net, 0, Hop::Elsewhere));
            OnLink::new([others.chain([route("192.0.2.0/24", 0, Hop::Direct)]).collect()])
        };
        assert_eq!(with(&[]), with(&["0.0.0.0/0", "10.244.3.0/24", "192.0.0.0/16"]));
        assert_ne!(with(&[]), with(&["192.0.2.9/32"]));
    }
}
