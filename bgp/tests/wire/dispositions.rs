//! RFC 7606, attribute by attribute: which value is malformed, and what that does to the UPDATE.

use bgp::wire::attribute::{Handling, RULES};
use bgp::wire::terms::{AsSets, AsWidth, Neighbour, Terms};
use bgp::wire::{AsPath, Family, NextHop, Origin};

use crate::bytes::*;

#[test]
fn lengths_of_every_attribute() {
    // Type, flags, the lengths that are right among 0 to 45.
    let multiple = |of: usize| move |length: usize| length > 0 && length.is_multiple_of(of);
    type Right = Box<dyn Fn(usize) -> bool>;
    let table: [(u8, u8, Right); 9] = [
        (4, 0x80, Box::new(|length| length == 4)),
        (6, 0x40, Box::new(|length| length == 0)),
        (7, 0xc0, Box::new(|length| length == 8)),
        (8, 0xc0, Box::new(multiple(4))),
        (16, 0xc0, Box::new(multiple(8))),
        (22, 0xc0, Box::new(|length| length >= 5)),
        (25, 0xc0, Box::new(multiple(20))),
        (32, 0xc0, Box::new(multiple(12))),
        (35, 0xc0, Box::new(|length| length == 4)),
    ];
    for (kind, flags, right) in table {
        let rule = RULES.iter().find(|rule| rule.attribute == kind).unwrap();
        for length in 0..=45 {
            let attribute = attribute(flags, kind, &vec![1; length]);
            let body = with(&[&attribute]);
            match (right(length), rule.malformed) {
                (true, _) => assert_eq!(survived(&body, &terms()).faults, [], "{} of {length}", rule.name),
                (false, Handling::Discard) => discarded(&body, kind),
                (false, _) => treated_as_withdrawn(&body, kind),
            }
            if !right(length) {
                let terms = terms();
                let fault = &survived(&body, &terms).faults[0];
                assert_eq!((fault.subcode, &fault.data), (5, &attribute), "the length, and the attribute as data");
            }
        }
    }
}

#[test]
fn origin_path_and_next_hop() {
    for value in [&[][..], &[3], &[255], &[0, 0]] {
        treated_as_withdrawn(&update(&[&attribute(0x40, 1, value), AS_PATH, NEXT_HOP], ROUTE), 1);
    }
    for path in [&[2, 0][..], &[2], &[2, 2, 0, 0, 0xfb, 0xf4], &[2, 1, 0, 0, 0xfb, 0xf4, 7, 1, 0, 0, 0, 1]] {
        treated_as_withdrawn(&update(&[ORIGIN, &attribute(0x40, 2, path), NEXT_HOP], ROUTE), 2);
    }
    for hop in [&[][..], &[192, 0, 2], &[192, 0, 2, 1, 1], &[0; 4], &[127, 0, 0, 1], &[224, 0, 0, 1], &[255; 4]] {
        treated_as_withdrawn(&update(&[ORIGIN, AS_PATH, &attribute(0x40, 3, hop)], ROUTE), 3);
    }
}

#[test]
fn a_mandatory_attribute_that_is_missing() {
    treated_as_withdrawn(&update(&[AS_PATH, NEXT_HOP], ROUTE), 1);
    treated_as_withdrawn(&update(&[ORIGIN, NEXT_HOP], ROUTE), 2);
    treated_as_withdrawn(&update(&[ORIGIN, AS_PATH], ROUTE), 3);
    let terms = terms();
    let reach = mp_reach(Family::IPV6, &NEXT_HOP_V6, &[32, 0x20, 1, 0xd, 0xb8]);
    let body = update(&[ORIGIN, AS_PATH, &reach], &[]);
    assert_eq!(announced(&survived(&body, &terms)), ["2001:db8::/32"], "NEXT_HOP is needed by the old field alone");
}

