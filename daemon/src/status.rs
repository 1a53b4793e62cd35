//! [`Status`]: what a daemon knows of its node and its peers, as an operator sees it. Its fields are `towpathctl status -o
//! json`; `text` prints them for people; `readiness` boils them down to yes or no, with the reasons.
//!
//! All times are RFC 3339 in UTC, sizes octets. It shows; it decides nothing.

mod encryption;
mod readiness;
mod rollout;
mod speaker;
mod text;

use std::net::IpAddr;

use backends::Backend;
use ipam::{BackendData, Endpoint, Lease, Mac, Stack};
use ipnet::IpNet;
use serde::Serialize;

use crate::ask::Clock;
use crate::node::{Node, Trouble};
use crate::reconcile::Reconciler;
use crate::record::Record;

pub use encryption::SessionStatus;
pub use readiness::Readiness;
pub use rollout::RolloutStatus;
pub use speaker::SpeakerStatus;

/// Sentences of refused routes that are shown.
const REFUSED_SHOWN: usize = 8;

/// What a daemon knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// This node's name.
    pub node: String,
    /// The daemon's version.
    pub version: &'static str,
    /// When the daemon started.
    pub started: String,
    /// The alias of this daemon's links, which tells it from another on this node; absent until the network is known.
    pub alias: Option<String>,
    /// Whether pods can be started and reach their peers, with the reasons.
    #[serde(flatten)]
    pub readiness: Readiness,
    /// Where leases are kept.
    pub store: StoreStatus,
    /// The cluster's network; absent until net-conf.json was read.
    pub network: Option<NetworkStatus>,
    /// The interface that reaches the peers; absent until one was found.
    pub uplink: Option<UplinkStatus>,
    /// The lease that this node holds.
    pub lease: Option<LeaseStatus>,
    /// Octets of payload of a pod's interface; absent until it is known what the kernel should hold.
    pub pod_mtu: Option<u32>,
    /// What is worth knowing of it: one sentence each.
    pub mtu_notes: Vec<String>,
    /// Who computes the checksums of what the tunnel's devices send; absent of a backend that has no devices of the kernel's.
    pub tx_checksum: Option<ChecksumStatus>,
    /// How far a change of the backend is: one sentence, while there is one. `towpathctl rollout status` says more.
    pub rollout: Option<String>,
    /// BGP, where there are peers.
    pub bgp: Option<SpeakerStatus>,
    /// Why routes that were announced to this node are not taken: a sentence each, of the first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refused_routes: Vec<String>,
    /// What was done to the kernel.
    pub kernel: KernelStatus,
    /// The other nodes, by name.
    pub peers: Vec<PeerStatus>,
    /// Keys in the store that hold no lease and never did: what is wrong with each.
    pub faults: Vec<LeaseFault>,
}

/// Where leases are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoreStatus {
    /// Which store.
    pub kind: String,
    /// Whether it can be used.
    pub up: bool,
    /// Since when and why it cannot.
    pub trouble: Option<TroubleStatus>,
}

/// Something that lasts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TroubleStatus {
    /// When it began.
    pub since: String,
    /// For how many seconds it has lasted.
    pub seconds: u64,
    /// One sentence.
    pub reason: String,
}

/// The cluster's network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NetworkStatus {
    /// The prefixes that pods' addresses come from.
    pub cidrs: Vec<IpNet>,
    /// How packets are carried: `vxlan`.
    pub backend: &'static str,
    /// VXLAN network identifier.
    pub vni: Option<u32>,
    /// UDP port of the tunnel.
    pub port: Option<u16>,
    /// Why what the store says now cannot be used; what stands here is the last that could.
    pub trouble: Option<TroubleStatus>,
}

/// The interface that reaches the peers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UplinkStatus {
    /// Its name.
    pub link: String,
    /// Octets of payload that it carries.
    pub mtu: u32,
    /// The addresses on it: the outer source.
    pub local: Vec<IpAddr>,
    /// The addresses that peers are told to send to.
    pub public: Vec<IpAddr>,
    /// Why it cannot be found now; what stands here is the last that was.
    pub trouble: Option<TroubleStatus>,
}

