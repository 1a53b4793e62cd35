//! [`Asked`]: what the configuration says of host ports: `portMappings` and the reference `portmap` plugin's keys.

use std::net::IpAddr;

use ipam::Family;
use ipnet::IpNet;
use kernel::nft::nat::{Mapping, Protocol, Sources, Wanted};

use crate::call::Call;
use crate::document::{Mistakes, Object};
use crate::environment::Attachment;
use crate::error::Error;
use crate::outcome::Outcome;

/// What is asked for.
#[derive(Debug)]
pub(super) struct Asked {
    entries: Vec<Entry>,
    sources: Sources,
}

/// One entry of `portMappings`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    protocol: Protocol,
    host: Option<IpAddr>,
    host_port: u16,
    pod_port: u16,
}

impl Asked {
    /// Reads it.
    ///
    /// # Errors
    /// Everything that is wrong with it; and conditions in the words of iptables, which we cannot follow.
    pub(super) fn of(call: &Call<'_>) -> Result<Asked, Error> {
        let (root, mut mistakes) = (call.document.root(), Mistakes::default());
        let entries = match root.object("runtimeConfig", &mut mistakes) {
            Some(runtime) => entries(&runtime, &mut mistakes),
            None => Vec::new(),
        };
        let snat = root.flag("snat", &mut mistakes).unwrap_or(true);
        let all = root.flag("masqAll", &mut mistakes) == Some(true);
        let bit = root.number("markMasqBit", &mut mistakes);
        if let Some(bit) = bit.filter(|bit| *bit > 31) {
            mistakes.push(format!("`markMasqBit` is {bit}: expected 0 to 31"));
        }
        if root.text("externalSetMarkChain", &mut mistakes).is_some() && bit.is_some() {
            mistakes.push("`markMasqBit` and `externalSetMarkChain` exclude each other: leave one out".to_owned());
        }
        if let Some(backend) = root.text("backend", &mut mistakes)
            && !["", "iptables", "nftables"].contains(&backend)
        {
            mistakes.push(format!("`backend` is {backend:?}: expected \"nftables\" or \"iptables\""));
        }
        let asked = mistakes.none_or(Asked {
            entries,
            sources: match (snat, all) {
                (false, _) => Sources::None,
                (true, true) => Sources::All,
                (true, false) => Sources::Near,
            },
        })?;
        // Overlooking a condition would open a port that was meant to be closed to some.
        match root.first_set(&["conditionsV4", "conditionsV6"]) {
            Some((key, value)) if !asked.entries.is_empty() => Err(Error::UnsupportedField {
                key,
                value,
                instead: "these are words for iptables; leave them out and say `hostIP` with each mapping",
            }),
            _ => Ok(asked),
        }
    }

    /// The same for a pod with these addresses: its first of each family. An entry on an address of a family that the pod
    /// does not have is passed over, as runtimes give one for each family.
    pub(super) fn wanted(&self, attachment: &Attachment, outcome: &Outcome) -> Wanted {
        let own = |family| {
            let mut own = outcome.own_addresses(attachment).map(|address| address.net);
            own.find(|net: &IpNet| Family::of_net(net) == family)
        };
        let mut wanted = Wanted { sources: self.sources, ..Wanted::default() };
        for net in Family::ALL.into_iter().filter_map(own) {
            let before = wanted.mappings.len();
            for entry in &self.entries {
                let Entry { protocol, host, host_port, pod_port } = *entry;
                if host.is_some_and(|host| Family::of(host) != Family::of_net(&net)) {
                    continue;
                }
                let host = host.filter(|host| !host.is_unspecified());
                let mapping = Mapping { protocol, host, host_port, pod: net.addr(), pod_port };
                if !wanted.mappings.contains(&mapping) {
                    wanted.mappings.push(mapping);
                }
            }
            if wanted.mappings.len() > before {
                wanted.near.push(net);
            }
        }
        wanted
    }
}

fn entries(runtime: &Object<'_>, mistakes: &mut Mistakes) -> Vec<Entry> {
    let objects = runtime.objects("portMappings", mistakes);
    objects.iter().filter_map(|object| entry(object, mistakes)).collect()
}

fn entry(object: &Object<'_>, mistakes: &mut Mistakes) -> Option<Entry> {
    let protocol = object.parsed("protocol", mistakes, "tcp, udp or sctp").unwrap_or(Protocol::Tcp);
    let host = host(object, mistakes);
    let host_port = port(object, "hostPort", mistakes);
    let pod_port = port(object, "containerPort", mistakes);
    // A port of the pod that is on no port of the host: runtimes list those as well.
    let host_port = host_port?;
    if pod_port.is_none() {
        mistakes.push(format!("`{}` is missing: expected 1 to 65535", object.path("containerPort")));
    }
    Some(Entry { protocol, host, host_port, pod_port: pod_port? })
}

/// `hostIP`, with or without the brackets that people put around IPv6.
fn host(object: &Object<'_>, mistakes: &mut Mistakes) -> Option<IpAddr> {
    let text = object.text("hostIP", mistakes).filter(|text| !text.is_empty())?;
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let host = bare.parse::<IpAddr>().map(|address| address.to_canonical()).ok();
    if host.is_none() {
        mistakes.push(format!("`{}` is {text:?}: expected an IP address of the node", object.path("hostIP")));
    }
    host
}

/// A port, when there is one: 0 is none.
fn port(object: &Object<'_>, key: &str, mistakes: &mut Mistakes) -> Option<u16> {
    let number = object.number(key, mistakes).filter(|number| *number != 0)?;
    let port = u16::try_from(number).ok();
    if port.is_none() {
        mistakes.push(format!("`{}` is {number}: expected 1 to 65535", object.path(key)));
    }
    port
}
