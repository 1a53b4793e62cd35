//! What this node has to say on its own Node, from what is seen of it, what is wished and how the node stands. No clock but for
//! the time in a condition, no I/O.

use std::collections::BTreeMap;

use ipam::{Lease, NodeName, Stack};
use ipnet::IpNet;
use serde_json::{Map, Value, json};

use super::annotations::{desired, instructions, missing, own, subnets, withdrawn};
use super::lease_object::{LABELLED, LeaseObject, label};
use super::object::{CONDITION, Object};
use super::peers::Rival;
use super::sight::Sight;
use crate::config::{KubernetesSettings, PeerObjects};
use crate::store::subnet_key::cut;
use crate::store::talk::Standing;
use crate::store::utc::Utc;
use crate::store::{Claim, Instructions, Wish};

/// Annotations by key; `None`: it shall not be there.
pub type Annotations = BTreeMap<String, Option<String>>;

/// What is to be said, there and to the node.
#[derive(Debug)]
pub struct Decision {
    /// What an operator wrote for this node; `None` while there is no Node that could say it: what it said last holds.
    pub instructions: Option<Instructions>,
    /// The own Lease object, where it does not stand as it should; before the patch.
    pub object: Option<LeaseObject>,
    /// What must be written first; `None`: all stands as it should.
    pub patch: Option<Patch>,
    /// What is true once it is written.
    pub outcome: Outcome,
}

/// What is true of this node's lease.
#[derive(Debug, PartialEq)]
pub enum Outcome {
    /// Nothing to say.
    Nothing,
    /// It is held.
    Held(Lease),
    /// There is none to be had, for this reason.
    Unassigned(String),
    /// It was given back; the Node's uid.
    Released(Box<str>),
}

/// What is to be written on the own Node.
#[derive(Debug, Default, PartialEq)]
pub struct Patch {
    /// The Node that is meant, and not another of the same name.
    uid: Box<str>,
    /// Annotations by key; `None` removes.
    annotations: Annotations,
    /// Labels by key; `None` removes.
    labels: Annotations,
    /// The condition NetworkUnavailable.
    condition: Option<Value>,
}

impl Patch {
    /// A strategic merge patch: conditions are merged by their type.
    pub fn body(&self) -> String {
        let mut metadata = Map::new();
        metadata.insert("uid".to_owned(), json!(self.uid));
        if !self.annotations.is_empty() {
            metadata.insert("annotations".to_owned(), json!(self.annotations));
        }
        if !self.labels.is_empty() {
            metadata.insert("labels".to_owned(), json!(self.labels));
        }
        match &self.condition {
            None => json!({ "metadata": metadata }).to_string(),
            Some(condition) => json!({ "metadata": metadata, "status": { "conditions": [condition] } }).to_string(),
        }
    }
}

/// Decides.
pub fn decide(
    sight: &Sight,
    (wish, standing): (&Wish, &Standing),
    (settings, name): (&KubernetesSettings, &NodeName),
) -> Decision {
    let prefix = &settings.annotations;
    let Some(node) = sight.node.as_deref() else {
        let missing = sight.complete && matches!(wish, Wish::Hold(_));
        let outcome = if missing { Outcome::Unassigned(no_node(name)) } else { Outcome::Nothing };
        return Decision { instructions: None, object: None, patch: None, outcome };
    };
    let (wanted, outcome) = match wish {
        // Before all Nodes are known nobody knows whether another one has our subnet.
        _ if !sight.complete => (Annotations::new(), Outcome::Nothing),
        Wish::Watch => (Annotations::new(), Outcome::Nothing),
        Wish::Release => (withdrawn(prefix), Outcome::Released(node.metadata.uid.clone())),
        Wish::Hold(claim) => match assigned(node, claim, sight.rival.as_ref()) {
            Err(sentence) => (Annotations::new(), Outcome::Unassigned(sentence)),
            Ok(subnets) => match own(claim, node, (subnets, prefix)) {
                Some(lease) => (desired(claim, node, prefix), Outcome::Held(lease)),
                None => (Annotations::new(), Outcome::Unassigned(no_common_family(name, &subnets, claim))),
            },
        },
    };
    let (object, labels) = object(sight, node, (settings, &wanted, &outcome));
    let condition = settings.keeps_condition.then(|| condition(node, standing)).flatten();
    let patch = Patch { uid: node.metadata.uid.clone(), annotations: missing(wanted, node), labels, condition };
    let empty = patch.annotations.is_empty() && patch.labels.is_empty() && patch.condition.is_none();
    Decision { instructions: Some(instructions(node, prefix)), object, patch: (!empty).then_some(patch), outcome }
}

