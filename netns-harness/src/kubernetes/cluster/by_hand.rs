//! A cluster as the lab sets it up itself: the control plane on the switch, kubelet and kube-proxy as services of the nodes.

use anyhow::Result;
use ipam::Stack;

use super::{Cluster, ClusterOptions, Inner, Proxy, together};
use crate::kubernetes::{ControlPlane, ControlPlaneOptions, Identity, Machine};
use crate::lab::Lab;

pub(super) fn start(lab: &Lab, machines: Vec<Machine>, options: &ClusterOptions) -> Result<Cluster> {
    let control_plane = lab.control_plane(&ControlPlaneOptions {
        pod_network: Some(options.pods),
        services: options.services,
        scheduler: true,
        ..ControlPlaneOptions::default()
    })?;
    together(&machines, |machine| serve(machine, &control_plane, options))?;
    let kubectl = control_plane.kubectl().clone();
    let inner = Inner { machines, kubectl, control_plane: Some(control_plane), options: options.clone() };
    Ok(Cluster { inner: inner.into() })
}

/// Makes a machine a node.
fn serve(machine: &Machine, control_plane: &ControlPlane, options: &ClusterOptions) -> Result<()> {
    let name = machine.name();
    machine.write("/etc/lab/kubelet.yaml", &kubelet_configuration(machine, options))?;
    let kubeconfig = control_plane.kubeconfig(&Identity::node(name))?;
    machine.service(
        "kubelet",
        &format!(
            "exec kubelet --config=/etc/lab/kubelet.yaml --kubeconfig={} --cert-dir=/var/lib/kubelet/pki \
             --hostname-override={name} --node-ip={}\n",
            kubeconfig.display(),
            node_ips(machine, options)?,
        ),
    )?;
    if options.proxy == Proxy::Absent {
        return Ok(());
    }
    let kubeconfig = control_plane.kubeconfig(&Identity::component("kube-proxy"))?;
    let pods = options.pods.values().map(ToString::to_string).collect::<Vec<_>>().join(",");
    // The table of connections has its size from the machine, and a namespace may not change it.
    machine.service(
        "kube-proxy",
        &format!(
            "exec kube-proxy --kubeconfig={} --hostname-override={name} --proxy-mode={} --cluster-cidr={pods} \
             --conntrack-max-per-core=0 --conntrack-tcp-timeout-established=0s --conntrack-tcp-timeout-close-wait=0s\n",
            kubeconfig.display(),
            options.proxy.mode(),
        ),
    )
}

/// The disk of the machine stays, but for what says that it was a node.
pub(super) fn remove(machine: &Machine) -> Result<()> {
    machine.power_off()?;
    machine.run(["sh", "-c", "rm -rf /var/lib/kubelet/* /etc/cni/net.d/* /var/lib/cni/*"]).map(drop)
}

/// A node's own addresses in the families of the cluster, as `--node-ip` takes them.
pub(super) fn node_ips(machine: &Machine, options: &ClusterOptions) -> Result<String> {
    let addresses = machine.addresses()?;
    let wanted: Vec<_> =
        options.pods.families().filter_map(|family| addresses.get(family)).map(ToString::to_string).collect();
    Ok(wanted.join(","))
}

fn kubelet_configuration(machine: &Machine, options: &ClusterOptions) -> String {
    let dns = match options.services {
        Stack::V4(net) | Stack::Dual { v4: net, .. } | Stack::V6(net) => net.hosts().nth(10),
    };
    let dns = dns.map(|address| address.to_string()).unwrap_or_default();
    format!(
        "apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
authentication: {{anonymous: {{enabled: true}}, webhook: {{enabled: false}}}}
authorization: {{mode: AlwaysAllow}}
cgroupDriver: cgroupfs
cgroupRoot: /{cgroup}
# The machine has hierarchies of version 1, which this kubelet refuses unless it is told.
failCgroupV1: false
enforceNodeAllocatable: [none]
failSwapOn: false
oomScoreAdj: 0
readOnlyPort: 0
localStorageCapacityIsolation: false
clusterDomain: cluster.local
clusterDNS: [\"{dns}\"]
# The disk is everybody's here: how full it is says nothing about this node.
evictionHard: {{memory.available: 0%, nodefs.available: 0%, imagefs.available: 0%, nodefs.inodesFree: 0%, imagefs.inodesFree: 0%}}
imageGCHighThresholdPercent: 100
",
        cgroup = machine.cgroup(),
    )
}
