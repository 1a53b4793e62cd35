//! The bridge under a pod's wire: found or made, its gateway addresses and its MTU, the port and its VLANs.

use std::os::fd::AsFd;

use backends::LinkName;
use ipam::{Family, Mac};
use ipnet::IpNet;

use super::exchange::Exchange;
use super::host::{Found, Host, UP};
use super::{Bridge, Others, PodError, Promiscuity, VlanFiltering, Vlans, ensure};
use crate::codec::pod::Dad;
use crate::codec::{self, address, bridge, link, pod};
use crate::error::Result;
use crate::netlink::Request;
use crate::netns::Netns;

/// What a kernel lacks that refuses to keep VLANs apart.
const NO_VLANS: &str = "VLAN filtering on bridges (CONFIG_BRIDGE_VLAN_FILTERING): leave out `vlan` and `vlanTrunk`";

/// A bridge as it was found, or made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BridgeSeen {
    /// Interface index.
    pub index: u32,
    /// Link-layer address.
    pub mac: Mac,
    /// Octets of payload.
    pub mtu: u32,
    /// Administratively up.
    pub up: bool,
    /// Up, with a port that is.
    pub(super) running: bool,
    promiscuous: bool,
    group: u32,
    /// Whether its address must be pinned: it had none of our gateways yet, so nobody may have done it.
    pub(super) unpinned: bool,
    made: bool,
    /// Whether it has the address that we make it with, so that it is this network's.
    own: bool,
}

/// The bridge that a wire is to be a port of.
#[derive(Clone, Copy)]
pub(super) struct Footing<'a> {
    pub(super) wanted: &'a Bridge,
    pub(super) seen: &'a BridgeSeen,
    /// Its addresses that have to go.
    pub(super) others: &'a [IpNet],
    /// The link that has the gateway addresses: the bridge, or its end in the pod's VLAN.
    pub(super) gateways_on: u32,
}

/// The messages that see to a bridge, by their places in an exchange.
pub(super) struct Tended {
    gateways: Vec<usize>,
    removals: Vec<usize>,
}

impl Host {
    /// The bridge, made when it is not there.
    ///
    /// # Errors
    /// When something else has its name, it has another address, or the kernel refuses.
    pub(super) fn bridge(
        &mut self,
        wanted: &Bridge,
        filtering: VlanFiltering,
    ) -> std::result::Result<(BridgeSeen, Vec<IpNet>), PodError> {
        let name = wanted.name;
        let mut made = false;
        let mut found = self.find(name)?;
        if found.is_none() {
            let mut exchange = Exchange::new(&mut self.socket);
            let make = exchange.order((link::NEW, codec::MAKE), |body| {
                bridge::make(body, (name, wanted.mac), wanted.mtu, filtering);
            });
            exchange.question(link::GET, |body| link::by_name(body, name));
            let refusals = exchange.finish(|message| found = found.take().or_else(|| Found::read(message)))?;
            // Sixty pods may start at once, and one of them is first.
            made = refusals.errno(make).is_none();
            let doing = format!("making the bridge {name}");
            if filtering == VlanFiltering::On && refusals.errno(make) == Some(libc::EOPNOTSUPP) {
                return Err(refusals.unsupported(make, doing, NO_VLANS).into());
            }
            refusals.tolerate(|place, errno| place == make && errno == libc::EEXIST).into_result(|place| {
                if place == make { doing.clone() } else { format!("looking for the bridge {name}") }
            })?;
        }
        let Some(found) = found else { return Err(PodError::BridgeGone { name }) };
        if found.kind != "bridge" {
            let kind = if found.kind.is_empty() { "network card".to_owned() } else { found.kind };
            return Err(PodError::NotABridge { name, kind });
        }
        if made {
            // Pods must not hand the node routes (RFC 4861 section 6.1.2 router advertisements).
            ensure(&format!("net/ipv6/conf/{name}/accept_ra"), "0")?;
            // While the bridge's link-local address is tentative (RFC 4862 section 5.4: a second or two), the kernel asks
            // for no neighbour on behalf of forwarded packets (`ndisc_solicit`), and a new pod's first ones are lost.
            ensure(&format!("net/ipv6/conf/{name}/accept_dad"), "0")?;
            self.answer_for_routed(name, found.index)?;
        }
        let (mac, own) = (found.mac.unwrap_or(wanted.mac), found.mac == Some(wanted.mac));
        let (up, promiscuous) = (found.up, found.promiscuous);
        let (index, mtu, running) = (found.index, found.mtu, found.operation == UP);
        let group = found.group;
        let seen = BridgeSeen { index, mac, mtu, up, running, promiscuous, group, unpinned: !made, made, own };
        let others = if made || own { Vec::new() } else { self.others(wanted, seen.index)? };
        Ok((seen, others))
    }

