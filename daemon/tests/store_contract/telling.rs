//! The contract, second half: what is told of the network and of the others.

use std::time::Duration;

use ipam::table::Record;
use ipam::{BackendData, Family, Pool, Stack};
use towpathd::store::{Claim, Event, Wish};

use crate::node::{NETWORK, Node, PATIENCE, claim, claim_before, data, net, public};
use crate::place::{Place, seconds};

pub async fn the_network_is_told_first_and_when_it_changes(place: Place) {
    let mut node = Node::start(place.store());
    assert_eq!(node.next().await, Event::Network(NETWORK.to_owned()));
    let other = NETWORK.replace("10.244", "10.99");
    place.put_network(&other);
    node.until("the change", |node| node.network.as_deref() == Some(&other)).await;
    place.put_network(&other);
    place.put_lease("10.99.5.0-24", 5);
    node.until("a lease", |node| node.leases().count() == 1).await;
    assert_eq!(node.log.iter().filter(|line| line.contains("Network")).count(), 2, "{:#?}", node.log);
}

pub async fn a_missing_network_is_a_trouble_with_an_example(place: Place) {
    place.remove_network();
    let mut node = Node::start(place.store());
    node.until("the trouble", |node| node.trouble.is_some()).await;
    let sentence = node.trouble.clone().unwrap();
    assert!(sentence.contains("\"Network\":\"10.244.0.0/16\"") && sentence.contains("conf"), "{sentence}");
    place.put_network(NETWORK);
    node.until("the network", |node| node.network.is_some() && node.trouble.is_none()).await;
    place.remove_network();
    node.until("the trouble again", |node| node.trouble.is_some()).await;
    place.put_network(NETWORK);
    node.until("its end", |node| node.trouble.is_none()).await;
}

pub async fn leases_that_come_change_and_go_are_told_one_by_one(place: Place) {
    place.put_lease("10.244.5.0-24", 5);
    let mut node = Node::start(place.store());
    node.until("the first", |node| node.lease_of("node-5").is_some()).await;
    place.put_lease("10.244.6.0-24", 6);
    let Event::Changed(records) = node.next().await else { panic!("{:#?}", node.log) };
    assert!(matches!(&records[..], [Record::Lease(lease)] if lease.node.as_str() == "node-6"), "{records:?}");
    place.put_raw("10.244.6.0-24", &place.lease_text("10.244.6.0-24", 6).replace(&public(6).to_string(), "192.0.2.99"));
    let Event::Changed(records) = node.next().await else { panic!("{:#?}", node.log) };
    let Record::Lease(lease) = &records[0] else { panic!("{records:?}") };
    assert_eq!(lease.endpoints.get(Family::V4).unwrap().public.to_string(), "192.0.2.99");
    place.remove_lease("10.244.5.0-24");
    let Event::Changed(records) = node.next().await else { panic!("{:#?}", node.log) };
    assert!(matches!(&records[..], [Record::Gone(key)] if key.as_str().starts_with("10.244.5.0-24")), "{records:?}");
}

pub async fn a_renewal_is_nothing_new(place: Place) {
    place.put_lease("10.244.5.0-24", 5);
    let mut node = Node::start(place.store());
    node.until("the lease", |node| node.leases().count() == 1).await;
    for _ in 0..5 {
        // As flannel renews: the same text under the same key; or with other spaces.
        place.put_lease("10.244.5.0-24", 5);
        place.put_raw("10.244.5.0-24", &place.lease_text("10.244.5.0-24", 5).replace(",\"", ", \""));
    }
    place.put_lease("10.244.6.0-24", 6);
    let Event::Changed(records) = node.next().await else { panic!("{:#?}", node.log) };
    assert!(matches!(&records[..], [Record::Lease(lease)] if lease.node.as_str() == "node-6"), "{records:?}");
}

pub async fn a_dead_nodes_lease_ends(place: Place) {
    let mut observer = Node::start(place.store());
    let node = Node::holding(place.store_with(seconds(3, 1)), claim(1)).await;
    observer.until("the lease", |observer| observer.leases().count() == 1).await;
    node.kill();
    observer.until("its end", |observer| observer.leases().count() == 0).await;
    // And after it came back it has the same subnet and is told of again.
    let again = Node::holding(place.store(), claim(1)).await;
    observer.until("it again", |observer| observer.lease_of("node-1") == again.mine.as_ref()).await;
}

