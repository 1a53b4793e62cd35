//! Routes of table main: `RTM_*ROUTE`, `struct rtmsg`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use backends::LinkName;
use backends::PROTOCOL;
use backends::state::{Encapsulation, Nexthop, RouteKey, Via};
use ipam::Family;
use ipnet::IpNet;

use super::family;
use crate::netlink::{Attributes, Body, Message};

/// `RTM_NEWROUTE`.
pub const NEW: u16 = libc::RTM_NEWROUTE;
/// `RTM_DELROUTE`.
pub const DELETE: u16 = libc::RTM_DELROUTE;
/// `RTM_GETROUTE`.
pub const GET: u16 = libc::RTM_GETROUTE;

/// `RTPROT_KERNEL`: routes that the kernel makes by itself.
pub const KERNEL: u8 = libc::RTPROT_KERNEL;
/// `RTPROT_BOOT`: routes of those that say nothing of themselves, as `ip route add` and flannel do.
pub const BOOT: u8 = libc::RTPROT_BOOT;
/// `RTNH_F_ONLINK`: the gateway is on the link although no prefix there says so.
pub(super) const ONLINK: u32 = 4;
/// `RTA_NH_ID`, `RTA_VIA`.
const OBJECT: u16 = 30;
const VIA: u16 = 18;
/// `RTM_F_CLONED`: a cached exception and no route.
const CLONED: u32 = 0x200;
/// `RTA_ENCAP_TYPE`, `RTA_ENCAP`, which libc has for glibc alone.
const ENCAPSULATION_KIND: u16 = 21;
const ENCAPSULATION: u16 = 22;
/// `LWTUNNEL_ENCAP_IP6` (include/uapi/linux/lwtunnel.h), and what is in one.
const ENCAP_IP6: u16 = 4;
const OUTER_DESTINATION: u16 = 2;
const OUTER_SOURCE: u16 = 3;
const PADDING: u16 = 7;
/// What a route of ours never has: sources, metrics; and without an object several next hops or one of the other family, which
/// of one with an object the kernel repeats (`nexthop_compat_mode`).
const EXTRAS: [u16; 2] = [libc::RTA_PREFSRC, libc::RTA_METRICS];
const REPEATED: [u16; 2] = [libc::RTA_MULTIPATH, VIA];

/// Where a route leads, in the kernel's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A next-hop object's id.
    Object(u32),
    /// A gateway on a link of this index.
    Gateway(u32, IpAddr),
    /// A link of this index, without a gateway.
    Device(u32),
    /// A link of this index, with an outer header of this source and destination.
    Encapsulated(u32, (Ipv6Addr, Ipv6Addr)),
    /// Nowhere.
    Blackhole,
    /// Nowhere, and the sender is told.
    Unreachable,
}

/// By which a route leads elsewhere than to its destination, beside a gateway.
const DETOURS: [u16; 3] = [VIA, libc::RTA_MULTIPATH, ENCAPSULATION];

/// A route as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Destination and metric.
    pub key: RouteKey,
    /// Who made it.
    pub protocol: u8,
    /// How it leads nowhere.
    pub nowhere: Option<Via>,
    /// The next-hop object that it uses.
    pub object: Option<u32>,
    /// Index of the device.
    pub link: Option<u32>,
    /// The gateway.
    pub gateway: Option<IpAddr>,
    /// The outer IPv6 header that it gives: source and destination.
    pub outer: Option<(Ipv6Addr, Ipv6Addr)>,
    /// Whether it is unicast and says no more than object, device, gateway and outer header.
    pub plain: bool,
    /// Whether it is unicast and leads through one device to the destination itself.
    pub direct: bool,
}

impl Entry {
    /// Reads a dump's message; `None` when it is not a route of table main to all of a prefix, or too short.
    pub fn read(message: &Message<'_>) -> Option<Entry> {
        Entry::with_table(message).filter(|(table, _)| *table == u32::from(libc::RT_TABLE_MAIN)).map(|(_, entry)| entry)
    }

