//! The contract, first half: this node's own lease.

use std::collections::BTreeSet;

use ipam::{Family, Stack};
use towpathd::store::{Claim, Published, Wish};

use crate::node::{Node, claim, claim_before, data, dual_claim, name, net, pool4, until};
use crate::place::{Place, seconds};

pub async fn a_fresh_store_gives_a_lease(place: Place) {
    let began = std::time::Instant::now();
    let mut node = Node::holding(place.store(), claim(1)).await;
    println!("from nothing to a lease: {:?}", began.elapsed());
    assert_eq!(node.lease().node.as_str(), "node-1");
    assert!(pool4().compatible(&node.subnet(Family::V4)));
    assert_eq!(node.lease().endpoints.get(Family::V4).unwrap().data, data(1));
    assert_eq!(place.keys(), [node.subnet(Family::V4).to_string().replace('/', "-")]);
    node.until("its own lease among all", |node| node.lease_of("node-1") == node.mine.as_ref()).await;
}

pub async fn two_nodes_that_want_one_subnet_get_two(place: Place) {
    let (store1, store2) = (place.store(), place.store());
    let wanted = "10.244.9.0/24";
    let (one, two) =
        tokio::join!(Node::holding(store1, claim_before(1, wanted)), Node::holding(store2, claim_before(2, wanted)));
    let subnets = [one.subnet(Family::V4), two.subnet(Family::V4)];
    assert!(subnets.contains(&net(wanted)) && subnets[0] != subnets[1], "{subnets:?}");
}

pub async fn two_nodes_that_want_one_ipv6_subnet_get_two(place: Place) {
    for round in 1..=5_u16 {
        let v6 = net(&format!("fd00:1:0:{round:x}00::/64"));
        let wants = |number: u16| Claim {
            previous: Some(Stack::Dual { v4: net(&format!("10.244.{}.0/24", 10 * round + number)), v6 }),
            ..dual_claim(10 * round + number)
        };
        let (one, two) = tokio::join!(Node::holding(place.store(), wants(1)), Node::holding(place.store(), wants(2)));
        assert_ne!(one.subnet(Family::V6), two.subnet(Family::V6));
        assert_ne!(one.subnet(Family::V4), two.subnet(Family::V4));
        assert_eq!(place.keys().len(), 2 * usize::from(round));
    }
}

pub async fn twenty_nodes_at_once_get_twenty_subnets(place: Place) {
    let nodes: Vec<_> = (1..=20).map(|number| tokio::spawn(Node::holding(place.store(), dual_claim(number)))).collect();
    let (mut fours, mut sixes) = (BTreeSet::new(), BTreeSet::new());
    let mut alive = Vec::new();
    for node in nodes {
        let node = node.await.unwrap();
        fours.insert(node.subnet(Family::V4));
        sixes.insert(node.subnet(Family::V6));
        alive.push(node);
    }
    assert_eq!((fours.len(), sixes.len(), place.keys().len()), (20, 20, 20));
    for node in &mut alive {
        node.until("all twenty", |node| node.leases().count() == 20).await;
    }
}

pub async fn a_restarted_node_holds_its_lease_again_and_nothing_is_written(place: Place) {
    let node = Node::holding(place.store(), claim(1)).await;
    let before = node.lease().clone();
    node.kill();
    let stamp = stamp(&place, &before);
    let mut again = Node::holding(place.store(), claim(1)).await;
    assert_eq!(*again.lease(), before);
    assert_eq!(self::stamp(&place, &before), stamp);
    again.until("all leases", |node| !node.records.is_empty()).await;
    assert!(again.log[1].contains("Mine") && again.log[2].contains("snapshot"), "{:#?}", again.log);
}

