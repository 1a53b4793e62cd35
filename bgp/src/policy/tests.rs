//! Conditions, changes and explanations of policy.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::Ipv4Addr;

use ipnet::IpNet;

use super::*;
use crate::rib::Relation;
use crate::wire::{AsPath, Attributes, Community, Family, NextHop, Nlri, Origin};

const SENDER: Sender = Sender {
    relation: Relation::External,
    asn: 64500,
    address: Some(std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9))),
};

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
    Route { nlri: Nlri::Prefix(net(prefix)), attributes, hop, sender: SENDER }
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
        Condition::Community(vec![Community(9).into(), Community::NO_EXPORT.into()]),
        Condition::PathLength(3, 3),
        Condition::PathContains(vec![64501]),
        Condition::PathFirst(vec![64500]),
        Condition::PathOrigin(vec![64502]),
        Condition::Origin(vec![Origin::Igp]),
        Condition::NextHop(vec![net("192.0.2.0/24")]),
        Condition::Family(vec![Family::IPV4]),
        Condition::Peer(vec![Peers::Internal, Peers::Of(64500)]),
        Condition::Peer(vec![Peers::At(net("192.0.2.8/29"))]),
        Condition::Peer(vec![Peers::External]),
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
        Condition::Peer(vec![Peers::Local, Peers::Internal, Peers::At(net("192.0.2.8/32")), Peers::Of(64501)]),
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
            rule("ours", vec![ours], vec![Action::SetLocalPref(200), Action::Prepend(Some(64999), 2)], Then::Accept),
            rule("late", vec![], vec![Action::SetLocalPref(1)], Then::Accept),
        ],
        Verdict::Reject,
    )
    .unwrap();
    let attributes = attributes();
    let route = route("10.1.0.0/16", &attributes);
    let judgement = policy.judge(&route);
    assert_eq!(judgement, Judgement { verdict: Verdict::Accept, fired: 0b11 });
    let mut changed = attributes.clone();
    let mut subject = Changed { attributes: &mut changed, hop: None, family: Family::IPV4, sender: 1 };
    policy.change(judgement, &mut subject);
    assert_eq!(subject.hop, None);
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

#[test]
fn every_action_changes_what_it_names_and_nothing_else() {
    let rt = "rt:1:2".parse().unwrap();
    type Case = (Action, fn(&Attributes) -> String, &'static str);
    let cases: Vec<Case> = vec![
        (Action::SetLocalPref(7), |a| format!("{:?}", a.local_pref), "Some(7)"),
        (Action::RaiseLocalPref(7), |a| format!("{:?}", a.local_pref), "Some(107)"),
        (Action::RaiseLocalPref(u32::MAX), |a| format!("{:?}", a.local_pref), "Some(4294967295)"),
        (Action::RaiseMed(7), |a| format!("{:?}", a.med), "Some(7)"),
        (Action::SetMed(None), |a| format!("{:?}", a.med), "None"),
        (Action::SetOrigin(Origin::Egp), |a| a.origin.to_string(), "egp"),
        (Action::SetCommunities(vec![Community(65537)]), |a| list(&a.communities), "1:1"),
        (Action::SetLarge(vec!["1:2:3".parse().unwrap()]), |a| list(&a.large), "1:2:3"),
        (Action::SetExtended(vec![rt]), |a| list(&a.extended), "rt:1:2"),
        (Action::Add(Target::Extended(rt)), |a| list(&a.extended), "rt:1:2"),
        (Action::Remove(Removed::Community(Community::NO_EXPORT.into())), |a| list(&a.communities), "64500:1"),
        (Action::Prepend(None, 2), |a| a.as_path.to_string(), "9 9 64500 64501 64502"),
    ];
    for (action, shown, expected) in cases {
        let mut changed = attributes();
        let before = changed.communities.clone();
        action.apply(&mut Changed { attributes: &mut changed, hop: None, family: Family::IPV4, sender: 9 });
        assert_eq!(shown(&changed), expected, "{action}");
        let touches = matches!(action, Action::SetCommunities(_) | Action::Remove(_));
        assert!(touches || changed.communities == before, "{action} touched communities");
    }
}

#[test]
fn a_next_hop_is_given_only_where_it_is_an_address_of_the_family() {
    let [v4, v6]: [std::net::IpAddr; 2] = ["192.0.2.7".parse().unwrap(), "2001:db8::7".parse().unwrap()];
    for (address, family, given) in [
        (v4, Family::IPV4, true),
        (v4, Family::IPV6, false),
        (v4, Family::EVPN, true),
        (v6, Family::IPV4, false),
        (v6, Family::IPV6, true),
        (v6, Family::EVPN, true),
    ] {
        let mut changed = attributes();
        let mut route = Changed { attributes: &mut changed, hop: None, family, sender: 9 };
        Action::SetNextHop(address).apply(&mut route);
        assert_eq!(route.hop.map(|hop| hop.address()), given.then_some(address), "{address} for {family}");
    }
}

#[test]
fn whether_a_kind_of_sender_can_get_through_at_all_is_known_without_a_route() {
    use Relation::{Client, External, Internal, Local};
    let rule =
        |condition: Condition, then| Rule { name: String::new(), conditions: vec![condition], actions: vec![], then };
    let peer = |peers: &[Peers]| Condition::Peer(peers.to_vec());
    let through = |rules: Vec<Rule>, otherwise| {
        let policy = Policy::new(rules, otherwise).unwrap();
        [Local, External, Internal, Client].map(|relation| policy.may_accept_from(relation))
    };
    let (accept, reject) = (Verdict::Accept, Verdict::Reject);
    assert_eq!(through(vec![], accept), [true; 4]);
    assert_eq!(through(vec![], reject), [false; 4]);
    assert_eq!(through(vec![rule(peer(&[Peers::Local]), Then::Accept)], reject), [true, false, false, false]);
    assert_eq!(
        through(vec![rule(peer(&[Peers::Internal, Peers::Of(7)]), Then::Accept)], reject),
        [false, true, true, true]
    );
    // One AS of many is rejected: that says nothing of the others.
    assert_eq!(through(vec![rule(peer(&[Peers::Of(7)]), Then::Reject)], accept), [true; 4]);
    assert_eq!(through(vec![rule(peer(&[Peers::External]), Then::Reject)], accept), [true, false, true, true]);
    let others = Condition::Not(Box::new(peer(&[Peers::Local])));
    assert_eq!(through(vec![rule(others, Then::Reject)], accept), [true, false, false, false]);
    let communities = Condition::Community(vec![]);
    assert_eq!(through(vec![rule(communities, Then::Reject)], accept), [true; 4]);
}
