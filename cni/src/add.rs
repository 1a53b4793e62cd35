//! ADD: an address from the ledger, a wire from the kernel, and if anything fails nothing of either.
//!
//! Killed at any instant, it leaves at most an address and a pair, both of which DEL finds by container and interface.

use std::net::IpAddr;

use ipam::Family;
use ipam::ledger::Reservation;
use ipnet::IpNet;
use kernel::pod::{self, Attached, Bridge, Inside, Route, Wire};
use serde_json::Value;

use crate::document::Document;
use crate::environment::Attachment;
use crate::error::Error;
use crate::network::{Network, Plan, Resolved, Router};
use crate::outcome::{Interface, Outcome, previous};
use crate::version::Version;
use crate::wire;

/// Connects a pod and answers what was made.
///
/// # Errors
/// The first thing that failed. What was made until then is taken back.
pub fn add(attachment: &Attachment, document: &Document, version: Version) -> Result<Value, Error> {
    let network = Network::of(document)?;
    let plan = Plan::of(document)?;
    let previous = previous(document)?;
    let netns = attachment.open_netns()?;
    let resolved = plan.resolve()?;
    let dns = plan.dns()?;

    let reserved = network.ledger.reserve(&attachment.owner, &resolved.sets)?;
    let (bridge, wire) = (bridge(&plan, &resolved, &reserved), wire(attachment, &plan, &resolved, &reserved));
    let addresses = reserved.iter().map(|reservation| reservation.address).collect();
    let inside = Inside { addresses, routes: routes(&plan, &resolved, &reserved) };
    match pod::attach(&netns, &bridge, &wire, &inside) {
        Ok(attached) => {
            let interfaces = interfaces(attachment, &bridge, &wire, attached);
            let addresses = reserved.iter().map(|reservation| (reservation.address, reservation.gateway)).collect();
            Ok(Outcome { interfaces, addresses, routes: inside.routes, dns }.to_json(version, previous))
        }
        Err(error) => {
            // The first error is the one to report; an address that cannot be given back now, DEL will.
            network.ledger.withdraw(&reserved).ok();
            Err(error.into())
        }
    }
}

fn bridge(plan: &Plan, resolved: &Resolved, reserved: &[Reservation]) -> Bridge {
    let gateway = |reservation: &Reservation| {
        // Cannot fail: the length is that of an address of the same family.
        IpNet::new(reservation.gateway, reservation.address.prefix_len()).unwrap_or(reservation.address)
    };
    let gateways: Vec<IpNet> = reserved.iter().map(gateway).collect();
    Bridge {
        name: plan.bridge,
        mac: wire::bridge_mac(plan.bridge, gateways.first().copied().unwrap_or_default()),
        mtu: resolved.mtu,
        gateways: if plan.router == Router::No { Vec::new() } else { gateways },
    }
}

fn wire(attachment: &Attachment, plan: &Plan, resolved: &Resolved, reserved: &[Reservation]) -> Wire {
    let owner = &attachment.owner;
    Wire {
        host: wire::host_end(owner),
        host_mac: wire::host_mac(owner),
        alias: wire::alias(owner),
        pod: attachment.ifname,
        pod_mac: wire::pod_mac(reserved.first().map(|reservation| reservation.address).unwrap_or_default()),
        mtu: resolved.mtu,
        hairpin: plan.hairpin,
    }
}

/// The routes that are written, those without a gateway through their family's; then, as the pod's only way out or to
/// the cluster, default routes or the cluster's networks.
fn routes(plan: &Plan, resolved: &Resolved, reserved: &[Reservation]) -> Vec<Route> {
    let gateway = |family: Family| -> Option<IpAddr> {
        reserved.iter().map(|reservation| reservation.gateway).find(|gateway| Family::of(*gateway) == family)
    };
    let mut routes = plan.routes.clone();
    for route in &mut routes {
        route.gateway = route.gateway.or_else(|| gateway(Family::of_net(&route.destination)));
    }
    let wanted = match plan.router {
        Router::DefaultGateway => {
            Family::ALL.into_iter().filter_map(|family| gateway(family).map(everything)).collect()
        }
        Router::Gateway | Router::No => resolved.networks.clone(),
    };
    for destination in wanted {
        let there = |route: &Route| route.destination == destination && route.table.is_none();
        let Some(gateway) = gateway(Family::of_net(&destination)).filter(|_| !routes.iter().any(there)) else {
            continue;
        };
        routes.push(Route {
            destination,
            gateway: Some(gateway),
            priority: None,
            table: None,
            scope: None,
            mtu: None,
            advmss: None,
        });
    }
    routes
}

/// `0.0.0.0/0` or `::/0`, after an address of the family.
fn everything(address: IpAddr) -> IpNet {
    // Cannot fail: 0 is a length in either family.
    IpNet::new(address, 0).map_or(IpNet::default(), |net| net.trunc())
}

fn interfaces(attachment: &Attachment, bridge: &Bridge, wire: &Wire, attached: Attached) -> Vec<Interface> {
    let sandbox = attachment.netns.as_ref().map(|path| path.to_string_lossy().into_owned());
    vec![
        Interface { name: bridge.name, mac: attached.bridge_mac, mtu: attached.bridge_mtu, sandbox: None },
        Interface { name: wire.host, mac: wire.host_mac, mtu: attached.mtu, sandbox: None },
        Interface { name: wire.pod, mac: wire.pod_mac, mtu: attached.mtu, sandbox },
    ]
}