/// Transmit checksum offload of the tunnel's devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChecksumStatus {
    /// `on` or `off`, as `ethtool -k` says it.
    pub offload: &'static str,
    /// What net-conf.json says (`TxChecksum`): `auto`, `on` or `off`.
    pub setting: &'static str,
    /// Why: one sentence.
    pub reason: String,
}

/// The lease that this node holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeaseStatus {
    /// Its key in the store.
    pub key: String,
    /// Its age in the store's own order (etcd: create revision; directory: seconds since 1970): the smaller of two
    /// stands where they overlap.
    pub since: u64,
    /// Per family: subnet, address, backend data.
    pub subnets: Vec<SubnetStatus>,
}

/// One family of a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SubnetStatus {
    /// The pod subnet.
    pub subnet: IpNet,
    /// The address that packets to it are sent to.
    pub public: IpAddr,
    /// The backend that it is published for: `vxlan`.
    pub backend: String,
    /// VXLAN network identifier.
    pub vni: Option<u32>,
    /// The MAC of the VXLAN device (VTEP).
    pub mac: Option<Mac>,
}

/// What was done to the kernel since the daemon started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KernelStatus {
    /// Whether it holds what it should.
    pub converged: bool,
    /// How often it was compared as a whole.
    pub looks: u64,
    /// When it last was.
    pub last_look: Option<String>,
    /// How many changes were made.
    pub changes: u64,
    /// When the last was.
    pub last_change: Option<String>,
    /// How many changes it refused.
    pub refusals: u64,
    /// What it refuses now, or why it cannot be looked at: one sentence each.
    pub failures: Vec<String>,
    /// How many changes of somebody else's were undone.
    pub repaired: u64,
    /// The last of them, oldest first.
    pub repairs: Vec<RepairStatus>,
}

/// One thing that somebody else broke and that was put back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RepairStatus {
    /// When.
    pub at: String,
    /// The change that put it back, as a command.
    pub change: String,
}

/// Another node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PeerStatus {
    /// Its name, or its address where the store keeps no names.
    pub node: String,
    /// Its lease's key in the store.
    pub key: String,
    /// Per family: subnet, address, backend data.
    pub subnets: Vec<SubnetStatus>,
    /// Whether all of the lease is in use.
    pub ok: bool,
    /// Why not: one sentence.
    pub fault: Option<String>,
    /// How the encrypted sessions with it go; empty where the backend encrypts nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub encryption: Vec<SessionStatus>,
}

/// A key in the store that holds no lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeaseFault {
    /// The key.
    pub key: String,
    /// One sentence.
    pub fault: String,
}

impl Status {
    /// What is known now.
    pub fn new(reconciler: &Reconciler, store: &str, clock: &Clock) -> Status {
        let (node, record) = (&reconciler.node, &reconciler.record);
        let trouble = |trouble: &Option<Trouble>| trouble.as_ref().map(|trouble| TroubleStatus::new(trouble, clock));
        let store_trouble = trouble(&node.store_trouble);
        Status {
            node: node.name().to_string(),
            version: env!("CARGO_PKG_VERSION"),
            started: clock.time_of(std::time::Duration::ZERO),
            alias: node.scope().map(|scope| scope.alias),
            readiness: Readiness::of(reconciler, clock),
            store: StoreStatus { kind: store.to_owned(), up: store_trouble.is_none(), trouble: store_trouble },
            network: network(node, trouble(&node.network_trouble)),
            uplink: uplink(node, trouble(&node.uplink_trouble)),
            lease: node.own().map(LeaseStatus::new),
            pod_mtu: reconciler.desired().map(|desired| desired.cluster().pod_mtu()),
            mtu_notes: node.room_notes().into_iter().chain(record.pods.iter().cloned()).collect(),
            tx_checksum: node.tx_checksum().map(|(offload, said, reason)| ChecksumStatus {
                offload: offload.as_str(),
                setting: said.as_str(),
                reason,
            }),
            rollout: RolloutStatus::new(reconciler, clock).sentence(),
            bgp: None,
            refused_routes: record.refused_routes.values().take(REFUSED_SHOWN).cloned().collect(),
            kernel: KernelStatus::new(record, clock),
            peers: peers(node, record),
            faults: faults(node, record),
        }
    }
}

