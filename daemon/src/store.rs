//! The stores: where leases are kept. One small contract, spoken in messages, so that a store may be a directory, etcd,
//! the Kubernetes API or (in the simulation) a map, and the rest of the daemon cannot tell.
//!
//! A store runs as one task ([`Store::run`]) at one end of a few channels ([`talk`]). It is told what to hold by a [`Wish`] (latest
//! value only) and tells what it sees by [`Event`]s. It never ends by itself: whatever fails is said once as [`Event::Trouble`], tried again with back-off,
//! and said to be over by [`Event::Well`]. It does not decide what a lease is good for, and it does not parse
//! net-conf.json.

mod attributes;
pub mod directory;
pub mod etcd;
mod events;
mod known;
pub mod kubernetes;
mod rollout;
mod subnet_key;
pub mod talk;
pub mod terms;
pub(crate) mod utc;

use std::net::IpAddr;
use std::time::Duration;

use ipam::table::Record;
use ipam::{BackendData, Family, Lease, NodeName, Pool, Rollout, Stack};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use self::directory::Directory;
use self::etcd::Etcd;
use self::kubernetes::Kubernetes;
use self::talk::StoreEnd;
use self::terms::Terms;
use crate::config::settings::StoreSettings;
use crate::labels::Labels;

/// One family's part of what this node publishes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// The underlay address that peers send to.
    pub public: IpAddr,
    /// The backend's own data.
    pub data: BackendData,
}

/// What this node wants to hold: a subnet of each family's pool, published with these attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// This node.
    pub node: NodeName,
    /// Where subnets are taken from. Kubernetes assigns them itself (`Node.spec.podCIDRs`): there it is only what they
    /// must lie in.
    pub pools: Stack<Pool>,
    /// What peers are told, in the same families as the pools.
    pub published: Stack<Published>,
    /// The subnets held before (from subnet.env or the state file): taken again when free.
    pub previous: Option<Stack<IpNet>>,
    /// Which ways of carrying packets this node has.
    pub rollout: Option<Rollout>,
}

impl Claim {
    /// Whether a lease is this node's, whoever wrote it: see [`Claim::is_signed`].
    pub fn is_of(&self, lease: &Lease) -> bool {
        let address = lease.endpoints.get(Family::V4).map(|endpoint| endpoint.public);
        self.is_signed(Some(&lease.node), address, &lease.subnets())
    }

    /// Whether what a lease publishes says that it is this node's: by its IPv4 address, as flannel has it, or by its name
    /// where it is of the subnets that this node held before. The name alone is not enough: two hosts that were cloned
    /// from one have the same. Flannel's leases have no name, and their address in its place.
    pub fn is_signed(&self, name: Option<&NodeName>, address: Option<IpAddr>, subnets: &Stack<IpNet>) -> bool {
        let own = self.published.get(Family::V4).map(|published| published.public);
        let here = own.is_some() && own == address;
        let named = name == Some(&self.node);
        let unnamed = name.zip(own).is_some_and(|(name, own)| name.as_str() == own.to_string());
        here && (named || unnamed) || named && self.previous.as_ref() == Some(subnets)
    }
}

/// What a store is asked to do, latest value only.
#[derive(Clone, Debug, Default, PartialEq)]
// There is one of it, in one channel.
#[allow(clippy::large_enum_variant)]
pub enum Wish {
    /// Watch, claim nothing (yet).
    #[default]
    Watch,
    /// Hold a lease with these attributes: acquire it, renew it, publish changes of the attributes under the same
    /// subnet, re-acquire it (same subnet if possible) when it was taken away.
    Hold(Claim),
    /// Give the lease back, then watch.
    Release,
}

/// What an operator wrote on this node's own object in the store, to be followed live.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Instructions {
    /// `node-public-ip`, `node-public-ipv6`: to be used as if given by `--public-ip`, `--public-ipv6`, which they override.
    pub public: Option<Stack<IpAddr>>,
    /// The object's labels; over those of `--node-labels`.
    pub labels: Labels,
}

/// What a store tells, in the order in which it became true.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The network's configuration, net-conf.json as written (any text); sent first and after every change. Never by a
    /// store that does not keep it ([`StoreSettings::keeps_network`]).
    Network(String),
    /// The lease that this node holds now, as it stands in the store; sent when acquired and when it changed. It comes
    /// before the record of the same lease, so that nobody takes it for a peer's.
    Mine(Lease),
    /// This node holds no lease any more because it was asked to release it.
    Released,
    /// The store answers, but there is no subnet in it that this node can use (none assigned, outside the network,
    /// another node's): one sentence with the fix. What ran keeps running. Over with the next [`Event::Mine`].
    Unassigned(String),
    /// What an operator wrote for this node; sent when it is found and when it changed, before a lease is told. A store
    /// without a place for it never says it.
    Instructed(Instructions),
    /// All leases, this node's own included (and garbage): replaces all that was said before.
    Snapshot(Vec<Record>),
    /// What changed since.
    Changed(Vec<Record>),
    /// The store cannot be reached or used: one sentence that names the thing and the fix. Said once per reason.
    Trouble(String),
    /// The same, but the store answers: it does not let this node do what it must.
    Refusal(String),
    /// This node's clock and the store's are apart, as this sentence says; or they agree again. Only where the store has one.
    Clock(Option<String>),
    /// The trouble is over.
    Well,
}

/// A store, chosen by configuration.
#[derive(Debug)]
pub enum Store {
    /// JSON files.
    Directory(Directory),
    /// etcd, with flannel's keys.
    Etcd(Etcd),
    /// The Kubernetes API, with flannel's annotations on Node objects.
    Kubernetes(Kubernetes),
}

impl Store {
    /// The store that the settings name, for the node of this name. Leases last a day and are renewed when `margin` is
    /// left; those of Kubernetes last as long as the Node object.
    pub fn new(settings: &StoreSettings, node: &NodeName, margin: Duration) -> Store {
        match settings {
            StoreSettings::Directory { path } => Store::Directory(Directory::new(path, Terms::of_a_day(margin))),
            StoreSettings::Etcd(etcd) => Store::Etcd(Etcd::new(etcd, Terms::of_a_day(margin))),
            StoreSettings::Kubernetes(kubernetes) => Store::Kubernetes(Kubernetes::new(kubernetes, node)),
        }
    }

    /// Runs the store until nobody listens to its events any more.
    pub async fn run(self, end: StoreEnd) {
        match self {
            Store::Directory(directory) => directory.run(end.wishes, end.events).await,
            Store::Etcd(etcd) => etcd.run(end.wishes, end.events).await,
            Store::Kubernetes(kubernetes) => kubernetes.run(end).await,
        }
    }
}
