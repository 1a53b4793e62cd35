//! [`Node`]: a machine of the cluster: a namespace with an uplink, on which daemons run and pods live.

use std::ops::Deref;
use std::sync::Arc;

use anyhow::Result;
use ipam::Stack;

use crate::ground::Ground;
use crate::lab::{DefaultRoute, Uplink};
use crate::pod::Pod;
use crate::station::Station;
use crate::switch::{Jack, Switch, underlay_address};
use crate::wire::Wire;

/// A node. Clones are the same node.
#[derive(Clone)]
pub struct Node {
    station: Station,
    switch: Switch,
    wire: Wire,
}

impl Node {
    pub(crate) fn create(
        ground: &Arc<Ground>,
        switch: &Switch,
        name: &str,
        (number, uplink): (u8, Uplink),
    ) -> Result<Node> {
        let station = Station::create(ground, name)?;
        let wire = Wire::new(switch.clone(), station.clone(), Jack::new(name, number));
        wire.replace(uplink.mtu, &uplink.addresses.unwrap_or_else(|| underlay_address(number)))?;
        let node = Node { station, switch: switch.clone(), wire };
        if uplink.default_route == DefaultRoute::Switch {
            node.add_default_routes()?;
        }
        Ok(node)
    }

    /// Default routes to the switch, in the families that the node has. They go when the wire is taken down or
    /// gets other addresses. `ip route replace default via 192.0.2.1 dev eth0`.
    ///
    /// # Errors
    /// When the switch is not on the node's link.
    pub fn add_default_routes(&self) -> Result<()> {
        for family in self.addresses()?.families() {
            self.ip(&format!("route replace default via {} dev eth0", self.switch.address(family)?))?;
        }
        Ok(())
    }

    /// Its cable to the underlay.
    pub fn wire(&self) -> &Wire {
        &self.wire
    }

    /// Makes a pod without any plugin: a namespace whose `eth0` is a veth to the node, with these addresses, and routes
    /// between the two. Forwarding to it is switched on.
    ///
    /// # Errors
    /// When the name or an address is taken.
    pub fn bare_pod(&self, name: &str, addresses: &Stack<std::net::IpAddr>) -> Result<Pod> {
        Pod::bare(self, name, addresses)
    }
}

/// Commands, programs and traffic are the station's.
impl Deref for Node {
    type Target = Station;
    fn deref(&self) -> &Station {
        &self.station
    }
}
