//! Packets that brought other speakers down, each by the name under which that became known: nothing panics, the disposition is the
//! exact one, and the other routes of the session stay.

use bgp::wire::as_path::AsPath;
use bgp::wire::evpn::Route;
use bgp::wire::terms::{AsWidth, Neighbour, Terms};
use bgp::wire::{Family, MessageLimit, NextHop, Refresh, Segment, Update};

use crate::bytes::*;

#[test]
fn cve_2023_38406_flowspec_of_length_0_is_of_no_family_of_ours() {
    let flowspec = Family { afi: 1, safi: 133 };
    let body = update(&[ORIGIN, AS_PATH, NEXT_HOP, &mp_reach(flowspec, &[], &[0])], ROUTE);
    discarded(&body, 14);
}

#[test]
fn cve_2023_38407_labelled_unicast_overrun_is_of_no_family_of_ours() {
    let labelled = Family { afi: 1, safi: 4 };
    discarded(&update(&[&MANDATORY.concat(), &mp_reach(labelled, &[192, 0, 2, 1], &[255, 0])], ROUTE), 14);
}

#[test]
fn cve_2023_38802_corrupted_tunnel_encapsulation_withdraws_and_keeps_the_session() {
    treated_as_withdrawn(&with(&[&attribute(0xc0, 23, &[0, 8, 0, 200, 1, 1])]), 23);
}

#[test]
fn cve_2023_38283_tunnel_encapsulation_without_content_is_no_other() {
    treated_as_withdrawn(&with(&[&attribute(0xc0, 23, &[])]), 23);
}

#[test]
fn cve_2024_44070_tunnel_tlv_longer_than_the_message() {
    treated_as_withdrawn(&with(&[&attribute(0xc0, 23, &[0, 8, 0xff, 0xff])]), 23);
}

#[test]
fn cve_2023_31490_and_2024_31948_malformed_prefix_sid_is_discarded() {
    let terms = Terms { neighbour: Neighbour::Internal, ..terms() };
    for value in [&[1, 0, 7, 0, 0][..], &[1], &[4, 0], &[]] {
        let body = with(&[&attribute(0xc0, 40, value)]);
        let update = survived(&body, &terms);
        assert_eq!(announced(&update), ["198.51.100.0/24"]);
        assert_eq!(update.faults[0].attribute, 40);
        assert!(update.attributes.opaque.is_empty());
    }
}

#[test]
fn cve_2023_41358_attributes_without_any_route_announce_nothing() {
    let terms = terms();
    let body = update(&MANDATORY, &[]);
    let update = survived(&body, &terms);
    assert!(announced(&update).is_empty() && update.end_of_rib.is_none());
}

#[test]
fn cve_2023_41360_a_refresh_with_a_filter_nobody_agreed_upon_is_a_refresh() {
    let refresh = Refresh::decode(&[0, 1, 0, 1, 0x80, 0x40, 0, 1, 0xff]).unwrap();
    assert_eq!(refresh.family, Family::IPV4);
}

#[test]
fn cve_2023_41909_flowspec_without_attributes() {
    let terms = terms();
    let body = update(&[&mp_reach(Family { afi: 2, safi: 133 }, &[], &[3, 1, 24, 10])], &[]);
    let update = survived(&body, &terms);
    assert!(announced(&update).is_empty() && withdrawn(&update).is_empty());
}

#[test]
fn cve_2023_46752_malformed_mp_reach_ends_the_session_as_rfc_7606_wants() {
    // Section 7.11: the routes cannot be found. The data is the attribute.
    let attribute = attribute(0x80, 14, &[0, 2, 1, 200, 1, 2]);
    let body = update(&[ORIGIN, AS_PATH, &attribute], &[]);
    assert_eq!(reset(&body, &terms()), (3, 9, attribute));
}

#[test]
fn cve_2023_46753_only_an_unknown_transitive_attribute() {
    let terms = terms();
    let unknown = attribute(0xc0, 99, &[1, 2, 3]);
    let body = update(&[&unknown], &[]);
    let update_ = survived(&body, &terms);
    assert!(announced(&update_).is_empty() && update_.end_of_rib.is_none());
    treated_as_withdrawn(&update(&[&unknown], ROUTE), 1);
}