    /// The same of any table, with its number.
    pub fn with_table(message: &Message<'_>) -> Option<(u32, Entry)> {
        let [family, length, source, tos, table, protocol, _, kind, f0, f1, f2, f3] = message.fixed()?;
        let cloned = u32::from_ne_bytes([f0, f1, f2, f3]) & CLONED != 0;
        if message.header.kind != NEW || cloned || source != 0 || tos != 0 {
            return None;
        }
        let mut destination = match i32::from(family) {
            libc::AF_INET => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            libc::AF_INET6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            _ => return None,
        };
        let (mut table, mut metric, mut extras, mut detour) = (u32::from(table), 0, false, false);
        let mut repeated = false;
        let (mut object, mut link, mut gateway) = (None, None, None);
        let (mut outer, mut outer_kind) = (None, None);
        for attribute in message.attributes(12) {
            match attribute.kind {
                libc::RTA_DST => destination = attribute.address()?,
                libc::RTA_PRIORITY => metric = attribute.u32()?,
                libc::RTA_TABLE => table = attribute.u32()?,
                libc::RTA_OIF => link = attribute.u32(),
                libc::RTA_GATEWAY => gateway = attribute.address(),
                OBJECT => object = attribute.u32(),
                ENCAPSULATION_KIND => outer_kind = attribute.u16(),
                kind => {
                    if kind == ENCAPSULATION {
                        outer = Some(attribute.nested());
                    }
                    extras |= EXTRAS.contains(&kind);
                    repeated |= REPEATED.contains(&kind);
                    detour |= DETOURS.contains(&kind);
                }
            }
        }
        let outer = outer.map(|outer| outer_header(outer).filter(|_| outer_kind == Some(ENCAP_IP6)));
        extras |= outer == Some(None) || (repeated && object.is_none());
        let unicast = kind == libc::RTN_UNICAST;
        let entry = Entry {
            key: RouteKey { destination: IpNet::new(destination, length).ok()?.trunc(), metric },
            protocol,
            nowhere: match kind {
                libc::RTN_BLACKHOLE => Some(Via::Blackhole),
                libc::RTN_UNREACHABLE => Some(Via::Unreachable),
                _ => None,
            },
            object,
            link,
            gateway,
            outer: outer.flatten(),
            plain: unicast && !extras,
            direct: unicast && !detour && gateway.is_none() && object.is_none(),
        };
        Some((table, entry))
    }

    /// Where it leads when it uses no object and leads out of this link.
    pub fn without_object(&self, link: LinkName) -> Via {
        match (self.gateway, self.outer) {
            (Some(gateway), None) => Via::Gateway(Nexthop { link, gateway }),
            (None, None) => Via::Device(link),
            (None, Some((source, destination))) => {
                Via::Encapsulated(Box::new(Encapsulation { link, source, destination }))
            }
            (Some(_), Some(_)) => Via::Unknown,
        }
    }
}

/// Source and destination of an encapsulation that says nothing else: identifier, hop limit, class and flags are zero.
fn outer_header(encapsulation: Attributes<'_>) -> Option<(Ipv6Addr, Ipv6Addr)> {
    let (mut source, mut destination) = (None, None);
    for attribute in encapsulation {
        match (attribute.kind, attribute.address()) {
            (OUTER_SOURCE, Some(IpAddr::V6(address))) => source = Some(address),
            (OUTER_DESTINATION, Some(IpAddr::V6(address))) => destination = Some(address),
            (PADDING, _) => {}
            _ if attribute.bytes.iter().all(|octet| *octet == 0) => {}
            _ => return None,
        }
    }
    Some((source?, destination?))
}

/// Which routes of a family to list. The kernel filters where it can (since Linux 4.20), [`Entry`] tells in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// All.
    Any,
    /// Those of every table.
    InAnyTable,
    /// Those of the table of this number.
    Of(u32),
    /// Those that carry our tag.
    Tagged,
    /// Those through the device of this index.
    Through(u32),
}

/// Routes of table main unless it is said otherwise. `ip route show table main proto 84`, `ip route show table main dev …`
pub fn of_family(body: &mut Body<'_>, family: Family, which: Which) {
    let family = match family {
        Family::V4 => libc::AF_INET as u8,
        Family::V6 => libc::AF_INET6 as u8,
    };
    let protocol = if which == Which::Tagged { PROTOCOL } else { 0 };
    let table = match which {
        Which::InAnyTable | Which::Of(_) => libc::RT_TABLE_UNSPEC,
        Which::Any | Which::Tagged | Which::Through(_) => libc::RT_TABLE_MAIN,
    };
    body.fixed(&[family, 0, 0, 0, table, protocol, 0, 0, 0, 0, 0, 0]);
    match which {
        Which::Through(link) => body.u32(libc::RTA_OIF, link),
        Which::Of(table) => body.u32(libc::RTA_TABLE, table),
        Which::Any | Which::InAnyTable | Which::Tagged => {}
    }
}

