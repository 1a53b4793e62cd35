//! [`Wire`]: the pod's wire with its addresses: an address from IPAM, a pair from the kernel, and if anything fails nothing of
//! either. What `bridge` is, and the first part of `towpath`.
//!
//! Killed at any instant, it leaves at most an address and a pair, both of which DEL finds by container and interface.
//!
//! Owner of this file and of those below `wire/` while the parts are filled in: the wire. What is asked of IPAM is behind
//! `addresses.rs`; netlink is `kernel::pod`'s.

mod check;
mod names;
mod plan;
mod removal;

use std::net::IpAddr;

use ipam::Family;
use ipnet::IpNet;
use kernel::pod::{self, Attached, Bridge, Inside, Route};

use crate::addresses;
use crate::call::{Attachments, Call};
use crate::environment::Attachment;
use crate::error::Error;
use crate::outcome::{Address, Interface, Outcome};
use crate::part::{Part, Undo};
use plan::{Plan, Router};

/// The pod's wire.
pub struct Wire;

impl Part for Wire {
    fn validate(&self, call: &Call<'_>) -> Result<(), Error> {
        call.document.network()?;
        Plan::of(call)?;
        addresses::giver(call)?.map_or(Ok(()), |giver| giver.validate(call))
    }

    fn add<'a>(
        &'a self,
        call: &'a Call<'a>,
        attachment: &'a Attachment,
        outcome: &mut Outcome,
    ) -> Result<Undo<'a>, Error> {
        let plan = Plan::of(call)?;
        let netns = attachment.open_netns(call.home)?;
        let resolved = plan.resolve(call)?;
        let giver = addresses::giver(call)?;
        let mut given = Outcome::default();
        let withdraw = match &giver {
            Some(giver) => {
                giver.validate(call)?;
                Some(giver.add(call, attachment, &mut given)?)
            }
            None => None,
        };
        let bridge = bridge(&plan, resolved.mtu, &given.addresses);
        let wire = wire(attachment, &plan, resolved.mtu, &given.addresses);
        let addresses = given.addresses.iter().map(|address| address.net).collect();
        let inside = Inside { addresses, routes: routes(&plan, &given, resolved.networks) };
        let made = plan.check_mtu(resolved.mtu, &given.addresses);
        match made.and_then(|()| Ok(pod::attach(&netns, &bridge, &wire, &inside)?)) {
            Ok(attached) => {
                tell(outcome, interfaces(attachment, &bridge, &wire, attached), &given.addresses);
                outcome.routes.extend(inside.routes);
                outcome.dns = std::mem::take(&mut outcome.dns).or(plan.dns).or(given.dns);
                Ok(Box::new(move || {
                    // What cannot be taken back now, DEL will.
                    removal::delete(call, attachment).ok();
                }))
            }
            Err(error) => {
                call.go_home()?;
                if let Some(withdraw) = withdraw {
                    withdraw();
                }
                Err(error)
            }
        }
    }

    fn delete(&self, call: &Call<'_>, attachment: &Attachment) -> Result<(), Error> {
        removal::delete(call, attachment)
    }

    fn check(&self, call: &Call<'_>, attachment: &Attachment, previous: &Outcome) -> Result<(), Error> {
        check::check(call, attachment, previous)
    }

    fn collect(&self, call: &Call<'_>, valid: &Attachments) -> Result<(), Error> {
        addresses::giver(call)?.map_or(Ok(()), |giver| giver.collect(call, valid))
    }

    fn status(&self, call: &Call<'_>) -> Result<(), Error> {
        self.validate(call)?;
        addresses::giver(call)?.map_or(Ok(()), |giver| giver.status(call))
    }
}

/// Adds interfaces and addresses behind those of earlier plugins; the addresses are on the last one.
fn tell(outcome: &mut Outcome, interfaces: Vec<Interface>, addresses: &[Address]) {
    outcome.interfaces.extend(interfaces);
    let last = outcome.interfaces.len().checked_sub(1);
    outcome.addresses.extend(addresses.iter().map(|address| Address { interface: last, ..*address }));
}

fn bridge(plan: &Plan, mtu: Option<u32>, given: &[Address]) -> Bridge {
    let gateway = |address: &Address| IpNet::new(address.gateway?, address.net.prefix_len()).ok();
    let gateways: Vec<IpNet> = given.iter().filter_map(gateway).collect();
    Bridge {
        name: plan.bridge,
        mac: names::bridge_mac(plan.bridge, gateways.first().copied().unwrap_or_default()),
        mtu,
        gateways: if plan.router == Router::No { Vec::new() } else { gateways },
    }
}

fn wire(attachment: &Attachment, plan: &Plan, mtu: Option<u32>, given: &[Address]) -> pod::Wire {
    let owner = &attachment.owner;
    pod::Wire {
        host: names::host_end(owner),
        host_mac: names::host_mac(owner),
        alias: names::alias(owner),
        pod: attachment.ifname,
        pod_mac: names::pod_mac(given.first().map(|address| address.net).unwrap_or_default()),
        mtu,
        hairpin: plan.hairpin,
    }
}

/// The routes that are written, those without a gateway through their family's; then, as the pod's only way out or to
/// the cluster, default routes or the cluster's networks.
fn routes(plan: &Plan, given: &Outcome, networks: Vec<IpNet>) -> Vec<Route> {
    let gateway = |family: Family| -> Option<IpAddr> {
        given.addresses.iter().filter_map(|address| address.gateway).find(|gateway| Family::of(*gateway) == family)
    };
    let mut routes = given.routes.clone();
    for route in &mut routes {
        route.gateway = route.gateway.or_else(|| gateway(Family::of_net(&route.destination)));
    }
    let wanted = match plan.router {
        Router::DefaultGateway => {
            Family::ALL.into_iter().filter_map(|family| gateway(family).map(everything)).collect()
        }
        Router::Gateway | Router::No => networks,
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

fn interfaces(attachment: &Attachment, bridge: &Bridge, wire: &pod::Wire, attached: Attached) -> Vec<Interface> {
    let sandbox = attachment.netns.as_ref().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
    let interface = |name: &str, mac: ipam::Mac, mtu: u32, sandbox: String| Interface {
        name: name.to_owned(),
        mac: mac.to_string(),
        mtu: Some(mtu),
        sandbox,
        ..Interface::default()
    };
    vec![
        interface(bridge.name.as_str(), attached.bridge_mac, attached.bridge_mtu, String::new()),
        interface(wire.host.as_str(), wire.host_mac, attached.mtu, String::new()),
        interface(wire.pod.as_str(), wire.pod_mac, attached.mtu, sandbox),
    ]
}
