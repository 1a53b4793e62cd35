//! `Announce`: what a node tells its peers that it has, beside its own pods.

use ipnet::IpNet;

use crate::bgp::wish::Announcement;
use crate::netconf::object::Object;
use crate::netconf::policy::{community, large};

/// What is announced beside the node's pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Announce {
    /// Networks of services and addresses from outside (`Prefixes`).
    pub prefixes: Vec<IpNet>,
    /// Wider prefixes in place of the node's pods' or beside them (`Aggregates`).
    pub aggregates: Vec<Aggregate>,
    /// What is said of each route.
    pub said: Announcement,
}

/// A prefix that is announced while something of the node's lies in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aggregate {
    /// Which (`Prefix`).
    pub prefix: IpNet,
    /// Whether what lies in it is not told to peers beside the nodes (`Suppress`).
    pub specifics: Specifics,
}

/// What becomes of routes within an aggregate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Specifics {
    /// They are told as well.
    Told,
    /// They are not.
    Suppressed,
}

/// Reads it.
pub(super) fn announce(object: &mut Object<'_, '_>) -> Announce {
    let Some(mut announce) = object.object("Announce") else { return Announce::default() };
    let prefixes = announce.items("Prefixes", super::prefix).unwrap_or_default();
    let said = Announcement {
        local_pref: announce.integer("LocalPref", 0..=u32::MAX),
        metric: announce.integer("Metric", 0..=u32::MAX),
        communities: announce.items("Communities", community).unwrap_or_default(),
        large_communities: announce.items("LargeCommunities", large).unwrap_or_default(),
    };
    let wide = announce.items("Aggregates", super::prefix).unwrap_or_default();
    let specifics = match announce.boolean("SuppressSpecifics") {
        Some(true) => Specifics::Suppressed,
        _ => Specifics::Told,
    };
    announce.finish_strictly();
    let aggregates = wide.into_iter().map(|prefix| Aggregate { prefix, specifics }).collect();
    Announce { prefixes, aggregates, said }
}
