//! A cluster as `kubeadm` sets it up, unpatched, with nothing on its command line but what this machine needs.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ipam::Stack;
use ipnet::IpNet;
use serde_json::Value;

use super::by_hand::node_ips;
use super::{Cluster, ClusterOptions, Inner, Proxy, together};
use crate::kubernetes::{Kubectl, Machine, Programs};
use crate::lab::Lab;
use crate::wait_for;

const INIT_LIMIT: Duration = Duration::from_secs(300);
const LIMIT: Duration = Duration::from_secs(120);
const PATCHES: &str = "/etc/lab/patches";

/// The unit of the kubelet's package, as far as kubeadm relies on it (10-kubeadm.conf).
const KUBELET: &str = "\
KUBELET_KUBEADM_ARGS= KUBELET_EXTRA_ARGS=
[ -e /var/lib/kubelet/kubeadm-flags.env ] && . /var/lib/kubelet/kubeadm-flags.env
. /etc/default/kubelet
exec kubelet --bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf --kubeconfig=/etc/kubernetes/kubelet.conf \\
    --config=/var/lib/kubelet/config.yaml $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS
";

/// What the kubelet must know of this machine: cgroups of version 1, no right to lower its score for the out-of-memory killer, a
/// disk that is everybody's.
const KUBELET_PATCH: &str = "\
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
localStorageCapacityIsolation: false
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 0%, nodefs.available: 0%, imagefs.available: 0%, nodefs.inodesFree: 0%, imagefs.inodesFree: 0%}
";
/// Twice as quick on a slow disk.
const ETCD_PATCH: &str = "- {op: add, path: /spec/containers/0/command/-, value: --unsafe-no-fsync=true}\n";
/// There is one of each: electing it takes seconds.
const ELECTION_PATCH: &str = "- {op: add, path: /spec/containers/0/command/-, value: --leader-elect=false}\n";

pub(super) fn start(lab: &Lab, machines: Vec<Machine>, options: &ClusterOptions) -> Result<Cluster> {
    for machine in &machines {
        prepare(machine, options)?;
    }
    let first = machines.first().context("a cluster needs a node")?;
    init(first, options)?;
    let administrator = lab.directory().join("admin.conf");
    std::fs::write(&administrator, first.read("/etc/kubernetes/admin.conf")?)?;
    let kubectl = Kubectl::new(lab.switch(), &Programs::built()?, administrator);
    let inner = Inner { machines, kubectl, control_plane: None, options: options.clone() };
    let cluster = Cluster { inner: inner.into() };
    if options.proxy != Proxy::Absent {
        adapt_proxy(&cluster, options.proxy)?;
    }
    let words = ticket(&cluster)?;
    together(cluster.machines().get(1..).unwrap_or_default(), |machine| join_with(machine, &words))?;
    Ok(cluster)
}

/// Joins one more time, with a new token.
pub(super) fn join(cluster: &Cluster, machine: &Machine) -> Result<()> {
    join_with(machine, &ticket(cluster)?)
}

/// As kubeadm's manual says: reset, then what it does not clean up (CNI configuration, packet filter).
pub(super) fn remove(machine: &Machine) -> Result<()> {
    machine.run_long("kubeadm-reset", &["kubeadm", "reset", "-f"], LIMIT)?;
    machine.power_off()?;
    machine.run(["sh", "-c", "rm -rf /etc/cni/net.d/* /var/lib/cni/*"])?;
    // The kubelet's script is there again for `kubeadm join`; containerd has to run before.
    machine.boot()
}

fn prepare(machine: &Machine, options: &ClusterOptions) -> Result<()> {
    let extra = format!("--cgroup-root=/{} --node-ip={}", machine.cgroup(), node_ips(machine, options)?);
    machine.write("/etc/default/kubelet", &format!("KUBELET_EXTRA_ARGS=\"{extra}\"\n"))?;
    machine.describe_service("kubelet", KUBELET)?;
    for (target, patch) in [
        ("kubeletconfiguration+merge", KUBELET_PATCH),
        ("etcd+json", ETCD_PATCH),
        ("kube-controller-manager+json", ELECTION_PATCH),
        ("kube-scheduler+json", ELECTION_PATCH),
    ] {
        machine.write(&format!("{PATCHES}/{target}.yaml"), patch)?;
    }
    Ok(())
}

