//! Leases as annotations of Node objects, under flannel's names and in flannel's words, byte for byte: what a node says of
//! itself is read into a [`Lease`], and a [`Claim`] is written as the annotations that it takes.
//!
//! How they travel is not known here.

use std::net::IpAddr;

use ipam::table::Record;
use ipam::{BackendData, Endpoint, Family, Lease, LeaseKey, NodeName, Stack};
use ipnet::IpNet;
use serde_json::Value;

use super::decision::Annotations;
use super::object::Object;
use crate::config::kube::AnnotationPrefix;
use crate::labels::Labels;
use crate::store::attributes::{self, Attributes, MAX_BYTES, fit};
use crate::store::subnet_key::cut;
use crate::store::utc::Utc;
use crate::store::{Claim, Instructions, rollout};

/// Says that a node belongs to the network; others are none of ours.
pub const MEMBER: &str = "kube-subnet-manager";
const BACKEND_TYPE: &str = "backend-type";
const BACKEND_DATA: [&str; 2] = ["backend-data", "backend-v6-data"];
const PUBLIC: [&str; 2] = ["public-ip", "public-ipv6"];
const OVERWRITE: [&str; 2] = ["public-ip-overwrite", "public-ipv6-overwrite"];
const INSTRUCTED: [&str; 2] = ["node-public-ip", "node-public-ipv6"];

/// Our own, under our own prefix: which ways of carrying packets a node has.
const ROLLOUT: &str = "rollout";

/// What the keys that concern us end with, whatever their prefix. Ours may have a few letters more.
pub const NAMES: [&str; 10] = [
    MEMBER,
    BACKEND_TYPE,
    BACKEND_DATA[0],
    BACKEND_DATA[1],
    PUBLIC[0],
    PUBLIC[1],
    OVERWRITE[0],
    OVERWRITE[1],
    INSTRUCTED[0],
    INSTRUCTED[1],
];

