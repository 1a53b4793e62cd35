//! `Set`, `Add`, `Remove` and `Prepend` of a rule: what it changes of a route. They are done in this order.

use std::net::IpAddr;

use bgp::policy::{Action, Removed, Target};

use super::conditions::{asn, communities, community, extended, large, larges, origin};
use crate::netconf::json::Value;
use crate::netconf::object::{Object, Wrong};

/// Times that one rule may prepend an AS: paths much longer than this are dropped on the way by others.
const MOST_PREPENDED: u32 = 32;

/// Reads them.
pub(super) fn read(rule: &mut Object<'_, '_>) -> Vec<Action> {
    let mut actions = rule.object("Set").map_or_else(Vec::new, |mut object| set(&mut object));
    actions.extend(rule.object("Add").map_or_else(Vec::new, |mut object| add(&mut object)));
    actions.extend(rule.object("Remove").map_or_else(Vec::new, |mut object| remove(&mut object)));
    actions.extend(prepend(rule));
    actions
}

fn set(object: &mut Object<'_, '_>) -> Vec<Action> {
    let next_hops = object.items("NextHop", address).unwrap_or_default();
    let only = |items: Option<Vec<_>>| items.and_then(|items| items.into_iter().next());
    let mut actions: Vec<Action> = [
        object.integer("LocalPref", 0..=u32::MAX).map(Action::SetLocalPref),
        object.integer("MED", 0..=u32::MAX).map(|value| Action::SetMed(Some(value))),
        only(object.items("Origin", origin)).map(Action::SetOrigin),
        object.items("Communities", community).map(Action::SetCommunities),
        object.items("LargeCommunities", large).map(Action::SetLarge),
        object.items("ExtendedCommunities", extended).map(Action::SetExtended),
    ]
    .into_iter()
    .flatten()
    .collect();
    // One of each family: a route takes that of its own.
    if next_hops.iter().filter(|hop| hop.is_ipv4()).count() > 1
        || next_hops.iter().filter(|hop| hop.is_ipv6()).count() > 1
    {
        object.mistake("NextHop", "[…]", ("it has two addresses of one family", "write one of each at most"));
    }
    actions.extend(next_hops.into_iter().map(Action::SetNextHop));
    object.finish_strictly();
    actions
}

fn add(object: &mut Object<'_, '_>) -> Vec<Action> {
    let mut actions: Vec<Action> = targets(object).into_iter().map(Action::Add).collect();
    actions.extend(object.integer("LocalPref", 0..=u32::MAX).map(Action::RaiseLocalPref));
    actions.extend(object.integer("MED", 0..=u32::MAX).map(Action::RaiseMed));
    object.finish_strictly();
    actions
}

fn remove(object: &mut Object<'_, '_>) -> Vec<Action> {
    let standard = object.items("Communities", communities).unwrap_or_default().into_iter().map(Removed::Community);
    let large = object.items("LargeCommunities", larges).unwrap_or_default().into_iter().map(Removed::Large);
    let extended = object.items("ExtendedCommunities", extended).unwrap_or_default().into_iter().map(Removed::Extended);
    let mut actions: Vec<Action> = standard.chain(large).chain(extended).map(Action::Remove).collect();
    actions.extend(object.boolean("MED").filter(|remove| *remove).map(|_| Action::SetMed(None)));
    object.finish_strictly();
    actions
}

fn targets(object: &mut Object<'_, '_>) -> Vec<Target> {
    let communities = object.items("Communities", community).unwrap_or_default();
    let large = object.items("LargeCommunities", large).unwrap_or_default();
    let extended = object.items("ExtendedCommunities", extended).unwrap_or_default();
    let communities = communities.into_iter().map(Target::Community);
    communities.chain(large.into_iter().map(Target::Large)).chain(extended.into_iter().map(Target::Extended)).collect()
}

/// `2` for the sender's AS twice, or `{"AS": 64512, "Times": 2}`.
fn prepend(rule: &mut Object<'_, '_>) -> Option<Action> {
    if matches!(rule.held("Prepend"), Some(Value::Object(_))) {
        let mut object = rule.object("Prepend")?;
        let asns = object.items("AS", asn).unwrap_or_default();
        let times = object.integer("Times", 1..=MOST_PREPENDED).unwrap_or(1);
        if asns.len() > 1 {
            object.mistake("AS", "[…]", ("it is more than one", "write one, and another rule for the next"));
        }
        object.finish_strictly();
        return Some(Action::Prepend(asns.first().copied(), u8::try_from(times).ok()?));
    }
    let times = rule.integer("Prepend", 1..=MOST_PREPENDED)?;
    Some(Action::Prepend(None, u8::try_from(times).ok()?))
}

fn address(value: &Value) -> Result<IpAddr, Wrong> {
    let parsed = match value {
        Value::Text(text) => text.trim().parse().ok(),
        _ => None,
    };
    let usable = parsed.filter(|address: &IpAddr| !address.is_unspecified() && !address.is_multicast());
    usable.ok_or_else(|| {
        let fix = "write an address that a router can have, as in \"10.0.0.1\", or one of each family in a list";
        ("it is none".to_owned(), fix.to_owned())
    })
}
