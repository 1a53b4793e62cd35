//! A pod's wire: the veth pair whose far end is born inside the pod, what it hangs on, and what is set there. For the plugin.
//!
//! One socket in each of the two network namespaces, all that can go together in one datagram, no thread, no process.
//! [`attach`] is the whole of it in order; [`Host`] and [`Pod`] are its two sides, which taking down and looking use too.
//! Which addresses a pod gets is not decided here, and nothing here carries the daemon's tag.

mod bridge;
pub mod burial;
mod exchange;
mod host;
mod inside;
pub mod mtu;
mod namespaces;
mod routed;
mod settings;
mod tuning;

use std::net::IpAddr;

use backends::LinkName;
use ipam::{Family, Mac};
use ipnet::IpNet;

pub use crate::codec::bridge::{DefaultVlan, Hairpin, Isolation, Port, VlanFiltering, Vlans};
pub use crate::codec::pod::{Dad, POD_PROTOCOL, Route};
use crate::codec::{self, neighbour};
use crate::error::Error;
use crate::netlink::Socket;
use crate::netns::{Netns, NetnsError};
pub use crate::nft::guard::Guard;
use crate::sysctl::{self, SysctlError};
pub use bridge::BridgeSeen;
use exchange::Exchange;
pub use host::{Ends, Found, Host};
pub use inside::{Inside, Pod, PodEnd};
pub use namespaces::NotFound;
pub use routed::gateway;
pub use tuning::Tuning;

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
    /// Its link group, as that of a [`Wire`].
    pub group: u32,
    /// The pods' gateways, with their subnets' lengths. None when somebody else routes.
    pub gateways: Vec<IpNet>,
    /// What becomes of addresses that it has and a gateway contradicts.
    pub others: Others,
    /// Networks in which other addresses are no contradiction: a node's earlier subnets of the same cluster, whose pods live on.
    pub kin: Vec<IpNet>,
    /// Whether it takes in every frame.
    pub promiscuity: Promiscuity,
}

/// What becomes of another address on a bridge: another IPv4 one at all, an IPv6 one whose subnet overlaps the gateway's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Others {
    /// It stays, and the pod is refused.
    #[default]
    Refused,
    /// The gateway's takes its place.
    Replaced,
}

/// Whether a bridge takes in every frame. `ip link set dev … promisc on`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Promiscuity {
    /// It does.
    On,
    /// It is left as it is.
    #[default]
    Left,
}

/// How a pod hangs on a bridge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Whether the pod reaches itself through the bridge.
    pub hairpin: Hairpin,
    /// Whether it reaches other isolated ones.
    pub isolation: Isolation,
    /// VLANs.
    pub vlans: Vlans,
    /// Whose frames it may send.
    pub source: Source,
}

/// Whose frames a pod may send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// With any link-layer address.
    #[default]
    Any,
    /// With its own only: see [`Guard`].
    Own,
}

/// What the host's end of a wire hangs on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// It is a port of a bridge.
    Bridged(Bridge, Terms),
    /// It hangs on nothing: the node routes to each pod, and is the gateway by [`gateway`].
    Routed {
        /// The bridge of the pods of the other kind: if it is there, it answers for this one.
        beside: LinkName,
    },
}

/// The veth pair, as wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wire {
    /// The end on the node.
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
    /// The link group of the end on the node: [`mtu::group`] where the MTU is the daemon's to change, else 0.
    pub group: u32,
}

