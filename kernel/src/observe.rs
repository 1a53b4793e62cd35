//! What is: netlink dumps in, [`KernelState`] out, with only what is ours in it.
//!
//! Ours is what lies on a link with our alias and carries our tag (protocol 84; on forwarding entries `extern_learn`,
//! because the vxlan driver drops the protocol), blackholes in our networks that carry it, our nftables table and the
//! sysctls asked for. On a link that is nobody's, as the uplink, ours are next hops that carry the tag and have an id of this
//! instance's range, routes through them, and routes with the tag into our networks. A link of one of our names without our alias is an earlier flannel's: what lasts on it is listed as
//! [`Tag::Adopted`], unless it carries our tag. Everything else is not seen, so nobody downstream can touch it.
//!
//! One dump a kind, filtered by the kernel, and one pass over each; nothing is allocated per entry but the result.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use backends::instance::ALIAS_PREFIX;
use backends::state::{
    Fdb, FdbKey, Group, KernelState, Link, Neighbour, NeighbourKey, Nexthop, Route, RouteKey, Scope, Tag, Via,
};
use backends::{LinkName, PROTOCOL};
use ipam::{Family, Mac};

use crate::codec::{address, kind, link, neighbour, nexthop, route, vxlan};
use crate::error::{Error, Result};
use crate::hand::Hand;
use crate::index::Index;
use crate::netlink::{Body, Messages, Request, Socket};
use crate::sysctl;

/// The links of a scope, and the next-hop objects on them.
pub(crate) struct Links {
    /// They are few, so searching is faster than hashing.
    seen: Vec<Seen>,
    /// The next hops of ours by id: what routes name them by.
    objects: HashMap<u32, Nexthop>,
    /// The groups of ours by id.
    groups: HashMap<u32, Group>,
    /// Links with the alias of another instance: nothing on them is ours.
    others: Vec<u32>,
}

/// A link of the scope.
#[derive(Clone, Copy)]
struct Seen {
    name: LinkName,
    index: u32,
    tag: Tag,
    /// The unspecified address of the outer family.
    nowhere: IpAddr,
}

impl Links {
    fn at(&self, index: u32) -> Option<&Seen> {
        self.seen.iter().find(|seen| seen.index == index)
    }

    /// Their indices.
    pub(crate) fn indices(&self) -> impl Iterator<Item = u32> {
        self.seen.iter().map(|seen| seen.index)
    }

    fn named(&self, name: LinkName) -> Option<&Seen> {
        self.seen.iter().find(|seen| seen.name == name)
    }

    /// Whose an object on the link of this index is. A link that is nobody's has only what the object itself says is ours.
    fn owner(&self, index: u32, (tagged, ours): (bool, bool)) -> Option<Tag> {
        match self.at(index) {
            Some(seen) => seen.owner(tagged),
            None => (tagged && ours && !self.others.contains(&index)).then_some(Tag::Ours),
        }
    }
}

impl Seen {
    /// Whose an object on this link is: one with our tag is ours, one without is nobody's on a link of ours, and to be
    /// adopted on one that was not ours.
    fn owner(&self, tagged: bool) -> Option<Tag> {
        match (tagged, self.tag) {
            (true, _) => Some(Tag::Ours),
            (false, Tag::Adopted) => Some(Tag::Adopted),
            (false, Tag::Ours) => None,
        }
    }
}

