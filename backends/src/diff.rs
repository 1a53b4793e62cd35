//! [`diff`]: from one [`KernelState`] to another, as changes in an order that the kernel accepts.
//!
//! It ranges over the union of both key sets: what is wanted and missing or different is set, what is there and not
//! wanted is removed. For the whole node `from` is what was observed; for one lease's change both sides are its
//! contributions before and after. There is no other code that decides a change.

use std::collections::{BTreeMap, BTreeSet};
use std::iter::Peekable;

use crate::offload::Offload;
use crate::plan::{Change, Plan};
use crate::state::{Group, KernelState, Link, LinkKind, LinkName, Passage, Route, Tag, Via};

/// The changes that turn `from` into `to`. Empty when they are equal.
pub fn diff(from: &KernelState, to: &KernelState) -> Plan {
    let fate = Fate::of(from, to);
    let mut plan = Plan::default();
    devices(&mut plan, &fate, from, to);
    if from.ruleset != to.ruleset {
        plan.changes.push(Change::RulesetSet(to.ruleset.clone()));
    }
    passages(&mut plan, from, to);
    let (set, deleted) = per_peer(&fate, from, to);
    plan.changes.extend(set);
    plan.changes.extend(deleted);
    plan.changes.extend(fate.removed.iter().map(|name| Change::LinkDelete(*name)));
    plan
}

/// What becomes of links, because what lives on one shares its fate.
#[derive(Default)]
struct Fate {
    /// Not wanted any more: deleted last, and everything on them goes with them.
    removed: BTreeSet<LinkName>,
    /// Deleted and made anew first: nothing that was observed on them is there any more.
    remade: BTreeSet<LinkName>,
    /// Given another link-layer address: the kernel drops its neighbours, permanent ones too (`neigh_changeaddr`).
    readdressed: BTreeSet<LinkName>,
    /// A name that somebody else's device has: nothing of ours may be put on it.
    blocked: BTreeSet<LinkName>,
}

impl Fate {
    fn of(from: &KernelState, to: &KernelState) -> Fate {
        let mut fate = Fate::default();
        for (name, link) in &from.links {
            match (to.links.get(name), &link.kind, link.tag) {
                (None, _, Tag::Ours) => fate.removed.insert(*name),
                // A kind and a mode: of a kind of ours, so it was an earlier flannel's or ours.
                (Some(_), LinkKind::Other(kind), Tag::Adopted) if !kind.contains(' ') => fate.blocked.insert(*name),
                (Some(wanted), _, _) if !can_become(link, wanted) => fate.remade.insert(*name),
                (Some(wanted), _, _) if link.mac != wanted.mac => fate.readdressed.insert(*name),
                _ => false,
            };
        }
        fate
    }

    /// Whether what was observed on this link is ours to change and still there when its turn comes.
    fn lasts(&self, link: LinkName) -> bool {
        !self.removed.contains(&link) && !self.remade.contains(&link) && self.may_use(link)
    }

    /// The same for routes and next hops, which do not simply go with a link that is removed: for each next hop the
    /// kernel then walks the whole routing table (`nexthop_flush_dev`, `fib_table_flush`), a second at 15,000.
    fn outlasts(&self, link: LinkName) -> bool {
        !self.remade.contains(&link) && self.may_use(link)
    }

    fn may_use(&self, link: LinkName) -> bool {
        !self.blocked.contains(&link)
    }
}

/// All links that a route may leave by.
fn links(via: &Via) -> impl Iterator<Item = LinkName> {
    let (one, several) = match via {
        Via::Group(group) => (None, Some(group)),
        other => (other.link(), None),
    };
    one.into_iter().chain(several.into_iter().flat_map(Group::members).map(|member| member.link))
}

fn can_become(from: &Link, to: &Link) -> bool {
    match (&from.kind, &to.kind) {
        (LinkKind::Vxlan(from), LinkKind::Vxlan(to)) => from.can_become(to),
        // Port and key are only settings to it.
        (LinkKind::WireGuard(_), LinkKind::WireGuard(_)) => true,
        (LinkKind::Ipip(_), LinkKind::Ipip(_)) | (LinkKind::Ip6Tunnel, LinkKind::Ip6Tunnel) => true,
        // Who is behind it is another matter.
        (LinkKind::Tun(_), LinkKind::Tun(_)) => true,
        _ => false,
    }
}

