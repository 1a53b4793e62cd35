//! A stock DaemonSet of flannel there and back.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;

/// As flannel's release has it, with what a cluster adds: flags, an API server, a pull secret, a container beside.
fn stock() -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": { "name": "kube-flannel-ds", "namespace": "kube-flannel", "resourceVersion": "7" },
        "status": { "numberReady": 3 },
        "spec": {
            "selector": { "matchLabels": { "app": "flannel" } },
            "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 2 } },
            "template": {
                "metadata": { "labels": { "app": "flannel", "tier": "node" } },
                "spec": {
                    "hostNetwork": true,
                    "serviceAccountName": "flannel",
                    "imagePullSecrets": [{ "name": "ours" }],
                    "tolerations": [{ "operator": "Exists", "effect": "NoSchedule" }],
                    "initContainers": [{ "name": "install-cni", "image": "flannel" }],
                    "containers": [
                        {
                            "name": "kube-flannel",
                            "image": "flannel:v0.28.9",
                            "command": ["/opt/bin/flanneld"],
                            "args": ["--ip-masq", "-kube-subnet-mgr", "--iface=eth1", "--healthz-port", "9000"],
                            "env": [
                                { "name": "POD_NAME", "value": "x" },
                                { "name": "KUBERNETES_SERVICE_HOST", "value": "10.0.0.9" },
                            ],
                        },
                        { "name": "policies", "volumeMounts": [{ "name": "modules", "mountPath": "/lib/modules" }] },
                    ],
                    "volumes": [
                        { "name": "run", "hostPath": { "path": "/run/flannel" } },
                        { "name": "flannel-cfg", "configMap": { "name": "another-cfg" } },
                        { "name": "xtables-lock", "hostPath": { "path": "/run/xtables.lock" } },
                        { "name": "modules", "hostPath": { "path": "/lib/modules" } },
                    ],
                },
            },
        },
    })
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect()
}

#[test]
fn what_a_cluster_has_of_its_own_is_kept() {
    let ours = Templates::of(&stock(), Some("registry.example/towpath:v1")).unwrap().towpath;
    let pod = &ours["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    assert_eq!(container["command"], json!(["/opt/bin/towpathd"]));
    assert_eq!(container["image"], "registry.example/towpath:v1");
    let arguments: Vec<_> = container["args"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
    assert_eq!(arguments[..5], ["--ip-masq", "-kube-subnet-mgr", "--iface=eth1", "--healthz-port", "9000"]);
    assert!(arguments.contains(&"--cni-bin-dir=/opt/cni/bin") && !arguments.contains(&"--healthz-port=8081"));
    assert_eq!(container["ports"][0]["containerPort"], 9000);
    assert_eq!(names(&container["env"]), ["NODE_NAME", "POD_NAME", "KUBERNETES_SERVICE_HOST"]);
    assert_eq!(names(&pod["containers"]), ["kube-flannel", "policies"]);
    let volumes = names(&pod["volumes"]);
    assert!(volumes.contains(&"modules") && volumes.contains(&"sysctl") && !volumes.contains(&"xtables-lock"));
    let configuration = pod["volumes"].as_array().unwrap().iter().find(|v| v["name"] == "flannel-cfg").unwrap();
    assert_eq!(configuration["configMap"]["name"], "another-cfg");
    assert_eq!(pod["imagePullSecrets"], json!([{ "name": "ours" }]));
    assert_eq!(pod.get("initContainers"), None);
    assert_eq!(ours["spec"]["updateStrategy"], json!({ "type": "OnDelete" }));
    assert_eq!(ours["spec"]["selector"], stock()["spec"]["selector"]);
}

#[test]
fn the_way_back_is_flannels_own_template() {
    let ours = Templates::of(&stock(), None).unwrap().towpath;
    let settled_ours = settled(ours).unwrap();
    assert_eq!(settled_ours["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"], "10%");
    // An upgrade in between changes nothing of what is kept.
    let upgraded = Templates::of(&settled_ours, Some("towpath:v2")).unwrap();
    assert_eq!(upgraded.towpath["spec"]["template"]["spec"]["containers"][0]["image"], "towpath:v2");
    let back = upgraded.flannel.unwrap();
    assert_eq!(back["spec"]["template"], stock()["spec"]["template"]);
    assert_eq!(back["spec"]["updateStrategy"]["type"], "OnDelete");
    // Half-way back, and on again: the strategy that is kept is still the first one.
    let again = Templates::of(&back, None).unwrap().towpath;
    assert!(again["metadata"]["annotations"][KEPT].as_str().unwrap().contains("\"maxUnavailable\":2"));
    let end = settled(back).unwrap();
    assert_eq!(end["spec"]["updateStrategy"], stock()["spec"]["updateStrategy"]);
    assert_eq!(end["metadata"]["annotations"].get(KEPT), None);
}

#[test]
fn without_what_was_kept_there_is_no_way_back() {
    let mut ours = Templates::of(&stock(), None).unwrap().towpath;
    ours["metadata"]["annotations"] = json!({});
    assert!(Templates::of(&ours, None).unwrap().flannel.is_none());
}
