//! `towpathctl install`: the manifest for this cluster, printed or applied. What is not said on the command line is asked of the
//! cluster. Where flannel runs it installs nothing: that is [`crate::migrate`]'s work.

pub mod manifest;

use serde_json::Value;

use crate::arguments::Install;
use crate::cluster::{Cluster, ClusterError};
use manifest::{ManifestError, NetConf, VxlanOptions, Wishes, documents};

/// Why nothing was installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The cluster cannot be asked.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// There is no manifest for these wishes.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// Nobody says what network pods have.
    #[error(
        "the cluster does not say which network its pods have: say --pod-cidr, as it was given to kubeadm init \
        --pod-network-cidr or to the controller manager's --cluster-cidr"
    )]
    NoPodCidr,
    /// Options for a configuration that is there already.
    #[error(
        "this cluster has a configuration (ConfigMap kube-flannel-cfg), which stays as it is: edit that, or say --pod-cidr \
        too for a new one"
    )]
    Configured,
    /// Flannel is here.
    #[error("flannel runs here, as {0}: `towpathctl migrate from-flannel` takes its place node by node")]
    Flannel(String),
}

/// Does what is wished; gives what is to be printed.
///
/// # Errors
/// [`InstallError`].
pub fn run(wish: &Install) -> Result<String, InstallError> {
    let asks = wish.pod_cidr.is_empty() || !wish.dry_run;
    let cluster = if asks { Some(Cluster::open(&wish.cluster.choice())?) } else { None };
    let mut net_conf = NetConf::of_cidrs(&wish.pod_cidr, &wish.backend)?;
    if let (None, Some(cluster)) = (&net_conf, &cluster) {
        net_conf = net_conf_of(cluster, wish)?;
    }
    let net_conf = net_conf.ok_or(InstallError::NoPodCidr)?;
    let text = manifest::render(&Wishes { net_conf, image: wish.image.clone(), arguments: wish.argument.clone() })?;
    let Some(cluster) = cluster.filter(|_| !wish.dry_run) else { return Ok(text) };
    let current = cluster.find(DAEMONSET)?;
    if let Some(daemonset) = current.filter(|daemonset| !is_towpath(&daemonset["spec"]["template"])) {
        return Err(InstallError::Flannel(name_of(&daemonset)));
    }
    let mut done = String::new();
    for document in documents(&text)? {
        cluster.apply(&path_of(&document)?, &document)?;
        done += &format!("{} applied\n", name_of(&document));
    }
    Ok(done + "\nkubectl -n kube-flannel rollout status daemonset/kube-flannel-ds   # until every node is ready\n")
}

const DAEMONSET: &str = "/apis/apps/v1/namespaces/kube-flannel/daemonsets/kube-flannel-ds";
const CONFIGURATION: &str = "/api/v1/namespaces/kube-flannel/configmaps/kube-flannel-cfg";
const KUBEADM: &str = "/api/v1/namespaces/kube-system/configmaps/kubeadm-config";

/// What the cluster says of its network: an installed configuration as it is, else what kubeadm was told.
fn net_conf_of(cluster: &Cluster, wish: &Install) -> Result<Option<NetConf>, InstallError> {
    if let Some(installed) = cluster.find(CONFIGURATION)?
        && let Some(text) = installed["data"]["net-conf.json"].as_str()
    {
        if wish.backend != VxlanOptions::default() {
            return Err(InstallError::Configured);
        }
        return Ok(Some(NetConf::of_text(text)?));
    }
    let Some(kubeadm) = cluster.find(KUBEADM)? else { return Ok(None) };
    let text = kubeadm["data"]["ClusterConfiguration"].as_str().unwrap_or("");
    let configuration = documents(text)?.into_iter().next().unwrap_or(Value::Null);
    let cidrs = configuration["networking"]["podSubnet"].as_str().unwrap_or("");
    let cidrs: Vec<_> = cidrs.split(',').filter_map(|cidr| cidr.trim().parse().ok()).collect();
    Ok(NetConf::of_cidrs(&cidrs, &wish.backend)?)
}

/// Whether a pod template runs our daemon under our own name.
pub fn is_towpath(template: &Value) -> bool {
    let containers = template["spec"]["containers"].as_array().into_iter().flatten();
    let mut commands = containers.flat_map(|container| container["command"].as_array().into_iter().flatten());
    commands.any(|word| word.as_str().is_some_and(|word| word.ends_with("/towpathd")))
}

/// `Kind name`.
pub fn name_of(object: &Value) -> String {
    let word = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    format!("{} {}", word(&object["kind"]).to_lowercase(), word(&object["metadata"]["name"]))
}

/// Where an object of the manifest lives in the API.
pub fn path_of(object: &Value) -> Result<String, ManifestError> {
    let kind = object["kind"].as_str().unwrap_or("");
    let plural = match kind {
        "Namespace" => "namespaces",
        "ServiceAccount" => "serviceaccounts",
        "ClusterRole" => "clusterroles",
        "ClusterRoleBinding" => "clusterrolebindings",
        "Role" => "roles",
        "RoleBinding" => "rolebindings",
        "ConfigMap" => "configmaps",
        "DaemonSet" => "daemonsets",
        _ => return Err(ManifestError::Kind(kind.to_owned())),
    };
    let version = object["apiVersion"].as_str().unwrap_or("v1");
    let root = if version.contains('/') { format!("/apis/{version}") } else { format!("/api/{version}") };
    let name = object["metadata"]["name"].as_str().unwrap_or("");
    Ok(match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("{root}/namespaces/{namespace}/{plural}/{name}"),
        None => format!("{root}/{plural}/{name}"),
    })
}
