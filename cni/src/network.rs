//! The configuration as it is meant: [`Network`], which every verb needs, and [`Plan`], what ADD makes.
//!
//! Keys are named as the reference `bridge` and `host-local` plugins name them. What is different: a pod works with
//! `{"type": "towpath"}` alone, so `isGateway`, `isDefaultGateway` and `hairpinMode` are true unless written otherwise, and
//! ranges and MTU come from the daemon's `subnet.env` when none are written.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use backends::LinkName;
use ipam::Family;
use ipam::ledger::{Identifier, Ledger, RangeSet};
use ipnet::IpNet;
use kernel::pod::{Hairpin, Route};

use crate::dns::Dns;
use crate::document::{Document, Mistakes, Object};
use crate::error::Error;
use crate::ranges;
use crate::subnet_file::SubnetFile;

const BRIDGE: &str = "cni0";
const SUBNET_FILE: &str = "/run/flannel/subnet.env";
const LEDGER: &str = "/var/lib/cni/networks";

/// What the reference `bridge` plugin can do and we cannot yet: overlooking one of these would be a surprise, or a hole.
const NOT_DONE: [&str; 10] = [
    "delegate",
    "disableContainerInterface",
    "enabledad",
    "forceAddress",
    "macspoofchk",
    "mode",
    "portIsolation",
    "promiscMode",
    "vlan",
    "vlanTrunk",
];
/// What a runtime passes for one pod, if the configuration says that we take it (`capabilities`).
const CAPABILITIES: [&str; 5] = ["bandwidth", "ipRanges", "ips", "mac", "portMappings"];

/// What every verb needs to know.
#[derive(Debug)]
pub struct Network {
    /// The addresses of its pods.
    pub ledger: Ledger,
}

impl Network {
    /// Reads as little as possible: a pod must be deleted even when the rest of the configuration is broken by now.
    ///
    /// # Errors
    /// The mistakes in what is needed.
    pub fn of(document: &Document) -> Result<Network, Error> {
        let (root, mut mistakes) = (document.root(), Mistakes::default());
        let name = match root.text("name", &mut mistakes) {
            Some(text) => Identifier::new(text).map_err(|error| mistakes.push(format!("`name`: {error}"))).ok(),
            None => {
                if root.get("name").is_none() {
                    mistakes.push("`name` is missing: expected the network's name".to_owned());
                }
                None
            }
        };
        let ipam = root.object("ipam", &mut mistakes);
        let data_dir = ipam.and_then(|ipam| path(&ipam, "dataDir", &mut mistakes));
        let data_dir = data_dir.or_else(|| path(&root, "dataDir", &mut mistakes)).unwrap_or_else(|| LEDGER.into());
        match mistakes.none_or(name)? {
            Some(name) => Ok(Network { ledger: Ledger::new(&data_dir, &name) }),
            None => Err(Error::Configuration { mistakes: vec!["`name` is missing".to_owned()] }),
        }
    }
}

/// What the node is to a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Router {
    /// Nothing: another machine on the bridge routes.
    No,
    /// The bridge has the gateway's address.
    Gateway,
    /// And the pod's default routes lead there.
    DefaultGateway,
}

/// Where ranges come from.
#[derive(Clone, Debug)]
pub enum Ranges {
    /// They are written in the configuration.
    Written(Vec<RangeSet>),
    /// The daemon says: `subnetFile`.
    Daemon(PathBuf),
}

/// What ADD makes.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The bridge's name.
    pub bridge: LinkName,
    /// Whose gateway it is.
    pub router: Router,
    /// Whether a pod reaches itself by a Service's address.
    pub hairpin: Hairpin,
    /// MTU, octets, when one is written.
    pub mtu: Option<u32>,
    /// Where addresses come from.
    pub ranges: Ranges,
    /// The routes that are written; one without a gateway uses its family's.
    pub routes: Vec<Route>,
    dns: Dns,
    resolv_conf: Option<PathBuf>,
}