#[test]
fn cve_2023_47234_mp_unreach_beside_broken_attributes_with_routes() {
    let unreach = mp_unreach(Family::IPV6, &[32, 0x20, 1, 0xd, 0xb8]);
    let terms = terms();
    let body = update(&[ORIGIN, &[0x40, 2, 3, 2, 9, 0], NEXT_HOP, &unreach], ROUTE);
    let update = survived(&body, &terms);
    assert_eq!(withdrawn(&update), ["2001:db8::/32", "198.51.100.0/24"]);
}

#[test]
fn cve_2023_47235_a_malformed_update_is_no_end_of_rib() {
    let terms = terms();
    // One attribute that runs past the end, no routes: RFC 7606 section 5.2.
    let body = update(&[&[0x40, 1, 9, 0]], &[]);
    assert_eq!(reset(&body, &terms), (3, 5, vec![0x40, 1, 9, 0]));
    // An empty MP_UNREACH_NLRI with wrong flags says nothing.
    let mut unreach = mp_unreach(Family::IPV6, &[]);
    unreach[0] = 0xc0;
    let body = update(&[&unreach], &[]);
    assert_eq!(survived(&body, &terms).end_of_rib, None);
    // And beside anything else it is none.
    let body = update(&[&mp_unreach(Family::IPV6, &[]), ORIGIN], &[]);
    assert_eq!(survived(&body, &terms).end_of_rib, None);
}

#[test]
fn frr_21396_well_formed_evpn_type_5() {
    let terms = terms();
    let body = update(&[ORIGIN, AS_PATH, &mp_reach(Family::EVPN, &[192, 0, 2, 1], &evpn_prefix(24))], &[]);
    assert_eq!(announced(&survived(&body, &terms)), ["prefix 1:1 10.0.0.0/24 vni 100"]);
}

#[test]
fn frr_22353_evpn_type_5_of_ipv4_with_a_length_beyond_32_is_passed_over() {
    let terms = terms();
    for length in 33..=255 {
        let routes = [evpn_prefix(length), evpn_prefix(24)].concat();
        let body = update(&[ORIGIN, AS_PATH, &mp_reach(Family::EVPN, &[192, 0, 2, 1], &routes)], &[]);
        assert_eq!(announced(&survived(&body, &terms)).len(), 1, "/{length}");
    }
}

#[test]
fn frr_20793_evpn_lengths_that_no_route_has_are_passed_over() {
    let terms = terms();
    for (kind, length) in (0..=255).flat_map(|kind| (0..=100_u8).map(move |length| (kind, length))) {
        let route = [&[kind, length][..], &vec![0xff; length.into()]].concat();
        let routes = [route, evpn_prefix(24)].concat();
        let body = update(&[ORIGIN, AS_PATH, &mp_reach(Family::EVPN, &[192, 0, 2, 1], &routes)], &[]);
        assert_eq!(announced(&survived(&body, &terms)).last().unwrap(), "prefix 1:1 10.0.0.0/24 vni 100");
    }
}

fn evpn_prefix(length: u8) -> Vec<u8> {
    let value = [&[0, 0, 0, 1, 0, 0, 0, 1][..], &[0; 10], &[0; 4], &[length, 10, 0, 0, 0], &[0; 4], &[0, 0, 100]];
    [&[5, 34][..], &value.concat()].concat()
}

#[test]
fn cve_2018_5379_unknown_attributes_and_a_cluster_list_twice() {
    let terms = Terms { neighbour: Neighbour::Internal, ..terms() };
    let (unknown, clusters) = (attribute(0xc0, 200, &[7; 40]), attribute(0x80, 10, &[1, 1, 1, 1]));
    let body = with(&[&unknown, &clusters, &unknown, &clusters]);
    let update = survived(&body, &terms);
    assert_eq!(announced(&update), ["198.51.100.0/24"]);
    assert_eq!((update.attributes.opaque.len(), update.attributes.clusters.len(), update.faults.len()), (1, 1, 2));
}

#[test]
fn cve_2017_16227_a_long_path_is_encoded_to_its_own_length() {
    let path = AsPath::sequence((0..2000).map(|n| 100_000 + n).collect());
    let mut bytes = Vec::new();
    path.encode(AsWidth::Four, &mut bytes);
    assert_eq!(bytes.len(), 2000 * 4 + 2000_usize.div_ceil(255) * 2);
    let decoded = AsPath::decode(&bytes, AsWidth::Four).unwrap();
    assert_eq!((decoded.length(), decoded.numbers().collect::<Vec<_>>()), (2000, path.numbers().collect()));
}

