//! [`Plan`]: the configuration as it is meant, what ADD makes of bridge and wire.
//!
//! Keys are named as the reference `bridge` plugin names them. What is different in `towpath`: a pod works with
//! `{"type": "towpath"}` alone, so `isGateway`, `isDefaultGateway` and `hairpinMode` are true unless written otherwise, and
//! the MTU comes from the daemon's `subnet.env` when none is written, as does `mode`.

use backends::LinkName;
use ipam::Family;
use ipnet::IpNet;
use kernel::pod::{
    Dad, DefaultVlan, Hairpin, Isolation, Others, PodEnd, Promiscuity, Source, Terms, VlanFiltering, Vlans, mtu,
};

use crate::call::Call;
use crate::dns::Dns;
use crate::document::{Mistakes, Object};
use crate::error::Error;
use crate::outcome::Address;
use crate::plugin::Plugin;

const BRIDGE: &str = "cni0";

/// What only a bridge can do: overlooking one of these would be a surprise, or a hole.
const BRIDGES_ONLY: [&str; 7] =
    ["disableContainerInterface", "forceAddress", "macspoofchk", "portIsolation", "promiscMode", "vlan", "vlanTrunk"];

/// What the host's end of a wire hangs on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// A bridge, as flannel users have it.
    #[default]
    Bridge,
    /// Nothing: the node routes to each pod.
    Routed,
}

impl std::str::FromStr for Mode {
    type Err = ();

    fn from_str(text: &str) -> Result<Mode, ()> {
        match text {
            "bridge" => Ok(Mode::Bridge),
            "routed" => Ok(Mode::Routed),
            _ => Err(()),
        }
    }
}

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
    /// How it hangs on the bridge.
    pub terms: Terms,
    /// What becomes of other addresses of the bridge.
    pub others: Others,
    /// Whether the bridge takes in every frame.
    pub promiscuity: Promiscuity,
    /// Whether IPv6 addresses are first asked for on the link.
    pub dad: Dad,
    /// Whether the pod's end is brought up.
    pub end: PodEnd,
    mode: Option<Mode>,
    /// A key that only a bridge can do, with its value.
    bridges_only: Option<(String, String)>,
    /// MTU, octets, when one is written.
    pub mtu: Option<u32>,
    /// What the configuration says about names.
    pub dns: Dns,
}

/// A plan with what the daemon says filled in.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// What the host's end hangs on.
    pub mode: Mode,
    /// MTU, octets; the kernel's default when nobody says.
    pub mtu: Option<u32>,
    /// The link group of what takes the daemon's MTU, and follows it; 0 where another is written.
    pub group: u32,
    /// The cluster's networks, when the ranges are the daemon's, by whatever way.
    pub networks: Vec<IpNet>,
}

impl Plan {
    /// Reads all that ADD needs.
    ///
    /// # Errors
    /// Everything that is wrong with it, together; or what we cannot do.
    pub fn of(call: &Call<'_>) -> Result<Plan, Error> {
        let (root, mut mistakes) = (call.document.root(), Mistakes::default());
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
        let mode = root.parsed("mode", &mut mistakes, "\"bridge\" or \"routed\"");
        // RFC 791: 68 octets are the least that IPv4 can be sent in. 0 stands for the default, as in the bridge plugin.
        let mtu = root.number("mtu", &mut mistakes).filter(|mtu| *mtu != 0);
        if let Some(wrong) = mtu.filter(|mtu| !(68..=65_535).contains(mtu)) {
            mistakes.push(format!("`mtu` is {wrong}: expected 68 to 65535 octets"));
        }
        let mut flag = |key| root.flag(key, &mut mistakes).unwrap_or(false);
        let others = if flag("forceAddress") { Others::Replaced } else { Others::Refused };
        let promiscuity = if flag("promiscMode") { Promiscuity::On } else { Promiscuity::Left };
        let dad = if flag("enabledad") { Dad::On } else { Dad::Off };
        let end = if flag("disableContainerInterface") { PodEnd::Down } else { PodEnd::Up };
        let isolation = if flag("portIsolation") { Isolation::On } else { Isolation::Off };
        let source = if flag("macspoofchk") { Source::Own } else { Source::Any };
        let hairpin = hairpin(&root, (promiscuity, on), &mut mistakes);
        let terms = Terms { hairpin, isolation, vlans: vlans(&root, &mut mistakes), source };
        let bridges_only = root.first_set(&BRIDGES_ONLY);
        let dns = Dns::read(&root, &mut mistakes);
        let name = mistakes.none_or(bridge)?;
        let unnamed = || Error::Configuration { mistakes: vec!["`bridge` is no interface's name".to_owned()] };
        let bridge = name.ok_or_else(unnamed)?;
        Ok(Plan { bridge, router, terms, others, promiscuity, dad, end, mode, bridges_only, mtu, dns })
    }