#[test]
fn flags_that_contradict_the_type() {
    for rule in RULES.iter().filter(|rule| ![1, 2, 3, 14, 15].contains(&rule.attribute)) {
        for flags in [0, 0x40, 0x80, 0xc0].into_iter().filter(|flags| *flags != rule.flags) {
            treated_as_withdrawn(&with(&[&attribute(flags, rule.attribute, &[0, 0, 0, 1])]), rule.attribute);
        }
    }
    let mut reach = mp_reach(Family::IPV6, &NEXT_HOP_V6, &[32, 0x20, 1, 0xd, 0xb8]);
    reach[0] = 0x40;
    treated_as_withdrawn(&update(&[ORIGIN, AS_PATH, &reach], &[]), 14);
}

#[test]
fn across_the_border_what_belongs_inside_is_ignored_and_inside_it_counts() {
    let inside = Terms { neighbour: Neighbour::Internal, ..terms() };
    let outside = terms();
    for (kind, flags) in [(5, 0x40), (9, 0x80), (10, 0x80)] {
        for length in 0..=9 {
            let body = with(&[&attribute(flags, kind, &vec![1; length])]);
            assert_eq!(announced(&survived(&body, &outside)).len(), 1);
            let right = length == 4 || (kind == 10 && length == 8);
            assert_eq!(announced(&survived(&body, &inside)).len(), usize::from(right), "{kind} of {length}");
        }
    }
    let body = with(&[&attribute(0x40, 5, &[0, 0, 0, 7]), &attribute(0x80, 9, &[1, 2, 3, 4])]);
    let attributes = survived(&body, &outside).attributes;
    assert_eq!((attributes.local_pref, attributes.originator), (None, None));
    let attributes = survived(&body, &inside).attributes;
    assert_eq!((attributes.local_pref, attributes.originator), (Some(7), Some([1, 2, 3, 4].into())));
}

#[test]
fn as_0_is_nobody() {
    let path = attribute(0x40, 2, &[2, 2, 0, 0, 0xfb, 0xf4, 0, 0, 0, 0]);
    treated_as_withdrawn(&update(&[ORIGIN, &path, NEXT_HOP], ROUTE), 2);
    discarded(&with(&[&attribute(0xc0, 7, &[0, 0, 0, 0, 1, 2, 3, 4])]), 7);
}

#[test]
fn a_set_in_a_path_is_refused_unless_it_is_allowed() {
    let path = attribute(0x40, 2, &[2, 1, 0, 0, 0xfb, 0xf4, 1, 1, 0, 0, 0, 9]);
    let body = update(&[ORIGIN, &path, NEXT_HOP], ROUTE);
    treated_as_withdrawn(&body, 2);
    let lenient = Terms { as_sets: AsSets::Accepted, ..terms() };
    assert_eq!(survived(&body, &lenient).attributes.as_path.to_string(), "64500 {9}");
}

#[test]
fn the_neighbour_stands_first_in_the_path() {
    let path = attribute(0x40, 2, &[2, 1, 0, 0, 0, 9]);
    let body = update(&[ORIGIN, &path, NEXT_HOP], ROUTE);
    treated_as_withdrawn(&body, 2);
    for neighbour in [Neighbour::External(None), Neighbour::Internal] {
        assert_eq!(announced(&survived(&body, &Terms { neighbour, ..terms() })).len(), 1);
    }
}

#[test]
fn an_attribute_twice_counts_once_and_a_list_of_routes_twice_ends_the_session() {
    let terms = terms();
    let body = with(&[&attribute(0x80, 4, &[0, 0, 0, 1]), &attribute(0x80, 4, &[0, 0, 0, 2])]);
    let update_ = survived(&body, &terms);
    assert_eq!((update_.attributes.med, announced(&update_).len(), update_.faults.len()), (Some(1), 1, 1));
    let unreach = mp_unreach(Family::IPV6, &[]);
    assert_eq!(reset(&with(&[&unreach, &unreach]), &terms), (3, 1, vec![]));
    let reach = mp_reach(Family::IPV6, &NEXT_HOP_V6, &[]);
    assert_eq!(reset(&with(&[&reach, &reach]), &terms), (3, 1, vec![]));
}

#[test]
fn well_known_and_unknown_ends_the_session_with_the_attribute_as_data() {
    for flags in [0x40, 0] {
        let unknown = attribute(flags, 77, &[1, 2, 3]);
        assert_eq!(reset(&with(&[&unknown]), &terms()), (3, 2, unknown));
    }
}

