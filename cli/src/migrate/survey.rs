//! [`Survey`]: what a cluster says of its pod network, read once. It judges nothing.

use std::fmt;

use serde_json::Value;

use super::MigrateError;
use crate::cluster::{Cluster, ClusterError};
use crate::install::is_towpath;

/// Which daemon a pod runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Daemon {
    /// flanneld.
    Flannel,
    /// towpathd.
    Towpath,
}

impl fmt::Display for Daemon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Daemon::Flannel => "flanneld",
            Daemon::Towpath => "towpathd",
        })
    }
}

/// A node, and the pod of the DaemonSet on it.
#[derive(Clone, Debug)]
pub struct NodeView {
    /// Its name.
    pub name: String,
    /// Whether its kubelet says that it is ready.
    pub ready: bool,
    /// Its subnets.
    pub pod_cidrs: Vec<String>,
    /// Its annotations.
    pub annotations: Value,
    /// Whether daemons of ours look for it in a Lease object and not there (`--peer-objects=leases`).
    pub by_lease: bool,
    /// The pod of the DaemonSet, if there is one.
    pub pod: Option<PodView>,
}

/// A pod of the DaemonSet.
#[derive(Clone, Debug)]
pub struct PodView {
    /// Its name.
    pub name: String,
    /// What tells it from the next one of that place.
    pub uid: String,
    /// What it runs.
    pub daemon: Daemon,
    /// Whether it is ready.
    pub ready: bool,
}

/// What a cluster says.
#[derive(Clone, Debug)]
pub struct Survey {
    /// The API server's version.
    pub version: String,
    /// The DaemonSet, whole.
    pub daemonset: Value,
    /// `net-conf.json`, as it is.
    pub net_conf: Option<String>,
    /// The nodes by name.
    pub nodes: Vec<NodeView>,
}

impl Survey {
    /// Reads it all.
    pub fn take(cluster: &Cluster) -> Result<Survey, MigrateError> {
        let version = cluster.find("/version")?.unwrap_or_default();
        let mut found = cluster.list("/apis/apps/v1/daemonsets")?;
        found.retain(|daemonset| daemon_of(&daemonset["spec"]["template"]).is_some());
        let names: Vec<_> = found.iter().map(|daemonset| text(&daemonset["metadata"]["name"])).collect();
        let (Some(daemonset), true) = (found.pop(), names.len() <= 1) else {
            return Err(if names.is_empty() {
                MigrateError::NoFlannel
            } else {
                MigrateError::Several(names.join(", "))
            });
        };
        let mut survey = Survey {
            version: text(&version["gitVersion"]),
            net_conf: None,
            nodes: Vec::new(),
            daemonset: with_kind(daemonset),
        };
        survey.net_conf = survey.configuration(cluster)?;
        survey.nodes = survey.look(cluster)?;
        Ok(survey)
    }

    /// The nodes as they are now.
    pub fn look(&self, cluster: &Cluster) -> Result<Vec<NodeView>, ClusterError> {
        let pods = self.pods(cluster)?;
        let mut nodes: Vec<_> = cluster.list("/api/v1/nodes")?.iter().map(|node| view(node, &pods)).collect();
        nodes.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(nodes)
    }

    /// One node as it is now; `None` when it is gone.
    pub fn look_at(&self, cluster: &Cluster, name: &str) -> Result<Option<NodeView>, ClusterError> {
        let pods = self.pods(cluster)?;
        Ok(cluster.find(&format!("/api/v1/nodes/{name}"))?.map(|node| view(&node, &pods)))
    }

    fn pods(&self, cluster: &Cluster) -> Result<Vec<Value>, ClusterError> {
        let mut pods = cluster.list(&format!("/api/v1/namespaces/{}/pods", self.namespace()))?;
        let uid = &self.daemonset["metadata"]["uid"];
        let owned = |pod: &Value| {
            let mut owners = pod["metadata"]["ownerReferences"].as_array().into_iter().flatten();
            owners.any(|owner| owner["uid"] == *uid)
        };
        // One that is being deleted is no longer what runs there.
        pods.retain(|pod| owned(pod) && pod["metadata"]["deletionTimestamp"].is_null());
        Ok(pods)
    }

