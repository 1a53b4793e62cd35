//! The configuration that is delegated, made of flannel's own and of `subnet.env`. Pure, but for reading that file.
//!
//! Everything in `delegate` and in `ipam` is passed through. Set over it: `name`, `cniVersion`, `runtimeConfig`, `ipam.ranges`,
//! `ipam.routes`; set only where nothing is written: `type`, `ipMasq`, `mtu`, `isGateway`, `ipam.type`. A key counts as written
//! even with `null`, as flannel's own plugin counts.

use std::path::{Path, PathBuf};

use ipam::Family;
use ipnet::IpNet;
use serde_json::{Map, Value, json};

use crate::document::{Document, Mistakes};
use crate::error::Error;
use crate::outcome;
use crate::subnet_file::{SUBNET_FILE, SubnetFile};
use crate::version::Version;

/// Whether the configuration can be delegated.
///
/// # Errors
/// The keys that flannel sets and nobody else may, or that are of another type.
pub fn check(document: &Document) -> Result<(), Error> {
    let (root, mut mistakes) = (document.root(), Mistakes::default());
    root.object("ipam", &mut mistakes).map(|ipam| outcome::routes(&ipam, &mut mistakes));
    root.object("runtimeConfig", &mut mistakes);
    root.absolute_path("subnetFile", &mut mistakes);
    if let Some(delegate) = root.object("delegate", &mut mistakes) {
        if delegate.has("type") && delegate.text("type", &mut mistakes).is_none_or(str::is_empty) {
            mistakes.push("`delegate.type`: expected the name of a plugin".to_owned());
        }
        for key in ["name", "ipam"].into_iter().filter(|key| delegate.has(key)) {
            mistakes.push(format!("`delegate.{key}` is set by flannel itself: write it beside `delegate`"));
        }
        if delegate.get("type").and_then(Value::as_str) == Some("flannel") {
            mistakes
                .push("`delegate.type` is flannel, which would delegate for ever: expected another plugin".to_owned());
        }
    }
    mistakes.none_or(())
}

/// The whole of it, with what `subnet.env` says.
///
/// # Errors
/// When the configuration cannot be delegated, or the daemon has not written that file.
pub fn of(document: &Document) -> Result<Document, Error> {
    check(document)?;
    let path = subnet_file(document)?;
    let file = SubnetFile::read(&path)?;
    let (masquerade, mtu) = complete(&file, &path)?;
    let (mut delegate, mut ipam) = skeleton(document);
    // If flannel does not masquerade, the delegate must.
    delegate.entry("ipMasq").or_insert(json!(!masquerade));
    delegate.entry("mtu").or_insert(json!(mtu));
    if delegate.get("type").and_then(Value::as_str) == Some("bridge") {
        delegate.entry("isGateway").or_insert(json!(true));
    }
    let subnets = file.sets.iter().filter_map(|set| set.ranges().first()).map(|range| range.subnet());
    ipam.insert("ranges".to_owned(), subnets.map(|subnet| json!([{ "subnet": subnet }])).collect());
    ipam.insert("routes".to_owned(), Value::Array(routes(document, &file.networks)));
    delegate.insert("ipam".to_owned(), Value::Object(ipam));
    Ok(Document::from(delegate))
}

fn subnet_file(document: &Document) -> Result<PathBuf, Error> {
    let (root, mut mistakes) = (document.root(), Mistakes::default());
    let path = root.absolute_path("subnetFile", &mut mistakes).map(PathBuf::from);
    mistakes.none_or(path.unwrap_or_else(|| PathBuf::from(SUBNET_FILE)))
}

/// The file that the MTU comes from; `None` where the configuration says it.
pub fn mtu_from(document: &Document) -> Option<PathBuf> {
    let written = document.root().get("delegate").is_some_and(|delegate| delegate.get("mtu").is_some());
    if written { None } else { subnet_file(document).ok() }
}

