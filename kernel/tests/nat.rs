//! Host ports and masquerade on the real kernel: what is written is what `nft` lists, belongs to its pod, and goes with it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod sandbox;

use std::net::IpAddr;

use ipam::ledger::{Identifier, Owner};
use kernel::nft::nat::{Mapping, Missing, Nat, NatError, Protocol, Sources, Wanted};
use kernel::tag::Tag;
use sandbox::Sandbox;

fn tag(network: &str, container: &str) -> Tag {
    Tag::new(network, &Owner { container: Identifier::new(container).unwrap(), ifname: "eth0".to_owned() })
}

/// `tcp 8080` or `udp 10.0.0.1:53`, to port 80 of a pod.
fn mapping(text: &str, pod: &str) -> Mapping {
    let (protocol, port) = text.split_once(' ').unwrap();
    let (host, port) = match port.rsplit_once(':') {
        Some((host, port)) => (Some(host.trim_matches(['[', ']']).parse().unwrap()), port),
        None => (None, port),
    };
    let protocol = protocol.parse::<Protocol>().unwrap();
    Mapping { protocol, host, host_port: port.parse().unwrap(), pod: pod.parse().unwrap(), pod_port: 80 }
}

fn ports(texts: &[&str], pod: &str) -> Wanted {
    let mappings = texts.iter().map(|text| mapping(text, pod)).collect();
    let near = if pod.contains(':') { "fd00:1::/64" } else { "10.1.0.0/24" };
    Wanted { mappings, near: vec![near.parse().unwrap()], ..Wanted::default() }
}

fn add(container: &str, wanted: &Wanted) -> Result<(), NatError> {
    Nat::open().unwrap().add(&tag("net1", container), wanted)
}

/// The elements that `nft` lists, of all sets but the constant one.
fn elements(sandbox: &Sandbox) -> usize {
    let listed = sandbox.sh("nft -j list ruleset");
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let sets = listed["nftables"].as_array().unwrap().iter();
    let sets = sets.filter_map(|item| item.get("map").or(item.get("set"))).filter(|set| set["name"] != "protocols");
    sets.map(|set| set["elem"].as_array().map_or(0, Vec::len)).sum()
}

#[test]
fn host_ports_are_listed_by_nft_in_its_own_words_and_its_listing_can_be_loaded() {
    let node = Sandbox::new();
    node.run(|| {
        add("c1", &ports(&["tcp 8080", "udp 192.0.2.1:53", "sctp 9"], "10.1.0.2")).unwrap();
        let loopback = Some("fd00:1::1".parse().unwrap());
        add("c2", &Wanted { loopback, ..ports(&["tcp 8080", "tcp [2001:db8::1]:443"], "fd00:1::2") }).unwrap();
        let leaving = Wanted {
            leaving: vec!["10.1.0.3".parse().unwrap()],
            spared: vec!["10.0.0.0/8".parse().unwrap()],
            ..Wanted::default()
        };
        add("c3", &leaving).unwrap();
    });
    let listed = node.sh("nft list ruleset");
    for line in [
        "tcp . 8080 comment \"towpath-pod net1 c1/eth0\" : 10.1.0.2 . 80",
        "192.0.2.1 . udp . 53 comment \"towpath-pod net1 c1/eth0\" : 10.1.0.2 . 80",
        "sctp . 9 comment",
        "tcp . 8080 comment \"towpath-pod net1 c2/eth0\" : fd00:1::2 . 80",
        "2001:db8::1 . tcp . 443 comment",
        "10.1.0.2 . tcp . 80 comment \"towpath-pod net1 c1/eth0\" : goto near",
        "10.1.0.0/24",
        "fd00:1::/64",
        "10.1.0.3 comment \"towpath-pod net1 c3/eth0\" : goto leaving-",
        "ip daddr 10.0.0.0/8 return",
        "ip daddr 224.0.0.0/4 return",
        "type nat hook prerouting priority dstnat + 5; policy accept;",
        "type nat hook postrouting priority srcnat - 5; policy accept;",
        "fib daddr type local goto ports",
        "meta l4proto @protocols dnat ip to ip daddr . meta l4proto . th dport map @addressed4",
        "meta l4proto @protocols dnat ip6 to meta l4proto . th dport map @ports6",
        "ct status dnat ip daddr . meta l4proto . th dport vmap @flows4",
        "ip6 saddr vmap @leaving6",
        "ip saddr 127.0.0.0/8 masquerade fully-random",
        "ip6 saddr ::1 ip6 daddr ::1 meta l4proto @protocols ip6 saddr set meta l4proto . th dport map @loopback6",
        "iif != \"lo\" ip6 saddr ::1 ip6 daddr set ::1",
        "tcp . 8080 comment \"towpath-pod net1 c2/eth0\" : fd00:1::1",
        "ip6 saddr @near6 masquerade fully-random",
        "iif != \"lo\" ip daddr 127.0.0.0/8 drop",
    ] {
        assert!(listed.contains(line), "no `{line}` in\n{listed}");
    }
    node.sh("saved=$(nft list ruleset); nft flush ruleset; printf '%s\n' \"$saved\" | nft -f -");
    assert_eq!(node.sh("nft list ruleset"), listed, "a node's saved ruleset can be loaded again");
}

