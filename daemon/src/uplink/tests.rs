//! Every rule of the choice of the uplink, in tables.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::{Facts, choose};
use crate::config::{InterfaceId, InterfaceWish};
use backends::LinkName;
use ipam::{Family, Stack};
use kernel::inventory::{AddressScope, DefaultRoute, Interface, InterfaceAddress, Inventory};

const V4: &[Family] = &[Family::V4];
const V6: &[Family] = &[Family::V6];
const BOTH: &[Family] = &Family::ALL;

fn name(text: &str) -> LinkName {
    LinkName::new(text).unwrap()
}

/// `10.0.0.1/24 dynamic`: an address with what is said of it in the words of `ip address`.
fn address(text: &str) -> InterfaceAddress {
    let mut words = text.split(' ');
    let net = words.next().unwrap().parse().unwrap();
    let words: Vec<&str> = words.collect();
    let said = |word: &str| words.contains(&word);
    InterfaceAddress {
        net,
        scope: AddressScope::Global,
        permanent: !said("dynamic") && !said("temporary"),
        temporary: said("temporary"),
        deprecated: said("deprecated"),
        tentative: said("tentative"),
    }
}

fn interface(index: u32, link: &str, addresses: &[&str]) -> Interface {
    Interface {
        index,
        name: name(link),
        mtu: 1500 + index,
        up: true,
        carrier: true,
        loopback: link == "lo",
        kind: link.starts_with("flannel").then(|| "vxlan".to_owned()),
        mac: None,
        addresses: addresses.iter().map(|text| address(text)).collect(),
    }
}

fn default_route(family: Family, link: &str, metric: u32) -> DefaultRoute {
    DefaultRoute { family, link: name(link), gateway: None, metric, learnt: false }
}

/// lo, two dual-stack interfaces, one with IPv4 alone, one without any, a tunnel of ours that a restart finds.
fn node() -> Inventory {
    Inventory {
        links: vec![
            interface(1, "lo", &["127.0.0.1/8", "::1/128"]),
            interface(2, "flannel.1", &["10.244.3.0/32"]),
            interface(3, "eth0", &["192.0.2.10/24", "192.0.2.11/24", "2001:db8::10/64", "fe80::3/64"]),
            interface(4, "eth1", &["10.9.0.1/16", "2001:db8:9::1/64", "fe80::4/64"]),
            interface(5, "wan", &["198.51.100.7/24"]),
            interface(6, "bare", &[]),
        ],
        default_routes: vec![
            default_route(Family::V4, "wan", 200),
            default_route(Family::V4, "eth0", 100),
            default_route(Family::V6, "eth0", 1024),
        ],
    }
}

/// `--iface=eth0 --public-ip=1.2.3.4`
fn wish(flags: &str) -> InterfaceWish {
    let mut wish = InterfaceWish::default();
    let (mut v4, mut v6) = (None, None);
    for (flag, value) in flags.split_whitespace().map(|flag| flag.split_once('=').unwrap()) {
        let ip = || value.parse().ok();
        match flag {
            "iface" => wish.interfaces.push(ip().map_or_else(|| InterfaceId::Name(name(value)), InterfaceId::Address)),
            "regex" => wish.patterns.push(value.parse().unwrap()),
            "reach" => wish.can_reach = ip(),
            "public" if value.contains(':') => v6 = ip(),
            "public" => v4 = ip(),
            other => panic!("{other}"),
        }
    }
    InterfaceWish { public: Stack::from_options(v4, v6), ..wish }
}

/// `eth0: LOCAL` or `eth0: LOCAL public PUBLIC`, or the sentence why not.
fn chosen(inventory: &Inventory, flags: &str, families: &[Family]) -> String {
    let wish = wish(flags);
    // What the kernel would answer.
    let reach = wish.can_reach.filter(|ip| ip.to_string() == "10.9.7.7").map(|_| name("eth1"));
    match choose(&wish, Facts { inventory, reach }, families) {
        Err(error) => error.to_string(),
        Ok(uplink) if uplink.local == uplink.public => format!("{}: {}", uplink.link, uplink.local),
        Ok(uplink) => format!("{}: {} public {}", uplink.link, uplink.local, uplink.public),
    }
}

