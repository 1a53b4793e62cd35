//! [`Templates`]: the DaemonSet as it is, made into ours and into flannel's again. Pure: JSON in, JSON out.
//!
//! What a cluster has of its own is kept: flags, environment, where pods may run, pull secrets, other containers.

use serde_json::{Value, json};

use super::MigrateError;
use super::survey::container;
use crate::install::is_towpath;
use crate::install::manifest::{self, documents};

/// Where flannel's template and strategy are kept while Towpath runs.
pub const KEPT: &str = "towpathctl/flannel-daemonset";

/// Both.
pub struct Templates {
    /// The DaemonSet with our pods.
    pub towpath: Value,
    /// The DaemonSet with flannel's pods; `None` when nobody kept them.
    pub flannel: Option<Value>,
}

impl Templates {
    /// From a DaemonSet that is one or the other.
    pub fn of(daemonset: &Value, image: Option<&str>) -> Result<Templates, MigrateError> {
        let kept = daemonset["metadata"]["annotations"][KEPT].as_str();
        if is_towpath(&daemonset["spec"]["template"]) {
            let kept = kept.and_then(|kept| serde_json::from_str::<Value>(kept).ok());
            let flannel = kept.map(|kept| {
                let mut back = on_delete(daemonset.clone());
                back["spec"]["template"] = kept["template"].clone();
                back
            });
            let mut towpath = on_delete(daemonset.clone());
            if let (Some(image), Some(name)) = (image, name_of_container(&towpath)) {
                set_image(&mut towpath, &name, image);
            }
            return Ok(Templates { towpath, flannel });
        }
        let mut towpath = on_delete(daemonset.clone());
        let spec = &daemonset["spec"];
        // On the way back, or after half of one, the strategy is no longer flannel's own.
        let known = kept.and_then(|kept| serde_json::from_str::<Value>(kept).ok()).unwrap_or_default();
        let strategy = if known.is_null() { &spec["updateStrategy"] } else { &known["updateStrategy"] };
        let keep = json!({ "template": spec["template"], "updateStrategy": strategy });
        towpath["metadata"]["annotations"][KEPT] = Value::from(keep.to_string());
        towpath["spec"]["template"]["spec"] = pod(&spec["template"], image)?;
        Ok(Templates { towpath, flannel: Some(on_delete(daemonset.clone())) })
    }
}

/// As it should be at the end: rolled out by itself again.
pub fn settled(mut daemonset: Value) -> Result<Value, MigrateError> {
    let kept = daemonset["metadata"]["annotations"][KEPT].as_str();
    let kept = kept.and_then(|kept| serde_json::from_str::<Value>(kept).ok()).unwrap_or_default();
    if is_towpath(&daemonset["spec"]["template"]) {
        daemonset["spec"]["updateStrategy"] = ours()?["spec"]["updateStrategy"].clone();
    } else {
        daemonset["spec"]["updateStrategy"] = kept["updateStrategy"].clone();
        if let Some(annotations) = daemonset["metadata"]["annotations"].as_object_mut() {
            annotations.remove(KEPT);
        }
    }
    Ok(daemonset)
}

fn on_delete(mut daemonset: Value) -> Value {
    daemonset["spec"]["updateStrategy"] = json!({ "type": "OnDelete" });
    if let Some(object) = daemonset.as_object_mut() {
        object.remove("status");
    }
    daemonset
}

/// Our manifest's DaemonSet.
fn ours() -> Result<Value, MigrateError> {
    let found = documents(manifest::TEXT)?.into_iter().find(|document| document["kind"] == "DaemonSet");
    Ok(found.unwrap_or_default())
}