/// What changes whenever anything is written.
fn stamp(place: &Place, lease: &ipam::Lease) -> String {
    match place {
        Place::Directory(_) => {
            let file = std::fs::metadata(place.path().join("leases").join(lease.key.as_str())).unwrap();
            let number = std::os::unix::fs::MetadataExt::ino(&file);
            format!("{number} {:?}", file.modified().unwrap())
        }
        Place::Etcd(server) => {
            server.number(&format!("/coreos.com/network/subnets/{}", lease.key), "mod_revision").to_string()
        }
    }
}

pub async fn the_previous_subnet_is_taken_when_it_is_free(place: Place) {
    let node = Node::holding(place.store(), claim_before(1, "10.244.200.0/24")).await;
    assert_eq!(node.subnet(Family::V4), net("10.244.200.0/24"));
    let other = Node::holding(place.store(), claim_before(2, "10.244.200.0/24")).await;
    assert_ne!(other.subnet(Family::V4), net("10.244.200.0/24"));
    let foreign = Node::holding(place.store(), claim_before(3, "172.16.200.0/24")).await;
    assert!(pool4().compatible(&foreign.subnet(Family::V4)));
}

pub async fn a_deleted_lease_is_taken_again_on_the_same_subnet(place: Place) {
    let mut observer = Node::start(place.store());
    let mut node = Node::holding(place.store(), claim_before(1, "10.244.33.0/24")).await;
    observer.until("the lease", |observer| observer.lease_of("node-1").is_some()).await;
    for _ in 0..3 {
        place.remove_lease("10.244.33.0-24");
        until("the key again", || place.keys() == ["10.244.33.0-24"]).await;
        node.heard_already();
        observer.heard_already();
    }
    observer.until("the lease", |observer| observer.lease_of("node-1").is_some()).await;
    assert_eq!(observer.lease_of("node-1").unwrap().subnet(Family::V4), Some(net("10.244.33.0/24")));
    assert_eq!(node.subnet(Family::V4), net("10.244.33.0/24"));
    assert_eq!(node.trouble, None);
}

pub async fn a_lease_that_became_another_nodes_is_replaced(place: Place) {
    let mut node = Node::holding(place.store(), claim_before(1, "10.244.33.0/24")).await;
    // While it is not looking, its lease goes and somebody else takes the subnet.
    place.remove_and_put("10.244.33.0-24", 2);
    node.until("another subnet", |node| node.subnet(Family::V4) != net("10.244.33.0/24")).await;
    node.until("the other's lease", |node| node.lease_of("node-2").is_some()).await;
    node.until("an end of the trouble", |node| node.trouble.is_none()).await;
    let said =
        node.log.iter().any(|line| line.contains("Trouble") && line.contains("node-2") && line.contains("10.244.33.0"));
    assert!(said, "{:#?}", node.log);
    assert_eq!(node.lease_of("node-2").unwrap().subnet(Family::V4), Some(net("10.244.33.0/24")));
}

pub async fn changed_attributes_are_published_under_the_same_subnet(place: Place) {
    let mut observer = Node::start(place.store());
    let mut node = Node::holding(place.store(), claim(1)).await;
    let before = node.lease().clone();
    let published = Stack::V4(Published { public: "192.0.2.77".parse().unwrap(), data: data(77) });
    node.wish(Wish::Hold(Claim { published, ..claim(1) }));
    node.until("the new attributes", |node| node.mine.as_ref() != Some(&before)).await;
    let endpoint = node.lease().endpoints.get(Family::V4).unwrap();
    assert_eq!((endpoint.public, &endpoint.data), ("192.0.2.77".parse().unwrap(), &data(77)));
    assert_eq!(
        (&node.lease().key, node.lease().since, node.lease().subnets()),
        (&before.key, before.since, before.subnets())
    );
    let mine = node.lease().clone();
    observer.until("the new attributes too", |observer| observer.lease_of("node-1") == Some(&mine)).await;
    // And when they changed between two runs: the node remembers which subnet it had.
    node.kill();
    let again = Claim { previous: Some(before.subnets()), ..claim(1) };
    let node = Node::holding(place.store(), again).await;
    assert_eq!(*node.lease(), before);
    observer.until("the first ones again", |observer| observer.lease_of("node-1") == Some(&before)).await;
}

