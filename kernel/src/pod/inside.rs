//! [`Pod`]: the pod's side of its wire, in its own network namespace.

use std::net::IpAddr;
use std::os::fd::AsFd;

use backends::LinkName;
use backends::state::RouteKey;
use ipam::{Family, Mac};
use ipnet::IpNet;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::exchange::Exchange;
use super::host::{Found, delete, find};
use super::{PodError, Route, ensure, introduce};
use crate::codec::{self, address, link, pod, route};
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
}

/// The pod's side.
#[derive(Debug)]
pub struct Pod {
    socket: Socket,
}

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
        Ok(Pod { socket: Socket::open(Protocol::Route)? })
    }

    /// Brings `lo` and the interface up and sets addresses and routes. Nothing waits for duplicate address detection.
    ///
    /// # Errors
    /// The first thing that was refused. A route that is there already is not: another network may have made it, and the
    /// first one wins as with the reference plugins.
    pub fn configure(&mut self, index: u32, name: LinkName, inside: &Inside) -> std::result::Result<(), PodError> {
        // The routes are ours to set: nobody on the bridge may announce others (RFC 4861 section 6.3.4).
        ensure(&format!("net/ipv6/conf/{name}/accept_ra"), "0")?;
        if inside.addresses.iter().any(|net| Family::of_net(net) == Family::V6) {
            // Runtimes start pods with IPv6 off, and the kernel then refuses addresses (EACCES).
            ensure(&format!("net/ipv6/conf/{name}/disable_ipv6"), "0")?;
            ensure("net/ipv6/conf/lo/disable_ipv6", "0")?;
        }
        let mut exchange = Exchange::new(&mut self.socket);
        let up = libc::IFF_UP as u32;
        exchange.order((link::NEW, 0), |body| link::set_flags(body, pod::LOOPBACK, up));
        exchange.order((link::NEW, 0), |body| link::set_flags(body, index, up));
        for net in &inside.addresses {
            exchange.order((address::NEW, codec::MAKE), |body| pod::address(body, index, *net));
        }
        for route in &inside.routes {
            exchange.order((route::NEW, codec::MAKE), |body| pod::route(body, index, route));
        }
        let refusals = exchange.finish(|_| {})?;
        let first_route = 2 + inside.addresses.len();
        let refusals = refusals.tolerate(|place, errno| place >= first_route && errno == libc::EEXIST);
        Ok(refusals.into_result(|place| match (place, inside.addresses.get(place.wrapping_sub(2))) {
            (0, _) => "bringing up lo in the pod".to_owned(),
            (1, _) => format!("bringing up {name} in the pod"),
            (_, Some(net)) => format!("adding the address {net} to {name} in the pod"),
            (place, None) => match inside.routes.get(place - first_route) {
                Some(Route { destination, gateway: Some(gateway), .. }) => {
                    format!("adding the route to {destination} via {gateway} in the pod")
                }
                Some(route) => format!("adding the route to {} in the pod", route.destination),
                None => "adding a route in the pod".to_owned(),
            },
        })?)
    }

    /// Tells it of neighbours on a link, each with its link-layer address, before it asks.
    ///
    /// # Errors
    /// When the kernel cannot be told; what it refuses is no error.
    pub fn introduce(&mut self, link: u32, neighbours: impl Iterator<Item = (IpAddr, Mac)>) -> Result<()> {
        introduce(&mut self.socket, link, neighbours)
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

    /// A family's routes in table main: destinations with gateways. `ip route show`
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn routes(&mut self, family: Family) -> Result<Vec<(RouteKey, Option<IpAddr>)>> {
        let request = Request { kind: route::GET, flags: 0, doing: "listing the pod's routes" };
        let messages = self.socket.dump(&request, |body| route::of_family(body, family, route::Which::Any))?;
        let entries = messages.filter_map(|message| route::Entry::read(&message));
        Ok(entries.map(|entry| (entry.key, entry.gateway)).collect())
    }
}
