//! [`Lease`]: one node's claim on its pod subnets, and how its peers reach it. [`Endpoint`] is one family's part of it.
//!
//! What a lease looks like in a store's own words (flannel's JSON, node annotations) is the store's business, not ours.

use std::fmt::{self, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{Family, Mac, NodeName, PublicKey, Rollout, Stack};

/// What identifies a lease in its store: an etcd key below the prefix, a file name, a Node object's uid.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LeaseKey(Arc<str>);

impl LeaseKey {
    /// Takes a store's key as it is.
    pub fn new(key: &str) -> LeaseKey {
        LeaseKey(key.into())
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// For people: a key may be anything that somebody put into the store, and neither fills a log nor writes lines of its own.
impl fmt::Display for LeaseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 160;
        let shown = self.0.chars().take(LONGEST).map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c });
        shown.into_iter().try_for_each(|c| f.write_char(c))
    }
}

/// What a backend needs to know of a peer beside its addresses.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackendData {
    /// VXLAN: the network identifier and the MAC of the peer's tunnel device (VTEP).
    Vxlan {
        /// VXLAN network identifier, 24 bits (RFC 7348 section 5).
        vni: u32,
        /// The peer's VTEP MAC: the inner destination of frames to it.
        mac: Mac,
    },
    /// WireGuard: what its device is known by, and where it listens.
    #[serde(rename = "wireguard")]
    WireGuard {
        /// The public key of the peer's device; apart, or leases of all backends would have room for it.
        key: Box<PublicKey>,
        /// UDP port that the device listens on; flannel before 0.27 does not say it.
        port: Option<u16>,
    },
    /// extension: what the node's PreStartupCommand printed; empty when it has none.
    Extension {
        /// For its peers' SubnetAddCommand, on standard input.
        output: Box<str>,
    },
    /// bgp: who the node is to other speakers.
    Bgp {
        /// Its AS, where it is not the one that the configuration says.
        asn: Option<u32>,
        /// The cluster that it reflects for, if it does (RFC 4456 section 7).
        #[serde(default)]
        reflects_for: Option<Ipv4Addr>,
    },
    /// A backend of this name that we do not speak (or that needs no data). Such a peer gets no path from us.
    Other(Box<str>),
}

impl BackendData {
    /// The backend's name as flannel writes it in `BackendType`.
    pub fn backend_type(&self) -> &str {
        match self {
            BackendData::Vxlan { .. } => "vxlan",
            BackendData::WireGuard { .. } => "wireguard",
            BackendData::Extension { .. } => "extension",
            BackendData::Bgp { .. } => "bgp",
            BackendData::Other(name) => name,
        }
    }
}

/// One family's part of a lease.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Endpoint {
    /// The pod subnet, host bits zero.
    pub subnet: IpNet,
    /// The underlay address to send to, of the same family as the subnet.
    pub public: IpAddr,
    /// The backend's own data.
    pub data: BackendData,
}

/// One node's claim on its pod subnets, and how to reach it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Lease {
    /// Identity in the store.
    pub key: LeaseKey,
    /// The node that holds it. Of a peer that publishes no name (flannel in etcd) its public address stands here.
    pub node: NodeName,
    /// How old the claim is, in the store's own order (etcd: create revision; directory: seconds since the epoch when
    /// it was first taken). The smaller of two wins where they overlap; the key breaks a tie.
    pub since: u64,
    /// Per family: subnet, address, backend data.
    pub endpoints: Stack<Endpoint>,
    /// Which ways of carrying packets the node has, and how far it is from one to another. `None` of one that does not say:
    /// flannel's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Box<Rollout>>,
}

impl Lease {
    /// The pod subnets.
    pub fn subnets(&self) -> Stack<IpNet> {
        self.endpoints.map(|_, endpoint| endpoint.subnet)
    }

    /// One family's subnet.
    pub fn subnet(&self, family: Family) -> Option<IpNet> {
        self.endpoints.get(family).map(|endpoint| endpoint.subnet)
    }

    /// Who its node is to other speakers of BGP, if that is one of its ways.
    pub fn speaker(&self) -> Option<&BackendData> {
        let spares = self.rollout.iter().flat_map(|rollout| &rollout.spares).flat_map(|spare| spare.data.values());
        let all = self.endpoints.values().map(|endpoint| &endpoint.data).chain(spares);
        all.into_iter().find(|data| matches!(data, BackendData::Bgp { .. }))
    }

    /// Octets of an outer packet that its node can take and send, if it says so.
    pub fn mtu(&self) -> Option<u32> {
        self.rollout.as_ref()?.mtu
    }

    /// Age first, then key: the order in which overlapping claims are honoured.
    pub fn seniority(&self) -> (u64, &str) {
        (self.since, self.key.as_str())
    }
}