/// A plan with what the daemon says filled in.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// One address is given from each.
    pub sets: Vec<RangeSet>,
    /// MTU, octets; the kernel's default when nobody says.
    pub mtu: Option<u32>,
    /// The cluster's networks, when the ranges are the daemon's.
    pub networks: Vec<IpNet>,
}

impl Plan {
    /// Reads all that ADD needs.
    ///
    /// # Errors
    /// Everything that is wrong with it, together; or what we cannot do.
    pub fn of(document: &Document) -> Result<Plan, Error> {
        let (root, mut mistakes) = (document.root(), Mistakes::default());
        let ipam = root.object("ipam", &mut mistakes);
        refuse_not_done(&root, ipam.as_ref(), &mut mistakes)?;
        let bridge = match root.text("bridge", &mut mistakes).unwrap_or_default() {
            "" => BRIDGE,
            name => name,
        };
        let bridge = LinkName::new(bridge).map_err(|error| mistakes.push(format!("`bridge`: {error}"))).ok();
        let gateway = root.flag("isGateway", &mut mistakes).unwrap_or(true);
        let router = match root.flag("isDefaultGateway", &mut mistakes).unwrap_or(gateway) {
            true => Router::DefaultGateway,
            false if gateway => Router::Gateway,
            false => Router::No,
        };
        let hairpin = if root.flag("hairpinMode", &mut mistakes) == Some(false) { Hairpin::Off } else { Hairpin::On };
        // Masquerading is the daemon's, so either is right.
        root.flag("ipMasq", &mut mistakes);
        // RFC 791: 68 octets are the least that IPv4 can be sent in. 0 stands for the default, as in the bridge plugin.
        let mtu = root.number("mtu", &mut mistakes).filter(|mtu| *mtu != 0);
        if let Some(wrong) = mtu.filter(|mtu| !(68..=65_535).contains(mtu)) {
            mistakes.push(format!("`mtu` is {wrong}: expected 68 to 65535 octets"));
        }
        let sets = ipam.as_ref().map(|ipam| ranges::read(ipam, &mut mistakes)).unwrap_or_default();
        let subnet_file = path(&root, "subnetFile", &mut mistakes).unwrap_or_else(|| SUBNET_FILE.into());
        let written = ipam.as_ref().is_some_and(|ipam| ipam.first_set(&["ranges", "subnet"]).is_some());
        let ranges = if written { Ranges::Written(sets) } else { Ranges::Daemon(subnet_file) };
        let routes = ipam.as_ref().map(|ipam| routes(ipam, &mut mistakes)).unwrap_or_default();
        let resolv_conf = ipam.as_ref().and_then(|ipam| path(ipam, "resolvConf", &mut mistakes));
        let dns = Dns::read(&root, &mut mistakes);
        match mistakes.none_or(bridge)? {
            Some(bridge) => Ok(Plan { bridge, router, hairpin, mtu, ranges, routes, dns, resolv_conf }),
            None => Err(Error::Configuration { mistakes: vec!["`bridge` is no interface's name".to_owned()] }),
        }
    }

    /// Asks the daemon's file for what is not written.
    ///
    /// # Errors
    /// When it is needed and not there, or an MTU is too small for IPv6 (RFC 8200 section 5).
    pub fn resolve(&self) -> Result<Resolved, Error> {
        let resolved = match &self.ranges {
            Ranges::Written(sets) => Resolved { sets: sets.clone(), mtu: self.mtu, networks: Vec::new() },
            Ranges::Daemon(path) => {
                let file = SubnetFile::read(path)?;
                Resolved { sets: file.sets, mtu: self.mtu.or(file.mtu), networks: file.networks }
            }
        };
        let v6 = resolved.sets.iter().flat_map(RangeSet::ranges).any(|range| range.family() == Family::V6);
        match resolved.mtu {
            Some(mtu) if v6 && mtu < 1280 => {
                let mistake =
                    format!("the MTU is {mtu}: expected at least 1280 octets, without which there is no IPv6");
                Err(Error::Configuration { mistakes: vec![mistake] })
            }
            _ => Ok(resolved),
        }
    }

