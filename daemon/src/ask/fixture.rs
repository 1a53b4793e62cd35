//! A node with two peers and a kernel in memory, for the tests of everything that an operator sees.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::IpAddr;
use std::time::{Duration, UNIX_EPOCH};

use backends::cluster::{OwnSubnetRoute, RouteStyle, UnclaimedAddresses};
use backends::masquerade::{Firewall, Forward, Masquerade};
use backends::offload::Offload;
use backends::state::{Passage, PeerKey, RouteKey, Scope, Tag};
use backends::wireguard::Generation;
use backends::{Change, Failure, KernelState, LinkName, Outcome, Plan, Uplink};
use ipam::table::Record;
use ipam::{BackendData, Endpoint, Lease, LeaseKey, Mac, NodeName, Stack};
use ipnet::IpNet;
use kernel::wireguard::Session;

use super::{About, Clock};
use crate::config::Instance;
use crate::identity::Identity;
use crate::netconf::Division;
use crate::node::Node;
use crate::reconcile::{Kernel, Reconciler, WantedUplink};
use crate::store::Event;
use crate::subnet_file::PodMode;
use crate::tunnel_keys::TunnelKeys;

/// A kernel that does as it is told, unless it is told not to.
#[derive(Debug)]
pub struct MemoryKernel {
    /// What it holds.
    pub state: KernelState,
    /// Why it cannot be looked at.
    pub blind: Option<String>,
    /// What it refuses: changes whose command begins so.
    pub refused: Option<&'static str>,
    /// The uplink, or why there is none.
    pub uplink: Result<Uplink, String>,
    /// This node's keys, if it has any.
    pub keys: Option<TunnelKeys>,
    /// How long ago each session was agreed upon.
    pub handshake: Option<Duration>,
}

impl Kernel for MemoryKernel {
    fn observe(&mut self, _: &Scope) -> Result<KernelState, String> {
        self.blind.clone().map_or_else(|| Ok(self.state.clone()), Err)
    }

    fn apply(&mut self, _: &Scope, plan: &Plan) -> Outcome {
        let mut outcome = Outcome::default();
        for change in &plan.changes {
            if self.refused.is_some_and(|start| change.to_string().starts_with(start)) {
                let reason = "Operation not supported".to_owned();
                outcome.failures.push(Failure { change: change.clone(), errno: 95, reason });
            } else {
                self.make(change);
                outcome.done += 1;
            }
        }
        outcome
    }

    fn tunnel_keys(&mut self, _generation: Generation) -> Result<TunnelKeys, String> {
        self.keys.ok_or("there is no key file here".into())
    }

    fn sessions(&mut self, links: &[LinkName]) -> Result<Vec<Session>, String> {
        let handshake = self.handshake;
        let session = |peer: &PeerKey| Session { peer: *peer, remote: None, handshake, received: 0, sent: 148 };
        Ok(self.state.peers.keys().filter(|peer| links.contains(&peer.link)).map(session).collect())
    }

    fn uplink(&mut self, wanted: &WantedUplink) -> Result<Uplink, String> {
        self.uplink.clone().map(|uplink| Uplink { public: wanted.public.unwrap_or(uplink.public), ..uplink })
    }
}

impl MemoryKernel {
    fn make(&mut self, change: &Change) {
        let state = &mut self.state;
        match change.clone() {
            Change::LinkAdd(name, link) | Change::LinkSet { name, to: link, .. } => {
                drop(state.links.insert(name, *link))
            }
            Change::OffloadSet(name, Offload::Off) => drop(state.software_checksums.insert(name)),
            Change::OffloadSet(name, Offload::On) => drop(state.software_checksums.remove(&name)),
            Change::LinkDelete(name) => drop(state.links.remove(&name)),
            Change::AddressAdd(link, address) => drop(state.addresses.insert((link, address), Tag::Ours)),
            Change::AddressDelete(link, address) => drop(state.addresses.remove(&(link, address))),
            Change::SysctlSet(path, value) => drop(state.sysctls.insert(path, value)),
            Change::RulesetSet(ruleset) => state.ruleset = ruleset,
            Change::PassageSet(network) => drop(state.passages.insert(network, Passage::Open)),
            Change::PassageDelete(network) => drop(state.passages.remove(&network)),
            Change::NexthopAdd(nexthop) => drop(state.nexthops.insert(nexthop, Tag::Ours)),
            Change::NexthopDelete(nexthop) => drop(state.nexthops.remove(&nexthop)),
            Change::GroupAdd(group) => drop(state.groups.insert(group, Tag::Ours)),
            Change::GroupDelete(group) => drop(state.groups.remove(&group)),
            Change::RouteSet(key, route) => drop(state.routes.insert(key, route)),
            Change::RouteDelete(key, _) => drop(state.routes.remove(&key)),
            Change::NeighbourSet(key, neighbour) => drop(state.neighbours.insert(key, neighbour)),
            Change::NeighbourDelete(key, _) => drop(state.neighbours.remove(&key)),
            Change::FdbSet(key, entry) => drop(state.fdb.insert(key, entry)),
            Change::FdbDelete(key, _) => drop(state.fdb.remove(&key)),
            Change::PeerSet { key, to, .. } => drop(state.peers.insert(key, *to)),
            Change::PeerDelete(key) => drop(state.peers.remove(&key)),
            Change::RelaySet(key, peer) => drop(state.relays.insert(key, peer)),
            Change::RelayDelete(key) => drop(state.relays.remove(&key)),
        }
    }
}

