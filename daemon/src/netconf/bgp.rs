//! [`Bgp`]: who speaks BGP with whom, and what is announced: the options of `"Type": "bgp"`, and of the object `BGP` beside another
//! backend, with which only the fabric is spoken to.
//!
//! What one peer is stands in `peer`, and what all sessions have in common in `session`. Which of it a node takes up is the node's
//! business: it knows its name, its lease and the other nodes.

mod announce;
mod evpn;
mod peer;
mod selector;
mod session;

use std::net::{Ipv4Addr, SocketAddr};

use backends::Backend;
use backends::bgp::{BgpSettings, Encapsulation};
use backends::ipip::IpipSettings;
use backends::vxlan::{DEFAULT_PORT, DEFAULT_VNI, VxlanSettings};
use bgp::bmp::Stage;
use ipam::Stack;
use ipnet::IpNet;

use super::json::Value;
use super::object::{Object, Wrong};
use super::policy::{Policies, asn};
use crate::bgp::wish::PORT;

pub use announce::{Aggregate, Announce, Specifics};
pub(super) use evpn::suits;
pub use evpn::{Advertised, Evpn};
pub use peer::{Peer, PeerPlace};
pub use selector::NodeSelector;
pub use session::Session;

/// The AS of all nodes where nobody says another: the first of those for private use (RFC 6996).
pub const DEFAULT_AS: u32 = 64_512;

/// Who speaks with whom.
#[derive(Clone, Debug, PartialEq)]
pub struct Bgp {
    /// The nodes' AS (`AS`), where a node has none of its own.
    pub asn: u32,
    /// Where connections are taken, on all addresses (`ListenPort`); none are where it is 0.
    pub port: u16,
    /// The BGP identifier (`RouterID`), where one file is one node's; else the node's IPv4 address.
    pub router_id: Option<Ipv4Addr>,
    /// How the nodes speak with each other (`NodeMesh`); `None` where they do not.
    pub mesh: Option<Session>,
    /// Who reflects, where not each node speaks with each (`RouteReflectors`).
    pub reflectors: Option<Reflectors>,
    /// Whom they speak with beside (`Peers`).
    pub peers: Vec<Peer>,
    /// What is announced beside the node's pods (`Announce`).
    pub announce: Announce,
    /// Prefixes that are taken though they take something of the node's own away (`AllowRoutes`).
    pub allowed: Vec<IpNet>,
    /// Equal paths that are used together (`Multipath`).
    pub multipath: u8,
    /// Who is told by BMP what happens (`BMPStations`).
    pub stations: Vec<SocketAddr>,
    /// What of what peers are told they hear, too (`BMPAdjRibOut`).
    pub told: Vec<Stage>,
    /// What a fabric is told of the node's VXLAN (`EVPN`), where it is told of it.
    pub evpn: Option<Evpn>,
}

/// The nodes that reflect (RFC 4456).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reflectors {
    /// Which (`Nodes`).
    pub nodes: Vec<NodeSelector>,
    /// The cluster that they are of (`ClusterID`).
    pub cluster: Ipv4Addr,
}

/// Reads the backend's options; `None` after a mistake.
pub(super) fn backend(object: &mut Object<'_, '_>, families: Stack<()>, policies: &Policies) -> Option<(Backend, Bgp)> {
    object.take("Type");
    let encapsulation = encapsulation(object, &families);
    let mesh = mesh(object, policies);
    let reflectors = reflectors(object);
    let mut bgp = speaker(object, policies);
    object.finish();
    (bgp.mesh, bgp.reflectors) = (mesh, reflectors);
    Some((Backend::Bgp(BgpSettings { encapsulation: encapsulation? }), bgp))
}

/// Reads the object that stands beside another backend.
pub(super) fn beside(object: &mut Object<'_, '_>, policies: &Policies) -> Bgp {
    let bgp = speaker(object, policies);
    object.finish();
    bgp
}

/// What both have in common.
fn speaker(object: &mut Object<'_, '_>, policies: &Policies) -> Bgp {
    let number = object.held("AS").filter(|value| **value != Value::Null).map(asn);
    object.take("AS");
    let number = match number {
        Some(Err((why, fix))) => {
            let shown = object.held("AS").map(ToString::to_string).unwrap_or_default();
            object.mistake("AS", &shown, (why, fix));
            DEFAULT_AS
        }
        Some(Ok(number)) => number,
        None => DEFAULT_AS,
    };
    let port = object.integer("ListenPort", 0..=u16::MAX.into()).and_then(|port| u16::try_from(port).ok());
    let router_id = identifier(object, "RouterID");
    let multipath = object.integer("Multipath", 1..=255).and_then(|paths| u8::try_from(paths).ok());
    let peers = peer::peers(object, policies);
    let evpn = evpn::evpn(object, &peers);
    Bgp {
        asn: number,
        port: port.unwrap_or(PORT),
        router_id,
        mesh: None,
        reflectors: None,
        peers,
        announce: announce::announce(object),
        allowed: object.items("AllowRoutes", prefix).unwrap_or_default(),
        multipath: multipath.unwrap_or(64),
        stations: object.items("BMPStations", station).unwrap_or_default(),
        told: object.items("BMPAdjRibOut", stage).unwrap_or_default(),
        evpn,
    }
}

