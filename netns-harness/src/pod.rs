//! [`Pod`]: a namespace on a node with an `eth0`, made by a CNI plugin or, without any, by hand.

use std::net::IpAddr;
use std::ops::Deref;

use anyhow::{Context, Result, ensure};
use ipam::{Family, Stack};
use serde_json::Value;

use crate::cni::{Attachment, Plugin, Verb, addresses_in};
use crate::node::Node;
use crate::station::Station;
use crate::switch::without_duplicate_detection;

/// A pod. Clones are the same pod. It stays until it is deleted or the lab ends.
#[derive(Clone)]
pub struct Pod {
    station: Station,
    node: Node,
    plugged: Option<(Plugin, Attachment)>,
    result: Value,
}

impl Node {
    /// Makes a pod whose network a plugin sets up: ADD in the node's namespace.
    ///
    /// # Errors
    /// When the name is taken on the node, and what the plugin says. The pod's namespace is removed again then.
    pub fn pod(&self, plugin: &Plugin, name: &str) -> Result<Pod> {
        let station = self.pod_station(name)?;
        let attachment = Attachment::new(&station, name);
        let added = plugin.call(self, Verb::Add, &attachment).and_then(|result| Ok((addresses_in(&result)?, result)));
        let (addresses, result) = match added {
            Ok(added) => added,
            Err(error) => {
                station.remove()?;
                return Err(error);
            }
        };
        station.set_addresses(addresses);
        Ok(Pod { station, node: self.clone(), plugged: Some((plugin.clone(), attachment)), result })
    }

    /// An empty namespace for a pod, for those who call the plugin themselves.
    ///
    /// # Errors
    /// When the name is taken on the node.
    pub fn pod_station(&self, name: &str) -> Result<Station> {
        Station::create(self.ground(), &format!("{}.{name}", self.name()))
    }
}

impl Pod {
    pub(crate) fn bare(node: &Node, name: &str, addresses: &Stack<IpAddr>) -> Result<Pod> {
        let link = format!("v-{name}");
        ensure!(link.len() <= 15, "`{name}` is too long for a link's name (13 bytes)");
        let station = node.pod_station(name)?;
        node.ip(&format!("link add {link} type veth peer name eth0 netns {}", station.namespace().name()))?;
        for (end, device) in [(&**node, link.as_str()), (&station, "eth0")] {
            without_duplicate_detection(end, device)?;
            end.ip(&format!("link set {device} up"))?;
        }
        for (family, address) in addresses.iter() {
            let (gateway, forwarding) = match family {
                Family::V4 => ("169.254.1.1/32", "net.ipv4.ip_forward"),
                Family::V6 => ("fe80::1/64 nodad", "net.ipv6.conf.all.forwarding"),
            };
            let via = gateway.split('/').next().unwrap_or(gateway);
            let nodad = if family == Family::V6 { "nodad" } else { "" };
            node.set_sysctl(forwarding, "1")?;
            node.ip(&format!("addr add {gateway} dev {link}"))?;
            station.ip(&format!("addr add {address}/{} dev eth0 {nodad}", family.bits()))?;
            station.ip(&format!("route add default via {via} dev eth0 onlink"))?;
            node.ip(&format!("route add {address} dev {link}"))?;
        }
        station.set_addresses(Some(*addresses));
        Ok(Pod { station, node: node.clone(), plugged: None, result: Value::Null })
    }

    /// The node it lives on.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// What the plugin's ADD answered; null for a bare pod.
    pub fn result(&self) -> &Value {
        &self.result
    }

    /// Asks the plugin whether all is as its ADD left it.
    ///
    /// # Errors
    /// What the plugin says; also for a bare pod, which has no plugin.
    pub fn check(&self) -> Result<()> {
        let (plugin, attachment) = self.plugged.as_ref().with_context(|| format!("{} has no plugin", self.name()))?;
        let attachment = attachment.with_previous(&self.result);
        plugin.call(&self.node, Verb::Check, &attachment).map(drop)
    }

    /// DEL, then the namespace is removed, as a container runtime does it.
    ///
    /// # Errors
    /// What the plugin says; the namespace stays then.
    pub fn delete(&self) -> Result<()> {
        if let Some((plugin, attachment)) = &self.plugged {
            plugin.call(&self.node, Verb::Del, &attachment.with_previous(&self.result))?;
        }
        self.station.remove()
    }
}

/// Commands and traffic are the station's.
impl Deref for Pod {
    type Target = Station;
    fn deref(&self) -> &Station {
        &self.station
    }
}
