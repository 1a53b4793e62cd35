//! CHECK: whether the wire that ADD answered is still there; the first thing that is not is named.
//!
//! What a plugin behind us in the chain may change is left alone: more addresses and routes than ours are no error
//! (specification 1.1, section 2, CHECK).

use backends::LinkName;
use ipam::Family;
use kernel::pod::{Found, Host, Pod, PodError};

use super::plan::Plan;
use crate::addresses;
use crate::call::Call;
use crate::environment::Attachment;
use crate::error::Error;
use crate::outcome::{Interface, Outcome};

/// Compares with `prevResult`, host's side first.
///
/// # Errors
/// The first thing that is missing or wrong.
pub fn check(call: &Call<'_>, attachment: &Attachment, previous: &Outcome) -> Result<(), Error> {
    call.document.network()?;
    let plan = Plan::of(call)?;
    let netns = attachment.open_netns(call.home)?;
    let Some((_, told)) = previous.own_interface(attachment) else {
        return missing(format!("`prevResult` has no interface {} in the pod", attachment.ifname));
    };
    if let Some(giver) = addresses::giver(call)? {
        giver.check(call, attachment, previous)?;
    }
    let mut host = Host::open().map_err(PodError::from)?;
    let port = check_host(&mut host, &plan, previous)?;

    let mut pod = Pod::enter(&netns)?;
    let found = pod.find(attachment.ifname).map_err(PodError::from)?;
    let found = check_pod_link(found, told, &port)?;
    let there = pod.addresses(found.index).map_err(PodError::from)?;
    if let Some(address) = previous.own_addresses(attachment).find(|address| !there.contains(&address.net)) {
        return missing(format!("the address {} is not on {} in the pod", address.net, attachment.ifname));
    }
    for family in Family::ALL {
        let there = pod.routes(family).map_err(PodError::from)?;
        // RT_TABLE_MAIN; 0 is the same by default.
        let main = previous.routes.iter().filter(|route| [0, 254].contains(&route.table.unwrap_or(0)));
        for route in main.filter(|route| Family::of_net(&route.destination) == family) {
            let same = |via| route.gateway.is_none() || via == route.gateway;
            if !there.iter().any(|(key, via)| key.destination == route.destination.trunc() && same(*via)) {
                let via = route.gateway.map(|gateway| format!(" via {gateway}")).unwrap_or_default();
                return missing(format!("the route to {}{via} is not in the pod", route.destination.trunc()));
            }
        }
    }
    Ok(())
}

/// The bridge, and the host's end as its port. Returns the latter.
fn check_host(host: &mut Host, plan: &Plan, previous: &Outcome) -> Result<Found, Error> {
    let Some(bridge) = host.find(plan.bridge).map_err(PodError::from)? else {
        return missing(format!("the bridge {} is not there", plan.bridge));
    };
    if bridge.kind != "bridge" {
        return missing(format!("{} is no longer a bridge", plan.bridge));
    }
    if !bridge.up {
        return missing(format!("the bridge {} is down", plan.bridge));
    }
    let told = previous.interfaces.iter().find(|told| told.sandbox.is_empty() && told.name != plan.bridge.as_str());
    let Some(told) = told else { return missing("`prevResult` has no end of the wire on the host".to_owned()) };
    let name = LinkName::new(&told.name).map_err(|error| Error::Missing { what: error.to_string() })?;
    let Some(found) = host.find(name).map_err(PodError::from)? else {
        return missing(format!("the host's end of the wire, {name}, is not there"));
    };
    compare(&name, &found, told)?;
    match found.port {
        Some(port) if port.bridge == bridge.index => Ok(found),
        _ => missing(format!("{name} is not a port of the bridge {}", plan.bridge)),
    }
}

fn check_pod_link(found: Option<Found>, told: &Interface, port: &Found) -> Result<Found, Error> {
    let name = &told.name;
    let Some(found) = found else { return missing(format!("the interface {name} is not in the pod")) };
    let in_pod = format!("{name} in the pod");
    compare(&in_pod, &found, told)?;
    if port.peer != Some(found.index) {
        return missing(format!("{in_pod} is not the other end of the wire on the bridge"));
    }
    if told.mtu.is_none() && found.mtu != port.mtu {
        return missing(format!("the MTU of {in_pod} is {}, and {} at the other end of the wire", found.mtu, port.mtu));
    }
    Ok(found)
}

fn compare(name: &dyn std::fmt::Display, found: &Found, told: &Interface) -> Result<(), Error> {
    if !found.up {
        return missing(format!("{name} is down"));
    }
    if let Some(mac) = told.mac().filter(|mac| found.mac != Some(*mac)) {
        let now = found.mac.map(|mac| mac.to_string()).unwrap_or_default();
        return missing(format!("the MAC address of {name} is {now}, and was {mac}"));
    }
    match told.mtu {
        Some(mtu) if found.mtu != mtu => missing(format!("the MTU of {name} is {}, and was {mtu}", found.mtu)),
        _ => Ok(()),
    }
}

fn missing<T>(what: String) -> Result<T, Error> {
    Err(Error::Missing { what })
}
