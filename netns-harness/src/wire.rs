//! [`Wire`]: the cable between a node's `eth0` and the switch, and what can be done to it.

use anyhow::{Context, Result};
use ipam::Stack;
use ipnet::IpNet;

use crate::station::Station;
use crate::switch::{Jack, Switch, add_addresses};

/// A node's cable.
#[derive(Clone)]
pub struct Wire {
    switch: Switch,
    station: Station,
    jack: Jack,
}

impl Wire {
    pub(crate) fn new(switch: Switch, station: Station, jack: Jack) -> Wire {
        Wire { switch, station, jack }
    }

    /// Pulls the plug: the node's `eth0` stays up and has no carrier, as with a switch that lost its power.
    ///
    /// # Errors
    /// When the wire is removed.
    pub fn unplug(&self) -> Result<()> {
        self.switch.ip(&format!("link set {} down", self.jack.port)).map(drop)
    }

    /// Puts the plug back.
    ///
    /// # Errors
    /// When the wire is removed.
    pub fn plug(&self) -> Result<()> {
        self.switch.ip(&format!("link set {} up", self.jack.port)).map(drop)
    }

    /// Takes the node's interface down, as its administrator would: IPv6 addresses and all routes over it go.
    ///
    /// # Errors
    /// When the wire is removed.
    pub fn down(&self) -> Result<()> {
        self.station.ip("link set eth0 down").map(drop)
    }

    /// Takes the node's interface up again and gives back the addresses that went.
    ///
    /// # Errors
    /// When the wire is removed.
    pub fn up(&self) -> Result<()> {
        self.station.ip("link set eth0 up")?;
        self.readdress(&self.addresses()?)
    }

    /// Takes the interface away, with all that stands on it.
    ///
    /// # Errors
    /// When it is removed already.
    pub fn remove(&self) -> Result<()> {
        self.station.ip("link delete eth0").map(drop)
    }

    /// Lays the wire again after [`Wire::remove`], with the same MAC, and gives these addresses to the interface.
    ///
    /// # Errors
    /// When it was not removed.
    pub fn replace(&self, mtu: u32, addresses: &Stack<IpNet>) -> Result<()> {
        self.switch.attach(&self.station, &self.jack, mtu)?;
        self.readdress(addresses)
    }

    /// Changes the MTU on both ends. `ip link set eth0 mtu N`.
    ///
    /// # Errors
    /// When the kernel refuses the size.
    pub fn set_mtu(&self, mtu: u32) -> Result<()> {
        self.switch.ip(&format!("link set {} mtu {mtu}", self.jack.port))?;
        self.station.ip(&format!("link set eth0 mtu {mtu}")).map(drop)
    }

    /// Gives the interface these addresses and no other (but the link-local one, which is the kernel's).
    ///
    /// # Errors
    /// When the kernel refuses an address.
    pub fn readdress(&self, addresses: &Stack<IpNet>) -> Result<()> {
        self.station.ip("addr flush dev eth0 scope global")?;
        add_addresses(&self.station, "eth0", addresses)?;
        self.station.set_addresses(Some(addresses.map(|_, net| net.addr())));
        Ok(())
    }

    /// The interface's addresses with their lengths, as the lab knows them.
    ///
    /// # Errors
    /// When the node has none.
    pub fn addresses(&self) -> Result<Stack<IpNet>> {
        let addresses = self.station.addresses()?;
        let net = |address: std::net::IpAddr| IpNet::new(address, if address.is_ipv4() { 24 } else { 64 });
        addresses.filter_map(|_, address| net(*address).ok()).context("an address without a length")
    }

    /// Loses so many percent of all frames, at random, in each direction; 0 ends it.
    ///
    /// # Errors
    /// When `nft` is missing or refuses.
    pub fn lose(&self, percent: u8) -> Result<()> {
        self.switch.lose(&self.jack.port, percent)
    }

    /// The port's name in the switch's namespace.
    pub fn port(&self) -> &str {
        &self.jack.port
    }
}
