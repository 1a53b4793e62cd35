//! Links: `RTM_*LINK`, `struct ifinfomsg`. What is special about VXLAN devices is in [`super::vxlan`].

use backends::LinkName;
use ipam::Mac;

use crate::netlink::{Attributes, Body, Message};

/// `RTM_NEWLINK`: makes or changes a link, and what a dump consists of.
pub const NEW: u16 = libc::RTM_NEWLINK;
/// `RTM_DELLINK`.
pub const DELETE: u16 = libc::RTM_DELLINK;
/// `RTM_GETLINK`.
pub const GET: u16 = libc::RTM_GETLINK;

/// `IFLA_LINKINFO` and what is in it: `IFLA_INFO_KIND`, `IFLA_INFO_DATA`.
pub(super) const INFO: u16 = libc::IFLA_LINKINFO;
pub(super) const INFO_KIND: u16 = libc::IFLA_INFO_KIND;
pub(super) const INFO_DATA: u16 = libc::IFLA_INFO_DATA;
/// `IFLA_EVENT` and `IFLA_EVENT_FEATURES`: why it is announced.
const EVENT: u16 = libc::IFLA_EVENT;
const EVENT_FEATURES: u32 = 2;
/// `IFLA_INET6_ADDR_GEN_MODE`, inside `IFLA_AF_SPEC`, inside `AF_INET6`.
const ADDRESS_GENERATION: u16 = 8;
/// `IN6_ADDR_GEN_MODE_EUI64` and `IN6_ADDR_GEN_MODE_NONE`.
const GENERATE: u8 = 0;
const GENERATE_NONE: u8 = 1;
/// `RTEXT_FILTER_SKIP_STATS`: no counters, which are more than half of a link's message.
const SKIP_STATISTICS: u32 = 1 << 3;

/// A link as the kernel lists it.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Interface index.
    pub index: u32,
    /// Name; `None` when it is none that we could write.
    pub name: Option<LinkName>,
    /// `IFF_UP`.
    pub up: bool,
    /// `IFF_LOWER_UP`: the other end is there.
    pub carrier: bool,
    /// `IFF_LOOPBACK`.
    pub loopback: bool,
    /// Link-layer address; `None` when it has none of six octets.
    pub mac: Option<Mac>,
    /// Octets of payload.
    pub mtu: u32,
    /// `ip link set … alias`.
    pub alias: Option<&'a str>,
    /// `vxlan`, `bridge`, `veth`; `None` for hardware.
    pub kind: Option<&'a str>,
    /// The attributes of its kind.
    pub data: Attributes<'a>,
    /// `ip link set … group`.
    pub group: u32,
    /// `IFF_PROMISC`.
    pub promiscuous: bool,
    /// `IF_OPER_*`: 2 down, 6 up (RFC 2863).
    pub operation: u8,
    /// Whether what is below it is in another network namespace.
    pub elsewhere: bool,
    /// Whether the kernel makes up IPv6 link-local addresses for it.
    pub link_local: bool,
    /// Whether it is announced because its features changed.
    pub features: bool,
}

