//! What of any link can be tuned: flags, address, MTU, transmit queue. `struct ifinfomsg` and four attributes.

use ipam::Mac;

use super::link;
use crate::netlink::{Body, Message};

const UP: u32 = libc::IFF_UP as u32;
const PROMISCUOUS: u32 = libc::IFF_PROMISC as u32;
const ALL_MULTICAST: u32 = libc::IFF_ALLMULTI as u32;

/// What is to be changed; `None` is left as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tuning {
    /// `up` or `down`.
    pub up: Option<bool>,
    /// Link-layer address.
    pub mac: Option<Mac>,
    /// Octets of payload.
    pub mtu: Option<u32>,
    /// Frames that may wait to be sent.
    pub queue: Option<u32>,
    /// Whether it takes in every frame.
    pub promiscuous: Option<bool>,
    /// Whether it takes in every multicast frame.
    pub all_multicast: Option<bool>,
}

/// All of it as it is found, and the link's index; `None` when it is another kind of message.
pub fn read(message: &Message<'_>) -> Option<(u32, Tuning)> {
    if message.header.kind != link::NEW {
        return None;
    }
    let [_, _, _, _, i0, i1, i2, i3, f0, f1, f2, f3, _, _, _, _] = message.fixed()?;
    let flags = u32::from_ne_bytes([f0, f1, f2, f3]);
    let flag = |flag| Some(flags & flag != 0);
    let mut tuning = Tuning {
        up: flag(UP),
        promiscuous: flag(PROMISCUOUS),
        all_multicast: flag(ALL_MULTICAST),
        ..Tuning::default()
    };
    for attribute in message.attributes(16) {
        match attribute.kind {
            libc::IFLA_ADDRESS => tuning.mac = attribute.mac(),
            libc::IFLA_MTU => tuning.mtu = attribute.u32(),
            libc::IFLA_TXQLEN => tuning.queue = attribute.u32(),
            _ => {}
        }
    }
    Some((u32::from_ne_bytes([i0, i1, i2, i3]), tuning))
}

/// `ip link set dev … up address MAC mtu N txqueuelen N promisc on allmulticast on`
pub fn set(body: &mut Body<'_>, index: u32, tuning: &Tuning) {
    let (mut flags, mut change) = (0, 0);
    for (flag, wanted) in [(UP, tuning.up), (PROMISCUOUS, tuning.promiscuous), (ALL_MULTICAST, tuning.all_multicast)] {
        if let Some(wanted) = wanted {
            change |= flag;
            flags |= if wanted { flag } else { 0 };
        }
    }
    link::head(body, index, (flags, change));
    if let Some(mac) = tuning.mac {
        body.mac(libc::IFLA_ADDRESS, mac);
    }
    for (kind, number) in [(libc::IFLA_MTU, tuning.mtu), (libc::IFLA_TXQLEN, tuning.queue)] {
        if let Some(number) = number {
            body.u32(kind, number);
        }
    }
}
