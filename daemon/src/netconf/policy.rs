//! `Policies`: which routes are taken from BGP peers or told to them, by name.
//!
//! A key that nobody knows is a mistake here and not a warning as elsewhere: a condition that is not understood would hold for every route. Who
//! uses a policy is the business of whoever reads the peers.

mod actions;
mod conditions;
mod lists;

pub(super) use conditions::{asn, community, large};

use std::collections::BTreeMap;
use std::sync::Arc;

use bgp::policy::{MOST_RULES, Policy, Rule, Then, Verdict};

use lists::PrefixLists;

use super::json::Value;
use super::object::{Many, Object};
use crate::spelling;

/// The policies of one file.
const POLICIES: Many<(String, Value)> = Many {
    read: Value::members,
    most: 1000,
    form: "write an object of lists of rules, as in {\"from-fabric\": [{\"Then\": \"accept\"}]}",
    fewer: "remove some",
};

type BuiltIn = (&'static str, fn() -> Policy);

/// Those that everybody has, with what they do to every route.
const BUILT_IN: [BuiltIn; 2] = [("accept", Policy::accept), ("reject", Policy::reject)];

/// All policies of a network, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policies(BTreeMap<String, Arc<Policy>>);

impl Policies {
    /// The policy of this name; `accept` and `reject` are always there.
    pub fn get(&self, name: &str) -> Option<Arc<Policy>> {
        let built_in = || BUILT_IN.iter().find(|(known, _)| *known == name).map(|(_, policy)| Arc::new(policy()));
        self.0.get(name).cloned().or_else(built_in)
    }

    /// All names, those that are always there last.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str).chain(BUILT_IN.map(|(name, _)| name))
    }

    /// The policy that a key of some object names; `None` where the key is absent or, which is noted, names none.
    pub(super) fn named(&self, object: &mut Object<'_, '_>, key: &'static str) -> Option<Arc<Policy>> {
        let name = object.text(key)?;
        let policy = self.get(name);
        if policy.is_none() {
            let fix = match spelling::nearest(name, self.names()) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("there are {}", self.names().collect::<Vec<_>>().join(", ")),
            };
            object.mistake(key, name, ("Policies has none of this name", fix));
        }
        policy
    }
}

/// Reads them. After a mistake, which is noted, a policy of its name stands there all the same, so that nobody is said to name one that is not there.
pub(super) fn policies(top: &mut Object<'_, '_>) -> Policies {
    let lists = PrefixLists::read(top);
    let mut policies = BTreeMap::new();
    for (name, value) in top.many("Policies", &POLICIES) {
        let path = format!("Policies.{}", name.chars().take(80).collect::<String>());
        let taken = BUILT_IN.iter().any(|(built_in, _)| built_in == name);
        if taken || name.is_empty() || policies.contains_key(name) {
            let why = if taken { "this name says already what it does" } else { "there is another of this name" };
            top.mistake(&path, "", (why, "give it another name"));
        }
        let policy = policy(top, (&path, value), &lists).unwrap_or_else(Policy::reject);
        policies.insert(name.clone(), Arc::new(policy));
    }
    Policies(policies)
}

fn policy<'a>(top: &mut Object<'a, '_>, (path, value): (&str, &'a Value), lists: &PrefixLists) -> Option<Policy> {
    let Value::List(list) = value else {
        let fix = "write a list of rules, as in [{\"Then\": \"accept\"}]";
        top.mistake(path, &value.to_string(), (format!("it is {}, not a list", value.kind()), fix));
        return None;
    };
    if list.is_empty() {
        top.warn(format!("{path} has no rules, and so rejects every route"));
    }
    let mut rules = Vec::new();
    for (index, value) in list.iter().enumerate().take(MOST_RULES) {
        let mut object = top.inner(&format!("{path}[{index}]"), value)?;
        rules.extend(rule(&mut object, index, lists));
    }
    if list.len() > MOST_RULES {
        let why = format!("it has {} rules and can have {MOST_RULES}", list.len());
        top.mistake(path, "[…]", (why, "put prefixes of one kind into one rule's list"));
        return None;
    }
    // What no rule decides is rejected: a route that nobody thought of goes nowhere.
    Policy::new(rules, Verdict::Reject).ok()
}

fn rule(object: &mut Object<'_, '_>, index: usize, lists: &PrefixLists) -> Option<Rule> {
    let name = object.text("Name").map_or_else(|| format!("#{}", index + 1), str::to_owned);
    let conditions = conditions::read(object, lists);
    let actions = actions::read(object);
    let fix = "write \"accept\", \"reject\" or, to go on with the next rule, \"next\"";
    let then = match object.text("Then").map(str::to_lowercase).as_deref() {
        Some("accept") => Some(Then::Accept),
        Some("reject") => Some(Then::Reject),
        Some("next") => Some(Then::Next),
        Some(other) => {
            object.mistake("Then", other, ("it is no decision", fix));
            None
        }
        None => {
            if !object.holds("Then") {
                object.mistake("Then", "", ("it is missing", fix));
            }
            None
        }
    };
    if then == Some(Then::Reject) && !actions.is_empty() {
        let why = "what is rejected is not changed";
        object.mistake("Then", "reject", (why, "leave out Set, Add, Remove and Prepend, or accept it"));
    }
    object.finish_strictly();
    Some(Rule { name, conditions, actions, then: then? })
}

#[cfg(test)]
mod tests;