#[test]
fn cve_2019_5892_attribute_255_is_handed_on_as_it_came() {
    let terms = terms();
    let body = with(&[&attribute(0xc0, 255, &[0, 0, 0, 9, 9])]);
    let update = survived(&body, &terms);
    let mut sent = Vec::new();
    update.attributes.encode(AsWidth::Four, &mut sent);
    assert!(sent.ends_with(&[0xe0, 255, 5, 0, 0, 0, 9, 9]), "with the Partial bit: {sent:x?}");
}

#[test]
fn october_2025_only_to_customer_keeps_its_length() {
    let terms = terms();
    let body = with(&[&attribute(0xe0, 35, &[0, 0, 0xfb, 0xf4])]);
    let update = survived(&body, &terms);
    let mut sent = Vec::new();
    update.attributes.encode(AsWidth::Four, &mut sent);
    assert!(sent.ends_with(&[0xe0, 35, 4, 0, 0, 0xfb, 0xf4]), "{sent:x?}");
    for value in [&[][..], &[0, 0, 1], &[0; 5], &[0; 8]] {
        treated_as_withdrawn(&with(&[&attribute(0xc0, 35, value)]), 35);
    }
}

#[test]
fn cve_2026_49943_a_path_beyond_2048_systems_in_an_extended_message() {
    let terms = Terms { limit: MessageLimit::Extended, ..terms() };
    let segment = [&[2, 255][..], &[0, 0, 0xfb, 0xf4].repeat(255)].concat();
    let path = attribute(0x40, 2, &segment.repeat(60));
    let body = update(&[ORIGIN, &path, NEXT_HOP], ROUTE);
    assert_eq!(survived(&body, &terms).attributes.as_path.length(), 60 * 255);
}

#[test]
fn cve_2026_41643_as4_path_merges_without_a_shift() {
    let terms = Terms { width: AsWidth::Two, ..terms() };
    let short = attribute(0x40, 2, &[2, 4, 0xfb, 0xf4, 0x5b, 0xa0, 0x5b, 0xa0, 0, 9]);
    let long = attribute(0xc0, 17, &[2, 3, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 9]);
    let body = update(&[ORIGIN, &short, NEXT_HOP, &long], ROUTE);
    let update_ = survived(&body, &terms);
    assert_eq!(update_.attributes.as_path, AsPath::sequence(vec![64500, 65536, 65537, 9]));
    // Longer than the path that it is to complete: not believed.
    let longer = attribute(0xc0, 17, &[&[2, 6][..], &[0, 1, 0, 0].repeat(6)].concat());
    let body = update(&[ORIGIN, &short, NEXT_HOP, &longer], ROUTE);
    assert_eq!(survived(&body, &terms).attributes.as_path, AsPath::sequence(vec![64500, 23456, 23456, 9]));
    // A set counts as one.
    let set = attribute(0x40, 2, &[2, 1, 0xfb, 0xf4, 1, 2, 0, 7, 0, 8]);
    let one = attribute(0xc0, 17, &[2, 1, 0, 1, 0, 0]);
    let body = update(&[ORIGIN, &set, NEXT_HOP, &one], ROUTE);
    assert_eq!(survived(&body, &terms).attributes.as_path, AsPath::sequence(vec![64500, 65536]));
}

#[test]
fn cve_2026_42285_inconsistent_attribute_lengths() {
    treated_as_withdrawn(&with(&[&[0xc0, 8, 4, 1, 2]]), 8);
    treated_as_withdrawn(&with(&[&[0xd0, 8, 0]]), 8);
    treated_as_withdrawn(&with(&[&[0xc0]]), 0);
}

#[test]
fn cve_2026_37461_short_ipv6_extended_communities() {
    for length in (0..=60).filter(|length| length % 20 != 0 || *length == 0) {
        treated_as_withdrawn(&with(&[&attribute(0xc0, 25, &vec![0; length])]), 25);
    }
}

#[test]
fn ghsa_frrj_an_empty_path_and_segments_of_confederations() {
    treated_as_withdrawn(&update(&[ORIGIN, &[0x40, 2, 0], NEXT_HOP], ROUTE), 2);
    for kind in [0, 3, 4, 5, 255] {
        treated_as_withdrawn(&update(&[ORIGIN, &[0x40, 2, 6, kind, 1, 0, 0, 0xfb, 0xf4], NEXT_HOP], ROUTE), 2);
    }
}

