//! What the node has: links, their addresses, default routes. The facts from which the uplink is chosen, and whether we
//! may change anything at all. Plain values; the choice itself is the daemon's.

mod on_link;

pub use on_link::on_link;

use std::net::IpAddr;

use backends::LinkName;
use ipam::{Family, Mac};
use ipnet::IpNet;
use rustix::thread::CapabilitySet;

use crate::codec::{address, link, route};
use crate::error::{Error, Result};
use crate::netlink::{Protocol, Request, Socket};

/// The facts, all of one moment or nearly so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// All links, in the order of their indices.
    pub links: Vec<Interface>,
    /// The default routes of table main, IPv4 first, of each family the preferred one first.
    pub default_routes: Vec<DefaultRoute>,
}

/// A link. `ip -d address show`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Interface index.
    pub index: u32,
    /// Name.
    pub name: LinkName,
    /// Octets of payload.
    pub mtu: u32,
    /// Administratively up.
    pub up: bool,
    /// The other end is there (`LOWER_UP`).
    pub carrier: bool,
    /// Whether it is `lo`.
    pub loopback: bool,
    /// `vxlan`, `bridge`, `veth`; `None` for hardware.
    pub kind: Option<String>,
    /// Link-layer address, if it has one of six octets.
    pub mac: Option<Mac>,
    /// Its addresses in the kernel's order: for IPv4 primary ones first, for IPv6 the newest first.
    pub addresses: Vec<InterfaceAddress>,
}

/// An address of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// The address with its prefix length.
    pub net: IpNet,
    /// How far it is valid.
    pub scope: AddressScope,
    /// It does not expire, as one from DHCP or a router's advertisement does.
    pub permanent: bool,
    /// A privacy address (RFC 8981), gone tomorrow.
    pub temporary: bool,
    /// Not for new connections (RFC 4862 section 5.5.4).
    pub deprecated: bool,
    /// Not usable yet, or found to be another host's: duplicate address detection (RFC 4862 section 5.4).
    pub tentative: bool,
}

/// How far an address is valid (`scope` in `ip address`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AddressScope {
    /// Everywhere, private networks included.
    Global,
    /// Within a site.
    Site,
    /// On the link alone.
    Link,
    /// Within the host alone, like 127.0.0.1.
    Host,
}

/// A way out. `ip route show default`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DefaultRoute {
    /// Of which family.
    pub family: Family,
    /// Through which link; a route to several next hops counts once for each.
    pub link: LinkName,
    /// The gateway; none on a link between two.
    pub gateway: Option<IpAddr>,
    /// The smaller, the better.
    pub metric: u32,
    /// The kernel has it from a router's advertisement (RFC 4861 section 4.2): `proto ra`.
    pub learnt: bool,
}

/// `RTPROT_RA`
const ADVERTISED: u8 = 9;

/// Reads the facts of the calling thread's network namespace.
///
/// # Errors
/// When a list cannot be had.
pub fn read() -> Result<Inventory> {
    let mut socket = Socket::open(Protocol::Route)?;
    let links = interfaces_by(&mut socket)?;
    let default_routes = default_routes(&mut socket, &links)?;
    Ok(Inventory { links, default_routes })
}

/// Links and addresses alone, whatever routes there are, which may be very many.
///
/// # Errors
/// When a list cannot be had.
pub fn interfaces() -> Result<Vec<Interface>> {
    interfaces_by(&mut Socket::open(Protocol::Route)?)
}

fn interfaces_by(socket: &mut Socket) -> Result<Vec<Interface>> {
    let mut links = links(socket)?;
    addresses(socket, &mut links)?;
    Ok(links)
}

/// The link through which packets to an address leave; `None` when there is no way. `ip route get ADDRESS`
///
/// # Errors
/// When the kernel cannot be asked.
pub fn route_to(address: IpAddr) -> Result<Option<LinkName>> {
    let mut ways = Ways::open()?;
    let Some(index) = ways.link(address)? else { return Ok(None) };
    let doing = format!("looking up the route to {address}");
    let request = Request { kind: link::GET, flags: 0, doing: &doing };
    let mut answers = ways.socket.query(&request, |body| link::by_index(body, index))?;
    Ok(answers.find_map(|message| link::Entry::read(&message)?.name))
}

/// Asks the kernel for the ways to many addresses, one after another.
#[derive(Debug)]
pub struct Ways {
    socket: Socket,
}

impl Ways {
    /// A socket to ask with.
    ///
    /// # Errors
    /// When there is none to be had.
    pub fn open() -> Result<Ways> {
        Ok(Ways { socket: Socket::open(Protocol::Route)? })
    }