impl Hand {
    /// Everything of the scope that the kernel holds. `ip -d link; ip nexthop; ip route; ip neigh; bridge fdb; nft list
    /// table inet …`
    ///
    /// # Errors
    /// When a list cannot be had; never because of what is in it. A kernel without nftables has no ruleset.
    pub fn observe(&mut self, scope: &Scope) -> Result<KernelState> {
        let mut state = KernelState::default();
        let links = self.survey(scope, &mut state)?;
        state.routes = self.routes(scope, &links)?;
        // From a sorted list at once, so that the set's nodes are full.
        self.held.extend(state.routes.keys().copied());
        let (mut neighbours, mut forwarding) = (Vec::new(), Vec::new());
        for seen in &links.seen {
            self.neighbours(seen, &mut neighbours)?;
            self.forwarding(seen, &mut forwarding)?;
            self.addresses(scope, seen, &mut state)?;
        }
        // From a list at once: sorting it and building the map is a third of the work of inserting one by one.
        state.neighbours = neighbours.into_iter().collect();
        state.fdb = forwarding.into_iter().collect();
        self.tunnels(&mut state)?;
        self.proxies(&mut state);
        self.offloads(&mut state);
        for path in &scope.sysctls {
            // A device's own settings guard against rare harm. Where a container may not write them, as under flannel's
            // own manifest, they are nothing that could be brought about: forwarding alone is worth being missed.
            if sysctl::is_of_device(path) && !sysctl::is_writable(path) {
                continue;
            }
            if let Some(value) = sysctl::read(path)? {
                state.sysctls.insert(path.clone(), value);
            }
        }
        state.ruleset = match self.table(scope).and_then(|table| table.observe()) {
            Err(Error::Unsupported { .. }) => None,
            other => other?,
        };
        state.passages = match self.table(scope).and_then(|table| table.passages(&scope.networks)) {
            Err(Error::Unsupported { .. }) => BTreeMap::new(),
            other => other?,
        };
        self.socket.rest();
        Ok(state)
    }

    /// Lists links and next hops, and fills the index with their numbers.
    pub(crate) fn survey(&mut self, scope: &Scope, state: &mut KernelState) -> Result<Links> {
        let mut index = Index::of(&scope.alias);
        let mut links = survey_links(&mut self.socket, scope, (&mut index, &mut state.links))?;
        if self.nexthop_objects() {
            let (mut nexthops, mut groups) = (Vec::new(), Vec::new());
            let mut name = None;
            for entry in list(&mut self.socket, (nexthop::GET, "listing next-hop objects"), nexthop::all)? {
                let Some(entry) = nexthop::Entry::read(&entry) else { continue };
                if !entry.members.is_empty() && entry.protocol == PROTOCOL && index.is_own_id(entry.id) {
                    groups.push(entry);
                    continue;
                }
                let ours = owned_nexthop(&entry, &links, &index).and_then(|(link, gateway, tag)| {
                    // Thousands of them lie on one link.
                    let (_, link) = name.filter(|(known, _)| *known == link).or_else(|| {
                        name = Some((link, index.name(link)?));
                        name
                    })?;
                    Some((Nexthop { link, gateway }, tag))
                });
                index.note_object(entry.id, ours.map(|(nexthop, _)| nexthop));
                links.objects.extend(ours.map(|(nexthop, _)| (entry.id, nexthop)));
                nexthops.extend(ours);
            }
            state.nexthops = nexthops.into_iter().collect();
            // Their members may be listed behind them.
            for entry in groups {
                let members = entry.members.iter().filter_map(|member| links.objects.get(member).copied()).collect();
                match Group::new(members) {
                    Some(group) => {
                        index.note_group(entry.id, group.clone());
                        state.groups.insert(group.clone(), Tag::Ours);
                        links.groups.insert(entry.id, group);
                    }
                    None => index.note_object(entry.id, None),
                }
            }
        }
        self.index = index;
        self.instance = Some(scope.alias.clone());
        Ok(links)
    }

    /// The scope's routes in table main.
    pub(crate) fn routes(&mut self, scope: &Scope, links: &Links) -> Result<BTreeMap<RouteKey, Route>> {
        let mut routes = Vec::new();
        let adopted = links.seen.iter().filter(|seen| seen.tag == Tag::Adopted);
        let lists: Vec<_> =
            adopted.map(|seen| route::Which::Through(seen.index)).chain([route::Which::Tagged]).collect();
        for family in Family::ALL {
            for which in &lists {
                let request = (route::GET, "listing the routes of table main");
                for entry in list(&mut self.socket, request, |body| route::of_family(body, family, *which))? {
                    let Some(entry) = route::Entry::read(&entry) else { continue };
                    routes.extend(owned_route(&entry, scope, (links, &self.index)));
                }
            }
        }
        Ok(routes.into_iter().collect())
    }

