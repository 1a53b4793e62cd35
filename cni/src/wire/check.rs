//! CHECK: whether the wire that ADD answered is still there; the first thing that is not is named.
//!
//! What a plugin behind us in the chain may change is left alone: more addresses and routes than ours are no error
//! (specification 1.1, section 2, CHECK).

use std::net::IpAddr;

use backends::LinkName;
use backends::state::RouteKey;
use ipam::Family;
use kernel::pod::{Found, Host, Pod, PodEnd, PodError, mtu};

use super::plan::Plan;
use super::{bridged, routed};
use crate::addresses;
use crate::call::Call;
use crate::environment::Attachment;
use crate::error::Error;
use crate::outcome::{Interface, Outcome};
use crate::tuning::backup::Backup;

/// `RT_TABLE_MAIN`: where a route is of which nothing else is said.
const MAIN: u32 = 254;

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
    // How it was made, which is not always how it would be made now.
    let port = if previous.interfaces.iter().any(|told| told.sandbox.is_empty() && told.name == plan.bridge.as_str()) {
        bridged::check(&mut host, &plan, attachment, previous)?
    } else {
        routed::check(&mut host, &plan, attachment, previous)?
    };

    let mut pod = Pod::enter(&netns)?;
    let found = pod.find(attachment.ifname).map_err(PodError::from)?;
    let found = check_pod_link(found, told, (&port, plan.end, Backup::is_tuned(attachment)))?;
    let there = pod.addresses(found.index).map_err(PodError::from)?;
    if let Some(address) = previous.own_addresses(attachment).find(|address| !there.contains(&address.net)) {
        return missing(format!("the address {} is not on {} in the pod", address.net, attachment.ifname));
    }
    for family in Family::ALL {
        let there = pod.routes(family).map_err(PodError::from)?;
        for route in previous.routes.iter().filter(|route| Family::of_net(&route.destination) == family) {
            let via_told = |via: Option<IpAddr>| match route.gateway {
                Some(gateway) => via == Some(gateway),
                // Told without one it was made with the subnet's, or by a plugin that needs none.
                None => via.is_none_or(|via| previous.addresses.iter().any(|address| address.gateway == Some(via))),
            };
            let same = |(table, key, via): &(u32, RouteKey, Option<IpAddr>)| {
                *table == route.table.filter(|table| *table != 0).unwrap_or(MAIN)
                    && key.destination == route.destination.trunc()
                    && route.priority.is_none_or(|priority| priority == 0 || priority == key.metric)
                    && via_told(*via)
            };
            if !there.iter().any(same) {
                let via = route.gateway.map(|gateway| format!(" via {gateway}")).unwrap_or_default();
                return missing(format!("the route to {}{via} is not in the pod", route.destination.trunc()));
            }
        }
    }
    Ok(())
}

/// The host's end of the wire, with its name: what is told before the pod's end.
pub(super) fn host_end(
    host: &mut Host,
    plan: &Plan,
    attachment: &Attachment,
    previous: &Outcome,
) -> Result<(LinkName, Found), Error> {
    let own = previous.own_interface(attachment).map_or(0, |(index, _)| index);
    let mut before = previous.interfaces.iter().take(own).rev();
    let told = before.find(|told| told.sandbox.is_empty() && told.name != plan.bridge.as_str());
    let Some(told) = told else { return missing("`prevResult` has no end of the wire on the host".to_owned()) };
    let name = LinkName::new(&told.name).map_err(|error| Error::Missing { what: error.to_string() })?;
    let Some(found) = host.find(name).map_err(PodError::from)? else {
        return missing(format!("the host's end of the wire, {name}, is not there"));
    };
    // What follows the daemon's MTU may have another by now.
    let told = &Interface { mtu: told.mtu.filter(|_| mtu::given(found.group).is_none()), ..told.clone() };
    compare(&name, &found, told)?;
    Ok((name, found))
}

fn check_pod_link(
    found: Option<Found>,
    told: &Interface,
    (port, end, tuned): (&Found, PodEnd, bool),
) -> Result<Found, Error> {
    let name = &told.name;
    let Some(mut found) = found else { return missing(format!("the interface {name} is not in the pod")) };
    // Whoever is in the pod brings it up, or not.
    found.up |= end == PodEnd::Down;
    let in_pod = format!("{name} in the pod");
    let followed = mtu::given(port.group) == Some(found.mtu);
    compare(&in_pod, &found, &Interface { mtu: told.mtu.filter(|_| !followed), ..told.clone() })?;
    if port.peer != Some(found.index) {
        return missing(format!("{in_pod} is not the other end of the wire on the host"));
    }
    // Before CNI 1.1 a result does not tell the MTU that a `tuning` behind us set.
    if told.mtu.is_none() && !tuned && !followed && found.mtu != port.mtu {
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

pub(super) fn missing<T>(what: String) -> Result<T, Error> {
    Err(Error::Missing { what })
}
