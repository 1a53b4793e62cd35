//! [`Tracking`]: whether the routers that routes lead to can be reached, as the kernel's routes say (RFC 4271 section 9.1.2.1). What leads to one that cannot
//! be is not used, and not told to others.
//!
//! Some are looked at each time, in a circle: a node has few, a member of a mesh of thousands many that mostly are neighbours, whose sessions or BFD
//! notice sooner. Which way is the shorter is not asked: a node has one uplink.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::Bound;

use kernel::inventory::Ways;

use super::shell::Shell;

/// Next hops that are looked at each time, some 15 µs each.
const AT_ONCE: usize = 256;

/// What is known of next hops.
#[derive(Debug, Default)]
pub(super) struct Tracking {
    /// The last that was looked at.
    last: Option<IpAddr>,
    unreachable: BTreeSet<IpAddr>,
}

impl Shell {
    /// Looks at some next hops.
    pub(super) fn track(&mut self) {
        let mut hops = self.speaker.routes().next_hops();
        // Where our own routes lead is here.
        hops.retain(|hop| *hop != IpAddr::V4(self.wish.router_id) && !is_of_a_link(*hop));
        // Of what nobody announces any more nothing is kept.
        let gone: Vec<IpAddr> = self.tracking.unreachable.difference(&hops).copied().collect();
        gone.into_iter().for_each(|hop| self.reachable(hop));
        if hops.is_empty() {
            return;
        }
        let after = self.tracking.last.map_or(Bound::Unbounded, Bound::Excluded);
        let circle = hops.range((after, Bound::Unbounded)).chain(&hops).take(AT_ONCE.min(hops.len()));
        match Ways::open() {
            Ok(mut ways) => circle.copied().for_each(|hop| {
                self.tracking.last = Some(hop);
                match ways.link(hop) {
                    Ok(Some(_)) => self.reachable(hop),
                    Ok(None) => self.unreachable(hop),
                    Err(error) => tracing::debug!("{error}"),
                }
            }),
            Err(error) => tracing::debug!("{error}"),
        }
    }

    fn reachable(&mut self, hop: IpAddr) {
        if self.tracking.unreachable.remove(&hop) {
            tracing::info!("the BGP next hop {hop} can be reached again");
            self.speaker.rib().set_metric(hop, Some(0));
        }
    }

    fn unreachable(&mut self, hop: IpAddr) {
        if self.tracking.unreachable.insert(hop) {
            tracing::warn!("the BGP next hop {hop} cannot be reached: what leads to it is not used");
            self.speaker.rib().set_metric(hop, None);
        }
    }
}

/// Whether an IPv6 address is one of its link alone.
pub(super) fn is_of_a_link(hop: IpAddr) -> bool {
    matches!(hop, IpAddr::V6(hop) if hop.is_unicast_link_local())
}
