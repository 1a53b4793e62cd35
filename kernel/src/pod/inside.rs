//! [`Pod`]: the pod's side of its wire, in its own network namespace.

use std::net::IpAddr;
use std::os::fd::AsFd;

use backends::LinkName;
use backends::state::RouteKey;
use ipam::{Family, Mac};
use ipnet::IpNet;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::exchange::Exchange;
use super::host::{Audience, Found, delete, find};
use super::settings::Settings;
use super::{Dad, PodError, Route, gateway};
use crate::codec::{self, address, link, neighbour, pod, route};
use crate::error::Result;
use crate::netlink::{Protocol, Request, Socket};
use crate::netns::{Netns, NetnsError};

/// What is set on the pod's end, as wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inside {
    /// Addresses with their subnets' lengths.
    pub addresses: Vec<IpNet>,
    /// Routes through the interface.
    pub routes: Vec<Route>,
    /// Whether its IPv6 addresses are first asked for on the link.
    pub dad: Dad,
    /// Whether it is brought up.
    pub end: PodEnd,
}

/// Whether the pod's end is brought up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PodEnd {
    /// It is.
    #[default]
    Up,
    /// What is in the pod does that itself, when it likes.
    Down,
}

/// The pod's side.
#[derive(Debug)]
pub struct Pod {
    pub(super) socket: Socket,
    /// Hears what becomes of addresses that are asked for on the link.
    addresses: Option<Socket>,
}

/// `RTNLGRP_IPV6_IFADDR`
const ADDRESSES: u32 = 9;

