//! [`Ground`]: two network namespaces with a wire between them, and on each what a backend makes of a cluster of two nodes.

use std::net::IpAddr;
use std::os::fd::AsFd;

use backends::cluster::{OwnSubnetRoute, RouteStyle};
use backends::diff::diff;
use backends::masquerade::{Firewall, Forward, Masquerade};
use backends::offload::Offload;
use backends::state::Scope;
use backends::{Backend, Cluster, KernelState, LinkName, Uplink};
use ipam::{BackendData, Endpoint, Family, Lease, LeaseKey, Mac, NodeName, Stack};
use ipnet::IpNet;
use rustix::thread::UnshareFlags;

use super::TrialError;
use crate::codec::pod::{self, Dad, End, LOOPBACK};
use crate::codec::{MAKE, address, link};
use crate::error::Error;
use crate::hand::Hand;
use crate::netlink::{Body, Protocol, Request, Socket};
use crate::netns::Netns;
use crate::offload;

const DOING: &str = "making a wire between two network namespaces of our own";

/// Both ends, and where each is reached through the tunnel.
pub(super) struct Ground {
    pub ends: [Netns; 2],
    pub addresses: [IpAddr; 2],
    pub family: Family,
}

impl Ground {
    pub(super) fn new(backend: &Backend, family: Family, mtu: u32) -> Result<Ground, TrialError> {
        let ends = [fresh()?, fresh()?];
        let wire = LinkName::new("wire0").map_err(|_| refused("naming the wire"))?;
        let macs = [Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2])].map(|mac| End { name: wire, mac, group: 0 });
        ends[0].run(|| make_wire(macs, mtu, &ends[1]))??;
        let leases = [lease(backend, family, 1)?, lease(backend, family, 2)?];
        for (end, [own, peer]) in ends.iter().zip([[0, 1], [1, 0]]) {
            let cluster = cluster(backend, (wire, mtu), &leases[own]).ok_or_else(|| refused("making up a cluster"))?;
            let public = leases[own].endpoints.values().map(|endpoint| endpoint.public).collect::<Vec<_>>();
            end.run(|| prepare(wire, &public).and_then(|()| populate(&cluster, &leases[peer])))??;
        }
        let addresses = leases.map(|lease| lease.endpoints.values().map(|it| it.subnet.network()).next());
        let [Some(here), Some(there)] = addresses else { return Err(refused("making up a cluster")) };
        Ok(Ground { ends, addresses: [here, there], family })
    }

    /// Sets both ends' device.
    pub(super) fn set(&self, device: LinkName, wanted: Offload) -> Result<(), TrialError> {
        self.ends.iter().try_for_each(|end| Ok(end.run(|| offload::set_link(device, wanted))??))
    }
}

