//! [`Host`]: the node's side of a pod's wire, in the network namespace of the thread that opens it.

use std::net::IpAddr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use backends::LinkName;
use ipam::{Family, Mac};
use ipnet::IpNet;

use super::bridge::{Footing, Tended, VlanEnd};
use super::burial::GROUP;
use super::exchange::Exchange;
use super::routed::let_answer;
use super::{Hairpin, Inside, Isolation, Laid, PodError, Port, Terms, Way, Wire, introduce};
use crate::codec::{self, bridge, link, neighbour, pod};
use crate::error::{Error, Result};
use crate::netlink::{Body, Message, Protocol, Request, Socket};
use crate::netns::Netns;

/// How long the kernel may take to bring up a link whose both ends are up. Since Linux 6.8 it is there when one looks.
const CARRIER_PATIENCE: Duration = Duration::from_secs(3);
/// A broadcast costs the node some work for each port, milliseconds on a full bridge. Beyond as many pods as a Kubernetes
/// node has by default, one is sent only if the node itself remembers another pod by the address.
const CROWD: u16 = 128;
/// `IF_OPER_UP` (RFC 2863).
pub(super) const UP: u8 = 6;

/// The node's side.
#[derive(Debug)]
pub struct Host {
    pub(super) socket: Socket,
}

/// Who must hear of a new pod's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audience {
    /// All on the link.
    Everybody,
    /// Nobody remembers another pod, as far as the node knows.
    Nobody,
}

/// A veth pair that was just made: interface indices, each in its own namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The end on the node.
    pub host: u32,
    /// The end in the pod.
    pub pod: u32,
    /// Whether the bridge's address must be pinned.
    unpinned: bool,
}

/// A link as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Interface index.
    pub index: u32,
    /// Its name; `None` when it is none that we could write.
    pub name: Option<LinkName>,
    /// What the kernel calls it: `veth`, `bridge`; empty for hardware.
    pub kind: String,
    /// Administratively up.
    pub up: bool,
    /// Whether it takes in every frame because it was told to.
    pub promiscuous: bool,
    /// `IF_OPER_*`.
    pub operation: u8,
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
    /// Its link group; [`GROUP`] when it only waits to be deleted.
    pub group: u32,
}

