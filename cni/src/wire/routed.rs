//! A pod without a bridge: its addresses are the node's routes, its gateway is link-local and the same everywhere. Why:
//! docs/adr/0009-routed-pods.md.

use ipam::{Family, Mac};
use ipnet::IpNet;
use kernel::pod::{Found, Host, PodError, Route, Way, gateway};

use super::check::missing;
use super::plan::Plan;
use crate::environment::Attachment;
use crate::error::Error;
use crate::outcome::{Address, Outcome};

/// The link-layer address of every routed pod's gateway, on every node: a pod needs to be told of it once.
pub fn gateway_mac() -> Mac {
    Mac::derived_from("the gateway of routed pods")
}

/// What the host's end hangs on: nothing. Pods on the bridge of this name, if there is one, learn of it.
pub fn way(plan: &Plan) -> Way {
    Way::Routed { beside: plan.bridge }
}

/// The same addresses and routes as they are without a bridge: each address is alone on its link, and what leads through
/// the subnet's gateway leads through the link-local one. Returns the route to that as well.
pub fn alone(given: Outcome) -> (Outcome, Vec<Route>) {
    let mut routes = given.routes.clone();
    for route in &mut routes {
        let subnets = |address: &Address| address.gateway == route.gateway;
        route.gateway = route.gateway.filter(|_| !given.addresses.iter().any(subnets));
    }
    let addresses = given.addresses.iter().map(|address| {
        let family = Family::of_net(&address.net);
        Address { net: IpNet::from(address.net.addr()), gateway: Some(gateway(family)), ..*address }
    });
    let addresses: Vec<Address> = addresses.collect();
    let v4 = addresses.iter().any(|address| Family::of_net(&address.net) == Family::V4);
    // IPv6 knows by itself that link-local addresses are on the link.
    let first = v4.then(|| Route {
        destination: IpNet::from(gateway(Family::V4)),
        gateway: None,
        priority: None,
        table: None,
        scope: None,
        mtu: None,
        advmss: None,
    });
    (Outcome { addresses, routes, ..given }, first.into_iter().collect())
}

/// CHECK: the host's end, and the node's route to each address. Returns the former.
pub fn check(host: &mut Host, plan: &Plan, attachment: &Attachment, previous: &Outcome) -> Result<Found, Error> {
    let (name, found) = super::check::host_end(host, plan, attachment, previous)?;
    for family in Family::ALL {
        let there = host.routed_to(found.index, family).map_err(PodError::from)?;
        let own = previous.own_addresses(attachment).map(|address| address.net.addr());
        if let Some(address) = own.filter(|own| Family::of(*own) == family).find(|own| !there.contains(own)) {
            return missing(format!("the node's route to {address} on {name} is not there"));
        }
    }
    Ok(found)
}
