//! What is printed of a speaker that says what a test wants it to say.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};

use super::*;
use crate::ask::Ask;
use crate::bgp::trial::RouteText;
use crate::bgp::views::{OwnView, PathView, PeerView};
use crate::netconf::{self, Division};

fn peer(name: &str, state: &str, trouble: Option<&str>) -> PeerView {
    PeerView {
        name: name.into(),
        address: Some("10.0.0.1".parse().unwrap()),
        asn: Some(64601),
        state: state.into(),
        since_secs: 7384,
        prefixes_in: 12,
        prefixes_out: 3,
        trouble: trouble.map(str::to_owned),
        families: vec!["ipv4".into()],
        capabilities: vec!["route refresh".into()],
        origin: "configuration".into(),
        required: true,
        ..PeerView::default()
    }
}

fn route(last: u8) -> RouteView {
    RouteView {
        family: "ipv4".into(),
        prefix: format!("10.1.{last}.0/24").parse().ok(),
        evpn: None,
        neighbour: "tor1".into(),
        next_hops: vec!["10.0.0.1".to_owned()],
        as_path: "64601".into(),
        origin: "igp".into(),
        local_pref: None,
        metric: Some(5),
        paths: 2,
    }
}

/// A speaker with two peers; its monitor tells one thing and ends.
fn speaking() -> Ears {
    let (sender, mut questions) = mpsc::channel(4);
    tokio::spawn(async move {
        while let Some(question) = questions.recv().await {
            match question {
                Question::Peers(to) => {
                    let refused = "no answer from 10.0.0.1:179: connection refused; is BGP enabled there?";
                    to.send(vec![peer("tor1", "Established", Some("old")), peer("tor2", "Active", Some(refused))]).ok();
                }
                Question::Own(to) => {
                    to.send(OwnView { asn: 64512, router_id: [192, 0, 2, 1].into(), cluster: None }).ok();
                }
                Question::Routes(filter, to) => {
                    let none = filter.neighbour.is_some();
                    for piece in [vec![route(1), route(2)], vec![route(3)]].into_iter().filter(|_| !none) {
                        to.send(piece).await.ok();
                    }
                }
                Question::Explain(_, to) => drop(to.send(Vec::<PathView>::new())),
                Question::Monitor(to) => {
                    to.send(Happening::Down { neighbour: "tor2".into(), reason: "it went".into() }).await.ok();
                }
                Question::Test(trial, to) => drop(to.send(Err(format!("there is no peer {}", trial.neighbour)))),
                Question::Drain(_, to) | Question::Resume(to) => drop(to.send(())),
            }
        }
    });
    let (asks, mut asked) = mpsc::channel::<Ask>(1);
    tokio::spawn(async move {
        let text = r#"{"Network": "10.0.0.0/8", "Policies": {"p": [{"If": {"PathFirst": 64601}, "Then": "accept"}]}}"#;
        let policies = netconf::read(text, Division::Claimed).unwrap().policies;
        while let Some(Ask { answer, .. }) = asked.recv().await {
            answer.send(Answer::Policies(Some(policies.clone()))).ok();
        }
    });
    Ears { asks, speaker: Some(sender) }
}

/// The texts that come, put together, and the last exit status.
async fn said(asked: Asked, output: Output, ears: Ears) -> (String, i64) {
    let (mut server, client) = UnixStream::pair().unwrap();
    let answering = tokio::spawn(async move { answer(&mut server, &asked, (&ears, output)).await });
    let (mut text, mut exit) = (String::new(), 0);
    let mut lines = BufReader::new(client).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        let reply: Value = serde_json::from_str(&line).unwrap();
        text += reply["text"].as_str().unwrap();
        exit = reply["exit"].as_i64().unwrap();
    }
    answering.await.unwrap().unwrap();
    (text, exit)
}

#[tokio::test]
async fn peers_are_a_row_each_with_what_is_the_matter_below() {
    let (text, exit) = said(Asked::Peers { neighbour: None }, Output::Text, speaking()).await;
    let expected = "\
AS 64512, router id 192.0.2.1, 1 of 2 peers up
PEER  AS     STATE        SINCE  IN  OUT  ADDRESS
tor1  64601  Established  2h 3m  12  3    10.0.0.1
tor2  64601  Active       2h 3m  12  3    10.0.0.1
  no answer from 10.0.0.1:179: connection refused; is BGP enabled there?
";
    assert_eq!((text.as_str(), exit), (expected, 0));
    let (text, _) = said(Asked::Peers { neighbour: None }, Output::Json, speaking()).await;
    let all: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&all["as"], &all["router_id"], &all["cluster"]), (&64512.into(), &"192.0.2.1".into(), &Value::Null));
    let peers = &all["peers"];
    assert_eq!((&peers[1]["name"], &peers[1]["prefixes_in"]), (&"tor2".into(), &12.into()));
    let (text, _) = said(Asked::Peers { neighbour: Some("tor1".into()) }, Output::Text, speaking()).await;
    assert!(text.starts_with("peer        tor1, AS 64601, 10.0.0.1\nfrom        configuration, required"), "{text}");
    let (text, exit) = said(Asked::Peers { neighbour: Some("tor3".into()) }, Output::Text, speaking()).await;
    assert_eq!((text.as_str(), exit), ("there is no peer `tor3`: there are tor1, tor2\n", 2));
}

