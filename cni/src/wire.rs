//! [`Wire`]: the pod's wire with its addresses: an address from IPAM, a pair from the kernel, and if anything fails nothing of
//! either. What `bridge` is, and the first part of `towpath`.
//!
//! Killed at any instant, it leaves at most an address and a pair, both of which DEL finds by container and interface.
//!
//! Owner of this file and of those below `wire/` while the parts are filled in: the wire. What is asked of IPAM is behind
//! `addresses.rs`; netlink is `kernel::pod`'s.

mod bridged;
mod check;
mod names;
pub mod plan;
mod removal;
mod routed;

use std::net::IpAddr;

use backends::LinkName;
use ipam::{Family, Mac};
use ipnet::IpNet;
use kernel::pod::{self, Attached, Inside, Route, Way};

use crate::addresses;
use crate::call::{Attachments, Call};
use crate::environment::Attachment;
use crate::error::Error;
use crate::outcome::{Address, Interface, Outcome};
use crate::part::{Part, Undo};
use crate::request::Request;
use plan::{Mode, Plan, Resolved, Router};

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
        let mac = Request::of(call, attachment)?.mac;
        let giver = addresses::giver(call)?;
        plan.check_addresses(resolved.mode, giver.as_ref())?;
        let mut given = Outcome::default();
        let withdraw = match &giver {
            Some(giver) => {
                giver.validate(call)?;
                Some(giver.add(call, attachment, &mut given)?)
            }
            None => None,
        };
        let made = plan.check_mtu(resolved.mtu, &given.addresses);
        let Wanted { way, wire, inside, given } = wanted(call, attachment, (&plan, resolved, mac), given)?;
        match made.and_then(|()| Ok(pod::attach(&netns, &way, &wire, &inside)?)) {
            Ok(attached) => {
                if let Some(Err(error)) = giver.as_ref().map(|giver| giver.stands(call, attachment, &given)) {
                    call.go_home()?;
                    // What cannot be taken back now, the next DEL will.
                    removal::unplug(call, attachment).ok();
                    withdraw.into_iter().for_each(|withdraw| withdraw());
                    return Err(error);
                }
                tell(outcome, interfaces(attachment, &plan, &wire, attached), &given.addresses);
                outcome.routes.extend(told(inside.routes, &given.routes));
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
        // The wire first, so that no other pod can get an address that still answers.
        removal::collect(call, valid)?;
        addresses::giver(call)?.map_or(Ok(()), |giver| giver.collect(call, valid))
    }

    fn status(&self, call: &Call<'_>) -> Result<(), Error> {
        self.validate(call)?;
        let plan = Plan::of(call)?;
        if plan.resolve(call)?.mode == Mode::Bridge {
            bridged::status(&plan)?;
        }
        addresses::giver(call)?.map_or(Ok(()), |giver| giver.status(call))
    }
}

/// What is asked of the kernel, and the addresses as the pod has them.
struct Wanted {
    way: Way,
    wire: pod::Wire,
    inside: Inside,
    given: Outcome,
}

fn wanted(
    call: &Call<'_>,
    attachment: &Attachment,
    (plan, resolved, mac): (&Plan, Resolved, Option<Mac>),
    given: Outcome,
) -> Result<Wanted, Error> {
    let (given, mut first) = match resolved.mode {
        Mode::Bridge => (given, Vec::new()),
        Mode::Routed => routed::alone(given),
    };
    let way = match resolved.mode {
        Mode::Bridge => bridged::way(plan, &resolved, &given.addresses),
        Mode::Routed => routed::way(plan),
    };
    let owner = &attachment.owner;
    let derived = given.addresses.first().map_or_else(|| names::lone_mac(owner), |first| names::pod_mac(first.net));
    let wire = pod::Wire {
        host: names::host_end(owner),
        host_mac: if resolved.mode == Mode::Bridge { names::host_mac(owner) } else { routed::gateway_mac() },
        alias: names::alias(&call.document.network()?, owner).to_string(),
        pod: attachment.ifname,
        pod_mac: mac.unwrap_or(derived),
        mtu: resolved.mtu,
        group: resolved.group,
    };
    let addresses = given.addresses.iter().map(|address| address.net).collect();
    first.extend(routes(plan, &given, resolved.networks));
    let inside = Inside { addresses, routes: first, dad: plan.dad, end: plan.end };
    Ok(Wanted { way, wire, inside, given })
}

/// Adds interfaces and addresses behind those of earlier plugins; the addresses are on the pod's.
fn tell(outcome: &mut Outcome, interfaces: Vec<Interface>, addresses: &[Address]) {
    let before = outcome.interfaces.len();
    outcome.interfaces.extend(interfaces);
    let inside = outcome.interfaces[before..].iter().position(|interface| !interface.sandbox.is_empty());
    let interface = inside.map(|at| before + at);
    outcome.addresses.extend(addresses.iter().map(|address| Address { interface, ..*address }));
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

/// The routes as a result tells of them: one that was given without a gateway is told without one, as the reference plugin
/// does.
fn told(made: Vec<Route>, given: &[Route]) -> Vec<Route> {
    let bare = |made: &Route| given.contains(&Route { gateway: None, ..*made });
    made.into_iter().map(|made| if bare(&made) { Route { gateway: None, ..made } } else { made }).collect()
}

/// `0.0.0.0/0` or `::/0`, after an address of the family.
fn everything(address: IpAddr) -> IpNet {
    // Cannot fail: 0 is a length in either family.
    IpNet::new(address, 0).map_or(IpNet::default(), |net| net.trunc())
}

/// What the reference plugin lists, in its order: bridge, host's end, pod's end, and the bridge's end in a VLAN.
fn interfaces(attachment: &Attachment, plan: &Plan, wire: &pod::Wire, attached: Attached) -> Vec<Interface> {
    let sandbox = attachment.netns.as_ref().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
    let interface = |name: LinkName, mac: Mac, mtu: u32, sandbox: String| Interface {
        name: name.to_string(),
        mac: mac.to_string(),
        mtu: Some(mtu),
        sandbox,
        ..Interface::default()
    };
    let bridge = attached.bridge.map(|(mac, mtu)| interface(plan.bridge, mac, mtu, String::new()));
    let vlan = attached.vlan.map(|(name, mac)| interface(name, mac, attached.mtu, String::new()));
    let ends = [
        interface(wire.host, wire.host_mac, attached.mtu, String::new()),
        interface(wire.pod, wire.pod_mac, attached.mtu, sandbox),
    ];
    bridge.into_iter().chain(ends).chain(vlan).collect()
}
