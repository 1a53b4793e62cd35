//! [`KernelSide`]: what one instance has left in the kernel, and its removal. It is the difference between what is there
//! and nothing at all, by the same `diff` as everything else.

use std::fmt;

use backends::diff::diff;
use backends::state::{KernelState, LinkName, Route, Scope};
use backends::{Change, Instance, Plan};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use kernel::Hand;

use super::CleanupError;

/// What one instance has left.
#[derive(Debug)]
pub struct KernelSide {
    scope: Scope,
    there: KernelState,
    plan: Plan,
}

impl KernelSide {
    /// The links of an instance, all that is on them, and blackholes in these networks.
    pub fn find(hand: &mut Hand, instance: Instance, networks: Vec<IpNet>) -> Result<KernelSide, CleanupError> {
        let Instance { alias, table } = instance;
        let scope = Scope { alias, table, links: Vec::new(), networks, sysctls: Vec::new() };
        // Which table is the instance's, the tables themselves say.
        let there = KernelState { ruleset: None, ..hand.observe(&scope)? };
        let plan = diff(&there, &KernelState::default());
        Ok(KernelSide { scope, there, plan })
    }

    /// A table, and the alias of the instance that wrote it, if that is known.
    pub fn table(name: &str, alias: &str) -> KernelSide {
        let (alias, table) = (alias.to_owned(), name.to_owned());
        let scope = Scope { alias, table, links: Vec::new(), networks: Vec::new(), sysctls: Vec::new() };
        let plan = Plan { changes: vec![Change::RulesetSet(None)] };
        KernelSide { scope, there: KernelState::default(), plan }
    }

    /// All networks that there are: every blackhole with our protocol number is ours then.
    pub fn everywhere() -> Vec<IpNet> {
        vec![IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())]
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.plan.is_empty()
    }

    /// Its links' alias.
    pub fn alias(&self) -> &str {
        &self.scope.alias
    }

    /// Its links.
    pub fn links(&self) -> impl Iterator<Item = LinkName> {
        self.there.links.keys().copied()
    }

    /// Takes out what another removes already.
    pub fn leave_to(&mut self, other: &KernelSide) {
        let same_table = self.scope.table == other.scope.table;
        self.plan.changes.retain(|change| match change {
            // The change does not say which table.
            Change::RulesetSet(_) => !(same_table && other.plan.changes.contains(change)),
            change => !other.plan.changes.contains(change),
        });
    }

    /// Removes it; gives what could not be removed, one sentence each.
    pub fn remove(&self, hand: &mut Hand) -> Vec<String> {
        let outcome = hand.apply(&self.scope, &self.plan);
        let sentence = |failure: &backends::Failure| {
            format!("`{}`: {}", Removal { side: self, change: &failure.change }, failure.reason)
        };
        outcome.failures.iter().map(sentence).collect()
    }

    /// What goes with a link.
    fn burden(&self, link: LinkName) -> String {
        let through = |route: &&Route| route.via.link() == Some(link);
        let counts = [
            (self.there.routes.values().filter(through).count(), "route", "routes"),
            (self.there.nexthops.keys().filter(|key| key.link == link).count(), "next hop", "next hops"),
            (self.there.neighbours.keys().filter(|key| key.link == link).count(), "neighbour", "neighbours"),
            (self.there.fdb.keys().filter(|key| key.link == link).count(), "forwarding entry", "forwarding entries"),
            (self.there.peers.keys().filter(|key| key.link == link).count(), "WireGuard peer", "WireGuard peers"),
        ];
        let counted = counts.iter().filter(|(count, ..)| *count > 0);
        let words = counted.map(|(count, one, more)| format!("{count} {}", if *count == 1 { one } else { more }));
        words.collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for KernelSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let going: Vec<LinkName> = self.plan.changes.iter().filter_map(removed_link).collect();
        let told_with = |change: &Change| link_under(change).is_some_and(|link| going.contains(&link));
        for change in self.plan.changes.iter().filter(|change| !told_with(change)) {
            write!(f, "{}", Removal { side: self, change })?;
            let burden = match change {
                Change::LinkDelete(link) => self.burden(*link),
                _ => String::new(),
            };
            writeln!(f, "{}{burden}", if burden.is_empty() { "" } else { "    # and with it " })?;
        }
        Ok(())
    }
}

fn removed_link(change: &Change) -> Option<LinkName> {
    if let Change::LinkDelete(link) = change { Some(*link) } else { None }
}

/// The link that a route or a next hop is taken from. Thousands of them are told with their link; they are changes of
/// their own because the kernel needs longer to remove them with it.
fn link_under(change: &Change) -> Option<LinkName> {
    match change {
        Change::RouteDelete(_, route) => route.via.link(),
        Change::NexthopDelete(nexthop) => Some(nexthop.link),
        _ => None,
    }
}

/// One change, as a command.
struct Removal<'a> {
    side: &'a KernelSide,
    change: &'a Change,
}

impl fmt::Display for Removal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.change {
            Change::RulesetSet(_) => write!(f, "nft delete table inet {}", self.side.scope.table),
            change => change.fmt(f),
        }
    }
}