/// A device's setting without which it takes no address of IPv6.
const DISABLED: &str = "/disable_ipv6";

/// Links, their addresses, and sysctls (of which a new link's own exist only once it does).
fn devices(plan: &mut Plan, fate: &Fate, from: &KernelState, to: &KernelState) {
    for (name, link) in &to.links {
        match from.links.get(name).filter(|_| fate.may_use(*name)) {
            Some(there) if fate.remade.contains(name) => {
                debug_assert_ne!(there, link);
                plan.changes.push(Change::LinkDelete(*name));
                plan.changes.push(Change::LinkAdd(*name, Box::new(link.clone())));
            }
            Some(there) if there != link => {
                plan.changes.push(Change::LinkSet {
                    name: *name,
                    from: Box::new(there.clone()),
                    to: Box::new(link.clone()),
                });
            }
            Some(_) => {}
            None => plan.changes.push(Change::LinkAdd(*name, Box::new(link.clone()))),
        }
    }
    for name in to.links.keys().filter(|name| fate.may_use(**name)) {
        // The kernel gives a new link the offload.
        let before = from.software_checksums.contains(name) && fate.lasts(*name);
        let after = to.software_checksums.contains(name);
        if before != after {
            plan.changes.push(Change::OffloadSet(*name, if after { Offload::Off } else { Offload::On }));
        }
    }
    sysctls(plan, (fate, from, to), |path| path.ends_with(DISABLED));
    // A link that loses its last address loses its neighbours and routes too (`fib_disable_ip`): the new one comes first.
    let mut gone = Vec::new();
    for (before, key, after) in union(&from.addresses, &to.addresses) {
        let (link, address) = *key;
        match (before.filter(|_| fate.lasts(link)), after.filter(|_| fate.may_use(link))) {
            // The kernel cannot re-tag an address in place; flannel's is as good as ours.
            (None, Some(_)) => plan.changes.push(Change::AddressAdd(link, address)),
            (Some(_), None) => gone.push(Change::AddressDelete(link, address)),
            _ => {}
        }
    }
    plan.changes.append(&mut gone);
    sysctls(plan, (fate, from, to), |path| !path.ends_with(DISABLED));
}

/// The settings of which this is true.
fn sysctls(plan: &mut Plan, (fate, from, to): (&Fate, &KernelState, &KernelState), is: impl Fn(&str) -> bool) {
    let fresh = |path: &str| to.links.keys().any(|name| is_new(fate, from, *name) && names_link(path, *name));
    // The moment a host begins to forward, the kernel does what other settings say of hosts that do: those come first.
    let (forwarding, others): (Vec<_>, Vec<_>) =
        to.sysctls.iter().partition(|(path, _)| path.ends_with("forward") || path.ends_with("forwarding"));
    for (path, value) in others.into_iter().chain(forwarding).filter(|(path, _)| is(path)) {
        let differs = from.sysctls.get(path).is_some_and(|there| there != value);
        // One that cannot be read belongs to a kernel without that feature, unless its link is only being made.
        if differs || fresh(path) {
            plan.changes.push(Change::SysctlSet(path.clone(), value.clone()));
        }
    }
}

/// What our own table accepts and another one would drop; and what is left there of ours for what ours accepts no more.
fn passages(plan: &mut Plan, from: &KernelState, to: &KernelState) {
    for (network, there) in &from.passages {
        match (to.ruleset.as_ref().is_some_and(|ruleset| ruleset.forwards(network)), there) {
            (true, Passage::Shut | Passage::Broken) => plan.changes.push(Change::PassageSet(*network)),
            (false, Passage::Broken | Passage::Open) => plan.changes.push(Change::PassageDelete(*network)),
            _ => {}
        }
    }
}

fn is_new(fate: &Fate, from: &KernelState, name: LinkName) -> bool {
    fate.may_use(name) && (!from.links.contains_key(&name) || fate.remade.contains(&name))
}

fn names_link(path: &str, name: LinkName) -> bool {
    path.split('/').any(|part| part == name.as_str())
}

