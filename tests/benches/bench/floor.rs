//! What the kernel alone takes for the same entries: datagrams that were written beforehand, 256 messages each with the
//! acknowledgement on the last, sent one after the other. No plan, no order to find, nothing to read back.
//!
//! The layouts stand here once more, so that the floor does not rest on the code that is measured against it.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Result, ensure};
use backends::PROTOCOL;
use ipam::{BackendData, Endpoint, Mac, Stack};
use netns_harness::Node;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, recv, send, socket};

use crate::cluster::lease;
use crate::figures::millis;

const PER_DATAGRAM: usize = 256;
/// `NLM_F_REQUEST | NLM_F_CREATE | NLM_F_REPLACE`, and `NLM_F_ACK` (linux/netlink.h).
pub const MAKE: u16 = 0x1 | 0x400 | 0x100;
pub const ACKNOWLEDGE: u16 = 0x4;

/// Milliseconds for so many peers: next hop, route, neighbour and FDB entry each, on a VXLAN device made for it.
pub fn floor(node: &Node, peers: u32) -> Result<f64> {
    node.ip("link add flannel.1 type vxlan id 1 dstport 8472 dev eth0 nolearning")?;
    node.ip("link set flannel.1 up")?;
    let about = node.ip("-o link show dev flannel.1")?;
    let link: u32 = about.split(':').next().unwrap_or_default().trim().parse()?;
    let datagrams = datagrams(link, peers);
    let time = node.namespace().within(move || {
        let kernel = socket(AddressFamily::NETLINK, SocketType::RAW, None)?; // protocol 0 is NETLINK_ROUTE
        let mut answer = [0; 64];
        let (time, done) = millis(|| -> Result<()> {
            for datagram in &datagrams {
                send(&kernel, datagram, SendFlags::empty())?;
                let (length, _) = recv(&kernel, &mut answer[..], RecvFlags::empty())?;
                // struct nlmsgerr behind the header: 0 is "done".
                ensure!(length >= 20 && answer[16..20] == [0; 4], "refused: {:?}", &answer[..length]);
            }
            Ok(())
        });
        done.map(|()| time)
    })?;
    node.ip("link del flannel.1")?;
    Ok(time)
}

fn datagrams(link: u32, peers: u32) -> Vec<Vec<u8>> {
    let mut kinds: [Vec<Vec<u8>>; 4] = Default::default();
    for (i, lease) in (1..=peers).map(lease).enumerate() {
        let Stack::V4(Endpoint { subnet, public, data: BackendData::Vxlan { mac, .. } }) = lease.endpoints else {
            continue;
        };
        let id = 0x6000_0000 + i as u32;
        for (kind, entry) in kinds.iter_mut().zip(entries(link, id, (subnet.network(), public, mac))) {
            kind.push(entry);
        }
    }
    let mut datagrams = Vec::new();
    for chunk in kinds.iter_mut().flat_map(|kind| kind.chunks_mut(PER_DATAGRAM)) {
        if let Some(flags) = chunk.last_mut().and_then(|last| last.get_mut(6..8)) {
            flags.copy_from_slice(&(MAKE | ACKNOWLEDGE).to_ne_bytes());
        }
        datagrams.push(chunk.concat());
    }
    datagrams
}

/// `ip nexthop`, `ip neigh`, `bridge fdb` and `ip route replace` of one peer (linux/{nexthop,neighbour,rtnetlink}.h).
fn entries(link: u32, id: u32, (gateway, public, mac): (IpAddr, IpAddr, Mac)) -> [Vec<u8>; 4] {
    const ONLINK: [u8; 4] = 4_u32.to_ne_bytes();
    let ([i0, i1, i2, i3], link) = (link.to_ne_bytes(), link.to_ne_bytes());
    let (gateway, public) = (octets(gateway), octets(public));
    let [f0, f1, f2, f3] = ONLINK;
    let nexthop = [2, 0, PROTOCOL, 0, f0, f1, f2, f3];
    let neighbour = [2, 0, 0, 0, i0, i1, i2, i3, 0x80, 0, 0, 0];
    let forwarding = [7, 0, 0, 0, i0, i1, i2, i3, 0xc0, 0, 0x12, 0];
    let route = [2, 24, 0, 0, 254, PROTOCOL, 0, 1, 0, 0, 0, 0];
    [
        message(104, &nexthop, &[(1, &id.to_ne_bytes()), (5, &link), (6, &gateway)]),
        message(28, &neighbour, &[(1, &gateway), (2, &mac.0)]),
        message(28, &forwarding, &[(2, &mac.0), (1, &public)]),
        message(24, &route, &[(1, &gateway), (30, &id.to_ne_bytes())]),
    ]
}

/// One message: header, fixed part, attributes.
pub fn message(kind: u16, fixed: &[u8], attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut body = fixed.to_vec();
    for (kind, value) in attributes {
        body.extend((4 + value.len() as u16).to_ne_bytes());
        body.extend(kind.to_ne_bytes());
        body.extend(*value);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    let mut message = (16 + body.len() as u32).to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend(MAKE.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    message
}

fn octets(address: IpAddr) -> [u8; 4] {
    match address {
        IpAddr::V4(address) => address.octets(),
        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED.octets(),
    }
}
