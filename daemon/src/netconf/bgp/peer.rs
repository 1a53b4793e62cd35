//! `Peers`: who is spoken with beside the nodes, and from which nodes.

use std::collections::BTreeSet;
use std::net::IpAddr;

use backends::LinkName;
use bgp::speaker::RemoteAs;
use ipnet::IpNet;

use super::selector::{NodeSelector, node_selector};
use super::session::{self, Session};
use crate::bgp::wish::PORT;
use crate::netconf::json::Value;
use crate::netconf::object::{Many, Object};
use crate::netconf::policy::{Policies, asn};

/// The peers of one file.
const PEERS: Many<Value> = Many {
    read: Value::elements,
    most: 1000,
    form: "write a list of objects, as in [{\"Address\": \"192.0.2.254\", \"AS\": 65000}]",
    fewer: "let the routers connect, and write a Range for them",
};

/// A peer, or all that come from a range.
#[derive(Clone, Debug, PartialEq)]
pub struct Peer {
    /// What it is called (`Name`): else its place.
    pub name: String,
    /// Where it is.
    pub place: PeerPlace,
    /// Its port.
    pub port: u16,
    /// Its AS (`AS`).
    pub remote_as: RemoteAs,
    /// What is spoken, and how.
    pub session: Session,
    /// The nodes that speak with it (`NodeSelector`): all, when empty.
    pub nodes: Vec<NodeSelector>,
}

/// Where a peer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerPlace {
    /// At an address (`Address`), from one of ours (`LocalAddress`).
    Address(IpAddr, Option<IpAddr>),
    /// At the other end of a link (`Interface`).
    Link(LinkName),
    /// Anywhere in a prefix (`Range`), so many at a time (`Limit`).
    Range(IpNet, u16),
}

/// Reads the list.
pub(super) fn peers(object: &mut Object<'_, '_>, policies: &Policies) -> Vec<Peer> {
    let (mut peers, mut names) = (Vec::new(), BTreeSet::new());
    for (index, value) in object.many("Peers", &PEERS).iter().enumerate() {
        let Some(mut inner) = object.inner(&format!("Peers[{index}]"), value) else { continue };
        let Some(peer) = peer(&mut inner, policies) else { continue };
        if !names.insert(peer.name.clone()) {
            let why = "there is another of this name";
            inner.mistake("Name", &peer.name, (why, "give each a Name of its own"));
        }
        peers.push(peer);
    }
    peers
}

fn peer(object: &mut Object<'_, '_>, policies: &Policies) -> Option<Peer> {
    let name = object.text("Name").map(str::to_owned);
    let place = place(object);
    let port = object.integer("Port", 1..=u16::MAX.into()).and_then(|port| u16::try_from(port).ok());
    let remote_as = remote_as(object);
    let session = session::read(object, policies);
    let nodes = object.items("NodeSelector", node_selector).unwrap_or_default();
    object.finish_strictly();
    let (place, remote_as) = (place?, remote_as?);
    let name = name.filter(|name| !name.is_empty()).unwrap_or_else(|| match &place {
        PeerPlace::Address(address, _) => address.to_string(),
        PeerPlace::Link(link) => link.to_string(),
        PeerPlace::Range(range, _) => range.to_string(),
    });
    if remote_as == RemoteAs::External && session.import.is_none() {
        object.warn(unheard(&name));
    }
    Some(Peer { name, place, port: port.unwrap_or(PORT), remote_as, session, nodes })
}

/// RFC 8212, in words.
pub fn unheard(name: &str) -> String {
    format!(
        "BGP peer {name}: no Import is written, so nothing that it announces is taken (RFC 8212); write \"Import\": \"accept\", \
         or the name of a policy"
    )
}

/// Exactly one of three keys.
fn place(object: &mut Object<'_, '_>) -> Option<PeerPlace> {
    let written = ["Address", "Interface", "Range"].iter().filter(|key| object.holds(key)).count();
    let limit = object.integer("Limit", 1..=60_000).and_then(|limit| u16::try_from(limit).ok()).unwrap_or(1000);
    let [remote, local] = [address(object, "Address"), address(object, "LocalAddress")];
    let link = object.text("Interface");
    let range = object.items("Range", super::prefix);
    if written != 1 {
        let why =
            if written == 0 { "nothing says where the peer is" } else { "more than one key says where the peer is" };
        object.mistake("Address", "", (why, "write one of Address, Interface and Range"));
        return None;
    }
    if let Some(text) = link {
        return match LinkName::new(text) {
            Ok(link) => Some(PeerPlace::Link(link)),
            Err(error) => {
                object.mistake("Interface", text, (error, "write the name of the link to the peer, as in \"eth1\""));
                None
            }
        };
    }
    let range = range.and_then(|ranges| ranges.into_iter().next()).map(|range| PeerPlace::Range(range, limit));
    range.or(remote.map(|address| PeerPlace::Address(address, local)))
}

fn address(object: &mut Object<'_, '_>, key: &'static str) -> Option<IpAddr> {
    let text = object.text(key)?;
    let usable = |address: &IpAddr| !(address.is_unspecified() || address.is_multicast());
    let parsed = text.parse::<IpAddr>().ok().filter(usable);
    let link_local = parsed.is_some_and(|it| matches!(it, IpAddr::V6(six) if six.is_unicast_link_local()));
    if parsed.is_none() {
        object.mistake(
            key,
            text,
            ("it is no address of a host", "write an IPv4 or IPv6 address, as in \"192.0.2.254\""),
        );
    } else if link_local {
        let fix = "write Interface with the link that the peer is on";
        object.mistake(key, text, ("a link-local address says nothing without its link", fix));
    }
    parsed.filter(|_| !link_local)
}

fn remote_as(object: &mut Object<'_, '_>) -> Option<RemoteAs> {
    let fix = "write its number, \"internal\" or \"external\"";
    let value = object.take("AS").filter(|value| **value != Value::Null);
    let Some(value) = value else {
        object.mistake("AS", "", ("it is missing", fix));
        return None;
    };
    match value {
        Value::Text(text) if text.eq_ignore_ascii_case("internal") => return Some(RemoteAs::Internal),
        Value::Text(text) if text.eq_ignore_ascii_case("external") => return Some(RemoteAs::External),
        _ => {}
    }
    match asn(value) {
        Ok(number) => Some(RemoteAs::Exactly(number)),
        Err((why, _)) => {
            object.mistake("AS", &value.to_string(), (why, fix));
            None
        }
    }
}
