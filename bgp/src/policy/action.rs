//! [`Action`]: what a rule changes of a route.

use crate::wire::{Attributes, Community, ExtendedCommunity, LargeCommunity, NextHop, Origin};

/// A change.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// LOCAL_PREF becomes this.
    SetLocalPref(u32),
    /// MULTI_EXIT_DISC becomes this, or goes.
    SetMed(Option<u32>),
    /// ORIGIN becomes this.
    SetOrigin(Origin),
    /// The next hop becomes this.
    SetNextHop(NextHop),
    /// Communities become these, whatever they were.
    Set(Vec<Target>),
    /// A community is added, if it is not there.
    Add(Target),
    /// A community is removed, if it is there.
    Remove(Target),
    /// An AS is put before the path, so many times.
    Prepend(u32, u8),
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

impl Action {
    /// Makes the change.
    pub fn apply(&self, attributes: &mut Attributes, hop: &mut NextHop) {
        match self {
            Action::SetLocalPref(value) => attributes.local_pref = Some(*value),
            Action::SetMed(value) => attributes.med = *value,
            Action::SetOrigin(origin) => attributes.origin = *origin,
            Action::SetNextHop(other) => *hop = *other,
            Action::Set(targets) => {
                attributes.communities.clear();
                attributes.large.clear();
                attributes.extended.clear();
                targets.iter().for_each(|target| target.add(attributes));
            }
            Action::Add(target) => target.add(attributes),
            Action::Remove(target) => target.remove(attributes),
            Action::Prepend(asn, times) => attributes.as_path.prepend(*asn, *times),
        }
    }
}

impl Target {
    fn add(self, attributes: &mut Attributes) {
        self.remove(attributes);
        match self {
            Target::Community(community) => attributes.communities.push(community),
            Target::Large(community) => attributes.large.push(community),
            Target::Extended(community) => attributes.extended.push(community),
        }
    }

    fn remove(self, attributes: &mut Attributes) {
        match self {
            Target::Community(community) => attributes.communities.retain(|other| *other != community),
            Target::Large(community) => attributes.large.retain(|other| *other != community),
            Target::Extended(community) => attributes.extended.retain(|other| *other != community),
        }
    }
}