impl<'a> Entry<'a> {
    /// Reads a dump's message; `None` when it is another kind of message or too short.
    pub fn read(message: &Message<'a>) -> Option<Entry<'a>> {
        if message.header.kind != NEW {
            return None;
        }
        let [_, _, _, _, i0, i1, i2, i3, f0, f1, f2, f3, _, _, _, _] = message.fixed()?;
        let flags = u32::from_ne_bytes([f0, f1, f2, f3]);
        let mut entry = Entry {
            index: u32::from_ne_bytes([i0, i1, i2, i3]),
            name: None,
            up: flags & libc::IFF_UP as u32 != 0,
            carrier: flags & libc::IFF_LOWER_UP as u32 != 0,
            loopback: flags & libc::IFF_LOOPBACK as u32 != 0,
            mac: None,
            mtu: 0,
            alias: None,
            kind: None,
            data: Attributes::default(),
            group: 0,
            promiscuous: flags & libc::IFF_PROMISC as u32 != 0,
            operation: 0,
            elsewhere: false,
            link_local: false,
            features: false,
        };
        for attribute in message.attributes(16) {
            match attribute.kind {
                libc::IFLA_IFNAME => entry.name = attribute.text().and_then(|name| LinkName::new(name).ok()),
                libc::IFLA_ADDRESS => entry.mac = attribute.mac(),
                libc::IFLA_MTU => entry.mtu = attribute.u32()?,
                libc::IFLA_IFALIAS => entry.alias = attribute.text(),
                libc::IFLA_GROUP => entry.group = attribute.u32()?,
                libc::IFLA_OPERSTATE => entry.operation = attribute.u8()?,
                EVENT => entry.features = attribute.u32()? == EVENT_FEATURES,
                libc::IFLA_LINK_NETNSID => entry.elsewhere = true,
                INFO => {
                    entry.kind = attribute.nested().get(INFO_KIND).and_then(|kind| kind.text());
                    entry.data = attribute.nested().get(INFO_DATA).map(|data| data.nested()).unwrap_or_default();
                }
                libc::IFLA_AF_SPEC => {
                    let inet6 = attribute.nested().get(libc::AF_INET6 as u16);
                    let mode = inet6.and_then(|inet6| inet6.nested().get(ADDRESS_GENERATION)?.u8());
                    entry.link_local = mode.is_some_and(|mode| mode != GENERATE_NONE);
                }
                _ => {}
            }
        }
        Some(entry)
    }
}

/// `struct ifinfomsg`: the link, and which of its flags to set to what.
pub(super) fn head(body: &mut Body<'_>, index: u32, (flags, change): (u32, u32)) {
    let mut head = [0; 16];
    head[4..8].copy_from_slice(&index.to_ne_bytes());
    head[8..12].copy_from_slice(&flags.to_ne_bytes());
    head[12..].copy_from_slice(&change.to_ne_bytes());
    body.fixed(&head);
}

/// The same with a family: what `PF_BRIDGE` says of a port.
pub(super) fn head_of(body: &mut Body<'_>, family: u8, index: u32) {
    let mut head = [0; 16];
    head[0] = family;
    head[4..8].copy_from_slice(&index.to_ne_bytes());
    body.fixed(&head);
}

/// All links, without their counters. `ip -d link`
pub fn all(body: &mut Body<'_>) {
    head(body, 0, (0, 0));
    body.u32(libc::IFLA_EXT_MASK, SKIP_STATISTICS);
}

/// One link by its name. `ip -d link show NAME`
pub fn by_name(body: &mut Body<'_>, name: LinkName) {
    head(body, 0, (0, 0));
    body.text(libc::IFLA_IFNAME, name.as_str());
    body.u32(libc::IFLA_EXT_MASK, SKIP_STATISTICS);
}

/// One link by its name, to say behind it what is to be changed.
pub fn by_name_alone(body: &mut Body<'_>, name: LinkName) {
    head(body, 0, (0, 0));
    body.text(libc::IFLA_IFNAME, name.as_str());
}

/// One link by its index alone: to delete it.
pub fn by_index(body: &mut Body<'_>, index: u32) {
    head(body, index, (0, 0));
}

/// All links of a group, in one go: to delete them. `ip link delete group N`
pub fn by_group(body: &mut Body<'_>, group: u32) {
    head(body, 0, (0, 0));
    body.u32(libc::IFLA_GROUP, group);
}

/// `ip link set dev … group N`
pub fn set_group(body: &mut Body<'_>, index: u32, group: u32) {
    head(body, index, (0, 0));
    body.u32(libc::IFLA_GROUP, group);
}

/// What of a link can be changed in place, whatever its kind. `None` is left as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributed<'a> {
    /// Link-layer address.
    pub mac: Option<Mac>,
    /// Octets of payload.
    pub mtu: Option<u32>,
    /// Alias.
    pub alias: Option<&'a str>,
}

/// `ip link set dev … address MAC mtu N alias TEXT`
pub fn set(body: &mut Body<'_>, index: u32, attributed: Attributed<'_>) {
    head(body, index, (0, 0));
    if let Some(mac) = attributed.mac {
        body.mac(libc::IFLA_ADDRESS, mac);
    }
    if let Some(mtu) = attributed.mtu {
        body.u32(libc::IFLA_MTU, mtu);
    }
    if let Some(text) = attributed.alias {
        alias(body, text);
    }
}

/// `… alias TEXT`
pub fn alias(body: &mut Body<'_>, text: &str) {
    // Without the NUL: the kernel keeps the length (`dev_set_alias`).
    body.bytes(libc::IFLA_IFALIAS, text.as_bytes());
}

/// `ip link set dev … up`, or `down`: `flags` is `IFF_UP` or 0.
pub fn set_flags(body: &mut Body<'_>, index: u32, flags: u32) {
    head(body, index, (flags, libc::IFF_UP as u32));
}

/// `ip link set dev NAME up`, by name, so that it can be sent with the message that makes the link.
pub fn bring_up(body: &mut Body<'_>, name: LinkName) {
    let up = libc::IFF_UP as u32;
    head(body, 0, (up, up));
    body.text(libc::IFLA_IFNAME, name.as_str());
}

/// `ip link set dev … addrgenmode eui64`, or `none`. On a kernel without IPv6: EAFNOSUPPORT.
pub fn set_address_generation(body: &mut Body<'_>, index: u32, link: &backends::state::Link) {
    head(body, index, (0, 0));
    address_generation(body, if link.link_local { GENERATE } else { GENERATE_NONE });
}

/// `… addrgenmode none`. On a kernel without IPv6: EAFNOSUPPORT.
pub fn no_link_local(body: &mut Body<'_>) {
    address_generation(body, GENERATE_NONE);
}

fn address_generation(body: &mut Body<'_>, mode: u8) {
    body.nest(libc::IFLA_AF_SPEC, |families| {
        families.nest(libc::AF_INET6 as u16, |inet6| inet6.u8(ADDRESS_GENERATION, mode));
    });
}
