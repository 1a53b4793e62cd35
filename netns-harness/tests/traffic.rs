//! Stations reach each other or do not, and lost packets are counted right.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipam::{Family, Stack};
use netns_harness::{ECHO_PORT, Lab, Matrix, Node, Pace, Pod, Station, Stream, Transport, wait_for};

const LIMIT: Duration = Duration::from_secs(10);

fn addresses(v4: &str, v6: &str) -> Stack<IpAddr> {
    Stack::Dual { v4: v4.parse().unwrap(), v6: v6.parse().unwrap() }
}

/// Two nodes with two bare pods each, and static routes between them: what a pod network does, by hand.
fn routed_pods(lab: &Lab) -> (Vec<Node>, Vec<Pod>) {
    let nodes: Vec<Node> = ["alpha", "beta"].iter().map(|name| lab.node(name).unwrap()).collect();
    let mut pods = Vec::new();
    for (number, node) in nodes.iter().enumerate() {
        for pod in 2..4 {
            let addresses = addresses(&format!("10.1.{number}.{pod}"), &format!("fd00:1:{number}::{pod}"));
            pods.push(node.bare_pod(&format!("p{pod}"), &addresses).unwrap());
        }
        let (other, far) = (1 - number, &nodes[1 - number]);
        let via = |family| far.address(family).unwrap();
        node.ip(&format!("route add 10.1.{other}.0/24 via {}", via(Family::V4))).unwrap();
        node.ip(&format!("route add fd00:1:{other}::/64 via {}", via(Family::V6))).unwrap();
    }
    (nodes, pods)
}

fn stations(pods: &[Pod]) -> Vec<&Station> {
    pods.iter().map(|pod| &**pod).collect()
}

#[test]
fn pods_reach_each_other_over_static_routes() {
    let lab = Lab::new("routes").unwrap();
    let (_nodes, pods) = routed_pods(&lab);
    let matrix = Matrix::measure(&stations(&pods)).unwrap();
    matrix.check().unwrap();
    assert_eq!(matrix.cells.len(), 4 * 4 * 2);
    let far = SocketAddr::new(pods[3].address(Family::V6).unwrap(), ECHO_PORT);
    pods[0].probe(far, Transport::Udp, LIMIT).unwrap();
}

#[test]
fn a_missing_route_is_a_hole_in_the_matrix_that_names_both_ends() {
    let lab = Lab::new("hole").unwrap();
    let (nodes, pods) = routed_pods(&lab);
    nodes[1].ip("route add blackhole 10.1.0.3/32").unwrap();
    let matrix = Matrix::measure(&stations(&pods)).unwrap();
    let failed: Vec<String> =
        matrix.failures().iter().map(|cell| format!("{} {} {}", cell.from, cell.to, cell.family)).collect();
    assert_eq!(
        failed,
        ["alpha.p3 beta.p2 IPv4", "alpha.p3 beta.p3 IPv4", "beta.p2 alpha.p3 IPv4", "beta.p3 alpha.p3 IPv4"]
    );
    assert!(matrix.check().unwrap_err().to_string().contains("4 of 32 probes"));
}

/// Waits until so many packets of a bounded stream have come back since it began, which may be before this is called.
fn wait_for_all(stream: &Stream, count: u64) {
    let missing = || count - stream.received().min(count);
    wait_for("a bounded stream", LIMIT, || {
        anyhow::ensure!(missing() == 0, "{} are missing", missing());
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_quiet_network_loses_nothing() {
    let lab = Lab::new("quiet").unwrap();
    let (_nodes, pods) = routed_pods(&lab);
    let pace = Pace { per_sec: 2000, at_most: Duration::from_millis(500) };
    for family in Family::ALL {
        let stream = Stream::start(&pods[0], &pods[2], family, pace).unwrap();
        wait_for_all(&stream, 1000);
        let report = stream.stop().unwrap();
        assert_eq!((report.lost(), report.duplicated), (0, 0), "{report:?}");
        assert_eq!(report.sent, 1000, "a stream is bounded");
    }
}

#[test]
fn every_tenth_packet_dropped_is_a_tenth_lost() {
    let lab = Lab::new("tenth").unwrap();
    let (_nodes, pods) = routed_pods(&lab);
    let rule = "add table inet t\nadd chain inet t c { type filter hook forward priority 0; }\n\
                add rule inet t c udp dport 7 numgen inc mod 10 == 0 drop";
    pods[0].node().feed(["nft", "-f", "-"], rule).unwrap();
    let pace = Pace { per_sec: 2000, at_most: Duration::from_millis(500) };
    let stream = Stream::start(&pods[0], &pods[2], Family::V4, pace).unwrap();
    wait_for_all(&stream, 900);
    let report = stream.stop().unwrap();
    assert_eq!((report.sent, report.lost(), report.duplicated), (1000, 100, 0));
}

#[test]
fn a_gap_is_as_long_as_the_traffic_was_away() {
    let lab = Lab::new("gap").unwrap();
    let nodes = [lab.node("alpha").unwrap(), lab.node("beta").unwrap()];
    let stream = Stream::start(&nodes[0], &nodes[1], Family::V4, Pace::default()).unwrap();
    stream.wait_more(50, LIMIT).unwrap();
    let begin = std::time::Instant::now();
    lab.partition(&nodes[0], &nodes[1]).unwrap();
    let received = stream.received();
    nodes[0].reach(&nodes[1], Family::V6).expect_err("they are partitioned");
    assert!(stream.received() <= received + 50, "answers that were on their way, at most");
    lab.join(&nodes[0], &nodes[1]).unwrap();
    stream.wait_more(50, LIMIT).unwrap();
    let away = begin.elapsed();
    let report = stream.stop().unwrap();
    assert!(report.lost() > 0 && report.longest_gap <= away, "{report:?}");
}