#[tokio::test]
async fn routes_come_in_pieces_and_are_one_list() {
    let all = || Asked::Routes { within: None, neighbour: None, family: None };
    let (text, exit) = said(all(), Output::Text, speaking()).await;
    assert_eq!((text.lines().count(), exit), (4, 0), "{text}");
    assert!(text.starts_with("PREFIX ") && text.contains("\n10.1.3.0/24 "), "{text}");
    let path = text.lines().last().unwrap().split_whitespace().rev().take(5).collect::<Vec<_>>();
    assert_eq!(path, ["i", "64601", "2", "5", "-"], "origin, AS path, paths, MED, no local preference");
    let (text, _) = said(all(), Output::Json, speaking()).await;
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap().as_array().unwrap().len(), 3, "{text}");
    let stranger = Asked::Routes { within: None, neighbour: Some("tor9".into()), family: None };
    let (text, exit) = said(stranger, Output::Text, speaking()).await;
    assert_eq!((text.as_str(), exit), ("there is no peer `tor9`: there are tor1, tor2\n", 2));
    let none = || Asked::Routes { within: None, neighbour: Some("tor2".into()), family: None };
    assert_eq!(said(none(), Output::Json, speaking()).await.0, "[]\n");
    assert_eq!(said(none(), Output::Text, speaking()).await.0, "no routes\n");
}

#[tokio::test]
async fn who_watches_is_told_each_thing_and_why_it_ends() {
    let (text, exit) = said(Asked::Monitor, Output::Text, speaking()).await;
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].ends_with("Z  down   tor2: it went") && lines[1].starts_with("dropped: 1024 changes"), "{text}");
    assert_eq!(exit, 2);
    let (text, _) = said(Asked::Monitor, Output::Json, speaking()).await;
    let first: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!((&first["event"], &first["reason"]), (&"down".into(), &"it went".into()));
}

#[tokio::test]
async fn a_route_is_tried_by_name_and_by_neighbour() {
    let asked = |name: Option<&str>, neighbour: Option<&str>, as_path: &str| {
        let route = RouteText { prefix: "10.0.0.0/8".into(), as_path: as_path.into(), ..RouteText::default() };
        let (name, neighbour) = (name.map(str::to_owned), neighbour.map(str::to_owned));
        Asked::Policy(Box::new(PolicyAsked { name, neighbour, way: Default::default(), asn: None, route }))
    };
    let (text, exit) = said(asked(Some("p"), None, "64601"), Output::Text, speaking()).await;
    assert!(text.contains("rule `#1`: accept") && exit == 0, "{text}");
    let (text, exit) = said(asked(Some("p"), None, "64602"), Output::Json, speaking()).await;
    assert!(text.contains("\"accepted\": false") && exit == 1, "{text}");
    let (text, exit) = said(asked(Some("q"), None, "64602"), Output::Text, speaking()).await;
    assert_eq!((text.as_str(), exit), ("there is no policy `q`: there are p, accept, reject\n", 2));
    let (text, exit) = said(asked(None, Some("tor9"), "64602"), Output::Text, speaking()).await;
    assert_eq!((text.as_str(), exit), ("there is no peer tor9\n", 2));
}

#[tokio::test]
async fn the_rest_is_said_in_a_sentence() {
    let prefix = "10.9.0.0/16".parse().unwrap();
    let (text, exit) = said(Asked::Explain { prefix }, Output::Text, speaking()).await;
    assert!(text.starts_with("nobody announces 10.9.0.0/16") && exit == 1, "{text}");
    let (text, _) = said(Asked::Drain { text: "bye".into() }, Output::Text, speaking()).await;
    assert!(text.contains("has left its BGP peers"), "{text}");
    let (text, _) = said(Asked::Undrain, Output::Json, speaking()).await;
    assert!(text.contains("\"undrain\""), "{text}");
    let silent = Ears { speaker: None, ..speaking() };
    let (text, exit) = said(Asked::Peers { neighbour: None }, Output::Text, silent).await;
    assert!(text.contains("BGP does not run on this node") && exit == 2, "{text}");
}