    fn configuration(&self, cluster: &Cluster) -> Result<Option<String>, ClusterError> {
        let volumes = self.daemonset["spec"]["template"]["spec"]["volumes"].as_array();
        let mut names = volumes.into_iter().flatten().filter_map(|volume| volume["configMap"]["name"].as_str());
        let Some(name) = names.next() else { return Ok(None) };
        let map = cluster.find(&format!("/api/v1/namespaces/{}/configmaps/{name}", self.namespace()))?;
        Ok(map.and_then(|map| map["data"]["net-conf.json"].as_str().map(str::to_owned)))
    }

    /// Where the DaemonSet is.
    pub fn namespace(&self) -> &str {
        self.daemonset["metadata"]["namespace"].as_str().unwrap_or_default()
    }

    /// The DaemonSet's name.
    pub fn name(&self) -> &str {
        self.daemonset["metadata"]["name"].as_str().unwrap_or_default()
    }

    /// Whether the DaemonSet's template is already the wished daemon's.
    pub fn template_of(&self, daemon: Daemon) -> Option<bool> {
        daemon_of(&self.daemonset["spec"]["template"]).map(|found| found == daemon)
    }

    /// What a node runs.
    pub fn runs(&self, node: &str) -> Option<Daemon> {
        self.nodes.iter().find(|view| view.name == node)?.pod.as_ref().map(|pod| pod.daemon)
    }

    /// What flannel's annotations begin with: its flag `--kube-annotation-prefix`.
    pub fn annotation(&self, key: &str) -> String {
        let arguments = container(&self.daemonset["spec"]["template"]).map(|container| container["args"].clone());
        let arguments = arguments.unwrap_or_default();
        let mut words = arguments.as_array().into_iter().flatten().filter_map(Value::as_str);
        let prefix = words.find_map(|word| word.trim_start_matches('-').strip_prefix("kube-annotation-prefix="));
        let prefix = prefix.unwrap_or("flannel.alpha.coreos.com");
        match prefix.split_once('/') {
            None => format!("{prefix}/{key}"),
            Some((_, "")) => format!("{prefix}{key}"),
            Some((_, rest)) if rest.ends_with('-') => format!("{prefix}{key}"),
            Some(_) => format!("{prefix}-{key}"),
        }
    }
}

/// Items of a list do not say their kind.
fn with_kind(mut daemonset: Value) -> Value {
    daemonset["apiVersion"] = Value::from("apps/v1");
    daemonset["kind"] = Value::from("DaemonSet");
    daemonset
}

/// The container that runs the daemon.
pub fn container(template: &Value) -> Option<&Value> {
    let mut containers = template["spec"]["containers"].as_array()?.iter();
    containers.find(|container| {
        let mut words = container["command"].as_array().into_iter().flatten().filter_map(Value::as_str);
        words.any(|word| word.ends_with("/flanneld") || word.ends_with("/towpathd"))
    })
}

fn daemon_of(template: &Value) -> Option<Daemon> {
    container(template)?;
    Some(if is_towpath(template) { Daemon::Towpath } else { Daemon::Flannel })
}

fn view(node: &Value, pods: &[Value]) -> NodeView {
    let name = text(&node["metadata"]["name"]);
    let pod = pods.iter().find(|pod| pod["spec"]["nodeName"] == name.as_str());
    NodeView {
        ready: condition(node, "Ready"),
        pod_cidrs: node["spec"]["podCIDRs"].as_array().into_iter().flatten().map(text).collect(),
        annotations: node["metadata"]["annotations"].clone(),
        by_lease: node["metadata"]["labels"]["towpath.network/peer-object"] == "lease",
        pod: pod.and_then(|pod| {
            Some(PodView {
                name: text(&pod["metadata"]["name"]),
                uid: text(&pod["metadata"]["uid"]),
                daemon: daemon_of(pod)?,
                ready: condition(pod, "Ready"),
            })
        }),
        name,
    }
}

fn condition(object: &Value, kind: &str) -> bool {
    let mut conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    conditions.any(|condition| condition["type"] == kind && condition["status"] == "True")
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
