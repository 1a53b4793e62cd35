//! [`Outcome`]: what ADD made, in any version's shape: read from `prevResult` and from plugins that are executed, written as
//! the answer.
//!
//! Shapes: specification 1.1 section 5 "Success"; 1.0 dropped `ips[].version`; 1.1 added `interfaces[].mtu`, `socketPath` and
//! `pciID` and what routes have besides `dst` and `gw`; before 0.3.0 there were `ip4` and `ip6` instead of lists.

use std::net::IpAddr;

use ipam::{Family, Mac};
use ipnet::IpNet;
use kernel::pod::Route;
use serde_json::{Map, Value, json};

use crate::dns::Dns;
use crate::document::{Document, Mistakes, Object};
use crate::environment::Attachment;
use crate::error::Error;
use crate::version::Version;

/// What ADD made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Interfaces, on the host and in the pod.
    pub interfaces: Vec<Interface>,
    /// The pod's addresses.
    pub addresses: Vec<Address>,
    /// The pod's routes.
    pub routes: Vec<Route>,
    /// What is said about names.
    pub dns: Dns,
}

/// An interface that was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Link-layer address as text; empty when it has none.
    pub mac: String,
    /// Octets of payload, if they are told.
    pub mtu: Option<u32>,
    /// `CNI_NETNS`, of one in the pod; empty on the host.
    pub sandbox: String,
    /// Where a user-space switch listens; ours never do. Passed on.
    pub socket_path: String,
    /// A network card's place on the bus. Passed on.
    pub pci_id: String,
}

impl Interface {
    /// Its link-layer address, if that is one of Ethernet's.
    pub fn mac(&self) -> Option<Mac> {
        self.mac.parse().ok()
    }
}

/// An address of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// With its subnet's length.
    pub net: IpNet,
    /// The router.
    pub gateway: Option<IpAddr>,
    /// Which of [`Outcome::interfaces`] it is on; IPAM does not know.
    pub interface: Option<usize>,
}

impl Outcome {
    /// Reads `prevResult`, if there is one.
    ///
    /// # Errors
    /// When it is none that a plugin could have answered.
    pub fn previous(document: &Document) -> Result<Option<Outcome>, Error> {
        let mut mistakes = Mistakes::default();
        let outcome = document.root().object("prevResult", &mut mistakes).map(|result| read(&result, &mut mistakes));
        mistakes.none_or(outcome)
    }

    /// Reads what an executed plugin answered.
    pub fn read(said: &Map<String, Value>, mistakes: &mut Mistakes) -> Outcome {
        read(&Object::from(said), mistakes)
    }

    /// The interface that the runtime asked for: in the pod, by its name. With its place.
    pub fn own_interface(&self, attachment: &Attachment) -> Option<(usize, &Interface)> {
        let own = |interface: &Interface| !interface.sandbox.is_empty() && interface.name == attachment.owner.ifname;
        self.interfaces.iter().enumerate().find(|(_, interface)| own(interface))
    }

    /// The addresses on the interface that the runtime asked for. IPAM says of none where it is.
    pub fn own_addresses(&self, attachment: &Attachment) -> impl Iterator<Item = &Address> {
        let own = self.own_interface(attachment).map(|(index, _)| index);
        // Where some say it, those that do not are of a plugin that made none.
        let said = self.addresses.iter().any(|address| address.interface.is_some());
        self.addresses.iter().filter(move |address| match (address.interface, own) {
            (Some(on), Some(own)) => on == own,
            (None, Some(_)) => !said,
            _ => true,
        })
    }

    /// The result object.
    pub fn to_json(&self, version: Version) -> Value {
        let mut result = json!({ "cniVersion": version.as_str(), "dns": self.dns.to_json() });
        let interfaces = self.interfaces.iter().map(|interface| interface.to_json(version));
        let addresses = self.addresses.iter().map(|address| address.to_json(version));
        let routes = self.routes.iter().map(|route| route_to_json(route, version));
        for (key, list) in
            [("interfaces", interfaces.collect::<Vec<_>>()), ("ips", addresses.collect()), ("routes", routes.collect())]
        {
            if !list.is_empty() {
                result[key] = Value::Array(list);
            }
        }
        result
    }
}

impl Interface {
    fn to_json(&self, version: Version) -> Value {
        let mut interface = json!({ "name": self.name });
        let new = version >= Version::V1_1_0;
        for (key, text, told) in [
            ("mac", &self.mac, true),
            ("sandbox", &self.sandbox, true),
            ("socketPath", &self.socket_path, new),
            ("pciID", &self.pci_id, new),
        ] {
            if told && !text.is_empty() {
                interface[key] = json!(text);
            }
        }
        if let Some(mtu) = self.mtu.filter(|_| new) {
            interface["mtu"] = json!(mtu);
        }
        interface
    }
}

impl Address {
    fn to_json(self, version: Version) -> Value {
        let mut address = json!({ "address": self.net });
        if let Some(gateway) = self.gateway {
            address["gateway"] = json!(gateway);
        }
        if let Some(interface) = self.interface {
            address["interface"] = json!(interface);
        }
        if version < Version::V1_0_0 {
            address["version"] = json!(if Family::of_net(&self.net) == Family::V4 { "4" } else { "6" });
        }
        address
    }
}

/// A route as a result of that version has it.
pub fn route_to_json(route: &Route, version: Version) -> Value {
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

fn read(result: &Object<'_>, mistakes: &mut Mistakes) -> Outcome {
    let mut outcome = Outcome { dns: Dns::read(result, mistakes), ..Outcome::default() };
    for interface in result.objects("interfaces", mistakes) {
        let mut text = |key| interface.text(key, mistakes).unwrap_or_default().to_owned();
        outcome.interfaces.push(Interface {
            name: text("name"),
            mac: text("mac"),
            sandbox: text("sandbox"),
            socket_path: text("socketPath"),
            pci_id: text("pciID"),
            mtu: interface.number("mtu", mistakes).filter(|mtu| *mtu != 0),
        });
    }
    for address in result.objects("ips", mistakes) {
        let interface = address.number("interface", mistakes).map(|index| index as usize);
        if let Some(index) = interface.filter(|index| *index >= outcome.interfaces.len()) {
            mistakes.push(format!("`{}` is {index}: there is no such interface", address.path("interface")));
        }
        outcome.addresses.extend(read_address(&address, "address", mistakes).map(|a| Address { interface, ..a }));
    }
    outcome.routes = routes(result, mistakes);
    // Before 0.3.0; the reference library converts them as well.
    for key in ["ip4", "ip6"] {
        let Some(family) = result.object(key, mistakes) else { continue };
        outcome.addresses.extend(read_address(&family, "ip", mistakes));
        outcome.routes.extend(routes(&family, mistakes));
    }
    outcome
}

fn read_address(object: &Object<'_>, key: &str, mistakes: &mut Mistakes) -> Option<Address> {
    let net = object.parsed(key, mistakes, "an address with its length, as in 10.1.0.5/24");
    if object.get(key).is_none() {
        mistakes.push(format!("`{}` is missing: expected an address with its length", object.path(key)));
    }
    let gateway = object.parsed("gateway", mistakes, "an IP address");
    Some(Address { net: net?, gateway, interface: None })
}

/// The list `routes` of a result or of `ipam`, with what CNI 1.1 added to them.
pub fn routes(object: &Object<'_>, mistakes: &mut Mistakes) -> Vec<Route> {
    let mut routes = Vec::new();
    for route in object.objects("routes", mistakes) {
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

#[cfg(test)]
mod tests;
