//! Host ports on 127.0.0.1: letting the node's loopback addresses out on the link that leads to a pod.
//!
//! `sysctl -w net.ipv4.conf.LINK.route_localnet=1`. IPv6 has no such switch and needs none. That nobody on that link reaches
//! the node's own loopback is [`crate::nft::nat`]'s part.

use std::net::Ipv4Addr;

use crate::codec::{link, route};
use crate::error::{Error, Result};
use crate::netlink::{Protocol, Request, Socket};
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

/// The link that an address is on, without a router between. `ip route get ADDRESS`
fn link_of(socket: &mut Socket, address: Ipv4Addr) -> Result<Option<String>> {
    let doing = format!("looking for the route to {address}");
    let request = Request { kind: route::GET, flags: 0, doing: &doing };
    let answers = socket.query(&request, |body| {
        // struct rtmsg: family, length of the destination, and nothing else.
        body.fixed(&[libc::AF_INET as u8, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        body.address(libc::RTA_DST, address.into());
    });
    let mut answers = match answers {
        Err(Error::Refused { refusal, .. }) if [libc::ENETUNREACH, libc::EHOSTUNREACH].contains(&refusal.errno) => {
            return Ok(None);
        }
        answers => answers?,
    };
    let index = answers.find_map(|message| {
        let attributes = message.attributes(12);
        let direct = attributes.get(libc::RTA_GATEWAY).is_none();
        attributes.get(libc::RTA_OIF)?.u32().filter(|_| direct)
    });
    let Some(index) = index else { return Ok(None) };
    let doing = format!("looking for the link to {address}");
    let request = Request { kind: link::GET, flags: 0, doing: &doing };
    let mut answers = socket.query(&request, |body| link::by_index(body, index))?;
    let name = |message| Some(link::Entry::read(&message)?.name?.to_string());
    Ok(answers.find_map(name))
}