impl Pod {
    /// Moves the calling thread into the pod's network namespace, for good: for a process that does nothing else, or a
    /// thread that ends. `ip netns exec`
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn enter(netns: &Netns) -> std::result::Result<Pod, PodError> {
        move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network)).map_err(|errno| match errno {
            rustix::io::Errno::INVAL => NetnsError::NotANamespace { path: netns.path().to_owned() },
            errno => NetnsError::Enter { path: netns.path().to_owned(), source: errno.into() },
        })?;
        Ok(Pod { socket: Socket::open(Protocol::Route)?, addresses: None })
    }

    /// Brings `lo` and the interface up and sets addresses and routes.
    ///
    /// # Errors
    /// The first thing that was refused. A route that is there already is not: another network may have made it, and the
    /// first one wins as with the reference plugins.
    pub fn configure(&mut self, index: u32, name: LinkName, inside: &Inside) -> std::result::Result<(), PodError> {
        self.prepare(name, inside)?;
        let mut exchange = Exchange::new(&mut self.socket);
        let up = libc::IFF_UP as u32;
        // The addresses are announced when there is somebody to hear it, see `announce`.
        let first = [
            exchange.order((link::NEW, 0), |body| link::set_flags(body, pod::LOOPBACK, up)),
            exchange.order((link::NEW, 0), |body| pod::set_inet(body, index, &[(pod::ARP_NOTIFY, 1)])),
        ];
        let mut raised = usize::MAX;
        if inside.end == PodEnd::Up {
            raised = exchange.order((link::NEW, 0), |body| link::set_flags(body, index, up));
        }
        let add = |net: &IpNet| {
            exchange.order((address::NEW, codec::MAKE), |body| pod::address(body, index, *net, inside.dad))
        };
        let addresses: Vec<usize> = inside.addresses.iter().map(add).collect();
        let add = |route: &Route| exchange.order((route::NEW, codec::MAKE), |body| pod::route(body, index, route));
        let routes: Vec<usize> = inside.routes.iter().map(add).collect();
        let refusals = exchange.finish(|_| {})?;
        let refusals = refusals.tolerate(|place, errno| routes.contains(&place) && errno == libc::EEXIST);
        Ok(refusals.into_result(|place| {
            let at = |places: &[usize]| places.iter().position(|other| *other == place);
            if let Some(net) = at(&addresses).and_then(|at| inside.addresses.get(at)) {
                format!("adding the address {net} to {name} in the pod")
            } else if let Some(route) = at(&routes).and_then(|at| inside.routes.get(at)) {
                let via = route.gateway.map(|gateway| format!(" via {gateway}")).unwrap_or_default();
                format!("adding the route to {}{via} in the pod", route.destination)
            } else if place == raised {
                format!("bringing up {name} in the pod")
            } else if at(&first) == Some(0) {
                "bringing up lo in the pod".to_owned()
            } else {
                format!("letting {name} in the pod announce its addresses")
            }
        })?)
    }

    /// The settings that have to be right before the link is up.
    fn prepare(&mut self, name: LinkName, inside: &Inside) -> std::result::Result<(), PodError> {
        // The routes are ours to set: nobody on the bridge may announce others (RFC 4861 section 6.3.4).
        let settings = Settings::open();
        settings.set(&format!("net/ipv6/conf/{name}/accept_ra"), "0")?;
        if !inside.addresses.iter().any(|net| Family::of_net(net) == Family::V6) {
            return Ok(());
        }
        // Runtimes start pods with IPv6 off, and the kernel then refuses addresses (EACCES).
        settings.ensure(&format!("net/ipv6/conf/{name}/disable_ipv6"), "0")?;
        settings.ensure("net/ipv6/conf/lo/disable_ipv6", "0")?;
        settings.set(&format!("net/ipv6/conf/{name}/ndisc_notify"), "1")?;
        if inside.dad == Dad::On {
            settings.set(&format!("net/ipv6/conf/{name}/enhanced_dad"), "1")?;
            settings.set(&format!("net/ipv6/conf/{name}/accept_dad"), "1")?;
            let socket = Socket::open(Protocol::Route)?;
            socket.join(ADDRESSES)?;
            self.addresses = Some(socket);
            return Ok(());
        }
        // The link-local address, too, shall be good at once.
        Ok(settings.set(&format!("net/ipv6/conf/{name}/accept_dad"), "0")?)
    }

    /// Tells the link of the pod's addresses, by gratuitous ARP (RFC 5227 section 3) and unsolicited neighbour advertisement
    /// (RFC 4861 section 7.2.6): who remembers another pod by one of them learns better. And tells the pod of its
    /// gateways, so that its first packet needs no question.
    ///
    /// Setting an address that is set already has the kernel announce (`NETDEV_CHANGEADDR`). A packet socket could as well,
    /// but closing one waits for RCU (`packet_release`).
    ///
    /// # Errors
    /// When the kernel cannot be asked, or an address is in use by somebody else (only with [`Dad::On`]).
    pub(super) fn announce(
        &mut self,
        (index, mac, audience): (u32, Mac, Audience),
        inside: &Inside,
        gateways: &[(IpAddr, Mac)],
    ) -> std::result::Result<(), PodError> {
        self.await_dad(index, inside)?;
        let mut exchange = Exchange::new(&mut self.socket);
        if !inside.addresses.is_empty() && audience == Audience::Everybody {
            let same = link::Attributed { mac: Some(mac), ..link::Attributed::default() };
            exchange.order((link::NEW, 0), |body| link::set(body, index, same));
        }
        for (address, mac) in gateways {
            // That of a routed pod is the same for ever; a bridge's soon asks whether it is still so.
            if *address == gateway(Family::of(*address)) {
                exchange.order((neighbour::NEW, codec::REPLACE), |body| pod::neighbour(body, index, *address, *mac));
            } else {
                exchange.order((neighbour::NEW, codec::REPLACE), |body| {
                    neighbour::introduce(body, index, *address, *mac);
                });
            }
        }
        // What is refused here will be asked for on the link.
        Ok(exchange.finish(|_| {}).map(drop)?)
    }

    /// Waits for the link's answer whether anybody has the IPv6 addresses; silence for a second or two is the best.
    fn await_dad(&mut self, index: u32, inside: &Inside) -> std::result::Result<(), PodError> {
        let Some(socket) = &mut self.addresses else { return Ok(()) };
        let mut asked: Vec<IpAddr> = inside.addresses.iter().map(IpNet::addr).filter(IpAddr::is_ipv6).collect();
        while !asked.is_empty() {
            for message in socket.receive("waiting for duplicate address detection in the pod")? {
                let Some(entry) = address::Entry::read(&message).filter(|entry| entry.link == index) else { continue };
                let address = entry.net.addr();
                if entry.flags & libc::IFA_F_DADFAILED != 0 && asked.contains(&address) {
                    return Err(PodError::Duplicate { address });
                }
                if entry.flags & libc::IFA_F_TENTATIVE == 0 {
                    asked.retain(|other| *other != address);
                }
            }
        }
        Ok(())
    }

    /// One link by its name; `None` when there is none. `ip -d link show NAME`
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn find(&mut self, name: LinkName) -> Result<Option<Found>> {
        find(&mut self.socket, name)
    }

    /// Deletes the pod's end of a wire, whoever made it, and the host's with it. Gone is as good as deleted.
    ///
    /// # Errors
    /// When it is something else than a veth, or the kernel refuses.
    pub fn unplug(&mut self, name: LinkName) -> std::result::Result<(), PodError> {
        match self.find(name)? {
            None => Ok(()),
            Some(found) if found.kind == "veth" => Ok(delete(&mut self.socket, found.index, name)?),
            Some(found) => {
                let kind = if found.kind.is_empty() { "network card".to_owned() } else { found.kind };
                Err(PodError::NotAVeth { name, kind })
            }
        }
    }

    /// The addresses on a link. `ip address show dev …`
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn addresses(&mut self, index: u32) -> Result<Vec<IpNet>> {
        let request = Request { kind: address::GET, flags: 0, doing: "listing the pod's addresses" };
        let messages = self.socket.dump(&request, |body| address::of_link(body, index))?;
        let entries = messages.filter_map(|message| address::Entry::read(&message));
        // Kernels before 4.20 do not filter.
        Ok(entries.filter(|entry| entry.link == index).map(|entry| entry.net).collect())
    }

    /// A family's routes: tables, destinations and gateways. `ip route show table all`
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn routes(&mut self, family: Family) -> Result<Vec<(u32, RouteKey, Option<IpAddr>)>> {
        let request = Request { kind: route::GET, flags: 0, doing: "listing the pod's routes" };
        let messages = self.socket.dump(&request, |body| route::of_family(body, family, route::Which::InAnyTable))?;
        let entries = messages.filter_map(|message| route::Entry::with_table(&message));
        Ok(entries.map(|(table, entry)| (table, entry.key, entry.gateway)).collect())
    }
}