    fn neighbours(&mut self, seen: &Seen, into: &mut Vec<(NeighbourKey, Neighbour)>) -> Result<()> {
        let request = (neighbour::GET, "listing neighbours");
        for entry in list(&mut self.socket, request, |body| neighbour::of_link(body, seen.index))? {
            let Some(entry) = neighbour::Entry::read(&entry).filter(|e| e.link == seen.index && e.permanent) else {
                continue;
            };
            if let (Some(address), Some(tag)) = (entry.address, seen.owner(entry.tagged)) {
                into.push((NeighbourKey { link: seen.name, address }, Neighbour { mac: entry.mac, tag }));
            }
        }
        Ok(())
    }

    fn forwarding(&mut self, seen: &Seen, into: &mut Vec<(FdbKey, Fdb)>) -> Result<()> {
        let request = (neighbour::GET, "listing the forwarding database");
        for entry in list(&mut self.socket, request, |body| neighbour::forwarding_of_link(body, seen.index))? {
            let Some(entry) = neighbour::Entry::read(&entry).filter(|e| e.link == seen.index && e.permanent) else {
                continue;
            };
            // The device's default destination, which the kernel makes for a group, has no MAC.
            if entry.mac == Mac([0; 6]) && !entry.tagged {
                continue;
            }
            let key = FdbKey { link: seen.name, mac: entry.mac };
            if !entry.tagged {
                self.index.note_untagged(key);
            }
            let Some(tag) = seen.owner(entry.tagged) else { continue };
            // What says more than a destination is none of ours, whatever the destination: it must differ.
            let remote = entry.address.filter(|_| !entry.detour).unwrap_or(seen.nowhere);
            into.push((key, Fdb { remote, tag }));
        }
        Ok(())
    }

    fn addresses(&mut self, scope: &Scope, seen: &Seen, state: &mut KernelState) -> Result<()> {
        let request = (address::GET, "listing addresses");
        for entry in list(&mut self.socket, request, |body| address::of_link(body, seen.index))? {
            let Some(entry) = address::Entry::read(&entry).filter(|e| e.link == seen.index) else { continue };
            // Kernels before 5.18 keep no tag on addresses, so on our link the network tells.
            let inside = seen.tag == Tag::Ours && scope.networks.iter().any(|net| net.contains(&entry.net.addr()));
            let owner = seen.owner(entry.protocol == PROTOCOL || inside);
            if let Some(tag) = owner.filter(|tag| *tag == Tag::Ours || entry.lasting) {
                state.addresses.insert((seen.name, entry.net), tag);
            }
        }
        Ok(())
    }
}

/// Lists all links: notes every name's index, and gives those of the scope.
fn survey_links(
    socket: &mut Socket,
    scope: &Scope,
    (index, states): (&mut Index, &mut BTreeMap<LinkName, Link>),
) -> Result<Links> {
    let (mut links, mut others) = (Vec::new(), Vec::new());
    let messages = list(socket, (link::GET, "listing links"), link::all)?;
    for entry in messages.filter_map(|message| link::Entry::read(&message)) {
        let Some(name) = entry.name else { continue };
        index.note_link(name, entry.index);
        if entry.alias.is_some_and(|alias| alias.starts_with(ALIAS_PREFIX) && alias != scope.alias) {
            others.push(entry.index);
        }
        if let Some(tag) = owner_of_link(&entry, name, scope) {
            links.push((name, tag, entry));
        }
    }
    let below = |wanted: u32| {
        // Only for the few links of the scope: a look through the list each is cheaper than a map of all links.
        messages.filter_map(|message| link::Entry::read(&message)).find(|entry| entry.index == wanted)?.name
    };
    let mut seen = Vec::new();
    for (name, tag, entry) in links {
        let kind = kind::read(&entry, below);
        let nowhere = vxlan::nowhere(&kind);
        seen.push(Seen { name, index: entry.index, tag, nowhere });
        let mac = entry.mac.unwrap_or(Mac([0; 6]));
        let link = Link { kind, mac, mtu: entry.mtu, up: entry.up, link_local: entry.link_local, tag };
        states.insert(name, link);
    }
    Ok(Links { seen, objects: HashMap::new(), groups: HashMap::new(), others })
}