#[test]
fn the_rules_are_followed_in_flannels_order() {
    for (flags, families, expected) in [
        // Nothing said: the preferred default route.
        ("", V4, "eth0: 192.0.2.10"),
        ("", V6, "eth0: 2001:db8::10"),
        ("", BOTH, "eth0: 192.0.2.10 2001:db8::10"),
        // By name, by address; the address given is the one used.
        ("iface=eth1", BOTH, "eth1: 10.9.0.1 2001:db8:9::1"),
        ("iface=192.0.2.11", V4, "eth0: 192.0.2.11"),
        ("iface=192.0.2.11", BOTH, "eth0: 192.0.2.11 2001:db8::10"),
        ("iface=2001:db8:9::1", BOTH, "eth1: 10.9.0.1 2001:db8:9::1"),
        // The first that is there, in the order given, before any regex.
        ("iface=eth7 iface=203.0.113.1 iface=wan iface=eth1", V4, "wan: 198.51.100.7"),
        ("regex=^eth0$ iface=eth1 reach=10.9.7.7", V4, "eth1: 10.9.0.1"),
        // One that lacks a family is passed over.
        ("iface=wan iface=eth1", BOTH, "eth1: 10.9.0.1 2001:db8:9::1"),
        ("iface=bare iface=eth1", V4, "eth1: 10.9.0.1"),
        // A regex looks at addresses first (in all families), then at names; our own tunnel and lo do not match.
        ("regex=^10[.]", V4, "eth1: 10.9.0.1"),
        ("regex=11$", V4, "eth0: 192.0.2.11"),
        ("regex=2001:db8:9:", V6, "eth1: 2001:db8:9::1"),
        ("regex=^(10|2001)", BOTH, "eth1: 10.9.0.1 2001:db8:9::1"),
        ("regex=^127", V4, "no interface"),
        ("regex=^wa", V4, "wan: 198.51.100.7"),
        ("regex=h1", V4, "eth1: 10.9.0.1"),
        ("regex=nothing regex=^eth", V4, "eth0: 192.0.2.10"),
        ("regex=1 regex=x", V6, "eth0: 2001:db8::10"),
        // The first name that matches counts; if it has no address the next regex is tried, not the next name.
        ("regex=^(bare|zzz)$ regex=wan", V4, "wan: 198.51.100.7"),
        // After the regexes.
        ("reach=10.9.7.7", BOTH, "eth1: 10.9.0.1 2001:db8:9::1"),
        ("iface=eth7 regex=nothing reach=10.9.7.7", V4, "eth1: 10.9.0.1"),
        // The public address chooses where nothing else does, and is only published where something else did.
        ("public=10.9.0.1", V4, "eth1: 10.9.0.1"),
        ("public=192.0.2.11", BOTH, "eth0: 192.0.2.11 2001:db8::10"),
        ("public=2001:db8:9::1", BOTH, "eth1: 10.9.0.1 2001:db8:9::1"),
        ("public=10.9.0.1 public=2001:db8:9::1", BOTH, "eth1: 10.9.0.1 2001:db8:9::1"),
        ("iface=eth0 public=203.0.113.9", V4, "eth0: 192.0.2.10 public 203.0.113.9"),
        ("iface=eth0 public=203.0.113.9", BOTH, "eth0: 192.0.2.10 2001:db8::10 public 203.0.113.9 2001:db8::10"),
        ("reach=10.9.7.7 public=10.9.0.1", V4, "eth1: 10.9.0.1"),
        // One of a family that is not in use says nothing.
        ("public=2001:db8:9::1", V4, "eth0: 192.0.2.10"),
    ] {
        let found = chosen(&node(), flags, families);
        assert!(
            found == expected || (expected == "no interface" && found.starts_with("no interface")),
            "{flags}: {found}"
        );
    }
}

