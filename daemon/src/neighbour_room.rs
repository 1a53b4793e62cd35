//! [`Crowd`]: whether the kernel has room for all hosts that this node sends to without a gateway. It keeps a table of each family for all links and network
//! namespaces of the machine, and when `gc_thresh3` of its entries are in use it says `neighbor table overflow!` and packets to others are
//! dropped (`neigh_alloc` in net/core/neighbour.c).
//!
//! Counted are the peers that are on a link of this node's, whose own addresses are sent to with any backend but those that others route for. The entries that we make
//! for what is behind our tunnels are permanent, and such ones take no room since Linux 5.0. Counted from the leases, when the whole is looked at: not by peer, and not by packet.

use std::collections::BTreeMap;

use backends::Cluster;
use ipam::{Family, LeaseTable};

/// What the pods of a node take beside its peers, in their own namespaces and on their links, and whoever else the machine speaks with.
const OTHERS: usize = 256;

/// How many peers of a family are on the node's links.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Crowd(BTreeMap<Family, usize>);

impl Crowd {
    /// Those of a table.
    pub fn of(cluster: &Cluster, table: &LeaseTable) -> Crowd {
        let mut crowd = Crowd::default();
        let (uplink, own) = (&cluster.uplink, &cluster.own);
        let peers = table.leases().filter(|lease| lease.key != own.key);
        for address in peers.flat_map(|lease| lease.endpoints.values()).map(|endpoint| endpoint.public) {
            if uplink.on_link.link_of(address, uplink.link).is_some() {
                *crowd.0.entry(Family::of(address)).or_default() += 1;
            }
        }
        crowd
    }

    /// For which families there is no room, as these settings say. Where there are none, as in a network namespace that is not the machine's first, nothing is said.
    pub fn sentences(&self, is: impl Fn(&str) -> Option<String>) -> Vec<String> {
        let sentence = |(family, peers): (&Family, &usize)| {
            let (name, directory) = match family {
                Family::V4 => ("ipv4", "IPv4"),
                Family::V6 => ("ipv6", "IPv6"),
            };
            let room: usize = is(&format!("net/{name}/neigh/default/gc_thresh3"))?.parse().ok()?;
            (peers + OTHERS > room).then(|| {
                let wanted = (2 * (peers + OTHERS)).next_power_of_two();
                let set = |number: u8, value: usize| format!("net.{name}.neigh.default.gc_thresh{number}={value}");
                format!(
                    "the kernel has room for {room} {directory} neighbours (net.{name}.neigh.default.gc_thresh3), which this node's peers and pods \
                     may be more than: packets are dropped then, and its log says `neighbor table overflow!`; on the host, `sysctl -w {} {} {}`, \
                     and the same in a file of /etc/sysctl.d",
                    set(1, wanted / 4),
                    set(2, wanted / 2),
                    set(3, wanted)
                )
            })
        };
        self.0.iter().filter_map(sentence).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use backends::{OnLink, Uplink};
    use ipnet::IpNet;

    use super::*;
    use crate::ask::fixture;

    fn said(peers: [usize; 2], room: &str) -> Vec<String> {
        let crowd = Crowd(Family::ALL.into_iter().zip(peers).collect());
        crowd.sentences(|path| {
            assert!(path.starts_with("net/ipv4/neigh/default/gc_t") || path.starts_with("net/ipv6/neigh/default/gc_t"));
            (!room.is_empty()).then(|| room.to_owned())
        })
    }

    #[test]
    fn peers_that_there_is_no_room_for_are_told_with_what_makes_it() {
        assert_eq!(said([768, 768], "1024"), Vec::<String>::new());
        let both = said([769, 5000], "1024");
        assert_eq!(both.len(), 2, "{both:?}");
        let sets = "`sysctl -w net.ipv4.neigh.default.gc_thresh1=1024 net.ipv4.neigh.default.gc_thresh2=2048 net.ipv4.neigh.default.gc_thresh3=4096`";
        assert!(both[0].contains(sets) && both[0].contains("room for 1024 IPv4 neighbours"), "{}", both[0]);
        assert!(both[1].contains("net.ipv6.neigh.default.gc_thresh3=16384`"), "{}", both[1]);
        assert_eq!(said([769, 0], "1024"), said([900, 0], "1024"), "one more peer is no news");
        assert_eq!(said([5000, 5000], "16384"), Vec::<String>::new());
    }

    #[test]
    fn nothing_is_said_where_it_cannot_be_known() {
        assert_eq!(said([5000, 5000], ""), Vec::<String>::new());
        assert_eq!(said([5000, 5000], "many"), Vec::<String>::new());
    }

    #[test]
    fn peers_on_the_nodes_links_are_counted_by_the_family_of_their_addresses() {
        let (reconciler, _) = fixture::settled();
        let cluster = reconciler.desired().unwrap().cluster();
        assert_eq!(Crowd::of(cluster, reconciler.node.table()), Crowd::default(), "they are behind a router");
        let on_link = OnLink::from_iter([IpNet::new([192, 0, 2, 0].into(), 24).unwrap()]);
        let cluster = Cluster { uplink: Uplink { on_link, ..cluster.uplink.clone() }, ..cluster.clone() };
        assert_eq!(Crowd::of(&cluster, reconciler.node.table()), Crowd([(Family::V4, 2)].into()));
    }
}
