//! [`Host`]: the node's side of a pod's wire, in the network namespace of the thread that opens it.

use std::net::IpAddr;
use std::os::fd::AsFd;

use backends::LinkName;
use ipam::Mac;

use super::exchange::Exchange;
use super::{Bridge, PodError, Port, Wire, ensure, introduce};
use crate::codec::{self, link, pod};
use crate::error::{Error, Result};
use crate::netlink::{Message, Protocol, Socket};
use crate::netns::Netns;

/// The node's side.
#[derive(Debug)]
pub struct Host {
    socket: Socket,
}

/// A bridge as it was found, or made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BridgeSeen {
    /// Interface index.
    pub index: u32,
    /// Link-layer address.
    pub mac: Mac,
    /// Octets of payload.
    pub mtu: u32,
    /// Administratively up.
    pub up: bool,
    /// Whether its address must be pinned: it had none of our gateways yet, so nobody may have done it.
    unpinned: bool,
}

/// A veth pair that was just made: interface indices, each in its own namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The end on the bridge.
    pub host: u32,
    /// The end in the pod.
    pub pod: u32,
    unpinned: bool,
}

/// A link as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Interface index.
    pub index: u32,
    /// What the kernel calls it: `veth`, `bridge`; empty for hardware.
    pub kind: String,
    /// Administratively up.
    pub up: bool,
    /// Link-layer address.
    pub mac: Option<Mac>,
    /// Octets of payload.
    pub mtu: u32,
    /// Alias, empty when there is none.
    pub alias: String,
    /// The bridge that it is a port of.
    pub port: Option<Port>,
    /// Index of the other end of a veth pair, or of what it lies on.
    pub peer: Option<u32>,
}

impl Found {
    pub(super) fn read(message: &Message<'_>) -> Option<Found> {
        let entry = link::Entry::read(message)?;
        Some(Found {
            index: entry.index,
            kind: entry.kind.unwrap_or_default().to_owned(),
            up: entry.up,
            mac: entry.mac,
            mtu: entry.mtu,
            alias: entry.alias.unwrap_or_default().to_owned(),
            port: pod::port(message),
            peer: pod::peer(message),
        })
    }
}

impl Host {
    /// Opens the side that the calling thread is on.
    ///
    /// # Errors
    /// When the system gives no socket.
    pub fn open() -> Result<Host> {
        Ok(Host { socket: Socket::open(Protocol::Route)? })
    }

    /// One link by its name; `None` when there is none. `ip -d link show NAME`
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn find(&mut self, name: LinkName) -> Result<Option<Found>> {
        find(&mut self.socket, name)
    }

    /// The bridge, made when it is not there; up, and with the wanted MTU.
    ///
    /// # Errors
    /// When something else has its name, or the kernel refuses.
    pub fn bridge(&mut self, wanted: &Bridge) -> std::result::Result<BridgeSeen, PodError> {
        let name = wanted.name;
        let mut made = false;
        let mut found = self.find(name)?;
        if found.is_none() {
            let mut exchange = Exchange::new(&mut self.socket);
            let make = exchange.order((link::NEW, codec::MAKE), |body| pod::bridge(body, name, wanted.mac, wanted.mtu));
            exchange.question(link::GET, |body| link::by_name(body, name));
            let refusals = exchange.finish(|message| found = found.take().or_else(|| Found::read(message)))?;
            // Sixty pods may start at once, and one of them is first.
            made = refusals.errno(make).is_none();
            refusals.tolerate(|place, errno| place == make && errno == libc::EEXIST).into_result(|place| {
                if place == make {
                    format!("making the bridge {name}")
                } else {
                    format!("looking for the bridge {name}")
                }
            })?;
        }
        let Some(found) = found else { return Err(PodError::BridgeGone { name }) };
        if found.kind != "bridge" {
            let kind = if found.kind.is_empty() { "network card".to_owned() } else { found.kind };
            return Err(PodError::NotABridge { name, kind });
        }
        if made {
            // Pods must not hand the node routes (RFC 4861 section 6.1.2 router advertisements).
            ensure(&format!("net/ipv6/conf/{name}/accept_ra"), "0")?;
            // While the bridge's link-local address is tentative (RFC 4862 section 5.4: a second or two), the kernel asks
            // for no neighbour on behalf of forwarded packets (`ndisc_solicit`), and a new pod's first ones are lost.
            ensure(&format!("net/ipv6/conf/{name}/accept_dad"), "0")?;
        }
        let mac = found.mac.unwrap_or(wanted.mac);
        Ok(BridgeSeen { index: found.index, mac, mtu: found.mtu, up: found.up, unpinned: !made })
    }

