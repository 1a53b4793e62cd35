//! The manifest, the chart and the kustomization say the same; and what each value of the chart does.

use std::path::Path;

use serde_json::{Value, json};

use super::objects::{Objects, chart, helm, kustomize, manifest, repository};

fn container(objects: &Objects) -> Value {
    objects.only("DaemonSet")["spec"]["template"]["spec"]["containers"][0].clone()
}

#[test]
fn the_chart_with_its_defaults_is_the_manifest() {
    let chart = Objects::read(&chart(&[]).unwrap()).parsed();
    // Helm makes the namespace, if it is asked to.
    assert_eq!(chart, Objects::read(&manifest()).without("Namespace").parsed());
}

#[test]
fn the_kustomization_is_the_manifest() {
    assert_eq!(Objects::read(&kustomize()), Objects::read(&manifest()));
}

#[test]
fn the_chart_brings_what_the_optional_files_bring() {
    for (file, value) in
        [("towpath-own-node.yml", "ownNodeOnly=true"), ("towpath-peer-leases.yml", "peerObjects=\"leases\"")]
    {
        let optional = std::fs::read_to_string(repository(&format!("manifests/{file}"))).unwrap();
        let of_chart = Objects::read(&chart(&[value]).unwrap());
        for (name, object) in Objects::read(&optional).0 {
            assert_eq!(of_chart.0[&name], object);
        }
    }
    let leases = container(&Objects::read(&chart(&["peerObjects=\"leases\""]).unwrap()));
    let arguments = leases["args"].as_array().unwrap();
    for argument in ["--peer-objects=leases", "--peer-namespace=kube-flannel"] {
        assert!(arguments.contains(&json!(argument)), "{arguments:?}");
    }
}

#[test]
fn every_form_names_this_version() {
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(container(&Objects::read(&manifest()))["image"], format!("localhost/towpath:v{version}"));
    let chart = std::fs::read_to_string(repository("manifests/helm/towpath/Chart.yaml")).unwrap();
    assert!(chart.contains(&format!("\nversion: {version}\nappVersion: v{version}\n")), "{chart}");
}

#[test]
fn helm_finds_nothing_to_complain_of() {
    let said = helm(&["lint", "--strict", "."]).unwrap();
    assert!(said.contains("0 chart(s) failed") && !said.contains("[WARNING]"), "{said}");
}

/// Runs each `NAME.values` of the golden folder and compares with `NAME.yaml`; `GOLDEN=write` writes instead.
#[test]
fn golden_values_give_golden_objects() {
    let folder = repository("tests/tests/manifests/golden");
    let mut seen = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let values = entry.unwrap().path();
        if values.extension().is_none_or(|extension| extension != "values") {
            continue;
        }
        seen += 1;
        let words = ["template", "pod-network", ".", "--namespace", "pods", "--values", values.to_str().unwrap()];
        let rendered = helm(&words).unwrap();
        let golden = values.with_extension("yaml");
        if std::env::var_os("GOLDEN").is_some_and(|wish| wish == "write") {
            std::fs::write(&golden, &rendered).unwrap();
        }
        let expected = std::fs::read_to_string(&golden).unwrap();
        assert_eq!(rendered, expected, "{}: GOLDEN=write writes it anew", golden.display());
        // And it is what it says: each golden file is read as a cluster would read it.
        assert!(Objects::read(&rendered).net_conf()["Backend"]["Type"].is_string());
    }
    assert!(seen >= 3, "{} golden values in {}", seen, Path::new(&folder).display());
}

#[test]
fn net_conf_is_json_whatever_the_values_are() {
    let of = |values: &[&str]| Objects::read(&chart(values).unwrap()).net_conf();
    let all = of(&[
        "podCidrv6=\"fd44::/56\"",
        "flannel.backendPort=4789",
        "flannel.vni=16777215",
        "flannel.mtu=9000",
        "flannel.GBP=true",
        "flannel.learning=true",
        "flannel.directRouting=true",
        r#"flannel.macPrefix="0E-\"2A""#,
    ]);
    let backend = json!({
        "Type": "vxlan", "Port": 4789, "VNI": 16_777_215, "MTU": 9000, "GBP": true, "Learning": true,
        "DirectRouting": true, "MacPrefix": "0E-\"2A",
    });
    let expected = json!({
        "Network": "10.244.0.0/16", "IPv6Network": "fd44::/56", "EnableIPv6": true, "Backend": backend,
    });
    assert_eq!(all, expected);
    let six = of(&["podCidr=\"\"", "podCidrv6=\"fd44::/56\""]);
    assert_eq!((&six["EnableIPv4"], six.get("Network")), (&json!(false), None));
    // What flannel's own chart renders as broken JSON: a word without quotes.
    let mut words = vec!["template", "x", ".", "--show-only", "templates/config.yaml"];
    let values = ["flannel.backend=wireguard", "flannel.tunnelMode=auto", "flannel.psk=12345"];
    words.extend(values.iter().flat_map(|value| ["--set", value]));
    let wireguard = Objects::read(&helm(&words).unwrap()).net_conf();
    assert_eq!(wireguard["Backend"], json!({ "Type": "wireguard", "Mode": "auto", "PSK": "12345" }));
}