/// What there is one of per peer: everything to set, in the order in which one needs the other, then everything to
/// remove, in the reverse order.
fn per_peer(fate: &Fate, from: &KernelState, to: &KernelState) -> (Vec<Change>, Vec<Change>) {
    let mut set = Vec::new();
    let mut deleted = Vec::new();
    for (before, key, after) in union(&from.nexthops, &to.nexthops) {
        match (before.filter(|_| fate.outlasts(key.link)), after.filter(|_| fate.may_use(key.link))) {
            (None, Some(_)) => set.push(Change::NexthopAdd(*key)),
            (Some(_), None) => deleted.push(Change::NexthopDelete(*key)),
            _ => {}
        }
    }
    for (before, key, after) in union(&from.groups, &to.groups) {
        let before = before.filter(|_| key.members().all(|member| fate.outlasts(member.link)));
        match (before, after.filter(|_| key.members().all(|member| fate.may_use(member.link)))) {
            (None, Some(_)) => set.push(Change::GroupAdd(key.clone())),
            (Some(_), None) => deleted.push(Change::GroupDelete(key.clone())),
            _ => {}
        }
    }
    for (before, key, after) in union(&from.neighbours, &to.neighbours) {
        let lasts = fate.lasts(key.link) && !fate.readdressed.contains(&key.link);
        match (before.filter(|_| lasts), after.filter(|_| fate.may_use(key.link))) {
            (before, Some(after)) if before != Some(after) => set.push(Change::NeighbourSet(*key, *after)),
            (Some(before), None) => deleted.push(Change::NeighbourDelete(*key, before.mac)),
            _ => {}
        }
    }
    for (before, key, after) in union(&from.fdb, &to.fdb) {
        match (before.filter(|_| fate.lasts(key.link)), after.filter(|_| fate.may_use(key.link))) {
            (before, Some(after)) if before != Some(after) => set.push(Change::FdbSet(*key, *after)),
            (Some(before), None) => deleted.push(Change::FdbDelete(*key, *before)),
            _ => {}
        }
    }
    for (before, key, after) in union(&from.peers, &to.peers) {
        let before = before.filter(|_| fate.lasts(key.link));
        match (before, after.filter(|_| fate.may_use(key.link))) {
            (before, Some(after)) if !before.is_some_and(|before| before.serves(after)) => {
                let (from, to) = (before.cloned().map(Box::new), Box::new(after.clone()));
                set.push(Change::PeerSet { key: *key, from, to });
            }
            (Some(_), None) => deleted.push(Change::PeerDelete(*key)),
            _ => {}
        }
    }
    for (before, key, after) in union(&from.relays, &to.relays) {
        match (before.filter(|_| fate.lasts(key.link)), after.filter(|_| fate.may_use(key.link))) {
            (before, Some(after)) if before != Some(after) => set.push(Change::RelaySet(*key, *after)),
            (Some(_), None) => deleted.push(Change::RelayDelete(*key)),
            _ => {}
        }
    }
    for (before, key, after) in union(&from.routes, &to.routes) {
        let lasts = |route: &&Route| links(&route.via).all(|link| fate.outlasts(link));
        let may_use = |route: &&Route| links(&route.via).all(|link| fate.may_use(link));
        match (before.filter(lasts), after.filter(may_use)) {
            (before, Some(after)) if before != Some(after) => set.push(Change::RouteSet(*key, after.clone())),
            (Some(before), None) => deleted.push(Change::RouteDelete(*key, before.clone())),
            _ => {}
        }
    }
    deleted.reverse();
    (set, deleted)
}

/// Both maps in one walk, in the order of their keys: each key with what is on either side.
fn union<'a, K: Ord, V>(from: &'a BTreeMap<K, V>, to: &'a BTreeMap<K, V>) -> Union<'a, K, V> {
    Union { from: from.iter().peekable(), to: to.iter().peekable() }
}

struct Union<'a, K, V> {
    from: Peekable<std::collections::btree_map::Iter<'a, K, V>>,
    to: Peekable<std::collections::btree_map::Iter<'a, K, V>>,
}

impl<'a, K: Ord, V> Iterator for Union<'a, K, V> {
    type Item = (Option<&'a V>, &'a K, Option<&'a V>);

    fn next(&mut self) -> Option<Self::Item> {
        let order = match (self.from.peek(), self.to.peek()) {
            (Some((from, _)), Some((to, _))) => from.cmp(to),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (None, None) => return None,
        };
        let before = if order.is_le() { self.from.next() } else { None };
        let after = if order.is_ge() { self.to.next() } else { None };
        let key = before.or(after).map(|(key, _)| key)?;
        Some((before.map(|(_, value)| value), key, after.map(|(_, value)| value)))
    }
}
