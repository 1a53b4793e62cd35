//! What is told of all the other nodes.

use std::time::Duration;

use ipam::table::Record;
use ipam::{BackendData, Family};
use netns_harness::kubernetes::{ControlPlaneOptions, EtcdVersion, NodeObject};
use serde_json::json;
use towpathd::store::{Event, Wish};

use crate::ground::{PREFIX, annotate, bare, flannels, patch_status, settings, store, with_api};
use crate::node::{Node, claim, net};

#[test]
fn nodes_that_come_change_and_go_are_told_one_by_one_and_heartbeats_are_counted_and_not_told() {
    with_api("kubefollow", &ControlPlaneOptions::default(), async |api| {
        api.create_nodes(&[bare(1), flannels(2), bare(3)]).unwrap();
        let mut node = Node::start(store(&settings(api), 1));
        let Event::Snapshot(records) = node.next().await else { panic!("{:#?}", node.log) };
        assert_eq!(records.len(), 1, "{records:?}");
        // What an operator wrote for it: nothing.
        let Event::Instructed(_) = node.next().await else { panic!("{:#?}", node.log) };
        for beat in 0..5 {
            let condition = json!({ "type": "Ready", "status": "True", "message": beat.to_string() });
            patch_status(api, 2, &json!({ "status": { "conditions": [condition] } }));
        }
        annotate(api, 2, "public-ip=203.0.113.2");
        let Event::Changed(records) = node.next().await else { panic!("{:#?}", node.log) };
        assert!(matches!(&records[..], [Record::Lease(_)]), "{records:?}");
        let counts = node.counted();
        assert!(counts.unchanged >= 5 && counts.received > 1000 && counts.lists == 1, "{counts:?}");

        // The same name and podCIDR with another uid: the late word of the old one's end harms nobody.
        let old = node.lease_of("node-2").unwrap().key.clone();
        api.kubectl().run("delete node node-2").unwrap();
        api.create_node(&flannels(2)).unwrap();
        node.until("the successor", |node| node.lease_of("node-2").is_some_and(|lease| lease.key != old)).await;
        assert_eq!(node.leases().count(), 1);

        // Garbage is told with its reason, and one family alone is enough.
        annotate(api, 2, "backend-data={}");
        node.until("garbage", |node| node.garbage().iter().any(|it| it.contains("node-2") && it.contains("VNI"))).await;
        api.create_node(
            &flannels(6).pod_cidr(net("fd00:1:0:6::/64")).annotation(format!("{PREFIX}/public-ipv6"), "nonsense"),
        )
        .unwrap();
        node.until("the one family", |node| node.lease_of("node-6").is_some()).await;
        assert_eq!(node.lease_of("node-6").unwrap().subnet(Family::V6), None);
        let hostgw = NodeObject { annotations: flannels(7).annotations, ..bare(7) }
            .annotation(format!("{PREFIX}/backend-type"), "host-gw")
            .annotation(format!("{PREFIX}/backend-data"), "null");
        api.create_node(&hostgw).unwrap();
        node.until("the other backend", |node| {
            node.lease_of("node-7").is_some_and(|lease| {
                lease.endpoints.get(Family::V4).unwrap().data == BackendData::Other("host-gw".into())
            })
        })
        .await;
        api.kubectl().run(&format!("annotate node node-7 {PREFIX}/kube-subnet-manager-")).unwrap();
        node.until("its leaving", |node| node.lease_of("node-7").is_none()).await;
    });
}

