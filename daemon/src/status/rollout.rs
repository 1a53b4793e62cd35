//! [`RolloutStatus`]: how far a change of the backend is, node by node, and who holds it up. Its fields are `towpathctl rollout
//! status -o json`.

use std::fmt;

use backends::rollout::{Position, Wait};
use ipam::{Lease, Rollout};
use serde::Serialize;

use super::encryption;
use crate::ask::Clock;
use crate::reconcile::Reconciler;

/// How far a change of the backend is, as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RolloutStatus {
    /// Whether there is one.
    pub changing: bool,
    /// The way by which this node may send to all others; absent until it is known.
    pub from: Option<String>,
    /// The way that its configuration wants.
    pub to: Option<String>,
    /// Since when this daemon has known of it.
    pub since: Option<String>,
    /// What keeps this node itself from going on: one sentence each.
    pub here: Vec<String>,
    /// All nodes, by name, this one included.
    pub nodes: Vec<NodeRollout>,
}

/// How far one node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeRollout {
    /// Its name, or its address where the store keeps no names.
    pub node: String,
    /// The way by which it may send to all others; absent of one that does not say: flannel's.
    pub sends: Option<String>,
    /// The way that its configuration wants.
    pub wants: Option<String>,
    /// Whether it receives by this node's target from all others.
    pub ready: bool,
    /// What is waited for of it: one clause.
    pub waits: Option<String>,
}

impl RolloutStatus {
    /// As it is now.
    pub fn new(reconciler: &Reconciler, clock: &Clock) -> RolloutStatus {
        let node = &reconciler.node;
        let position = node.position();
        let target = node.target();
        let shown = |lease: &Lease| position.map(|position| NodeRollout::new(lease, position));
        let own = node.table().own();
        let others = node.table().leases().filter(|lease| own != Some(&lease.key));
        let mut nodes: Vec<NodeRollout> = others.chain(node.own()).filter_map(shown).collect();
        nodes.sort_by(|a, b| a.node.cmp(&b.node));
        // Of itself a node waits for nothing but its own kernel.
        let name = node.name().as_str();
        nodes.iter_mut().filter(|it| it.node == name).for_each(|it| it.waits = None);
        let settled = |position: &Position| {
            position.main == position.target && position.spares.is_empty() && target.as_ref() == Some(&position.target)
        };
        // One of flannel's that has always been different is a fault, and no change.
        let others_change = nodes.iter().any(|it| it.waits.is_some() && it.sends.is_some());
        let changing = position.is_some_and(|position| !settled(position)) || others_change;
        // What cannot be read changes nothing anywhere, where all nodes have the same of it.
        let unread = node.network_trouble.iter().map(|trouble| trouble.reason.clone());
        let here = unread.chain(changing.then(|| held_up_here(reconciler)).into_iter().flatten()).collect();
        RolloutStatus {
            changing,
            from: position.map(|position| position.main.to_string()),
            to: target.map(|target| target.to_string()),
            since: node.changing_since().filter(|_| changing).map(|at| clock.time_of(at)),
            here,
            nodes,
        }
    }

    /// One sentence, while there is a change.
    pub fn sentence(&self) -> Option<String> {
        let (from, to) = (self.from.as_ref()?, self.to.as_ref()?);
        let waiting: Vec<&str> = self.nodes.iter().filter(|it| it.waits.is_some()).map(|it| it.node.as_str()).collect();
        let first = waiting.first().map_or_else(String::new, |first| format!(", the first is {first}"));
        let what = if from == to { format!("to {to} comes to its end") } else { format!("from {from} to {to}") };
        self.changing.then(|| format!("{what}: {} of {} nodes hold it up{first}", waiting.len(), self.nodes.len()))
    }
}

