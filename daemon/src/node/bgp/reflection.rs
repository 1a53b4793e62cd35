//! Who reflects (RFC 4456), and with which nodes this one therefore speaks.
//!
//! A node is chosen by its own name and labels, which it knows itself, and says in its lease that it reflects: so nobody has to know the labels
//! of others. While no node says so, each speaks with each: a label that nobody has takes no route away.
//!
//! Whatever changes, what was stands for a moment beside what is: who is chosen no longer goes on reflecting, and who is spoken with no longer
//! is still spoken with, until the others have all told what they have.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use ipam::{BackendData, Lease, LeaseKey};

use crate::labels::Labels;
use crate::netconf::bgp::{NodeSelector, Reflectors};
use crate::node::Node;
use crate::trigger::Moment;

/// How long what was stands beside what is: longer than it takes until all nodes have read a lease, and a new session has told what there is.
pub(super) const OVERLAP: Duration = Duration::from_secs(15);

/// What a node knows of that.
#[derive(Debug, Default)]
pub(in crate::node) struct Reflection {
    /// The cluster for which this node says that it reflects; `None` before it was looked for the first time.
    said: Option<Option<Ipv4Addr>>,
    /// Until when it reflects though it does not say so any more.
    ending: Option<Moment>,
    /// With whom it speaks; `None` before that was looked for the first time.
    circle: Option<Circle>,
    /// Whether it is to be looked for again.
    pub due: bool,
    /// With whom it spoke before, and until when it still does.
    former: Vec<(Circle, Moment)>,
}

/// Nodes with which one speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Circle {
    /// All.
    Everybody,
    /// Those that reflect, and no other.
    Reflectors(BTreeSet<LeaseKey>),
}

impl Circle {
    fn has(&self, lease: &Lease) -> bool {
        match self {
            Circle::Everybody => true,
            Circle::Reflectors(keys) => keys.contains(&lease.key),
        }
    }
}

impl Reflection {
    /// The cluster for which this node says that it reflects.
    pub fn said(&self) -> Option<Ipv4Addr> {
        self.said.flatten()
    }

    /// Whether it is known with whom this node speaks.
    pub fn is_known(&self) -> bool {
        self.circle.is_some()
    }

    /// Whether it reflects.
    pub fn reflects(&self) -> bool {
        self.said().is_some() || self.ending.is_some()
    }

    /// Whether it speaks with the node of a lease.
    pub fn speaks_with(&self, lease: &Lease) -> bool {
        self.ending.is_some()
            || self.circle.iter().chain(self.former.iter().map(|(circle, _)| circle)).any(|circle| circle.has(lease))
    }

    /// What was is over.
    fn let_go(&mut self, now: Moment) {
        self.ending = self.ending.filter(|until| *until > now);
        self.former.retain(|(_, until)| *until > now);
    }

    fn turn_to(&mut self, circle: Circle, now: Moment) {
        if self.circle.as_ref() != Some(&circle)
            && let Some(before) = self.circle.replace(circle)
        {
            self.former.retain(|(former, _)| *former != before);
            self.former.push((before, now + OVERLAP));
        }
    }

    fn say(&mut self, wanted: Option<Ipv4Addr>, before: Option<Ipv4Addr>, now: Moment) {
        match (before, wanted) {
            (None, Some(cluster)) => tracing::info!("BGP: this node reflects routes for the cluster {cluster} now"),
            (Some(_), None) => {
                tracing::info!(
                    "BGP: this node reflects routes no longer, but for a moment, until others have its place"
                );
                self.ending = Some(now + OVERLAP);
            }
            _ => {}
        }
        if wanted.is_some() {
            self.ending = None;
        }
        self.said = Some(wanted);
    }
}

/// The cluster that a lease's node reflects for, if it does.
pub(super) fn reflects_for(lease: &Lease) -> Option<Ipv4Addr> {
    match lease.speaker()? {
        BackendData::Bgp { reflects_for, .. } => *reflects_for,
        _ => None,
    }
}

impl Node {
    /// Whether a list of selectors means this node.
    pub(super) fn is_selected(&self, selectors: &[NodeSelector]) -> bool {
        let labels = self.labels();
        selectors.iter().any(|selector| selector.has(&self.identity.name, &labels))
    }

    /// This node's labels: the store's before those of the flag.
    fn labels(&self) -> Labels {
        self.identity.labels.overlaid(&self.instructions.labels)
    }

    /// What this node's lease says of it as a speaker.
    pub(in crate::node) fn bgp_data(&self) -> BackendData {
        BackendData::Bgp { asn: self.identity.bgp_as, reflects_for: self.said_of_reflection() }
    }

    /// What it says now, or said when it ran last.
    fn said_of_reflection(&self) -> Option<Ipv4Addr> {
        self.bgp.reflection.said.unwrap_or_else(|| self.own_or_last().and_then(reflects_for))
    }

    /// Who is to reflect, where nodes speak with nodes.
    fn reflectors(&self) -> Option<&Reflectors> {
        self.bgp.spoken.as_ref().filter(|bgp| bgp.mesh.is_some())?.reflectors.as_ref()
    }

    /// What is the matter, where it was said who reflects and nobody does.
    pub fn reflectors_missing(&self) -> Option<&'static str> {
        let alone = self.bgp.reflection.circle == Some(Circle::Everybody) && !self.bgp.reflection.reflects();
        (alone && self.reflectors().is_some()).then_some(
            "BGP: no node says in its lease that it reflects routes, so each speaks with each; give one of them a name or a label \
             that RouteReflectors has",
        )
    }

    /// When something of what was is over.
    pub fn reflection_due(&self) -> Option<Moment> {
        let reflection = &self.bgp.reflection;
        reflection.former.iter().map(|(_, until)| *until).chain(reflection.ending).min()
    }

    /// Follows what leases, labels and configuration say of who reflects.
    pub fn follow_reflection(&mut self, now: Moment) {
        let over = self.reflection_due().is_some_and(|due| due <= now);
        if !(self.bgp.reflection.due || over) || !self.peers_known() || !self.knows_labels() || self.network().is_none()
        {
            return;
        }
        let reflectors = self.reflectors();
        let wanted = reflectors.filter(|it| self.is_selected(&it.nodes)).map(|it| it.cluster);
        let before = self.said_of_reflection();
        let others = |lease: &&Lease| lease.node != self.identity.name && reflects_for(lease).is_some();
        let keys = || self.table().leases().filter(others).map(|lease| lease.key.clone()).collect::<BTreeSet<_>>();
        let known = if reflectors.is_some() { keys() } else { BTreeSet::new() };
        let reflection = &mut self.bgp.reflection;
        reflection.due = false;
        reflection.let_go(now);
        reflection.say(wanted, before, now);
        let alone = known.is_empty() || wanted.is_some();
        reflection.turn_to(if alone { Circle::Everybody } else { Circle::Reflectors(known) }, now);
        // The wish of the speaker may have been asked for already.
        self.bgp.due = true;
    }
}