fn encapsulation(object: &mut Object<'_, '_>, families: &Stack<()>) -> Option<Encapsulation> {
    let word = object.text("Encapsulation").map(str::to_lowercase);
    let vni = object.integer("VNI", 0..=(1 << 24) - 1).unwrap_or(DEFAULT_VNI);
    let port = object.integer("VXLANPort", 1..=u16::MAX.into()).and_then(|port| u16::try_from(port).ok());
    let mtu = object.integer("MTU", 1350..=u16::MAX.into());
    let vxlan = match VxlanSettings::new(vni.into(), families) {
        Ok(mut settings) => {
            (settings.port, settings.mtu) = (port.unwrap_or(DEFAULT_PORT), mtu);
            Some(settings)
        }
        Err(error) => {
            object.mistake("VNI", &vni.to_string(), (error, "choose another, the same on all nodes"));
            None
        }
    };
    match word.as_deref() {
        None | Some("" | "never") => Some(Encapsulation::Never),
        Some("vxlan") => vxlan.map(Encapsulation::Vxlan),
        Some("cross-subnet") => vxlan.map(Encapsulation::CrossSubnet),
        Some("ipip") => {
            let mut settings = IpipSettings::new(families);
            settings.mtu = mtu;
            Some(Encapsulation::Ipip(settings))
        }
        Some(other) => {
            let fix = "write \"never\", \"vxlan\", \"ipip\" or \"cross-subnet\"";
            object.mistake("Encapsulation", other, ("there is no such encapsulation", fix));
            None
        }
    }
}

/// `true`, `false`, or the object that says how.
fn mesh(object: &mut Object<'_, '_>, policies: &Policies) -> Option<Session> {
    match object.held("NodeMesh") {
        Some(Value::Object(_)) => {
            let mut mesh = object.object("NodeMesh")?;
            let session = session::read(&mut mesh, policies);
            mesh.finish_strictly();
            Some(session)
        }
        _ => object.boolean("NodeMesh").unwrap_or(true).then(Session::default),
    }
}

fn reflectors(object: &mut Object<'_, '_>) -> Option<Reflectors> {
    let mut reflectors = object.object("RouteReflectors")?;
    let nodes = reflectors.items("Nodes", selector::node_selector);
    if nodes.is_none() && !reflectors.holds("Nodes") {
        reflectors.mistake(
            "Nodes",
            "",
            (
                "it is missing",
                "name the nodes that reflect, or a label of theirs, as in [\"spine-*\", \"reflector=yes\"]",
            ),
        );
    }
    let cluster = identifier(&mut reflectors, "ClusterID");
    if cluster.is_none() && !reflectors.holds("ClusterID") {
        let fix = "write one for all of them, in the form of an IPv4 address, as in \"0.0.0.1\"";
        reflectors.mistake("ClusterID", "", ("it is missing", fix));
    }
    reflectors.finish_strictly();
    Some(Reflectors { nodes: nodes?, cluster: cluster? })
}

/// Four octets, not all zero (RFC 6286 section 2.1).
fn identifier(object: &mut Object<'_, '_>, key: &'static str) -> Option<Ipv4Addr> {
    let text = object.text(key)?;
    let parsed = text.parse::<Ipv4Addr>().ok().filter(|id| !id.is_unspecified());
    if parsed.is_none() {
        let fix = "write one in the form of an IPv4 address, as in \"192.0.2.1\"";
        object.mistake(key, text, ("it is no BGP identifier", fix));
    }
    parsed
}

/// Where a monitoring station listens.
fn station(value: &Value) -> Result<SocketAddr, Wrong> {
    let text = if let Value::Text(text) = value { text.as_str() } else { "" };
    let parsed = text.parse::<SocketAddr>().ok().filter(|station| station.port() != 0);
    let fix = "write its address and port, as in \"192.0.2.9:11019\" or \"[2001:db8::9]:11019\"";
    parsed.ok_or_else(|| ("it is no address with a port".to_owned(), fix.to_owned()))
}

/// How far what a peer is told has come.
fn stage(value: &Value) -> Result<Stage, Wrong> {
    match value {
        Value::Text(text) if text.eq_ignore_ascii_case("pre-policy") => Ok(Stage::BeforePolicy),
        Value::Text(text) if text.eq_ignore_ascii_case("post-policy") => Ok(Stage::AfterPolicy),
        _ => Err(("it is no stage".to_owned(), "write \"pre-policy\", \"post-policy\" or both".to_owned())),
    }
}

/// A prefix without host bits.
fn prefix(value: &Value) -> Result<IpNet, Wrong> {
    let text = if let Value::Text(text) = value { text.as_str() } else { "" };
    let fix = "write an IPv4 or IPv6 prefix in quotes, as in \"10.96.0.0/12\"";
    let net = text.parse::<IpNet>().map_err(|_| ("it is no prefix".to_owned(), fix.to_owned()))?;
    if net.trunc() == net {
        Ok(net)
    } else {
        Err(("it has host bits set".to_owned(), format!("write \"{}\"", net.trunc())))
    }
}

#[cfg(test)]
mod tests;
