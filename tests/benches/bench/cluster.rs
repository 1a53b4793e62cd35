//! A cluster of any size, as leases, as desired state and as the text that `ip -batch` and `bridge -batch` take.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use anyhow::Result;
use backends::cluster::{OwnSubnetRoute, RouteStyle};
use backends::masquerade::{Firewall, Forward, Masquerade};
use backends::state::Scope;
use backends::sum::Desired;
use backends::vxlan::VxlanSettings;
use backends::{Backend, Cluster, KernelState, LinkName, Uplink};
use ipam::table::Record;
use ipam::{BackendData, Endpoint, Lease, LeaseKey, LeaseTable, Mac, NodeName, PublicKey, Stack};
use ipnet::{IpNet, Ipv4Net};

/// The network: room for 65,536 subnets.
pub const NETWORK: &str = "10.0.0.0/8";

/// The lease of peer `i`, from 1.
pub fn lease(i: u32) -> Lease {
    let [_, b, c, d] = (i << 8).to_be_bytes().map(|byte| byte);
    let subnet = Ipv4Net::new_assert(Ipv4Addr::from(0x0a00_0000 | (i << 8)), 24);
    debug_assert_eq!(d, 0);
    let mac = Mac([2, 0x54, 0, b, c, 1]);
    let public = IpAddr::from(Ipv4Addr::from(0xc612_0000 + i));
    let data = BackendData::Vxlan { vni: 1, mac };
    let node = NodeName::new(&format!("peer-{i}")).expect("a name");
    let key = LeaseKey::new(&format!("{}-24", subnet.addr()));
    let endpoints = Stack::V4(Endpoint { subnet: subnet.into(), public, data });
    Lease { key, node, since: u64::from(i), endpoints, rollout: None }
}

/// The lease of peer `i` as it publishes it with a backend.
pub fn lease_by(backend: &Backend, i: u32) -> Lease {
    let lease = lease(i);
    let data = || match backend {
        Backend::Vxlan(_) => None,
        Backend::WireGuard(settings) => {
            Some(BackendData::WireGuard { key: Box::new(public_key(i)), port: Some(settings.port(ipam::Family::V4)) })
        }
        other => Some(BackendData::Other(other.published_name().into())),
    };
    let endpoint =
        |_, endpoint: &Endpoint| Endpoint { data: data().unwrap_or(endpoint.data.clone()), ..endpoint.clone() };
    Lease { endpoints: lease.endpoints.map(endpoint), ..lease }
}

/// What peer `i` is known by; nobody has the private key.
pub fn public_key(i: u32) -> PublicKey {
    let mut octets = [7; 32];
    octets[..4].copy_from_slice(&i.to_be_bytes());
    PublicKey::new(octets).expect("of no small order")
}

/// VXLAN as it is without any option.
pub fn vxlan() -> Backend {
    let network: IpNet = NETWORK.parse().expect("a prefix");
    Backend::Vxlan(VxlanSettings::new(1, &Stack::V4(network)).expect("a VNI"))
}

/// A node with so many peers: what it should hold without and with them.
pub fn desired(link: LinkName, local: IpAddr, peers: u32, routes: RouteStyle) -> (KernelState, Desired, LeaseTable) {
    desired_by(&vxlan(), (link, local), peers, routes)
}

/// The same by any backend; all peers are on the link.
pub fn desired_by(
    backend: &Backend,
    (link, local): (LinkName, IpAddr),
    peers: u32,
    routes: RouteStyle,
) -> (KernelState, Desired, LeaseTable) {
    let network: IpNet = NETWORK.parse().expect("a prefix");
    let networks = Stack::V4(network);
    let on_link = ["198.18.0.0/15".parse::<IpNet>().expect("a prefix")].into_iter().collect();
    let mut own = lease_by(backend, 60_000);
    own.endpoints = own.endpoints.map(|_, endpoint| Endpoint { public: local, ..endpoint.clone() });
    let mut table = LeaseTable::default();
    table.replace((1..=peers).map(|i| Record::Lease(lease_by(backend, i))).collect());
    let cluster = Cluster {
        networks,
        backend: backend.clone(),
        uplink: Uplink {
            link,
            mtu: 1500,
            local: Stack::V4(local),
            public: Stack::V4(local),
            on_link,
            settings: Default::default(),
        },
        own,
        firewall: Firewall { masquerade: Masquerade::FullyRandom, forward: Forward::Accept },
        routes,
        own_subnet_route: OwnSubnetRoute::Absent,
        unclaimed: Default::default(),
        exceptions: Default::default(),
        segments: Default::default(),
        ways: None,
    };
    let base = cluster.base();
    (base, Desired::new(cluster, &table), table)
}

/// What `kernel::Hand` looks at.
pub fn scope(state: &KernelState) -> Scope {
    Scope {
        alias: "towpath bench".into(),
        table: "towpath".into(),
        links: state.links.keys().copied().collect(),
        networks: vec![NETWORK.parse().expect("a prefix")],
        sysctls: state.sysctls.keys().cloned().collect(),
    }
}

/// The classic three entries a peer, as text for `ip -batch` (neighbours, then routes) and `bridge -batch`.
pub fn batches(peers: u32) -> Result<(String, String, String)> {
    let (mut neighbours, mut fdb, mut routes) = (String::new(), String::new(), String::new());
    for lease in (1..=peers).map(lease) {
        let Stack::V4(Endpoint { subnet, public, data: BackendData::Vxlan { mac, .. } }) = lease.endpoints else {
            continue;
        };
        let gateway = subnet.network();
        writeln!(neighbours, "neigh replace {gateway} lladdr {mac} dev flannel.1 nud permanent")?;
        writeln!(fdb, "fdb replace {mac} dev flannel.1 dst {public} self permanent")?;
        writeln!(routes, "route replace {subnet} via {gateway} dev flannel.1 onlink")?;
    }
    Ok((neighbours, fdb, routes))
}
