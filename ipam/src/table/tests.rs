//! Who stands, in every order of arrival.

use super::*;
use crate::{BackendData, Endpoint, NodeName, Stack};

fn lease(key: &str, since: u64, subnet: &str) -> Lease {
    let subnet: IpNet = subnet.parse().expect("a prefix");
    let public = "192.0.2.1".parse().expect("an address");
    let data = BackendData::Other("alloc".into());
    let node = NodeName::new(key).expect("a name");
    let endpoints = Stack::V4(Endpoint { subnet, public, data });
    Lease { key: LeaseKey::new(key), node, since, endpoints, rollout: None }
}

fn standing(table: &LeaseTable) -> Vec<String> {
    table.leases().filter(|l| table.standing(&l.key).is_some()).map(|l| l.key.to_string()).collect()
}

fn keys(keys: BTreeSet<LeaseKey>) -> Vec<String> {
    keys.iter().map(ToString::to_string).collect()
}

#[test]
fn the_older_of_two_claims_stands_in_either_order_of_arrival() {
    for order in [[("old", 1), ("young", 2)], [("young", 2), ("old", 1)]] {
        let mut table = LeaseTable::default();
        for (key, since) in order {
            table.apply(Record::Lease(lease(key, since, "10.1.2.0/24")));
        }
        assert_eq!(standing(&table), ["old"]);
        assert_eq!(table.conflicts().len(), 1);
        assert_eq!(keys(table.apply(Record::Gone(LeaseKey::new("old")))), ["old", "young"]);
        assert_eq!(standing(&table), ["young"]);
    }
}

#[test]
fn a_claim_that_lost_does_not_stand_in_anybodys_way() {
    let mut table = LeaseTable::default();
    table.apply(Record::Lease(lease("c", 3, "10.1.2.0/24")));
    table.apply(Record::Lease(lease("b", 2, "10.1.0.0/16")));
    assert_eq!(standing(&table), ["b"]);
    assert_eq!(keys(table.apply(Record::Lease(lease("a", 1, "10.1.1.0/24")))), ["a", "b", "c"]);
    assert_eq!(standing(&table), ["a", "c"]);
}

#[test]
fn our_own_lease_stands_before_any_older_one() {
    let mut table = LeaseTable::default();
    table.apply(Record::Lease(lease("thief", 1, "10.1.2.0/25")));
    table.apply(Record::Lease(lease("own", 9, "10.1.2.0/24")));
    assert_eq!(standing(&table), ["thief"]);
    assert_eq!(keys(table.set_own(Some(LeaseKey::new("own")))), ["own", "thief"]);
    assert!(standing(&table).is_empty());
    let of = table.lease_of("10.1.2.3".parse().expect("an address")).map(|l| l.key.to_string());
    assert_eq!(of.as_deref(), Some("own"));
}

#[test]
fn garbage_leaves_the_node_as_it_was_last_good() {
    let mut table = LeaseTable::default();
    table.apply(Record::Lease(lease("a", 1, "10.1.2.0/24")));
    assert_eq!(keys(table.apply(Record::Garbage(LeaseKey::new("a"), "no JSON".into()))), ["a"]);
    assert_eq!(standing(&table), ["a"]);
    assert_eq!(table.garbage().count(), 1);
    assert!(table.replace(vec![Record::Garbage(LeaseKey::new("a"), "no JSON".into())]).is_empty());
    assert_eq!(standing(&table), ["a"]);
    assert_eq!(keys(table.replace(vec![])), ["a"]);
    assert_eq!(table.garbage().count(), 0);
}

proptest::proptest! {
    #[test]
    fn one_record_at_a_time_comes_out_as_a_snapshot_does(
        claims in proptest::collection::vec((0u8..12, 0u64..4, 0u8..8, 22u8..26), 0..40)
    ) {
        let mut stepwise = LeaseTable::default();
        let mut latest = BTreeMap::new();
        for (key, since, third, length) in claims {
            let net = IpNet::new([10, 0, third, 0].into(), length).expect("a length").trunc();
            let lease = lease(&format!("n{key}"), since, &net.to_string());
            stepwise.apply(Record::Lease(lease.clone()));
            latest.insert(lease.key.clone(), lease);
        }
        let mut whole = LeaseTable::default();
        whole.replace(latest.into_values().map(Record::Lease).collect());
        proptest::prop_assert_eq!(standing(&stepwise), standing(&whole));
        proptest::prop_assert_eq!(stepwise.conflicts(), whole.conflicts());
        let stand: Vec<IpNet> = whole.leases().filter_map(|l| whole.standing(&l.key)).flat_map(|l| l.subnets().values().copied().collect::<Vec<_>>()).collect();
        for (i, a) in stand.iter().enumerate() {
            for b in &stand[i + 1..] {
                proptest::prop_assert!(!a.contains(b) && !b.contains(a));
            }
        }
    }
}