pub async fn garbage_is_told_once_and_harms_nobody(place: Place) {
    place.put_lease("10.244.5.0-24", 5);
    let good = place.lease_text("10.244.9.0-24", 9);
    let mac = crate::node::mac(9).to_string();
    let spoilt = [
        ("10.244.10.0-24", String::new()),
        ("10.244.11.0-24", place.lease_text("10.244.11.0-24", 11)[..40].to_owned()),
        ("10.244.12.0-24", "\u{1}\u{2}\u{fffd}".to_owned()),
        ("10.244.13.0-24", good.replace("10.244.9.0", "10.244.13.0").replace(&public(9).to_string(), "0.0.0.0")),
        ("10.244.14.0-24", good.replace("10.244.9.0", "10.244.14.0").replace(&mac, "ff:ff:ff:ff:ff:ff")),
        ("10.244.15.0-24", good.replace("10.244.9.0", "10.244.15.0").replace("\"VNI\":1", "\"VNI\":16777216")),
        ("10.244.16.1-24", good.replace("10.244.9.0", "10.244.16.1")),
        ("somebody", good.clone()),
        ("10.244.17.0-24", format!("{{\"x\":\"{}\"}}", "y".repeat(70_000))),
    ];
    for (key, text) in &spoilt {
        place.put_raw(key, text);
    }
    let mut node = Node::start(place.store());
    node.until("all of it", |node| node.records.len() == spoilt.len() + 1).await;
    assert_eq!(node.garbage().len(), spoilt.len(), "{:#?}", node.records);
    assert_eq!(node.lease_of("node-5").unwrap().endpoints.get(Family::V4).unwrap().data, data(5));
    for (key, _) in &spoilt {
        assert!(
            node.garbage().iter().any(|reason| reason.contains(key) && reason.len() < 600),
            "{key}: {:#?}",
            node.garbage()
        );
    }
    // Said once, and a lease that becomes good or bad is told as what it is.
    place.put_raw("10.244.10.0-24", "");
    place.put_raw("10.244.5.0-24", "{");
    let Event::Changed(records) = node.next().await else { panic!("{:#?}", node.log) };
    assert!(
        matches!(&records[..], [Record::Garbage(key, _)] if key.as_str().starts_with("10.244.5.0-24")),
        "{records:?}"
    );
    place.put_lease("10.244.10.0-24", 10);
    node.until("the lease that was empty", |node| node.lease_of("node-10").is_some()).await;
    // And nobody takes a subnet that stands under garbage, but for the node that held it before.
    let pool = Pool { first: net("10.244.11.0/24"), last: net("10.244.14.0/24"), ..crate::node::pool4() };
    let before = Claim { pools: Stack::V4(pool.clone()), ..claim_before(20, "10.244.12.0/24") };
    let before = Node::holding(place.store(), before).await;
    assert_eq!(before.subnet(Family::V4), net("10.244.12.0/24"));
    let mut other = Node::start(place.store());
    other.wish(Wish::Hold(Claim { pools: Stack::V4(pool), ..claim(21) }));
    other.until("no subnet", |other| other.trouble.as_ref().is_some_and(|said| said.contains("no free"))).await;
}

pub async fn leases_outside_the_network_are_garbage(place: Place) {
    for key in ["10.244.5.0-24", "10.99.5.0-24", "10.244.0.0-16", "10.0.0.0-8", "0.0.0.0-0"] {
        place.put_lease(key, 5);
    }
    let mut node = Node::start(place.store());
    node.until("all of it", |node| node.records.len() == 5).await;
    node.wish(Wish::Hold(claim(1)));
    node.until("the verdict", |node| node.garbage().len() == 4 && node.mine.is_some()).await;
    node.until("the good one and its own", |node| node.sound_leases().count() == 2).await;
}

pub async fn a_full_pool_is_a_trouble_until_a_lease_goes(place: Place) {
    let pools = ipam::Stack::V4(ipam::Pool {
        network: net("10.244.0.0/22"),
        length: 24,
        first: net("10.244.1.0/24"),
        last: net("10.244.3.0/24"),
    });
    for number in 1..=3 {
        place.put_lease(&format!("10.244.{number}.0-24"), 10 + number);
    }
    let mut node = Node::start_with(place.store(), Wish::Hold(towpathd::store::Claim { pools, ..claim(1) }));
    node.until("the trouble", |node| node.trouble.is_some()).await;
    let sentence = node.trouble.clone().unwrap();
    assert!(sentence.contains("10.244.0.0/22") && sentence.contains("no free pod subnet"), "{sentence}");
    place.remove_lease("10.244.2.0-24");
    node.until("the lease", |node| node.mine.is_some() && node.trouble.is_none()).await;
    assert_eq!(node.subnet(Family::V4), net("10.244.2.0/24"));
}

