//! What a runtime can ask for, where, and what is told to it when that cannot be meant.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use kernel::netns::Netns;
use serde_json::{Value, json};

use super::*;
use crate::call::Said;
use crate::document::Document;
use crate::environment::{Command, Environment};
use crate::plugin::Plugin;
use crate::version::Version;

fn request(arguments: &str, configuration: &Value) -> Result<Request, Error> {
    let environment = Environment {
        container: "c1".into(),
        ifname: "eth0".into(),
        arguments: arguments.into(),
        ..Environment::default()
    };
    let document = Document::parse(configuration.to_string().as_bytes()).unwrap();
    let home = Netns::current().unwrap();
    let said = Said { document: &document, environment: &environment, home: &home };
    let call = Call::new(Plugin::Towpath, (Command::Add, Version::NEWEST), said);
    Request::of(&call, &environment.attachment().unwrap())
}

fn addresses(arguments: &str, configuration: &Value) -> Vec<String> {
    request(arguments, configuration).unwrap().addresses.iter().map(IpAddr::to_string).collect()
}

#[test]
fn addresses_come_from_all_three_places_each_once() {
    let configuration = json!({
        "args": { "cni": { "ips": ["10.1.0.6", "10.1.0.7/24"] } },
        "runtimeConfig": { "ips": ["fd00::7/64", "10.1.0.5"] }
    });
    assert_eq!(
        addresses("IP=10.1.0.5,fd00::5/64", &configuration),
        ["10.1.0.5", "fd00::5", "10.1.0.6", "10.1.0.7", "fd00::7"]
    );
    assert_eq!(addresses("IP=::ffff:10.1.0.5", &json!({})), ["10.1.0.5"]);
    for nothing in ["", "IP=", "IgnoreUnknown=0", "IP=;MAC="] {
        assert_eq!(request(nothing, &json!({ "args": null, "runtimeConfig": {} })).unwrap(), Request::default());
    }
}

#[test]
fn the_capability_counts_before_the_arguments_and_these_before_the_variable() {
    let mac =
        |arguments: &str, configuration: Value| request(arguments, &configuration).unwrap().mac.unwrap().to_string();
    let (arguments, runtime) =
        (json!({ "cni": { "mac": "02-00-00-00-00-02" } }), json!({ "mac": "02:00:00:00:00:03" }));
    assert_eq!(mac("MAC=02:00:00:00:00:01", json!({})), "02:00:00:00:00:01");
    assert_eq!(mac("MAC=02:00:00:00:00:01", json!({ "args": arguments })), "02:00:00:00:00:02");
    assert_eq!(
        mac("MAC=02:00:00:00:00:01", json!({ "args": arguments, "runtimeConfig": runtime })),
        "02:00:00:00:00:03"
    );
}

#[test]
fn what_is_not_known_needs_to_be_ignored_on_purpose() {
    let error = request("K8S_POD_NAME=a;X=b", &json!({})).unwrap_err();
    assert_eq!(error.code(), 4);
    assert_eq!(error.to_string(), "CNI_ARGS has K8S_POD_NAME, X, unknown here: leave that out, or add IgnoreUnknown=1");
    for arguments in ["K8S_POD_NAME=a;IgnoreUnknown=1", "IgnoreUnknown=TRUE;X=b"] {
        assert_eq!(request(arguments, &json!({})).unwrap(), Request::default());
    }
    assert!(request("X=b;IgnoreUnknown=false", &json!({})).is_err());
}

#[test]
fn what_cannot_be_meant_is_told_with_its_place() {
    for (arguments, configuration, code, message) in [
        ("IP=10.1.0", json!({}), 4, "CNI_ARGS IP is `10.1.0`: expected an IP address"),
        ("MAC=02:00", json!({}), 4, "CNI_ARGS MAC is `02:00`: expected a MAC address as in 02:42:ac:11:00:02"),
        (
            "MAC=01:00:5e:00:00:01",
            json!({}),
            4,
            "CNI_ARGS MAC is `01:00:5e:00:00:01`: expected the address of one interface",
        ),
        ("IgnoreUnknown=maybe", json!({}), 4, "CNI_ARGS IgnoreUnknown is `maybe`: expected 1, true, 0 or false"),
        ("", json!({ "runtimeConfig": { "ips": ["x"] } }), 7, "`runtimeConfig.ips` has `x`: expected an IP address"),
        (
            "",
            json!({ "runtimeConfig": { "ips": "10.1.0.5" } }),
            7,
            "`runtimeConfig.ips` is \"10.1.0.5\": expected a list of texts",
        ),
        ("", json!({ "args": { "cni": { "mac": 5 } } }), 7, "`args.cni.mac` is 5: expected a text"),
        ("", json!({ "args": { "cni": { "mac": "zz" } } }), 7, "`args.cni.mac` is `zz`: expected a MAC address"),
    ] {
        let error = request(arguments, &configuration).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(message), "{error}");
    }
}