    /// The addresses on a bridge that contradict a gateway: of IPv4 any other, of IPv6 those whose subnets overlap, as
    /// in the reference plugin.
    fn others(&mut self, wanted: &Bridge, index: u32) -> std::result::Result<Vec<IpNet>, PodError> {
        if wanted.gateways.is_empty() {
            return Ok(Vec::new());
        }
        let there = self.addresses(index)?;
        let mut others = Vec::new();
        for gateway in wanted.gateways.iter().filter(|gateway| !there.contains(gateway)) {
            let contradicts = |net: &IpNet| {
                Family::of_net(net) == Family::of_net(gateway)
                    && !wanted.gateways.contains(net)
                    && (net.addr().is_ipv4() || net.contains(&gateway.addr()) || gateway.contains(&net.addr()))
            };
            for other in there.iter().copied().filter(contradicts) {
                if wanted.others == Others::Refused {
                    if wanted.kin.iter().any(|network| network.contains(&other)) {
                        continue;
                    }
                    return Err(PodError::OtherAddress { name: wanted.name, other, gateway: *gateway });
                }
                others.push(other);
            }
        }
        Ok(others)
    }

    /// The addresses on a link. `ip address show dev …`
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn addresses(&mut self, index: u32) -> Result<Vec<IpNet>> {
        let request = Request { kind: address::GET, flags: 0, doing: "listing the bridge's addresses" };
        let messages = self.socket.dump(&request, |body| address::of_link(body, index))?;
        let entries = messages.filter_map(|message| address::Entry::read(&message));
        // Kernels before 4.20 do not filter.
        Ok(entries.filter(|entry| entry.link == index).map(|entry| entry.net).collect())
    }

    /// What the port still needs once the pair is there: its VLANs.
    ///
    /// # Errors
    /// When the kernel cannot keep VLANs apart.
    pub(super) fn set_vlans(&mut self, (index, name): (u32, LinkName), vlans: &Vlans) -> Result<()> {
        if vlans.filtering() == VlanFiltering::Off {
            return Ok(());
        }
        let mut exchange = Exchange::new(&mut self.socket);
        if vlans.default == bridge::DefaultVlan::Removed {
            exchange.order((link::DELETE, 0), |body| bridge::delete_vlans(body, index));
        }
        exchange.order((bridge::SET_VLANS, 0), |body| bridge::add_vlans(body, index, vlans));
        let refusals = exchange.finish(|_| {})?;
        let doing = format!("setting the VLANs of {name}");
        match refusals.first() {
            Some((place, libc::EOPNOTSUPP)) => Err(refusals.unsupported(place, doing, NO_VLANS)),
            _ => refusals.into_result(|_| doing.clone()),
        }
    }
}

impl Tended {
    /// Adds what the bridge, or its end in a VLAN, lacks of what is wanted.
    pub(super) fn new(exchange: &mut Exchange<'_>, footing: Footing<'_>) -> Tended {
        let Footing { wanted, seen, others, gateways_on } = footing;
        if !seen.up {
            exchange.order((link::NEW, 0), |body| link::set_flags(body, seen.index, libc::IFF_UP as u32));
        }
        if wanted.promiscuity == Promiscuity::On && !seen.promiscuous {
            exchange.order((link::NEW, 0), |body| bridge::set_promiscuous(body, seen.index));
        }
        // A bridge of somebody else's keeps its MTU: other links may be on it.
        if let Some(mtu) = wanted.mtu.filter(|mtu| *mtu != seen.mtu && seen.own) {
            let mtu = link::Attributed { mtu: Some(mtu), ..link::Attributed::default() };
            exchange.order((link::NEW, 0), |body| link::set(body, seen.index, mtu));
        }
        // One of flannel's took its MTU from the same file, if it has that.
        let follows = seen.own || (wanted.group != 0 && seen.group == 0 && wanted.mtu == Some(seen.mtu));
        if follows && seen.group != wanted.group {
            exchange.order((link::NEW, 0), |body| link::set_group(body, seen.index, wanted.group));
        }
        let delete = |net: &IpNet| exchange.order((address::DELETE, 0), |body| address::delete(body, seen.index, *net));
        let removals = others.iter().map(delete).collect();
        let mut add = |net: &IpNet| {
            exchange.order((address::NEW, codec::MAKE), |body| pod::address(body, gateways_on, *net, Dad::Off))
        };
        Tended { gateways: wanted.gateways.iter().map(&mut add).collect(), removals }
    }