    /// Asks the daemon's file for what is not written.
    ///
    /// # Errors
    /// When it is needed and not there, or the mode cannot do what is written.
    pub fn resolve(&self, call: &Call<'_>) -> Result<Resolved, Error> {
        let resolved = match call.daemon()? {
            None => {
                let networks = if call.is_delegated() { routed_to(call) } else { Vec::new() };
                let group = call.mtu_from().zip(self.mtu).map_or(0, |(file, mtu)| mtu::group(file, mtu));
                Resolved { mode: self.mode.unwrap_or_default(), mtu: self.mtu, group, networks }
            }
            Some(file) => {
                let follows = file.mtu.filter(|_| self.mtu.is_none());
                Resolved {
                    mode: self.mode.unwrap_or(file.mode),
                    mtu: self.mtu.or(file.mtu),
                    group: follows.map_or(0, |mtu| mtu::group(&file.path, mtu)),
                    networks: file.networks.clone(),
                }
            }
        };
        match &self.bridges_only {
            Some((key, value)) if resolved.mode == Mode::Routed => Err(Error::Configuration {
                mistakes: vec![format!(
                    "`{key}` is {value}, and a routed pod has no bridge: leave it out, or set `mode` to \"bridge\""
                )],
            }),
            _ => Ok(resolved),
        }
    }

    /// Whether addresses can be given.
    ///
    /// # Errors
    /// When they are and the pod's end is to be left to the pod, as in the reference plugin; or when they are not and
    /// the mode is nothing but addresses.
    pub fn check_addresses<T>(&self, mode: Mode, giver: Option<&T>) -> Result<(), Error> {
        let mistake = match (mode, self.end, giver.is_some()) {
            (_, PodEnd::Down, true) => {
                "`disableContainerInterface` leaves no interface for addresses: leave out `ipam`"
            }
            (Mode::Routed, _, false) => "a routed pod is nothing without addresses: give `ipam` a `type`",
            _ => return Ok(()),
        };
        Err(Error::Configuration { mistakes: vec![mistake.to_owned()] })
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

/// The networks that flannel gives its pods routes to: the cluster's. Where there are others among them, no bridge has their
/// addresses; but everything is not a network.
fn routed_to(call: &Call<'_>) -> Vec<IpNet> {
    let mut mistakes = Mistakes::default();
    let ipam = call.document.root().object("ipam", &mut mistakes);
    let routes = ipam.map(|ipam| ipam.objects("routes", &mut mistakes)).unwrap_or_default();
    let nets = routes.iter().filter_map(|route| route.get("dst")?.as_str()?.parse::<IpNet>().ok());
    nets.filter(|net| net.prefix_len() > 0).collect()
}

/// Both at once would bring every frame twice; what is not written gives way.
fn hairpin(root: &Object<'_>, (promiscuity, on): (Promiscuity, bool), mistakes: &mut Mistakes) -> Hairpin {
    let written = root.flag("hairpinMode", mistakes);
    if written == Some(true) && promiscuity == Promiscuity::On {
        mistakes.push("`hairpinMode` and `promiscMode` are both true: set one of them to false".to_owned());
    }
    let hairpin = written.unwrap_or(on && promiscuity == Promiscuity::Left);
    if hairpin { Hairpin::On } else { Hairpin::Off }
}

/// `vlan`, `vlanTrunk` and `preserveDefaultVlan`, which is true unless written otherwise.
fn vlans(root: &Object<'_>, mistakes: &mut Mistakes) -> Vlans {
    let access = root.number("vlan", mistakes).filter(|vid| *vid != 0);
    let access = access.and_then(|vid| vlan_id("vlan", vid, mistakes));
    let mut trunk = Vec::new();
    for object in root.objects("vlanTrunk", mistakes) {
        let mut read = |key| {
            let vid = object.number(key, mistakes)?;
            vlan_id(&object.path(key), vid, mistakes)
        };
        let (first, last, single) = (read("minID"), read("maxID"), read("id"));
        trunk.extend(single);
        match (first, last) {
            (Some(first), Some(last)) if first <= last => trunk.extend(first..=last),
            (Some(first), Some(last)) => {
                let path = object.path("minID");
                mistakes.push(format!("`{path}` is {first}, more than `maxID` {last}: exchange them"));
            }
            (None, None) => {}
            _ if object.has("minID") && object.has("maxID") => {}
            _ => mistakes.push(format!("`{}` and `maxID` go together: write both", object.path("minID"))),
        }
    }
    trunk.sort_unstable();
    trunk.dedup();
    let vlans = Vlans { access, trunk, default: DefaultVlan::Kept };
    if access.is_some() && !vlans.trunk.is_empty() {
        mistakes.push("`vlan` and `vlanTrunk` are both set: leave one of them out".to_owned());
    }
    let kept = root.flag("preserveDefaultVlan", mistakes).unwrap_or(true);
    let default =
        if kept || vlans.filtering() == VlanFiltering::Off { DefaultVlan::Kept } else { DefaultVlan::Removed };
    Vlans { default, ..vlans }
}

fn vlan_id(path: &str, vid: u32, mistakes: &mut Mistakes) -> Option<u16> {
    // IEEE 802.1Q: 0 is no VLAN, 4095 is reserved.
    let valid = u16::try_from(vid).ok().filter(|vid| (1..=4094).contains(vid));
    if valid.is_none() {
        mistakes.push(format!("`{path}` is {vid}: expected a VLAN from 1 to 4094"));
    }
    valid
}

#[cfg(test)]
mod tests;
