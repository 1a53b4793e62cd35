//! What a pod's wire is made of, as messages: the veth pair, addresses, neighbours and routes, none with the daemon's tag.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use backends::LinkName;
use ipam::Mac;
use ipnet::IpNet;

use super::{family, link};
use crate::netlink::{Body, Message};

/// `lo` has index 1 in every network namespace (`LOOPBACK_IFINDEX`).
pub const LOOPBACK: u32 = 1;

/// `VETH_INFO_PEER`: the far end's own `struct ifinfomsg` and attributes.
const PEER: u16 = 1;
/// The tag of what is the plugin's on the node: routes to pods, and proxy entries. The daemon's is 84.
pub const POD_PROTOCOL: u8 = 85;
/// `IFLA_INET_CONF`, inside `IFLA_AF_SPEC`, inside `AF_INET`.
const INET_CONF: u16 = 1;
/// `IPV4_DEVCONF_PROXY_ARP`.
pub const PROXY_ARP: u16 = 3;
/// `IPV4_DEVCONF_ARP_NOTIFY`.
pub const ARP_NOTIFY: u16 = 22;
/// `NDA_PROTOCOL`
const NEIGHBOUR_PROTOCOL: u16 = 12;
/// `RTAX_MTU`, `RTAX_ADVMSS`, inside `RTA_METRICS`.
const METRIC_MTU: u16 = 2;
const METRIC_ADVMSS: u16 = 8;

/// Index of a veth's other end, in the other end's namespace (`IFLA_LINK`).
pub fn peer(message: &Message<'_>) -> Option<u32> {
    message.attributes(16).get(libc::IFLA_LINK)?.u32()
}

/// One end of a veth pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Name.
    pub name: LinkName,
    /// Link-layer address.
    pub mac: Mac,
    /// Link group.
    pub group: u32,
}

/// `ip link add HOST address MAC mtu N master BRIDGE type veth peer name POD address MAC mtu N netns FD`, all at once;
/// without `master` for a wire that is routed. Neither end is up: whatever is changed on a link that is up is told to all
/// that listens in the kernel, and IPv6 then looks through all of its routes (`rt6_sync_down_dev`).
pub fn veth(
    body: &mut Body<'_>,
    [host, pod]: [End; 2],
    (master, mtu): (Option<u32>, Option<u32>),
    netns: BorrowedFd<'_>,
) {
    let end = |body: &mut Body<'_>, end: End| {
        body.text(libc::IFLA_IFNAME, end.name.as_str());
        body.mac(libc::IFLA_ADDRESS, end.mac);
        if end.group != 0 {
            body.u32(libc::IFLA_GROUP, end.group);
        }
        // As many as a veth uses that nobody asked for more. If it is not said, the kernel makes one for each processor, takes
        // them away again, and waits for all processors each time (`veth_init_queues`, `synchronize_net`).
        body.u32(libc::IFLA_NUM_TX_QUEUES, 1);
        body.u32(libc::IFLA_NUM_RX_QUEUES, 1);
        if let Some(mtu) = mtu {
            body.u32(libc::IFLA_MTU, mtu);
        }
    };
    link::head(body, 0, (0, 0));
    end(body, host);
    if let Some(master) = master {
        body.u32(libc::IFLA_MASTER, master);
    }
    body.nest(link::INFO, |info| {
        info.text(link::INFO_KIND, "veth");
        info.nest(link::INFO_DATA, |data| {
            data.nest(PEER, |peer| {
                link::head(peer, 0, (0, 0));
                end(peer, pod);
                peer.u32(libc::IFLA_NET_NS_FD, netns.as_raw_fd() as u32);
            });
        });
    });
}

/// Whether a new IPv6 address is first asked for on the link (RFC 4862 section 5.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dad {
    /// It is, and is useless for a second or two.
    On,
    /// The ledger knows that nobody else has it.
    #[default]
    Off,
}