    /// Whether a gateway was not there before.
    pub(super) fn added(&self, errno: impl Fn(usize) -> Option<i32>) -> bool {
        self.gateways.iter().any(|place| errno(*place).is_none())
    }

    /// Whether a refusal is as good as success.
    pub(super) fn is_harmless(&self, place: usize, errno: i32) -> bool {
        self.gateways.contains(&place) && errno == libc::EEXIST
            || self.removals.contains(&place) && errno == libc::EADDRNOTAVAIL
    }

    /// What was refused, if it is one of these.
    pub(super) fn doing(&self, place: usize, bridge: LinkName) -> String {
        if self.gateways.contains(&place) {
            format!("giving the bridge {bridge} its gateway address")
        } else if self.removals.contains(&place) {
            format!("taking another network's address from the bridge {bridge}")
        } else {
            format!("bringing up the bridge {bridge}")
        }
    }
}

impl BridgeSeen {
    /// With the MTU that it has after [`Tended`].
    pub(super) fn tended(self, wanted: &Bridge) -> BridgeSeen {
        BridgeSeen { mtu: wanted.mtu.filter(|_| self.own || self.made).unwrap_or(self.mtu), ..self }
    }
}

/// The bridge's own end in a VLAN, which has the gateway addresses there: `cni0.7` is one end of a veth pair, the other is a
/// port in that VLAN, as the reference plugin makes it.
pub(super) struct VlanEnd {
    pub(super) name: LinkName,
    pub(super) index: u32,
    pub(super) mac: Mac,
}

impl Host {
    /// Finds or makes it.
    ///
    /// # Errors
    /// When the name is too long for an interface, or the kernel refuses.
    pub(super) fn vlan_end(
        &mut self,
        wanted: &Bridge,
        seen: &BridgeSeen,
        vlans: &Vlans,
    ) -> std::result::Result<Option<VlanEnd>, PodError> {
        let Some(vid) = vlans.access.filter(|_| !wanted.gateways.is_empty()) else { return Ok(None) };
        let name = format!("{}.{vid}", wanted.name);
        let Ok(name) = LinkName::new(&name) else { return Err(PodError::VlanName { name }) };
        let doing = format!("making the bridge's end in VLAN {vid}, {name}");
        if self.find(name)?.is_none() {
            let mac = Mac::derived_from(&format!("{name} port"));
            let digits = mac.to_string().replace(':', "");
            let Ok(port) = LinkName::new(&format!("veth{}", &digits[1..])) else {
                return Err(PodError::VlanName { name: digits });
            };
            let here = Netns::current()?;
            let group = wanted.group;
            let ends =
                [pod::End { name: port, mac, group }, pod::End { name, mac: Mac::derived_from(name.as_str()), group }];
            let mut exchange = Exchange::new(&mut self.socket);
            exchange.order((link::NEW, codec::MAKE), |body| {
                pod::veth(body, ends, (Some(seen.index), wanted.mtu), here.as_fd());
            });
            exchange.order((link::NEW, 0), |body| link::bring_up(body, port));
            exchange.question(link::GET, |body| link::by_name(body, port));
            let mut found = None;
            let refusals = exchange.finish(|message| found = Found::read(message))?;
            refusals.tolerate(|_, errno| errno == libc::EEXIST).into_result(|_| doing.clone())?;
            let Some(found) = found else { return Err(PodError::BridgeGone { name: wanted.name }) };
            let set = self.set_vlans((found.index, port), vlans);
            if let Err(error) = set {
                self.delete(found.index, port)?;
                return Err(error.into());
            }
        }
        let Some(end) = self.find(name)? else { return Err(PodError::BridgeGone { name }) };
        if !end.up {
            let mut exchange = Exchange::new(&mut self.socket);
            exchange.order((link::NEW, 0), |body| link::set_flags(body, end.index, libc::IFF_UP as u32));
            exchange.finish(|_| {})?.into_result(|_| doing.clone())?;
        }
        Ok(Some(VlanEnd { name, index: end.index, mac: end.mac.unwrap_or(wanted.mac) }))
    }
}
