//! [`Condition`]: what a rule asks of a route.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::rib::Relation;
use crate::wire::{Attributes, ExtendedCommunity, Family, NextHop, Nlri, Origin};

use super::list;
use super::pattern::{CommunityPattern, LargePattern};
use super::prefixes::Prefixes;

/// A route as policy sees it.
#[derive(Clone, Copy, Debug)]
pub struct Route<'a> {
    /// What it is about.
    pub nlri: Nlri<'a>,
    /// What is said of it.
    pub attributes: &'a Attributes,
    /// Where it leads.
    pub hop: NextHop,
    /// On import whom it comes from, on export whom it came from.
    pub sender: Sender,
}

/// Whom a route is from. By what it is and not by a number, so that a policy can be written before there are sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// What it is to us.
    pub relation: Relation,
    /// Its AS; ours for a route that begins here.
    pub asn: u32,
    /// Its address; none for a route that begins here.
    pub address: Option<IpAddr>,
}

/// Some peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peers {
    /// Those with an address in here.
    At(IpNet),
    /// Those of this AS; routes that begin here are not meant.
    Of(u32),
    /// Those of other systems.
    External,
    /// Those of our AS.
    Internal,
    /// Nobody: the route begins here.
    Local,
}

impl Peers {
    /// Whether a sender is among them.
    pub fn has(&self, sender: &Sender) -> bool {
        match self {
            Peers::At(net) => sender.address.is_some_and(|address| net.contains(&address)),
            Peers::Of(asn) => sender.relation != Relation::Local && sender.asn == *asn,
            Peers::External => sender.relation.is_external(),
            Peers::Internal => sender.relation.is_internal(),
            Peers::Local => sender.relation == Relation::Local,
        }
    }

    /// Whether all who are this to us are among them; `None` when some may be.
    fn have_all(&self, relation: Relation) -> Option<bool> {
        match self {
            Peers::At(_) | Peers::Of(_) => (relation == Relation::Local).then_some(false),
            Peers::External => Some(relation.is_external()),
            Peers::Internal => Some(relation.is_internal()),
            Peers::Local => Some(relation == Relation::Local),
        }
    }
}

/// What a rule asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    /// The prefix is in a list. An EVPN route never is.
    Prefix(Prefixes),
    /// It has any of these communities.
    Community(Vec<CommunityPattern>),
    /// It has any of these large communities.
    Large(Vec<LargePattern>),
    /// It has any of these extended communities.
    Extended(Vec<ExtendedCommunity>),
    /// The AS path is between so and so long.
    PathLength(usize, usize),
    /// The AS path goes through any of these.
    PathContains(Vec<u32>),
    /// The neighbour's AS, first in the path, is any of these.
    PathFirst(Vec<u32>),
    /// The route began in any of these.
    PathOrigin(Vec<u32>),
    /// ORIGIN is any of these.
    Origin(Vec<Origin>),
    /// The next hop is in any of these.
    NextHop(Vec<IpNet>),
    /// The family is any of these.
    Family(Vec<Family>),
    /// The peer is any of these.
    Peer(Vec<Peers>),
    /// The opposite.
    Not(Box<Condition>),
}

impl Condition {
    /// Whether it holds for a route.
    pub fn holds(&self, route: &Route<'_>) -> bool {
        let attributes = route.attributes;
        match self {
            Condition::Prefix(prefixes) => match route.nlri {
                Nlri::Prefix(net) => prefixes.has(&net),
                Nlri::Evpn(_) => false,
            },
            Condition::Community(any) => {
                attributes.communities.iter().any(|community| any.iter().any(|one| one.has(*community)))
            }
            Condition::Large(any) => attributes.large.iter().any(|community| any.iter().any(|one| one.has(*community))),
            Condition::Extended(any) => any.iter().any(|one| attributes.extended.contains(one)),
            Condition::PathLength(least, most) => (least..=most).contains(&&attributes.as_path.length()),
            Condition::PathContains(any) => any.iter().any(|asn| attributes.as_path.contains(*asn)),
            Condition::PathFirst(any) => attributes.as_path.first().is_some_and(|asn| any.contains(&asn)),
            Condition::PathOrigin(any) => attributes.as_path.origin().is_some_and(|asn| any.contains(&asn)),
            Condition::Origin(any) => any.contains(&attributes.origin),
            Condition::NextHop(any) => {
                let hops: [Option<IpAddr>; 2] = match route.hop {
                    NextHop::V4(address) => [Some(address.into()), None],
                    NextHop::V6(address, local) => [Some(address.into()), local.map(Into::into)],
                };
                hops.into_iter().flatten().any(|hop| any.iter().any(|net| net.contains(&hop)))
            }
            Condition::Family(any) => any.contains(&route.nlri.family()),
            Condition::Peer(any) => any.iter().any(|peers| peers.has(&route.sender)),
            Condition::Not(condition) => !condition.holds(route),
        }
    }
}

impl Condition {
    /// Whether it holds for every route of somebody who is this to us; `None` when that depends on more.
    pub fn holds_of(&self, relation: Relation) -> Option<bool> {
        match self {
            Condition::Peer(any) => {
                let known: Vec<Option<bool>> = any.iter().map(|peers| peers.have_all(relation)).collect();
                let undecided = known.contains(&None) && !known.contains(&Some(true));
                (!undecided).then(|| known.contains(&Some(true)))
            }
            Condition::Not(condition) => condition.holds_of(relation).map(|holds| !holds),
            _ => None,
        }
    }
}

impl fmt::Display for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peers::At(net) if net.prefix_len() == net.max_prefix_len() => write!(f, "{}", net.addr()),
            Peers::At(net) => write!(f, "{net}"),
            Peers::Of(asn) => write!(f, "AS {asn}"),
            Peers::External => f.write_str("external"),
            Peers::Internal => f.write_str("internal"),
            Peers::Local => f.write_str("local"),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Condition::Prefix(prefixes) => write!(f, "prefix in {}", list(&prefixes.0)),
            Condition::Community(any) => write!(f, "community {}", list(any)),
            Condition::Large(any) => write!(f, "large community {}", list(any)),
            Condition::Extended(any) => write!(f, "extended community {}", list(any)),
            Condition::PathLength(least, usize::MAX) => write!(f, "path of {least} or more"),
            Condition::PathLength(least, most) => write!(f, "path of {least} to {most}"),
            Condition::PathContains(any) => write!(f, "path through {}", list(any)),
            Condition::PathFirst(any) => write!(f, "path that begins with {}", list(any)),
            Condition::PathOrigin(any) => write!(f, "path that ends with {}", list(any)),
            Condition::Origin(any) => write!(f, "origin {}", list(any)),
            Condition::NextHop(any) => write!(f, "next hop in {}", list(any)),
            Condition::Family(any) => write!(f, "family {}", list(any)),
            Condition::Peer(any) => write!(f, "peer {}", list(any)),
            Condition::Not(condition) => write!(f, "other than {condition}"),
        }
    }
}
