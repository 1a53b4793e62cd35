//! VXLAN devices: the attributes of their kind (`IFLA_VXLAN_*`, include/uapi/linux/if_link.h).
//!
//! What we set is what flannel sets, so that the devices are the same: no multicast group, ttl and tos 0 (the kernel's
//! choice), outer UDP checksums on for IPv4 and IPv6 (RFC 7348 section 5; without it hosts drop IPv6, RFC 6935).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use backends::LinkName;
use backends::state::{Link, LinkKind, Vxlan};

use super::link::{Entry, INFO, INFO_DATA, INFO_KIND, head};
use crate::netlink::Body;

const ID: u16 = 1;
const GROUP: u16 = 2;
const LINK: u16 = 3;
const LOCAL: u16 = 4;
const TTL: u16 = 5;
const TOS: u16 = 6;
const LEARNING: u16 = 7;
const PROXY: u16 = 11;
const RSC: u16 = 12;
const L2MISS: u16 = 13;
const L3MISS: u16 = 14;
const PORT: u16 = 15;
const GROUP6: u16 = 16;
const LOCAL6: u16 = 17;
const UDP_CSUM: u16 = 18;
const UDP_ZERO_CSUM6_TX: u16 = 19;
const UDP_ZERO_CSUM6_RX: u16 = 20;
const GBP: u16 = 23;
const COLLECT_METADATA: u16 = 25;
const GPE: u16 = 27;
const VNIFILTER: u16 = 30;

/// What `IFLA_INFO_KIND` says.
pub const KIND: &str = "vxlan";
/// Modes that ours never have and that a device keeps for life: with one of them it is something else.
const FOREIGN: [(u16, &str); 8] = [
    (GROUP, "group"),
    (GROUP6, "group"),
    (PROXY, "proxy"),
    (RSC, "rsc"),
    (L2MISS, "l2miss"),
    (L3MISS, "l3miss"),
    (COLLECT_METADATA, "external"),
    (VNIFILTER, "vnifilter"),
];

/// A new device: `ip link add NAME mtu N address MAC type vxlan id … dev … local … dstport … ttl 0 tos 0 [no]learning
/// udpcsum noudp6zerocsumtx noudp6zerocsumrx [gbp]`. The kernel takes no alias here (`rtnl_create_link`).
pub fn make(body: &mut Body<'_>, name: LinkName, (link, vxlan): (&Link, &Vxlan), underlay: Option<u32>) {
    head(body, 0, (0, 0));
    body.text(libc::IFLA_IFNAME, name.as_str());
    body.mac(libc::IFLA_ADDRESS, link.mac);
    body.u32(libc::IFLA_MTU, link.mtu);
    info(body, |data| {
        data.u32(ID, vxlan.vni);
        if let Some(index) = underlay {
            data.u32(LINK, index);
        }
        data.address(local(vxlan.local), vxlan.local);
        data.u8(TTL, 0);
        data.u8(TOS, 0);
        data.u8(LEARNING, vxlan.learning.into());
        // Always said: the kernel's own default is 8472, IANA's is 4789.
        data.be16(PORT, vxlan.port);
        data.u8(UDP_CSUM, 1);
        data.u8(UDP_ZERO_CSUM6_TX, 0);
        data.u8(UDP_ZERO_CSUM6_RX, 0);
        if vxlan.gbp {
            data.flag(GBP);
        }
    });
}

/// Changes in place what the kernel lets be changed, and of that only what differs: it refuses some attributes for
/// being present (`vxlan_nl2conf`). `ip link set dev … type vxlan dev … local … [no]learning`
pub fn change(body: &mut Body<'_>, index: u32, (from, to): (&Vxlan, &Vxlan), underlay: Option<u32>) {
    head(body, index, (0, 0));
    info(body, |data| {
        if from.underlay != to.underlay
            && let Some(below) = underlay
        {
            data.u32(LINK, below);
        }
        if from.local != to.local {
            data.address(local(to.local), to.local);
        }
        if from.learning != to.learning {
            data.u8(LEARNING, to.learning.into());
        }
    });
}

/// What a VXLAN device is; `name` gives the name of the link below it, by index.
pub fn read(entry: &Entry<'_>, name: impl Fn(u32) -> Option<LinkName>) -> LinkKind {
    let local = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let mut vxlan = Vxlan { vni: 0, port: 0, underlay: None, local, learning: false, gbp: false };
    for attribute in entry.data {
        // A group is there or not; the others are there with 0 or 1, or are flags without a value.
        let on = attribute.bytes.iter().any(|byte| *byte != 0) || attribute.bytes.is_empty();
        if let Some((_, mode)) = FOREIGN.iter().find(|(kind, _)| *kind == attribute.kind && on) {
            return LinkKind::Other(format!("{KIND} {mode}"));
        }
        match attribute.kind {
            // An index of another namespace says nothing here.
            LINK if !entry.elsewhere => vxlan.underlay = attribute.u32().and_then(&name),
            ID => vxlan.vni = attribute.u32().unwrap_or(0),
            PORT => vxlan.port = attribute.be16().unwrap_or(0),
            LOCAL | LOCAL6 => vxlan.local = attribute.address().unwrap_or(vxlan.local),
            LEARNING => vxlan.learning = attribute.u8() == Some(1),
            GBP => vxlan.gbp = true,
            GPE => return LinkKind::Other(format!("{KIND} gpe")),
            UDP_ZERO_CSUM6_TX if on => return LinkKind::Other(format!("{KIND} udp6zerocsumtx")),
            _ => {}
        }
    }
    LinkKind::Vxlan(vxlan)
}

fn info(body: &mut Body<'_>, data: impl FnOnce(&mut Body<'_>)) {
    body.nest(INFO, |info| {
        info.text(INFO_KIND, KIND);
        info.nest(INFO_DATA, data);
    });
}

fn local(address: IpAddr) -> u16 {
    if address.is_ipv4() { LOCAL } else { LOCAL6 }
}

/// The unspecified address of the outer family: where an entry without a destination leads.
pub fn nowhere(kind: &LinkKind) -> IpAddr {
    match kind {
        LinkKind::Vxlan(vxlan) if vxlan.local.is_ipv6() => Ipv6Addr::UNSPECIFIED.into(),
        _ => Ipv4Addr::UNSPECIFIED.into(),
    }
}
