//! The facts about a namespace's links, addresses and routes, with the real kernel.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod sandbox;

use std::collections::BTreeMap;

use backends::LinkName;
use backends::on_link::Hop;
use ipam::Family;
use kernel::inventory::{self, AddressScope, Interface, Inventory};
use sandbox::{Sandbox, wait_for};

fn read(sandbox: &Sandbox) -> Inventory {
    sandbox.run(inventory::read).unwrap()
}

fn link<'a>(inventory: &'a Inventory, name: &str) -> &'a Interface {
    inventory.links.iter().find(|link| link.name.as_str() == name).unwrap()
}

/// `eth0` up with its far end in another namespace, `eth1` beside it.
fn wired() -> (Sandbox, Sandbox) {
    let (here, there) = (Sandbox::new(), Sandbox::new());
    here.wire("eth0", &there, "far0");
    here.wire("eth1", &there, "far1");
    (here, there)
}

#[test]
fn links_say_what_ip_link_says() {
    let (sandbox, far) = wired();
    sandbox.sh("ip link set eth0 mtu 1400 address 02:00:00:00:00:07; ip link add br0 type bridge");
    far.sh("ip link set far1 down");
    let inventory = read(&sandbox);
    let eth0 = link(&inventory, "eth0");
    assert_eq!((eth0.mtu, eth0.up, eth0.carrier, eth0.loopback), (1400, true, true, false));
    assert_eq!((eth0.kind.as_deref(), eth0.mac.unwrap().to_string()), (Some("veth"), "02:00:00:00:00:07".to_owned()));
    let eth1 = link(&inventory, "eth1");
    assert_eq!((eth1.up, eth1.carrier), (true, false));
    let br0 = link(&inventory, "br0");
    assert_eq!((br0.up, br0.kind.as_deref()), (false, Some("bridge")));
    let lo = link(&inventory, "lo");
    assert_eq!((lo.loopback, lo.kind.as_deref(), lo.index), (true, None, 1));
}

