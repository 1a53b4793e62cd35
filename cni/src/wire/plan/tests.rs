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
    let shown = |plan: Plan| (plan.bridge.as_str().to_owned(), plan.router, plan.terms.hairpin);
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
fn what_the_bridge_plugin_calls_a_contradiction_is_one_here() {
    for (text, part) in [
        (r#"{"promiscMode": true, "hairpinMode": true}"#, "`hairpinMode` and `promiscMode` are both true"),
        (r#"{"vlan": 5, "vlanTrunk": [{"id": 6}]}"#, "`vlan` and `vlanTrunk` are both set"),
        (r#"{"vlan": 4095}"#, "`vlan` is 4095: expected a VLAN from 1 to 4094"),
        (r#"{"vlanTrunk": [{"minID": 9, "maxID": 8}]}"#, "`vlanTrunk[0].minID` is 9, more than `maxID` 8"),
        (r#"{"vlanTrunk": [{"minID": 9}]}"#, "`vlanTrunk[0].minID` and `maxID` go together"),
        (r#"{"vlanTrunk": [{"id": 0}]}"#, "`vlanTrunk[0].id` is 0: expected a VLAN"),
        (r#"{"mode": "ptp"}"#, "`mode` is \"ptp\": expected \"bridge\" or \"routed\""),
    ] {
        let error = plan(text).unwrap_err();
        assert!(error.code() == 7 && error.to_string().contains(part), "{text}: {error}");
    }
    for text in [
        r#"{"vlan": 0, "promiscMode": false, "macspoofchk": null, "vlanTrunk": []}"#,
        r#"{"bridge": "", "mtu": 0, "whatever": {"a": [1]}}"#,
    ] {
        assert!(plan(text).is_ok(), "{text}");
    }
}

#[test]
fn a_trunk_is_every_vlan_that_is_named_once() {
    let text = r#"{"vlanTrunk": [{"minID": 5, "maxID": 7}, {"id": 6}, {"id": 100, "minID": 2, "maxID": 2}]}"#;
    let vlans = plan(text).unwrap().terms.vlans;
    assert_eq!((vlans.access, vlans.trunk), (None, vec![2, 5, 6, 7, 100]));
    let default = |text: &str| plan(text).unwrap().terms.vlans.default;
    assert_eq!(default(r#"{"vlan": 5, "preserveDefaultVlan": false}"#), DefaultVlan::Removed);
    assert_eq!(default(r#"{"vlan": 5}"#), DefaultVlan::Kept);
    assert_eq!(default(r#"{"preserveDefaultVlan": false}"#), DefaultVlan::Kept);
}

#[test]
fn hairpin_gives_way_to_promiscuity_unless_it_is_written() {
    let hairpin = |text: &str| plan(text).unwrap().terms.hairpin;
    assert_eq!(hairpin(r#"{"promiscMode": true}"#), Hairpin::Off);
    assert_eq!(hairpin(r#"{"promiscMode": false}"#), Hairpin::On);
}

#[test]
fn what_needs_a_bridge_is_refused_without_one() {
    let text =
        r#"{"name": "n", "mode": "routed", "macspoofchk": true, "ipam": {"ranges": [[{"subnet": "10.1.0.0/24"}]]}}"#;
    let document = Document::parse(text.as_bytes()).unwrap();
    let (environment, home) = (Environment::default(), Netns::current().unwrap());
    let said = Said { document: &document, environment: &environment, home: &home };
    let call = Call::new(Plugin::Towpath, (Command::Add, Version::NEWEST), said);
    let error = Plan::of(&call).unwrap().resolve(&call).unwrap_err().to_string();
    assert!(error.contains("`macspoofchk` is true, and a routed pod has no bridge"), "{error}");
}
