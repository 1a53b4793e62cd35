//! What there is much of: addresses, next hops, routes, neighbours, forwarding entries; many messages a datagram.
//!
//! Three goes at most: all; what the kernel did not know a number of, with new numbers; routes whose place is taken.

use std::collections::HashSet;
use std::net::IpAddr;
use std::ops::Range;

use backends::PROTOCOL;
use backends::plan::Change;
use backends::state::{Encapsulation, Group, KernelState, LinkName, Nexthop, Route, RouteKey, Scope, Tag, Via};
use ipnet::IpNet;

use super::reach::{in_the_way, reach};
use super::{Course, link_of};
use crate::codec::route::{Only, Target};
use crate::codec::{APPEND, MAKE, REPLACE, address, neighbour, nexthop, route};
use crate::error::Refusal;
use crate::hand::Hand;
use crate::index::Index;
use crate::netlink::batch::Refused;
use crate::netlink::{Batch, Body};

/// Whether a change is one of many.
pub(super) fn takes(change: &Change) -> bool {
    !matches!(
        change,
        Change::LinkAdd(..)
            | Change::LinkSet { .. }
            | Change::OffloadSet(..)
            | Change::LinkDelete(_)
            | Change::SysctlSet(..)
            | Change::RulesetSet(_)
            | Change::PassageSet(_)
            | Change::PassageDelete(_)
            | Change::PeerSet { .. }
            | Change::PeerDelete(_)
            | Change::RelaySet(..)
            | Change::RelayDelete(_)
    )
}

/// What a refusal means.
enum Meaning {
    /// What was wanted is so.
    Done,
    /// A number that we sent is not the kernel's any more.
    Stale,
    /// A route of the same key is there.
    Taken,
    Failed,
}

impl Course<'_> {
    /// Does a run of changes.
    pub(super) fn bulk(&mut self, run: Range<usize>) {
        let refused = self.send(run.clone(), Go::First);
        let (mut stale, mut taken) = (Vec::new(), Vec::new());
        for refused in refused {
            match meaning(&self.changes[refused.key], &refused.refusal) {
                Meaning::Done => {}
                Meaning::Stale => stale.push(refused.key),
                Meaning::Taken => taken.push(refused.key),
                Meaning::Failed => self.refuse(refused),
            }
        }
        if !stale.is_empty() {
            stale.dedup();
            self.renumber(stale, &mut taken);
        }
        if !taken.is_empty() {
            self.take_over(taken);
        }
        for (at, _) in self.failures.range(run) {
            if let Change::RouteDelete(key, _) = &self.changes[*at] {
                self.hand.held.insert(*key);
            }
        }
    }

    /// Once more with new numbers: a link was made anew, or the kernel removed next hops when a link went down. And with ways to
    /// gateways that lie behind another link now ([`Writer::lead_to`]).
    fn renumber(&mut self, stale: Vec<usize>, taken: &mut Vec<usize>) {
        if let Err(error) = self.hand.survey(self.scope, &mut KernelState::default()) {
            return stale.into_iter().for_each(|at| self.fail(at, &error));
        }
        for refused in self.send(stale, Go::Again) {
            match (meaning(&self.changes[refused.key], &refused.refusal), &self.changes[refused.key]) {
                (Meaning::Done, _) => {}
                // Its number is new or known to be right now, so what is there is it.
                (Meaning::Stale, Change::NexthopAdd(_) | Change::GroupAdd(_))
                    if refused.refusal.errno == libc::EEXIST => {}
                (Meaning::Taken, _) => taken.push(refused.key),
                (Meaning::Stale | Meaning::Failed, _) => self.refuse(refused),
            }
        }
    }

    /// Puts our routes into the place of those with the same key that are ours to replace, and only of those.
    fn take_over(&mut self, taken: Vec<usize>) {
        let sets = taken.iter().filter_map(|at| link_of(&self.changes[*at]));
        let reach = match reach(self.hand, self.scope, sets.collect()) {
            Ok(reach) => reach,
            Err(error) => return taken.into_iter().for_each(|at| self.fail(at, &error)),
        };
        let mut ours = Vec::new();
        for at in taken {
            match &self.changes[at] {
                Change::RouteSet(key, _) if !reach.contains(key) && !self.hand.held.contains(key) => {
                    self.refuse(Refused { key: at, refusal: in_the_way(*key) });
                }
                _ => ours.push(at),
            }
        }
        for refused in self.send(ours, Go::InPlace) {
            self.refuse(refused);
        }
    }

    /// Sends the changes at these places, and gives what was refused.
    fn send(&mut self, places: impl IntoIterator<Item = usize>, go: Go) -> Vec<Refused> {
        let Hand { socket, index, writes, held, .. } = &mut *self.hand;
        let scope = self.scope;
        let (fresh, last) = (Vec::new(), None);
        let mut writer = Writer { batch: Batch::new(socket), index, writes, scope, held, fresh, last, go };
        let mut missing = Vec::new();
        for at in places {
            if let Err(refusal) = writer.write(at, &self.changes[at]) {
                missing.push(Refused { key: at, refusal });
            }
        }
        let Writer { batch, fresh, held, .. } = writer;
        let mut refused = batch.finish();
        for refused in &refused {
            if let Change::RouteSet(key, _) = &self.changes[refused.key]
                && fresh.binary_search(&refused.key).is_ok()
            {
                held.remove(key);
            }
        }
        if !missing.is_empty() {
            refused.extend(missing);
            refused.sort_by_key(|refused| refused.key);
        }
        refused
    }

    fn refuse(&mut self, Refused { key, refusal }: Refused) {
        self.failures.entry(key).or_insert_with(|| (refusal.errno, refusal.to_string()));
    }
}

