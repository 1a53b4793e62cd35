//! What stands against a take-over: each [`Finding`] is one sentence that names the thing and the fix. Pure: a survey in,
//! findings out.

use std::fmt;

use ipnet::IpNet;
use serde_json::Value;

use super::survey::{Daemon, NodeView, Survey};

/// How much a finding weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// As it should be.
    Sound,
    /// Worth knowing.
    Warning,
    /// Nothing is done while it stands.
    Refusal,
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Weight::Sound => "ok",
            Weight::Warning => "WARNING",
            Weight::Refusal => "NO",
        })
    }
}

/// One sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How much it weighs.
    pub weight: Weight,
    /// What was found.
    pub sentence: String,
}

/// Everything that is to be said of a cluster before flannel is replaced in it.
pub fn check(survey: &Survey) -> Vec<Finding> {
    let mut findings = Vec::new();
    let networks = network(survey, &mut findings);
    for node in &survey.nodes {
        node_findings(survey, node, &networks, &mut findings);
    }
    let fit = survey.nodes.iter().filter(|node| node.pod.is_some()).count();
    if findings.iter().all(|finding| finding.weight == Weight::Sound) {
        findings.push(sound(format!("{fit} nodes: subnet, address and annotations are as flannel writes them")));
    }
    findings
}

/// Everything that is to be said of a cluster before flannel gets it back.
pub fn check_back(survey: &Survey) -> Vec<Finding> {
    let labelled = survey.nodes.iter().filter(|node| node.by_lease);
    let named: Vec<&str> = labelled.map(|node| node.name.as_str()).collect();
    if named.is_empty() {
        return Vec::new();
    }
    vec![refusal(format!(
        "peers look for {} in Lease objects, which flanneld does not keep: roll out --peer-objects=nodes first, and the daemons \
         take the label towpath.network/peer-object from their Nodes",
        named.join(", ")
    ))]
}

/// The backends that are taken over while pods talk. What goes by `udp` stops when flanneld does, whose process its device
/// is; and what `extension`'s commands make is known to nobody but them.
const BACKENDS: [&str; 4] = ["vxlan", "host-gw", "ipip", "wireguard"];

/// `net-conf.json`; gives the networks in it.
fn network(survey: &Survey, findings: &mut Vec<Finding>) -> Vec<IpNet> {
    let Some(text) = &survey.net_conf else {
        findings.push(refusal(format!(
            "{} mounts no ConfigMap with a net-conf.json: leases that are not in Kubernetes are taken over on each node \
             (docs/migrate-from-flannel.md)",
            survey.name()
        )));
        return Vec::new();
    };
    let value: Value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(error) => {
            findings.push(refusal(format!("net-conf.json is not JSON: {error}")));
            return Vec::new();
        }
    };
    let networks = ["network", "ipv6network"].iter().filter_map(|key| key_of(&value, key)?.as_str()?.parse().ok());
    let networks: Vec<IpNet> = networks.collect();
    // Without a Backend flannel means udp, and Towpath VXLAN.
    let backend = key_of(&value, "backend").and_then(|backend| key_of(backend, "type")?.as_str());
    let backend = backend.map_or("udp".to_owned(), str::to_lowercase);
    if BACKENDS.contains(&backend.as_str()) {
        let listed: Vec<_> = networks.iter().map(IpNet::to_string).collect();
        findings.push(sound(format!("network {} by {backend}", listed.join(" and "))));
    } else {
        findings.push(refusal(format!(
            "the backend is {backend}, which cannot be taken over while pods talk: {} can; change it while flannel runs",
            BACKENDS.join(", ")
        )));
    }
    networks
}

fn node_findings(survey: &Survey, node: &NodeView, networks: &[IpNet], findings: &mut Vec<Finding>) {
    let name = &node.name;
    let Some(pod) = &node.pod else {
        findings.push(warning(format!("{name} has no pod of {}: it is left as it is", survey.name())));
        return;
    };
    if node.pod_cidrs.is_empty() {
        findings.push(refusal(format!("{name} has no podCIDR: run the controller manager with --allocate-node-cidrs")));
    }
    for cidr in &node.pod_cidrs {
        let subnet: Option<IpNet> = cidr.parse().ok();
        if !subnet.is_some_and(|subnet| networks.iter().any(|network| network.contains(&subnet))) {
            findings.push(refusal(format!("{name}: its subnet {cidr} lies outside of net-conf.json's networks")));
        }
    }
    if !node.ready || !pod.ready {
        let what = if node.ready { format!("pod {}", pod.name) } else { "the node".to_owned() };
        let done = pod.daemon == Daemon::Towpath;
        let sentence = format!("{name}: {what} is not ready; put that right first");
        findings.push(if done { warning(sentence) } else { refusal(sentence) });
    }
    annotations(survey, node, findings);
}

fn annotations(survey: &Survey, node: &NodeView, findings: &mut Vec<Finding>) {
    let name = &node.name;
    let value = |key: &str| node.annotations[survey.annotation(key).as_str()].as_str();
    if value("kube-subnet-manager") != Some("true") {
        findings.push(refusal(format!(
            "{name}: no annotation {}: flannel has not run there",
            survey.annotation("kube-subnet-manager")
        )));
        return;
    }
    let backend = value("backend-type").unwrap_or_default();
    if !BACKENDS.contains(&backend) {
        findings.push(refusal(format!("{name}: published for the backend `{backend}`, which peers of another ignore")));
    }
    for key in ["backend-data", "backend-v6-data"] {
        let Some(data) = value(key) else { continue };
        let needed = match backend {
            "vxlan" => "VtepMAC",
            "wireguard" => "PublicKey",
            _ => continue,
        };
        let read = serde_json::from_str::<Value>(data).unwrap_or_default();
        if !read[needed].is_string() && data != "null" {
            findings.push(refusal(format!("{name}: {} is `{data}`, which holds no {needed}", survey.annotation(key))));
        }
    }
    let address = value("public-ip").or_else(|| value("public-ipv6")).unwrap_or_default();
    if address.parse::<std::net::IpAddr>().is_err() {
        findings
            .push(refusal(format!("{name}: {} is `{address}`, which is no address", survey.annotation("public-ip"))));
    }
}

/// Flannel's keys match without regard to case.
fn key_of<'v>(object: &'v Value, lower: &str) -> Option<&'v Value> {
    object.as_object()?.iter().find(|(key, _)| key.to_lowercase() == lower).map(|(_, value)| value)
}

fn sound(sentence: String) -> Finding {
    Finding { weight: Weight::Sound, sentence }
}

fn warning(sentence: String) -> Finding {
    Finding { weight: Weight::Warning, sentence }
}

fn refusal(sentence: String) -> Finding {
    Finding { weight: Weight::Refusal, sentence }
}

#[cfg(test)]
mod tests;
