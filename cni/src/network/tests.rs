//! What a configuration is taken to mean, key by key.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

fn plan(text: &str) -> Result<Plan, Error> {
    Plan::of(&Document::parse(text.as_bytes()).unwrap())
}

#[test]
fn type_alone_makes_a_pod_that_works() {
    let plan = plan(r#"{"type": "towpath", "name": "n", "cniVersion": "1.1.0"}"#).unwrap();
    assert_eq!((plan.bridge.as_str(), plan.router, plan.hairpin), ("cni0", Router::DefaultGateway, Hairpin::On));
    assert!(matches!(plan.ranges, Ranges::Daemon(path) if path == Path::new("/run/flannel/subnet.env")));
}

#[test]
fn the_router_is_what_the_bridge_plugin_makes_of_the_two_flags() {
    for (text, router) in [
        (r#"{"isGateway": false}"#, Router::No),
        (r#"{"isGateway": true, "isDefaultGateway": false}"#, Router::Gateway),
        (r#"{"isGateway": false, "isDefaultGateway": true}"#, Router::DefaultGateway),
        (r#"{"isGateway": null}"#, Router::DefaultGateway),
    ] {
        assert_eq!(plan(text).unwrap().router, router, "{text}");
    }
}

#[test]
fn host_locals_ranges_are_read_the_old_one_first() {
    let text = r#"{"ipam": {"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.10", "ranges": [
        [{"subnet": "10.2.0.0/24"}, {"subnet": "10.3.0.0/24", "gateway": "10.3.0.254"}], [{"subnet": "fd00::/64"}]]}}"#;
    let Ranges::Written(sets) = plan(text).unwrap().ranges else { panic!("ranges are written") };
    let shown: Vec<String> = sets.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        ["10.1.0.10-10.1.0.254", "10.2.0.1-10.2.0.254,10.3.0.1-10.3.0.254", "fd00::1-fd00::ffff:ffff:ffff:ffff"]
    );
}

#[test]
fn all_mistakes_are_told_together_each_with_its_key_and_what_would_be_right() {
    let text = r#"{"bridge": "a/b", "mtu": "big", "isGateway": 1, "subnetFile": "x", "ipMasq": [],
        "ipam": {"ranges": [[{"subnet": "10.1.0.0/33"}, 5], 6, [{"gateway": "x"}], []],
                 "routes": [{"dst": "a"}, {"gw": "fd00::1", "dst": "10.0.0.0/8"}, {"dst": "::/0", "scope": 256}]}}"#;
    let error = plan(text).unwrap_err();
    assert_eq!(error.code(), 7);
    let message = error.to_string();
    for part in [
        "`bridge`: `a/b` is not an interface name",
        "`isGateway` is 1: expected true or false",
        "`ipMasq` is []: expected true or false",
        "`mtu` is \"big\": expected a whole number",
        "`ipam.ranges[0][0].subnet` is \"10.1.0.0/33\": expected a subnet",
        "`ipam.ranges[0][1]` is 5: expected an object",
        "`ipam.ranges[1]` is 6: expected a list of objects",
        "`ipam.ranges[2][0].gateway` is \"x\": expected an IP address",
        "`ipam.ranges[2][0].subnet` is missing",
        "`ipam.ranges[",
        "`subnetFile` is x: expected an absolute path",
        "`ipam.routes[0].dst` is \"a\": expected a network",
        "`ipam.routes[1].gw` is fd00::1, of another family",
        "`ipam.routes[2].scope`: expected a number from 0 to 255",
    ] {
        assert!(message.contains(part), "{part:?} is not in {message}");
    }
}

#[test]
fn what_cannot_be_done_is_refused_with_key_and_value_unless_it_is_off() {
    for (text, start) in [
        (r#"{"vlan": 5}"#, "`vlan` is 5,"),
        (r#"{"promiscMode": true}"#, "`promiscMode` is true,"),
        (r#"{"ipam": {"type": "dhcp"}}"#, "`ipam.type` is dhcp,"),
        (r#"{"runtimeConfig": {"ips": ["10.1.0.5"]}}"#, "`runtimeConfig.ips` is [\"10.1.0.5\"],"),
        (r#"{"args": {"cni": {"mac": "02:00:00:00:00:01"}}}"#, "`args.cni.mac` is \"02"),
    ] {
        let error = plan(text).unwrap_err();
        assert!(error.code() == 2 && error.to_string().starts_with(start), "{text}: {error}");
    }
    for text in [
        r#"{"vlan": 0, "promiscMode": false, "macspoofchk": null, "vlanTrunk": []}"#,
        r#"{"runtimeConfig": {"portMappings": []}, "ipam": {"type": "host-local"}, "capabilities": {"mac": true}}"#,
        r#"{"ipam": {"type": ""}, "bridge": "", "mtu": 0, "whatever": {"a": [1]}}"#,
    ] {
        assert!(plan(text).is_ok(), "{text}");
    }
}

#[test]
fn an_mtu_that_no_ipv6_fits_is_refused_only_where_there_is_ipv6() {
    let resolved = |subnet: &str, mtu: u32| {
        let text = format!(r#"{{"mtu": {mtu}, "ipam": {{"subnet": "{subnet}"}}}}"#);
        plan(&text).unwrap().resolve()
    };
    assert_eq!(resolved("10.1.0.0/24", 1000).unwrap().mtu, Some(1000));
    assert_eq!(resolved("fd00::/64", 1280).unwrap().mtu, Some(1280));
    assert_eq!(resolved("fd00::/64", 1279).unwrap_err().code(), 7);
    assert!(plan(r#"{"mtu": 67}"#).unwrap_err().to_string().contains("`mtu` is 67: expected 68 to 65535 octets"));
}

#[test]
fn deleting_needs_only_a_name() {
    let network = |text: &str| Network::of(&Document::parse(text.as_bytes()).unwrap());
    let broken = r#"{"name": "n", "mtu": "x", "vlan": 7, "ipam": {"ranges": 5, "type": "dhcp"}}"#;
    assert_eq!(network(broken).unwrap().ledger.directory(), Path::new("/var/lib/cni/networks/n"));
    let moved = r#"{"name": "n", "dataDir": "/a", "ipam": {"dataDir": "/b"}}"#;
    assert_eq!(network(moved).unwrap().ledger.directory(), Path::new("/b/n"));
    for name in [r#""../n""#, r#""""#, r#""a\u0000b""#, r#""a/b""#, "5", "null"] {
        let error = network(&format!(r#"{{"name": {name}}}"#)).unwrap_err();
        assert!(error.code() == 7 && error.to_string().contains("`name`"), "{name}: {error}");
    }
}
