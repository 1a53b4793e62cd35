//! Each step of the decision, each rule of import and export, one by one.

use super::super::decision::{Candidate, Likeness, MedScope, Step, decide};
use super::super::import::Refusal;
use super::*;
use crate::policy::{Rule, Then, Verdict};
use crate::wire::Origin;

fn candidate() -> Candidate {
    Candidate {
        long_lived_stale: false,
        local_pref: 100,
        path_length: 2,
        origin: Origin::Igp,
        med: 10,
        neighbour: 65001,
        relation: Relation::External,
        metric: 5,
        router: [10, 0, 0, 5].into(),
        clusters: 1,
        address: Ipv4Addr::new(10, 0, 0, 5).into(),
        path_id: 1,
    }
}

#[test]
fn each_step_decides_when_all_before_it_are_equal() {
    type Better = fn(&mut Candidate);
    let steps: [(Step, Better); 12] = [
        (Step::LongLivedStale, |path| path.long_lived_stale = false),
        (Step::LocalPref, |path| path.local_pref = 101),
        (Step::Local, |path| path.relation = Relation::Local),
        (Step::PathLength, |path| path.path_length = 1),
        (Step::Origin, |path| path.origin = Origin::Igp),
        (Step::Med, |path| path.med = 9),
        (Step::External, |path| path.relation = Relation::External),
        (Step::Metric, |path| path.metric = 4),
        (Step::Router, |path| path.router = [10, 0, 0, 4].into()),
        (Step::Clusters, |path| path.clusters = 0),
        (Step::Address, |path| path.address = Ipv4Addr::new(10, 0, 0, 4).into()),
        (Step::PathId, |path| path.path_id = 0),
    ];
    for (step, better) in steps {
        let mut worse = candidate();
        match step {
            Step::LongLivedStale => worse.long_lived_stale = true,
            Step::Origin => worse.origin = Origin::Incomplete,
            Step::External => worse.relation = Relation::Internal,
            _ => {}
        }
        let mut best = worse;
        better(&mut best);
        for (candidates, place) in [([best, worse], 0), ([worse, best], 1)] {
            let decision = decide(&candidates, &Preferences::default()).unwrap();
            assert_eq!((decision.best, decision.step), (place, step));
            assert_eq!(decision.out_at[1 - place], Some(step));
            // What only its router, reflectors, address or identifier sets apart is used too.
            assert_eq!(decision.together.len(), if step >= Step::Router { 2 } else { 1 }, "{step}");
        }
    }
    assert_eq!(decide(&[candidate()], &Preferences::default()).unwrap().step, Step::Only);
    assert_eq!(decide(&[], &Preferences::default()), None);
}

#[test]
fn med_is_compared_within_a_neighbour_and_the_order_of_arrival_does_not_matter() {
    let path =
        |neighbour, med, router: u8| Candidate { neighbour, med, router: [10, 0, 0, router].into(), ..candidate() };
    let paths = [path(1, 20, 1), path(2, 5, 2), path(1, 10, 3)];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let candidates = order.map(|place| paths[place]);
        let best = candidates[decide(&candidates, &Preferences::default()).unwrap().best];
        assert_eq!(best.router, Ipv4Addr::new(10, 0, 0, 2), "the first is out by MED, the rest by router");
        let always = Preferences { med: MedScope::Always, ..Preferences::default() };
        assert_eq!(candidates[decide(&candidates, &always).unwrap().best].med, 5);
    }
}

#[test]
fn equal_paths_are_used_together_as_far_as_it_is_allowed() {
    let path = |neighbour, router: u8| Candidate { neighbour, router: [10, 0, 0, router].into(), ..candidate() };
    let candidates = [path(1, 3), path(2, 1), path(1, 2), path(2, 4)];
    let together = |most_paths, likeness| {
        let preferences = Preferences { most_paths, likeness, ..Preferences::default() };
        decide(&candidates, &preferences).unwrap().together
    };
    assert_eq!(together(64, Likeness::Length), [0, 1, 2, 3]);
    assert_eq!(together(64, Likeness::SameNeighbour), [1, 3]);
    assert_eq!(together(2, Likeness::Length), [0, 1]);
    assert_eq!(together(1, Likeness::Length), [1]);
}

