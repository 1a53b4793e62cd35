//! What only etcd can promise: flannel's format on the wire, reservations, compaction, members that die, silence.

use std::time::Instant;

use etcd_client::{Client, PutOptions, Txn, TxnOp};
use ipam::table::Record;
use ipam::{Family, Stack};
use towpathd::store::etcd::Etcd;
use towpathd::store::{Event, Store, Wish};

use crate::etcd_server::{EtcdCluster, EtcdServer};
use crate::node::{NETWORK, Node, claim, claim_before, dual_claim, mac, net, public, until};
use crate::place::{PREFIX, Place, a_day, seconds, settings};

/// Many leases in few transactions (etcd takes 128 operations in one).
pub async fn put_all(server: &EtcdServer, place: &Place, subnets: &[String]) {
    let mut client = Client::connect([server.url()], None).await.unwrap();
    let all: Vec<(u16, &String)> = (0..).zip(subnets).collect();
    for part in all.chunks(128) {
        let put = |(number, subnet): &(u16, &String)| {
            TxnOp::put(format!("{PREFIX}/subnets/{subnet}"), place.lease_text(subnet, *number), None)
        };
        client.txn(Txn::new().and_then(part.iter().map(put).collect::<Vec<_>>())).await.unwrap();
    }
}

fn server_of(place: &Place) -> &EtcdServer {
    match place {
        Place::Etcd(server) => server,
        Place::Directory(_) => panic!("this is about etcd"),
    }
}

/// What flannel 0.28 writes for a node, as it is in etcd.
fn flannels(number: u16) -> String {
    let (public, mac) = (public(number), mac(number));
    format!(
        r#"{{"PublicIP":"{public}","PublicIPv6":null,"BackendType":"vxlan","BackendData":{{"VNI":1,"VtepMAC":"{mac}"}}}}"#
    )
}