#[test]
fn the_best_address_of_the_interface_is_taken() {
    for (addresses, family, expected) in [
        (&["10.0.0.2/8", "10.0.0.1/8"][..], V4, "10.0.0.2"),
        (&["169.254.1.1/16", "10.0.0.1/8"], V4, "10.0.0.1"),
        (&["169.254.1.1/16"], V4, "169.254.1.1"),
        (&["10.0.0.1/8 dynamic", "10.0.0.2/8"], V4, "10.0.0.2"),
        (&["10.0.0.1/8 deprecated", "10.0.0.2/8 dynamic"], V4, "10.0.0.2"),
        (&["fe80::1/64", "2001:db8::1/64 dynamic"], V6, "2001:db8::1"),
        (&["2001:db8::1/64 temporary", "2001:db8::2/64 dynamic"], V6, "2001:db8::2"),
        (&["2001:db8::1/64 temporary dynamic", "2001:db8::2/64 dynamic", "2001:db8::3/64"], V6, "2001:db8::3"),
        (&["2001:db8::1/64 deprecated", "fe80::1/64", "2001:db8::2/64 temporary"], V6, "2001:db8::2"),
        (&["2001:db8::1/64 tentative", "2001:db8::2/64 temporary"], V6, "2001:db8::2"),
        (&["fd00::1/64", "2001:db8::1/64"], V6, "fd00::1"),
        (&["127.0.0.1/8", "255.255.255.255/32", "10.0.0.1/32"], V4, "10.0.0.1"),
    ] {
        let inventory = Inventory { links: vec![interface(1, "eth0", addresses)], default_routes: Vec::new() };
        assert_eq!(chosen(&inventory, "iface=eth0", family), format!("eth0: {expected}"), "{addresses:?}");
    }
}

#[test]
fn mtu_and_name_are_the_interfaces() {
    let inventory = node();
    let uplink = choose(&wish("iface=eth1"), Facts { inventory: &inventory, reach: None }, V4).unwrap();
    assert_eq!((uplink.link, uplink.mtu), (name("eth1"), 1504));
}

#[test]
fn what_was_looked_for_is_said_and_what_there_is() {
    let there = "there is lo (127.0.0.1 ::1), flannel.1 (10.244.3.0), \
                 eth0 (192.0.2.10 192.0.2.11 2001:db8::10 fe80::3), eth1 (10.9.0.1 2001:db8:9::1 fe80::4), wan (198.51.100.7)";
    for (flags, families, expected) in [
        ("iface=eth7", V4, "--iface=eth7: there is no interface eth7"),
        ("iface=203.0.113.1", V4, "--iface=203.0.113.1: no interface has the address 203.0.113.1"),
        ("iface=wan", BOTH, "--iface=wan: wan has no IPv6 address that can be used"),
        (
            "iface=bare regex=^zzz reach=203.0.113.1",
            V4,
            "--iface=bare: bare has no IPv4 address that can be used; \
          --iface-regex=^zzz: no interface's address or name matches it; --iface-can-reach=203.0.113.1: there is no route to it",
        ),
        (
            "public=203.0.113.1",
            V4,
            "--public-ip=203.0.113.1: no interface has the address 203.0.113.1 \
          (behind a NAT name the interface too, by --iface)",
        ),
        (
            "public=192.0.2.10 public=2001:db8:9::1",
            BOTH,
            "--public-ip=192.0.2.10: the other public address is on eth0, \
          2001:db8:9::1 is on eth1; one interface must have both",
        ),
    ] {
        let expected = format!("no interface that reaches the other nodes: {expected}; {there}; waiting for one");
        assert_eq!(chosen(&node(), flags, families), expected);
    }
}

#[test]
fn default_routes_that_do_not_agree_or_are_not_there_are_said() {
    let with = |default_routes| Inventory { default_routes, ..node() };
    let apart = with(vec![default_route(Family::V4, "eth0", 0), default_route(Family::V6, "eth1", 1024)]);
    assert!(
        chosen(&apart, "", BOTH)
            .contains("default route: the IPv4 one is on eth0, the IPv6 one on eth1; they must be the same")
    );
    assert_eq!(chosen(&apart, "", V6), "eth1: 2001:db8:9::1");
    assert!(chosen(&with(Vec::new()), "", V4).contains("default route: there is no IPv4 one"));
    let empty = Inventory::default();
    assert!(chosen(&empty, "", V4).ends_with("there is no interface with an address; waiting for one"));
    assert!(chosen(&node(), "", &[]).contains("no family is in use"));
}

#[test]
fn an_interface_without_an_mtu_is_refused_and_a_crowd_is_counted() {
    let broken = Interface { mtu: 0, ..interface(1, "eth0", &["10.0.0.1/8"]) };
    let crowd = (2..40).map(|index| interface(index, &format!("veth{index}"), &["fe80::1/64"]));
    let inventory = Inventory { links: std::iter::once(broken).chain(crowd).collect(), default_routes: Vec::new() };
    let said = chosen(&inventory, "iface=eth0", V4);
    assert!(said.contains("--iface=eth0: eth0 has MTU 0") && said.contains(" and 27 more; waiting"), "{said}");
}