/// The network of all these tests.
pub const NETWORK: &str = r#"{"Network": "10.244.0.0/16", "EnableIPv6": true, "IPv6Network": "fd00:10:244::/48",
    "Backend": {"Type": "vxlan"}}"#;

/// Noon of 21 November 2026, an hour after the daemon started.
pub fn noon() -> Clock {
    Clock { now: Duration::from_secs(3600), wall: UNIX_EPOCH + Duration::from_secs(1_795_262_400) }
}

/// What the run loop would say of itself.
pub fn about() -> About {
    About {
        store: "directory /var/lib/towpath/store".to_owned(),
        started: std::time::Instant::now(),
        counted: None,
        trials: None,
    }
}

/// The route to the pods of node number N.
pub fn route(number: u8) -> RouteKey {
    RouteKey::new(format!("10.244.{number}.0/24").parse().unwrap())
}

/// The lease of node number N: 10.244.N.0/24 and fd00:10:244:N::/64, at 192.0.2.N and 2001:db8::N.
pub fn lease(node: &str, number: u8) -> Lease {
    let endpoint = |subnet: String, public: String, data| Endpoint {
        subnet: subnet.parse::<IpNet>().unwrap(),
        public: public.parse::<IpAddr>().unwrap(),
        data,
    };
    let data = |family| BackendData::Vxlan { vni: 1, mac: Mac([0x02, 0, 0, 0, family, number]) };
    Lease {
        key: LeaseKey::new(&format!("10.244.{number}.0-24")),
        node: NodeName::new(node).unwrap(),
        since: u64::from(number),
        endpoints: Stack::Dual {
            v4: endpoint(format!("10.244.{number}.0/24"), format!("192.0.2.{number}"), data(4)),
            v6: endpoint(format!("fd00:10:244:{number}::/64"), format!("2001:db8::{number}"), data(6)),
        },
        rollout: None,
    }
}

/// eth0 of node number 1.
pub fn uplink() -> Uplink {
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    let local = Stack::Dual { v4: address("192.0.2.1"), v6: address("2001:db8::1") };
    Uplink {
        link: link("eth0"),
        mtu: 1500,
        local,
        public: local,
        on_link: Default::default(),
        settings: Default::default(),
    }
}

/// A link's name.
pub fn link(name: &str) -> LinkName {
    LinkName::new(name).unwrap()
}

/// Node `a`.
pub fn identity(division: Division) -> Identity {
    Identity {
        name: NodeName::new("a").unwrap(),
        instance: Instance { alias: "towpath /run/flannel/subnet.env".into(), table: "towpath".into() },
        firewall: Firewall { masquerade: Masquerade::FullyRandom, forward: Forward::Accept },
        own_subnet_route: OwnSubnetRoute::Absent,
        unclaimed: UnclaimedAddresses::Routed,
        masquerade_address: None,
        bgp_as: None,
        labels: Default::default(),
        pods: PodMode::Bridge,
        routes: RouteStyle::Objects,
        division,
    }
}

/// Node `a` that knows nothing yet, and its empty kernel.
pub fn newborn() -> (Reconciler, MemoryKernel) {
    newborn_as(Node::new(identity(Division::Claimed), None, None))
}

/// A node with an empty kernel.
pub fn newborn_as(node: Node) -> (Reconciler, MemoryKernel) {
    let sysctls = ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"].map(|path| (path.into(), "0".into())).into();
    let state = KernelState { sysctls, ..KernelState::default() };
    let kernel = MemoryKernel { state, blind: None, refused: None, uplink: Ok(uplink()), keys: None, handshake: None };
    (Reconciler::new(node, Duration::from_secs(30), Duration::ZERO), kernel)
}

/// Node `a` with its lease and the peers `b` and `c`, and a kernel that is as it should be. The last turn was ten seconds
/// before noon.
pub fn settled() -> (Reconciler, MemoryKernel) {
    let (mut reconciler, mut kernel) = newborn();
    let now = noon().now - Duration::from_secs(10);
    let records = vec![Record::Lease(lease("a", 1)), Record::Lease(lease("b", 2)), Record::Lease(lease("c", 3))];
    for event in [Event::Network(NETWORK.into()), Event::Snapshot(records), Event::Mine(lease("a", 1))] {
        tell(&mut reconciler, event);
    }
    reconciler.turn(&mut kernel, now);
    assert!(reconciler.record.converged(), "{:?}", reconciler.record.failures);
    (reconciler, kernel)
}

/// The store says something ten minutes before noon.
pub fn tell(reconciler: &mut Reconciler, event: Event) {
    reconciler.node.on_event(event, noon().now - Duration::from_secs(600));
}