fn meaning(change: &Change, refusal: &Refusal) -> Meaning {
    let errno = refusal.errno;
    match change {
        Change::AddressDelete(..)
        | Change::NexthopDelete(_)
        | Change::GroupDelete(_)
        | Change::RouteDelete(..)
        | Change::NeighbourDelete(..)
        | Change::FdbDelete(..) => match errno {
            libc::ENOENT | libc::ESRCH | libc::ENODEV | libc::EADDRNOTAVAIL => Meaning::Done,
            _ => Meaning::Failed,
        },
        // It was to be deleted first and is not there.
        Change::FdbSet(..) if errno == libc::ENOENT => Meaning::Done,
        Change::NexthopAdd(_) | Change::GroupAdd(_) if errno == libc::EEXIST => Meaning::Stale,
        Change::RouteSet(..) if errno == libc::EEXIST => Meaning::Taken,
        // "Invalid device index", "Nexthop id does not exist", "Nexthop has invalid gateway or device mismatch"
        Change::NexthopAdd(_)
        | Change::GroupAdd(_)
        | Change::RouteSet(_, Route { via: Via::Object(_) | Via::Group(_) | Via::Gateway(_), .. })
            if errno == libc::EINVAL =>
        {
            Meaning::Stale
        }
        _ if errno == libc::ENODEV => Meaning::Stale,
        _ => Meaning::Failed,
    }
}

/// Changes as messages.
struct Writer<'a> {
    batch: Batch<'a>,
    index: &'a mut Index,
    writes: &'a mut u64,
    scope: &'a Scope,
    held: &'a mut HashSet<RouteKey>,
    /// Places of routes that were not held before.
    fresh: Vec<usize>,
    /// The way that was written last: that of the next route is mostly the same.
    last: Option<(Via, Target)>,
    go: Go,
}

/// Which of the goes it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Go {
    /// All as it should be.
    First,
    /// What the kernel did not know a number of, or no way to.
    Again,
    /// Routes into the place of others.
    InPlace,
}