pub async fn a_released_lease_is_gone(place: Place) {
    let mut observer = Node::start(place.store());
    let mut node = Node::holding(place.store(), claim(1)).await;
    observer.until("the lease", |observer| observer.lease_of("node-1").is_some()).await;
    node.wish(Wish::Release);
    node.until("the release", |node| node.mine.is_none()).await;
    observer.until("its end", |observer| observer.leases().count() == 0).await;
    assert_eq!(place.keys(), Vec::<String>::new());
    node.wish(Wish::Hold(claim(1)));
    node.until("a lease again", |node| node.mine.is_some()).await;
}

pub async fn a_lease_is_renewed_before_it_ends(place: Place) {
    let mut observer = Node::start(place.store());
    // etcd makes a lease at least as long as two elections.
    let mut node = Node::holding(place.store_with(seconds(4, 2)), claim(1)).await;
    let lease = node.lease().clone();
    let first = stamp(&place, &lease);
    let mut stamps = BTreeSet::from([first]);
    until("three renewals", || {
        stamps.insert(stamp(&place, &lease));
        stamps.len() == 4
    })
    .await;
    node.heard_already();
    observer.heard_already();
    assert_eq!(node.mine.as_ref(), Some(&lease));
    assert_eq!(observer.lease_of("node-1"), Some(&lease));
    assert!(!observer.log.iter().any(|line| line.contains("Gone")), "{:#?}", observer.log);
}

pub async fn a_lease_that_does_not_fit_the_network_any_more_is_replaced(place: Place) {
    let mut node = Node::holding(place.store(), claim(1)).await;
    let (first, last) = (net("10.99.4.0/22"), net("10.99.252.0/22"));
    let pools = Stack::V4(ipam::Pool { network: net("10.99.0.0/16"), length: 22, first, last });
    node.wish(Wish::Hold(Claim { pools, ..claim(1) }));
    node.until("a lease in the new network", |node| net("10.99.0.0/16").contains(&node.subnet(Family::V4))).await;
    assert_eq!(place.keys().len(), 1);
    let mine = node.lease().clone();
    node.until("nothing but it", |node| node.leases().eq([&mine]) && node.garbage().is_empty()).await;
}

pub async fn a_second_lease_of_the_same_node_is_removed(place: Place) {
    place.put_lease("10.244.50.0-24", 1);
    place.put_lease("10.244.60.0-24", 1);
    let mut node = Node::holding(place.store(), claim(1)).await;
    let mine = node.lease().clone();
    assert!(["10.244.50.0/24", "10.244.60.0/24"].contains(&node.subnet(Family::V4).to_string().as_str()));
    node.until("one lease alone", |node| node.leases().eq([&mine])).await;
    assert_eq!(place.keys().len(), 1);
}

pub async fn both_families_are_held_in_one_lease(place: Place) {
    let mut node = Node::holding(place.store(), dual_claim(1)).await;
    let (v4, v6) = (node.subnet(Family::V4), node.subnet(Family::V6));
    let place4 = claim(1).pools.get(Family::V4).unwrap().index_of(&v4);
    assert_eq!(dual_claim(1).pools.get(Family::V6).unwrap().index_of(&v6), place4, "{v4} {v6}");
    node.until("it among all", |node| node.lease_of(&name(1)) == node.mine.as_ref()).await;
    // A node that gains a family keeps the subnet it had.
    let single = Node::holding(place.store(), claim(2)).await;
    let before = single.subnet(Family::V4);
    single.kill();
    let gained = Node::holding(place.store(), dual_claim(2)).await;
    assert_eq!(gained.subnet(Family::V4), before);
    assert!(gained.lease().endpoints.has(Family::V6));
    assert_eq!(place.keys().len(), 2);
}
