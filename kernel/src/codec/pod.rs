//! What a pod's wire is made of, as messages: bridge, veth pair, port, and addresses and routes without the daemon's tag.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use backends::LinkName;
use ipam::Mac;
use ipnet::IpNet;

use super::{family, link};
use crate::netlink::{Body, Message};

/// `lo` has index 1 in every network namespace (`LOOPBACK_IFINDEX`).
pub const LOOPBACK: u32 = 1;

/// `IFLA_INFO_SLAVE_KIND`, `IFLA_INFO_SLAVE_DATA`, inside `IFLA_LINKINFO`.
const PORT_KIND: u16 = 4;
const PORT_DATA: u16 = 5;
/// `IFLA_BRPORT_STATE` and `IFLA_BRPORT_MODE`, the hairpin switch.
const PORT_STATE: u16 = 1;
const PORT_HAIRPIN: u16 = 4;
/// `VETH_INFO_PEER`: the far end's own `struct ifinfomsg` and attributes.
const PEER: u16 = 1;
/// `RTAX_MTU`, `RTAX_ADVMSS`, inside `RTA_METRICS`.
const METRIC_MTU: u16 = 2;
const METRIC_ADVMSS: u16 = 8;

/// What a bridge's port says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// Index of the bridge.
    pub bridge: u32,
    /// `BR_STATE_*`: 0 disabled, 3 forwarding.
    pub state: u8,
    /// Whether a frame may leave by the port that it came by.
    pub hairpin: bool,
}

/// Reads a link's port; `None` when it is none of a bridge's.
pub fn port(message: &Message<'_>) -> Option<Port> {
    let bridge = message.attributes(16).get(libc::IFLA_MASTER)?.u32()?;
    let info = message.attributes(16).get(link::INFO)?.nested();
    if info.get(PORT_KIND)?.text()? != "bridge" {
        return None;
    }
    let data = info.get(PORT_DATA)?.nested();
    let flag = |kind| data.get(kind).and_then(|attribute| attribute.u8()).unwrap_or(0);
    Some(Port { bridge, state: flag(PORT_STATE), hairpin: flag(PORT_HAIRPIN) != 0 })
}

/// Index of a veth's other end, in the other end's namespace (`IFLA_LINK`).
pub fn peer(message: &Message<'_>) -> Option<u32> {
    message.attributes(16).get(libc::IFLA_LINK)?.u32()
}

/// `ip link add NAME address MAC mtu N up type bridge`
pub fn bridge(body: &mut Body<'_>, name: LinkName, mac: Mac, mtu: Option<u32>) {
    let up = libc::IFF_UP as u32;
    link::head(body, 0, (up, up));
    body.text(libc::IFLA_IFNAME, name.as_str());
    body.mac(libc::IFLA_ADDRESS, mac);
    if let Some(mtu) = mtu {
        body.u32(libc::IFLA_MTU, mtu);
    }
    body.nest(link::INFO, |info| info.text(link::INFO_KIND, "bridge"));
}

/// One end of a veth pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Name.
    pub name: LinkName,
    /// Link-layer address.
    pub mac: Mac,
}

/// `ip link add HOST address MAC mtu N up master BRIDGE type veth peer name POD address MAC mtu N netns FD`, all at once.
pub fn veth(body: &mut Body<'_>, [host, pod]: [End; 2], (master, mtu): (u32, Option<u32>), netns: BorrowedFd<'_>) {
    let up = libc::IFF_UP as u32;
    let end = |body: &mut Body<'_>, end: End| {
        body.text(libc::IFLA_IFNAME, end.name.as_str());
        body.mac(libc::IFLA_ADDRESS, end.mac);
        if let Some(mtu) = mtu {
            body.u32(libc::IFLA_MTU, mtu);
        }
    };
    link::head(body, 0, (up, up));
    end(body, host);
    body.u32(libc::IFLA_MASTER, master);
    body.nest(link::INFO, |info| {
        info.text(link::INFO_KIND, "veth");
        info.nest(link::INFO_DATA, |data| {
            data.nest(PEER, |peer| {
                // Not up: its other half is not tied to it yet at that moment (`veth_open` would say ENOTCONN).
                link::head(peer, 0, (0, 0));
                end(peer, pod);
                peer.u32(libc::IFLA_NET_NS_FD, netns.as_raw_fd() as u32);
            });
        });
    });
}

/// `ip link set dev … alias TEXT type bridge_slave hairpin on|off`
pub fn set_port(body: &mut Body<'_>, index: u32, alias: &str, hairpin: Hairpin) {
    link::set(body, index, link::Attributed { alias: Some(alias), ..link::Attributed::default() });
    body.nest(link::INFO, |info| {
        info.text(PORT_KIND, "bridge");
        info.nest(PORT_DATA, |data| data.u8(PORT_HAIRPIN, u8::from(hairpin == Hairpin::On)));
    });
}

/// Whether a pod reaches itself through the bridge, as by the address of a Service that it is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hairpin {
    /// A frame may leave by the port that it came by.
    On,
    /// As bridges do by default.
    Off,
}

/// `ip address add NET broadcast + dev … nodad`
pub fn address(body: &mut Body<'_>, link: u32, net: IpNet) {
    // The ledger knows that nobody else has it: without NODAD an IPv6 address is useless for a second.
    let flags = if net.addr().is_ipv4() { 0 } else { libc::IFA_F_NODAD as u8 };
    let [i0, i1, i2, i3] = link.to_ne_bytes();
    body.fixed(&[family(net.addr()), net.prefix_len(), flags, libc::RT_SCOPE_UNIVERSE, i0, i1, i2, i3]);
    body.address(libc::IFA_LOCAL, net.addr());
    body.address(libc::IFA_ADDRESS, net.addr());
    if let IpNet::V4(net) = net
        && net.prefix_len() < 31
    {
        body.address(libc::IFA_BROADCAST, IpAddr::V4(net.broadcast()));
    }
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
