//! Which subnet is chosen, and that it is always a free one of the pool.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;

use super::*;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn pool(network: &str, length: u8, first: &str, last: &str) -> Pool {
    Pool { network: net(network), length, first: net(first), last: net(last) }
}

fn flannel() -> Pool {
    pool("10.244.0.0/16", 24, "10.244.1.0/24", "10.244.255.0/24")
}

fn six() -> Pool {
    pool("fd00:1::/48", 64, "fd00:1:0:1::/64", "fd00:1:0:ffff::/64")
}

fn dual() -> Stack<Pool> {
    Stack::Dual { v4: flannel(), v6: six() }
}

#[test]
fn a_subnet_and_its_place_belong_together() {
    assert_eq!(flannel().index_of(&net("10.244.3.0/24")), Some(3));
    assert_eq!(flannel().nth(3), Some(net("10.244.3.0/24")));
    assert_eq!(flannel().nth(255), Some(net("10.244.255.0/24")));
    assert_eq!(six().nth(3), Some(net("fd00:1:0:3::/64")));
    assert_eq!(six().index_of(&net("fd00:1:0:ffff::/64")), Some(0xffff));
}

#[test]
fn places_outside_the_pool_are_refused() {
    assert_eq!(flannel().nth(0), None, "before the first");
    assert_eq!(flannel().nth(256), None, "behind the last");
    assert_eq!(flannel().nth(u128::MAX), None);
    for other in
        ["10.244.0.0/24", "10.245.1.0/24", "10.244.2.0/25", "10.244.0.0/23", "10.244.3.7/24", "fd00:1:0:1::/64"]
    {
        assert!(!flannel().compatible(&net(other)), "{other}");
    }
}

#[test]
fn the_previous_subnet_is_taken_again_when_free() {
    let previous = Stack::V4(net("10.244.77.0/24"));
    let choice = choose(&Stack::V4(flannel()), &Taken::default(), Some(&previous), 5);
    assert_eq!(choice, Some(previous));
}

#[test]
fn a_previous_subnet_that_is_taken_or_of_another_pool_is_let_go() {
    let taken: Taken = [net("10.244.77.0/25")].iter().collect();
    let choice = choose(&Stack::V4(flannel()), &taken, Some(&Stack::V4(net("10.244.77.0/24"))), 0);
    assert_eq!(choice, Some(Stack::V4(net("10.244.1.0/24"))));
    let choice = choose(&Stack::V4(flannel()), &taken, Some(&Stack::V4(net("172.16.7.0/24"))), 0);
    assert_eq!(choice, Some(Stack::V4(net("10.244.1.0/24"))));
}

#[test]
fn the_dice_choose_among_the_first_hundred_free() {
    let taken: Taken = [net("10.244.1.0/24"), net("10.244.4.0/22")].iter().collect();
    let chosen: std::collections::BTreeSet<Stack<IpNet>> =
        (0..1000).map(|dice| choose(&Stack::V4(flannel()), &taken, None, dice).unwrap()).collect();
    assert_eq!(chosen.len(), 100);
    assert!(chosen.contains(&Stack::V4(net("10.244.2.0/24"))) && chosen.contains(&Stack::V4(net("10.244.105.0/24"))));
    assert!(!chosen.contains(&Stack::V4(net("10.244.5.0/24"))) && !chosen.contains(&Stack::V4(net("10.244.106.0/24"))));
}

#[test]
fn both_families_take_the_same_place_when_they_can() {
    let choice = choose(&dual(), &Taken::default(), None, 41).unwrap();
    assert_eq!(choice, Stack::Dual { v4: net("10.244.42.0/24"), v6: net("fd00:1:0:2a::/64") });
    let taken: Taken = [net("fd00:1:0:2a::/64"), net("fd00:1:0:1::/64")].iter().collect();
    let choice = choose(&dual(), &taken, None, 41).unwrap();
    assert_eq!(choice, Stack::Dual { v4: net("10.244.42.0/24"), v6: net("fd00:1:0:2::/64") });
}

#[test]
fn a_node_that_gains_a_family_keeps_the_one_it_had() {
    let choice = choose(&dual(), &Taken::default(), Some(&Stack::V4(net("10.244.9.0/24"))), 1).unwrap();
    assert_eq!(choice, Stack::Dual { v4: net("10.244.9.0/24"), v6: net("fd00:1:0:9::/64") });
}

#[test]
fn a_full_pool_gives_nothing() {
    let taken: Taken = [net("10.244.0.0/16")].iter().collect();
    assert_eq!(choose(&Stack::V4(flannel()), &taken, None, 0), None);
    assert_eq!(choose(&dual(), &taken, None, 0), None);
    assert_eq!(choose(&Stack::V6(six()), &[net("::/0")].iter().collect(), None, 0), None);
}

#[test]
fn the_edges_of_the_address_space_are_no_trouble() {
    let top = pool("255.255.252.0/22", 24, "255.255.252.0/24", "255.255.255.0/24");
    assert_eq!(top.free(&Taken::default()).count(), 4);
    let top = pool("ff00::/8", 10, "ff00::/10", "ffc0::/10");
    assert_eq!(top.free(&Taken::default()).count(), 4);
    let taken: Taken = [net("ff00::/8"), net("0.0.0.0/0")].iter().collect();
    assert_eq!(top.free(&taken).count(), 0);
}

#[test]
fn ten_thousand_taken_subnets_are_skipped_in_one_step_each_at_most() {
    let wide = pool("10.0.0.0/8", 24, "10.0.1.0/24", "10.255.255.0/24");
    let taken: Taken = (0..10_000).map(|n| wide.nth(2 * n + 1).unwrap()).collect::<Vec<_>>().iter().collect();
    let chosen = choose(&Stack::V4(wide), &taken, None, 99).unwrap();
    assert_eq!(chosen, Stack::V4(net("10.0.200.0/24")));
}

proptest! {
    #[test]
    fn what_is_chosen_is_free_and_of_the_pool(
        places in proptest::collection::vec((1u128..256, 20u8..28), 0..300), dice: u64,
    ) {
        let all: Vec<IpNet> = places.iter()
            .map(|(place, length)| IpNet::new(flannel().nth(*place).unwrap().addr(), *length).unwrap().trunc())
            .collect();
        let taken: Taken = all.iter().collect();
        let free: Vec<IpNet> = (1..256).filter_map(|place| flannel().nth(place))
            .filter(|subnet| !all.iter().any(|other| other.contains(subnet) || subnet.contains(other)))
            .collect();
        prop_assert_eq!(flannel().free(&taken).collect::<Vec<_>>(), free.clone());
        match choose(&Stack::V4(flannel()), &taken, None, dice) {
            Some(chosen) => prop_assert!(free.contains(chosen.get(Family::V4).unwrap())),
            None => prop_assert!(free.is_empty()),
        }
    }
}
