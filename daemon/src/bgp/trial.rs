//! [`Trial`]: a route that somebody describes, tried against a policy without there being one; and [`TrialView`], what it would meet.
//!
//! Pure, and without sessions: `towpathctl` does the same with a file while no daemon runs.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use bgp::policy::{Changed, Policy, Route, Sender, Verdict};
use bgp::rib::Relation;
use bgp::speaker::RemoteAs;
use bgp::wire::{Attributes, NextHop, Nlri};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::wish::{Neighbour, NeighbourName, Place};

/// A route as it is described on a command line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RouteText {
    /// The prefix.
    pub prefix: String,
    /// The AS path, the neighbour first; empty for a route that begins here.
    pub as_path: String,
    /// The next hop; the sender's address if nothing is said.
    pub next_hop: Option<IpAddr>,
    /// `igp`, `egp` or `incomplete`.
    pub origin: Option<String>,
    /// LOCAL_PREF.
    pub local_pref: Option<u32>,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// Communities.
    pub communities: Vec<String>,
    /// Large communities.
    pub large_communities: Vec<String>,
    /// Extended communities.
    pub extended_communities: Vec<String>,
    /// The address of the peer that it comes from.
    pub from: Option<IpAddr>,
    /// Whether that peer is of our AS.
    pub internal: bool,
}

/// Which way routes go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// From the peer.
    #[default]
    Import,
    /// To it.
    Export,
}

/// A route that is tried with a peer's policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// Whose policy.
    pub neighbour: NeighbourName,
    /// Which of the two.
    pub way: Way,
    /// The route.
    pub route: TrialRoute,
}

/// A route that there is not.
#[derive(Clone, Debug, PartialEq)]
pub struct TrialRoute {
    /// Its prefix.
    pub prefix: IpNet,
    /// What is said of it.
    pub attributes: Attributes,
    /// Its next hop.
    pub hop: NextHop,
    /// Whom it is from.
    pub sender: Sender,
}

/// What a route meets in a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrialView {
    /// The route.
    pub route: String,
    /// Which policy, in words.
    pub policy: String,
    /// What each rule made of it, to the one that decides.
    pub met: Vec<MetView>,
    /// Whether it goes through.
    pub accepted: bool,
    /// The route as it is then; `None` for one that does not go through.
    pub after: Option<AttributesView>,
}

/// What a rule made of a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetView {
    /// The rule; `None` for what happens when none decides.
    pub rule: Option<String>,
    /// Whether all its conditions held.
    pub holds: bool,
    /// In one sentence.
    pub sentence: String,
    /// What it changes.
    pub changes: Vec<String>,
}

/// What is said of a route, as people write it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttributesView {
    /// The next hop.
    pub next_hop: IpAddr,
    /// The AS path.
    pub as_path: String,
    /// ORIGIN.
    pub origin: String,
    /// LOCAL_PREF.
    pub local_pref: Option<u32>,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// Communities of all kinds.
    pub communities: Vec<String>,
}

impl RouteText {
    /// The route that is meant.
    ///
    /// # Errors
    /// A sentence that names the flag and the fix.
    pub fn route(&self) -> Result<TrialRoute, String> {
        let prefix: IpNet = self.prefix.parse().map_err(|_| {
            format!("--prefix {}: it is no prefix; write one, as in 10.0.0.0/8 or fd00::/48", self.prefix)
        })?;
        let attributes = Attributes {
            as_path: flag("--as-path", &self.as_path)?,
            origin: self.origin.as_deref().map_or(Ok(bgp::wire::Origin::Igp), |text| flag("--origin", text))?,
            med: self.med,
            local_pref: self.local_pref,
            communities: flags("--community", &self.communities)?,
            large: flags("--large-community", &self.large_communities)?,
            extended: flags("--extended-community", &self.extended_communities)?,
            ..Attributes::default()
        };
        let asn = attributes.as_path.first().unwrap_or(0);
        let relation = match (self.internal, self.from, asn) {
            (true, ..) => Relation::Internal,
            (false, None, 0) => Relation::Local,
            _ => Relation::External,
        };
        let own = || match prefix {
            IpNet::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
            IpNet::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let hop = match self.next_hop.or(self.from).unwrap_or_else(own) {
            IpAddr::V4(v4) => NextHop::V4(v4),
            IpAddr::V6(v6) => NextHop::V6(v6, None),
        };
        Ok(TrialRoute { prefix: prefix.trunc(), attributes, hop, sender: Sender { relation, asn, address: self.from } })
    }
}

fn flag<T: FromStr<Err: fmt::Display>>(name: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|error| format!("{name}: {error}"))
}

fn flags<T: FromStr<Err: fmt::Display>>(name: &str, texts: &[String]) -> Result<Vec<T>, String> {
    texts.iter().map(|text| flag(name, text)).collect()
}