#[test]
fn loops_and_leaks_are_refused() {
    let rib = rib();
    let (external, hop) = (source(1, Relation::External), NextHop::V4([10, 0, 0, 1].into()));
    let looped = Attributes { as_path: AsPath::sequence(vec![65001, ASN, 3]), ..Attributes::default() };
    let own = Attributes { originator: Some([10, 0, 0, 100].into()), ..Attributes::default() };
    let cluster = Attributes { clusters: vec![[1, 1, 1, 1].into(), [10, 0, 0, 100].into()], ..Attributes::default() };
    assert_eq!(rib.refusal(&external, &looped, hop), Some(Refusal::AsLoop));
    assert_eq!(rib.refusal(&external, &own, hop), Some(Refusal::OriginatorLoop));
    assert_eq!(rib.refusal(&external, &cluster, hop), Some(Refusal::ClusterLoop));
    assert_eq!(rib.refusal(&external, &path(1), NextHop::V4([10, 0, 0, 100].into())), Some(Refusal::OwnNextHop));
    assert_eq!(rib.refusal(&external, &path(1), hop), None);
    let otc = |asn| Attributes { only_to_customer: Some(asn), ..path(1) };
    for (role, asn, refused) in [
        (Role::Provider, 65001, true),
        (Role::RouteServer, 65001, true),
        (Role::Peer, 65001, false),
        (Role::Peer, 65009, true),
        (Role::Customer, 65009, false),
        (Role::RouteServerClient, 65009, false),
    ] {
        let source = Source { role: Some(role), ..external.clone() };
        assert_eq!(rib.refusal(&source, &otc(asn), hop).is_some(), refused, "{role:?} {asn}");
    }
}

/// What a member with these terms is told of one route of peer 1.
fn told(
    relation: Relation,
    attributes: &Attributes,
    change: impl FnOnce(&mut Source, &mut GroupTerms),
) -> Option<Attributes> {
    let mut rib = rib();
    let (mut source, mut terms) = (source(1, relation), terms(Relation::External, PathIds::Absent));
    change(&mut source, &mut terms);
    rib.add_source(PeerId(1), source);
    rib.join(PeerId(9), terms.clone());
    settle(&mut rib);
    rib.take(PeerId(9)).unwrap();
    say(&mut rib, 1, Some(attributes), &[net(1)]);
    settle(&mut rib);
    let chunk = rib.take(PeerId(9))?;
    let frame = frame(&chunk, terms.wire.limit).unwrap().unwrap();
    let Message::Update(update) = Message::decode(&frame, &terms.wire).unwrap() else { panic!("no UPDATE") };
    update.announced().next()?;
    Some(update.attributes)
}

#[test]
fn across_the_border_goes_what_belongs_there() {
    let attributes =
        Attributes { med: Some(5), local_pref: Some(200), extended: vec!["rt:1:2".parse().unwrap()], ..path(1) };
    let sent = told(Relation::Internal, &attributes, |_, _| ()).unwrap();
    assert_eq!((sent.med, sent.local_pref, sent.originator), (None, None, None));
    assert_eq!((sent.as_path.to_string(), sent.extended.len()), ("64512 65001 9".into(), 1));
    for community in
        [Community::NO_EXPORT, Community::NO_ADVERTISE, Community::NO_EXPORT_SUBCONFED, Community::LLGR_STALE]
    {
        let marked = Attributes { communities: vec![community], ..path(1) };
        assert_eq!(told(Relation::External, &marked, |_, _| ()), None, "{community}");
    }
}

#[test]
fn a_reflector_says_where_a_route_began_and_which_way_it_went() {
    let inside = |to| move |_: &mut Source, terms: &mut GroupTerms| terms.relation = to;
    assert_eq!(told(Relation::Internal, &path(1), inside(Relation::Internal)), None);
    for (from, to) in [
        (Relation::Client, Relation::Internal),
        (Relation::Internal, Relation::Client),
        (Relation::Client, Relation::Client),
    ] {
        let sent = told(from, &path(1), inside(to)).unwrap();
        assert_eq!(sent.originator, Some([10, 0, 0, 1].into()));
        assert_eq!((sent.clusters, sent.local_pref), (vec![[10, 0, 0, 100].into()], Some(100)));
    }
    let sent = told(Relation::External, &path(1), inside(Relation::Internal)).unwrap();
    assert_eq!((sent.originator, sent.clusters.len()), (None, 0));
}

#[test]
fn only_to_customer_is_put_on_and_obeyed() {
    let roles = |ours_in, ours_out| {
        move |source: &mut Source, terms: &mut GroupTerms| {
            source.role = Some(ours_in);
            terms.role = Some(ours_out);
        }
    };
    let sent = |ours_in, ours_out| told(Relation::External, &path(1), roles(ours_in, ours_out));
    // From a provider it goes to customers alone, and says since when.
    assert_eq!(sent(Role::Customer, Role::Provider).unwrap().only_to_customer, Some(65001));
    assert_eq!(sent(Role::Customer, Role::Peer), None);
    assert_eq!(sent(Role::Customer, Role::Customer), None);
    assert_eq!(sent(Role::Peer, Role::Customer), None);
    // From a customer it goes everywhere, and downwards it is marked by us.
    assert_eq!(sent(Role::Provider, Role::Customer).unwrap().only_to_customer, None);
    assert_eq!(sent(Role::Provider, Role::Peer).unwrap().only_to_customer, Some(ASN));
    assert_eq!(sent(Role::Provider, Role::Provider).unwrap().only_to_customer, Some(ASN));
}