/// A family's name in a pair of them.
fn of(names: [&'static str; 2], family: Family) -> &'static str {
    match family {
        Family::V4 => names[0],
        Family::V6 => names[1],
    }
}

/// The pod CIDRs of a Node by family, the first of each. Kubernetes gives at most one of each.
///
/// # Errors
/// A clause, when one is no prefix.
pub fn subnets(node: &Object) -> Result<Option<Stack<IpNet>>, String> {
    let (mut v4, mut v6) = (None, None);
    for text in node.pod_cidrs() {
        let net: IpNet = text.parse().map_err(|_| format!("its podCIDR `{}` is not a subnet", cut(text)))?;
        match Family::of_net(&net) {
            Family::V4 => v4.get_or_insert(net.trunc()),
            Family::V6 => v6.get_or_insert(net.trunc()),
        };
    }
    Ok(Stack::from_options(v4, v6))
}

/// What a Node says to its peers: nothing when it is not (yet) of this network; its lease; what is wrong with it, or with a family of
/// it. The latter only where subnets must lie in a network of that family.
pub fn records(node: &Object, prefix: &AnnotationPrefix, networks: Option<&Stack<IpNet>>) -> Vec<Record> {
    let key = LeaseKey::new(&node.metadata.uid);
    let name = cut(&node.metadata.name);
    match lease(node, prefix, networks) {
        Ok(None) => Vec::new(),
        Ok(Some((lease, None))) => vec![Record::Lease(lease)],
        Ok(Some((lease, Some((family, clause))))) => {
            let needed = networks.is_some_and(|networks| networks.has(family));
            let flaw = Record::Garbage(key, format!("node {name} is not reached by {family}: {clause}"));
            [Record::Lease(lease)].into_iter().chain(needed.then_some(flaw)).collect()
        }
        Err(clause) => vec![Record::Garbage(key, format!("node {name}: {clause}"))],
    }
}

/// A lease, and what is wrong with its other family.
type Flawed = (Lease, Option<(Family, String)>);

/// Flannel drops a node of which one family is not usable; here the other one stays.
fn lease(node: &Object, prefix: &AnnotationPrefix, networks: Option<&Stack<IpNet>>) -> Result<Option<Flawed>, String> {
    let said = |name: &str| node.annotation(&prefix.key(name));
    if said(MEMBER) != Some("true") {
        return Ok(None);
    }
    let name = NodeName::new(&node.metadata.name).map_err(|error| error.to_string())?;
    let subnets = subnets(node)?.ok_or("it has no podCIDR yet")?;
    let (mut endpoints, mut wrong) = ([None, None], Vec::new());
    for (slot, (family, subnet)) in endpoints.iter_mut().zip(subnets_in_order(&subnets)) {
        let Some(subnet) = subnet else { continue };
        match endpoint(&said, (family, subnet), networks) {
            Ok(endpoint) => *slot = Some(endpoint),
            Err(clause) => wrong.push((family, clause)),
        }
    }
    let [v4, v6] = endpoints;
    let all = || wrong.iter().map(|(_, clause)| clause.as_str()).collect::<Vec<_>>().join("; ");
    let endpoints = Stack::from_options(v4, v6).ok_or_else(all)?;
    let told = node.annotation(&prefix.own_key(ROLLOUT)).filter(|text| text.len() <= MAX_BYTES);
    let told: Option<Value> = told.and_then(|text| serde_json::from_str(text).ok());
    let rollout = rollout::parse(told.as_ref(), &endpoints);
    let lease = Lease { key: LeaseKey::new(&node.metadata.uid), node: name, since: age(node), endpoints, rollout };
    Ok(Some((lease, wrong.pop())))
}

fn subnets_in_order(subnets: &Stack<IpNet>) -> [(Family, Option<IpNet>); 2] {
    Family::ALL.map(|family| (family, subnets.get(family).copied()))
}

/// Since when the Node is there, in seconds of the epoch.
pub fn age(node: &Object) -> u64 {
    let created = node.metadata.creation_timestamp.as_deref().and_then(|text| text.parse::<Utc>().ok());
    created.map_or(0, Utc::seconds)
}

fn endpoint<'a>(
    said: &impl Fn(&str) -> Option<&'a str>,
    (family, subnet): (Family, IpNet),
    networks: Option<&Stack<IpNet>>,
) -> Result<Endpoint, String> {
    let public = said(of(PUBLIC, family)).and_then(|text| address(text, family));
    let public = public.ok_or_else(|| format!("it has no usable annotation {}", of(PUBLIC, family)))?;
    let text = said(of(BACKEND_DATA, family)).unwrap_or_default();
    if text.len() > MAX_BYTES {
        return Err(format!("its {} is {} bytes long", of(BACKEND_DATA, family), text.len()));
    }
    let backend_type = said(BACKEND_TYPE).unwrap_or_default();
    // Backends without data have `null`, or nothing; some have what is no JSON.
    let data: Option<Value> = match serde_json::from_str(text) {
        Err(error) if backend_type == "vxlan" && !text.is_empty() => {
            return Err(format!("its {} is not JSON: {error}", of(BACKEND_DATA, family)));
        }
        data => data.ok().filter(|data: &Value| !data.is_null()),
    };
    let attributes = attributes(backend_type, (family, public), data);
    let one = match family {
        Family::V4 => Stack::V4(subnet),
        Family::V6 => Stack::V6(subnet),
    };
    fit(&one, networks)?;
    let endpoints = attributes.endpoints(&one)?;
    endpoints.get(family).cloned().ok_or_else(|| "it has no public address".to_owned())
}

fn attributes(backend_type: &str, (family, public): (Family, IpAddr), data: Option<Value>) -> Attributes {
    let (backend_data, backend_v6_data) = if family == Family::V4 { (data, None) } else { (None, data) };
    let (public_ip, public_ipv6) = match public {
        IpAddr::V4(address) => (Some(address), None),
        IpAddr::V6(address) => (None, Some(address)),
    };
    let backend_type = backend_type.to_owned();
    Attributes { public_ip, public_ipv6, backend_type, backend_data, backend_v6_data, node: None, rollout: None }
}

/// An address of a family as an annotation has it. A v4-mapped one is none of IPv6: nothing can be sent to it.
fn address(text: &str, family: Family) -> Option<IpAddr> {
    let address: IpAddr = text.trim().parse().ok()?;
    let mapped = matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
    (Family::of(address) == family && !mapped).then_some(address)
}

/// What an operator wrote for this node.
pub fn instructions(node: &Object, prefix: &AnnotationPrefix) -> Instructions {
    let said = |family| node.annotation(&prefix.key(of(INSTRUCTED, family))).and_then(|text| address(text, family));
    let mut labels = Labels::default();
    node.labels().for_each(|(key, value)| labels.insert(key, value));
    Instructions { public: Stack::from_options(said(Family::V4), said(Family::V6)), labels }
}

/// What an operator wants peers to be told in place of the address that this node has, for nodes behind NAT.
fn overwrite(node: &Object, prefix: &AnnotationPrefix, family: Family) -> Option<IpAddr> {
    node.annotation(&prefix.key(of(OVERWRITE, family))).and_then(|text| address(text, family))
}

/// What shall stand at this node's own Node: each key with its value, or `None` where nothing of ours shall stand.
pub fn desired(claim: &Claim, node: &Object, prefix: &AnnotationPrefix) -> Annotations {
    let mut all = Annotations::new();
    let mut put = |name: &str, value: Option<String>| all.insert(prefix.key(name), value);
    let types = claim.published.values().map(|published| published.data.backend_type()).next();
    put(MEMBER, Some("true".to_owned()));
    put(BACKEND_TYPE, types.map(str::to_owned));
    for family in Family::ALL {
        let published = claim.published.get(family);
        let overwrite = overwrite(node, prefix, family);
        put(of(BACKEND_DATA, family), published.map(|published| written(&published.data)));
        put(of(PUBLIC, family), published.map(|published| overwrite.unwrap_or(published.public).to_string()));
    }
    let told = claim.rollout.as_ref().and_then(rollout::write);
    all.insert(prefix.own_key(ROLLOUT), told.map(|told| told.to_string()));
    all
}

/// No annotation of ours, with what an operator wrote left as it is.
pub fn withdrawn(prefix: &AnnotationPrefix) -> Annotations {
    let ours = [MEMBER, BACKEND_TYPE].into_iter().chain(BACKEND_DATA).chain(PUBLIC);
    ours.map(|name| prefix.key(name)).chain([prefix.own_key(ROLLOUT)]).map(|key| (key, None)).collect()
}

/// What of it does not stand there yet.
pub fn missing(desired: Annotations, node: &Object) -> Annotations {
    desired.into_iter().filter(|(key, value)| node.annotation(key) != value.as_deref()).collect()
}

/// The lease as it stands once the desired annotations are there.
pub fn own(claim: &Claim, node: &Object, (subnets, prefix): (Stack<IpNet>, &AnnotationPrefix)) -> Option<Lease> {
    let endpoints = subnets.filter_map(|family, subnet| {
        let published = claim.published.get(family)?;
        let public = overwrite(node, prefix, family).unwrap_or(published.public);
        Some(Endpoint { subnet: *subnet, public, data: published.data.clone() })
    })?;
    let rollout = claim.rollout.clone().map(Box::new);
    Some(Lease {
        key: LeaseKey::new(&node.metadata.uid),
        node: claim.node.clone(),
        since: age(node),
        endpoints,
        rollout,
    })
}

/// Flannel writes the members in this order and without blanks; at start it takes all that follows the first `:"` for the
/// MAC, so that must stay the last and only text.
fn written(data: &BackendData) -> String {
    match data {
        BackendData::Vxlan { vni, mac } => format!(r#"{{"VNI":{vni},"VtepMAC":"{mac}"}}"#),
        BackendData::WireGuard { key, port: Some(port) } => format!(r#"{{"PublicKey":"{key}","Port":{port}}}"#),
        BackendData::WireGuard { key, port: None } => format!(r#"{{"PublicKey":"{key}"}}"#),
        // A JSON text: quoted, and with what must be escaped.
        BackendData::Extension { output } if !output.is_empty() => Value::from(output.as_ref()).to_string(),
        BackendData::Bgp { .. } => attributes::written(data).unwrap_or_default().to_string(),
        BackendData::Extension { .. } | BackendData::Other(_) => "null".to_owned(),
    }
}

#[cfg(test)]
mod tests;