/// `ip address add NET broadcast + dev … nodad`
pub fn address(body: &mut Body<'_>, link: u32, net: IpNet, dad: Dad) {
    let nodad = net.addr().is_ipv6() && dad == Dad::Off;
    let scope = if is_link_local(net.addr()) { libc::RT_SCOPE_LINK } else { libc::RT_SCOPE_UNIVERSE };
    let [i0, i1, i2, i3] = link.to_ne_bytes();
    let flags = if nodad { libc::IFA_F_NODAD as u8 } else { 0 };
    body.fixed(&[family(net.addr()), net.prefix_len(), flags, scope, i0, i1, i2, i3]);
    body.address(libc::IFA_LOCAL, net.addr());
    body.address(libc::IFA_ADDRESS, net.addr());
    if let IpNet::V4(net) = net
        && net.prefix_len() < 31
    {
        body.address(libc::IFA_BROADCAST, IpAddr::V4(net.broadcast()));
    }
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

/// `ip neigh replace ADDRESS lladdr MAC dev … nud permanent`, without the daemon's tag.
pub fn neighbour(body: &mut Body<'_>, link: u32, address: IpAddr, mac: Mac) {
    neighbour_head(body, (address, link), (libc::NUD_PERMANENT, 0));
    body.mac(libc::NDA_LLADDR, mac);
}

/// `ip neigh add proxy ADDRESS dev … protocol 85`: questions for it are answered in its stead.
pub fn proxy(body: &mut Body<'_>, link: u32, address: IpAddr) {
    neighbour_head(body, (address, link), (libc::NUD_PERMANENT, libc::NTF_PROXY));
    body.u8(NEIGHBOUR_PROTOCOL, POD_PROTOCOL);
}

/// The link and the address of an answer that [`proxy`] made.
pub fn proxied(message: &Message<'_>) -> Option<(u32, IpAddr)> {
    let [_, _, _, _, i0, i1, i2, i3, _, _, flags, _]: [u8; 12] = message.fixed()?;
    let attributes = message.attributes(12);
    let ours = attributes.get(NEIGHBOUR_PROTOCOL)?.u8()? == POD_PROTOCOL && flags & libc::NTF_PROXY != 0;
    Some((u32::from_ne_bytes([i0, i1, i2, i3]), attributes.get(libc::NDA_DST)?.address()?)).filter(|_| ours)
}

/// `ip neigh delete proxy ADDRESS dev …`
pub fn delete_proxy(body: &mut Body<'_>, link: u32, address: IpAddr) {
    neighbour_head(body, (address, link), (0, libc::NTF_PROXY));
}

fn neighbour_head(body: &mut Body<'_>, (address, link): (IpAddr, u32), (state, flags): (u16, u8)) {
    let ([i0, i1, i2, i3], [s0, s1]) = (link.to_ne_bytes(), state.to_ne_bytes());
    body.fixed(&[family(address), 0, 0, 0, i0, i1, i2, i3, s0, s1, flags, 0]);
    body.address(libc::NDA_DST, address);
}

/// `sysctl -w net.ipv4.conf.LINK.KEY=VALUE` for several keys, in a message: `IPV4_DEVCONF_*` and value.
pub fn set_inet(body: &mut Body<'_>, link: u32, settings: &[(u16, u32)]) {
    link::head(body, link, (0, 0));
    body.nest(libc::IFLA_AF_SPEC, |families| {
        families.nest(libc::AF_INET as u16, |inet| {
            inet.nest(INET_CONF, |conf| settings.iter().for_each(|(key, value)| conf.u32(*key, *value)));
        });
    });
}

/// `ip route replace ADDRESS dev … proto 85`: the node's way to a pod without a bridge.
pub fn host_route(body: &mut Body<'_>, link: u32, address: IpAddr) {
    let length = if address.is_ipv4() { 32 } else { 128 };
    let scope = if address.is_ipv4() { libc::RT_SCOPE_LINK } else { libc::RT_SCOPE_UNIVERSE };
    let table = libc::RT_TABLE_MAIN;
    body.fixed(&[family(address), length, 0, 0, table, POD_PROTOCOL, scope, libc::RTN_UNICAST, 0, 0, 0, 0]);
    body.address(libc::RTA_DST, address);
    body.u32(libc::RTA_OIF, link);
}

/// A pod's route, with what CNI 1.1 lets a configuration say of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Destination.
    pub destination: IpNet,
    /// Next hop; the destination is on the link when there is none.
    pub gateway: Option<IpAddr>,
    /// Metric; the kernel's default when there is none.
    pub priority: Option<u32>,
    /// Routing table; main when there is none.
    pub table: Option<u32>,
    /// `RT_SCOPE_*`; universe through a gateway, link otherwise.
    pub scope: Option<u8>,
    /// Octets of payload along it.
    pub mtu: Option<u32>,
    /// Segment size to announce to TCP peers, octets.
    pub advmss: Option<u32>,
}

/// `ip route add DESTINATION via GATEWAY dev …`
pub fn route(body: &mut Body<'_>, link: u32, route: &Route) {
    let destination = route.destination.trunc();
    let direct = route.gateway.is_none() && destination.addr().is_ipv4();
    let scope = route.scope.unwrap_or(if direct { libc::RT_SCOPE_LINK } else { libc::RT_SCOPE_UNIVERSE });
    let fixed =
        [family(destination.addr()), destination.prefix_len(), 0, 0, libc::RT_TABLE_MAIN, libc::RTPROT_BOOT, scope];
    let [a, b, c, d, e, f, g] = fixed;
    body.fixed(&[a, b, c, d, e, f, g, libc::RTN_UNICAST, 0, 0, 0, 0]);
    if destination.addr() != IpAddr::V4(Ipv4Addr::UNSPECIFIED) {
        body.address(libc::RTA_DST, destination.addr());
    }
    body.u32(libc::RTA_OIF, link);
    if let Some(gateway) = route.gateway {
        body.address(libc::RTA_GATEWAY, gateway);
    }
    if let Some(priority) = route.priority {
        body.u32(libc::RTA_PRIORITY, priority);
    }
    if let Some(table) = route.table {
        body.u32(libc::RTA_TABLE, table);
    }
    if route.mtu.is_some() || route.advmss.is_some() {
        body.nest(libc::RTA_METRICS, |metrics| {
            for (kind, value) in [(METRIC_MTU, route.mtu), (METRIC_ADVMSS, route.advmss)] {
                if let Some(value) = value {
                    metrics.u32(kind, value);
                }
            }
        });
    }
}
