//! Who reflects, by name, by label and by lease, and that nothing is let go before something else stands.

use super::super::reflection::OVERLAP;
use super::*;
use crate::labels::Labels;
use crate::store::Instructions;

const CLUSTER: Ipv4Addr = Ipv4Addr::new(0, 0, 0, 9);

fn keys(nodes: &str) -> String {
    format!(r#", "RouteReflectors": {{"Nodes": ["{nodes}"], "ClusterID": "0.0.0.9"}}"#)
}

/// A lease whose node says that it reflects.
fn reflector(name: &str, number: u8) -> Lease {
    let mut lease = lease(name, number);
    let data = BackendData::Bgp { asn: None, reflects_for: Some(CLUSTER) };
    lease.endpoints = lease.endpoints.map(|_, end| Endpoint { data: data.clone(), ..end.clone() });
    lease
}

fn change(node: &mut Node, lease: Lease, at: Moment) {
    node.on_event(Event::Changed(vec![Record::Lease(lease)]), at);
    node.follow_reflection(at);
}

fn label(node: &mut Node, labels: &str, at: Moment) {
    let labels = Labels::parse(labels).unwrap();
    node.on_event(Event::Instructed(Instructions { labels, ..Instructions::default() }), at);
    node.follow_reflection(at);
}

fn said(node: &Node) -> BackendData {
    node.bgp_data()
}

#[test]
fn with_reflectors_a_node_speaks_with_those_that_say_so_and_they_with_all() {
    let others = [lease("b", 2), lease("c", 3), reflector("spine-1", 4), reflector("spine-2", 5)];
    let client = node(&keys("spine-*"), &others);
    let wish = client.speaker().unwrap();
    assert_eq!(names(&wish), ["spine-1", "spine-2"]);
    assert_eq!(wish.cluster, wish.router_id);
    assert!(wish.neighbours.values().all(|neighbour| neighbour.session.reflects == Reflects::No));
    assert_eq!(said(&client), BackendData::Bgp { asn: None, reflects_for: None });
    let chosen = node(&keys("a"), &others);
    let wish = chosen.speaker().unwrap();
    assert_eq!((wish.neighbours.len(), wish.cluster), (4, CLUSTER));
    let clients: Vec<bool> = wish.neighbours.values().map(|it| it.session.reflects == Reflects::ForClient).collect();
    assert_eq!(clients, [true, true, false, false], "two that reflect are none of each other's clients");
    assert_eq!(said(&chosen), BackendData::Bgp { asn: None, reflects_for: Some(CLUSTER) });
}

#[test]
fn while_nobody_reflects_each_speaks_with_each_and_it_is_said() {
    let mut node = node(&keys("role=spine"), &[lease("b", 2), lease("c", 3)]);
    assert_eq!(names(&node.speaker().unwrap()), ["b", "c"]);
    assert!(node.reflectors_missing().unwrap().starts_with("BGP: no node says in its lease that it reflects"));
    // The first that does is met already, and the others are left once it has had the time to tell of them.
    change(&mut node, reflector("b", 2), Moment::from_secs(10));
    assert_eq!((names(&node.speaker().unwrap()), node.reflectors_missing()), (vec!["b", "c"], None));
    let due = node.reflection_due().unwrap();
    assert_eq!(due, Moment::from_secs(10) + OVERLAP);
    node.new_wish_of_speaker();
    node.follow_reflection(due);
    assert_eq!(names(&node.new_wish_of_speaker().flatten().unwrap()), ["b"]);
    assert_eq!(node.reflection_due(), None);
}

#[test]
fn a_label_makes_a_node_a_reflector_and_without_it_it_is_one_until_others_are() {
    let mut node = node(&keys("role=spine"), &[lease("b", 2), reflector("c", 3)]);
    assert_eq!(names(&node.speaker().unwrap()), ["c"]);
    label(&mut node, "rack=1,role=spine", Moment::ZERO);
    let wish = node.speaker().unwrap();
    assert_eq!((names(&wish), wish.cluster), (vec!["b", "c"], CLUSTER));
    assert_eq!(wish.neighbours.values().next().unwrap().session.reflects, Reflects::ForClient);
    label(&mut node, "rack=1", Moment::from_secs(60));
    assert_eq!(said(&node), BackendData::Bgp { asn: None, reflects_for: None }, "the others look elsewhere");
    let wish = node.speaker().unwrap();
    // What its cluster reflected it refused: from now on it takes it.
    assert_eq!((names(&wish), wish.cluster), (vec!["b", "c"], wish.router_id));
    assert_eq!(wish.neighbours.values().next().unwrap().session.reflects, Reflects::ForClient);
    node.follow_reflection(Moment::from_secs(60) + OVERLAP);
    assert_eq!(names(&node.speaker().unwrap()), ["c"]);
}

#[test]
fn a_node_that_reflected_before_it_was_started_anew_without_its_label_does_so_for_a_moment() {
    let mut node = Node::new(identity(Division::Claimed), None, None);
    let text = format!(
        r#"{{"Network": "10.244.0.0/16", "EnableIPv6": true, "IPv6Network": "fd00:10:244::/48", "Backend": {{"Type": "bgp"{}}}}}"#,
        keys("role=spine")
    );
    let own = reflector("a", 1);
    let all = vec![Record::Lease(own.clone()), Record::Lease(reflector("b", 2)), Record::Lease(lease("c", 3))];
    for event in [Event::Network(text), Event::Mine(own), Event::Snapshot(all)] {
        node.on_event(event, Moment::ZERO);
    }
    node.on_uplink(Ok(uplink()), Moment::ZERO);
    node.follow_reflection(Moment::ZERO);
    assert_eq!(names(&node.speaker().unwrap()), ["b", "c"]);
    node.follow_reflection(OVERLAP);
    assert_eq!(names(&node.speaker().unwrap()), ["b"]);
}

#[test]
fn peers_are_chosen_by_label_and_the_flags_stand_behind_the_stores() {
    let peers = r#", "Peers": [{"Name": "tor-1", "Address": "192.0.2.251", "AS": 65000, "Import": "accept", "NodeSelector": ["rack=1"]},
        {"Name": "tor-2", "Address": "192.0.2.252", "AS": 65000, "Import": "accept", "NodeSelector": ["rack=2", "b"]}]"#;
    let mut node = node(peers, &[]);
    assert_eq!(names(&node.speaker().unwrap()), Vec::<&str>::new());
    node.identity.labels = Labels::parse("rack=1").unwrap();
    assert_eq!(names(&node.speaker().unwrap()), ["tor-1"]);
    node.new_wish_of_speaker();
    label(&mut node, "rack=2", Moment::ZERO);
    assert_eq!(names(&node.new_wish_of_speaker().flatten().unwrap()), ["tor-2"]);
}
