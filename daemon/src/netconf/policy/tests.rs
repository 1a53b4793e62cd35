//! Policies as they are written, as they are meant, and every way to write them wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::IpAddr;

use bgp::policy::{Route, Sender};
use bgp::rib::Relation;
use bgp::wire::{AsPath, Attributes, NextHop, Nlri};

use super::*;
use crate::netconf::{Division, Network, read};

fn network(policies: &str) -> Result<Network, String> {
    let text = format!(r#"{{"Network": "10.0.0.0/8", "Policies": {policies}}}"#);
    read(&text, Division::Claimed).map_err(|mistakes| mistakes.to_string())
}

fn wrong(rule: &str) -> String {
    network(&format!(r#"{{"p": [{rule}]}}"#)).expect_err(rule)
}

/// What a policy makes of a route from AS 65001 at 192.0.2.9.
fn verdict(policies: &str, prefix: &str) -> Verdict {
    let attributes = Attributes {
        as_path: AsPath::sequence(vec![65001, 65002]),
        communities: vec!["65001:7".parse().unwrap()],
        ..Attributes::default()
    };
    let address: IpAddr = "192.0.2.9".parse().unwrap();
    let sender = Sender { relation: Relation::External, asn: 65001, address: Some(address) };
    let hop = NextHop::V4("192.0.2.9".parse().unwrap());
    let route = Route { nlri: Nlri::Prefix(prefix.parse().unwrap()), attributes: &attributes, hop, sender };
    network(policies).unwrap().policies.get("p").unwrap().judge(&route).verdict
}

#[test]
fn a_file_with_everything_is_read_and_printed_as_it_is_meant() {
    let everything = r#"{"p": [{
        "Name": "all of it",
        "If": {
            "Prefixes": ["10.0.0.0/8 ge 16 le 24", "0.0.0.0/0", "fd00::/8 le 64"],
            "Communities": ["64512:100", "no-export"], "LargeCommunities": "64512:1:2", "ExtendedCommunities": ["rt:64512:1"],
            "PathLengthMin": 1, "PathLengthMax": 5, "PathContains": [65001], "PathFirst": 65001, "PathOrigin": "65002",
            "Origins": ["igp"], "NextHops": ["192.0.2.0/24", "192.0.2.9"], "Families": ["ipv4"],
            "Peers": [65001, "192.0.2.0/24", "external"]
        },
        "Unless": {"Peers": "internal"},
        "Set": {"LocalPref": 200, "MED": 5, "Origin": "egp", "NextHop": ["192.0.2.1", "fd00::1"],
                "Communities": ["64512:1"], "LargeCommunities": ["1:2:3"], "ExtendedCommunities": ["rt:1:2"]},
        "Add": {"Communities": ["64512:2"], "LocalPref": 10, "MED": 1},
        "Remove": {"LargeCommunities": ["1:2:3"], "MED": true},
        "Prepend": {"AS": 64512, "Times": 3},
        "Then": "accept"
    }]}"#;
    let network = network(everything).unwrap();
    assert_eq!(network.warnings, Vec::<String>::new());
    let policy = network.policies.get("p").unwrap();
    let [rule] = policy.rules() else { panic!("{policy:?}") };
    let conditions: Vec<String> = rule.conditions.iter().map(ToString::to_string).collect();
    assert_eq!(
        conditions,
        [
            "prefix in 10.0.0.0/8 ge 16 le 24, 0.0.0.0/0, fd00::/8 ge 8 le 64",
            "community 64512:100, no-export",
            "large community 64512:1:2",
            "extended community rt:64512:1",
            "path of 1 to 5",
            "path through 65001",
            "path that begins with 65001",
            "path that ends with 65002",
            "origin igp",
            "next hop in 192.0.2.0/24, 192.0.2.9/32",
            "family ipv4",
            "peer AS 65001, 192.0.2.0/24, external",
            "other than peer internal",
        ]
    );
    let actions: Vec<String> = rule.actions.iter().map(ToString::to_string).collect();
    assert_eq!(
        actions,
        [
            "set local preference 200",
            "set MED 5",
            "set origin egp",
            "set communities [64512:1]",
            "set large communities [1:2:3]",
            "set extended communities [rt:1:2]",
            "set next hop 192.0.2.1",
            "set next hop fd00::1",
            "add community 64512:2",
            "add 10 to local preference",
            "add 1 to MED",
            "remove large community 1:2:3",
            "remove MED",
            "prepend AS 64512 3 times",
        ]
    );
}

