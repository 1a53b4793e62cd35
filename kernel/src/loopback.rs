//! Host ports on 127.0.0.1: letting the node's loopback addresses out on the link that leads to a pod.
//!
//! `sysctl -w net.ipv4.conf.LINK.route_localnet=1`. IPv6 has no such switch: there the node asks under another address of its
//! own. Doing that, and that nobody on the link reaches the node's loopback, is [`crate::nft::nat`]'s part.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::codec::{self, link, route};
use crate::error::{Error, Result};
use crate::netlink::{Attributes, Protocol, Request, Socket};
use crate::sysctl;

/// Lets them out towards a pod that is on a link of this node; towards one that is not, nothing is changed.
///
/// # Errors
/// When the kernel does not say where the pod is, or the setting cannot be written.
pub fn lead_to(pod: Ipv4Addr) -> Result<()> {
    let mut socket = Socket::open(Protocol::Route)?;
    let Some(name) = link_of(&mut socket, pod)? else { return Ok(()) };
    let setting = format!("net/ipv4/conf/{name}/route_localnet");
    match sysctl::read(&setting)? {
        Some(value) if value != "1" => Ok(sysctl::write(&setting, "1")?),
        _ => Ok(()),
    }
}

/// The address of this node that it would speak to a pod from. `ip -6 route get POD`
///
/// # Errors
/// When the kernel does not say.
pub fn own_towards(pod: Ipv6Addr) -> Result<Option<Ipv6Addr>> {
    let mut socket = Socket::open(Protocol::Route)?;
    let own = way_to(&mut socket, pod.into(), |way| way.get(libc::RTA_PREFSRC)?.address())?;
    Ok(own.and_then(|own| match own {
        // A link's own addresses are not the node's.
        IpAddr::V6(v6) if !v6.is_unicast_link_local() && !v6.is_loopback() => Some(v6),
        _ => None,
    }))
}

/// The link that an address is on, without a router between. `ip route get ADDRESS`
fn link_of(socket: &mut Socket, address: Ipv4Addr) -> Result<Option<String>> {
    let index = way_to(socket, address.into(), |way| match way.get(libc::RTA_GATEWAY) {
        Some(_) => None,
        None => way.get(libc::RTA_OIF)?.u32(),
    })?;
    let Some(index) = index else { return Ok(None) };
    let doing = format!("looking for the link to {address}");
    let request = Request { kind: link::GET, flags: 0, doing: &doing };
    let mut answers = socket.query(&request, |body| link::by_index(body, index))?;
    let name = |message| Some(link::Entry::read(&message)?.name?.to_string());
    Ok(answers.find_map(name))
}

/// What the kernel says of the way to an address; nothing when there is none.
fn way_to<T>(socket: &mut Socket, address: IpAddr, tell: impl Fn(Attributes<'_>) -> Option<T>) -> Result<Option<T>> {
    let doing = format!("looking for the route to {address}");
    let request = Request { kind: route::GET, flags: 0, doing: &doing };
    let length = if address.is_ipv4() { 32 } else { 128 };
    let answers = socket.query(&request, |body| {
        // struct rtmsg: family, length of the destination, and nothing else.
        body.fixed(&[codec::family(address), length, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        body.address(libc::RTA_DST, address);
    });
    match answers {
        Err(Error::Refused { refusal, .. }) if [libc::ENETUNREACH, libc::EHOSTUNREACH].contains(&refusal.errno) => {
            Ok(None)
        }
        answers => Ok(answers?.find_map(|message| tell(message.attributes(12)))),
    }
}