    /// Makes the pair, one end a port of the bridge and the other in the pod, and sees to the bridge's gateway addresses.
    ///
    /// # Errors
    /// When a name is taken or the kernel refuses; there is no pair then.
    pub fn plug(
        &mut self,
        bridge: &Bridge,
        seen: &BridgeSeen,
        wire: &Wire,
        netns: &Netns,
    ) -> std::result::Result<Ends, PodError> {
        let mut exchange = Exchange::new(&mut self.socket);
        if !seen.up {
            exchange.order((link::NEW, 0), |body| link::set_flags(body, seen.index, libc::IFF_UP as u32));
        }
        if let Some(mtu) = bridge.mtu.filter(|mtu| *mtu != seen.mtu) {
            let mtu = link::Attributed { mtu: Some(mtu), ..link::Attributed::default() };
            exchange.order((link::NEW, 0), |body| link::set(body, seen.index, mtu));
        }
        let mut gateways = Vec::with_capacity(bridge.gateways.len());
        for gateway in &bridge.gateways {
            let add = (libc::RTM_NEWADDR, codec::MAKE);
            gateways.push(exchange.order(add, |body| pod::address(body, seen.index, *gateway)));
        }
        let ends = [pod::End { name: wire.host, mac: wire.host_mac }, pod::End { name: wire.pod, mac: wire.pod_mac }];
        let make = exchange.order((link::NEW, codec::MAKE), |body| {
            pod::veth(body, ends, (seen.index, wire.mtu), netns.as_fd());
        });
        let look = exchange.question(link::GET, |body| link::by_name(body, wire.host));
        let mut found = None;
        let refusals = exchange.finish(|message| found = Found::read(message))?;
        match refusals.errno(make) {
            Some(libc::EEXIST) => return Err(taken(found, wire)),
            Some(libc::EXFULL) => return Err(PodError::BridgeFull { name: bridge.name }),
            _ => {}
        }
        let unpinned = seen.unpinned && gateways.iter().any(|place| refusals.errno(*place).is_none());
        let plugged = refusals.errno(make).is_none();
        let there = refusals.tolerate(|place, errno| gateways.contains(&place) && errno == libc::EEXIST);
        let result = there.into_result(|place| match place {
            place if place == make => {
                format!("making the veth pair {} and {} in {}", wire.host, wire.pod, netns.path().display())
            }
            place if place == look => format!("looking for {}", wire.host),
            place if gateways.contains(&place) => format!("giving the bridge {} its gateway address", bridge.name),
            _ => format!("bringing up the bridge {}", bridge.name),
        });
        match (result, found.and_then(|found| Some((found.index, found.peer?)))) {
            (Ok(()), Some((host, pod))) => Ok(Ends { host, pod, unpinned }),
            (result, Some((host, _))) if plugged => {
                self.delete(host, wire.host)?;
                Err(result.err().map_or(PodError::BridgeGone { name: bridge.name }, PodError::from))
            }
            (Err(error), _) => Err(error.into()),
            (Ok(()), None) => {
                let doing = format!("making the veth pair {}", wire.host);
                Err(Error::Malformed { doing, what: "a veth without another end" }.into())
            }
        }
    }

    /// Finishes the port: alias, hairpin, the bridge's address pinned if need be. Returns the pair's MTU.
    ///
    /// The question for the link that ends it has a use of its own: since Linux 6.8 the kernel answers it only after the
    /// carrier that the pod's end just brought has arrived (`linkwatch_sync_dev`), so the port forwards from now on.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn settle(&mut self, bridge: &BridgeSeen, ends: &Ends, wire: &Wire) -> std::result::Result<u32, PodError> {
        let mut exchange = Exchange::new(&mut self.socket);
        let port = exchange.order((link::NEW, 0), |body| pod::set_port(body, ends.host, &wire.alias, wire.hairpin));
        if ends.unpinned {
            // An address that is set, even to what it is, no longer follows the ports (`br_stp_recalculate_bridge_id`).
            let mac = link::Attributed { mac: Some(bridge.mac), ..link::Attributed::default() };
            exchange.order((link::NEW, 0), |body| link::set(body, bridge.index, mac));
        }
        let look = exchange.question(link::GET, |body| link::by_name(body, wire.host));
        let mut found = None;
        exchange.finish(|message| found = Found::read(message))?.into_result(|place| match place {
            place if place == port => format!("setting alias and hairpin of {}", wire.host),
            place if place == look => format!("looking for {}", wire.host),
            _ => "keeping the bridge's MAC address".to_owned(),
        })?;
        Ok(found.map_or(0, |found| found.mtu))
    }

    /// Tells it of neighbours on a link, each with its link-layer address, before it asks.
    ///
    /// # Errors
    /// When the kernel cannot be told; what it refuses is no error.
    pub fn introduce(&mut self, link: u32, neighbours: impl Iterator<Item = (IpAddr, Mac)>) -> Result<()> {
        introduce(&mut self.socket, link, neighbours)
    }

    /// Deletes a link; its other end, wherever that is, goes with it. One that is gone is as good as deleted.
    /// `ip link delete NAME`
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn delete(&mut self, index: u32, name: LinkName) -> Result<()> {
        delete(&mut self.socket, index, name)
    }
}

pub(super) fn find(socket: &mut Socket, name: LinkName) -> Result<Option<Found>> {
    let mut exchange = Exchange::new(socket);
    exchange.question(link::GET, |body| link::by_name(body, name));
    let mut found = None;
    let refusals = exchange.finish(|message| found = Found::read(message))?;
    refusals.tolerate(|_, errno| errno == libc::ENODEV).into_result(|_| format!("looking for the interface {name}"))?;
    Ok(found)
}

pub(super) fn delete(socket: &mut Socket, index: u32, name: LinkName) -> Result<()> {
    let mut exchange = Exchange::new(socket);
    exchange.order((link::DELETE, 0), |body| link::by_index(body, index));
    let refusals = exchange.finish(|_| {})?;
    refusals.tolerate(|_, errno| errno == libc::ENODEV).into_result(|_| format!("deleting the interface {name}"))
}

/// The kernel says EEXIST for either name.
fn taken(found: Option<Found>, wire: &Wire) -> PodError {
    match found {
        Some(found) => PodError::HostEndTaken { name: wire.host, alias: found.alias },
        None => PodError::PodEndTaken { name: wire.pod },
    }
}