/// A namespace that nobody else knows.
fn fresh() -> Result<Netns, TrialError> {
    let make = || {
        // SAFETY: the thread is fresh and ends at once; only its own network namespace becomes another.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }
            .map_err(|error| TrialError::Namespace(error.into()))?;
        Ok(Netns::current()?)
    };
    let thread = std::thread::Builder::new().name("offloads".to_owned()).spawn(make);
    let made = thread.map_err(|source| TrialError::System { doing: "starting a thread", source })?.join();
    made.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// A veth pair, an end in each namespace.
fn make_wire(ends: [End; 2], mtu: u32, other: &Netns) -> Result<(), TrialError> {
    let mut socket = Socket::open(Protocol::Route)?;
    let make = |body: &mut Body<'_>| pod::veth(body, ends, (None, Some(mtu)), other.as_fd());
    Ok(socket.request(&Request { kind: link::NEW, flags: MAKE, doing: DOING }, make)?)
}

/// Brings the end of the wire up that is in the calling thread's namespace. It computes no checksum for anybody.
fn prepare(wire: LinkName, public: &[IpAddr]) -> Result<(), TrialError> {
    let mut socket = Socket::open(Protocol::Route)?;
    let index = {
        let question = Request { kind: link::GET, flags: 0, doing: DOING };
        let mut answers = socket.query(&question, |body| link::by_name(body, wire))?;
        answers.find_map(|answer| link::Entry::read(&answer)).map(|entry| entry.index).ok_or_else(|| refused(DOING))?
    };
    let up = libc::IFF_UP as u32;
    let order = Request { kind: link::NEW, flags: 0, doing: DOING };
    for index in [LOOPBACK, index] {
        socket.request(&order, |body| link::set_flags(body, index, up))?;
    }
    for public in public {
        let length = if public.is_ipv4() { 24 } else { 64 };
        let net = IpNet::new(*public, length).map_err(|_| refused(DOING))?;
        let order = Request { kind: address::NEW, flags: MAKE, doing: DOING };
        socket.request(&order, |body| pod::address(body, index, net, Dad::Off))?;
    }
    Ok(offload::set_link(wire, Offload::Off)?)
}

/// What the node would make, but for the settings and rules, which nothing here needs.
fn populate(cluster: &Cluster, peer: &Lease) -> Result<(), TrialError> {
    let mut state = cluster.base();
    state.sysctls.clear();
    state.ruleset = None;
    let (more, unusable) = cluster.contribution(peer);
    if let Some(unusable) = unusable.first() {
        return Err(TrialError::Refused { change: "a lease".to_owned(), reason: unusable.reason.clone() });
    }
    state.extend(more);
    let scope = Scope {
        alias: "towpath trial".to_owned(),
        table: "towpath-trial".to_owned(),
        links: state.links.keys().copied().collect(),
        networks: cluster.networks.values().copied().collect(),
        sysctls: Vec::new(),
    };
    let outcome = Hand::open()?.apply(&scope, &diff(&KernelState::default(), &state));
    match outcome.failures.into_iter().next() {
        None => Ok(()),
        Some(failure) => Err(TrialError::Refused { change: failure.change.to_string(), reason: failure.reason }),
    }
}

fn refused(doing: &str) -> TrialError {
    TrialError::Kernel(Error::Malformed { doing: doing.to_owned(), what: "there is none" })
}

/// Addresses for documentation and private ones: what they are is nobody's business outside.
fn lease(backend: &Backend, family: Family, number: u8) -> Result<Lease, TrialError> {
    let (public, subnet) = match family {
        Family::V4 => (format!("192.0.2.{number}"), format!("10.{number}.0.0/16")),
        Family::V6 => (format!("2001:db8::{number}"), format!("fd00:{number}::/64")),
    };
    let data = match backend {
        Backend::Vxlan(settings) => {
            BackendData::Vxlan { vni: settings.vni(), mac: settings.vtep_mac(family, &format!("trial {number}")) }
        }
        other => BackendData::Other(other.published_name().into()),
    };
    let (Ok(public), Ok(subnet), Ok(node)) =
        (public.parse(), subnet.parse(), NodeName::new(&format!("trial-{number}")))
    else {
        return Err(refused("making up a lease"));
    };
    let endpoints = Stack::single(family, Endpoint { subnet, public, data });
    Ok(Lease { key: LeaseKey::new(node.as_str()), node, since: number.into(), endpoints, rollout: None })
}

fn cluster(backend: &Backend, (link, mtu): (LinkName, u32), own: &Lease) -> Option<Cluster> {
    let local = own.endpoints.map(|_, endpoint| endpoint.public);
    let networks = own.endpoints.filter_map(|family, _| match family {
        Family::V4 => "10.0.0.0/8".parse().ok(),
        Family::V6 => "fd00::/16".parse().ok(),
    })?;
    let mut backend = backend.clone();
    match &mut backend {
        // Not beside the tunnel.
        Backend::Vxlan(settings) => settings.direct_routing = false,
        Backend::Ipip(settings) => settings.direct_routing = false,
        _ => {}
    }
    Some(Cluster {
        networks,
        backend,
        uplink: Uplink {
            link,
            mtu,
            local,
            public: local,
            on_link: [].into_iter().collect(),
            settings: Default::default(),
        },
        own: own.clone(),
        firewall: Firewall { masquerade: Masquerade::Off, forward: Forward::Untouched },
        routes: RouteStyle::Gateways,
        own_subnet_route: OwnSubnetRoute::Absent,
        unclaimed: Default::default(),
        exceptions: Default::default(),
        segments: Default::default(),
        ways: None,
    })
}
