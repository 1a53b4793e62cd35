//! A wire without a bridge: the node's route to the pod, and its answers in the gateway's name.
//!
//! The pod's gateway is an address that is the same on every wire of every node ([`gateway`]), with a link-layer address
//! that the pod is told once and for all. If the pod forgets it, the node's end still answers: IPv4 by `proxy_arp`, IPv6
//! because the address is there. Why so: docs/adr/0009-routed-pods.md.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use backends::LinkName;
use ipam::Family;
use ipnet::IpNet;

use super::exchange::Exchange;
use super::host::{Found, Host};
use super::{Dad, Inside, PodError, Wire, ensure};
use crate::codec::{self, address, link, neighbour, pod, route};
use crate::error::Result;
use crate::netlink::Request;

/// The gateway of every routed pod: link-local, so that no route anywhere leads there (RFC 3927, RFC 4291 section 2.5.6).
pub const fn gateway(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::new(169, 254, 1, 1)),
        Family::V6 => IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1)),
    }
}

/// Lets a bridge answer for routed pods, which its own pods believe to be on it. Without the wait by which answers in
/// another's name are put off otherwise (`neigh_proxy_delay`, up to 0.8 s).
pub(super) fn let_answer(bridge: LinkName, families: &[Family]) -> std::result::Result<(), PodError> {
    for family in families {
        let (kind, key) = match family {
            Family::V4 => ("ipv4", "proxy_arp"),
            Family::V6 => ("ipv6", "proxy_ndp"),
        };
        ensure(&format!("net/{kind}/neigh/{bridge}/proxy_delay"), "0")?;
        ensure(&format!("net/{kind}/conf/{bridge}/{key}"), "1")?;
    }
    Ok(())
}

impl Host {
    /// The node's side of a routed wire: routes, the gateway's address, and the bridge's answers. Returns the place of
    /// each message's first of its kind, for errors.
    pub(super) fn settle_routed(
        &mut self,
        (ends, beside): (u32, Option<u32>),
        wire: &Wire,
        inside: &Inside,
    ) -> std::result::Result<Option<Found>, PodError> {
        let (mut exchange, index) = (Exchange::new(&mut self.socket), ends);
        // With an answer to whoever asks for the gateway, and none of the advice to talk to each other directly.
        exchange.order((link::NEW, 0), |body| pod::set_inet(body, index, &[(pod::PROXY_ARP, 1), (SEND_REDIRECTS, 0)]));
        if inside.addresses.iter().any(|net| Family::of_net(net) == Family::V6) {
            let net = IpNet::from(gateway(Family::V6));
            exchange.order((address::NEW, codec::MAKE), |body| pod::address(body, index, net, Dad::Off));
        }
        let mut routes = Vec::with_capacity(inside.addresses.len());
        let mut introductions = Vec::new();
        for address in inside.addresses.iter().map(IpNet::addr) {
            routes.push(exchange.order((route::NEW, codec::REPLACE), |body| pod::host_route(body, index, address)));
            introductions.push(exchange.order((neighbour::NEW, codec::REPLACE), |body| {
                neighbour::introduce(body, index, address, wire.pod_mac);
            }));
            // IPv4 needs no entry: `proxy_arp` answers for whatever is routed elsewhere.
            if let Some(bridge) = beside.filter(|_| address.is_ipv6()) {
                exchange.order((neighbour::NEW, codec::REPLACE), |body| pod::proxy(body, bridge, address));
            }
        }
        let look = exchange.question(link::GET, |body| link::by_name(body, wire.host));
        let mut found = None;
        let refusals = exchange.finish(|message| found = Found::read(message))?;
        refusals.tolerate(|place, _| introductions.contains(&place)).into_result(|place| {
            if let Some(address) = routes.iter().position(|route| *route == place).and_then(|n| inside.addresses.get(n))
            {
                return format!("making the node's route to {} on {}", address.addr(), wire.host);
            }
            match place {
                place if place == look => format!("looking for {}", wire.host),
                _ => format!("making {} answer as the pod's gateway", wire.host),
            }
        })?;
        Ok(found)
    }

    /// The addresses that the node routes to a link, those of routed pods alone. `ip route show dev … proto 85`
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn routed_to(&mut self, index: u32, family: Family) -> Result<Vec<IpAddr>> {
        self.pod_routes(family, route::Which::Through(index), Some(index))
    }

    fn pod_routes(&mut self, family: Family, which: route::Which, link: Option<u32>) -> Result<Vec<IpAddr>> {
        let request = Request { kind: route::GET, flags: 0, doing: "listing the node's routes to pods" };
        let messages = match self.socket.dump(&request, |body| route::of_family(body, family, which)) {
            // A namespace without any route has no table either (`inet_dump_fib`).
            Err(error) if error.errno() == libc::ENOENT => return Ok(Vec::new()),
            messages => messages?,
        };
        let entries = messages.filter_map(|message| route::Entry::read(&message));
        let ours = entries.filter(|entry| {
            entry.protocol == codec::pod::POD_PROTOCOL && link.is_none_or(|link| entry.link == Some(link))
        });
        Ok(ours.map(|entry| entry.key.destination.addr()).collect())
    }

    /// Makes a bridge that is new answer for the routed pods that are there already.
    pub(super) fn answer_for_routed(&mut self, name: LinkName, bridge: u32) -> std::result::Result<(), PodError> {
        for family in Family::ALL {
            let pods = self.pod_routes(family, route::Which::Any, None)?;
            if pods.is_empty() {
                continue;
            }
            let_answer(name, &[family])?;
            let mut exchange = Exchange::new(&mut self.socket);
            for address in pods.into_iter().filter(IpAddr::is_ipv6) {
                exchange.order((neighbour::NEW, codec::REPLACE), |body| pod::proxy(body, bridge, address));
            }
            exchange.finish(|_| {})?.into_result(|_| format!("making {name} answer for routed pods"))?;
        }
        Ok(())
    }

    /// Takes away the answers that bridges give for pods that the node has no route to any more: those whose link was taken
    /// out of service, or went with the pod's namespace. `ip neigh delete proxy ADDRESS dev …`
    ///
    /// # Errors
    /// When the kernel does not say who is answered for.
    pub fn forget_unrouted(&mut self) -> Result<()> {
        let request = Request { kind: neighbour::GET, flags: 0, doing: "listing the answers for routed pods" };
        let messages = self.socket.dump(&request, neighbour::proxies)?;
        // Only IPv6 needs an entry where a bridge answers for a routed pod.
        let answered: Vec<_> = messages.filter_map(|message| pod::proxied(&message)).collect();
        if answered.is_empty() {
            return Ok(());
        }
        // Looked at after the answers: a new pod's route comes before them.
        let routed = self.pod_routes(Family::V6, route::Which::Any, None)?;
        let mut exchange = Exchange::new(&mut self.socket);
        for (link, address) in answered.into_iter().filter(|(_, address)| !routed.contains(address)) {
            exchange.order((neighbour::DELETE, 0), |body| pod::delete_proxy(body, link, address));
        }
        // Whoever else deletes them at this moment does as we would.
        exchange.finish(|_| {}).map(drop)
    }
}

/// `IPV4_DEVCONF_SEND_REDIRECTS`
const SEND_REDIRECTS: u16 = 6;