#[test]
fn an_api_server_that_restarts_takes_nobody_away_and_what_happened_meanwhile_is_told() {
    with_api("kuberestart", &ControlPlaneOptions::default(), async |api| {
        api.create_nodes(&[bare(1), flannels(2), flannels(3)]).unwrap();
        let mut node = Node::holding(store(&settings(api), 1), claim(1)).await;
        node.until("all", |node| node.leases().count() == 3).await;
        let begun = node.log.len();
        api.api_server().kill().unwrap();
        // The first word may be that the connection broke.
        let unreachable = |said: &String| said.contains("kubernetes") && said.contains("cannot be reached");
        node.until("the trouble", |node| node.trouble.as_ref().is_some_and(unreachable)).await;
        api.restart().unwrap();
        node.until("no trouble", |node| node.trouble.is_none()).await;
        api.create_node(&flannels(4)).unwrap();
        node.until("the fourth", |node| node.lease_of("node-4").is_some()).await;
        // A server that has just begun may not remember the version that was told last: then all are listed, and nobody sees it.
        assert_eq!(node.leases().count(), 4);
        assert!(!node.log[begun..].iter().any(|line| line.contains("Gone") || line.contains("snapshot")));

        // The version that was told last is gone: listed again, told as changes, and nobody is gone who is there.
        api.api_server().kill().unwrap();
        node.until("the trouble", |node| node.trouble.is_some()).await;
        api.restart().unwrap();
        api.kubectl().run("delete node node-3").unwrap();
        for round in 0..3 {
            annotate(api, 2, &format!("public-ip=203.0.113.{round}"));
        }
        api.api_server().kill().unwrap();
        api.compact().unwrap();
        api.restart().unwrap();
        node.until("the third to be gone", |node| {
            node.trouble.is_none() && node.lease_of("node-3").is_none() && node.leases().count() == 3
        })
        .await;
        let said = &node.log[begun..];
        assert!(!said.iter().any(|line| line.starts_with("snapshot")), "{said:#?}");
        assert_eq!(said.iter().filter(|line| line.contains("Gone")).count(), 1, "{said:#?}");
        assert!(!said.iter().any(|line| line.starts_with("Mine")), "{said:#?}");
    });
}

#[test]
fn a_server_that_cannot_stream_its_list_is_asked_for_pages() {
    let options = ControlPlaneOptions { etcd: EtcdVersion::Debian, ..ControlPlaneOptions::default() };
    with_api("kubepages", &options, async |api| {
        let nodes: Vec<NodeObject> = (1..=230).map(flannels).collect();
        api.create_nodes(&nodes).unwrap();
        let mut node = Node::start(store(&settings(api), 1));
        let Event::Snapshot(records) = node.next().await else { panic!("{:#?}", node.log) };
        assert_eq!(records.len(), 230);
        let Event::Instructed(_) = node.next().await else { panic!("{:#?}", node.log) };
        annotate(api, 200, "public-ip=203.0.113.200");
        let Event::Changed(records) = node.next().await else { panic!("{:#?}", node.log) };
        assert_eq!(records.len(), 1);
    });
}

#[test]
fn subnets_outside_the_network_are_garbage_from_the_moment_it_is_known() {
    with_api("kubeoutside", &ControlPlaneOptions::default(), async |api| {
        let outside = NodeObject { annotations: flannels(2).annotations, ..NodeObject::named("node-2") };
        api.create_nodes(&[bare(1), outside.pod_cidr(net("10.0.0.0/8"))]).unwrap();
        let mut node = Node::start(store(&settings(api), 1));
        node.until("it to be told", |node| node.leases().count() == 1).await;
        node.wish(Wish::Hold(claim(1)));
        node.until("it to be garbage", |node| node.garbage().iter().any(|it| it.contains("10.0.0.0/8"))).await;
        let mut late = Node::holding(store(&settings(api), 1), claim(1)).await;
        late.until("it to be garbage", |node| !node.garbage().is_empty()).await;
    });
}

#[test]
fn a_burst_is_told_in_few_words() {
    with_api("kubeburst", &ControlPlaneOptions::default(), async |api| {
        api.create_node(&bare(1)).unwrap();
        let mut node = Node::holding(store(&settings(api), 1), claim(1)).await;
        let begun = node.log.len();
        let nodes: Vec<NodeObject> = (2..=250).map(flannels).collect();
        // While kubectl creates them the store's thread is not running: it finds them all.
        api.create_nodes(&nodes).unwrap();
        node.until("all", |node| node.leases().count() == 250).await;
        let said = node.log.len() - begun;
        assert!(said < 50, "{said} events for 249 nodes");
        tokio::time::timeout(Duration::from_secs(1), node.next()).await.unwrap_err();
    });
}