impl Writer<'_> {
    fn write(&mut self, at: usize, change: &Change) -> std::result::Result<(), Refusal> {
        match change {
            Change::AddressAdd(name, net) => {
                let link = self.link(*name)?;
                self.push(at, (address::NEW, REPLACE), |body| address::add(body, link, *net));
            }
            Change::AddressDelete(name, net) => {
                let link = self.link(*name)?;
                self.push(at, (address::DELETE, 0), |body| address::delete(body, link, *net));
            }
            Change::NexthopAdd(nexthop) => {
                let link = self.link(nexthop.link)?;
                let id = self.index.id_or_new(*nexthop).ok_or_else(no_id)?;
                let make = |body: &mut Body<'_>| nexthop::make(body, id, link, nexthop.gateway);
                self.lead_to(at, (link, nexthop.gateway), |writer| writer.push(at, (nexthop::NEW, MAKE), make));
            }
            Change::NexthopDelete(nexthop) => {
                for id in self.index.forget_nexthop(*nexthop) {
                    self.push(at, (nexthop::DELETE, 0), |body| nexthop::delete(body, id));
                }
            }
            Change::GroupAdd(group) => self.add_group(at, group)?,
            Change::GroupDelete(group) => self.delete_group(at, group),
            Change::RouteSet(key, route) => self.set_route(at, *key, &route.via)?,
            Change::RouteDelete(key, route) => {
                self.delete_route(at, *key, route)?;
                self.held.remove(key);
            }
            Change::NeighbourSet(key, entry) => {
                let link = self.link(key.link)?;
                self.push(at, (neighbour::NEW, REPLACE), |body| neighbour::set(body, link, key.address, entry.mac));
            }
            Change::NeighbourDelete(key, _) => {
                let link = self.link(key.link)?;
                self.push(at, (neighbour::DELETE, 0), |body| neighbour::delete(body, link, key.address));
            }
            Change::FdbSet(key, entry) => {
                let link = self.link(key.link)?;
                let (mac, remote) = (key.mac, entry.remote);
                let set = |body: &mut Body<'_>| neighbour::set_forwarding(body, link, mac, remote);
                if !self.index.take_untagged(*key) {
                    self.push(at, (neighbour::NEW, REPLACE), set);
                    return Ok(());
                }
                // The driver lets no tagged entry take over one without (`vxlan_fdb_update_existing`), so that goes first.
                // All is in one datagram, but a packet may be sent by another processor in between: it finds the way by
                // the catch-all, which the driver uses for a MAC that it does not know (`vxlan_xmit`).
                self.push(at, (neighbour::NEW, APPEND), |body| neighbour::add_catch_all(body, link, remote));
                self.push(at, (neighbour::DELETE, 0), |body| neighbour::delete_forwarding(body, link, mac));
                self.push(at, (neighbour::NEW, REPLACE), set);
                self.push(at, (neighbour::DELETE, 0), |body| neighbour::delete_catch_all(body, link, remote));
            }
            Change::FdbDelete(key, _) => {
                let link = self.link(key.link)?;
                self.push(at, (neighbour::DELETE, 0), |body| neighbour::delete_forwarding(body, link, key.mac));
            }
            _ => {}
        }
        Ok(())
    }

    fn set_route(&mut self, at: usize, key: RouteKey, via: &Via) -> std::result::Result<(), Refusal> {
        let target = match &self.last {
            Some((last, target)) if last == via => *target,
            _ => {
                let target = self.target(via)?;
                self.last.insert((via.clone(), target)).1
            }
        };
        let fresh = self.held.insert(key);
        self.fresh.extend(fresh.then_some(at));
        // What was ours goes from one way to another in one step, with nothing in between.
        let flags = if self.go == Go::InPlace || !fresh { REPLACE } else { MAKE };
        let set = |body: &mut Body<'_>| route::set(body, key, target);
        match target {
            Target::Gateway(link, gateway) => {
                self.lead_to(at, (link, gateway), |writer| writer.push(at, (route::NEW, flags), set));
            }
            _ => self.push(at, (route::NEW, flags), set),
        }
        Ok(())
    }

    fn add_group(&mut self, at: usize, group: &Group) -> std::result::Result<(), Refusal> {
        let id = |member: &Nexthop| self.index.id(*member).ok_or_else(|| no_object(*member));
        let members = group.members().map(id).collect::<std::result::Result<Vec<u32>, _>>()?;
        let id = self.index.group_or_new(group).ok_or_else(no_id)?;
        self.push(at, (nexthop::NEW, MAKE), |body| nexthop::make_group(body, id, &members));
        Ok(())
    }

    fn delete_group(&mut self, at: usize, group: &Group) {
        for id in self.index.forget_group(group) {
            self.push(at, (nexthop::DELETE, 0), |body| nexthop::delete(body, id));
        }
    }

    /// Whatever names a gateway. IPv6 takes none as on-link that its table has behind another link
    /// (`ip6_route_check_nh_onlink`), as it has a tunnel's while its peer is reached directly. So that the next hop can be there
    /// before the route changes to it, at the second go the gateway has a route of its own for as long as this takes.
    fn lead_to(&mut self, at: usize, (link, gateway): (u32, IpAddr), write: impl FnOnce(&mut Self)) {
        let key = RouteKey::new(IpNet::from(gateway));
        let led = gateway.is_ipv6() && self.go == Go::Again;
        if led {
            self.push(at, (route::NEW, MAKE), |body| route::set(body, key, Target::Device(link)));
        }
        write(self);
        if led {
            let only = Only { protocol: PROTOCOL, link: Some(link), ..Only::default() };
            self.push(at, (route::DELETE, 0), |body| route::delete(body, key, only));
        }
    }

    fn target(&self, via: &Via) -> std::result::Result<Target, Refusal> {
        match *via {
            Via::Object(nexthop) => self.index.id(nexthop).map(Target::Object).ok_or_else(|| no_object(nexthop)),
            Via::Group(ref group) => self.index.group(group).map(Target::Object).ok_or_else(|| no_group(group)),
            Via::Gateway(nexthop) => Ok(Target::Gateway(self.link(nexthop.link)?, nexthop.gateway)),
            Via::Device(link) => Ok(Target::Device(self.link(link)?)),
            Via::Encapsulated(ref outer) => {
                let Encapsulation { link, source, destination } = **outer;
                Ok(Target::Encapsulated(self.link(link)?, (source, destination)))
            }
            Via::Blackhole => Ok(Target::Blackhole),
            Via::Unreachable => Ok(Target::Unreachable),
            Via::Unknown => {
                let words = "a route of a kind that we do not make cannot be set".to_owned();
                Err(Refusal { errno: libc::EOPNOTSUPP, words: Some(words) })
            }
        }
    }

    /// One with our tag is deleted by it; the kernel looks (`fib_table_delete`, `ip6_route_del`). One to be adopted has
    /// to lead where it was seen.
    fn delete_route(&mut self, at: usize, key: RouteKey, route: &Route) -> std::result::Result<(), Refusal> {
        let only = match (route.tag, &route.via) {
            (Tag::Ours, _) => Only { protocol: PROTOCOL, ..Only::default() },
            (Tag::Adopted, Via::Object(nexthop)) => {
                Only { object: Some(self.index.id(*nexthop).ok_or_else(|| no_object(*nexthop))?), ..Only::default() }
            }
            (Tag::Adopted, Via::Gateway(_) | Via::Device(_) | Via::Encapsulated(_)) => {
                let link = route.via.link().map(|name| self.link(name)).transpose()?;
                Only { link, ..Only::default() }
            }
            // Flannel has no groups.
            (Tag::Adopted, Via::Group(_) | Via::Blackhole | Via::Unreachable | Via::Unknown) => {
                for link in self.scope.links.iter().filter_map(|name| self.index.link(*name)).collect::<Vec<_>>() {
                    let only = Only { link: Some(link), ..Only::default() };
                    self.push(at, (route::DELETE, 0), |body| route::delete(body, key, only));
                }
                return Ok(());
            }
        };
        self.push(at, (route::DELETE, 0), |body| route::delete(body, key, only));
        Ok(())
    }

    fn link(&self, name: LinkName) -> std::result::Result<u32, Refusal> {
        let missing = || Refusal { errno: libc::ENODEV, words: Some(format!("there is no link {name}")) };
        self.index.link(name).ok_or_else(missing)
    }

    fn push(&mut self, at: usize, kind: (u16, u16), body: impl FnOnce(&mut Body<'_>)) {
        *self.writes += 1;
        self.batch.push(at, kind, body);
    }
}

fn no_id() -> Refusal {
    let words =
        "all next-hop ids of this instance are in use; see `ip nexthop show proto 84`, and delete what nobody uses";
    Refusal { errno: libc::ENOSPC, words: Some(words.to_owned()) }
}

fn no_group(group: &Group) -> Refusal {
    Refusal { errno: libc::ENODEV, words: Some(format!("there is no next-hop object {group}")) }
}

fn no_object(Nexthop { link, gateway }: Nexthop) -> Refusal {
    // The number that a deletion takes for "gone already", and a route for "look again".
    Refusal { errno: libc::ENODEV, words: Some(format!("there is no next-hop object via {gateway} dev {link}")) }
}