/// The route that a packet to this address would take, whatever rules and tables say. `ip route get ADDRESS`
pub fn towards(body: &mut Body<'_>, address: IpAddr) {
    let family_bits = if address.is_ipv4() { 32 } else { 128 };
    body.fixed(&[family(address), family_bits, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    body.address(libc::RTA_DST, address);
}

/// Index of the device that the answer to [`towards`] leads through. A route of IPv6 that leads nowhere has one too.
pub fn device(message: &Message<'_>) -> Option<u32> {
    let [_, _, _, _, _, _, _, kind] = message.fixed()?;
    let leads = [libc::RTN_UNICAST, libc::RTN_LOCAL, libc::RTN_ANYCAST, libc::RTN_MULTICAST].contains(&kind);
    message.attributes(12).get(libc::RTA_OIF).filter(|_| leads)?.u32()
}

/// The next hops of a route to several (`RTA_MULTIPATH`): index of the device, and the gateway if there is one.
pub fn hops<'a>(message: &Message<'a>) -> impl Iterator<Item = (u32, Option<IpAddr>)> + use<'a> {
    let mut rest = message.attributes(12).get(libc::RTA_MULTIPATH).map(|hops| hops.bytes).unwrap_or_default();
    std::iter::from_fn(move || {
        // `struct rtnexthop`: length, flags, weight, device; then attributes.
        let [l0, l1, _, _, i0, i1, i2, i3]: [u8; 8] = rest.get(..8)?.try_into().ok()?;
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let attributes = Attributes::new(rest.get(8..length)?);
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u32::from_ne_bytes([i0, i1, i2, i3]), attributes.get(libc::RTA_GATEWAY).and_then(|a| a.address())))
    })
}

/// `ip route add DESTINATION metric M proto 84 …` with `nhid ID`, `via GATEWAY dev … onlink` or as `blackhole`.
pub fn set(body: &mut Body<'_>, key: RouteKey, target: Target) {
    let (kind, flags) = match target {
        Target::Object(_) => (libc::RTN_UNICAST, 0),
        Target::Gateway(..) => (libc::RTN_UNICAST, ONLINK),
        Target::Device(_) | Target::Encapsulated(..) => (libc::RTN_UNICAST, 0),
        Target::Blackhole => (libc::RTN_BLACKHOLE, 0),
        Target::Unreachable => (libc::RTN_UNREACHABLE, 0),
    };
    let scope = if matches!(target, Target::Device(_)) { libc::RT_SCOPE_LINK } else { libc::RT_SCOPE_UNIVERSE };
    head(body, key, (PROTOCOL, kind, flags), scope);
    match target {
        Target::Object(id) => body.u32(OBJECT, id),
        Target::Gateway(link, gateway) => {
            body.u32(libc::RTA_OIF, link);
            if gateway.is_ipv4() == key.destination.addr().is_ipv4() {
                body.address(libc::RTA_GATEWAY, gateway);
            } else {
                via(body, gateway);
            }
        }
        Target::Device(link) => body.u32(libc::RTA_OIF, link),
        Target::Encapsulated(link, (source, destination)) => {
            body.u32(libc::RTA_OIF, link);
            body.u16(ENCAPSULATION_KIND, ENCAP_IP6);
            body.nest(ENCAPSULATION, |outer| {
                outer.address(OUTER_DESTINATION, destination.into());
                outer.address(OUTER_SOURCE, source.into());
            });
        }
        Target::Blackhole | Target::Unreachable => {}
    }
}

/// What a route must have to be deleted, besides its key: 0 and `None` are anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Only {
    /// Who made it.
    pub protocol: u8,
    /// The device that it leads through; a route that uses an object has none for this.
    pub link: Option<u32>,
    /// The next-hop object.
    pub object: Option<u32>,
}

/// `ip route delete DESTINATION metric M proto P …`
pub fn delete(body: &mut Body<'_>, key: RouteKey, only: Only) {
    // To a deletion, of any type, this means any scope.
    head(body, key, (only.protocol, libc::RTN_UNSPEC, 0), libc::RT_SCOPE_NOWHERE);
    if let Some(link) = only.link {
        body.u32(libc::RTA_OIF, link);
    }
    if let Some(id) = only.object {
        body.u32(OBJECT, id);
    }
}

fn head(body: &mut Body<'_>, key: RouteKey, (protocol, kind, flags): (u8, u8, u32), scope: u8) {
    let net = key.destination;
    let [f0, f1, f2, f3] = flags.to_ne_bytes();
    body.fixed(&[
        family(net.addr()),
        net.prefix_len(),
        0,
        0,
        libc::RT_TABLE_MAIN,
        protocol,
        scope,
        kind,
        f0,
        f1,
        f2,
        f3,
    ]);
    body.address(libc::RTA_DST, net.network());
    if key.metric != 0 {
        body.u32(libc::RTA_PRIORITY, key.metric);
    }
}

/// `struct rtvia`: a gateway of the other family than the route's.
fn via(body: &mut Body<'_>, gateway: IpAddr) {
    let mut octets = u16::from(family(gateway)).to_ne_bytes().to_vec();
    match gateway {
        IpAddr::V4(v4) => octets.extend(v4.octets()),
        IpAddr::V6(v6) => octets.extend(v6.octets()),
    }
    body.bytes(VIA, &octets);
}