    /// What the result says about names: the configuration's own words, else those of `ipam.resolvConf`.
    ///
    /// # Errors
    /// When that file cannot be read.
    pub fn dns(&self) -> Result<Dns, Error> {
        match &self.resolv_conf {
            Some(path) if self.dns.is_empty() => Dns::of_file(path),
            _ => Ok(self.dns.clone()),
        }
    }
}

fn refuse_not_done(root: &Object<'_>, ipam: Option<&Object<'_>>, mistakes: &mut Mistakes) -> Result<(), Error> {
    let refuse = |(key, value), instead| Err(Error::UnsupportedField { key, value, instead });
    if let Some(set) = root.first_set(&NOT_DONE) {
        return refuse(set, "leave it out, or use the reference `bridge` plugin");
    }
    let runtime = root.object("runtimeConfig", mistakes);
    if let Some(set) = runtime.and_then(|runtime| runtime.first_set(&CAPABILITIES)) {
        return refuse(
            set,
            "take it out of this plugin's `capabilities`, and leave it to a plugin behind it in the chain",
        );
    }
    let arguments = root.object("args", mistakes).and_then(|arguments| arguments.object("cni", mistakes));
    if let Some(set) = arguments.and_then(|arguments| arguments.first_set(&["ips", "mac"])) {
        return refuse(set, "leave it out, addresses are given from the ranges");
    }
    match ipam.and_then(|ipam| Some((ipam.path("type"), ipam.text("type", mistakes)?))) {
        Some((key, kind)) if !kind.is_empty() && kind != "host-local" => {
            refuse((key, kind.chars().take(80).collect()), "only `host-local` is done, and in this very process")
        }
        _ => Ok(()),
    }
}

/// `ipam.routes`, with what CNI 1.1 added to them.
fn routes(ipam: &Object<'_>, mistakes: &mut Mistakes) -> Vec<Route> {
    let mut routes = Vec::new();
    for route in ipam.objects("routes", mistakes) {
        if route.get("dst").is_none() {
            mistakes.push(format!("`{}` is missing: expected a network as in 10.0.0.0/8", route.path("dst")));
        }
        let destination = route.parsed::<IpNet>("dst", mistakes, "a network as in 10.0.0.0/8");
        let gateway = route.parsed::<IpAddr>("gw", mistakes, "an IP address");
        let scope = route.number("scope", mistakes).map(u8::try_from);
        if let Some(Err(_)) = scope {
            mistakes.push(format!("`{}`: expected a number from 0 to 255", route.path("scope")));
        }
        let (mtu, advmss) = (route.number("mtu", mistakes), route.number("advmss", mistakes));
        let (priority, table) = (route.number("priority", mistakes), route.number("table", mistakes));
        let scope = scope.and_then(Result::ok);
        let Some(destination) = destination else { continue };
        match gateway {
            Some(gateway) if Family::of(gateway) != Family::of_net(&destination) => {
                mistakes.push(format!("`{}` is {gateway}, of another family than {destination}", route.path("gw")));
            }
            gateway => routes.push(Route { destination, gateway, priority, table, scope, mtu, advmss }),
        }
    }
    routes
}

fn path(object: &Object<'_>, key: &str, mistakes: &mut Mistakes) -> Option<PathBuf> {
    let text = object.text(key, mistakes).filter(|text| !text.is_empty())?;
    if !Path::new(text).is_absolute() || text.contains('\0') {
        mistakes.push(format!("`{}` is {}: expected an absolute path", object.path(key), text.escape_debug()));
        return None;
    }
    Some(text.into())
}

#[cfg(test)]
mod tests;
