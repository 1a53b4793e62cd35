//! `EVPN`: what a fabric is told of the node's VXLAN, so that it can be the other end. A peer that speaks the family `evpn` is reason enough; the object says what is to be
//! otherwise than usual.

use std::collections::BTreeSet;

use backends::Backend;
use backends::evpn::overlay;
use bgp::wire::{ExtendedCommunity, Family};

use super::peer::Peer;
use crate::config::Mistake;
use crate::netconf::json::Value;
use crate::netconf::object::{Findings, Object, Wrong};

/// How this node is a VTEP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evpn {
    /// What routes of the overlay are known by (`RouteTarget`); `None`: our AS and the VNI, and of others' any AS with the VNI.
    pub target: Option<ExtendedCommunity>,
    /// What stands behind the identifier in the distinguisher (`RouteDistinguisher`); `None`: the VNI's low sixteen bits.
    pub number: Option<u16>,
    /// What is told (`Advertise`), beside that there is a VTEP.
    pub advertised: BTreeSet<Advertised>,
}

/// What a fabric is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Advertised {
    /// The VTEP's MAC with the address of the overlay that it has (type 2).
    Hosts,
    /// The node's pods, and whatever else it announces (type 5).
    Prefixes,
}

/// The port that RFC 7348 has, and fabrics.
const USUAL_PORT: u16 = 4789;

/// `true`, or the object.
pub(super) fn evpn(object: &mut Object<'_, '_>, peers: &[Peer]) -> Option<Evpn> {
    let families = peers.iter().filter_map(|peer| peer.session.families.as_ref());
    let spoken = families.flatten().any(|family| *family == Family::EVPN);
    let mut evpn = Evpn { target: None, number: None, advertised: [Advertised::Hosts, Advertised::Prefixes].into() };
    if let Some(Value::Object(_)) = object.held("EVPN") {
        let mut inner = object.object("EVPN")?;
        evpn.target = inner.items("RouteTarget", target).and_then(|targets| targets.first().copied());
        let number = inner.integer("RouteDistinguisher", 0..=u16::MAX.into());
        evpn.number = number.and_then(|number| u16::try_from(number).ok());
        if let Some(advertised) = inner.items("Advertise", advertised) {
            evpn.advertised = advertised.into_iter().collect();
        }
        inner.finish_strictly();
    } else if !object.boolean("EVPN").unwrap_or(spoken) {
        return None;
    }
    if !spoken {
        object.warn("EVPN is written and no peer speaks it; give one \"Families\": [\"ipv4\", \"evpn\"]".to_owned());
    }
    Some(evpn)
}

fn target(value: &Value) -> Result<ExtendedCommunity, Wrong> {
    let fix = "write AS:number or address:number, as in \"64512:1\"";
    let wrong = || ("it is no route target".to_owned(), fix.to_owned());
    let Value::Text(text) = value else { return Err(wrong()) };
    let number = text.strip_prefix("rt:").unwrap_or(text);
    format!("rt:{number}").parse().map_err(|_| wrong())
}

fn advertised(value: &Value) -> Result<Advertised, Wrong> {
    match value {
        Value::Text(text) if text.eq_ignore_ascii_case("hosts") => Ok(Advertised::Hosts),
        Value::Text(text) if text.eq_ignore_ascii_case("prefixes") => Ok(Advertised::Prefixes),
        _ => Err(("it is nothing that is told by EVPN".to_owned(), "write \"hosts\" or \"prefixes\"".to_owned())),
    }
}

/// Notes where the backend has no VXLAN that a fabric could be the other end of, or one that it would not find.
pub(in crate::netconf) fn suits(backend: &Backend, findings: &mut Findings) {
    let mistake = |value: &str, reason: (&str, &str)| Mistake::of("EVPN", value, reason);
    match overlay(backend) {
        None => {
            let why = format!("the backend {} has no VXLAN that a fabric could be the other end of", backend.name());
            let fix = "write {\"Type\": \"vxlan\"}, or {\"Type\": \"bgp\", \"Encapsulation\": \"vxlan\"}, or take evpn out of Families";
            findings.mistakes.push(mistake("", (&why, fix)));
        }
        Some(settings) if settings.vni() == 0 => {
            let why = "network identifier 0 is none to EVPN (RFC 8365)";
            findings.mistakes.push(mistake("0", (why, "give the backend another VNI, the same on all nodes and in the fabric")));
        }
        Some(settings) if settings.port != USUAL_PORT => findings.warnings.push(format!(
            "EVPN says nothing of ports, and fabrics send VXLAN to UDP {USUAL_PORT}, this network to {}; give the backend that port, or the fabric's VTEPs this one",
            settings.port
        )),
        Some(_) => {}
    }
}
