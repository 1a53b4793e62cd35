//! Conditions, changes and explanations of policy.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use ipnet::IpNet;

use super::*;
use crate::rib::PeerId;
use crate::wire::{AsPath, Community, Family, Nlri, Origin};

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn attributes() -> Attributes {
    Attributes {
        as_path: AsPath::sequence(vec![64500, 64501, 64502]),
        communities: vec![Community::NO_EXPORT, "64500:1".parse().unwrap()],
        origin: Origin::Igp,
        ..Attributes::default()
    }
}

fn route<'a>(prefix: &str, attributes: &'a Attributes) -> Route<'a> {
    let hop = NextHop::V4([192, 0, 2, 1].into());
    Route { nlri: Nlri::Prefix(net(prefix)), attributes, hop, peer: PeerId(3) }
}

#[test]
fn ranges_of_prefixes() {
    let eight = net("10.0.0.0/8");
    for (range, prefix, has) in [
        (PrefixRange::exactly(eight), "10.0.0.0/8", true),
        (PrefixRange::exactly(eight), "10.0.0.0/9", false),
        (PrefixRange::or_longer(eight), "10.1.2.3/32", true),
        (PrefixRange::or_longer(eight), "11.0.0.0/8", false),
        (PrefixRange::or_longer(eight), "0.0.0.0/0", false),
        (PrefixRange::between(eight, 16, 24).unwrap(), "10.1.0.0/15", false),
        (PrefixRange::between(eight, 16, 24).unwrap(), "10.1.0.0/16", true),
        (PrefixRange::between(eight, 16, 24).unwrap(), "10.1.1.0/25", false),
        (PrefixRange::or_longer(net("::/0")), "10.0.0.0/8", false),
    ] {
        assert_eq!(range.has(&net(prefix)), has, "{prefix} in {range}");
    }
    assert_eq!(PrefixRange::between(eight, 4, 24), None);
    assert_eq!(PrefixRange::between(eight, 24, 33), None);
}

#[test]
fn every_condition_and_its_opposite() {
    let attributes = attributes();
    let route = route("10.0.0.0/24", &attributes);
    let yes = [
        Condition::Prefix(Prefixes(vec![PrefixRange::or_longer(net("10.0.0.0/8"))])),
        Condition::Community(vec![Community(9), Community::NO_EXPORT]),
        Condition::PathLength(3, 3),
        Condition::PathContains(vec![64501]),
        Condition::PathFirst(vec![64500]),
        Condition::PathOrigin(vec![64502]),
        Condition::Origin(vec![Origin::Igp]),
        Condition::NextHop(vec![net("192.0.2.0/24")]),
        Condition::Family(vec![Family::IPV4]),
        Condition::Peer(vec![PeerId(3)]),
    ];
    for condition in yes {
        assert!(condition.holds(&route), "{condition}");
        assert!(!Condition::Not(Box::new(condition)).holds(&route));
    }
    let no = [
        Condition::Large(vec!["1:2:3".parse().unwrap()]),
        Condition::Extended(vec!["rt:1:2".parse().unwrap()]),
        Condition::PathLength(0, 2),
        Condition::Family(vec![Family::IPV6, Family::EVPN]),
    ];
    assert!(no.iter().all(|condition| !condition.holds(&route)));
}

#[test]
fn the_first_rule_that_decides_wins_and_those_before_change() {
    let rule = |name: &str, conditions, actions, then| Rule { name: name.into(), conditions, actions, then };
    let ours = Condition::Prefix(Prefixes(vec![PrefixRange::or_longer(net("10.0.0.0/8"))]));
    let policy = Policy::new(
        vec![
            rule(
                "mark",
                vec![],
                vec![Action::Add(Target::Community(Community(7))), Action::SetMed(Some(5))],
                Then::Next,
            ),
            rule("ours", vec![ours], vec![Action::SetLocalPref(200), Action::Prepend(64999, 2)], Then::Accept),
            rule("late", vec![], vec![Action::SetLocalPref(1)], Then::Accept),
        ],
        Verdict::Reject,
    )
    .unwrap();
    let attributes = attributes();
    let route = route("10.1.0.0/16", &attributes);
    let judgement = policy.judge(&route);
    assert_eq!(judgement, Judgement { verdict: Verdict::Accept, fired: 0b11 });
    let (mut changed, mut hop) = (attributes.clone(), route.hop);
    policy.change(judgement, &mut changed, &mut hop);
    assert_eq!((changed.local_pref, changed.med), (Some(200), Some(5)));
    assert_eq!(changed.as_path.to_string(), "64999 64999 64500 64501 64502");
    assert_eq!(changed.communities.last(), Some(&Community(7)));
    let said: Vec<String> = policy.explain(&route).iter().map(ToString::to_string).collect();
    assert_eq!(said, ["rule `mark`: holds, and the next is asked", "rule `ours`: accept"]);
}

#[test]
fn no_policy_rejects_and_says_so() {
    let attributes = attributes();
    let met = Policy::reject();
    let said: Vec<String> = met.explain(&route("10.0.0.0/8", &attributes)).iter().map(ToString::to_string).collect();
    assert_eq!(said, ["no rule decides: reject"]);
    assert_eq!(met.judge(&route("10.0.0.0/8", &attributes)).verdict, Verdict::Reject);
}
