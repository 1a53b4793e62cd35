//! Which interface reaches the other nodes, and which of its addresses: flannel's order of choice over the kernel's facts.
//!
//! Pure; what the uplink reaches without a gateway is read by `hand`. Where flannel ends the process because nothing was found, [`choose`] says what it looked for and what there is;
//! the daemon waits and asks again when links or addresses change.

mod beside;
mod switched_off;

pub use beside::{dead, links};
pub use switched_off::switched_off;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use backends::{LinkName, OnLink, Uplink};
use ipam::{Family, Stack};
use kernel::inventory::{Interface, InterfaceAddress, Inventory};

use crate::config::{InterfaceId, InterfaceWish};

/// The kernel's facts that the choice is made from.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Links, addresses, default routes.
    pub inventory: &'a Inventory,
    /// The link through which `--iface-can-reach` is routed; `None` where that is not given or not reachable.
    pub reach: Option<LinkName>,
}

/// Nothing that was looked for is there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no interface that reaches the other nodes: {}; there is {present}; waiting for one", .looked_for.join("; "))]
pub struct NoUplink {
    /// What was looked for, in order, each with why it was not it.
    pub looked_for: Vec<String>,
    /// What there is: each interface with its addresses.
    pub present: String,
}

/// A link, with the addresses on it that the rule itself has chosen.
type Candidate<'a> = (&'a Interface, Vec<IpAddr>);

/// Chooses the uplink for the families in use. `--iface` in order, then `--iface-regex` in order, then
/// `--iface-can-reach`; without any of them the interface that has `--public-ip`, else that of the default route. The
/// first that has an address in each family is taken.
///
/// # Errors
/// [`NoUplink`]: none has.
pub fn choose(wish: &InterfaceWish, facts: Facts<'_>, families: &[Family]) -> Result<Uplink, NoUplink> {
    let choice = Choice { wish, facts, families };
    let mut looked_for = Vec::new();
    let mut attempt = |(rule, found): (String, Result<Candidate<'_>, String>)| {
        let uplink = found.and_then(|(link, chosen)| choice.uplink(link, &chosen));
        uplink.map_err(|why| looked_for.push(format!("{rule}: {why}"))).ok()
    };
    let by_name = wish.interfaces.iter().map(|id| choice.by_id(id));
    let by_pattern =
        wish.patterns.iter().map(|pattern| (format!("--iface-regex={pattern}"), choice.by_pattern(pattern)));
    let by_reach = wish.can_reach.iter().map(|address| (format!("--iface-can-reach={address}"), choice.by_reach()));
    if let Some(uplink) = by_name.chain(by_pattern).chain(by_reach).find_map(&mut attempt) {
        return Ok(uplink);
    }
    if wish.interfaces.is_empty() && wish.patterns.is_empty() && wish.can_reach.is_none() {
        let owned = choice.public_wish().next().map(|public| (format!("--public-ip={public}"), choice.by_public()));
        let by_default = || ("default route".to_owned(), choice.by_default_route());
        if let Some(uplink) = attempt(owned.unwrap_or_else(by_default)) {
            return Ok(uplink);
        }
    }
    Err(NoUplink { looked_for, present: Present(facts.inventory).to_string() })
}

struct Choice<'a> {
    wish: &'a InterfaceWish,
    facts: Facts<'a>,
    families: &'a [Family],
}

impl<'a> Choice<'a> {
    /// `--iface`: the interface of this name, or the one that has this address (which is then the one used).
    fn by_id(&self, id: &InterfaceId) -> (String, Result<Candidate<'a>, String>) {
        match id {
            InterfaceId::Address(address) => (format!("--iface={address}"), self.owner(*address)),
            InterfaceId::Name(name) => (format!("--iface={name}"), self.link(*name).map(|link| (link, Vec::new()))),
        }
    }