    /// The number of the link through which packets to an address leave; `None` when there is no way.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn link(&mut self, address: IpAddr) -> Result<Option<u32>> {
        let doing = format!("looking up the route to {address}");
        let request = Request { kind: route::GET, flags: 0, doing: &doing };
        match self.socket.query(&request, |body| route::towards(body, address)) {
            Ok(mut answers) => Ok(answers.find_map(|message| route::device(&message))),
            // No route, or one that says: unreachable, prohibit, blackhole (`fib_props` in net/ipv4/fib_semantics.c).
            Err(Error::Refused { refusal, .. })
                if [libc::ENETUNREACH, libc::EHOSTUNREACH, libc::EACCES, libc::EINVAL].contains(&refusal.errno) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// Whether the calling thread has CAP_NET_ADMIN, without which nothing here can be changed. `CapEff` in
/// /proc/self/status
pub fn net_admin() -> bool {
    rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::NET_ADMIN))
}

fn links(socket: &mut Socket) -> Result<Vec<Interface>> {
    let request = Request { kind: link::GET, flags: 0, doing: "listing links" };
    let entries = socket.dump(&request, link::all)?.filter_map(|message| link::Entry::read(&message));
    let interface = |entry: link::Entry<'_>| {
        Some(Interface {
            index: entry.index,
            name: entry.name?,
            mtu: entry.mtu,
            up: entry.up,
            carrier: entry.carrier,
            loopback: entry.loopback,
            kind: entry.kind.map(str::to_owned),
            mac: entry.mac,
            addresses: Vec::new(),
        })
    };
    let mut links: Vec<Interface> = entries.filter_map(interface).collect();
    links.sort_by_key(|link| link.index);
    Ok(links)
}

fn addresses(socket: &mut Socket, links: &mut [Interface]) -> Result<()> {
    let request = Request { kind: address::GET, flags: 0, doing: "listing addresses" };
    // Index 0 is every link.
    let entries = socket.dump(&request, |body| address::of_link(body, 0))?;
    for entry in entries.filter_map(|message| address::Entry::read(&message)) {
        if let Ok(at) = links.binary_search_by_key(&entry.link, |link| link.index) {
            let has = |flags: u32| entry.flags & flags != 0;
            links[at].addresses.push(InterfaceAddress {
                net: entry.net,
                scope: match entry.scope {
                    libc::RT_SCOPE_UNIVERSE => AddressScope::Global,
                    libc::RT_SCOPE_LINK => AddressScope::Link,
                    libc::RT_SCOPE_HOST | libc::RT_SCOPE_NOWHERE => AddressScope::Host,
                    _ => AddressScope::Site,
                },
                permanent: has(libc::IFA_F_PERMANENT),
                // The same bit says "secondary" of an IPv4 address.
                temporary: has(libc::IFA_F_TEMPORARY) && entry.net.addr().is_ipv6(),
                deprecated: has(libc::IFA_F_DEPRECATED),
                tentative: has(libc::IFA_F_TENTATIVE | libc::IFA_F_DADFAILED) && !has(libc::IFA_F_OPTIMISTIC),
            });
        }
    }
    Ok(())
}

fn default_routes(socket: &mut Socket, links: &[Interface]) -> Result<Vec<DefaultRoute>> {
    let request = Request { kind: route::GET, flags: 0, doing: "listing the routes of table main" };
    let mut routes = Vec::new();
    for family in Family::ALL {
        for message in socket.dump(&request, |body| route::of_family(body, family, route::Which::Any))? {
            let Some(entry) = route::Entry::read(&message) else { continue };
            // A kernel without IPv6 lists all that it has, when it is asked for that.
            let other = Family::of_net(&entry.key.destination) != family;
            if other || entry.key.destination.prefix_len() != 0 || entry.nowhere.is_some() {
                continue;
            }
            let single = entry.link.map(|index| (index, entry.gateway));
            for (index, gateway) in single.into_iter().chain(route::hops(&message)) {
                let found = links.binary_search_by_key(&index, |link| link.index).ok().map(|at| &links[at]);
                if let Some(link) = found.filter(|link| !link.loopback) {
                    let (metric, learnt) = (entry.key.metric, entry.protocol == ADVERTISED);
                    routes.push(DefaultRoute { family, link: link.name, gateway, metric, learnt });
                }
            }
        }
    }
    routes.sort_by_key(|route| (route.family, route.metric));
    Ok(routes)
}