#[test]
fn addresses_say_whether_they_last() {
    let (sandbox, _far) = wired();
    sandbox.sh("ip address add 192.0.2.1/24 dev eth0
        ip address add 192.0.2.2/24 dev eth0
        ip address add 198.51.100.1 peer 198.51.100.2/32 dev eth0
        ip address add 203.0.113.5/24 valid_lft 3600 preferred_lft 3600 dev eth0
        ip address add 2001:db8::1/64 nodad dev eth0
        ip address add 2001:db8::2/64 nodad preferred_lft 0 dev eth0");
    let inventory = read(&sandbox);
    let found = |text: &str| {
        let addresses = &link(&inventory, "eth0").addresses;
        *addresses.iter().find(|address| address.net.to_string() == text).unwrap_or_else(|| panic!("{addresses:?}"))
    };
    for (text, permanent, deprecated) in [
        ("192.0.2.1/24", true, false),
        // Secondary, which is the bit of "temporary" in IPv6.
        ("192.0.2.2/24", true, false),
        // Ours, not the peer's.
        ("198.51.100.1/32", true, false),
        ("203.0.113.5/24", false, false),
        ("2001:db8::1/64", true, false),
        ("2001:db8::2/64", true, true),
    ] {
        let address = found(text);
        assert_eq!((address.permanent, address.deprecated), (permanent, deprecated), "{text}");
        assert_eq!(
            (address.scope, address.temporary, address.tentative),
            (AddressScope::Global, false, false),
            "{text}"
        );
    }
    let lo = &link(&inventory, "lo").addresses;
    assert!(lo.iter().all(|address| address.scope == AddressScope::Host), "{lo:?}");
    let scope = |address: &inventory::InterfaceAddress| address.scope;
    let own = wait_for("a link-local address", || {
        link(&read(&sandbox), "eth0").addresses.iter().copied().find(|a| scope(a) == AddressScope::Link)
    });
    assert!(own.net.to_string().starts_with("fe80::"), "{own:?}");
}

#[test]
fn default_routes_of_table_main_stand_in_order_of_preference() {
    let (sandbox, _far) = wired();
    sandbox.sh("ip address add 192.0.2.1/24 dev eth0; ip address add 198.51.100.1/24 dev eth1
        ip address add 2001:db8::1/64 nodad dev eth1
        ip route add default via 192.0.2.9 metric 200
        ip route add default dev eth1 metric 100
        ip route add default metric 300 nexthop via 192.0.2.7 nexthop via 198.51.100.7
        ip route add default via 192.0.2.66 table 66
        ip route add blackhole default metric 1
        ip route add 10.0.0.0/8 via 192.0.2.8
        ip -6 route add default via 2001:db8::9");
    let routes: Vec<String> = read(&sandbox)
        .default_routes
        .iter()
        .map(|route| {
            let gateway = route.gateway.map_or("-".to_owned(), |gateway| gateway.to_string());
            format!("{} {gateway} {} {}", route.family, route.link, route.metric)
        })
        .collect();
    let expected = [
        "IPv4 - eth1 100",
        "IPv4 192.0.2.9 eth0 200",
        "IPv4 192.0.2.7 eth0 300",
        "IPv4 198.51.100.7 eth1 300",
        "IPv6 2001:db8::9 eth1 1024",
    ];
    assert_eq!(routes, expected);
    assert_eq!(read(&sandbox).default_routes[4].family, Family::V6);
}

#[test]
fn the_way_to_an_address_is_the_one_that_the_kernel_takes() {
    let (sandbox, _far) = wired();
    sandbox.sh("ip address add 192.0.2.1/24 dev eth0; ip address add 2001:db8::1/64 nodad dev eth1
        ip route add 203.0.113.0/24 via 192.0.2.9; ip route add unreachable 203.0.113.64/26
        ip route add blackhole 203.0.113.128/26; ip route add prohibit 203.0.113.192/26
        ip route add 198.51.100.0/24 dev eth1 table 7; ip rule add to 198.51.100.0/24 table 7");
    let way =
        |text: &str| sandbox.run(|| inventory::route_to(text.parse().unwrap())).unwrap().map(|link| link.to_string());
    for (address, link) in [
        ("192.0.2.7", Some("eth0")),
        ("203.0.113.1", Some("eth0")),
        ("198.51.100.7", Some("eth1")),
        ("192.0.2.1", Some("lo")),
        ("2001:db8::7", Some("eth1")),
        ("203.0.113.65", None),
        ("203.0.113.129", None),
        ("203.0.113.193", None),
        ("10.0.0.1", None),
        ("2001:db8:1::1", None),
    ] {
        assert_eq!(way(address).as_deref(), link, "{address}");
    }
}

#[test]
fn an_empty_namespace_has_its_loopback_and_no_way_out() {
    let inventory = read(&Sandbox::new());
    assert_eq!(inventory.links.len(), 1);
    assert!(inventory.default_routes.is_empty());
}

#[test]
fn the_capability_is_that_of_the_thread() {
    assert!(inventory::net_admin(), "run the tests as root");
    let without = std::thread::spawn(|| {
        let none = rustix::thread::CapabilitySet::empty();
        let sets = rustix::thread::CapabilitySets { effective: none, permitted: none, inheritable: none };
        rustix::thread::set_capabilities(None, sets).unwrap();
        inventory::net_admin()
    });
    assert!(!without.join().unwrap());
}

/// The link that `ip route get` names without a gateway.
fn next_door(sandbox: &Sandbox, address: &str) -> Option<LinkName> {
    let said = sandbox.sh(&format!("ip route get {address} 2>/dev/null || :"));
    let links = ["eth0", "eth1"].into_iter().filter(|link| said.contains(&format!(" dev {link} ")));
    links.filter(|_| !said.contains(" via ")).map(|link| LinkName::new(link).unwrap()).next()
}

#[test]
fn what_is_on_which_link_is_what_the_kernels_own_look_up_says() {
    let (sandbox, _far) = wired();
    sandbox.sh("ip address add 192.0.2.1/24 dev eth0; ip address add 2001:db8::1/64 nodad dev eth0
        ip address add 198.51.100.1/24 dev eth1; ip route add default via 192.0.2.254
        ip route add 10.244.0.0/16 dev eth0");
    let addresses = [
        "192.0.2.7",
        "192.0.2.8",
        "192.0.2.99",
        "198.51.100.7",
        "203.0.113.7",
        "2001:db8::7",
        "2001:db8::8",
        "2001:db8:1::7",
    ];
    let check = |after: &str| {
        let pods = ["10.244.0.0/16".parse().unwrap()];
        let [uplink, other] = ["eth0", "eth1"].map(|name| LinkName::new(name).unwrap());
        let index = |name: LinkName| link(&read(&sandbox), name.as_str()).index;
        let alone = BTreeMap::from([(index(uplink), Hop::Direct)]);
        let both = BTreeMap::from([(index(uplink), Hop::Direct), (index(other), Hop::Beside(other))]);
        let [alone, on_link] = [alone, both].map(|links| sandbox.run(|| inventory::on_link(&links, &pods)).unwrap());
        for address in addresses {
            let (of, said) = (address.parse().unwrap(), next_door(&sandbox, address));
            assert_eq!(on_link.link_of(of, uplink), said, "{address} after {after}: {on_link:?}");
            assert_eq!((on_link.has(of), alone.has(of)), (said == Some(uplink), said == Some(uplink)));
        }
        assert!(!on_link.has("10.244.1.1".parse().unwrap()), "routes to pods do not count");
    };
    check("nothing");
    for change in [
        "ip route add 192.0.2.7/32 via 192.0.2.254",
        "ip route add 203.0.113.7/32 dev eth0",
        "ip route add 192.0.2.8/32 dev eth1",
        "ip route add unreachable 192.0.2.96/28",
        "ip route add 192.0.2.0/24 dev eth1 metric 50",
        "ip -6 route add 2001:db8::7/128 via 2001:db8::ff",
        "ip -6 route add 2001:db8:1::/64 dev eth0",
        "ip route add 192.0.2.7/32 dev eth0 table 77; ip rule add to 192.0.2.0/24 lookup 77",
        "ip route add default via 192.0.2.254 table 78; ip rule add fwmark 7 lookup 78",
        "ip rule add not fwmark 7 to 203.0.113.0/24 lookup 78; ip rule add iif eth1 prohibit",
        "ip rule add to 2001:db8::8 prohibit; ip -6 rule add to 2001:db8::8 prohibit",
        "ip rule add lookup main suppress_prefixlength 24 priority 9; ip rule add lookup 78 priority 10",
    ] {
        sandbox.sh(change);
        check(change);
    }
}