#[test]
fn a_pod_has_what_it_was_given_and_nothing_when_it_is_gone() {
    let node = Sandbox::new();
    let wanted = Wanted {
        leaving: vec!["10.1.0.2".parse().unwrap()],
        ..ports(&["tcp 8080", "udp 8080", "tcp 192.0.2.1:53"], "10.1.0.2")
    };
    node.run(|| {
        let (mut nat, owner) = (Nat::open().unwrap(), tag("net1", "c1"));
        assert_eq!(nat.missing(&owner, &wanted).unwrap(), Some(Missing::Chains));
        assert!(nat.remove(&owner).unwrap().is_empty(), "nothing to remove is well");
        nat.add(&owner, &wanted).unwrap();
        nat.add(&owner, &wanted).unwrap();
        assert_eq!(nat.missing(&owner, &wanted).unwrap(), None);
        let more = ports(&["tcp 8081"], "10.1.0.2");
        assert_eq!(nat.missing(&owner, &more).unwrap(), Some(Missing::Mapping(more.mappings[0])));
    });
    assert_eq!(elements(&node), 3 + 2 + 1 + 1);
    node.run(|| {
        let (mut nat, owner) = (Nat::open().unwrap(), tag("net1", "c1"));
        assert!(nat.remove(&tag("net1", "c2")).unwrap().is_empty());
        assert!(nat.remove(&tag("net2", "c1")).unwrap().is_empty(), "another network's pod of the same name");
        assert_eq!(nat.remove(&owner).unwrap().len(), 3);
    });
    assert_eq!(elements(&node), 0);
    assert!(!node.sh("nft list ruleset").contains("chain leaving-"));
}

#[test]
fn a_port_that_another_pod_has_is_refused_and_nothing_of_the_second_is_left() {
    let node = Sandbox::new();
    node.run(|| add("c1", &ports(&["tcp 8080", "tcp 192.0.2.1:443"], "10.1.0.2")).unwrap());
    let before = node.sh("nft list ruleset");
    for (second, clashes) in [
        ("tcp 8080", true),
        ("udp 8080", false),
        ("tcp 192.0.2.9:8080", true),
        ("tcp 192.0.2.1:443", true),
        ("tcp 443", true),
        ("tcp 192.0.2.2:443", false),
    ] {
        let tried = node.run(|| add("c2", &ports(&["udp 1", second], "10.1.0.3")));
        assert_eq!(tried.is_err(), clashes, "{second}");
        if let Err(error) = tried {
            assert!(error.to_string().contains("the pod c1/eth0 has"), "{error}");
        } else {
            node.run(|| Nat::open().unwrap().remove(&tag("net1", "c2")).unwrap());
        }
        assert_eq!(node.sh("nft list ruleset"), before, "{second}");
    }
    let twice = node.run(|| add("c2", &ports(&["tcp 1", "tcp 192.0.2.1:1"], "10.1.0.3")));
    assert!(matches!(twice, Err(NatError::Twice { .. })), "{twice:?}");
}

#[test]
fn of_many_pods_that_want_one_port_at_once_exactly_one_gets_it() {
    let node = Sandbox::new();
    for round in 0..5 {
        let outcomes: Vec<bool> = node.run(|| {
            std::thread::scope(|scope| {
                let pods: Vec<_> = (0..16)
                    .map(|n| {
                        scope.spawn(move || {
                            let port = if n % 2 == 0 { "tcp 8080".to_owned() } else { format!("tcp 192.0.2.{n}:8080") };
                            let wanted = ports(&[&port, &format!("udp {}", 1000 + n)], &format!("10.1.0.{}", n + 2));
                            (n, add(&format!("r{round}c{n}"), &wanted).is_ok())
                        })
                    })
                    .collect();
                let outcomes: Vec<(usize, bool)> = pods.into_iter().map(|pod| pod.join().unwrap()).collect();
                // Either one that has all addresses, or some that have one each.
                let everywhere = outcomes.iter().filter(|(n, won)| *won && n % 2 == 0).count();
                let addressed = outcomes.iter().filter(|(n, won)| *won && n % 2 == 1).count();
                assert!((everywhere, addressed) == (1, 0) || (everywhere, addressed) == (0, 8), "{outcomes:?}");
                outcomes.into_iter().map(|(_, won)| won).collect()
            })
        });
        assert!(outcomes.contains(&true));
        node.run(|| Nat::open().unwrap().collect("net1", &[]).unwrap());
        assert_eq!(elements(&node), 0);
    }
}