/// Flannel's pod with our container in the place of its own.
fn pod(flannel: &Value, image: Option<&str>) -> Result<Value, MigrateError> {
    let ours = &ours()?["spec"]["template"]["spec"];
    let mut pod = flannel["spec"].clone();
    let theirs = container(flannel).cloned().unwrap_or_default();
    let mut container = ours["containers"][0].clone();
    container["name"] = theirs["name"].clone();
    container["args"] = arguments(&theirs["args"], &container["args"]);
    container["env"] = environment(&theirs["env"], &container["env"]);
    let port = health_port(&container["args"]);
    container["ports"][0]["containerPort"] = Value::from(port);
    if let Some(image) = image {
        container["image"] = Value::from(image);
    }
    let configuration = volumes(&pod).find(|volume| !volume["configMap"].is_null()).cloned().unwrap_or_default();
    let mut all: Vec<Value> = volumes(ours).cloned().collect();
    for volume in all.iter_mut().filter(|volume| !volume["configMap"].is_null()) {
        volume["configMap"] = configuration["configMap"].clone();
    }
    let others: Vec<Value> = containers(&pod).filter(|other| other["name"] != theirs["name"]).cloned().collect();
    // Of flannel's volumes those that its other containers have mounted.
    let mounted = |volume: &&Value| {
        let mut mounts = others.iter().flat_map(|other| other["volumeMounts"].as_array().into_iter().flatten());
        mounts.any(|mount| mount["name"] == volume["name"])
    };
    let more: Vec<Value> =
        volumes(&pod).filter(mounted).filter(|v| all.iter().all(|a| a["name"] != v["name"])).cloned().collect();
    all.extend(more);
    pod["volumes"] = Value::from(all);
    pod["containers"] = [vec![container], others].concat().into();
    pod["terminationGracePeriodSeconds"] = ours["terminationGracePeriodSeconds"].clone();
    if let Some(pod) = pod.as_object_mut() {
        pod.remove("initContainers");
    }
    Ok(pod)
}

/// Flannel's flags in their order, and those of ours that it had not.
fn arguments(theirs: &Value, ours: &Value) -> Value {
    let name = |argument: &Value| {
        let word = argument.as_str().unwrap_or("");
        word.trim_start_matches('-').split('=').next().unwrap_or("").to_owned()
    };
    let theirs: Vec<Value> = theirs.as_array().cloned().unwrap_or_default();
    let mut all = theirs.clone();
    let ours = ours.as_array().into_iter().flatten();
    all.extend(ours.filter(|word| theirs.iter().all(|other| name(other) != name(word))).cloned());
    all.into()
}

/// Ours, and what flannel's had besides: some point at another API server, or give flags.
fn environment(theirs: &Value, ours: &Value) -> Value {
    let mut all: Vec<Value> = ours.as_array().cloned().unwrap_or_default();
    let known: Vec<Value> = all.iter().map(|variable| variable["name"].clone()).collect();
    all.extend(theirs.as_array().into_iter().flatten().filter(|variable| !known.contains(&variable["name"])).cloned());
    all.into()
}

/// What `--healthz-port` says, in either spelling.
fn health_port(arguments: &Value) -> u16 {
    let words: Vec<&str> = arguments.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let at = words.iter().rposition(|word| word.trim_start_matches('-').starts_with("healthz-port"));
    let text = at.and_then(|at| words[at].split_once('=').map(|(_, port)| port).or_else(|| words.get(at + 1).copied()));
    text.and_then(|text| text.parse().ok()).unwrap_or(8081)
}

fn volumes(pod: &Value) -> impl Iterator<Item = &Value> {
    pod["volumes"].as_array().into_iter().flatten()
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    pod["containers"].as_array().into_iter().flatten()
}

fn name_of_container(daemonset: &Value) -> Option<Value> {
    container(&daemonset["spec"]["template"]).map(|container| container["name"].clone())
}

fn set_image(daemonset: &mut Value, name: &Value, image: &str) {
    let containers = daemonset["spec"]["template"]["spec"]["containers"].as_array_mut();
    let found = containers.into_iter().flatten().find(|container| container["name"] == *name);
    if let Some(container) = found {
        container["image"] = Value::from(image);
    }
}

#[cfg(test)]
mod tests;
