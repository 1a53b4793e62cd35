//! How large outer packets may be: what this node's lease says of it, and what follows from the others'. The decision is
//! `backends::room`'s.

use backends::Backend;
use backends::room::{Room, Underlay};
use ipam::Lease;

use super::Node;
use crate::path_probe::{Errand, PathProbe};

/// So many nodes are named in a sentence.
const NAMED: usize = 3;

impl Node {
    /// Follows uplink, configuration and leases.
    pub fn follow_room(&mut self) {
        let (Some(network), Some(uplink)) = (&self.network, &self.uplink) else { return };
        if !self.peers_known {
            return;
        }
        let underlay = Underlay {
            link: uplink.mtu,
            configured: network.backend.configured_mtu(),
            said: self.own_or_last().and_then(Lease::mtu),
        };
        let room = Room::new(underlay, &self.table, |mtu| self.has_room(mtu));
        if self.room == Some(room) {
            return;
        }
        let before = self.room.replace(room);
        self.changed = true;
        if let Some(before) = before.filter(|before| before.sends != room.sends) {
            let why = self.held_back().map(|why| format!(": {why}")).unwrap_or_default();
            tracing::info!("MTU: outer packets have {} octets at most, not {}{why}", room.sends, before.sends);
        } else if let Some(why) = self.held_back() {
            tracing::info!("MTU: {why}");
        }
    }

    /// How large outer packets may be; `None` until that is known.
    pub fn room(&self) -> Option<Room> {
        self.room
    }

    /// Whether pods have enough room where outer packets have so many octets, by any of our ways.
    fn has_room(&self, outer: u32) -> bool {
        let Some(network) = &self.network else { return false };
        self.backends().all(|backend: &Backend| backend.has_room(network.networks.families(), outer))
    }

    /// Why packets are smaller than this node could send them: one sentence, with the fix.
    pub fn held_back(&self) -> Option<String> {
        let (room, uplink) = (self.room?, self.uplink.as_ref()?);
        let configured = self.network.as_ref()?.backend.configured_mtu();
        let could = configured.map_or(uplink.mtu, |configured| configured.min(uplink.mtu));
        if room.sends < room.takes {
            let nodes = self.names_of(|mtu| mtu == Some(room.sends));
            return Some(format!(
                "this node could send packets of {} octets and sends {}, because {nodes} can take no more; raise the MTU of that \
                 uplink, or remove the lease of a node that is gone",
                room.takes, room.sends
            ));
        }
        (room.takes < could).then(|| {
            format!(
                "the uplink carries {could} octets and packets have {} until every node says that it can take them; {} says \
                 nothing: flannel runs there; put Towpath in its place, or write `MTU` into the backend's configuration \
                 once the underlay carries it everywhere",
                room.takes,
                self.names_of(|mtu| mtu.is_none())
            )
        })
    }

    /// The nodes of which this is true: the first by name, and how many more.
    fn names_of(&self, is: impl Fn(Option<u32>) -> bool) -> String {
        let own = self.table.own();
        let leases = self.table.leases().filter(|lease| own != Some(&lease.key) && is(lease.mtu()));
        let mut names: Vec<&str> = leases.map(|lease| lease.node.as_str()).collect();
        names.sort_unstable();
        let more = names.len().saturating_sub(NAMED);
        names.truncate(NAMED);
        let rest = if more == 0 { String::new() } else { format!(" and {more} more") };
        format!("node {}{rest}", names.join(", "))
    }

    /// The paths that are to be measured.
    pub fn paths(&self) -> Option<Errand> {
        let size = self.room?.sends;
        if self.network.as_ref()?.path_probe == PathProbe::Off {
            return None;
        }
        let own = self.table.own();
        let others = self.table.leases().filter(|lease| own != Some(&lease.key));
        let address = |lease: &Lease| Some((lease.node.to_string(), lease.endpoints.values().next()?.public));
        Some(Errand { size, peers: others.filter_map(address).collect() })
    }

    /// What is worth knowing of the packets' size: one sentence each.
    pub fn room_notes(&self) -> Vec<String> {
        let unusable = |mtu: Option<u32>| mtu.is_some_and(|mtu| !self.has_room(mtu));
        let nonsense = self.table.mtus().any(unusable).then(|| {
            format!(
                "{} says that it takes packets that are too small for pods; that is overlooked",
                self.names_of(unusable)
            )
        });
        self.held_back().into_iter().chain(nonsense).collect()
    }
}