#[test]
fn zettabgp_loop_a_path_with_one_byte_too_many_ends() {
    let body = [
        0, 0, 0, 0x28, 0x40, 1, 1, 0, 0x40, 2, 0xf, 2, 3, 0, 0, 0xfd, 0xe8, 0, 0, 0xfd, 0xe9, 0, 0, 0xfd, 0xea, 0x80,
        0xe, 1, 0, 0, 0x10, 0x14, 4, 0, 0xc, 2, 1, 0, 0x30, 0, 0x10, 0x10, 0xa, 0, 1,
    ];
    assert_eq!(reset(&body, &terms()).0, 3);
    for extra in 1..4 {
        let path = [&[2, 1, 0, 0, 0xfb, 0xf4][..], &vec![2; extra]].concat();
        treated_as_withdrawn(&update(&[ORIGIN, &attribute(0x40, 2, &path), NEXT_HOP], ROUTE), 2);
    }
}

#[test]
fn rustybgp_lengths_whose_sum_wraps() {
    for attributes in [0xffe9_u16, 0xfff0, 0xffff] {
        let body = [&[0, 0][..], &attributes.to_be_bytes(), &[0; 4000]].concat();
        assert_eq!(reset(&body, &terms()), (3, 1, vec![]));
        let body = [&attributes.to_be_bytes()[..], &[0; 4000]].concat();
        assert_eq!(reset(&body, &terms()), (3, 1, vec![]));
    }
}

#[test]
fn routecore_prefixes_shorter_than_their_bits() {
    for routes in [&[24, 10, 0][..], &[32], &[33, 10, 0, 0, 0, 0], &[255, 1, 2, 3]] {
        assert_eq!(reset(&update(&MANDATORY, routes), &terms()), (3, 10, vec![]));
    }
    for routes in [&[0, 0, 0][..], &[0, 0, 0, 1], &[0, 0, 0, 1, 24, 10]] {
        assert_eq!(reset(&update(&MANDATORY, routes), &with_path_ids()), (3, 10, vec![]));
        let unreach = mp_unreach(Family::IPV6, routes);
        assert_eq!(reset(&update(&[&unreach], &[]), &with_path_ids()), (3, 9, unreach));
    }
}

#[test]
fn zettabgp_0_0_0_0_twice_is_no_path_identifier() {
    let terms = terms();
    let body = update(&MANDATORY, &[0, 0, 0, 0, 0]);
    assert_eq!(announced(&survived(&body, &terms)), ["0.0.0.0/0"; 5]);
}

#[test]
fn zettabgp_an_ipv6_next_hop_of_an_ipv4_route_is_no_ipv4_address() {
    let reach = mp_reach(Family::IPV4, &NEXT_HOP_V6, ROUTE);
    let body = update(&[ORIGIN, AS_PATH, &reach], &[]);
    let terms_ = with_extended_next_hops();
    let update = survived(&body, &terms_);
    let (hop, _) = update.announced().next().unwrap();
    assert_eq!(*hop, NextHop::V6(NEXT_HOP_V6.into(), None));
    assert_eq!(reset(&body, &terms()), (3, 9, reach), "not agreed upon");
}

#[test]
fn a_path_of_our_own_is_decoded_to_itself() {
    // What zettabgp encodes as AS_SEQUENCE it decodes as AS_SET.
    let path =
        AsPath { segments: vec![Segment::Sequence(vec![1, 65536]), Segment::Set(vec![2]), Segment::Sequence(vec![3])] };
    let mut bytes = Vec::new();
    path.encode(AsWidth::Four, &mut bytes);
    assert_eq!(bytes[0], 2);
    assert_eq!(AsPath::decode(&bytes, AsWidth::Four), Ok(path));
}

#[test]
fn gobgp_a_withdrawal_of_every_kind_beside_a_nil_attribute() {
    let terms = terms();
    let body = body(ROUTE, &[], &[]);
    let update = Update::decode(&body, &terms).unwrap();
    assert_eq!(withdrawn(&update), ["198.51.100.0/24"]);
    assert!(Route::decode(&[]).is_none() && Route::decode(&[5]).is_none());
}

#[test]
fn cve_2025_43971_to_43973_a_flowspec_of_few_bytes_is_of_no_family_of_ours() {
    for length in 0..20 {
        let flowspec = mp_reach(Family { afi: 1, safi: 133 }, &[], &vec![0xff; length]);
        discarded(&update(&[ORIGIN, AS_PATH, NEXT_HOP, &flowspec], ROUTE), 14);
    }
}