#[test]
fn collecting_takes_what_is_of_no_pod_that_is_kept_and_of_this_network() {
    let node = Sandbox::new();
    node.run(|| {
        let mut nat = Nat::open().unwrap();
        nat.add(&tag("net1", "a"), &ports(&["tcp 1"], "10.1.0.2")).unwrap();
        nat.add(&tag("net1", "b"), &ports(&["tcp 2"], "10.1.0.3")).unwrap();
        nat.add(&tag("net2", "a"), &ports(&["tcp 3"], "10.1.0.4")).unwrap();
        let gone = nat.collect("net1", &[tag("net1", "b")]).unwrap();
        assert_eq!(gone, [mapping("tcp 1", "10.1.0.2")]);
        assert!(nat.collect("net1", &[tag("net1", "b")]).unwrap().is_empty());
    });
    assert_eq!(elements(&node), 5, "two ports, two flows, one network");
}

#[test]
fn networks_within_each_other_and_an_address_given_again_are_no_obstacle() {
    let node = Sandbox::new();
    let near = |net: &str| Wanted { near: vec![net.parse().unwrap()], ..ports(&[], "10.1.0.2") };
    let with = |port: &str, pod: &str, net: &str| Wanted { near: near(net).near, ..ports(&[port], pod) };
    node.run(|| {
        add("a", &with("tcp 1", "10.1.0.2", "10.1.0.0/24")).unwrap();
        add("b", &with("tcp 2", "10.1.0.3", "10.1.0.0/16")).unwrap();
        add("c", &with("tcp 3", "10.1.0.4", "10.1.0.4/32")).unwrap();
        add("d", &with("tcp 4", "10.1.0.5", "10.1.0.0/24")).unwrap();
        // The address of a pod whose DEL is yet to come.
        add("e", &with("tcp 5", "10.1.0.2", "10.1.0.0/24")).unwrap();
        Nat::open().unwrap().remove(&tag("net1", "a")).unwrap();
        assert_eq!(
            Nat::open().unwrap().missing(&tag("net1", "e"), &with("tcp 5", "10.1.0.2", "10.1.0.0/24")).unwrap(),
            None
        );
    });
    let listed = node.sh("nft list set inet towpath-pods near4");
    assert!(listed.contains("10.1.0.0/16") && !listed.contains("/24"), "{listed}");
    node.run(|| Nat::open().unwrap().collect("net1", &[]).unwrap());
    assert_eq!(elements(&node), 0);
}

#[test]
fn broken_chains_are_missed_and_the_next_pod_puts_them_right() {
    let node = Sandbox::new();
    let wanted = ports(&["tcp 8080"], "10.1.0.2");
    node.run(|| add("c1", &wanted).unwrap());
    let whole = node.sh("nft -s list chain inet towpath-pods ports");
    for harm in ["nft flush chain inet towpath-pods ports", "nft flush table inet towpath-pods"] {
        node.sh(harm);
        node.run(|| {
            let mut nat = Nat::open().unwrap();
            assert_eq!(nat.missing(&tag("net1", "c1"), &wanted).unwrap(), Some(Missing::Chains));
            nat.add(&tag("net1", "c2"), &ports(&["udp 9"], "10.1.0.3")).unwrap();
            assert_eq!(nat.missing(&tag("net1", "c1"), &wanted).unwrap(), None);
            nat.remove(&tag("net1", "c2")).unwrap();
        });
        assert_eq!(node.sh("nft -s list chain inet towpath-pods ports"), whole);
    }
    node.sh("nft flush ruleset");
    let gone = node.run(|| Nat::open().unwrap().missing(&tag("net1", "c1"), &wanted).unwrap());
    assert_eq!(
        gone.map(|missing| missing.to_string()).unwrap(),
        "the rules of the nftables table inet towpath-pods are missing"
    );
}

#[test]
fn sources_and_exclusions_are_part_of_what_is_checked() {
    let node = Sandbox::new();
    let address: IpAddr = "10.1.0.2".parse().unwrap();
    let leaving =
        |spared: &str| Wanted { leaving: vec![address], spared: vec![spared.parse().unwrap()], ..Wanted::default() };
    node.run(|| {
        let mut nat = Nat::open().unwrap();
        let owner = tag("net1", "c1");
        for sources in [Sources::Near, Sources::All, Sources::None] {
            let wanted = Wanted { sources, ..ports(&["tcp 8080"], "10.1.0.2") };
            nat.add(&owner, &wanted).unwrap();
            assert_eq!(nat.missing(&owner, &wanted).unwrap(), None);
        }
        assert!(matches!(nat.missing(&owner, &ports(&["tcp 8080"], "10.1.0.2")).unwrap(), Some(Missing::Flow(_))));
        nat.add(&owner, &leaving("10.0.0.0/8")).unwrap();
        assert_eq!(nat.missing(&owner, &leaving("10.0.0.0/8")).unwrap(), None);
        assert_eq!(nat.missing(&owner, &leaving("10.0.0.0/9")).unwrap(), Some(Missing::Leaving(address)));
    });
}
