//! What a kubelet writes into a Node object: much more than anybody here reads. The lengths are those of a machine in use: forty
//! images by digest and by name, five conditions, addresses, resources.

use serde_json::{Value, json};

use crate::kubernetes::NodeObject;

/// As many as a kubelet reports at most are fifty.
const IMAGES: u32 = 40;
const KINDS: [(&str, &str, &str); 4] = [
    ("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ("Ready", "KubeletReady", "kubelet is posting ready status"),
];

/// The Node with labels and the whole status.
pub(super) fn filled(node: &NodeObject) -> Value {
    let mut object = node.to_json();
    let name = node.name.as_str();
    let arch = "amd64";
    object["metadata"]["labels"] = json!({
        "beta.kubernetes.io/arch": arch, "beta.kubernetes.io/os": "linux", "kubernetes.io/arch": arch,
        "kubernetes.io/os": "linux", "kubernetes.io/hostname": name, "node.kubernetes.io/instance-type": "m5.2xlarge",
        "topology.kubernetes.io/region": "eu-central-1", "topology.kubernetes.io/zone": "eu-central-1a",
    });
    for (key, value) in [
        ("kubeadm.alpha.kubernetes.io/cri-socket", "unix:///run/containerd/containerd.sock"),
        ("node.alpha.kubernetes.io/ttl", "300"),
        ("volumes.kubernetes.io/controller-managed-attach-detach", "true"),
    ] {
        object["metadata"]["annotations"][key] = json!(value);
    }
    let internal = object["status"]["addresses"].take();
    let mut addresses = internal.as_array().cloned().unwrap_or_default();
    addresses.push(json!({ "type": "Hostname", "address": name }));
    let resources = |memory: &str| json!({ "cpu": "8", "memory": memory, "pods": "110", "ephemeral-storage": "103079200Ki", "hugepages-1Gi": "0", "hugepages-2Mi": "0" });
    let mut conditions = conditions(0);
    conditions.push(json!({
        "type": "NetworkUnavailable", "status": "False", "reason": "FlannelIsUp", "message": "Flannel is running on this node",
        "lastHeartbeatTime": time(0), "lastTransitionTime": time(0),
    }));
    object["status"] = json!({
        "addresses": addresses,
        "capacity": resources("32386544Ki"),
        "allocatable": resources("32284144Ki"),
        "conditions": conditions,
        "daemonEndpoints": { "kubeletEndpoint": { "Port": 10250 } },
        "images": (0..IMAGES).map(image).collect::<Vec<_>>(),
        "nodeInfo": {
            "architecture": arch, "bootID": "9cd5ba3f-2a62-4a1b-bd0e-8e8f6ac0a001", "containerRuntimeVersion": "containerd://2.1.4",
            "kernelVersion": "6.12.48+deb13-amd64", "kubeProxyVersion": "", "kubeletVersion": "v1.36.3",
            "machineID": "ec2d1c5ac3d84a2b8f0dd3b2a6a2c9f1", "operatingSystem": "linux",
            "osImage": "Debian GNU/Linux 13 (trixie)", "systemUUID": "ec2d1c5a-c3d8-4a2b-8f0d-d3b2a6a2c9f1",
        },
    });
    object
}

/// The strategic merge patch of a status that is as it was, at another time.
pub(super) fn heartbeat(number: u64) -> Value {
    json!({ "status": { "conditions": conditions(number + 1) } })
}

fn conditions(number: u64) -> Vec<Value> {
    let each = KINDS.map(|(kind, reason, message)| {
        let status = if kind == "Ready" { "True" } else { "False" };
        json!({
            "type": kind, "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": time(number), "lastTransitionTime": time(0),
        })
    });
    each.to_vec()
}

/// A second of one day.
fn time(number: u64) -> String {
    let second = number % 86_400;
    format!("2026-01-01T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

fn image(number: u32) -> Value {
    let digest: String = (0..8).map(|part: u32| format!("{:08x}", number.wrapping_mul(0x9e37_79b9) ^ part)).collect();
    let name = format!("registry.example.internal/platform/component-{number:02}");
    json!({ "names": [format!("{name}@sha256:{digest}"), format!("{name}:v1.{number}.0")], "sizeBytes": 40_000_000 + number })
}
