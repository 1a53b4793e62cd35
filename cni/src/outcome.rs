//! [`Outcome`]: what ADD made, in the shape of each version; and [`Previous`], the same read back from `prevResult`.
//!
//! Shapes: specification 1.1 section 5 "Success"; 1.0 dropped `ips[].version`; 1.1 added `interfaces[].mtu` and what routes
//! have besides `dst` and `gw`.

use std::net::IpAddr;

use backends::LinkName;
use ipam::{Family, Mac};
use ipnet::IpNet;
use kernel::pod::Route;
use serde_json::{Map, Value, json};

use crate::dns::Dns;
use crate::document::{Document, Mistakes};
use crate::error::Error;
use crate::version::Version;

/// What ADD made.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Bridge, host's end, pod's end; the last is the one that the addresses are on.
    pub interfaces: Vec<Interface>,
    /// The pod's addresses with their gateways.
    pub addresses: Vec<(IpNet, IpAddr)>,
    /// The pod's routes.
    pub routes: Vec<Route>,
    /// What is said about names.
    pub dns: Dns,
}

/// An interface that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: LinkName,
    /// Link-layer address.
    pub mac: Mac,
    /// Octets of payload.
    pub mtu: u32,
    /// `CNI_NETNS`, of the one in the pod.
    pub sandbox: Option<String>,
}

impl Outcome {
    /// The result object. What an earlier plugin of the chain made stands before ours, as section 2 asks of
    /// `prevResult`.
    pub fn to_json(&self, version: Version, previous: Option<&Map<String, Value>>) -> Value {
        let mut result = previous.cloned().unwrap_or_default();
        let mut extend = |key: &str, ours: &mut dyn Iterator<Item = Value>| {
            let list = result.entry(key).or_insert_with(|| json!([]));
            let before = list.as_array().map_or(0, Vec::len);
            if !list.is_array() {
                *list = json!([]);
            }
            if let Some(list) = list.as_array_mut() {
                list.extend(ours);
            }
            before
        };
        let before = extend("interfaces", &mut self.interfaces.iter().map(|interface| interface.to_json(version)));
        let last = before + self.interfaces.len().saturating_sub(1);
        extend(
            "ips",
            &mut self.addresses.iter().map(|(net, gateway)| {
                let mut address = json!({ "address": net, "gateway": gateway, "interface": last });
                if version < Version::V1_0_0 {
                    address["version"] = json!(if Family::of_net(net) == Family::V4 { "4" } else { "6" });
                }
                address
            }),
        );
        extend("routes", &mut self.routes.iter().map(|route| route_to_json(route, version)));
        if !self.dns.is_empty() || !result.contains_key("dns") {
            result.insert("dns".to_owned(), self.dns.to_json());
        }
        result.insert("cniVersion".to_owned(), json!(version.as_str()));
        Value::Object(result)
    }
}

impl Interface {
    fn to_json(&self, version: Version) -> Value {
        let mut interface = json!({ "name": self.name.as_str(), "mac": self.mac });
        if let Some(sandbox) = &self.sandbox {
            interface["sandbox"] = json!(sandbox);
        }
        if version >= Version::V1_1_0 {
            interface["mtu"] = json!(self.mtu);
        }
        interface
    }
}

fn route_to_json(route: &Route, version: Version) -> Value {
    let mut object = json!({ "dst": route.destination });
    if let Some(gateway) = route.gateway {
        object["gw"] = json!(gateway);
    }
    if version >= Version::V1_1_0 {
        let scope = route.scope.map(u32::from);
        for (key, value) in [
            ("mtu", route.mtu),
            ("advmss", route.advmss),
            ("priority", route.priority),
            ("table", route.table),
            ("scope", scope),
        ] {
            if let Some(value) = value {
                object[key] = json!(value);
            }
        }
    }
    object
}

/// What an ADD said that it made, as far as CHECK looks at it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Previous {
    /// Interfaces in their order: name, link-layer address, MTU, sandbox.
    pub interfaces: Vec<Told>,
    /// Addresses, and the index of the interface that each is on.
    pub addresses: Vec<(IpNet, Option<u32>)>,
    /// Routes of table main: destination, gateway.
    pub routes: Vec<(IpNet, Option<IpAddr>)>,
}

/// An interface as `prevResult` tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Its name.
    pub name: String,
    /// Link-layer address, if it is told.
    pub mac: Option<Mac>,
    /// Octets of payload, if they are told.
    pub mtu: Option<u32>,
    /// Whether it is in a sandbox.
    pub sandbox: String,
}

/// The object `prevResult`, if there is one.
///
/// # Errors
/// When it is something else.
pub fn previous(document: &Document) -> Result<Option<&Map<String, Value>>, Error> {
    match document.root().get("prevResult") {
        None => Ok(None),
        Some(Value::Object(map)) => Ok(Some(map)),
        Some(_) => Err(Error::Configuration { mistakes: vec!["`prevResult` is not an object".to_owned()] }),
    }
}

impl Previous {
    /// Reads `prevResult`, which CHECK cannot do without.
    ///
    /// # Errors
    /// When it is missing or cannot be what an ADD answered.
    pub fn of(document: &Document) -> Result<Previous, Error> {
        let mut mistakes = Mistakes::default();
        let Some(result) = document.root().object("prevResult", &mut mistakes) else {
            mistakes.push("`prevResult` is missing: CHECK compares with what ADD answered".to_owned());
            return mistakes.none_or(Previous::default());
        };
        let mut previous = Previous::default();
        for interface in result.objects("interfaces", &mut mistakes) {
            previous.interfaces.push(Told {
                name: interface.text("name", &mut mistakes).unwrap_or_default().to_owned(),
                mac: interface.parsed("mac", &mut mistakes, "a MAC address"),
                mtu: interface.number("mtu", &mut mistakes).filter(|mtu| *mtu != 0),
                sandbox: interface.text("sandbox", &mut mistakes).unwrap_or_default().to_owned(),
            });
        }
        for address in result.objects("ips", &mut mistakes) {
            let net = address.parsed("address", &mut mistakes, "an address with its length, as in 10.1.0.5/24");
            let interface = address.number("interface", &mut mistakes);
            previous.addresses.extend(net.map(|net| (net, interface)));
        }
        for route in result.objects("routes", &mut mistakes) {
            let destination: Option<IpNet> = route.parsed("dst", &mut mistakes, "a network as in 10.0.0.0/8");
            let gateway = route.parsed("gw", &mut mistakes, "an IP address");
            // RT_TABLE_MAIN; 0 is the same by default.
            let main = [0, 254].contains(&route.number("table", &mut mistakes).unwrap_or(0));
            previous.routes.extend(destination.filter(|_| main).map(|destination| (destination.trunc(), gateway)));
        }
        mistakes.none_or(previous)
    }
}

#[cfg(test)]
mod tests;