/// Whose a link is: ours by its alias, whatever its name; to be adopted by its name; or nobody's.
pub(crate) fn owner_of_link(entry: &link::Entry<'_>, name: LinkName, scope: &Scope) -> Option<Tag> {
    if entry.alias == Some(scope.alias.as_str()) {
        Some(Tag::Ours)
    } else if scope.links.contains(&name) {
        Some(Tag::Adopted)
    } else {
        None
    }
}

fn owned_nexthop(entry: &nexthop::Entry, links: &Links, index: &Index) -> Option<(u32, IpAddr, Tag)> {
    let (link, own_id) = (entry.link?, index.is_own_id(entry.id));
    // `ip nexthop replace` by hand takes the protocol away, but on our link only we choose such an id.
    let tagged = entry.protocol == PROTOCOL || (own_id && links.at(link).is_some());
    Some((link, entry.gateway?, links.owner(link, (tagged, own_id))?))
}

fn owned_route(entry: &route::Entry, scope: &Scope, (links, index): (&Links, &Index)) -> Option<(RouteKey, Route)> {
    let tagged = entry.protocol == PROTOCOL;
    let inside = || scope.networks.iter().any(|net| net.contains(&entry.key.destination));
    if let Some(via) = entry.nowhere.clone() {
        // It has no device (IPv6 says `lo`): the network tells whose it is.
        let ours = tagged && inside();
        return ours.then_some((entry.key, Route { via, tag: Tag::Ours }));
    }
    if entry.protocol == route::KERNEL {
        return None;
    }
    let (tag, via) = match entry.object {
        // Whose it is says the object, wherever it lies; one that is not ours is a sign that the route is not either.
        Some(id) => match links.objects.get(&id) {
            Some(nexthop) => {
                let seen = links.named(nexthop.link);
                let tag = seen.map_or(tagged.then_some(Tag::Ours), |seen| seen.owner(tagged));
                (tag?, Via::Object(*nexthop))
            }
            None => match links.groups.get(&id) {
                Some(group) => (tagged.then_some(Tag::Ours)?, Via::Group(group.clone())),
                None => (links.at(entry.link?)?.owner(tagged)?, Via::Unknown),
            },
        },
        None => {
            let index_of_link = entry.link?;
            // Where nobody knows the networks, as when all is cleaned up, nothing says whose it is: then it stays.
            let narrow = || scope.networks.iter().all(|net| net.prefix_len() > 0);
            let tag = links.owner(index_of_link, (tagged, tagged && narrow() && inside()))?;
            let link = links.at(index_of_link).map(|seen| seen.name).or_else(|| index.name(index_of_link))?;
            (tag, entry.without_object(link))
        }
    };
    let via = if entry.plain { via } else { Via::Unknown };
    Some((entry.key, Route { via, tag }))
}

/// A dump; what is gone (a link, since it was listed) or was never made (a table) is empty.
pub(crate) fn list<'s>(
    socket: &'s mut Socket,
    (kind, doing): (u16, &str),
    body: impl Fn(&mut Body<'_>),
) -> Result<Messages<'s>> {
    match socket.dump(&Request { kind, flags: 0, doing }, body) {
        Err(Error::Refused { refusal, .. }) if [libc::ENOENT, libc::ENODEV].contains(&refusal.errno) => {
            Ok(Messages::default())
        }
        other => other,
    }
}
