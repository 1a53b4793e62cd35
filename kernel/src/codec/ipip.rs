//! IP-in-IP devices, `ipip` and `ip6tnl`: the attributes of their kinds (`IFLA_IPTUN_*`, include/uapi/linux/if_tunnel.h).
//!
//! What we set is what flannel sets: no remote address, and everything of the inner packet.

use backends::LinkName;
use backends::state::{Ipip, Link, LinkKind};
use std::net::IpAddr;

use super::link::{Entry, INFO, INFO_DATA, INFO_KIND, head};
use crate::netlink::Body;

const LINK: u16 = 1;
const LOCAL: u16 = 2;
const REMOTE: u16 = 3;
const TTL: u16 = 4;
const TOS: u16 = 5;
const FLAGS: u16 = 8;
const PROTO: u16 = 9;
const PMTUDISC: u16 = 10;
const ENCAP_TYPE: u16 = 15;
const COLLECT_METADATA: u16 = 19;
const FWMARK: u16 = 20;
/// `IP6_TNL_F_IGN_ENCAP_LIMIT`: no option header before the inner packet (`encaplimit none`).
const NO_ENCAP_LIMIT: u32 = 1;

/// What `IFLA_INFO_KIND` says for IPv4 in IPv4 …
pub const V4: &str = "ipip";
/// … and for what is in IPv6.
pub const V6: &str = "ip6tnl";

/// A new device: `ip link add NAME mtu N type ipip local … ttl inherit tos 0 nopmtudisc`. The kernel takes its alias later.
pub fn make(body: &mut Body<'_>, name: LinkName, (link, ipip): (&Link, &Ipip)) {
    head(body, 0, (0, 0));
    body.text(libc::IFLA_IFNAME, name.as_str());
    body.u32(libc::IFLA_MTU, link.mtu);
    info(body, ipip);
}

/// Changes it in place: all is said, because what is not said is reset (`ipip_netlink_parms`), and the MTU again, because the
/// kernel sets its own when the underlay device changes. `ip link set dev … mtu N type ipip local …`
pub fn change(body: &mut Body<'_>, index: u32, (link, ipip): (&Link, &Ipip)) {
    head(body, index, (0, 0));
    body.u32(libc::IFLA_MTU, link.mtu);
    info(body, ipip);
}

/// A new device for IPv6: `ip link add NAME mtu N type ip6tnl external mode ip6ip6 encaplimit none`.
pub fn make_v6(body: &mut Body<'_>, name: LinkName, link: &Link) {
    head(body, 0, (0, 0));
    body.text(libc::IFLA_IFNAME, name.as_str());
    body.u32(libc::IFLA_MTU, link.mtu);
    body.nest(INFO, |info| {
        info.text(INFO_KIND, V6);
        info.nest(INFO_DATA, |data| {
            data.flag(COLLECT_METADATA);
            data.u8(PROTO, libc::IPPROTO_IPV6 as u8);
            data.u32(FLAGS, NO_ENCAP_LIMIT);
        });
    });
}

/// What an `ipip` device is.
pub fn read(entry: &Entry<'_>) -> LinkKind {
    let mut ipip = Ipip { local: std::net::Ipv4Addr::UNSPECIFIED, plain: true };
    for attribute in entry.data {
        let zero = attribute.bytes.iter().all(|octet| *octet == 0);
        match attribute.kind {
            LOCAL => {
                if let Some(IpAddr::V4(local)) = attribute.address() {
                    ipip.local = local;
                }
            }
            // These it keeps for life.
            COLLECT_METADATA => return LinkKind::Other(format!("{V4} external")),
            REMOTE if !zero => return LinkKind::Other(format!("{V4} remote")),
            // 0 is whatever comes in IPv4: flannel's.
            PROTO if !zero && attribute.u8() != Some(libc::IPPROTO_IPIP as u8) => {
                return LinkKind::Other(format!("{V4} mode"));
            }
            LINK | TTL | TOS | PMTUDISC | ENCAP_TYPE | FWMARK => ipip.plain &= zero,
            _ => {}
        }
    }
    LinkKind::Ipip(ipip)
}

/// What an `ip6tnl` device is.
pub fn read_v6(entry: &Entry<'_>) -> LinkKind {
    let proto = entry.data.get(PROTO).and_then(|proto| proto.u8());
    match (entry.data.get(COLLECT_METADATA), proto) {
        (Some(_), Some(proto)) if i32::from(proto) == libc::IPPROTO_IPV6 => LinkKind::Ip6Tunnel,
        (Some(_), _) => LinkKind::Other(format!("{V6} mode")),
        (None, _) => LinkKind::Other(format!("{V6} remote")),
    }
}

fn info(body: &mut Body<'_>, ipip: &Ipip) {
    body.nest(INFO, |info| {
        info.text(INFO_KIND, V4);
        info.nest(INFO_DATA, |data| {
            data.u32(LINK, 0);
            data.address(LOCAL, ipip.local.into());
            data.u8(TTL, 0);
            data.u8(TOS, 0);
            data.u8(PMTUDISC, 0);
            data.u16(ENCAP_TYPE, 0);
            data.u32(FWMARK, 0);
        });
    });
}
