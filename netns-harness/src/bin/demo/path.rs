//! [`Path`]: the way that a node's kernel has for packets to a pod, asked of the kernel, not of the daemon.

use std::fmt;
use std::net::IpAddr;

use anyhow::{Context, Result};
use netns_harness::Node;
use serde_json::Value;

/// Where packets go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// The interface that they leave by.
    pub device: String,
    /// The underlay address that a tunnel sends them to.
    pub underlay: Option<String>,
}

/// Follows a packet from a node's routing table to the wire: `ip route get`, `ip neigh`, `bridge fdb`.
pub fn path(node: &Node, to: IpAddr) -> Result<Path> {
    let to = to.to_string();
    let route = node.json(["ip", "-j", "route", "get", &to])?[0].clone();
    let device = text(&route, "dev").with_context(|| format!("no device in {route}"))?;
    let Some(gateway) = text(&route, "gateway") else { return Ok(Path { device, underlay: None }) };
    let neighbours = node.json(["ip", "-j", "neigh", "show", &gateway, "dev", &device])?;
    let Some(mac) = text(&neighbours[0], "lladdr") else { return Ok(Path { device, underlay: None }) };
    let entries = node.json(["bridge", "-j", "fdb", "show", "dev", &device])?;
    let entry = entries.as_array().into_iter().flatten().find(|entry| text(entry, "mac").as_ref() == Some(&mac));
    Ok(Path { device, underlay: entry.and_then(|entry| text(entry, "dst")) })
}

fn text(object: &Value, key: &str) -> Option<String> {
    object[key].as_str().map(str::to_owned)
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.underlay {
            Some(underlay) => write!(f, "{} → {underlay}", self.device),
            None => f.write_str(&self.device),
        }
    }
}
