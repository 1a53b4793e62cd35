//! What this node is told of routes that others announced, and which prefixes are to be looked at for that.

use backends::learnt::Learnt;
use backends::state::Nexthop;
use backends::sum::Facts;
use bgp::wire::Family as WireFamily;
use ipam::Family;
use ipnet::IpNet;

use crate::bgp::learnt::{Learnt as Told, NextHop};
use crate::node::Node;

/// Learnt prefixes of one turn, some ten milliseconds' work.
const MOST_PREFIXES: usize = 8192;

impl Node {
    /// All that the desired state is the sum over.
    pub fn facts(&self) -> Facts<'_> {
        Facts { table: self.table(), learnt: &self.bgp.learnt }
    }

    /// The routes that others announced.
    pub fn learnt(&self) -> &Learnt {
        &self.bgp.learnt
    }

    /// Takes what the speaker learnt. Whether the whole is to be looked at: what was not learnt again may go.
    pub fn on_learnt(&mut self, told: Told) -> bool {
        match told {
            Told::Routes(routes) => {
                for (prefix, hops) in routes {
                    if self.bgp.learnt.set(prefix, &hops) {
                        self.touched_prefixes.push_back(prefix);
                    }
                }
                false
            }
            Told::Fabric(routes) => {
                for (id, stations) in routes {
                    let touched = self.bgp.learnt.fabric.set(id, stations);
                    self.touched_prefixes.extend(touched);
                }
                false
            }
            Told::Lost(router) => {
                self.bgp.lost.push(router);
                false
            }
            Told::Settled(family) => {
                let learnt = &mut self.bgp.learnt;
                let (family, waited) = match family {
                    WireFamily::IPV4 => ("IPv4", learnt.unsettled.remove(&Family::V4)),
                    WireFamily::IPV6 => ("IPv6", learnt.unsettled.remove(&Family::V6)),
                    _ => ("EVPN", std::mem::take(&mut learnt.fabric_unsettled)),
                };
                if waited {
                    tracing::info!("BGP: all {family} routes are learnt; what the kernel has of others goes");
                }
                waited
            }
        }
    }

    /// Prefixes that one turn is about: whatever else there is to do waits no longer than these take.
    pub fn take_some_prefixes(&mut self) -> Vec<IpNet> {
        let count = self.touched_prefixes.len().min(MOST_PREFIXES);
        in_order(self.touched_prefixes.drain(..count))
    }

    /// All of them.
    pub fn take_all_prefixes(&mut self) -> Vec<IpNet> {
        in_order(std::mem::take(&mut self.touched_prefixes).into_iter())
    }

    /// Whether there are many more routes than when this was last so: time to pack them.
    pub fn outgrew(&mut self) -> bool {
        let (count, packed) = (self.bgp.learnt.len(), self.bgp.packed);
        let outgrew = count > packed + packed / 4 + 1000;
        if outgrew {
            self.bgp.learnt.pack();
        }
        if outgrew || count < packed / 2 {
            self.bgp.packed = count;
        }
        outgrew
    }

    /// Next hops that are dead and that routes may still lead to.
    pub fn lost(&self) -> impl Iterator<Item = Nexthop> {
        let on = |hop: &NextHop| {
            let uplink = self.uplink()?;
            hop.link.or_else(|| uplink.on_link.link_of(hop.address, uplink.link))
        };
        self.bgp.lost.iter().filter_map(move |hop| Some(Nexthop { link: on(hop)?, gateway: hop.address }))
    }

    /// The kernel sends to them no longer where it has others: so it is with the routes.
    pub fn follow_lost(&mut self) {
        for hop in std::mem::take(&mut self.bgp.lost) {
            let narrowed = self.bgp.learnt.lose(hop);
            self.touched_prefixes.extend(narrowed);
        }
    }
}

/// Each once. They mostly come in their order.
fn in_order(prefixes: impl Iterator<Item = IpNet>) -> Vec<IpNet> {
    let mut prefixes: Vec<IpNet> = prefixes.collect();
    prefixes.sort_unstable();
    prefixes.dedup();
    prefixes
}