impl Trial {
    /// What the route would meet with this neighbour, `ours` being our AS.
    pub fn with(&self, neighbour: &Neighbour, ours: u32) -> TrialView {
        let session = &neighbour.session;
        let asn = match session.remote_as {
            RemoteAs::Exactly(asn) => asn,
            RemoteAs::Internal => ours,
            RemoteAs::External => self.route.attributes.as_path.first().filter(|asn| *asn != ours).unwrap_or(0),
        };
        let relation = session.relation(asn, ours);
        let (policy, word) = match self.way {
            Way::Import => (session.import_policy(relation), "import"),
            Way::Export => (session.export_policy(relation), "export"),
        };
        let mut route = self.route.clone();
        let mut sender = ours;
        if self.way == Way::Import {
            let place = match &neighbour.place {
                Place::Address { remote, .. } => Some(*remote),
                Place::Link(_) => None,
            };
            route.sender = Sender { relation, asn, address: place.or(route.sender.address) };
            sender = asn;
        }
        let said = match self.way {
            Way::Import => session.import.is_some(),
            Way::Export => session.export.is_some(),
        };
        let name = match (said, relation.is_external()) {
            (true, _) => format!("{}, {word}", self.neighbour),
            (false, true) => {
                format!(
                    "{}, {word}: it has none, and an eBGP peer without one is refused every route (RFC 8212)",
                    self.neighbour
                )
            }
            (false, false) => {
                format!("{}, {word}: it has none, and inside the AS every route goes through", self.neighbour)
            }
        };
        let mut view = TrialView::new(name, &policy, &route, sender);
        if self.way == Way::Import && route.attributes.as_path.contains(ours) {
            let sentence =
                format!("refused before any rule is asked: our AS {ours} is in its path (RFC 4271 section 9.1.2)");
            view.met = vec![MetView { rule: None, holds: false, sentence, changes: Vec::new() }];
            (view.accepted, view.after) = (false, None);
        }
        view
    }
}

impl TrialView {
    /// What a route would meet in a policy of this name; `sender` is the AS that would send it: on import the peer's, on export ours.
    pub fn new(name: String, policy: &Policy, route: &TrialRoute, sender: u32) -> TrialView {
        let TrialRoute { prefix, attributes, hop, .. } = route;
        let seen = Route { nlri: Nlri::Prefix(*prefix), attributes, hop: *hop, sender: route.sender };
        let met = policy.explain(&seen).into_iter().map(|met| {
            let holds = met.failed.is_none();
            let changes = met.rule.filter(|_| holds && met.verdict != Some(Verdict::Reject));
            MetView {
                rule: met.rule.map(|rule| rule.name.clone()),
                holds,
                sentence: met.to_string(),
                changes: changes.map_or_else(Vec::new, |rule| rule.actions.iter().map(ToString::to_string).collect()),
            }
        });
        let judgement = policy.judge(&seen);
        let accepted = judgement.verdict == Verdict::Accept;
        let mut changed = attributes.clone();
        let mut after = Changed { attributes: &mut changed, hop: None, family: seen.nlri.family(), sender };
        policy.change(judgement, &mut after);
        let hop = after.hop.unwrap_or(*hop);
        TrialView {
            route: route.to_string(),
            policy: name,
            met: met.collect(),
            accepted,
            after: accepted.then(|| AttributesView::new(&changed, hop)),
        }
    }
}

impl AttributesView {
    /// The same, as people write it.
    pub fn new(attributes: &Attributes, hop: NextHop) -> AttributesView {
        AttributesView {
            next_hop: hop.address(),
            as_path: attributes.as_path.to_string(),
            origin: attributes.origin.to_string(),
            local_pref: attributes.local_pref,
            med: attributes.med,
            communities: communities(attributes),
        }
    }
}

/// Communities of all kinds, as people write them.
pub fn communities(attributes: &Attributes) -> Vec<String> {
    let plain = attributes.communities.iter().map(ToString::to_string);
    let large = attributes.large.iter().map(ToString::to_string);
    plain.chain(large).chain(attributes.extended.iter().map(ToString::to_string)).collect()
}

impl fmt::Display for TrialRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.prefix)?;
        match (self.sender.relation, self.sender.address) {
            (Relation::Local, _) => f.write_str(" that begins here")?,
            (_, Some(address)) => write!(f, " from {address}")?,
            (_, None) => {}
        }
        write!(f, ", {}", AttributesView::new(&self.attributes, self.hop))
    }
}

impl fmt::Display for AttributesView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_path.as_str() {
            "" => f.write_str("no AS path")?,
            path => write!(f, "path {path}")?,
        }
        if !self.next_hop.is_unspecified() {
            write!(f, ", next hop {}", self.next_hop)?;
        }
        write!(f, ", origin {}", self.origin)?;
        self.local_pref.map_or(Ok(()), |value| write!(f, ", local preference {value}"))?;
        self.med.map_or(Ok(()), |value| write!(f, ", MED {value}"))?;
        match self.communities.is_empty() {
            true => Ok(()),
            false => write!(f, ", communities {}", self.communities.join(" ")),
        }
    }
}

impl fmt::Display for TrialView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "route   {}", self.route)?;
        writeln!(f, "policy  {}", self.policy)?;
        for met in &self.met {
            writeln!(f, "  {}", met.sentence)?;
            met.changes.iter().try_for_each(|change| writeln!(f, "      {change}"))?;
        }
        match &self.after {
            Some(after) => writeln!(f, "accepted, as: {after}"),
            None => writeln!(f, "rejected"),
        }
    }
}

#[cfg(test)]
mod tests;