/// What keeps this node from saying more.
fn held_up_here(reconciler: &Reconciler) -> Vec<String> {
    let record = &reconciler.record;
    let blind = record.blind.iter().map(|reason| format!("the kernel's state cannot be read: {reason}"));
    let refused = record.failures.iter().take(4).map(|failure| format!("the kernel refuses: {failure}"));
    let node = &reconciler.node;
    let keys = node.keys_trouble.iter().map(|trouble| trouble.reason.clone());
    let silent = node.store_trouble.iter().map(|trouble| {
        format!("the others do not hear what this node says: the store cannot be used: {}", trouble.reason)
    });
    let whole = || Some(format!("uplink: {}", node.uplink_trouble.as_ref()?.reason));
    let uplink = node.lame_uplink().or_else(whole);
    let own = silent.chain(uplink).chain(node.unprepared());
    let sessions = record.sessionless.iter().take(4).map(|session| {
        let why = encryption::trouble(session).unwrap_or_else(|| "it is being asked for".to_owned());
        let remote = session.remote.map_or_else(|| session.peer.key.to_string(), |remote| remote.to_string());
        format!("no session with {remote} on {} yet: {why}", session.peer.link)
    });
    let unlearnt = reconciler.desired().into_iter().flat_map(|desired| desired.unlearnt(node.facts())).take(4);
    let unlearnt = unlearnt.map(|(peer, subnet)| {
        format!("node {}: no usable route to its {subnet} is learnt by BGP yet; see `towpathctl bgp peers`", peer.node)
    });
    let mut here: Vec<String> = blind.chain(refused).chain(keys).chain(own).chain(sessions).chain(unlearnt).collect();
    let lagging = reconciler.desired().into_iter().flat_map(|desired| desired.unusable());
    let lagging = lagging.filter(|(_, reasons)| reasons.iter().any(|reason| reason.instead.is_some())).take(4);
    here.extend(lagging.filter_map(|(key, reasons)| {
        let peer = node.table().get(key)?;
        Some(format!("node {}: {}", peer.node, reasons.iter().find(|reason| reason.instead.is_some())?))
    }));
    here
}

impl NodeRollout {
    fn new(lease: &Lease, position: &Position) -> NodeRollout {
        let rollout = lease.rollout.as_deref();
        let waits = position.waits_for(lease).map(|wait| waiting(wait, rollout));
        let ready = rollout.is_some_and(|rollout| rollout.target == position.target && rollout.ready);
        NodeRollout {
            node: lease.node.to_string(),
            sends: rollout.map(|rollout| rollout.main.to_string()),
            wants: rollout.map(|rollout| rollout.target.to_string()),
            ready,
            waits,
        }
    }
}

/// What is waited for of a node, and where it is said why: one clause.
fn waiting(wait: Wait, rollout: Option<&Rollout>) -> String {
    const THERE: &str = "`towpathctl rollout status` there says why";
    match (wait, rollout) {
        (Wait::Target, Some(rollout)) if rollout.target == rollout.main => format!(
            "it wants no other way yet: it is away, has not heard of the configuration, cannot use it, or has not made what it needs to \
             receive by it; {THERE}"
        ),
        (Wait::Target, Some(rollout)) => {
            format!("it wants {}: its configuration is another, or it is still on its way there; {THERE}", rollout.target)
        }
        (Wait::Target | Wait::Silent, _) => {
            "it does not say by which ways it can be reached: flannel runs there; restart that with the new configuration, or put \
             Towpath in its place"
                .to_owned()
        }
        (Wait::Ready, _) => format!("it does not have what it needs of all nodes yet; {THERE}"),
        (Wait::End, _) => format!("it has not given up its old way yet; {THERE}"),
    }
}

impl fmt::Display for RolloutStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |carrier: &Option<String>| carrier.clone().unwrap_or_else(|| "not known yet".to_owned());
        if !self.changing {
            writeln!(f, "nothing is changing: all nodes send by {}", name(&self.from))?;
            return self.here.iter().try_for_each(|sentence| writeln!(f, "but {}", sentence.replace('\n', "; ")));
        }
        writeln!(f, "from   {}", name(&self.from))?;
        writeln!(f, "to     {}", name(&self.to))?;
        self.since.iter().try_for_each(|since| writeln!(f, "since  {since}"))?;
        let count = |count: usize| format!("{count} of {}", self.nodes.len());
        let wants = self.nodes.iter().filter(|it| it.wants == self.to).count();
        let sends = self.nodes.iter().filter(|it| it.sends == self.to).count();
        let ready = self.nodes.iter().filter(|it| it.ready).count();
        writeln!(f, "nodes  {} can receive it, {} are ready for it", count(wants), count(ready))?;
        writeln!(f, "       {} send by it to all", count(sends))?;
        if !self.here.is_empty() {
            writeln!(f, "\nheld up on this node:")?;
        }
        self.here.iter().try_for_each(|sentence| writeln!(f, "  {}", sentence.replace('\n', "; ")))?;
        let mut waiting = self.nodes.iter().filter(|it| it.waits.is_some()).peekable();
        if waiting.peek().is_some() {
            writeln!(f, "\nwaits for:")?;
        }
        waiting.try_for_each(|it| {
            writeln!(f, "  {} (sends by {}): {}", it.node, name(&it.sends), it.waits.as_deref().unwrap_or_default())
        })
    }
}
