//! Wires are cut, lossy, narrow and renumbered as a test says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::SocketAddr;
use std::time::Duration;

use ipam::{Family, Stack};
use netns_harness::{ECHO_PORT, Lab, Node, Pace, Stream, Transport, wait_for};

const LIMIT: Duration = Duration::from_secs(10);

fn three(lab: &Lab) -> [Node; 3] {
    ["alpha", "beta", "gamma"].map(|name| lab.node(name).unwrap())
}

fn cut(from: &Node, to: &Node) {
    for family in Family::ALL {
        to.serve_echo().unwrap();
        let address = SocketAddr::new(to.address(family).unwrap(), ECHO_PORT);
        from.probe(address, Transport::Tcp, Duration::from_millis(300)).expect_err("the way is cut");
    }
}

fn joined(from: &Node, to: &Node) {
    for family in Family::ALL {
        // Neighbour discovery of the time before may still be failing.
        wait_for("the way to be open", LIMIT, || from.reach(to, family)).unwrap();
    }
}

#[test]
fn a_partition_is_between_two_nodes_and_no_others() {
    let lab = Lab::new("partition").unwrap();
    let [alpha, beta, gamma] = three(&lab);
    lab.partition(&alpha, &beta).unwrap();
    cut(&alpha, &beta);
    joined(&alpha, &gamma);
    joined(&beta, &gamma);
    lab.join(&alpha, &beta).unwrap();
    joined(&alpha, &beta);
    lab.partition(&alpha, &gamma).unwrap();
    lab.switch().heal().unwrap();
    joined(&alpha, &gamma);
}

#[test]
fn an_unplugged_wire_has_no_carrier_and_comes_back() {
    let lab = Lab::new("plug").unwrap();
    let [alpha, beta, _] = three(&lab);
    let carrier = |node: &Node| {
        let links = node.json(["ip", "-j", "link", "show", "eth0"]).unwrap();
        links[0]["flags"].as_array().unwrap().iter().any(|flag| flag == "LOWER_UP")
    };
    assert!(carrier(&alpha));
    alpha.wire().unplug().unwrap();
    assert!(!carrier(&alpha));
    cut(&alpha, &beta);
    alpha.wire().plug().unwrap();
    joined(&alpha, &beta);
}

#[test]
fn an_interface_may_go_down_or_away_and_come_back() {
    let lab = Lab::new("away").unwrap();
    let [alpha, beta, _] = three(&lab);
    let addresses = alpha.wire().addresses().unwrap();
    alpha.wire().down().unwrap();
    cut(&beta, &alpha);
    alpha.wire().up().unwrap();
    joined(&beta, &alpha);
    alpha.wire().remove().unwrap();
    cut(&beta, &alpha);
    alpha.wire().replace(1400, &addresses).unwrap();
    joined(&beta, &alpha);
    let links = alpha.json(["ip", "-j", "link", "show", "eth0"]).unwrap();
    assert_eq!(links[0]["mtu"], 1400);
}

#[test]
fn an_address_and_an_mtu_may_change() {
    let lab = Lab::new("change").unwrap();
    let [alpha, beta, _] = three(&lab);
    let new = Stack::Dual { v4: "192.0.2.200/24".parse().unwrap(), v6: "2001:db8::200/64".parse().unwrap() };
    alpha.wire().readdress(&new).unwrap();
    assert_eq!(alpha.address(Family::V4).unwrap().to_string(), "192.0.2.200");
    joined(&beta, &alpha);
    alpha.wire().set_mtu(1400).unwrap();
    let ping = ["ping", "-c1", "-W1", "-Mdo", "-s1400", "192.0.2.12"];
    let error = alpha.run(ping).expect_err("1428 octets do not fit 1400").to_string();
    assert!(error.contains(alpha.namespace().name()), "{error}");
}

#[test]
fn a_lossy_wire_loses_about_what_it_should() {
    let lab = Lab::new("lossy").unwrap();
    let [alpha, beta, _] = three(&lab);
    joined(&alpha, &beta);
    alpha.wire().lose(20).unwrap();
    let pace = Pace { per_sec: 4000, at_most: Duration::from_millis(500) };
    let stream = Stream::start(&alpha, &beta, Family::V4, pace).unwrap();
    stream.wait_more(1000, LIMIT).unwrap();
    // There and back: 0.8 × 0.8 arrive, so 36 of 100 are lost; six standard deviations are 6.4.
    let report = stream.stop().unwrap();
    let percent = report.lost() * 100 / report.sent;
    assert!((29..=43).contains(&percent), "{percent} % of {report:?}");
    alpha.wire().lose(0).unwrap();
    let stream = Stream::start(&alpha, &beta, Family::V4, pace).unwrap();
    stream.wait_more(500, LIMIT).unwrap();
    assert_eq!(stream.stop().unwrap().lost(), 0);
}
