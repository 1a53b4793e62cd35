//! Golden: flannel's configuration and its file in, the delegate's configuration out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

const DUAL: &str = "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_IPV6_NETWORK=fd00:10::/48\n\
                    FLANNEL_IPV6_SUBNET=fd00:10:0:1::1/64\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";
const SINGLE: &str = "FLANNEL_NETWORK=10.244.0.0/16,10.245.0.0/16,10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\n\
                      FLANNEL_MTU=1472\nFLANNEL_IPMASQ=false\n";

fn delegated(env: &str, config: Value) -> Result<String, Error> {
    let path = std::env::temp_dir().join(format!("towdeleg{}-{:?}", std::process::id(), std::thread::current().id()));
    std::fs::write(&path, env).unwrap();
    let mut config = config;
    config["subnetFile"] = json!(path);
    let made = of(&Document::parse(config.to_string().as_bytes()).unwrap());
    std::fs::remove_file(path).unwrap();
    made.map(|document| document.to_text())
}

#[test]
fn the_stock_configuration_is_delegated_as_flannels_plugin_delegates_it() {
    let stock = json!({ "cniVersion": "0.3.1", "name": "cbr0", "type": "flannel",
                        "delegate": { "hairpinMode": true, "isDefaultGateway": true } });
    assert_eq!(
        delegated(DUAL, stock).unwrap(),
        r#"{"cniVersion":"0.3.1","hairpinMode":true,"ipMasq":false,"ipam":{"ranges":[[{"subnet":"10.244.1.0/24"}],[{"subnet":"fd00:10:0:1::/64"}]],"routes":[{"dst":"10.244.0.0/16"},{"dst":"fd00:10::/48"}],"type":"host-local"},"isDefaultGateway":true,"isGateway":true,"mtu":1450,"name":"cbr0","type":"bridge"}"#
    );
    assert_eq!(
        delegated(SINGLE, json!({ "name": "n", "type": "flannel" })).unwrap(),
        r#"{"ipMasq":true,"ipam":{"ranges":[[{"subnet":"10.244.1.0/24"}]],"routes":[{"dst":"10.244.0.0/16"},{"dst":"10.245.0.0/16"}],"type":"host-local"},"isGateway":true,"mtu":1472,"name":"n","type":"bridge"}"#
    );
}

#[test]
fn what_is_written_is_passed_through_and_only_some_of_it_set_over() {
    let config = json!({
        "cniVersion": "1.0.0", "name": "n", "type": "flannel", "args": {"cni": {"x": 1}}, "prevResult": {"dns": {}},
        "delegate": { "bridge": "mynet0", "mtu": 1400, "ipMasq": null, "isGateway": false, "vlan": 7, "cniVersion": "0.1.0" },
        "ipam": { "dataDir": "/x", "ranges": "overwritten", "routes": [{"dst": "192.0.2.0/24", "gw": "10.244.1.1", "other": 1}] },
        "runtimeConfig": { "portMappings": [] }
    });
    assert_eq!(
        delegated(SINGLE, config).unwrap(),
        r#"{"bridge":"mynet0","cniVersion":"1.0.0","ipMasq":null,"ipam":{"dataDir":"/x","ranges":[[{"subnet":"10.244.1.0/24"}]],"routes":[{"dst":"192.0.2.0/24","gw":"10.244.1.1"},{"dst":"10.244.0.0/16"},{"dst":"10.245.0.0/16"}],"type":"host-local"},"isGateway":false,"mtu":1400,"name":"n","runtimeConfig":{"portMappings":[]},"type":"bridge","vlan":7}"#
    );
    let other = json!({ "name": "n", "delegate": { "type": "ipvlan", "master": "eth0" }, "ipam": { "type": "dhcp" } });
    assert_eq!(
        delegated(SINGLE, other).unwrap(),
        r#"{"ipMasq":true,"ipam":{"ranges":[[{"subnet":"10.244.1.0/24"}]],"routes":[{"dst":"10.244.0.0/16"},{"dst":"10.245.0.0/16"}],"type":"dhcp"},"master":"eth0","mtu":1472,"name":"n","type":"ipvlan"}"#
    );
}

#[test]
fn what_cannot_be_delegated_is_refused_by_its_key() {
    for (config, part) in [
        (json!({ "delegate": { "type": 5 } }), "`delegate.type`"),
        (json!({ "delegate": { "type": null } }), "`delegate.type`"),
        (json!({ "delegate": { "type": "flannel" } }), "`delegate.type` is flannel"),
        (json!({ "delegate": { "name": "x" } }), "`delegate.name` is set by flannel itself"),
        (json!({ "delegate": { "ipam": {} } }), "`delegate.ipam` is set by flannel itself"),
        (json!({ "delegate": [] }), "`delegate` is []: expected an object"),
        (json!({ "ipam": { "routes": [{ "dst": "x" }] } }), "`ipam.routes[0].dst` is \"x\""),
    ] {
        let error = delegated(DUAL, config.clone()).unwrap_err();
        assert!(error.code() == 7 && error.to_string().contains(part), "{config}: {error}");
    }
}

#[test]
fn a_subnet_file_that_lacks_something_is_told_what() {
    let error = delegated("FLANNEL_SUBNET=10.1.1.1/24\n", json!({ "name": "n" })).unwrap_err();
    assert_eq!(error.code(), 6);
    let message = error.to_string();
    assert!(
        message.contains("it lacks FLANNEL_NETWORK, FLANNEL_IPV6_NETWORK, FLANNEL_MTU, FLANNEL_IPMASQ"),
        "{message}"
    );
}
