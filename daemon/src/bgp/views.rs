//! What is told of the speaker to people and programs: plain values, serialised as they stand (`-o json`).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipam::Mac;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// This node as a speaker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnView {
    /// Its AS.
    #[serde(rename = "as")]
    pub asn: u32,
    /// Its BGP identifier.
    pub router_id: Ipv4Addr,
    /// The cluster that it reflects for, if it does.
    pub cluster: Option<Ipv4Addr>,
}

/// This node and its peers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeersView {
    /// This node.
    #[serde(flatten)]
    pub own: OwnView,
    /// All of them, by their names.
    pub peers: Vec<PeerView>,
}

/// A peer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PeerView {
    /// What it is called.
    pub name: String,
    /// Its address, once that is known.
    pub address: Option<IpAddr>,
    /// The link of an unnumbered one.
    pub link: Option<String>,
    /// Its AS: as its OPEN said, or as it is expected.
    pub asn: Option<u32>,
    /// Its BGP identifier, while a session is up.
    pub identifier: Option<IpAddr>,
    /// The state of the connection that is farthest: `Established`.
    pub state: String,
    /// Seconds in that state.
    pub since_secs: u64,
    /// Paths that are kept of it.
    pub prefixes_in: usize,
    /// Routes that it was told.
    pub prefixes_out: usize,
    /// Bytes that wait for it.
    pub queued_bytes: usize,
    /// How often a session was lost.
    pub flaps: u32,
    /// Bytes and messages since it is known.
    pub traffic: TrafficView,
    /// UPDATEs with something malformed in them (RFC 7606).
    #[serde(default)]
    pub malformed: u64,
    /// Why the last session ended or the last attempt failed, or what is the matter now: one sentence.
    pub trouble: Option<String>,
    /// What else somebody should know of it, though its session may be up: one sentence each.
    pub notes: Vec<String>,
    /// The last NOTIFICATION of ours.
    pub last_said: Option<String>,
    /// The last of the peer's.
    pub last_heard: Option<String>,
    /// Messages that came, by what they are: `update`.
    pub messages_in: BTreeMap<String, u64>,
    /// Messages that went.
    pub messages_out: BTreeMap<String, u64>,
    /// What both agreed upon, one sentence each.
    pub agreed: Vec<String>,
    /// What it can, as its OPEN said.
    pub capabilities: Vec<String>,
    /// The families that are spoken.
    pub families: Vec<String>,
    /// Whether its routes are kept though it is away.
    pub stale: bool,
    /// Whether this node is not ready without it.
    pub required: bool,
    /// Our role towards it (RFC 9234), and whether the peer agrees; nothing where we have none.
    pub role: Option<String>,
    /// Who wants it: `configuration`, `node b`, `range 10.0.0.0/8`.
    pub origin: String,
}

/// What went over a peer's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TrafficView {
    /// Bytes that came.
    pub bytes_in: u64,
    /// Bytes that went.
    pub bytes_out: u64,
    /// Connections that came about, both ways.
    pub connections: u64,
}

/// A route that is best.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteView {
    /// Its family: `ipv4`, `ipv6`, `evpn`.
    pub family: String,
    /// The prefix, or the host as one; of a route by EVPN that leads to neither, nothing.
    pub prefix: Option<IpNet>,
    /// What EVPN says beside.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub evpn: Option<EvpnView>,
    /// Whose path it is.
    pub neighbour: String,
    /// Where it leads, a link-local address with its link; more than one where several are used together, none where it begins here.
    pub next_hops: Vec<String>,
    /// The AS path, as people write it.
    pub as_path: String,
    /// How it came into BGP: `igp`, `egp`, `incomplete`.
    pub origin: String,
    /// LOCAL_PREF.
    pub local_pref: Option<u32>,
    /// MULTI_EXIT_DISC.
    pub metric: Option<u32>,
    /// How many paths there are.
    pub paths: usize,
}

/// An EVPN route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvpnView {
    /// 2: a MAC, and perhaps an address; 3: a VTEP; 5: a prefix.
    #[serde(rename = "type")]
    pub kind: u8,
    /// The route distinguisher.
    pub distinguisher: String,
    /// Whose MAC.
    pub mac: Option<Mac>,
    /// The host's address, or the VTEP's.
    pub address: Option<IpAddr>,
    /// The VNI.
    pub vni: Option<u32>,
    /// All of it, as people write it.
    pub text: String,
}

/// A path to a prefix, and how it fared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathView {
    /// The EVPN route that it is of, as people write it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub evpn: Option<String>,
    /// Whose it is.
    pub neighbour: String,
    /// The identifier that the peer gave it, of several (RFC 7911).
    pub path_id: Option<u32>,
    /// Where it leads, a link-local address with its link; nowhere else, where it begins here.
    pub next_hop: Option<String>,
    /// The AS path, as people write it.
    pub as_path: String,
    /// How it came into BGP: `igp`, `egp`, `incomplete`.
    pub origin: String,
    /// LOCAL_PREF.
    pub local_pref: Option<u32>,
    /// MULTI_EXIT_DISC.
    pub metric: Option<u32>,
    /// Where in this AS it began, of one that was reflected (RFC 4456).
    pub originator: Option<Ipv4Addr>,
    /// The clusters by which it was, the last first.
    pub clusters: Vec<Ipv4Addr>,
    /// Communities of all kinds, as people write them.
    pub communities: Vec<String>,
    /// Whether it is kept of a peer that went away, and was not said again since.
    pub stale: bool,
    /// How it fared, and by which step: `best: the shorter AS path`.
    pub outcome: String,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Happening {
    /// A session came up.
    Up {
        /// Whose.
        neighbour: String,
    },
    /// A session went down, or an attempt failed.
    Down {
        /// Whose.
        neighbour: String,
        /// Why, in one sentence.
        reason: String,
    },
    /// Another way is best to a prefix, or none is.
    Route {
        /// The prefix.
        prefix: IpNet,
        /// Where it leads now, a link-local address with its link.
        next_hops: Vec<String>,
    },
    /// An EVPN route leads elsewhere, or is gone.
    Evpn {
        /// The route, as people write it.
        route: String,
        /// The VTEPs that it leads to now.
        next_hops: Vec<String>,
    },
}