/// As much of it as can be said without `subnet.env`: enough to take a pod down.
///
/// # Errors
/// When the configuration cannot be delegated.
pub fn as_far_as_written(document: &Document) -> Result<Document, Error> {
    check(document)?;
    let (mut delegate, ipam) = skeleton(document);
    delegate.insert("ipam".to_owned(), Value::Object(ipam));
    Ok(Document::from(delegate))
}

/// The delegate's `type`.
///
/// # Errors
/// When a configuration that was kept has none.
pub fn kind(document: &Document) -> Result<&str, Error> {
    let mistake = || Error::Configuration { mistakes: vec!["the delegate has no `type`".to_owned()] };
    document.root().get("type").and_then(Value::as_str).ok_or_else(mistake)
}

/// For CHECK: with the result to compare with.
pub fn with_previous(document: Document, own: &Document) -> Document {
    with_keys(document, own, &["prevResult"])
}

/// For GC: with the attachments to keep.
pub fn with_attachments(document: Document, own: &Document) -> Document {
    with_keys(document, own, &["cni.dev/valid-attachments", "cni.dev/attachments"])
}

fn with_keys(document: Document, own: &Document, keys: &[&str]) -> Document {
    let mut map = document.root().map().clone();
    for key in keys {
        map.extend(own.root().map().get(*key).map(|value| ((*key).to_owned(), value.clone())));
    }
    Document::from(map)
}

/// What does not depend on `subnet.env`: the delegate, and its `ipam`.
fn skeleton(document: &Document) -> (Map<String, Value>, Map<String, Value>) {
    let root = document.root();
    let object = |key| root.get(key).and_then(Value::as_object).cloned().unwrap_or_default();
    let (mut delegate, mut ipam) = (object("delegate"), object("ipam"));
    ipam.entry("type").or_insert(json!("host-local"));
    delegate.entry("type").or_insert(json!("bridge"));
    for key in ["name", "runtimeConfig"] {
        delegate.extend(root.get(key).map(|value| (key.to_owned(), value.clone())));
    }
    let version = root.get("cniVersion").filter(|version| version.as_str() != Some(""));
    delegate.extend(version.map(|version| ("cniVersion".to_owned(), version.clone())));
    (delegate, ipam)
}

/// What flannel's own plugin cannot do without.
fn complete(file: &SubnetFile, path: &Path) -> Result<(bool, u32), Error> {
    let mut missing = Vec::new();
    if file.networks.is_empty() {
        missing.push("FLANNEL_NETWORK, FLANNEL_IPV6_NETWORK");
    }
    if file.mtu.is_none() {
        missing.push("FLANNEL_MTU");
    }
    if file.masquerade.is_none() {
        missing.push("FLANNEL_IPMASQ");
    }
    match (file.masquerade, file.mtu, missing.as_slice()) {
        (Some(masquerade), Some(mtu), []) => Ok((masquerade, mtu)),
        _ => Err(Error::SubnetFile { path: path.to_owned(), what: format!("it lacks {}", missing.join(", ")) }),
    }
}

/// The routes that are written, then one to each of the cluster's networks, IPv4 first.
fn routes(document: &Document, networks: &[IpNet]) -> Vec<Value> {
    let mut mistakes = Mistakes::default();
    let ipam = document.root().object("ipam", &mut mistakes);
    let written = ipam.map(|ipam| outcome::routes(&ipam, &mut mistakes)).unwrap_or_default();
    let mut routes: Vec<Value> = written.iter().map(|route| outcome::route_to_json(route, Version::NEWEST)).collect();
    let mut seen: Vec<IpNet> = Vec::new();
    for network in
        Family::ALL.into_iter().flat_map(|family| networks.iter().filter(move |n| Family::of_net(n) == family))
    {
        let network = network.trunc();
        if !seen.contains(&network) {
            seen.push(network);
            routes.push(json!({ "dst": network }));
        }
    }
    routes
}

#[cfg(test)]
mod tests;
