//! IP-in-IP's part of the state: IPv4's device ([`Ipip`]), and what an IPv6 route says itself ([`Encapsulation`]).
//!
//! The two families differ in the kernel. An `ipip` device sends to the gateway of the route that led a packet into it. For IPv6
//! no route takes a gateway that is on-link elsewhere (`ip6_route_check_nh_onlink`), so there the device is `ip6tnl external` and
//! each route names the outer addresses.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::LinkName;

/// An `ipip` device without a remote address: `ip link add … type ipip local …`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipip {
    /// Outer source of what it sends, and outer destination of what it takes.
    pub local: Ipv4Addr,
    /// Whether the rest is as flannel makes it, all of which can be changed in place: the inner packet's hop limit, TOS and DF
    /// (`ttl inherit tos 0 nopmtudisc`), no underlay device, no mark, no further encapsulation.
    pub plain: bool,
}

/// The outer header that a route puts before its packets: `encap ip6 src SOURCE dst DESTINATION dev LINK`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encapsulation {
    /// The device, which does it.
    pub link: LinkName,
    /// Outer source.
    pub source: Ipv6Addr,
    /// Outer destination.
    pub destination: Ipv6Addr,
}
