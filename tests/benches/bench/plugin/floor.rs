//! What the kernel alone takes for a pod's wire: a veth pair with its far end born inside the pod, as port of a bridge, up
//! at both ends, an address and a route. The datagrams are written here once more, so that the floor does not rest on the
//! code that is measured against it.

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Instant;

use anyhow::{Result, ensure};
use kernel::netns::Netns;
use netns_harness::Node;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, recv, send, socket};

use super::runtime::Pod;
use crate::figures::in_millis;
use crate::floor::{ACKNOWLEDGE, MAKE, message};

/// `IFF_UP`
const UP: u32 = 1;
/// `RTM_…`
const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const SET_LINK: u16 = 19;
const NEW_ADDRESS: u16 = 20;
const NEW_ROUTE: u16 = 24;

/// `IFLA_GROUP`, and a group that nobody else uses.
const GROUP_OF: u16 = 27;
const GROUP: u32 = 0x464c_0000;

/// The bridge that the floor's wires hang on, and its index.
#[derive(Clone, Copy, Debug)]
pub struct Floor {
    bridge: u32,
}

impl Floor {
    /// Makes the bridge.
    pub fn new(node: &Node) -> Result<Floor> {
        node.ip("link add floor type bridge")?;
        node.ip("address add 10.8.0.1/16 dev floor")?;
        node.ip("link set floor up")?;
        Floor::on(node, "floor")
    }

    /// On a bridge that is there.
    pub fn on(node: &Node, bridge: &str) -> Result<Floor> {
        let about = node.ip(&format!("-o link show dev {bridge}"))?;
        Ok(Floor { bridge: about.split(':').next().unwrap_or_default().trim().parse()? })
    }

    /// Wires a pod up: milliseconds. On a thread in the node's namespace.
    pub fn add(&self, pod: &Pod) -> Result<f64> {
        let home = Netns::current()?;
        let [high, low] = (pod.number as u16 + 2).to_be_bytes();
        let address = [10, 8, high, low];
        let began = Instant::now();
        let netns = std::fs::File::open(&pod.netns)?;
        ask(&open()?, &[self.pair(pod, &netns.into())])?;
        let inside = Netns::open(&pod.netns)?;
        inside.enter()?;
        // `lo` is the first link of a namespace and the pair's end the second.
        let (lo, end) = (1, 2);
        let done = open().and_then(|socket| {
            let messages = [
                message(SET_LINK, &link(lo, UP), &[]),
                message(SET_LINK, &link(end, UP), &[]),
                // struct ifaddrmsg: IPv4, /16, anywhere.
                message(NEW_ADDRESS, &[2, 16, 0, 0, 2, 0, 0, 0], &[(2, &address), (1, &address)]),
                // struct rtmsg: a default route in table main, protocol static.
                message(NEW_ROUTE, &[2, 0, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0], &[(5, &[10, 8, 0, 1]), (4, &[2, 0, 0, 0])]),
            ];
            ask(&socket, &messages)
        });
        let time = in_millis(began.elapsed());
        home.enter()?;
        done.map(|()| time)
    }

    /// Deletes the wire: milliseconds.
    pub fn delete(&self, pod: &Pod) -> Result<f64> {
        let began = Instant::now();
        ask(&open()?, &[message(DELETE_LINK, &link(0, 0), &[(3, name(pod).as_bytes())])])?;
        Ok(in_millis(began.elapsed()))
    }

    /// Deletes all of its wires together: milliseconds. Its wires alone are in its group.
    pub fn delete_all(&self) -> Result<f64> {
        let began = Instant::now();
        ask(&open()?, &[message(DELETE_LINK, &link(0, 0), &[(GROUP_OF, &GROUP.to_ne_bytes())])])?;
        Ok(in_millis(began.elapsed()))
    }

    fn pair(&self, pod: &Pod, netns: &OwnedFd) -> Vec<u8> {
        let descriptor = netns.as_raw_fd().cast_unsigned().to_ne_bytes();
        // VETH_INFO_PEER is a whole message about the other end: struct ifinfomsg and IFLA_…
        let peer = [link(2, 0).to_vec(), attribute(3, b"eth0\0"), attribute(28, &descriptor)].concat();
        let kind = [attribute(1, b"veth"), attribute(2, &attribute(1, &peer))].concat();
        let mtu = 1450_u32.to_ne_bytes();
        let name = name(pod);
        let attributes: [(u16, &[u8]); 5] = [
            (3, name.as_bytes()),
            (4, &mtu),
            (10, &self.bridge.to_ne_bytes()),
            (GROUP_OF, &GROUP.to_ne_bytes()),
            (18, &kind),
        ];
        message(NEW_LINK, &link(0, UP), &attributes)
    }
}

fn name(pod: &Pod) -> String {
    format!("fl{}\0", pod.number)
}

/// `struct ifinfomsg`
fn link(index: u32, up: u32) -> [u8; 16] {
    let ([i0, i1, i2, i3], [u0, u1, u2, u3]) = (index.to_ne_bytes(), up.to_ne_bytes());
    [0, 0, 0, 0, i0, i1, i2, i3, u0, u1, u2, u3, u0, u1, u2, u3]
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut attribute = (4 + value.len() as u16).to_ne_bytes().to_vec();
    attribute.extend(kind.to_ne_bytes());
    attribute.extend(value);
    attribute.resize(attribute.len().next_multiple_of(4), 0);
    attribute
}

fn open() -> Result<OwnedFd> {
    Ok(socket(AddressFamily::NETLINK, SocketType::RAW, None)?)
}

/// All in one datagram; the last one is acknowledged, and what is refused answers as well.
fn ask(socket: &OwnedFd, messages: &[Vec<u8>]) -> Result<()> {
    let mut datagram = messages.concat();
    let last = datagram.len() - messages.last().map(Vec::len).unwrap_or_default();
    if let Some(flags) = datagram.get_mut(last + 6..last + 8) {
        flags.copy_from_slice(&(MAKE | ACKNOWLEDGE).to_ne_bytes());
    }
    send(socket, &datagram, SendFlags::empty())?;
    let mut answer = [0; 512];
    let (length, _) = recv(socket, &mut answer[..], RecvFlags::empty())?;
    // struct nlmsgerr behind the header: 0 is "done".
    ensure!(length >= 20 && answer[16..20] == [0; 4], "refused: {:?}", &answer[..length]);
    Ok(())
}
