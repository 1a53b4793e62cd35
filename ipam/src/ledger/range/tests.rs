//! Which ranges are accepted, and the order of giving.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;

use super::*;

fn text(subnet: &str) -> RangeText {
    RangeText { subnet: subnet.parse().unwrap(), start: None, end: None, gateway: None }
}

fn range(subnet: &str, start: &str, end: &str) -> Range {
    Range::new(RangeText { start: Some(start.parse().unwrap()), end: Some(end.parse().unwrap()), ..text(subnet) })
        .unwrap()
}

fn order(set: &RangeSet, last: Option<&str>) -> Vec<String> {
    set.candidates(last.map(|last| last.parse().unwrap())).map(|(address, _)| address.to_string()).collect()
}

#[test]
fn what_is_left_out_is_filled_in_as_host_local_does() {
    for (subnet, shown, gateway) in [
        ("10.1.0.0/24", "10.1.0.1-10.1.0.254", "10.1.0.1"),
        ("10.1.0.4/30", "10.1.0.5-10.1.0.6", "10.1.0.5"),
        ("0.0.0.0/0", "0.0.0.1-255.255.255.254", "0.0.0.1"),
        ("fd00::/64", "fd00::1-fd00::ffff:ffff:ffff:ffff", "fd00::1"),
        ("::/0", "::1-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::1"),
    ] {
        let range = Range::new(text(subnet)).unwrap();
        assert_eq!((range.to_string().as_str(), range.gateway().to_string().as_str()), (shown, gateway), "{subnet}");
    }
}

#[test]
fn the_network_and_the_broadcast_address_are_never_given_even_when_written() {
    assert_eq!(range("10.1.0.0/24", "10.1.0.0", "10.1.0.255").to_string(), "10.1.0.1-10.1.0.254");
    assert_eq!(range("fd00::/120", "fd00::", "fd00::ff").to_string(), "fd00::1-fd00::ff");
}

#[test]
fn a_refusal_names_what_is_wrong_and_what_would_be_right() {
    let address = |text: &str| Some(text.parse().unwrap());
    for (text, message) in [
        (text("10.1.0.5/24"), "subnet 10.1.0.5/24 has host bits set: write 10.1.0.0/24"),
        (text("10.1.0.0/31"), "subnet 10.1.0.0/31 has no room for a gateway and a pod: use a shorter prefix"),
        (text("fd00::/128"), "subnet fd00::/128 has no room for a gateway and a pod: use a shorter prefix"),
        (
            RangeText { gateway: address("10.2.0.1"), ..text("10.1.0.0/24") },
            "gateway 10.2.0.1 is not in the subnet 10.1.0.0/24",
        ),
        (
            RangeText { start: address("fd00::1"), ..text("10.1.0.0/24") },
            "rangeStart fd00::1 is not in the subnet 10.1.0.0/24",
        ),
        (
            RangeText { start: address("10.1.0.9"), end: address("10.1.0.8"), ..text("10.1.0.0/24") },
            "rangeEnd 10.1.0.8 is before rangeStart 10.1.0.9",
        ),
    ] {
        assert_eq!(Range::new(text).unwrap_err().to_string(), message);
    }
}

#[test]
fn ranges_that_do_not_go_together_are_refused() {
    let (a, b) = (range("10.1.0.0/24", "10.1.0.10", "10.1.0.20"), range("10.1.0.0/24", "10.1.0.20", "10.1.0.30"));
    let six = Range::new(text("fd00::/64")).unwrap();
    assert_eq!(RangeSet::new(vec![]).unwrap_err(), RangeError::Empty);
    assert_eq!(RangeSet::new(vec![a, b]).unwrap_err(), RangeError::Overlap { first: a.into(), second: b.into() });
    assert_eq!(
        RangeSet::new(vec![a, six]).unwrap_err(),
        RangeError::MixedFamilies { first: a.into(), second: six.into() }
    );
    let sets = [a, six, b].map(|range| RangeSet::new(vec![range]).unwrap());
    assert_eq!(RangeSet::check_disjoint(&sets).unwrap_err(), RangeError::Overlap { first: a.into(), second: b.into() });
    assert_eq!(RangeSet::check_disjoint(&sets[..2]), Ok(()));
}

#[test]
fn addresses_are_tried_round_robin_from_behind_the_last_one_given() {
    let set =
        RangeSet::new(vec![range("10.1.0.0/29", "10.1.0.1", "10.1.0.3"), range("10.2.0.0/29", "10.2.0.4", "10.2.0.5")])
            .unwrap();
    let all = ["10.1.0.2", "10.1.0.3", "10.2.0.4", "10.2.0.5"];
    assert_eq!(order(&set, None), all);
    assert_eq!(order(&set, Some("10.1.0.2")), ["10.1.0.3", "10.2.0.4", "10.2.0.5", "10.1.0.2"]);
    assert_eq!(order(&set, Some("10.2.0.5")), all);
    assert_eq!(order(&set, Some("10.2.0.4")), ["10.2.0.5", "10.1.0.2", "10.1.0.3", "10.2.0.4"]);
    assert_eq!(order(&set, Some("192.0.2.1")), all, "a note about another subnet is not followed");
    assert_eq!(order(&set, Some("fd00::1")), all);
    assert_eq!(set.len(), 4);
}

#[test]
fn a_range_up_to_the_last_address_there_is_ends() {
    let set = RangeSet::new(vec![range(
        "ffff::/16",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    )])
    .unwrap();
    let last = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    assert_eq!(order(&set, Some(last)), ["ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe", last]);
}

proptest! {
    #[test]
    fn every_address_is_tried_exactly_once_wherever_one_begins(
        prefix in 24_u8..=30,
        network in 0_u32..4,
        last in any::<Option<u8>>(),
    ) {
        let subnet = IpNet::new(IpAddr::V4(Ipv4Addr::from_bits(0x0a01_0000 + (network << 8))), prefix).unwrap();
        let range = Range::new(RangeText { subnet, start: None, end: None, gateway: None }).unwrap();
        let set = RangeSet::new(vec![range]).unwrap();
        let last = last.map(|low| IpAddr::V4(Ipv4Addr::from_bits(0x0a01_0000 + (network << 8) + u32::from(low))));
        let tried: Vec<IpAddr> = set.candidates(last).map(|(address, _)| address).collect();
        let distinct: std::collections::BTreeSet<IpAddr> = tried.iter().copied().collect();
        prop_assert_eq!(tried.len(), distinct.len());
        prop_assert_eq!(tried.len() as u128, set.len());
        prop_assert!(!distinct.contains(&range.gateway()));
        if let Some(last) = last.filter(|last| distinct.contains(last)) {
            prop_assert_eq!(tried.last(), Some(&last), "the one given last comes last");
        }
    }
}