#[test]
fn policy_decides_in_both_directions() {
    let deny = |source: &mut Source, _: &mut GroupTerms| source.import = Arc::new(Policy::reject());
    assert_eq!(told(Relation::External, &path(1), deny), None);
    let rule = |actions| Rule { name: "all".into(), conditions: vec![], actions, then: Then::Accept };
    let policy = |actions| Arc::new(Policy::new(vec![rule(actions)], Verdict::Reject).unwrap());
    let change = |source: &mut Source, terms: &mut GroupTerms| {
        source.import =
            policy(vec![crate::policy::Action::SetMed(Some(1)), crate::policy::Action::Prepend(Some(65001), 1)]);
        terms.policy = policy(vec![crate::policy::Action::SetMed(Some(77))]);
    };
    let sent = told(Relation::External, &path(1), change).unwrap();
    assert_eq!((sent.med, sent.as_path.to_string()), (Some(77), "64512 65001 65001 9".into()));
}

#[test]
fn a_route_that_goes_away_soon_is_the_last_choice() {
    let mut rib = rib();
    (1..=2).for_each(|peer| rib.add_source(PeerId(peer), source(peer, Relation::External)));
    let leaving = Attributes { communities: vec![Community::GRACEFUL_SHUTDOWN], ..path(1) };
    let longer = Attributes { as_path: AsPath::sequence(vec![65002, 7, 8, 9]), ..path(2) };
    say(&mut rib, 1, Some(&leaving), &[net(1)]);
    say(&mut rib, 2, Some(&longer), &[net(1)]);
    settle(&mut rib);
    let explained = rib.explain(&Nlri::Prefix(net(1)));
    assert_eq!((explained[0].peer, explained[0].outcome), (PeerId(2), Outcome::Best(Step::LocalPref)));
}

#[test]
fn stale_routes_stay_are_renewed_or_swept_and_for_long_they_are_the_last_choice() {
    let mut rib = rib();
    (1..=2).for_each(|peer| rib.add_source(PeerId(peer), source(peer, Relation::External)));
    let never = Attributes { communities: vec![Community::NO_LLGR], ..path(1) };
    say(&mut rib, 1, Some(&path(1)), &[net(1), net(2)]);
    say(&mut rib, 1, Some(&never), &[net(3)]);
    say(&mut rib, 2, Some(&Attributes { as_path: AsPath::sequence(vec![65002, 1, 2, 3]), ..path(2) }), &[net(1)]);
    settle(&mut rib);
    rib.mark_stale(PeerId(1), Family::IPV4);
    assert_eq!(settle(&mut rib), [], "nothing changes while it is away");
    rib.mark_long_lived(PeerId(1), Family::IPV4);
    settle(&mut rib);
    assert_eq!(rib.explain(&Nlri::Prefix(net(1)))[0].outcome, Outcome::Best(Step::LongLivedStale));
    assert_eq!((rib.explain(&Nlri::Prefix(net(2))).len(), rib.explain(&Nlri::Prefix(net(3))).len()), (1, 0));
    say(&mut rib, 1, Some(&path(1)), &[net(1)]);
    rib.sweep(PeerId(1), Family::IPV4);
    settle(&mut rib);
    assert_eq!(rib.explain(&Nlri::Prefix(net(1)))[0].peer, PeerId(1));
    assert_eq!((rib.destinations(), rib.paths_of(PeerId(1))), (1, 1));
}