    /// `--iface-regex`: the first interface that has a matching address in each family, else the first whose name
    /// matches. Our own tunnel does not count: it lies above the uplink, and may match after a restart.
    fn by_pattern(&self, pattern: &crate::config::pattern::Pattern) -> Result<Candidate<'a>, String> {
        let links = || self.facts.inventory.links.iter().filter(|link| !is_tunnel(link));
        let matching = |link: &'a Interface| -> Option<Candidate<'a>> {
            let address =
                |family: &Family| usable(link, *family).into_iter().find(|ip| pattern.matches(&ip.to_string()));
            Some((link, self.families.iter().map(address).collect::<Option<Vec<IpAddr>>>()?))
        };
        let named = || links().find(|link| pattern.matches(link.name.as_str())).map(|link| (link, Vec::new()));
        links().find_map(matching).or_else(named).ok_or_else(|| "no interface's address or name matches it".to_owned())
    }

    /// `--iface-can-reach`: the interface of the route to it.
    fn by_reach(&self) -> Result<Candidate<'a>, String> {
        let link = self.facts.reach.ok_or("there is no route to it")?;
        self.link(link).map(|link| (link, Vec::new()))
    }

    /// `--public-ip(v6)`: the interface that has all of them.
    fn by_public(&self) -> Result<Candidate<'a>, String> {
        let mut owner: Option<&Interface> = None;
        for public in self.public_wish() {
            let (link, _) =
                self.owner(public).map_err(|why| format!("{why} (behind a NAT name the interface too, by --iface)"))?;
            if let Some(other) = owner.replace(link).filter(|other| other.index != link.index) {
                return Err(format!(
                    "the other public address is on {}, {public} is on {}; one interface must have both",
                    other.name, link.name
                ));
            }
        }
        let link = owner.ok_or("none is given")?;
        Ok((link, self.public_wish().collect()))
    }

    /// The interface of the preferred default route, which must be the same in all families.
    fn by_default_route(&self) -> Result<Candidate<'a>, String> {
        let mut found: Option<LinkName> = None;
        for family in self.families {
            let routes = self.facts.inventory.default_routes.iter().filter(|route| route.family == *family);
            let route = routes.min_by_key(|route| route.metric).ok_or_else(|| format!("there is no {family} one"))?;
            if let Some(other) = found.replace(route.link).filter(|other| *other != route.link) {
                let why = format!("the IPv4 one is on {other}, the IPv6 one on {}", route.link);
                return Err(format!("{why}; they must be the same, or one must be named by --iface"));
            }
        }
        self.link(found.ok_or("no family is in use")?).map(|link| (link, Vec::new()))
    }

    fn link(&self, name: LinkName) -> Result<&'a Interface, String> {
        let found = self.facts.inventory.links.iter().find(|link| link.name == name);
        found.ok_or_else(|| format!("there is no interface {name}"))
    }

    /// The interface that has an address, whatever its state.
    fn owner(&self, address: IpAddr) -> Result<Candidate<'a>, String> {
        let has = |link: &&Interface| link.addresses.iter().any(|on_it| on_it.net.addr() == address);
        let found = self.facts.inventory.links.iter().find(has);
        found.map(|link| (link, vec![address])).ok_or_else(|| format!("no interface has the address {address}"))
    }

    /// The public addresses asked for, in the families in use.
    fn public_wish(&self) -> impl Iterator<Item = IpAddr> {
        self.families.iter().filter_map(|family| self.wish.public.as_ref()?.get(*family).copied())
    }

    /// The uplink on a link, if it has an address in each family: the one that the rule chose, else the best.
    fn uplink(&self, link: &Interface, chosen: &[IpAddr]) -> Result<Uplink, String> {
        if link.mtu == 0 {
            return Err(format!("{} has MTU 0", link.name));
        }
        let mut local = [None; 2];
        for (family, address) in Family::ALL.into_iter().zip(&mut local) {
            if self.families.contains(&family) {
                let by_rule = chosen.iter().copied().find(|ip| Family::of(*ip) == family);
                let best = || usable(link, family).first().copied();
                let found = by_rule.or_else(best);
                *address =
                    Some(found.ok_or_else(|| format!("{} has no {family} address that can be used", link.name))?);
            }
        }
        let local = Stack::from_options(local[0], local[1]).ok_or("no family is in use")?;
        let wished = |family| self.wish.public.as_ref().and_then(|public| public.get(family)).copied();
        let public = local.map(|family, address| wished(family).unwrap_or(*address));
        Ok(Uplink {
            link: link.name,
            mtu: link.mtu,
            local,
            public,
            on_link: OnLink::default(),
            settings: BTreeMap::new(),
        })
    }
}

/// Flannel's devices, which are ours.
fn is_tunnel(link: &Interface) -> bool {
    let name = link.name.as_str();
    link.kind.as_deref() == Some("vxlan") && (name.starts_with("flannel.") || name.starts_with("flannel-v6."))
}

/// The addresses of a family on a link that can be used, best first: global before link-local, permanent before dynamic,
/// lasting before temporary; else in the kernel's order. Deprecated and tentative ones cannot, nor those of IPv6 that are
/// link-local: peers could not send to them (RFC 4291 section 2.5.6).
fn usable(link: &Interface, family: Family) -> Vec<IpAddr> {
    let can_be_used = |on_it: &&InterfaceAddress| {
        let address = on_it.net.addr();
        Family::of(address) == family && !on_it.deprecated && !on_it.tentative && is_unicast(address)
    };
    let mut addresses: Vec<&InterfaceAddress> = link.addresses.iter().filter(can_be_used).collect();
    addresses.sort_by_key(|on_it| (is_link_local(on_it.net.addr()), !on_it.permanent, on_it.temporary));
    addresses.into_iter().map(|on_it| on_it.net.addr()).collect()
}

/// Whether another host can send to it at all, without naming an interface of its own.
fn is_unicast(address: IpAddr) -> bool {
    let nobody = address.is_loopback() || address.is_multicast() || address.is_unspecified();
    let bound = address.is_ipv6() && is_link_local(address);
    !nobody && !bound && address != IpAddr::V4(Ipv4Addr::BROADCAST)
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// What there is, for the sentence.
struct Present<'a>(&'a Inventory);

/// Interfaces that are named; a node may have a thousand pods' ends.
const NAMED_AT_MOST: usize = 12;

impl fmt::Display for Present<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let links = &self.0.links;
        // What has an address is what can be meant.
        let with_address = || links.iter().filter(|link| !link.addresses.is_empty());
        if with_address().next().is_none() {
            return f.write_str("no interface with an address");
        }
        for (index, link) in with_address().take(NAMED_AT_MOST).enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            let addresses: Vec<String> =
                link.addresses.iter().take(4).map(|on_it| on_it.net.addr().to_string()).collect();
            write!(f, "{separator}{} ({})", link.name, addresses.join(" "))?;
        }
        match with_address().count().saturating_sub(NAMED_AT_MOST) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests;