/// The own Lease object, if it does not stand as it should, and what becomes of the label that leads to it: it stands there only
/// when the object does. Who cannot write the object is followed by his Node.
fn object(
    sight: &Sight,
    node: &Object,
    (settings, wanted, outcome): (&KubernetesSettings, &Annotations, &Outcome),
) -> (Option<LeaseObject>, Annotations) {
    let label = label(&settings.annotations);
    let is_there = node.has_label(&label, LABELLED);
    let change = |stands: bool| match (stands, is_there) {
        (true, false) => [(label.clone(), Some(LABELLED.to_owned()))].into(),
        (false, true) => [(label.clone(), None)].into(),
        _ => Annotations::new(),
    };
    match (outcome, &settings.peers) {
        (Outcome::Nothing | Outcome::Unassigned(_), _) => (None, Annotations::new()),
        (Outcome::Held(_), PeerObjects::Leases { .. }) => {
            let object = LeaseObject::of(node, wanted, &settings.annotations);
            let stands = sight.object.as_deref().is_some_and(|seen| object.stands_as(seen));
            let label = if stands { change(true) } else { change(is_there && !sight.refused) };
            ((!stands).then_some(object), label)
        }
        (Outcome::Held(_) | Outcome::Released(_), _) => (None, change(false)),
    }
}

/// The subnets that this node may use: those inside the network that no older node has.
fn assigned(node: &Object, claim: &Claim, rival: Option<&Rival>) -> Result<Stack<IpNet>, String> {
    let name = &claim.node;
    let all = subnets(node).map_err(|clause| format!("node {name}: {clause}"))?;
    let Some(all) = all else {
        let networks: Vec<String> = claim.pools.values().map(|pool| pool.network.to_string()).collect();
        return Err(format!(
            "node {name} has no podCIDR: start kube-controller-manager with --allocate-node-cidrs=true \
             --cluster-cidr={} (with kubeadm: init --pod-network-cidr)",
            networks.join(",")
        ));
    };
    let fits = |family, subnet: &IpNet| {
        let network = claim.pools.get(family)?.network;
        (network.contains(subnet) && network.prefix_len() <= subnet.prefix_len()).then_some(*subnet)
    };
    let Some(fitting) = all.filter_map(fits) else {
        let networks: Vec<String> = claim.pools.values().map(|pool| pool.network.to_string()).collect();
        return Err(format!(
            "the podCIDR {all} of node {name} does not lie inside the network {}: make net-conf.json's Network and \
             kube-controller-manager's --cluster-cidr the same",
            networks.join(", ")
        ));
    };
    // What lies outside the network is nobody's, however old.
    let inside = |subnet: &IpNet| claim.pools.values().any(|pool| pool.network.contains(subnet));
    match rival.filter(|rival| inside(&rival.subnet)) {
        None => Ok(fitting),
        Some(Rival { name: other, subnet }) => Err(format!(
            "the podCIDR {all} of node {name} overlaps {subnet} of node {}, which is older and keeps it: delete the Node \
             object of one of them, so that it is registered anew and gets another",
            cut(other)
        )),
    }
}

fn no_node(name: &NodeName) -> String {
    format!(
        "there is no Node object {name}: the kubelet has not registered it, or NODE_NAME (--node-name) is not its name"
    )
}

fn no_common_family(name: &NodeName, subnets: &Stack<IpNet>, claim: &Claim) -> String {
    let families: Vec<String> = claim.published.iter().map(|(family, _)| family.to_string()).collect();
    format!(
        "node {name} has the podCIDR {subnets}, but its uplink has {} only: give it an address of the other family",
        families.join(" and ")
    )
}

/// The condition as it should be, if it is not.
fn condition(node: &Object, standing: &Standing) -> Option<Value> {
    let (status, reason, message) = match standing {
        Standing::Unknown => return None,
        Standing::Available => ("False", "TowpathIsUp", "towpathd has programmed this node's pod network"),
        Standing::Unavailable(sentence) => ("True", "TowpathIsNotUp", sentence.as_str()),
    };
    let now = node.status.as_ref();
    let same_status = now.is_some_and(|now| *now.status == *status);
    let said = |said: Option<&str>, what: &str| said == Some(what);
    if same_status
        && now.is_some_and(|now| said(now.reason.as_deref(), reason) && said(now.message.as_deref(), message))
    {
        return None;
    }
    let time = Utc::now().to_string();
    let mut condition = json!({
        "type": CONDITION, "status": status, "reason": reason, "message": message, "lastHeartbeatTime": time,
    });
    if !same_status && let Some(members) = condition.as_object_mut() {
        members.insert("lastTransitionTime".to_owned(), json!(time));
    }
    Some(condition)
}

#[cfg(test)]
mod tests;