#[test]
fn optional_and_unknown_is_handed_on_when_it_is_transitive() {
    let terms = terms();
    let body = with(&[&attribute(0xc0, 77, &[1]), &attribute(0x80, 78, &[2])]);
    let update = survived(&body, &terms);
    assert_eq!(update.attributes.opaque.iter().map(|it| it.attribute).collect::<Vec<_>>(), [77]);
    assert_eq!(update.faults, []);
}

#[test]
fn next_hops_of_mp_reach() {
    let terms_ = terms();
    let routes = [32, 0x20, 1, 0xd, 0xb8];
    for length in (0..=48).filter(|length| ![16, 32].contains(length)) {
        let reach = mp_reach(Family::IPV6, &vec![0x20; length], &routes);
        assert_eq!(reset(&update(&[ORIGIN, AS_PATH, &reach], &[]), &terms_), (3, 9, reach));
    }
    for hop in [[0; 16], [0xff; 16]] {
        treated_as_withdrawn(&update(&[ORIGIN, AS_PATH, &mp_reach(Family::IPV6, &hop, &routes)], &[]), 14);
    }
    let local = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    for (hop, expected) in [
        ([NEXT_HOP_V6, local], NextHop::V6(NEXT_HOP_V6.into(), Some(local.into()))),
        ([[0; 16], local], NextHop::V6(local.into(), None)),
        ([local, local], NextHop::V6(local.into(), None)),
    ] {
        let body = update(&[ORIGIN, AS_PATH, &mp_reach(Family::IPV6, &hop.concat(), &routes)], &[]);
        assert_eq!(survived(&body, &terms_).announced().next().unwrap().0, expected);
    }
}

#[test]
fn withdrawn_first_and_announced_last() {
    let terms = terms();
    let body = body(ROUTE, &MANDATORY.concat(), ROUTE);
    let update = survived(&body, &terms);
    assert_eq!(
        (withdrawn(&update), announced(&update)),
        (vec!["198.51.100.0/24".into()], vec!["198.51.100.0/24".into()])
    );
    assert_eq!(update.attributes.origin, Origin::Igp);
}

#[test]
fn end_of_rib_in_each_family() {
    for family in Family::ALL {
        let message = bgp::wire::update::end_of_rib(family);
        let terms = terms();
        assert_eq!(survived(&message[19..], &terms).end_of_rib, Some(family));
    }
}

#[test]
fn a_family_that_was_not_agreed_upon_is_not_heard() {
    let terms = Terms { families: vec![], ..terms() };
    let reach = mp_reach(Family::IPV6, &NEXT_HOP_V6, &[32, 0x20, 1, 0xd, 0xb8]);
    let body = with(&[&reach]);
    let update = survived(&body, &terms);
    assert!(announced(&update).is_empty() && withdrawn(&update).is_empty());
}

#[test]
fn old_speakers_and_aggregators() {
    let terms = Terms { width: AsWidth::Two, ..terms() };
    let path = attribute(0x40, 2, &[2, 2, 0xfb, 0xf4, 0x5b, 0xa0]);
    let path4 = attribute(0xc0, 17, &[2, 1, 0, 1, 0, 0]);
    let aggregator4 = attribute(0xc0, 18, &[0, 1, 0, 0, 9, 9, 9, 9]);
    let decode = |aggregator: [u8; 2]| {
        let aggregator = attribute(0xc0, 7, &[&aggregator[..], &[8, 8, 8, 8]].concat());
        let body = update(&[ORIGIN, &path, NEXT_HOP, &aggregator, &path4, &aggregator4], ROUTE);
        survived(&body, &terms).attributes
    };
    let through_trans = decode([0x5b, 0xa0]);
    assert_eq!(through_trans.as_path, AsPath::sequence(vec![64500, 65536]));
    assert_eq!(through_trans.aggregator.unwrap().asn, 65536);
    let aggregated_since = decode([0, 9]);
    assert_eq!(aggregated_since.as_path, AsPath::sequence(vec![64500, 23456]));
    assert_eq!(aggregated_since.aggregator.unwrap().asn, 9);
}
