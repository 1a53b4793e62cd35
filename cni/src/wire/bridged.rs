//! A pod on a bridge: what is wanted of the bridge and the port, and whether it is there.

use backends::LinkName;
use ipnet::IpNet;
use kernel::pod::{Bridge, Found, Guard, Host, PodError, Promiscuity, Source, Way};

use super::check::missing;
use super::names;
use super::plan::{Plan, Resolved, Router};
use crate::environment::Attachment;
use crate::error::Error;
use crate::outcome::{Address, Interface, Outcome};

/// The bridge and the port, as wanted.
pub fn way(plan: &Plan, resolved: &Resolved, given: &[Address]) -> Way {
    let gateway = |address: &Address| IpNet::new(address.gateway?, address.net.prefix_len()).ok();
    let gateways: Vec<IpNet> = given.iter().filter_map(gateway).collect();
    let bridge = Bridge {
        name: plan.bridge,
        mac: names::bridge_mac(plan.bridge, gateways.first().copied().unwrap_or_default()),
        mtu: resolved.mtu,
        group: resolved.group,
        gateways: if plan.router == Router::No { Vec::new() } else { gateways },
        others: plan.others,
        kin: resolved.networks.clone(),
        promiscuity: plan.promiscuity,
    };
    Way::Bridged(bridge, plan.terms.clone())
}

/// CHECK: the bridge, and the host's end as its port. Returns the latter.
pub fn check(host: &mut Host, plan: &Plan, attachment: &Attachment, previous: &Outcome) -> Result<Found, Error> {
    let Some(bridge) = host.find(plan.bridge).map_err(PodError::from)? else {
        return missing(format!("the bridge {} is not there", plan.bridge));
    };
    if bridge.kind != "bridge" {
        return missing(format!("{} is no longer a bridge", plan.bridge));
    }
    if !bridge.up {
        return missing(format!("the bridge {} is down", plan.bridge));
    }
    if plan.promiscuity == Promiscuity::On && !bridge.promiscuous {
        return missing(format!("the bridge {} does not take in every frame (promiscMode)", plan.bridge));
    }
    check_address(plan, &bridge, previous)?;
    check_gateways(host, plan, &bridge, previous)?;
    let (name, found) = super::check::host_end(host, plan, attachment, previous)?;
    let Some(port) = found.port.filter(|port| port.bridge == bridge.index) else {
        return missing(format!("{name} is not a port of the bridge {}", plan.bridge));
    };
    if port.hairpin != plan.terms.hairpin {
        return missing(format!(
            "{name} has hairpin mode {:?}, and was to have it {:?}",
            port.hairpin, plan.terms.hairpin
        ));
    }
    if port.isolation != plan.terms.isolation {
        let (now, wanted) = (port.isolation, plan.terms.isolation);
        return missing(format!("{name} has port isolation {now:?}, and was to have it {wanted:?}"));
    }
    check_source(plan, name)?;
    Ok(found)
}

/// STATUS: whether a port can be added to the bridge, or the bridge be made.
pub fn status(plan: &Plan) -> Result<(), Error> {
    let (name, mut host) = (plan.bridge, Host::open().map_err(PodError::from)?);
    let Some(bridge) = host.find(name).map_err(PodError::from)? else { return Ok(()) };
    if bridge.kind != "bridge" {
        let kind = if bridge.kind.is_empty() { "network card".to_owned() } else { bridge.kind };
        return Err(PodError::NotABridge { name, kind }.into());
    }
    let links = host.aliased("").map_err(PodError::from)?;
    let ports = links.iter().filter(|link| link.port.is_some_and(|port| port.bridge == bridge.index));
    if ports.count() >= MOST_PORTS { Err(PodError::BridgeFull { name }.into()) } else { Ok(()) }
}

/// `BR_MAX_PORTS` in the kernel's net/bridge/br_private.h, less one: port 0 is none.
const MOST_PORTS: usize = (1 << 10) - 1;

/// The gateway's address on the link, which pods remember: it never changes by itself. Where pods have another gateway, the
/// bridge's matters to nobody, and may be that of any port.
fn check_address(plan: &Plan, bridge: &Found, previous: &Outcome) -> Result<(), Error> {
    let of_bridge = |told: &&Interface| told.sandbox.is_empty() && told.name == plan.bridge.as_str();
    match previous.interfaces.iter().find(of_bridge).and_then(Interface::mac) {
        Some(told) if plan.router != Router::No && bridge.mac != Some(told) => {
            missing(format!("the bridge {} has another MAC address than {told}, which pods know", plan.bridge))
        }
        _ => Ok(()),
    }
}

/// The addresses that make the bridge the pod's gateway.
fn check_gateways(host: &mut Host, plan: &Plan, bridge: &Found, previous: &Outcome) -> Result<(), Error> {
    // In a VLAN they are on the bridge's own end there.
    if plan.router == Router::No || plan.terms.vlans.access.is_some() {
        return Ok(());
    }
    let there = host.addresses(bridge.index).map_err(PodError::from)?;
    let gateways = previous.addresses.iter().filter_map(|address| address.gateway);
    for gateway in gateways {
        if !there.iter().any(|net| net.addr() == gateway) {
            return missing(format!("the gateway's address {gateway} is not on the bridge {}", plan.bridge));
        }
    }
    Ok(())
}

fn check_source(plan: &Plan, port: LinkName) -> Result<(), Error> {
    if plan.terms.source == Source::Any {
        return Ok(());
    }
    let guarded = Guard::open().and_then(|mut guard| guard.ports()).map_err(PodError::from)?;
    if guarded.contains(&port) {
        return Ok(());
    }
    missing(format!("the rule that lets {port} send with its own MAC address only (macspoofchk) is not there"))
}