impl Found {
    pub(super) fn read(message: &Message<'_>) -> Option<Found> {
        let entry = link::Entry::read(message)?;
        Some(Found {
            index: entry.index,
            name: entry.name,
            kind: entry.kind.unwrap_or_default().to_owned(),
            up: entry.up,
            promiscuous: entry.promiscuous,
            operation: entry.operation,
            mac: entry.mac,
            mtu: entry.mtu,
            alias: entry.alias.unwrap_or_default().to_owned(),
            port: bridge::port(message),
            peer: pod::peer(message),
            group: entry.group,
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

    /// All links whose alias begins so. `ip -d link`
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn aliased(&mut self, beginning: &str) -> Result<Vec<Found>> {
        let request = Request { kind: link::GET, flags: 0, doing: "listing the node's links" };
        let messages = self.socket.dump(&request, link::all)?;
        Ok(messages.filter_map(|message| Found::read(&message)).filter(|f| f.alias.starts_with(beginning)).collect())
    }

    /// Makes the pair, and what its host's end hangs on.
    pub(super) fn lay(&mut self, way: &Way, wire: &Wire, netns: &Netns) -> std::result::Result<Laid, PodError> {
        match way {
            Way::Bridged(bridge, terms) => {
                let filtering = terms.vlans.filtering();
                let (seen, others) = self.bridge(bridge, filtering)?;
                let vlan = self.vlan_end(bridge, &seen, &terms.vlans)?;
                let gateways_on = vlan.as_ref().map_or(seen.index, |end| end.index);
                let footing = Footing { wanted: bridge, seen: &seen, others: &others, gateways_on };
                let ends = self.plug(Some(footing), wire, (terms, netns))?;
                let vlan = vlan.map(|VlanEnd { name, mac, .. }| (name, mac));
                if let Err(error) = self.set_vlans((ends.host, wire.host), &terms.vlans) {
                    self.delete(ends.host, wire.host)?;
                    return Err(error.into());
                }
                Ok(Laid { ends, bridge: Some(seen.tended(bridge)), vlan, beside: None })
            }
            Way::Routed { beside } => {
                let ends = self.plug(None, wire, (&Terms::default(), netns))?;
                let bridge = self.find(*beside)?.filter(|found| found.kind == "bridge").map(|found| found.index);
                if bridge.is_some() {
                    let_answer(*beside, &Family::ALL)?;
                }
                Ok(Laid { ends, bridge: None, vlan: None, beside: bridge })
            }
        }
    }

    /// Makes the pair, one end on the node and the other in the pod, and sees to the bridge. What DEL left to the daemon
    /// and the daemon did not do yet is in the way of the same container's next wire, and goes first.
    fn plug(
        &mut self,
        footing: Option<Footing<'_>>,
        wire: &Wire,
        (terms, netns): (&Terms, &Netns),
    ) -> std::result::Result<Ends, PodError> {
        match self.try_plug(footing, wire, (terms, netns)) {
            Err(taken @ (PodError::HostEndTaken { .. } | PodError::PodEndTaken { .. })) => {
                match self.find(wire.host)?.filter(|found| found.group == GROUP) {
                    Some(buried) => {
                        self.delete(buried.index, wire.host)?;
                        self.try_plug(footing, wire, (terms, netns))
                    }
                    None => Err(taken),
                }
            }
            result => result,
        }
    }

    fn try_plug(
        &mut self,
        footing: Option<Footing<'_>>,
        wire: &Wire,
        (terms, netns): (&Terms, &Netns),
    ) -> std::result::Result<Ends, PodError> {
        let mut exchange = Exchange::new(&mut self.socket);
        let tended = footing.map(|footing| Tended::new(&mut exchange, footing));
        let master = footing.map(|footing| footing.seen.index);
        let ends = [
            pod::End { name: wire.host, mac: wire.host_mac, group: wire.group },
            pod::End { name: wire.pod, mac: wire.pod_mac, group: 0 },
        ];
        let make = exchange.order((link::NEW, codec::MAKE), |body| {
            pod::veth(body, ends, (master, wire.mtu), netns.as_fd());
        });
        // In the same datagram, so that nobody is killed between the link and its alias; and before it is up, see `pod::veth`.
        let port = master.map(|_| (terms.hairpin, terms.isolation));
        let mark = exchange.order((link::NEW, 0), |body| {
            self::mark(body, wire, port);
            // A port needs no IPv6 address, and each would cost the node routes, groups and announcements.
            if port.is_some() {
                link::no_link_local(body);
            }
        });
        // Looked at before it is brought up: the kernel then has noted that there is no carrier yet (`linkwatch_sync_dev`, since
        // Linux 6.8). Otherwise the bridge takes the port for one that works, and soon for one that does not, and goes
        // through all of its ports each time (`br_port_state_selection`), as IPv6 does through its routes.
        let look = exchange.question(link::GET, |body| link::by_name(body, wire.host));
        let raise = exchange.order((link::NEW, 0), |body| link::bring_up(body, wire.host));
        let mut found = None;
        let mut refusals = exchange.finish(|message| found = Found::read(message))?;
        if refusals.errno(mark) == Some(libc::EAFNOSUPPORT) {
            // The kernel has none to give.
            refusals = refusals.tolerate(|place, _| place == mark);
            let mut exchange = Exchange::new(&mut self.socket);
            exchange.order((link::NEW, 0), |body| self::mark(body, wire, port));
            refusals = refusals.with(exchange.finish(|_| {})?, mark);
        }
        match (refusals.errno(make), footing) {
            (Some(libc::EEXIST), _) => return Err(taken(found, wire)),
            (Some(libc::EXFULL), Some(on)) => return Err(PodError::BridgeFull { name: on.wanted.name }),
            _ => {}
        }
        let added = tended.as_ref().is_some_and(|tended| tended.added(|place| refusals.errno(place)));
        let unpinned = added && footing.is_some_and(|footing| footing.seen.unpinned);
        let plugged = refusals.errno(make).is_none();
        let harmless = |place, errno| tended.as_ref().is_some_and(|tended| tended.is_harmless(place, errno));
        let result = refusals.tolerate(harmless).into_result(|place| match (place, &tended, footing) {
            (place, ..) if place == make => {
                format!("making the veth pair {} and {} in {}", wire.host, wire.pod, netns.path().display())
            }
            (place, ..) if place == mark => format!("setting alias, hairpin and isolation of {}", wire.host),
            (place, ..) if place == raise => format!("bringing up {}", wire.host),
            (place, Some(tended), Some(on)) if place != look => tended.doing(place, on.wanted.name),
            _ => format!("looking for {}", wire.host),
        });
        match (result, found.and_then(|found| Some((found.index, found.peer?)))) {
            (Ok(()), Some((host, pod))) => Ok(Ends { host, pod, unpinned }),
            (Err(error), Some((host, _))) if plugged => {
                self.delete(host, wire.host)?;
                Err(error.into())
            }
            (Err(error), _) => Err(error.into()),
            (Ok(()), None) => {
                let doing = format!("making the veth pair {}", wire.host);
                Err(Error::Malformed { doing, what: "a veth without another end" }.into())
            }
        }
    }

    /// Finishes the node's side: the bridge's address pinned if need be and the pod introduced to it, or the routes of a
    /// routed pod. Returns the pair's MTU, and who must hear of the pod.
    ///
    /// The question for the link that ends it has a use of its own: since Linux 6.8 the kernel answers it only after the
    /// carrier that the pod's end just brought has arrived (`linkwatch_sync_dev`), so the port forwards from now on.
    ///
    /// # Errors
    /// When the kernel refuses, or the link does not come up.
    pub(super) fn settle(
        &mut self,
        (way, laid): (&Way, &Laid),
        wire: &Wire,
        inside: &Inside,
    ) -> std::result::Result<(u32, Audience), PodError> {
        let mut misled = false;
        let found = match (way, laid.bridge) {
            (Way::Bridged(bridge, _), Some(seen)) => {
                // A bridge without addresses has nothing to say to a pod.
                let talks = !bridge.gateways.is_empty() && laid.vlan.is_none();
                let mut exchange = Exchange::new(&mut self.socket);
                if laid.ends.unpinned {
                    // An address that is set, even to what it is, no longer follows the ports
                    // (`br_stp_recalculate_bridge_id`).
                    let mac = link::Attributed { mac: Some(seen.mac), ..link::Attributed::default() };
                    exchange.order((link::NEW, 0), |body| link::set(body, seen.index, mac));
                }
                let mut looked = exchange.question(link::GET, |body| link::by_name(body, wire.host));
                if !seen.running {
                    // The first port that is up brings the bridge its carrier, and that has to arrive as well.
                    looked = exchange.question(link::GET, |body| link::by_name(body, bridge.name));
                }
                for address in inside.addresses.iter().map(IpNet::addr).filter(|_| talks) {
                    exchange.question(neighbour::GET, |body| neighbour::one(body, seen.index, address));
                    // What answered for a routed pod of this address before.
                    if address.is_ipv6() {
                        exchange.order((neighbour::DELETE, 0), |body| pod::delete_proxy(body, seen.index, address));
                    }
                    exchange.order((neighbour::NEW, codec::REPLACE), |body| {
                        neighbour::introduce(body, seen.index, address, wire.pod_mac);
                    });
                }
                let mut found = None;
                let refusals = exchange.finish(|message| {
                    found = Found::read(message).filter(|link| link.index == laid.ends.host).or_else(|| found.take());
                    misled |= neighbour::Entry::read(message).is_some_and(|entry| entry.mac != wire.pod_mac);
                })?;
                refusals
                    .tolerate(|place, _| place > looked)
                    .into_result(|_| format!("keeping the bridge's MAC address, or looking for {}", wire.host))?;
                found
            }
            _ => self.settle_routed((laid.ends.host, laid.beside), wire, inside)?,
        };
        let found = self.await_carrier(found, wire, inside)?;
        let crowded = found.port.is_some_and(|port| port.number > CROWD);
        Ok((found.mtu, if crowded && !misled { Audience::Nobody } else { Audience::Everybody }))
    }

    fn await_carrier(
        &mut self,
        mut found: Option<Found>,
        wire: &Wire,
        inside: &Inside,
    ) -> std::result::Result<Found, PodError> {
        let began = Instant::now();
        loop {
            match found {
                Some(found) if found.operation == UP || inside.end == super::PodEnd::Down => return Ok(found),
                _ if began.elapsed() > CARRIER_PATIENCE => {
                    return Err(PodError::NoCarrier { name: wire.host, seconds: CARRIER_PATIENCE.as_secs() });
                }
                _ => {}
            }
            std::thread::park_timeout(Duration::from_millis(1));
            found = self.find(wire.host)?;
        }
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

/// `ip link set dev NAME alias TEXT type bridge_slave hairpin on|off isolated on|off`, the latter for a port.
fn mark(body: &mut Body<'_>, wire: &Wire, port: Option<(Hairpin, Isolation)>) {
    link::by_name_alone(body, wire.host);
    link::alias(body, &wire.alias);
    if let Some(port) = port {
        bridge::port_terms(body, port);
    }
}

/// The kernel says EEXIST for either name.
fn taken(found: Option<Found>, wire: &Wire) -> PodError {
    match found {
        Some(found) => PodError::HostEndTaken { name: wire.host, alias: found.alias },
        None => PodError::PodEndTaken { name: wire.pod },
    }
}
