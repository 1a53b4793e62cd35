//! The manifest with a cluster's own values.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;

fn cidrs(text: &str) -> Vec<IpNet> {
    text.split(',').map(|cidr| cidr.parse().unwrap()).collect()
}

fn wishes(cidr_text: &str) -> Wishes {
    let net_conf = NetConf::of_cidrs(&cidrs(cidr_text), &VxlanOptions::default()).unwrap().unwrap();
    Wishes { net_conf, image: None, arguments: Vec::new() }
}

fn by_kind(text: &str, kind: &str) -> Value {
    documents(text).unwrap().into_iter().find(|document| document["kind"] == kind).unwrap()
}

fn net_conf(text: &str) -> Value {
    serde_json::from_str(by_kind(text, "ConfigMap")["data"]["net-conf.json"].as_str().unwrap()).unwrap()
}

#[test]
fn with_the_defaults_it_is_the_file_itself() {
    assert_eq!(render(&wishes("10.244.0.0/16")).unwrap(), TEXT);
}

#[test]
fn a_network_of_each_family_stands_in_it() {
    let text = render(&wishes("10.1.2.3/16,fd44::1/56")).unwrap();
    let expected = serde_json::json!({
        "Network": "10.1.0.0/16", "IPv6Network": "fd44::/56", "EnableIPv6": true, "Backend": { "Type": "vxlan" },
    });
    assert_eq!(net_conf(&text), expected);
    let alone = net_conf(&render(&wishes("fd44::/56")).unwrap());
    assert_eq!((&alone["EnableIPv4"], alone.get("Network")), (&Value::from(false), None));
    assert!(NetConf::of_cidrs(&cidrs("10.1.0.0/16,10.2.0.0/16"), &VxlanOptions::default()).is_err());
}

#[test]
fn the_backends_options_image_and_flags_stand_in_it() {
    let options = VxlanOptions { vni: Some(7), port: Some(4789), mtu: Some(9000) };
    let net_conf_text = NetConf::of_cidrs(&cidrs("10.244.0.0/16"), &options).unwrap().unwrap();
    let arguments = vec!["--iface-regex=^e\"th: [0-9]#".to_owned(), "--v=2".to_owned()];
    let image = "registry.example:5000/net/towpath@sha256:0a";
    let text = render(&Wishes { net_conf: net_conf_text, image: Some(image.to_owned()), arguments: arguments.clone() })
        .unwrap();
    let backend = serde_json::json!({ "VNI": 7, "Port": 4789, "MTU": 9000, "Type": "vxlan" });
    assert_eq!(net_conf(&text)["Backend"], backend);
    let container = &by_kind(&text, "DaemonSet")["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], image);
    assert_eq!(container["args"].as_array().unwrap()[6..], arguments.into_iter().map(Value::from).collect::<Vec<_>>());
}

#[test]
fn a_configuration_that_is_there_is_taken_as_it_is() {
    let there = "{\n\t\"network\": \"10.9.0.0/16\",\n\n  \"Backend\": {\"Type\": \"vxlan\", \"Strange\": 1}\n}\n";
    let wishes = Wishes { net_conf: NetConf::of_text(there).unwrap(), ..wishes("10.244.0.0/16") };
    assert_eq!(net_conf(&render(&wishes).unwrap()), serde_json::from_str::<Value>(there).unwrap());
    assert!(NetConf::of_text("[]").is_err() && NetConf::of_text("{").is_err());
}

#[test]
fn an_image_that_would_break_the_file_is_refused() {
    for image in ["a b", "x\ny: z", "", "#a", "a:"] {
        let wishes = Wishes { image: Some(image.to_owned()), ..wishes("10.244.0.0/16") };
        assert!(matches!(render(&wishes), Err(ManifestError::Word(_))), "{image:?}");
    }
}
