//! [`Wanted`]: which settings are asked for: by the configuration, then `CNI_ARGS MAC`, then `runtimeConfig`, then
//! `args.cni`, the later over the earlier, as in the reference plugin.

use std::collections::BTreeMap;

use ipam::Mac;
use kernel::pod::Tuning;

use crate::call::Call;
use crate::document::{Mistakes, Object};
use crate::environment::{Arguments, Attachment};
use crate::error::Error;
use crate::outcome::Outcome;
use crate::plugin::Plugin;

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Settings below /proc/sys, by their path as it is written.
    sysctl: BTreeMap<String, String>,
    /// Their names as they are written.
    names: Vec<String>,
    /// The interface.
    pub link: Tuning,
}

impl Wanted {
    /// Reads the configuration, and what the runtime says of one pod.
    ///
    /// # Errors
    /// Every mistake in its keys; `CNI_ARGS MAC` that is none.
    pub fn of(call: &Call<'_>, arguments: &Arguments) -> Result<Wanted, Error> {
        let (root, mut mistakes, mut wanted) = (call.document.root(), Mistakes::default(), Wanted::default());
        wanted.read(&root, &mut mistakes);
        if let Some(text) = arguments.get("MAC").filter(|_| call.plugin == Plugin::Tuning) {
            wanted.link.mac = Some(text.parse().map_err(|_| Error::Environment {
                mistakes: vec![format!("CNI_ARGS MAC is `{text}`: expected a MAC address as in 02:00:00:00:00:01")],
            })?);
        }
        if let Some(runtime) = root.object("runtimeConfig", &mut mistakes) {
            wanted.link.mac = mac(&runtime, &mut mistakes).or(wanted.link.mac);
        }
        if let Some(arguments) = root.object("args", &mut mistakes).and_then(|args| args.object("cni", &mut mistakes)) {
            wanted.read(&arguments, &mut mistakes);
        }
        if call.plugin != Plugin::Tuning {
            wanted.link = Tuning { mac: None, mtu: None, ..wanted.link };
        }
        mistakes.none_or(wanted)
    }

    /// Whether nothing is asked for.
    pub fn is_nothing(&self) -> bool {
        *self == Wanted::default()
    }

    /// The settings' names, as they are written.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// Paths below /proc/sys with their values; `IFNAME` in a path stands for the pod's interface.
    pub fn settings(&self, attachment: &Attachment) -> impl Iterator<Item = (String, &str)> {
        let ifname = attachment.owner.ifname.clone();
        let named = move |part: &str| if part == "IFNAME" { ifname.clone() } else { part.to_owned() };
        self.sysctl.iter().map(move |(path, value)| {
            let parts: Vec<String> = path.split('/').map(&named).collect();
            (parts.join("/"), value.as_str())
        })
    }

    /// Tells of the interface's new address and MTU in the result.
    pub fn tell(&self, attachment: &Attachment, outcome: &mut Outcome) {
        let own = outcome.own_interface(attachment).map(|(index, _)| index);
        let Some(interface) = own.and_then(|index| outcome.interfaces.get_mut(index)) else { return };
        if let Some(mac) = self.link.mac {
            interface.mac = mac.to_string();
        }
        interface.mtu = self.link.mtu.or(interface.mtu);
    }

    /// The first thing that is not as it is asked for.
    pub fn difference(&self, found: &Tuning) -> Option<&'static str> {
        let (wanted, found) = (&self.link, found);
        [
            ("the MAC address", wanted.mac.is_none() || wanted.mac == found.mac),
            ("the MTU", wanted.mtu.is_none() || wanted.mtu == found.mtu),
            ("the transmit queue", wanted.queue.is_none() || wanted.queue == found.queue),
            ("promiscuous mode", wanted.promiscuous.is_none() || wanted.promiscuous == found.promiscuous),
            ("all-multicast mode", wanted.all_multicast.is_none() || wanted.all_multicast == found.all_multicast),
        ]
        .into_iter()
        .find_map(|(what, same)| (!same).then_some(what))
    }

    fn read(&mut self, object: &Object<'_>, mistakes: &mut Mistakes) {
        if let Some(settings) = object.object("sysctl", mistakes) {
            for key in settings.map().keys() {
                match (path(key), settings.text(key, mistakes)) {
                    (Some(path), Some(value)) => {
                        self.names.push(key.clone());
                        self.sysctl.insert(path, value.to_owned());
                    }
                    (None, _) => mistakes.push(format!(
                        "`{}`: expected a setting of a network namespace, as in net.ipv4.ip_forward",
                        settings.path(&key.escape_debug().to_string())
                    )),
                    (Some(_), None) => {}
                }
            }
        }
        let link = &mut self.link;
        link.mac = mac(object, mistakes).or(link.mac);
        link.mtu = object.number("mtu", mistakes).filter(|mtu| *mtu != 0).or(link.mtu);
        link.queue = object.number("txQLen", mistakes).or(link.queue);
        // Not promiscuous is what is left as it is.
        link.promiscuous = object.flag("promisc", mistakes).map_or(link.promiscuous, |on| on.then_some(true));
        link.all_multicast = object.flag("allmulti", mistakes).or(link.all_multicast);
    }
}

fn mac(object: &Object<'_>, mistakes: &mut Mistakes) -> Option<Mac> {
    object.parsed("mac", mistakes, "a MAC address as in 02:00:00:00:00:01")
}

/// `net.ipv4.conf.IFNAME.arp_filter` as a path below /proc/sys, sysctl(8): with slashes first, dots belong to names.
fn path(key: &str) -> Option<String> {
    let slashes = key.find(['.', '/']).is_some_and(|at| key.as_bytes()[at] == b'/');
    let path = if slashes { key.to_owned() } else { key.replace('.', "/") };
    let sound = path.split('/').all(|part| !["", ".", ".."].contains(&part) && !part.contains('\0'));
    (sound && path.starts_with("net/")).then_some(path)
}

#[cfg(test)]
mod tests;