pub async fn ten_thousand_leases_are_told_at_once_and_one_change_alone(place: Place) {
    let subnets: Vec<String> = (0..10_000_u32)
        .map(|n| std::net::Ipv4Addr::from_bits(0x0a00_0000 + (n << 8)))
        .map(|net| format!("{net}-24"))
        .collect();
    match &place {
        Place::Directory(_) => {
            std::fs::create_dir_all(place.path().join("leases")).unwrap();
            for (number, subnet) in (0..).zip(&subnets) {
                let file = place.path().join(format!("leases/{subnet}.json"));
                std::fs::write(file, place.lease_text(subnet, number)).unwrap();
            }
        }
        Place::Etcd(server) => crate::etcd_only::put_all(server, &place, &subnets).await,
    }
    let began = std::time::Instant::now();
    let mut node = Node::start(place.store());
    node.until("all of them", |node| node.records.len() == 10_000).await;
    println!("10,000 leases told after {:?}", began.elapsed());
    assert_eq!(node.leases().count(), 10_000);
    let began = std::time::Instant::now();
    place.put_lease("10.200.0.0-24", 20_000);
    let Event::Changed(records) = node.next().await else { panic!("{:#?}", node.log) };
    println!("one more told after {:?}, the writing included", began.elapsed());
    assert!(
        matches!(&records[..], [Record::Lease(lease)] if lease.subnet(Family::V4) == Some(net("10.200.0.0/24"))),
        "{records:?}"
    );
    assert!(matches!(
        &node.leases().next().unwrap().endpoints.get(Family::V4).unwrap().data,
        BackendData::Vxlan { vni: 1, .. }
    ));
}

pub async fn a_store_that_is_away_at_the_start_is_waited_for(mut place: Place) {
    if let Place::Directory(_) = &place {
        // A directory that is missing is made, so it takes something in its place for it to be away.
        place.away();
        std::fs::write(place.path(), "in the way").unwrap();
    } else {
        place.away();
    }
    let mut node = Node::start_with(place.store(), Wish::Hold(claim(1)));
    node.until("the trouble", |node| node.trouble.is_some()).await;
    let sentence = node.trouble.clone().unwrap();
    let named = match &place {
        Place::Directory(_) => place.path().display().to_string(),
        Place::Etcd(server) => server.url(),
    };
    assert!(sentence.contains(&named), "{sentence}");
    if let Place::Directory(_) = &place {
        std::fs::remove_file(place.path()).unwrap();
    }
    place.back();
    node.until("a lease, and no trouble", |node| node.mine.is_some() && node.trouble.is_none()).await;
    assert_eq!(node.log.iter().filter(|line| line.contains("Trouble")).count(), 1, "{:#?}", node.log);
}

pub async fn a_store_that_goes_away_and_comes_back_loses_nothing(mut place: Place) {
    place.put_lease("10.244.5.0-24", 5);
    // A subnet of its own choice could be one of those that are put below.
    let mut node = Node::holding(place.store(), claim_before(1, "10.244.33.0/24")).await;
    node.until("the other", |node| node.leases().count() == 2).await;
    let before = node.lease().clone();
    for round in 0..2 {
        place.away();
        node.until("the trouble", |node| node.trouble.is_some()).await;
        place.back();
        place.put_lease(&format!("10.244.{}.0-24", 60 + round), 60 + round);
        node.until("what happened since", |node| {
            node.leases().count() == 3 + usize::from(round) && node.trouble.is_none()
        })
        .await;
    }
    let said = node.log.iter().filter(|line| line.contains("Gone") || line.contains("Mine")).count();
    assert_eq!((said, node.lease()), (1, &before), "{:#?}", node.log);
    // Whoever comes later sees the same.
    let mut other = Node::start(place.store());
    tokio::time::timeout(PATIENCE + Duration::from_secs(1), other.until("all", |other| other.leases().count() == 4))
        .await
        .unwrap();
}
