//! What a configuration is taken to mean, key by key.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use kernel::netns::Netns;

use super::*;
use crate::call::Said;
use crate::document::Document;
use crate::environment::{Command, Environment};
use crate::version::Version;

fn plan_of(plugin: Plugin, text: &str) -> Result<Plan, Error> {
    let document = Document::parse(text.as_bytes()).unwrap();
    let (environment, home) = (Environment::default(), Netns::current().unwrap());
    let said = Said { document: &document, environment: &environment, home: &home };
    Plan::of(&Call::new(plugin, (Command::Add, Version::NEWEST), said))
}

fn plan(text: &str) -> Result<Plan, Error> {
    plan_of(Plugin::Towpath, text)
}

#[test]
fn type_alone_makes_a_pod_that_works_as_towpath_and_the_reference_plugins_pod_as_bridge() {
    let text = r#"{"name": "n", "cniVersion": "1.1.0"}"#;
    let shown = |plan: Plan| (plan.bridge.as_str().to_owned(), plan.router, plan.hairpin);
    assert_eq!(shown(plan(text).unwrap()), ("cni0".to_owned(), Router::DefaultGateway, Hairpin::On));
    assert_eq!(shown(plan_of(Plugin::Bridge, text).unwrap()), ("cni0".to_owned(), Router::No, Hairpin::Off));
}

#[test]
fn the_router_is_what_the_bridge_plugin_makes_of_the_two_flags() {
    for (text, towpath, bridge) in [
        (r#"{"isGateway": false}"#, Router::No, Router::No),
        (r#"{"isGateway": true}"#, Router::DefaultGateway, Router::Gateway),
        (r#"{"isGateway": true, "isDefaultGateway": false}"#, Router::Gateway, Router::Gateway),
        (r#"{"isGateway": false, "isDefaultGateway": true}"#, Router::DefaultGateway, Router::DefaultGateway),
        (r#"{"isGateway": null}"#, Router::DefaultGateway, Router::No),
    ] {
        assert_eq!(plan(text).unwrap().router, towpath, "{text}");
        assert_eq!(plan_of(Plugin::Bridge, text).unwrap().router, bridge, "{text}");
    }
}

#[test]
fn all_mistakes_are_told_together_each_with_its_key_and_what_would_be_right() {
    let error = plan(r#"{"bridge": "a/b", "mtu": "big", "isGateway": 1, "dns": []}"#).unwrap_err();
    assert_eq!(error.code(), 7);
    let message = error.to_string();
    for part in [
        "`bridge`: `a/b` is not an interface name",
        "`isGateway` is 1: expected true or false",
        "`mtu` is \"big\": expected a whole number",
        "`dns` is []: expected an object",
    ] {
        assert!(message.contains(part), "{part:?} is not in {message}");
    }
    assert!(plan(r#"{"mtu": 67}"#).unwrap_err().to_string().contains("`mtu` is 67: expected 68 to 65535 octets"));
}

#[test]
fn what_cannot_be_done_is_refused_with_key_and_value_unless_it_is_off() {
    for (text, start) in [
        (r#"{"vlan": 5}"#, "`vlan` is 5,"),
        (r#"{"promiscMode": true}"#, "`promiscMode` is true,"),
        (r#"{"args": {"cni": {"mac": "02:00:00:00:00:01"}}}"#, "`args.cni.mac` is \"02"),
    ] {
        let error = plan(text).unwrap_err();
        assert!(error.code() == 2 && error.to_string().starts_with(start), "{text}: {error}");
    }
    for text in [
        r#"{"vlan": 0, "promiscMode": false, "macspoofchk": null, "vlanTrunk": []}"#,
        r#"{"bridge": "", "mtu": 0, "whatever": {"a": [1]}}"#,
    ] {
        assert!(plan(text).is_ok(), "{text}");
    }
}
