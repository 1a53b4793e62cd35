//! [`Switch`]: the underlay. A namespace with a bridge, to which each node has a wire; and the faults of wires.
//!
//! Faults are rules of one nftables table in the switch's namespace, written as a whole at each change: nothing is ever
//! added inside a node, which belongs to what is tested. netem would do more and is in fewer kernels.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Result, ensure};
use ipam::Stack;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::ground::Ground;
use crate::prerequisites::{Tool, require};
use crate::station::Station;

/// The bridge's name in the switch's namespace.
const BRIDGE: &str = "underlay";

/// The network between the nodes. It has the address `.1` itself and forwards no packet beyond the underlay.
#[derive(Clone)]
pub struct Switch {
    station: Station,
    faults: Arc<Mutex<Faults>>,
}

#[derive(Default)]
struct Faults {
    /// Percent of frames lost, by port.
    loss: BTreeMap<String, u8>,
    /// Pairs of ports between which nothing passes, the smaller name first.
    partitions: BTreeSet<(String, String)>,
}

impl Switch {
    pub(crate) fn create(ground: &Arc<Ground>) -> Result<Switch> {
        let station = Station::create(ground, "switch")?;
        // Without an address of its own a bridge takes the least of its ports', and another one when a node comes.
        // Snooping would hold back neighbour discovery to groups whose report has not been seen yet.
        station.ip(&format!("link add {BRIDGE} address 02:00:c0:00:02:01 type bridge mcast_snooping 0"))?;
        without_duplicate_detection(&station, BRIDGE)?;
        station.ip(&format!("link set {BRIDGE} up"))?;
        let addresses = underlay_address(1);
        add_addresses(&station, BRIDGE, &addresses)?;
        station.set_addresses(Some(addresses.map(|_, net| net.addr())));
        Ok(Switch { station, faults: Arc::default() })
    }

    /// Plugs a station's `eth0` into a port. `ip link add eth0 netns NODE type veth peer name PORT`.
    pub(crate) fn attach(&self, station: &Station, jack: &Jack, mtu: u32) -> Result<()> {
        let (name, Jack { port, mac }) = (station.namespace().name(), jack);
        self.ip(&format!("link add eth0 address {mac} mtu {mtu} netns {name} type veth peer name {port} mtu {mtu}"))?;
        self.ip(&format!("link set {port} master {BRIDGE} up"))?;
        without_duplicate_detection(station, "eth0")?;
        station.ip("link set eth0 up").map(drop)
    }

    /// Loses so many percent of a port's frames, in each direction; 0 ends it.
    pub(crate) fn lose(&self, port: &str, percent: u8) -> Result<()> {
        ensure!(percent <= 100, "{percent} percent of the frames of {port} cannot be lost");
        let mut faults = self.faults();
        faults.loss.insert(port.to_owned(), percent);
        self.apply(&faults)
    }

    /// Stops all frames between two ports, or lets them pass again.
    pub(crate) fn partition(&self, ports: [&str; 2], passage: Passage) -> Result<()> {
        let mut ports = ports.map(str::to_owned);
        ports.sort();
        let mut faults = self.faults();
        match passage {
            Passage::Closed => faults.partitions.insert(ports.into()),
            Passage::Open => faults.partitions.remove(&ports.into()),
        };
        self.apply(&faults)
    }

    /// Ends all loss and all partitions.
    ///
    /// # Errors
    /// When `nft` refuses.
    pub fn heal(&self) -> Result<()> {
        let mut faults = self.faults();
        *faults = Faults::default();
        self.apply(&faults)
    }