#[tokio::test]
async fn what_is_written_is_flannels_key_text_and_term() {
    let place = Place::etcd("format");
    let server = server_of(&place);
    let single = Node::holding(place.store(), claim_before(1, "10.244.7.0/24")).await;
    let key = format!("{PREFIX}/subnets/10.244.7.0-24");
    let ours = format!(r#"{},"Node":"node-1"}}"#, flannels(1).strip_suffix('}').unwrap());
    assert_eq!(server.value(&key), ours);
    assert!((86_300..=86_400).contains(&server.seconds_left(&key)), "{}", server.seconds_left(&key));
    assert_eq!(single.lease().since, u64::try_from(server.number(&key, "create_revision")).unwrap());
    let previous = Some(Stack::Dual { v4: net("10.244.9.0/24"), v6: net("fd00:1:0:99::/64") });
    let _dual = Node::holding(place.store(), towpathd::store::Claim { previous, ..dual_claim(2) }).await;
    let value = server.value(&format!("{PREFIX}/subnets/10.244.9.0-24&fd00:1:0:99::-64"));
    assert!(
        value.contains(r#""PublicIPv6":"2001:db8::2""#) && value.contains(r#""BackendV6Data":{"VNI":1"#),
        "{value}"
    );
}

#[tokio::test]
async fn two_hosts_of_one_name_are_two_nodes() {
    let place = Place::etcd("namesakes");
    let node = claim(1).node;
    let one = Node::holding(place.store(), claim(1)).await;
    let mut two = Node::holding(place.store(), towpathd::store::Claim { node, ..claim(2) }).await;
    assert_ne!(one.lease().key, two.lease().key);
    // Each is told of the other as of a peer.
    let first = one.lease().key.clone();
    two.until("the other's lease", |two| two.records.contains_key(&first)).await;
    assert_eq!(one.trouble, None);
}

#[tokio::test]
async fn a_lease_that_flannel_left_is_taken_over_in_place() {
    let place = Place::etcd("takeover");
    place.put_raw("10.244.7.0-24", &flannels(2));
    let mut client = Client::connect([server_of(&place).url()], None).await.unwrap();
    let lease = client.lease_grant(86_400, None).await.unwrap().id();
    let key = format!("{PREFIX}/subnets/10.244.5.0-24");
    client.put(key.as_str(), flannels(1), Some(PutOptions::new().with_lease(lease))).await.unwrap();
    let mut node = Node::holding(place.store(), claim(1)).await;
    assert_eq!(node.subnet(Family::V4), net("10.244.5.0/24"));
    assert_eq!(server_of(&place).number(&key, "lease"), lease, "enough of it is left");
    // A flannel node has its address for a name.
    node.until("the flannel node", |node| node.lease_of(&public(2).to_string()).is_some()).await;
}

#[tokio::test]
async fn a_reservation_stays_one() {
    let place = Place::etcd("reservation");
    let server = server_of(&place);
    for (subnet, text) in [("10.244.5.0-24", flannels(1)), ("10.244.6.0-24", flannels(2))] {
        place.put_raw(subnet, &text);
    }
    let mut node = Node::holding(place.store_with(seconds(6, 3)), claim(1)).await;
    assert_eq!(node.subnet(Family::V4), net("10.244.5.0/24"));
    let key = |subnet: &str| format!("{PREFIX}/subnets/{subnet}");
    assert_eq!(server.number(&key("10.244.5.0-24"), "lease"), 0, "it was given an end");
    assert!(server.value(&key("10.244.5.0-24")).contains("node-1"));
    // Nobody else's is touched, and ours is not given away with the lease.
    assert_eq!(server.value(&key("10.244.6.0-24")), flannels(2));
    node.wish(Wish::Release);
    node.until("the release", |node| node.mine.is_none()).await;
    assert_eq!(place.keys(), ["10.244.5.0-24", "10.244.6.0-24"]);
}

#[tokio::test]
async fn an_overwritten_lease_is_put_right_and_ends_again() {
    let place = Place::etcd("overwritten");
    let server = server_of(&place);
    let mut node = Node::holding(place.store(), claim_before(1, "10.244.7.0/24")).await;
    let key = format!("{PREFIX}/subnets/10.244.7.0-24");
    let before = server.value(&key);
    for foreign in [flannels(9), "scribble".to_owned()] {
        place.put_raw("10.244.7.0-24", &foreign);
        let revision = server.number(&key, "mod_revision");
        until("peace", || server.value(&key) == before).await;
        assert!(server.number(&key, "mod_revision") > revision && server.seconds_left(&key) > 80_000);
        place.put_lease("10.244.200.0-24", 200);
        node.until("a sign of life", |node| node.lease_of("node-200").is_some()).await;
        place.remove_lease("10.244.200.0-24");
        node.until("its end", |node| node.lease_of("node-200").is_none()).await;
    }
    assert_eq!(node.subnet(Family::V4), net("10.244.7.0/24"));
}

#[tokio::test]
async fn what_was_missed_before_a_compaction_is_told_in_a_snapshot() {
    let mut place = Place::etcd("compaction");
    for number in [5, 6, 7] {
        place.put_lease(&format!("10.244.{number}.0-24"), number);
    }
    let mut node = Node::holding(place.store(), claim(1)).await;
    node.until("all four", |node| node.leases().count() == 4).await;
    let before = node.lease().clone();
    for _ in 0..2 {
        // The test has one thread: the node learns of all this when it is over.
        place.away();
        place.back();
        place.remove_lease("10.244.5.0-24");
        place.put_raw("10.244.6.0-24", &flannels(66));
        place.put_lease("10.244.8.0-24", 8);
        let server = server_of(&place);
        let revision = server.number(&format!("{PREFIX}/subnets/10.244.8.0-24"), "mod_revision").to_string();
        server.ctl(&["compact", &revision]);
        let snapshots = |node: &Node| node.log.iter().filter(|line| line.contains("snapshot")).count();
        let told = snapshots(&node);
        node.until("a snapshot", |node| snapshots(node) > told && node.trouble.is_none()).await;
        let nodes: Vec<&str> = node.leases().map(|lease| lease.node.as_str()).collect();
        assert_eq!(nodes.len(), 4, "{nodes:?}");
        assert!(
            node.lease_of("node-5").is_none()
                && node.lease_of(&public(66).to_string()).is_some()
                && node.lease_of("node-8").is_some()
        );
        assert_eq!(node.lease_of("node-1"), Some(&before));
        place.put_lease("10.244.5.0-24", 5);
        place.put_lease("10.244.6.0-24", 6);
        place.remove_lease("10.244.8.0-24");
        node.until("the old state", |node| node.lease_of("node-5").is_some() && node.lease_of("node-8").is_none())
            .await;
    }
    assert_eq!(node.lease(), &before);
}

#[tokio::test]
async fn a_cluster_that_was_put_back_to_an_older_state_is_listed_anew() {
    let mut place = Place::etcd("older");
    let mut node = Node::holding(place.store(), claim(1)).await;
    for number in 5..25 {
        place.put_lease(&format!("10.244.{number}.0-24"), number);
    }
    node.until("all", |node| node.leases().count() >= 20).await;
    place.away();
    let Place::Etcd(server) = &mut place else { panic!("this is about etcd") };
    server.forget();
    server.again();
    place.put_network(NETWORK);
    place.put_lease("10.244.30.0-24", 30);
    let subnet = node.subnet(Family::V4);
    node.until("what is there now", |node| node.leases().count() == 2 && node.trouble.is_none()).await;
    assert!(node.lease_of("node-30").is_some() && node.lease_of("node-1").is_some());
    assert_eq!(node.subnet(Family::V4), subnet);
}

#[tokio::test]
async fn a_member_that_dies_is_not_noticed_for_long() {
    let mut cluster = EtcdCluster::start("three");
    let urls = cluster.urls();
    cluster.members[0].put(&format!("{PREFIX}/config"), NETWORK);
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    let store = || Store::Etcd(Etcd::new(&settings(&urls), a_day()));
    let mut nodes = Vec::new();
    for number in 1..=3 {
        nodes.push(Node::holding(store(), claim(number)).await);
    }
    cluster.members[1].kill();
    let fourth = Node::holding(store(), claim(4)).await;
    for node in &mut nodes {
        node.until("the fourth", |node| node.lease_of("node-4") == fourth.mine.as_ref()).await;
        assert!(!node.log.iter().any(|line| line.contains("Gone")), "{:#?}", node.log);
    }
    // Without a majority nothing can be done; with one, everything goes on.
    cluster.members[2].kill();
    for node in &mut nodes {
        node.until("the trouble", |node| node.trouble.is_some()).await;
    }
    cluster.members[2].again();
    for node in &mut nodes {
        node.until("its end", |node| node.trouble.is_none()).await;
    }
    cluster.members[0].ctl(&["del", &format!("{PREFIX}/subnets/{}", fourth.lease().key)]);
    nodes[0].until("the fourth back", |node| node.log.iter().any(|line| line.contains("Gone"))).await;
}

#[tokio::test]
async fn an_ipv6_only_network_is_refused_with_the_reason() {
    let place = Place::etcd("v6only");
    let Stack::Dual { v6: pool, .. } = dual_claim(1).pools else { panic!("both families") };
    let Stack::Dual { v6: published, .. } = dual_claim(1).published else { panic!("both families") };
    let only = towpathd::store::Claim { pools: Stack::V6(pool), published: Stack::V6(published), ..claim(1) };
    let mut node = Node::start_with(place.store(), Wish::Hold(only));
    node.until("the trouble", |node| node.trouble.as_ref().is_some_and(|sentence| sentence.contains("IPv6-only")))
        .await;
}

/// How long it takes from a put to the event; printed, not judged.
#[tokio::test]
async fn an_event_follows_a_put_at_once() {
    let place = Place::etcd("latency");
    let mut node = Node::start(place.store());
    node.until("the start", |node| node.log.iter().any(|line| line.contains("snapshot"))).await;
    let mut client = Client::connect([server_of(&place).url()], None).await.unwrap();
    let mut times = Vec::new();
    for number in 0..200_u16 {
        let key = format!("{PREFIX}/subnets/10.244.{number}.0-24");
        client.put(key, flannels(number), None).await.unwrap();
        let answered = Instant::now();
        let Event::Changed(records) = node.next().await else { panic!("{:#?}", node.log) };
        assert!(matches!(records[..], [Record::Lease(_)]));
        times.push(answered.elapsed());
    }
    times.sort();
    println!("from etcd's answer to the event: median {:?}, 99th {:?}", times[100], times[198]);
    let mut times = Vec::new();
    for number in 300..320 {
        let began = Instant::now();
        let node = Node::holding(place.store(), claim(number)).await;
        times.push(began.elapsed());
        node.kill();
    }
    times.sort();
    println!("from nothing to a lease: median {:?}", times[10]);
}