fn network(node: &Node, trouble: Option<TroubleStatus>) -> Option<NetworkStatus> {
    let network = node.network()?;
    let (vni, port) = match &network.backend {
        Backend::Vxlan(vxlan) => (Some(vxlan.vni()), Some(vxlan.port)),
        Backend::Udp(udp) => (None, Some(udp.port)),
        Backend::WireGuard(wireguard) => (None, Some(wireguard.ports[0])),
        Backend::Ipip(_) | Backend::HostGw | Backend::Bgp(_) | Backend::Extension(_) | Backend::Alloc => (None, None),
    };
    Some(NetworkStatus { cidrs: listed(&network.networks), backend: network.backend.name(), vni, port, trouble })
}

fn uplink(node: &Node, trouble: Option<TroubleStatus>) -> Option<UplinkStatus> {
    let uplink = node.uplink()?;
    let (local, public) = (listed(&uplink.local), listed(&uplink.public));
    Some(UplinkStatus { link: uplink.link.to_string(), mtu: uplink.mtu, local, public, trouble })
}

fn listed<T: Clone>(stack: &Stack<T>) -> Vec<T> {
    stack.values().cloned().collect()
}

fn peers(node: &Node, record: &Record) -> Vec<PeerStatus> {
    let others = node.table().leases().filter(|lease| node.table().own() != Some(&lease.key));
    let peer = |lease: &Lease| {
        let failed = || node.commands().and_then(|report| report.faults.get(&lease.key));
        let fault = record.complaints.get(&lease.key).or_else(failed).cloned();
        let key = lease.key.to_string();
        let (node, ok) = (lease.node.to_string(), fault.is_none());
        PeerStatus { node, key, subnets: subnets(lease), ok, fault, encryption: Vec::new() }
    };
    let mut peers: Vec<PeerStatus> = others.map(peer).collect();
    peers.sort_by(|a, b| (&a.node, &a.key).cmp(&(&b.node, &b.key)));
    peers
}

fn faults(node: &Node, record: &Record) -> Vec<LeaseFault> {
    let without_lease = record.complaints.iter().filter(|(key, _)| node.table().get(key).is_none());
    without_lease.map(|(key, fault)| LeaseFault { key: key.to_string(), fault: fault.clone() }).collect()
}

fn subnets(lease: &Lease) -> Vec<SubnetStatus> {
    lease.endpoints.values().map(SubnetStatus::new).collect()
}

impl LeaseStatus {
    fn new(lease: &Lease) -> LeaseStatus {
        LeaseStatus { key: lease.key.to_string(), since: lease.since, subnets: subnets(lease) }
    }
}

impl SubnetStatus {
    fn new(endpoint: &Endpoint) -> SubnetStatus {
        let (vni, mac) = match endpoint.data {
            BackendData::Vxlan { vni, mac } => (Some(vni), Some(mac)),
            BackendData::WireGuard { .. }
            | BackendData::Extension { .. }
            | BackendData::Bgp { .. }
            | BackendData::Other(_) => (None, None),
        };
        let backend = endpoint.data.backend_type().to_owned();
        SubnetStatus { subnet: endpoint.subnet, public: endpoint.public, backend, vni, mac }
    }
}

impl TroubleStatus {
    fn new(trouble: &Trouble, clock: &Clock) -> TroubleStatus {
        let seconds = clock.age(trouble.since).as_secs();
        TroubleStatus { since: clock.time_of(trouble.since), seconds, reason: trouble.reason.clone() }
    }
}

impl KernelStatus {
    fn new(record: &Record, clock: &Clock) -> KernelStatus {
        let repair = |repair: &crate::record::Repair| RepairStatus {
            at: clock.time_of(repair.at),
            change: repair.change.clone(),
        };
        let blind = record.blind.iter().map(|reason| format!("its state cannot be read: {reason}"));
        KernelStatus {
            converged: record.converged(),
            looks: record.looks,
            last_look: record.last_look.map(|at| clock.time_of(at)),
            changes: record.changes,
            last_change: record.last_change.map(|at| clock.time_of(at)),
            refusals: record.refusals,
            failures: blind.chain(record.failures.iter().cloned()).collect(),
            repaired: record.repaired,
            repairs: record.repairs.iter().map(repair).collect(),
        }
    }
}

#[cfg(test)]
mod tests;
