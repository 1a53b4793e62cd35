//! [`Group`]: several next hops of which each flow takes one.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{LinkName, Nexthop};

/// Next-hop objects that are used together, each for as many flows as any other (RFC 2992). `ip nexthop add group 1/2 proto 84`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group(Arc<[Nexthop]>);

impl Group {
    /// Of these; `None` of none. One alone is what the kernel leaves of a group whose other members went with their links.
    pub fn new(members: BTreeSet<Nexthop>) -> Option<Group> {
        (!members.is_empty()).then(|| Group(members.into_iter().collect()))
    }

    /// Its members, in their order.
    pub fn members(&self) -> impl Iterator<Item = &Nexthop> {
        self.0.iter()
    }

    /// The link of its first member.
    pub fn link(&self) -> Option<LinkName> {
        self.0.first().map(|nexthop| nexthop.link)
    }
}