#[test]
fn a_next_hop_that_cannot_be_reached_leads_nowhere() {
    let mut rib = rib();
    (1..=2).for_each(|peer| rib.add_source(PeerId(peer), source(peer, Relation::Internal)));
    for peer in 1..=2 {
        say(&mut rib, peer, Some(&path(9)), &[net(1)]);
    }
    rib.join(PeerId(9), terms(Relation::External, PathIds::Absent));
    let best = |changes: Vec<Change>| {
        changes.iter().flat_map(|change| change.paths.iter()).map(|(peer, _)| peer.0).collect::<Vec<_>>()
    };
    assert_eq!(best(settle(&mut rib)), [1, 2], "equal: both");
    rib.set_metric(Ipv4Addr::new(10, 0, 0, 1).into(), Some(10));
    assert_eq!(best(settle(&mut rib)), [2]);
    rib.set_metric(Ipv4Addr::new(10, 0, 0, 2).into(), None);
    assert_eq!(best(settle(&mut rib)), [1]);
    rib.set_metric(Ipv4Addr::new(10, 0, 0, 1).into(), None);
    while rib.take(PeerId(9)).is_some() {}
    let changes = settle(&mut rib);
    assert_eq!((changes.len(), best(changes)), (1, vec![]));
    let withdrawal = rib.take(PeerId(9)).unwrap();
    assert_eq!(withdrawal[19..], [0, 4, 24, 20, 0, 1, 0, 0], "a way that leads nowhere is not offered to others");
    rib.set_metric(Ipv4Addr::new(10, 0, 0, 2).into(), Some(1));
    assert_eq!(best(settle(&mut rib)), [2]);
    assert!(rib.take(PeerId(9)).is_some(), "and is again when it leads somewhere");
    rib.set_metric(Ipv4Addr::new(10, 0, 0, 2).into(), None);
    settle(&mut rib);
    while rib.take(PeerId(9)).is_some() {}
    (1..=2).for_each(|last| rib.set_metric(Ipv4Addr::new(10, 0, 0, last).into(), Some(0)));
    say(&mut rib, 2, None, &[net(1)]);
    assert_eq!(best(settle(&mut rib)), [1]);
    assert!(rib.take(PeerId(9)).is_some(), "when nothing is known to be out of reach, too");
}

#[test]
fn whoever_brings_routes_to_the_kernel_hears_when_one_of_two_ways_that_were_used_together_goes() {
    let mut rib = rib();
    (1..=2).for_each(|peer| rib.add_source(PeerId(peer), source(peer, Relation::External)));
    for peer in 1..=2 {
        say(&mut rib, peer, Some(&path(peer)), &[net(1)]);
    }
    assert_eq!(settle(&mut rib)[0].paths.len(), 2);
    rib.lose(PeerId(2));
    assert_eq!(settle(&mut rib)[0].paths.len(), 1);
}

#[test]
fn who_comes_new_is_not_told_that_what_it_never_had_is_gone() {
    let mut rib = rib();
    rib.add_source(PeerId(1), source(1, Relation::External));
    say(&mut rib, 1, Some(&path(1)), &[net(1), net(2)]);
    settle(&mut rib);
    let policy = Arc::new(Policy::reject());
    rib.join(PeerId(2), GroupTerms { policy, ..terms(Relation::External, PathIds::Absent) });
    settle(&mut rib);
    let mut said = Vec::new();
    while let Some(chunk) = rib.take(PeerId(2)) {
        said.extend_from_slice(&chunk);
    }
    assert_eq!(said, crate::wire::update::end_of_rib(Family::IPV4));
}

#[test]
fn the_end_comes_behind_all_that_is_to_be_told_though_a_peer_asks_for_it_again_and_only_when_it_is_no_longer_withheld()
{
    let mut rib = rib();
    (1..=2).for_each(|peer| rib.add_source(PeerId(peer), source(peer, Relation::External)));
    let terms = terms(Relation::External, PathIds::Absent);
    let told = |rib: &mut Rib| {
        settle(rib);
        let mut said = Vec::new();
        while let Some(chunk) = rib.take(PeerId(2)) {
            said.extend_from_slice(&chunk);
        }
        said
    };
    let end = crate::wire::update::end_of_rib(Family::IPV4);
    let holds = |said: &[u8]| said.windows(end.len()).any(|bytes| bytes == end);
    say(&mut rib, 1, Some(&path(1)), &[net(1)]);
    rib.join(PeerId(2), terms.clone());
    rib.refresh(PeerId(2), Family::IPV4, RefreshMarks::Sent);
    let said = told(&mut rib);
    assert!(said.ends_with(&end) && said.len() > end.len() + 100, "{said:?}");
    rib.leave(PeerId(2));
    rib.join(PeerId(2), terms);
    rib.withhold_end(PeerId(2), Family::IPV4);
    let said = told(&mut rib);
    assert!(!said.is_empty() && !holds(&said));
    // What has come and is not decided yet is told before the end.
    say(&mut rib, 1, Some(&path(1)), &[net(2)]);
    rib.tell_end(PeerId(2), Family::IPV4);
    let said = told(&mut rib);
    assert!(said.ends_with(&end) && said.len() > end.len());
    assert_eq!(told(&mut rib), []);
}
