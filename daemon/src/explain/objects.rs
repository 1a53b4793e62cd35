//! [`Object`]: one kernel object that a path needs, and whether the kernel has it.

use std::collections::BTreeMap;

use backends::KernelState;
use serde::Serialize;

/// One kernel object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Object {
    /// What it should be, in the words of `ip`, `bridge`, `sysctl` and `nft`.
    pub wanted: String,
    /// Whether it is there.
    pub condition: Condition,
    /// What is there in its place, when it is different.
    pub there: Option<String>,
}

/// Whether an object is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// As it should be.
    Present,
    /// Not at all.
    Missing,
    /// Otherwise than it should be.
    Different,
}

/// Each object of one state, and how it is in another, in the order in which a packet meets them. `table` is the name of
/// our nftables table.
pub fn compare(wanted: &KernelState, there: &KernelState, table: &str) -> Vec<Object> {
    let none = KernelState::default;
    let mut objects = Vec::new();
    objects.extend(each(&wanted.routes, &there.routes, |routes| KernelState { routes, ..none() }));
    objects.extend(each(&wanted.nexthops, &there.nexthops, |nexthops| KernelState { nexthops, ..none() }));
    objects.extend(each(&wanted.neighbours, &there.neighbours, |neighbours| KernelState { neighbours, ..none() }));
    objects.extend(each(&wanted.fdb, &there.fdb, |fdb| KernelState { fdb, ..none() }));
    objects.extend(each(&wanted.links, &there.links, |links| KernelState { links, ..none() }));
    // Whose tag an address carries does not matter: the kernel cannot change it, and `diff` lets it be.
    let held = wanted.addresses.iter().filter(|(key, _)| there.addresses.contains_key(key));
    let held = held.map(|(key, tag)| (*key, *tag)).collect();
    objects.extend(each(&wanted.addresses, &held, |addresses| KernelState { addresses, ..none() }));
    // A sysctl that cannot be read belongs to a kernel without that feature, and is not missed.
    let mut sysctls = wanted.sysctls.clone();
    sysctls.retain(|path, _| there.sysctls.contains_key(path));
    objects.extend(each(&sysctls, &there.sysctls, |sysctls| KernelState { sysctls, ..none() }));
    objects.extend(ruleset(wanted, there, table));
    objects
}

/// The objects of one kind. `alone` makes a state that holds one of them, which prints as its line.
fn each<'a, K: Ord + Clone, V: PartialEq + Clone>(
    wanted: &'a BTreeMap<K, V>,
    there: &'a BTreeMap<K, V>,
    alone: impl Fn(BTreeMap<K, V>) -> KernelState + 'a,
) -> impl Iterator<Item = Object> + 'a {
    let line = move |key: &K, value: &V| {
        let state = alone(BTreeMap::from([(key.clone(), value.clone())]));
        state.to_string().trim_end().to_owned()
    };
    wanted.iter().map(move |(key, value)| {
        let (condition, there) = match there.get(key) {
            None => (Condition::Missing, None),
            Some(other) if other == value => (Condition::Present, None),
            Some(other) => (Condition::Different, Some(line(key, other))),
        };
        Object { wanted: line(key, value), condition, there }
    })
}

/// The firewall is one object: its rules are `towpathctl plan`'s to spell out.
fn ruleset(wanted: &KernelState, there: &KernelState, table: &str) -> Option<Object> {
    let ruleset = wanted.ruleset.as_ref()?;
    let rules =
        |ruleset: &backends::ruleset::Ruleset| -> usize { ruleset.chains.iter().map(|chain| chain.rules.len()).sum() };
    let line = |count: usize| format!("nft table inet {table}, {count} rules");
    let (condition, there) = match &there.ruleset {
        None => (Condition::Missing, None),
        Some(other) if other == ruleset => (Condition::Present, None),
        Some(other) => (Condition::Different, Some(format!("{}, not all ours", line(rules(other))))),
    };
    Some(Object { wanted: line(rules(ruleset)), condition, there })
}
