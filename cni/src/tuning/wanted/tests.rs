//! Which settings a configuration asks for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use kernel::netns::Netns;
use serde_json::{Value, json};

use super::*;
use crate::call::Said;
use crate::document::Document;
use crate::environment::{Command, Environment};
use crate::version::Version;

fn wanted(plugin: Plugin, arguments: &str, config: &Value) -> Result<(Wanted, Vec<(String, String)>), Error> {
    let environment = Environment {
        command: "ADD".into(),
        container: "c1".into(),
        netns: "/run/netns/x".into(),
        ifname: "net.1".into(),
        arguments: arguments.into(),
        ..Environment::default()
    };
    let (document, home) = (Document::parse(config.to_string().as_bytes()).unwrap(), Netns::current().unwrap());
    let said = Said { document: &document, environment: &environment, home: &home };
    let call = Call::new(plugin, (Command::Add, Version::NEWEST), said);
    let attachment = environment.attachment().unwrap();
    let wanted = Wanted::of(&call, &attachment.arguments)?;
    let settings = wanted.settings(&attachment).map(|(path, value)| (path, value.to_owned())).collect();
    Ok((wanted, settings))
}

#[test]
fn settings_are_named_with_dots_or_slashes_and_the_interface_by_a_word() {
    let config = json!({ "sysctl": { "net.ipv4.conf.IFNAME.arp_filter": "1", "net/ipv4/conf/a.b/rp_filter": "2" },
                         "args": { "cni": { "sysctl": { "net.core.somaxconn": "500" } } } });
    let (_, mut settings) = wanted(Plugin::Towpath, "", &config).unwrap();
    settings.sort_unstable();
    let expected =
        [("net/core/somaxconn", "500"), ("net/ipv4/conf/a.b/rp_filter", "2"), ("net/ipv4/conf/net.1/arp_filter", "1")];
    assert_eq!(settings, expected.map(|(path, value)| (path.to_owned(), value.to_owned())));
}

#[test]
fn what_is_not_of_a_network_namespace_is_refused_by_its_name() {
    for key in ["kernel.hostname", "net..x", "net/../kernel/hostname", "../net.x", "", "net", "vm/net/x", "net/x\u{0}"]
    {
        let error = wanted(Plugin::Tuning, "", &json!({ "sysctl": { key: "1" } })).unwrap_err();
        assert!(error.code() == 7 && error.to_string().contains("expected a setting of a network"), "{key:?}: {error}");
    }
    for config in [
        json!({ "sysctl": { "net.a": 1 } }),
        json!({ "sysctl": [] }),
        json!({ "promisc": "yes" }),
        json!({ "mac": "x" }),
    ] {
        assert_eq!(wanted(Plugin::Tuning, "", &config).unwrap_err().code(), 7, "{config}");
    }
}

#[test]
fn of_several_addresses_the_one_that_is_said_last_counts() {
    let mac = |arguments: &str, config: Value| {
        let (wanted, _) = wanted(Plugin::Tuning, arguments, &config).unwrap();
        wanted.link.mac.map(|mac| mac.to_string())
    };
    let (a, b, c, d) = ("02:00:00:00:00:0a", "02:00:00:00:00:0b", "02:00:00:00:00:0c", "02:00:00:00:00:0d");
    let arguments = format!("IgnoreUnknown=1;MAC={b}");
    assert_eq!(mac("", json!({ "mac": a })).as_deref(), Some(a));
    assert_eq!(mac(&arguments, json!({ "mac": a })).as_deref(), Some(b));
    assert_eq!(mac(&arguments, json!({ "mac": a, "runtimeConfig": { "mac": c } })).as_deref(), Some(c));
    let all = json!({ "mac": a, "runtimeConfig": { "mac": c }, "args": { "cni": { "mac": d } } });
    assert_eq!(mac(&arguments, all).as_deref(), Some(d));
    assert_eq!(wanted(Plugin::Tuning, "MAC=x", &json!({})).unwrap_err().code(), 4);
}

#[test]
fn towpath_leaves_address_and_mtu_to_the_wire() {
    let config = json!({ "mac": "02:00:00:00:00:01", "mtu": 1400, "txQLen": 500, "promisc": true, "allmulti": false });
    let (wanted, _) = wanted(Plugin::Towpath, "MAC=02:00:00:00:00:02", &config).unwrap();
    let link = Tuning { queue: Some(500), promiscuous: Some(true), all_multicast: Some(false), ..Tuning::default() };
    assert_eq!(wanted.link, link);
}