/// What a wire came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The bridge's link-layer address and MTU, octets; none when it is routed.
    pub bridge: Option<(Mac, u32)>,
    /// The bridge's end in the pod's VLAN, which has the gateway addresses, if there is one.
    pub vlan: Option<(LinkName, Mac)>,
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
    /// The bridge belongs to another network.
    #[error(
        "the bridge {name} has the address {other}, and this network's gateway is {gateway}: set `bridge` to another \
         name, or `forceAddress` to replace it"
    )]
    OtherAddress {
        /// The bridge.
        name: LinkName,
        /// What it has.
        other: IpNet,
        /// What it should have.
        gateway: IpNet,
    },
    /// The bridge's own end in a VLAN is called after both.
    #[error("`{name}` is too long for an interface's name: choose a shorter `bridge`, 10 octets or fewer, with `vlan`")]
    VlanName {
        /// What it would be called.
        name: String,
    },
    /// The other end is up and the link is not.
    #[error(
        "{name} did not come up within {seconds} s although both of its ends were set up: look at `ip -d link show {name}`"
    )]
    NoCarrier {
        /// The host's end.
        name: LinkName,
        /// How long it was waited for.
        seconds: u64,
    },
    /// Somebody else on the link has the address (RFC 4862 section 5.4).
    #[error("the address {address} is in use by somebody else on the pod's link: duplicate address detection found it")]
    Duplicate {
        /// The address.
        address: IpAddr,
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

/// Wires a pod up: bridge, pair, port or routes, and what is inside. The bridge is made if it is not there; many may do
/// so at once.
///
/// The calling thread is in the pod's network namespace afterwards and stays there: for a process that does nothing else,
/// or a thread that ends.
///
/// # Errors
/// The first thing that failed; the pair is gone again then, the bridge stays for the next pod.
pub fn attach(netns: &Netns, way: &Way, wire: &Wire, inside: &Inside) -> Result<Attached, PodError> {
    let routed: Vec<IpAddr> = match way {
        Way::Bridged(bridge, _) => bridge.gateways.iter().map(IpNet::addr).collect(),
        Way::Routed { .. } => inside.addresses.iter().map(IpNet::addr).collect(),
    };
    for family in Family::ALL.into_iter().filter(|family| routed.iter().any(|address| Family::of(*address) == *family))
    {
        // What a gateway is for; the bridge plugin does the same. `sysctl -w net.ipv4.ip_forward=1`
        ensure(
            match family {
                Family::V4 => "net/ipv4/ip_forward",
                Family::V6 => "net/ipv6/conf/all/forwarding",
            },
            "1",
        )?;
    }
    let mut host = Host::open()?;
    let laid = host.lay(way, wire, netns).map_err(|error| match error {
        // What the kernel also says of a namespace of another kind; entering it tells.
        PodError::Netlink(refused) if refused.errno() == libc::EINVAL => {
            Pod::enter(netns).err().unwrap_or(PodError::Netlink(refused))
        }
        error => error,
    })?;
    finish(&mut host, (way, &laid), wire, (netns, inside)).inspect_err(|_| {
        // The first error is the one to report; what cannot be taken down now, the pod's DEL will.
        host.delete(laid.ends.host, wire.host).ok();
        if laid.beside.is_some() {
            host.forget_unrouted().ok();
        }
    })
}

/// What [`Host::lay`] did.
struct Laid {
    ends: Ends,
    /// The bridge, if it is a port of one.
    bridge: Option<BridgeSeen>,
    /// The bridge's end in the pod's VLAN.
    vlan: Option<(LinkName, Mac)>,
    /// The link that pods of the other kind are on, and that answers for this one.
    beside: Option<u32>,
}

/// All that comes after the pair is there: the rule about its frames, the inside, the port, and the introductions.
fn finish(
    host: &mut Host,
    (way, laid): (&Way, &Laid),
    wire: &Wire,
    (netns, inside): (&Netns, &Inside),
) -> Result<Attached, PodError> {
    let guarded = matches!(way, Way::Bridged(_, Terms { source: Source::Own, .. }));
    let mut guard = if guarded { Some(Guard::open()?) } else { None };
    if let Some(guard) = &mut guard {
        guard.set(wire.host, wire.pod_mac)?;
    }
    let (ends, gateways) = (laid.ends, neighbours(way, laid, wire, inside));
    let finished = Pod::enter(netns).and_then(|mut pod| {
        pod.configure(ends.pod, wire.pod, inside)?;
        let (mtu, audience) = host.settle((way, laid), wire, inside)?;
        pod.announce((ends.pod, wire.pod_mac, audience), inside, &gateways)?;
        Ok(mtu)
    });
    match finished {
        Ok(mtu) => Ok(Attached { bridge: laid.bridge.map(|seen| (seen.mac, seen.mtu)), vlan: laid.vlan, mtu }),
        Err(error) => {
            // As with the pair: the first error is the one to report.
            if let Some(guard) = &mut guard {
                guard.remove(wire.host).ok();
            }
            Err(error)
        }
    }
}

/// Whom the pod will talk to first: its gateways, each with its link-layer address.
fn neighbours(way: &Way, laid: &Laid, wire: &Wire, inside: &Inside) -> Vec<(IpAddr, Mac)> {
    match way {
        Way::Bridged(bridge, _) => {
            let mac = laid.vlan.map(|(_, mac)| mac).or(laid.bridge.map(|seen| seen.mac));
            mac.into_iter().flat_map(|mac| bridge.gateways.iter().map(move |net| (net.addr(), mac))).collect()
        }
        Way::Routed { .. } => {
            let mine = |family: &Family| inside.addresses.iter().any(|net| Family::of_net(net) == *family);
            Family::ALL.into_iter().filter(mine).map(|family| (gateway(family), wire.host_mac)).collect()
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
