//! [`Action`]: what a rule changes of a route.

use std::fmt;
use std::net::IpAddr;

use crate::rib::sets::DEFAULT_LOCAL_PREF;
use crate::wire::{Attributes, Community, ExtendedCommunity, Family, LargeCommunity, NextHop, Origin};

use super::list;
use super::pattern::{CommunityPattern, LargePattern};

/// A change.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// LOCAL_PREF becomes this.
    SetLocalPref(u32),
    /// LOCAL_PREF grows by this, from 100 if there was none.
    RaiseLocalPref(u32),
    /// MULTI_EXIT_DISC becomes this, or goes.
    SetMed(Option<u32>),
    /// MULTI_EXIT_DISC grows by this, from 0 if there was none.
    RaiseMed(u32),
    /// ORIGIN becomes this.
    SetOrigin(Origin),
    /// The next hop of routes of its family becomes this; of EVPN routes too, whose next hop is of either family.
    SetNextHop(IpAddr),
    /// Communities become these, whatever they were.
    SetCommunities(Vec<Community>),
    /// Large communities become these.
    SetLarge(Vec<LargeCommunity>),
    /// Extended communities become these.
    SetExtended(Vec<ExtendedCommunity>),
    /// A community is added, if it is not there.
    Add(Target),
    /// Communities are removed, if they are there.
    Remove(Removed),
    /// An AS is put before the path, so many times: without a number that of whoever sends it, on import the peer's, on export ours.
    Prepend(Option<u32>, u8),
}

/// Communities of any kind, some by a part of theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Removed {
    /// Of four bytes.
    Community(CommunityPattern),
    /// Of twelve.
    Large(LargePattern),
    /// Of eight.
    Extended(ExtendedCommunity),
}

/// A community of any kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// Of four bytes.
    Community(Community),
    /// Of twelve.
    Large(LargeCommunity),
    /// Of eight.
    Extended(ExtendedCommunity),
}

/// A route that is being changed.
#[derive(Debug)]
pub struct Changed<'a> {
    /// What is said of it.
    pub attributes: &'a mut Attributes,
    /// The next hop that some rule gave it.
    pub hop: Option<NextHop>,
    /// What kind of route it is.
    pub family: Family,
    /// The AS that sends it: on import the peer's, on export ours.
    pub sender: u32,
}

impl Action {
    /// Makes the change.
    pub fn apply(&self, route: &mut Changed<'_>) {
        let attributes = &mut *route.attributes;
        match self {
            Action::SetLocalPref(value) => attributes.local_pref = Some(*value),
            Action::RaiseLocalPref(by) => {
                let before = attributes.local_pref.unwrap_or(DEFAULT_LOCAL_PREF);
                attributes.local_pref = Some(before.saturating_add(*by));
            }
            Action::SetMed(value) => attributes.med = *value,
            Action::RaiseMed(by) => attributes.med = Some(attributes.med.unwrap_or(0).saturating_add(*by)),
            Action::SetOrigin(origin) => attributes.origin = *origin,
            Action::SetNextHop(address) => route.hop = next_hop(*address, route.family).or(route.hop),
            Action::SetCommunities(all) => attributes.communities.clone_from(all),
            Action::SetLarge(all) => attributes.large.clone_from(all),
            Action::SetExtended(all) => attributes.extended.clone_from(all),
            Action::Add(target) => target.add(attributes),
            Action::Remove(target) => target.remove(attributes),
            Action::Prepend(asn, times) => attributes.as_path.prepend(asn.unwrap_or(route.sender), *times),
        }
    }
}

/// An address as next hop of a family; none where it would be no address of it.
fn next_hop(address: IpAddr, family: Family) -> Option<NextHop> {
    match address {
        IpAddr::V4(v4) => (family != Family::IPV6).then_some(NextHop::V4(v4)),
        IpAddr::V6(v6) => (family != Family::IPV4).then_some(NextHop::V6(v6, None)),
    }
}

impl Target {
    fn add(self, attributes: &mut Attributes) {
        fn last<T: PartialEq>(communities: &mut Vec<T>, community: T) {
            communities.retain(|other| *other != community);
            communities.push(community);
        }
        match self {
            Target::Community(community) => last(&mut attributes.communities, community),
            Target::Large(community) => last(&mut attributes.large, community),
            Target::Extended(community) => last(&mut attributes.extended, community),
        }
    }
}

impl Removed {
    fn remove(self, attributes: &mut Attributes) {
        match self {
            Removed::Community(any) => attributes.communities.retain(|community| !any.has(*community)),
            Removed::Large(any) => attributes.large.retain(|community| !any.has(*community)),
            Removed::Extended(community) => attributes.extended.retain(|other| *other != community),
        }
    }
}

impl fmt::Display for Removed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Removed::Community(any) => write!(f, "community {any}"),
            Removed::Large(any) => write!(f, "large community {any}"),
            Removed::Extended(community) => write!(f, "extended community {community}"),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Community(community) => write!(f, "community {community}"),
            Target::Large(community) => write!(f, "large community {community}"),
            Target::Extended(community) => write!(f, "extended community {community}"),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::SetLocalPref(value) => write!(f, "set local preference {value}"),
            Action::RaiseLocalPref(by) => write!(f, "add {by} to local preference"),
            Action::SetMed(Some(value)) => write!(f, "set MED {value}"),
            Action::SetMed(None) => f.write_str("remove MED"),
            Action::RaiseMed(by) => write!(f, "add {by} to MED"),
            Action::SetOrigin(origin) => write!(f, "set origin {origin}"),
            Action::SetNextHop(address) => write!(f, "set next hop {address}"),
            Action::SetCommunities(all) => write!(f, "set communities [{}]", list(all)),
            Action::SetLarge(all) => write!(f, "set large communities [{}]", list(all)),
            Action::SetExtended(all) => write!(f, "set extended communities [{}]", list(all)),
            Action::Add(target) => write!(f, "add {target}"),
            Action::Remove(target) => write!(f, "remove {target}"),
            Action::Prepend(asn, times) => {
                let whose = asn.map_or_else(|| "the sender's AS".to_owned(), |asn| format!("AS {asn}"));
                let more = if *times == 1 { "once".to_owned() } else { format!("{times} times") };
                write!(f, "prepend {whose} {more}")
            }
        }
    }
}