#[test]
fn what_no_rule_decides_is_rejected() {
    let own = r#"{"p": [{"If": {"Prefixes": "10.1.0.0/16 le 24"}, "Then": "accept"}]}"#;
    assert_eq!(verdict(own, "10.1.2.0/24"), Verdict::Accept);
    assert_eq!(verdict(own, "10.1.2.0/25"), Verdict::Reject);
    assert_eq!(verdict(own, "10.2.0.0/16"), Verdict::Reject);
    let unless = r#"{"p": [{"Unless": {"Communities": "65001:7", "Families": "ipv6"}, "Then": "accept"}]}"#;
    assert_eq!(verdict(unless, "10.1.2.0/24"), Verdict::Reject, "one of what must not hold does");
    let empty = network(r#"{"p": []}"#).unwrap();
    assert_eq!(empty.warnings, ["Policies.p has no rules, and so rejects every route"]);
}

#[test]
fn accept_and_reject_are_there_without_being_written() {
    let policies = Policies::default();
    assert_eq!(policies.get("accept").as_deref(), Some(&Policy::accept()));
    assert_eq!(policies.get("reject").as_deref(), Some(&Policy::reject()));
    assert_eq!(policies.get("Accept"), None);
    let taken = network(r#"{"accept": []}"#).unwrap_err();
    assert_eq!(taken, "Policies.accept: this name says already what it does; give it another name");
    let twice = network(r#"{"a": [], "a": []}"#).unwrap_err();
    assert_eq!(twice, "Policies.a: there is another of this name; give it another name");
}

#[test]
fn every_mistake_has_its_key_its_value_and_the_fix() {
    for (rule, said) in [
        (r#"{}"#, r#"Policies.p[0].Then: it is missing; write "accept", "reject" or"#),
        (r#"{"Then": "maybe"}"#, r#"Policies.p[0].Then = "maybe": it is no decision; write "accept""#),
        (r#"7"#, r#"Policies.p[0] = "7": it is a number; write an object in braces"#),
        (
            r#"{"If": {"Prefixs": ["10.0.0.0/8"]}, "Then": "accept"}"#,
            "Policies.p[0].If.Prefixs: it is not a known key; write Prefixes",
        ),
        (r#"{"Iff": {}, "Then": "accept"}"#, "Policies.p[0].Iff: it is not a known key; write If"),
        (r#"{"If": [], "Then": "accept"}"#, r#"Policies.p[0].If = "[…]": it is a list; write an object in braces"#),
        (
            r#"{"If": {"Prefixes": []}, "Then": "accept"}"#,
            "Policies.p[0].If.Prefixes = \"[…]\": it is empty; write 1 to 10000 values",
        ),
        (r#"{"If": {"Prefixes": "10.0.0.1/8"}, "Then": "accept"}"#, "it has host bits set; write 10.0.0.0/8"),
        (r#"{"If": {"Prefixes": "ten"}, "Then": "accept"}"#, "it is no prefix; write a prefix, as in"),
        (
            r#"{"If": {"Prefixes": "10.0.0.0/8 ge 24 le 16"}, "Then": "accept"}"#,
            "no prefix in 10.0.0.0/8 has a length from 24 to 16",
        ),
        (
            r#"{"If": {"Prefixes": "10.0.0.0/8 ge 33"}, "Then": "accept"}"#,
            "no prefix in 10.0.0.0/8 has a length from 33 to 32",
        ),
        (
            r#"{"If": {"Prefixes": "10.0.0.0/8 le"}, "Then": "accept"}"#,
            "ge and le each stand there once at most, with a length",
        ),
        (
            r#"{"If": {"Prefixes": "10.0.0.0/8 le 24 le 25"}, "Then": "accept"}"#,
            "ge and le each stand there once at most",
        ),
        (r#"{"If": {"Prefixes": "10.0.0.0/8+"}, "Then": "accept"}"#, "it is no prefix"),
        (
            r#"{"If": {"Communities": "64512:70000"}, "Then": "accept"}"#,
            r#"Policies.p[0].If.Communities = "64512:70000": it is none; write AS:number"#,
        ),
        (r#"{"If": {"LargeCommunities": "1:2"}, "Then": "accept"}"#, "write three numbers"),
        (r#"{"If": {"ExtendedCommunities": "rt:1"}, "Then": "accept"}"#, "sixteen hexadecimal digits"),
        (r#"{"If": {"PathLengthMin": 5, "PathLengthMax": 4}, "Then": "accept"}"#, "it is above PathLengthMax (4)"),
        (r#"{"If": {"PathContains": 0}, "Then": "accept"}"#, r#"PathContains = "0": it is no number of an AS"#),
        (r#"{"If": {"PathFirst": 4294967296}, "Then": "accept"}"#, "it is no number of an AS"),
        (r#"{"If": {"Origins": "bgp"}, "Then": "accept"}"#, "it is no origin"),
        (r#"{"If": {"NextHops": "here"}, "Then": "accept"}"#, "it is no address and no network"),
        (r#"{"If": {"Families": "ipx"}, "Then": "accept"}"#, "it is no family"),
        (r#"{"If": {"Peers": "tor1"}, "Then": "accept"}"#, "it is no set of peers"),
        (r#"{"Set": {"NextHop": "0.0.0.0"}, "Then": "accept"}"#, "write an address that a router can have"),
        (r#"{"Set": {"NextHop": ["10.0.0.1", "10.0.0.2"]}, "Then": "accept"}"#, "it has two addresses of one family"),
        (r#"{"Set": {"LocalPref": -1}, "Then": "accept"}"#, r#"Set.LocalPref = "-1": it is out of range"#),
        (
            r#"{"Prepend": 0, "Then": "accept"}"#,
            r#"Policies.p[0].Prepend = "0": it is out of range; write a whole number from 1 to 32"#,
        ),
        (
            r#"{"Prepend": {"Times": 2, "ASN": 5}, "Then": "accept"}"#,
            "Policies.p[0].Prepend.ASN: it is not a known key; write AS",
        ),
        (r#"{"Add": {"MED": 5}, "Then": "reject"}"#, "what is rejected is not changed"),
    ] {
        let text = wrong(rule);
        assert!(text.contains(said), "{rule} said\n{text}\nand not\n{said}");
    }
    let list = network("[]").unwrap_err();
    assert!(list.contains("Policies = \"[…]\": it is a list; write an object of lists of rules"), "{list}");
    let one = network(r#"{"p": {"Then": "accept"}}"#).unwrap_err();
    assert!(one.contains("it is an object, not a list; write a list of rules"), "{one}");
    let many = vec![r#"{"Then": "next"}"#; MOST_RULES + 1].join(",");
    assert!(wrong(&many).contains("it has 129 rules and can have 128"));
}

#[test]
fn several_mistakes_are_said_together() {
    let text = wrong(r#"{"If": {"Families": "ipx", "PathFirst": "x"}, "Set": {"MED": true}, "Then": "perhaps"}"#);
    assert_eq!(text.lines().count(), 4, "{text}");
}

#[test]
fn lists_of_prefixes_have_names_and_communities_may_have_any_part() {
    let lists = r#"[{"If": {"PrefixLists": ["services"], "Prefixes": "10.9.0.0/16", "Communities": "65001:*"},
        "Remove": {"Communities": "*:7"}, "Then": "accept"}], "q": []}, "PrefixLists": {"services": ["198.51.100.0/22 ge 24"]"#;
    let policies = format!(r#"{{"p": {lists}}}"#);
    for (prefix, expected) in
        [("198.51.101.0/24", Verdict::Accept), ("10.9.0.0/16", Verdict::Accept), ("198.51.100.0/22", Verdict::Reject)]
    {
        assert_eq!(verdict(&policies, prefix), expected, "{prefix}");
    }
    let said = network(&policies.replace("[\"services\"]", "\"servces\"")).unwrap_err();
    assert!(said.contains("PrefixLists has none of this name; did you mean services?"), "{said}");
    let said = network(&policies.replace(" ge 24", " ge 20")).unwrap_err();
    assert!(said.contains("PrefixLists.services = \"198.51.100.0/22 ge 20\""), "{said}");
    assert!(wrong(r#"{"If": {"Communities": "1:2:*"}, "Then": "accept"}"#).contains("64512:*"));
}
