//! What the kernel alone takes for the same entries: datagrams that were written beforehand, 256 messages each with the
//! acknowledgement on the last, sent one after the other. No plan, no order to find, nothing to read back.
//!
//! The layouts stand here once more, so that the floor does not rest on the code that is measured against it.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;

use anyhow::{Result, bail, ensure};
use backends::PROTOCOL;
use ipam::{BackendData, Endpoint, Mac, Stack};
use netns_harness::Node;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, recv, send, socket};

use crate::cluster::{lease, public_key};
use crate::figures::{median, millis};

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
        let (time, done) = millis(|| send_all(&kernel, &datagrams));
        done.map(|()| time)
    })?;
    node.ip("link del flannel.1")?;
    Ok(time)
}

/// Milliseconds for so many peers of WireGuard's, with the route of each, on a device made for it; and for one more, the median.
pub fn wireguard(node: &Node, (peers, newcomers): (u32, u32)) -> Result<[f64; 2]> {
    node.ip("link add t0 type wireguard")?;
    node.run(["sh", "-c", "wg genkey | wg set t0 listen-port 51820 private-key /dev/stdin"])?;
    node.ip("link set t0 up")?;
    let about = node.ip("-o link show dev t0")?;
    let link: u32 = about.split(':').next().unwrap_or_default().trim().parse()?;
    let times = node.namespace().within(move || {
        let routes = socket(AddressFamily::NETLINK, SocketType::RAW, None)?;
        let devices = socket(AddressFamily::NETLINK, SocketType::RAW, Some(GENERIC))?;
        let family = family(&devices)?;
        let of = |numbers: RangeInclusive<u32>| {
            let (mut peers, mut prefixes) = (Vec::new(), Vec::new());
            for i in numbers {
                let lease = lease(i);
                let Stack::V4(endpoint) = &lease.endpoints else { continue };
                peers.push(tunnel(family, link, (i, endpoint)));
                prefixes.push(message(
                    24,
                    &ROUTE,
                    &[(1, &octets(endpoint.subnet.network())), (4, &link.to_ne_bytes())],
                ));
            }
            [batched(peers, 0x1), batched(prefixes, MAKE)]
        };
        let fill = |[peers, prefixes]: [Vec<Vec<u8>>; 2]| {
            let (time, done) = millis(|| send_all(&devices, &peers).and_then(|()| send_all(&routes, &prefixes)));
            done.map(|()| time)
        };
        let all = fill(of(1..=peers))?;
        let more: Result<Vec<f64>> = (peers + 1..=peers + newcomers).map(|i| fill(of(i..=i))).collect();
        Ok([all, median(more?)])
    })?;
    node.ip("link del t0")?;
    Ok(times)
}

/// `struct rtmsg`: IPv4, 24 bits, the main table, on the link.
const ROUTE: [u8; 12] = [2, 24, 0, 0, 254, PROTOCOL, 253, 1, 0, 0, 0, 0];
const GENERIC: rustix::net::Protocol = rustix::net::netlink::GENERIC;

/// The number of the family `wireguard` (linux/genetlink.h: `CTRL_CMD_GETFAMILY`, `CTRL_ATTR_FAMILY_NAME`, `CTRL_ATTR_FAMILY_ID`).
fn family(kernel: &OwnedFd) -> Result<u16> {
    let mut question = message(16, &[3, 1, 0, 0], &[(2, b"wireguard\0")]);
    question[6..8].copy_from_slice(&0x1_u16.to_ne_bytes());
    send(kernel, &question, SendFlags::empty())?;
    let mut answer = vec![0; 8192];
    let (length, _) = recv(kernel, &mut answer[..], RecvFlags::empty())?;
    let mut rest = answer.get(20..length).unwrap_or_default();
    while let [l0, l1, k0, k1, value @ ..] = rest {
        let length = usize::from(u16::from_ne_bytes([*l0, *l1]));
        if let (1, [f0, f1, ..]) = (u16::from_ne_bytes([*k0, *k1]), value) {
            return Ok(u16::from_ne_bytes([*f0, *f1]));
        }
        rest = rest.get(length.max(4).next_multiple_of(4)..).unwrap_or_default();
    }
    bail!("the kernel knows no WireGuard")
}

/// `wg set t0 peer KEY endpoint PUBLIC:51820 allowed-ips SUBNET` (linux/wireguard.h).
fn tunnel(family: u16, link: u32, (i, endpoint): (u32, &Endpoint)) -> Vec<u8> {
    const NESTED: u16 = 0x8000;
    let (v4, port) = (2_u16.to_ne_bytes(), 51820_u16.to_be_bytes());
    let remote = [&v4[..], &port, &octets(endpoint.public), &[0; 8]].concat();
    let prefix = attributes(&[(1, &v4), (2, &octets(endpoint.subnet.network())), (3, &[24])]);
    let prefixes = attributes(&[(NESTED, &prefix)]);
    let key = public_key(i);
    let peer = attributes(&[(1, key.octets()), (3, &2_u32.to_ne_bytes()), (4, &remote), (NESTED | 9, &prefixes)]);
    message(family, &[1, 1, 0, 0], &[(1, &link.to_ne_bytes()), (NESTED | 8, &attributes(&[(NESTED, &peer)]))])
}

/// Each with one acknowledgement.
fn send_all(kernel: &OwnedFd, datagrams: &[Vec<u8>]) -> Result<()> {
    let mut answer = [0; 64];
    for datagram in datagrams {
        send(kernel, datagram, SendFlags::empty())?;
        let (length, _) = recv(kernel, &mut answer[..], RecvFlags::empty())?;
        // struct nlmsgerr behind the header: 0 is "done".
        ensure!(length >= 20 && answer[16..20] == [0; 4], "refused: {:?}", &answer[..length]);
    }
    Ok(())
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
    kinds.into_iter().flat_map(|kind| batched(kind, MAKE)).collect()
}

/// Messages as datagrams, the acknowledgement on the last of each.
fn batched(mut messages: Vec<Vec<u8>>, flags: u16) -> Vec<Vec<u8>> {
    let datagram = |chunk: &mut [Vec<u8>]| {
        let last = chunk.len() - 1;
        for (at, message) in chunk.iter_mut().enumerate() {
            let flags = if at == last { flags | ACKNOWLEDGE } else { flags };
            message[6..8].copy_from_slice(&flags.to_ne_bytes());
        }
        chunk.concat()
    };
    messages.chunks_mut(PER_DATAGRAM).map(datagram).collect()
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
    let body = [fixed, &self::attributes(attributes)].concat();
    let mut message = (16 + body.len() as u32).to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend(MAKE.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    message
}

fn attributes(of: &[(u16, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (kind, value) in of {
        body.extend((4 + value.len() as u16).to_ne_bytes());
        body.extend(kind.to_ne_bytes());
        body.extend(*value);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    body
}

fn octets(address: IpAddr) -> [u8; 4] {
    match address {
        IpAddr::V4(address) => address.octets(),
        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED.octets(),
    }
}
