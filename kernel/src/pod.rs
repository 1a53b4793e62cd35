//! A pod's wire: the bridge, the veth pair whose far end is born inside the pod, and what is set there. For the plugin.
//!
//! One socket in each of the two network namespaces, all that can go together in one datagram, no thread, no process.
//! [`attach`] is the whole of it in order; [`Host`] and [`Pod`] are its two sides, which taking down and looking use too.
//! Which addresses a pod gets is not decided here, and nothing here carries the daemon's tag.

mod exchange;
mod host;
mod inside;

use std::net::IpAddr;

use backends::LinkName;
use ipam::{Family, Mac};
use ipnet::IpNet;

pub use crate::codec::pod::{Hairpin, Port, Route};
use crate::codec::{self, neighbour};
use crate::error::Error;
use crate::netlink::Socket;
use crate::netns::{Netns, NetnsError};
use crate::sysctl::{self, SysctlError};
use exchange::Exchange;
pub use host::{BridgeSeen, Ends, Found, Host};
pub use inside::{Inside, Pod};

/// The bridge that pods hang on, as wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bridge {
    /// Its name, `cni0`.
    pub name: LinkName,
    /// Link-layer address to make it with. It stays: a bridge's address otherwise follows its ports', and every pod's
    /// neighbour entry of its gateway with it.
    pub mac: Mac,
    /// Octets of payload; left as it is, or the kernel's default, when not said.
    pub mtu: Option<u32>,
    /// The pods' gateways, with their subnets' lengths. None when somebody else routes.
    pub gateways: Vec<IpNet>,
}

/// The veth pair between them, as wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wire {
    /// The end on the bridge.
    pub host: LinkName,
    /// Its link-layer address.
    pub host_mac: Mac,
    /// Who it belongs to, at most 255 octets: its alias.
    pub alias: String,
    /// The end in the pod.
    pub pod: LinkName,
    /// Its link-layer address.
    pub pod_mac: Mac,
    /// Octets of payload on both; the kernel's default when not said.
    pub mtu: Option<u32>,
    /// Whether the pod reaches itself through the bridge.
    pub hairpin: Hairpin,
}

/// What a wire came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The bridge's link-layer address.
    pub bridge_mac: Mac,
    /// The bridge's MTU, octets.
    pub bridge_mtu: u32,
    /// The pair's MTU, octets.
    pub mtu: u32,
}

/// Why a pod has no wire.
#[derive(Debug, thiserror::Error)]
pub enum PodError {
    /// The kernel refused, or could not be asked.
    #[error(transparent)]
    Netlink(#[from] Error),
    /// The pod's namespace.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// A kernel setting.
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
    /// Something else has the bridge's name.
    #[error("{name} is a {kind} and not a bridge: remove it, or set `bridge` to another name")]
    NotABridge {
        /// The name.
        name: LinkName,
        /// What the kernel calls it.
        kind: String,
    },
    /// The bridge was there and is not.
    #[error("the bridge {name} was removed at this very moment: somebody else manages it")]
    BridgeGone {
        /// The name.
        name: LinkName,
    },
    /// A bridge has 10 bits for its ports.
    #[error("the bridge {name} has all of its 1,024 ports in use: no more pods fit on this node's bridge")]
    BridgeFull {
        /// The name.
        name: LinkName,
    },
    /// The host's end is there already.
    #[error("the interface {name} is there already and belongs to `{alias}`: DEL has to come before another ADD")]
    HostEndTaken {
        /// Its name.
        name: LinkName,
        /// Its alias.
        alias: String,
    },
    /// The pod has an interface of this name.
    #[error("the pod has an interface {name} already: DEL has to come before another ADD")]
    PodEndTaken {
        /// Its name.
        name: LinkName,
    },
    /// What is to be deleted in a pod was made by somebody else.
    #[error("{name} in the pod is a {kind} and not a veth: it was not made by this plugin and is left alone")]
    NotAVeth {
        /// Its name.
        name: LinkName,
        /// What the kernel calls it.
        kind: String,
    },
}

/// Wires a pod up: bridge, pair, port, and what is inside. The bridge is made if it is not there; many may do so at once.
///
/// The calling thread is in the pod's network namespace afterwards and stays there: for a process that does nothing else,
/// or a thread that ends.
///
/// # Errors
/// The first thing that failed; the pair is gone again then, the bridge stays for the next pod.
pub fn attach(netns: &Netns, bridge: &Bridge, wire: &Wire, inside: &Inside) -> Result<Attached, PodError> {
    for gateway in &bridge.gateways {
        // What a gateway is for; the bridge plugin does the same. `sysctl -w net.ipv4.ip_forward=1`
        ensure(
            match Family::of_net(gateway) {
                Family::V4 => "net/ipv4/ip_forward",
                Family::V6 => "net/ipv6/conf/all/forwarding",
            },
            "1",
        )?;
    }
    let mut host = Host::open()?;
    let seen = host.bridge(bridge)?;
    let ends = host.plug(bridge, &seen, wire, netns).map_err(|error| match error {
        // What the kernel also says of a namespace of another kind; entering it tells.
        PodError::Netlink(refused) if refused.errno() == libc::EINVAL => {
            Pod::enter(netns).err().unwrap_or(PodError::Netlink(refused))
        }
        error => error,
    })?;
    let finished = Pod::enter(netns).and_then(|mut pod| {
        pod.configure(ends.pod, wire.pod, inside)?;
        Ok(pod.introduce(ends.pod, bridge.gateways.iter().map(|gateway| (gateway.addr(), seen.mac)))?)
    });
    let finished = finished.and_then(|()| host.settle(&seen, &ends, wire));
    // A bridge without addresses has nothing to say to a pod.
    let pod = inside.addresses.iter().filter(|_| !bridge.gateways.is_empty()).map(|net| (net.addr(), wire.pod_mac));
    match finished.and_then(|mtu| Ok(host.introduce(seen.index, pod).map(|()| mtu)?)) {
        Ok(mtu) => Ok(Attached { bridge_mac: seen.mac, bridge_mtu: bridge.mtu.unwrap_or(seen.mtu), mtu }),
        Err(error) => {
            // The first error is the one to report; what cannot be taken down now, the pod's DEL will.
            host.delete(ends.host, wire.host).ok();
            Err(error)
        }
    }
}

/// Tells one side whom it will talk to, so that the first packet needs no question. A question would often be lost: an
/// IPv6 address hears those for it only after some work that the kernel puts off (`addrconf_dad_work`), and who asks does
/// so again only after a second (RFC 4861 section 10, RETRANS_TIMER). What is refused here will be asked for.
fn introduce(socket: &mut Socket, link: u32, neighbours: impl Iterator<Item = (IpAddr, Mac)>) -> Result<(), Error> {
    let mut exchange = Exchange::new(socket);
    for (address, mac) in neighbours {
        exchange.order((neighbour::NEW, codec::REPLACE), |body| neighbour::introduce(body, link, address, mac));
    }
    exchange.finish(|_| {}).map(drop)
}

/// Sets a kernel setting that has another value. One that this kernel does not have needs no setting.
fn ensure(path: &str, value: &str) -> Result<(), SysctlError> {
    match sysctl::read(path)? {
        Some(found) if found != value => sysctl::write(path, value),
        _ => Ok(()),
    }
}
