//! [`Plan`]: the configuration as it is meant, what ADD makes of bridge and wire.
//!
//! Keys are named as the reference `bridge` plugin names them. What is different in `towpath`: a pod works with
//! `{"type": "towpath"}` alone, so `isGateway`, `isDefaultGateway` and `hairpinMode` are true unless written otherwise, and
//! the MTU comes from the daemon's `subnet.env` when none is written.

use backends::LinkName;
use ipam::Family;
use ipnet::IpNet;
use kernel::pod::Hairpin;

use crate::call::Call;
use crate::dns::Dns;
use crate::document::{Mistakes, Object};
use crate::error::Error;
use crate::outcome::Address;
use crate::plugin::Plugin;

const BRIDGE: &str = "cni0";

/// What the reference `bridge` plugin can do and we cannot yet: overlooking one of these would be a surprise, or a hole.
const NOT_DONE: [&str; 10] = [
    "delegate",
    "disableContainerInterface",
    "enabledad",
    "forceAddress",
    "macspoofchk",
    "mode",
    "portIsolation",
    "promiscMode",
    "vlan",
    "vlanTrunk",
];

/// What the node is to a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Router {
    /// Nothing: another machine on the bridge routes.
    No,
    /// The bridge has the gateway's address.
    Gateway,
    /// And the pod's default routes lead there.
    DefaultGateway,
}

/// What ADD makes.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The bridge's name.
    pub bridge: LinkName,
    /// Whose gateway it is.
    pub router: Router,
    /// Whether a pod reaches itself by a Service's address.
    pub hairpin: Hairpin,
    /// MTU, octets, when one is written.
    pub mtu: Option<u32>,
    /// What the configuration says about names.
    pub dns: Dns,
}

/// A plan with what the daemon says filled in.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// MTU, octets; the kernel's default when nobody says.
    pub mtu: Option<u32>,
    /// The cluster's networks, when the ranges are the daemon's.
    pub networks: Vec<IpNet>,
}

impl Plan {
    /// Reads all that ADD needs.
    ///
    /// # Errors
    /// Everything that is wrong with it, together; or what we cannot do.
    pub fn of(call: &Call<'_>) -> Result<Plan, Error> {
        let (root, mut mistakes) = (call.document.root(), Mistakes::default());
        refuse_not_done(&root, &mut mistakes)?;
        let on = call.plugin == Plugin::Towpath;
        let bridge = match root.text("bridge", &mut mistakes).unwrap_or_default() {
            "" => BRIDGE,
            name => name,
        };
        let bridge = LinkName::new(bridge).map_err(|error| mistakes.push(format!("`bridge`: {error}"))).ok();
        let gateway = root.flag("isGateway", &mut mistakes).unwrap_or(on);
        let router = match root.flag("isDefaultGateway", &mut mistakes).unwrap_or(on && gateway) {
            true => Router::DefaultGateway,
            false if gateway => Router::Gateway,
            false => Router::No,
        };
        let hairpin = if root.flag("hairpinMode", &mut mistakes).unwrap_or(on) { Hairpin::On } else { Hairpin::Off };
        // RFC 791: 68 octets are the least that IPv4 can be sent in. 0 stands for the default, as in the bridge plugin.
        let mtu = root.number("mtu", &mut mistakes).filter(|mtu| *mtu != 0);
        if let Some(wrong) = mtu.filter(|mtu| !(68..=65_535).contains(mtu)) {
            mistakes.push(format!("`mtu` is {wrong}: expected 68 to 65535 octets"));
        }
        let dns = Dns::read(&root, &mut mistakes);
        match mistakes.none_or(bridge)? {
            Some(bridge) => Ok(Plan { bridge, router, hairpin, mtu, dns }),
            None => Err(Error::Configuration { mistakes: vec!["`bridge` is no interface's name".to_owned()] }),
        }
    }

    /// Asks the daemon's file for what is not written.
    ///
    /// # Errors
    /// When it is needed and not there.
    pub fn resolve(&self, call: &Call<'_>) -> Result<Resolved, Error> {
        Ok(match call.daemon()? {
            None => Resolved { mtu: self.mtu, networks: Vec::new() },
            Some(file) => Resolved { mtu: self.mtu.or(file.mtu), networks: file.networks.clone() },
        })
    }

    /// Whether the addresses can be used with this MTU.
    ///
    /// # Errors
    /// When it is too small for IPv6 (RFC 8200 section 5).
    pub fn check_mtu(&self, mtu: Option<u32>, given: &[Address]) -> Result<(), Error> {
        let v6 = given.iter().any(|address| Family::of_net(&address.net) == Family::V6);
        match mtu {
            Some(mtu) if v6 && mtu < 1280 => {
                let mistake =
                    format!("the MTU is {mtu}: expected at least 1280 octets, without which there is no IPv6");
                Err(Error::Configuration { mistakes: vec![mistake] })
            }
            _ => Ok(()),
        }
    }
}

fn refuse_not_done(root: &Object<'_>, mistakes: &mut Mistakes) -> Result<(), Error> {
    let refuse = |(key, value), instead| Err(Error::UnsupportedField { key, value, instead });
    if let Some(set) = root.first_set(&NOT_DONE) {
        return refuse(set, "leave it out, or use the reference `bridge` plugin");
    }
    let runtime = root.object("runtimeConfig", mistakes);
    let arguments = root.object("args", mistakes).and_then(|arguments| arguments.object("cni", mistakes));
    let asked = runtime.and_then(|runtime| runtime.first_set(&["mac"]));
    match asked.or_else(|| arguments.and_then(|arguments| arguments.first_set(&["mac"]))) {
        Some(set) => refuse(set, "leave it out, it is made from the pod's address"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