fn init(machine: &Machine, options: &ClusterOptions) -> Result<()> {
    let list = |nets: &Stack<IpNet>| nets.values().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let mut words = vec![
        "kubeadm".to_owned(),
        "init".to_owned(),
        format!("--pod-network-cidr={}", list(&options.pods)),
        format!("--service-cidr={}", list(&options.services)),
    ];
    let address = options.pods.families().next().map(|family| machine.address(family)).transpose()?;
    words.extend(address.map(|address| format!("--apiserver-advertise-address={address}")));
    words.extend(OF_THIS_MACHINE.map(str::to_owned));
    if options.proxy == Proxy::Absent {
        words.push("--skip-phases=addon/kube-proxy".to_owned());
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = machine.run_long("kubeadm-init", &words, INIT_LIMIT);
    done.with_context(|| machine.log_tails(30)).map(drop)
}

/// SystemVerification is about cgroups.
const OF_THIS_MACHINE: [&str; 3] = ["--ignore-preflight-errors=SystemVerification", "--patches", PATCHES];

/// The words of `kubeadm join`, once they work at once: kubeadm asks for the signed cluster-info every five seconds, so it had
/// better be there.
fn ticket(cluster: &Cluster) -> Result<Vec<String>> {
    let first = cluster.machines().first().context("a cluster needs a node")?;
    let command = first.run(["kubeadm", "token", "create", "--print-join-command"])?;
    let words: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
    let token = words.iter().position(|word| word == "--token").and_then(|at| words.get(at + 1));
    let id = token.and_then(|token| token.split('.').next()).with_context(|| format!("no token in {command}"))?;
    let signature = format!("jws-kubeconfig-{id}");
    cluster.kubectl().wait_json("get configmap cluster-info -n kube-public", LIMIT, |info| {
        ensure!(info["data"][&signature].is_string(), "cluster-info is not signed for {id}");
        Ok(())
    })?;
    Ok(words)
}

fn join_with(machine: &Machine, words: &[String]) -> Result<()> {
    let words: Vec<&str> = words.iter().map(String::as_str).chain(OF_THIS_MACHINE).collect();
    machine.run_long("kubeadm-join", &words, LIMIT).with_context(|| machine.log_tails(30)).map(drop)
}

/// kube-proxy's mode has no flag of kubeadm's; and it must not resize the table of connections, which is the machine's.
fn adapt_proxy(cluster: &Cluster, proxy: Proxy) -> Result<()> {
    let mut map = cluster.kubectl().json("get configmap kube-proxy -n kube-system")?;
    let text = map["data"]["config.conf"].as_str().context("kube-proxy's ConfigMap has no config.conf")?;
    let adapted = text
        .replace("maxPerCore: null", "maxPerCore: 0")
        .replace("tcpEstablishedTimeout: null", "tcpEstablishedTimeout: 0s")
        .replace("tcpCloseWaitTimeout: null", "tcpCloseWaitTimeout: 0s")
        .replace("mode: \"\"", &format!("mode: {}", proxy.mode()));
    map["data"]["config.conf"] = Value::from(adapted);
    cluster.kubectl().feed(["replace", "-f", "-"], &map.to_string())?;
    // The pod that had the old text, if it is there already.
    cluster.kubectl().run("delete pod -n kube-system -l k8s-app=kube-proxy --grace-period=1 --wait=false")?;
    wait_for("kube-proxy's pods to be new", LIMIT, || {
        let pods = cluster.kubectl().json("get pods -n kube-system -l k8s-app=kube-proxy")?;
        let old = pods["items"]
            .as_array()
            .is_some_and(|pods| pods.iter().any(|pod| !pod["metadata"]["deletionTimestamp"].is_null()));
        ensure!(!old, "one is being removed");
        Ok(())
    })
}
