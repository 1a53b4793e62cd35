//! [`Wish`]: what the speaker is to be, told whole each time. The shell compares it with what is and touches only what differs.
//!
//! Values only: where they come from (configuration, leases) is the node's business, and what is done about them the shell's.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU8;
use std::path::PathBuf;

use backends::state::LinkName;
use bgp::bmp::Stage;
use bgp::evpn::Vtep;
use bgp::rib::decision::Preferences;
use bgp::speaker::PeerConfig;
use bgp::wire::{Community, LargeCommunity};
use ipnet::IpNet;

use super::liveness::Liveness;

/// All that is wanted of the speaker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Our AS.
    pub asn: u32,
    /// Our BGP identifier; unique within the AS, not 0. With another one, or another AS, every session begins anew.
    pub router_id: Ipv4Addr,
    /// The cluster that we reflect for: the identifier unless several reflectors share one (RFC 4456 section 7).
    pub cluster: Ipv4Addr,
    /// Where connections are taken; nowhere when empty. The usual port is [`PORT`].
    pub listen: Vec<SocketAddr>,
    /// Peers that are known by name.
    pub neighbours: BTreeMap<NeighbourName, Neighbour>,
    /// Peers that may come from anywhere in a range; the first range that has an address is its.
    pub ranges: Vec<Range>,
    /// What is announced from here.
    pub announced: BTreeMap<IpNet, Announcement>,
    /// This node as an end of the overlay, a family each; empty where it is none.
    pub overlays: Vec<Overlay>,
    /// Whether that is all of it.
    pub completeness: Completeness,
    /// How paths are compared, and how many are used together.
    pub preferences: Preferences,
    /// Who is told what happens.
    pub monitoring: Monitoring,
}

/// Who is told by BMP what peers say and what is chosen (RFC 7854).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Monitoring {
    /// What this node is called there (`sysName`).
    pub name: String,
    /// Where stations listen; we connect.
    pub stations: BTreeSet<SocketAddr>,
    /// What of what peers are told they are told, too (RFC 8671).
    pub told: BTreeSet<Stage>,
}

/// The port of BGP (RFC 4271 section 8.2.1).
pub const PORT: u16 = 179;

/// What a peer is called: in the log, in commands, in metrics.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NeighbourName(pub String);

impl fmt::Display for NeighbourName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Where it is.
    pub place: Place,
    /// Its port, if we connect.
    pub port: u16,
    /// What is spoken with it. Its address is put in by the shell, which may only learn it; what stands there is not looked at.
    pub session: PeerConfig,
    /// What proves that it is it.
    pub authentication: Option<Authentication>,
    /// How far it is.
    pub distance: Distance,
    /// BFD, if it is asked.
    pub liveness: Option<Liveness>,
    /// Whether this node is ready without it.
    pub necessity: Necessity,
    /// Who wants it.
    pub origin: Origin,
}

/// Where a peer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// At an address; from this one of ours, or from what the kernel chooses.
    Address {
        /// Its address.
        remote: IpAddr,
        /// Ours.
        local: Option<IpAddr>,
    },
    /// At the other end of a link, whatever its address: an unnumbered peer. Router advertisements say where it is.
    Link(LinkName),
}

/// How far a peer is, as the hop limit of packets says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distance {
    /// On our link: packets are sent with a hop limit of 1.
    Direct,
    /// At most so many hops away.
    Multihop(NonZeroU8),
    /// At most so many hops away, and packets from farther are dropped by the kernel (GTSM, RFC 5082): 1 is on our link.
    Secured(NonZeroU8),
}

/// What proves that segments are the peer's. Secrets stay in their files, which are read again when they change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// TCP MD5 (RFC 2385): the key is the file's first line, 80 bytes at most.
    Md5(PathBuf),
    /// TCP-AO (RFC 5925): the first key is the one that we ask to be sent with; both ends know all of them while keys roll over.
    Ao(Vec<AoKey>),
}

/// A key of TCP-AO, a Master Key Tuple without what the connection says (RFC 5925 section 3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AoKey {
    /// SendID.
    pub send: u8,
    /// RecvID.
    pub receive: u8,
    /// How segments are signed.
    pub algorithm: AoAlgorithm,
    /// Where the key is: the file's first line, 80 bytes at most.
    pub file: PathBuf,
}

/// How segments are signed (RFC 5926).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AoAlgorithm {
    /// HMAC-SHA-1-96, which every implementation has.
    HmacSha1,
    /// AES-128-CMAC-96, likewise.
    AesCmac,
    /// HMAC-SHA-256, cut to 96 bits; Linux and BIRD have it.
    HmacSha256,
}

/// Whether the node is ready without a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Necessity {
    /// Not before it was up.
    Required,
    /// It is.
    Optional,
}

/// Who wants a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The configuration.
    Configured,
    /// The mesh of nodes: it is this node.
    Mesh(String),
    /// It came from a range; only the shell makes these.
    Range(IpNet),
}

/// Where peers may come from that nobody named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// From where.
    pub prefix: IpNet,
    /// How many at a time.
    pub most: u16,
    /// What each of them is; its place is not looked at.
    pub template: Neighbour,
}

/// What is said of a route that begins here.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Announcement {
    /// LOCAL_PREF, for peers of our AS.
    pub local_pref: Option<u32>,
    /// MULTI_EXIT_DISC.
    pub metric: Option<u32>,
    /// Communities (RFC 1997).
    pub communities: Vec<Community>,
    /// Large communities (RFC 8092).
    pub large_communities: Vec<LargeCommunity>,
}

/// An end of the overlay, and what is told of it by EVPN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlay {
    /// The end.
    pub vtep: Vtep,
    /// Its own address in the overlay, where others are to know it.
    pub inner: Option<IpAddr>,
    /// What is behind it.
    pub prefixes: BTreeMap<IpNet, Announcement>,
}

/// Whether what is announced is all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completeness {
    /// Not yet: the store has not said everything. Peers are told nothing, or after a restart would forget what they keep.
    Gathering,
    /// It is: peers are told, and then that this is all (RFC 4724 section 4.1).
    Complete,
}