    fn apply(&self, faults: &Faults) -> Result<()> {
        require(Tool::Nftables)?;
        self.feed(["nft", "-f", "-"], &faults.ruleset()?).map(drop)
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The two ends of a wire: the switch's port, and the MAC of the node's interface, which is always the same, so that
/// neighbours find it again when it was away.
#[derive(Clone, Debug)]
pub(crate) struct Jack {
    pub port: String,
    pub mac: String,
}

impl Jack {
    /// The one of a node's number.
    pub fn new(port: &str, number: u8) -> Jack {
        Jack { port: port.to_owned(), mac: format!("02:00:c0:00:02:{number:02x}") }
    }
}

/// Whether frames pass between two nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passage {
    Open,
    Closed,
}

impl Faults {
    /// The table, replacing what was there in one transaction. prerouting and postrouting see what the switch itself
    /// sends and receives too; a partition is between nodes only.
    fn ruleset(&self) -> Result<String> {
        let mut text = String::from("table bridge faults\ndelete table bridge faults\ntable bridge faults {\n");
        for (hook, side) in [("prerouting", "iifname"), ("postrouting", "oifname")] {
            writeln!(text, "chain {hook} {{\ntype filter hook {hook} priority 0; policy accept;")?;
            for (port, percent) in &self.loss {
                writeln!(text, "{side} \"{port}\" numgen random mod 100 < {percent} drop")?;
            }
            text.push_str("}\n");
        }
        text.push_str("chain forward {\ntype filter hook forward priority 0; policy accept;\n");
        for (one, other) in &self.partitions {
            writeln!(text, "iifname \"{one}\" oifname \"{other}\" drop\niifname \"{other}\" oifname \"{one}\" drop")?;
        }
        text.push_str("}\n}\n");
        Ok(text)
    }
}

/// The underlay address of a number: 192.0.2.N/24 and 2001:db8::N/64 with the same digits (RFC 5737, RFC 3849).
pub(crate) fn underlay_address(number: u8) -> Stack<IpNet> {
    let digits = u16::from(number);
    let digits = digits / 100 * 256 + digits / 10 % 10 * 16 + digits % 10;
    let v4 = Ipv4Net::new_assert(Ipv4Addr::new(192, 0, 2, number), 24);
    let v6 = Ipv6Net::new_assert(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, digits), 64);
    Stack::Dual { v4: v4.into(), v6: v6.into() }
}

/// Gives addresses to a device, usable at once (RFC 4862's duplicate detection takes a second). `ip addr add … nodad`.
pub(crate) fn add_addresses(station: &Station, device: &str, addresses: &Stack<IpNet>) -> Result<()> {
    for net in addresses.values() {
        let nodad = if net.addr().is_ipv6() { "nodad" } else { "" };
        station.ip(&format!("addr add {net} dev {device} {nodad}"))?;
    }
    Ok(())
}

/// Makes a device's link-local address usable at once, too. While it is tentative (for a second or two) the kernel asks
/// for no neighbour on behalf of forwarded packets (`ndisc_solicit` in net/ipv6/ndisc.c), and they are lost.
pub(crate) fn without_duplicate_detection(station: &Station, device: &str) -> Result<()> {
    station.set_sysctl(&format!("net/ipv6/conf/{device}/accept_dad"), "0")
}

impl Deref for Switch {
    type Target = Station;
    fn deref(&self) -> &Station {
        &self.station
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Faults, underlay_address};

    #[test]
    fn both_families_of_an_underlay_address_have_the_same_digits() {
        assert_eq!(underlay_address(1).to_string(), "192.0.2.1/24 2001:db8::1/64");
        assert_eq!(underlay_address(123).to_string(), "192.0.2.123/24 2001:db8::123/64");
    }

    #[test]
    fn a_fault_works_in_both_directions() {
        let mut faults = Faults::default();
        faults.loss.insert("alpha".to_owned(), 20);
        faults.partitions.insert(("alpha".to_owned(), "beta".to_owned()));
        let text = faults.ruleset().unwrap();
        for rule in [
            "iifname \"alpha\" numgen random mod 100 < 20 drop",
            "oifname \"alpha\" numgen random mod 100 < 20 drop",
            "iifname \"alpha\" oifname \"beta\" drop",
            "iifname \"beta\" oifname \"alpha\" drop",
        ] {
            assert!(text.contains(rule), "no {rule} in {text}");
        }
    }
}