#[test]
fn every_backend_and_every_key_can_be_said_in_values() {
    for backend in ["vxlan", "host-gw", "bgp", "ipip", "wireguard", "udp", "extension", "alloc"] {
        let objects = Objects::read(&chart(&[&format!("flannel.backend=\"{backend}\"")]).unwrap());
        assert_eq!(objects.net_conf()["Backend"], json!({ "Type": backend }));
        let capabilities = container(&objects)["securityContext"]["capabilities"]["add"].clone();
        // BGP's port is below 1024.
        let expected = if backend == "bgp" { json!(["NET_ADMIN", "NET_BIND_SERVICE"]) } else { json!(["NET_ADMIN"]) };
        assert_eq!(capabilities, expected, "{backend}");
    }
    let objects = Objects::read(
        &chart(&[
            "flannel.backend=\"ipip\"",
            "flannel.mtu=9000",
            "flannel.backendOptions={\"TxChecksum\":\"off\"}",
            r#"flannel.netConf={"ClampMSS":true,"IPv6SubnetLen":80,"BGP":{"AS":4200000000}}"#,
        ])
        .unwrap(),
    );
    let backend = json!({ "Type": "ipip", "MTU": 9000, "TxChecksum": "off" });
    let bgp = json!({ "AS": 4_200_000_000_u64 });
    let expected =
        json!({ "Network": "10.244.0.0/16", "ClampMSS": true, "IPv6SubnetLen": 80, "BGP": bgp, "Backend": backend });
    assert_eq!(objects.net_conf(), expected);
    assert_eq!(container(&objects)["securityContext"]["capabilities"]["add"][1], "NET_BIND_SERVICE");
}

#[test]
fn what_cannot_work_is_refused_by_the_schema_or_with_a_sentence() {
    for (value, said) in [
        ("podCidr=\"10.1\"", "/podCidr"),
        ("flannel.backend=\"ipsec\"", "/flannel/backend"),
        ("flannel.backendOptions={\"Type\":\"vxlan\"}", "/flannel/backendOptions"),
        ("flannel.netConf={\"Backend\":{}}", "/flannel/netConf"),
        ("flannel.vni=\"1\"", "/flannel/vni"),
        ("flannel.vni=16777216", "/flannel/vni"),
        ("flannel.backendPort=65536", "/flannel/backendPort"),
        ("flannel.cniBinDir=\"opt\"", "/flannel/cniBinDir"),
        ("flannel.args=[\"ip-masq\"]", "/flannel/args"),
        ("peerObjects=\"pods\"", "/peerObjects"),
        ("flannel.tolerration=[]", "tolerration"),
        ("podCidr=\"\"", "pods need a network"),
        ("netpol.enabled=true", "brings no network policy"),
        ("flannel.cniConf=\"{]\"", "cniConf"),
    ] {
        let error = chart(&[value]).expect_err(value);
        assert!(error.contains(said), "{value}: {error}");
    }
}

#[test]
fn every_value_of_flannels_chart_is_a_value_here() {
    let named = [
        "global.imagePullSecrets=[{\"name\":\"s\"}]",
        "flannel.flannel_cni.image.tag=\"v1\"",
        "flannel.skipCNIConfigInstallation=true",
        "flannel.enableNFTables=true",
        "flannel.args=[\"--kube-subnet-mgr\",\"--iface-regex=^e\\\"th: #\"]",
        "flannel.backendPortv6=51821",
        "flannel.keepaliveInterval=25",
        "flannel.tunnelMode=\"auto\"",
        "flannel.psk=\"0\"",
        "flannel.cniBinDir=\"/usr/libexec/cni\"",
        "flannel.cniConfDir=\"/etc/cni/other\"",
        "flannel.resources=null",
        "flannel.healthz.port=0",
        "flannel.tolerations=[]",
        "flannel.nodeSelector={\"pool\":\"a\"}",
        "netpol.args=[\"--v=2\"]",
    ];
    let objects = Objects::read(&chart(&named).unwrap());
    let container = container(&objects);
    let arguments: Vec<&str> =
        container["args"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
    assert_eq!(arguments, ["--kube-subnet-mgr", "--iface-regex=^e\"th: #", "--cni-bin-dir=/opt/cni/bin"]);
    for absent in ["ports", "livenessProbe", "readinessProbe", "resources"] {
        assert_eq!(container.get(absent), None, "{absent}");
    }
    let pod = &objects.only("DaemonSet")["spec"]["template"]["spec"];
    assert_eq!(pod["nodeSelector"], json!({ "kubernetes.io/os": "linux", "pool": "a" }));
    assert_eq!(pod["imagePullSecrets"], json!([{ "name": "s" }]));
    assert!(pod["volumes"].as_array().unwrap().iter().any(|volume| volume["hostPath"]["path"] == "/usr/libexec/cni"));
}

#[test]
fn the_pod_has_no_more_rights_than_it_needs() {
    let objects = Objects::read(&manifest());
    let pod = objects.only("DaemonSet")["spec"]["template"]["spec"].clone();
    assert_eq!((pod.get("initContainers"), pod["containers"].as_array().unwrap().len()), (None, 1));
    assert_eq!((pod.get("hostPID"), pod.get("hostIPC")), (None, None));
    let security = &pod["containers"][0]["securityContext"];
    assert_eq!(security["capabilities"], json!({ "drop": ["ALL"], "add": ["NET_ADMIN"] }));
    assert_eq!((&security["privileged"], &security["readOnlyRootFilesystem"]), (&json!(false), &json!(true)));
    let rules = objects.only("ClusterRole")["rules"].clone();
    let expected = json!([
        { "apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "watch"] },
        { "apiGroups": [""], "resources": ["nodes/status"], "verbs": ["patch"] },
    ]);
    assert_eq!(rules, expected);
}
