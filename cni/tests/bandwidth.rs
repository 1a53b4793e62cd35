//! Bandwidth with real packets: rates hold both ways, CHECK sees what is missing, and nothing is left.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod stage;
mod traffic;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use stage::{Stage, TOWPATH, run_in};
use traffic::{called_as, inside, shell};

const MEGABIT: u64 = 1_000_000;

fn bandwidth(limits: Value) -> Value {
    json!({ "capabilities": { "bandwidth": true }, "runtimeConfig": { "bandwidth": limits } })
}

/// Bits a second from one namespace to an address in another, once what may pass at once has passed.
fn rate(from: &str, to_netns: &str, to: &str) -> f64 {
    let to: SocketAddr = format!("{to}:5001").parse().unwrap();
    let listener = inside(to_netns, || TcpListener::bind(to).unwrap());
    let receiver = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut octets = vec![0; 1 << 16];
        let (begin, mut since, mut passed) = (Instant::now(), None, 0);
        while begin.elapsed() < Duration::from_millis(2500) {
            let received = stream.read(&mut octets).unwrap();
            assert_ne!(received, 0, "the sender goes on until we have enough");
            if begin.elapsed() > Duration::from_millis(500) {
                since.get_or_insert_with(Instant::now);
                passed += received;
            }
        }
        passed as f64 * 8.0 / since.unwrap().elapsed().as_secs_f64()
    });
    let mut stream = inside(from, || TcpStream::connect(to).unwrap());
    let octets = vec![0; 1 << 16];
    while stream.write_all(&octets).is_ok() {}
    receiver.join().unwrap()
}

#[test]
fn what_a_pod_receives_and_sends_is_held_to_its_rates() {
    let mut stage = Stage::new();
    let (node, pod) = (stage.netns(), stage.pod("a"));
    let limits = json!({
        "ingressRate": 40 * MEGABIT, "ingressBurst": MEGABIT, "egressRate": 20 * MEGABIT, "egressBurst": 800_000
    });
    let mut config = stage.config("1.1.0", bandwidth(limits));
    let result = stage.towpath("ADD", "a", &pod, &config).success();
    let names: Vec<&str> =
        result["interfaces"].as_array().unwrap().iter().map(|link| link["name"].as_str().unwrap()).collect();
    assert!(names.len() == 4 && names[3].starts_with("bwp"), "{names:?}");
    for (asked, from, to_netns, to) in [
        (40.0, &node, &pod, "10.244.1.2"),
        (20.0, &pod, &node, "10.244.1.1"),
        (40.0, &node, &pod, "[fd00:10:0:1::2]"),
        (20.0, &pod, &node, "[fd00:10:0:1::1]"),
    ] {
        let measured = rate(from, to_netns, to) / MEGABIT as f64;
        // TCP's and IP's headers count, retransmissions do, and the tests beside this one take the processor away: what waited comes in a burst.
        assert!((asked * 0.7..asked * 1.25).contains(&measured), "{measured:.1} Mbit/s from {from}, {asked} asked");
    }
    stage::merge(&mut config, json!({ "prevResult": result }));
    stage.towpath("CHECK", "a", &pod, &config).success();
    stage.towpath("DEL", "a", &pod, &config).success();
    assert_eq!(stage.links(), ["cni0"]);
}

#[test]
fn check_names_the_limit_that_is_missing() {
    let mut stage = Stage::new();
    let (node, pod) = (stage.netns(), stage.pod("a"));
    // Rates and bursts of every size: far beyond 32 bits, and what the container runtimes pass.
    for (rate, burst) in [(8 * MEGABIT, 2_147_483_647_u64), (50_000 * MEGABIT, 34_359_738_000), (1000, 8)] {
        let limits = json!({ "ingressRate": rate, "ingressBurst": burst, "egressRate": rate, "egressBurst": burst });
        let mut config = stage.config("1.1.0", limits);
        let result = stage.towpath("ADD", "a", &pod, &config).success();
        let (host, ifb) = (&result["interfaces"][1]["name"], &result["interfaces"][3]["name"]);
        let (host, ifb) = (host.as_str().unwrap(), ifb.as_str().unwrap());
        stage::merge(&mut config, json!({ "prevResult": result }));
        stage.towpath("CHECK", "a", &pod, &config).success();
        for (harm, names) in [
            (format!("tc filter del dev {host} ingress"), "is not led through"),
            (format!("tc qdisc replace dev {ifb} root tbf rate 9kbit burst 10k latency 1ms"), "what the pod sends"),
            (format!("ip link set {ifb} down"), "is down"),
            (format!("ip link del {ifb}"), "is not there"),
            (format!("tc qdisc del dev {host} root"), "what the pod receives"),
        ] {
            shell(&node, &harm);
            let (code, message) = stage.towpath("CHECK", "a", &pod, &config).error();
            assert!(code == 102 && message.contains(names), "{harm}: {message}");
        }
        stage.towpath("DEL", "a", &pod, &config).success();
    }
}

#[test]
fn half_a_limit_and_one_that_cannot_be_kept_are_refused() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    for (limits, code, names) in [
        (json!({ "ingressRate": 1000 }), 7, "ingressBurst"),
        (json!({ "egressBurst": 1000 }), 7, "egressRate"),
        (json!({ "egressRate": 1000, "egressBurst": 34_359_738_360_u64 }), 7, "egressBurst"),
        (json!({ "egressRate": 7, "egressBurst": 8 }), 7, "egressRate"),
        (json!({ "egressRate": -1, "egressBurst": 8 }), 7, "egressRate"),
        (json!({ "egressRate": "1M", "egressBurst": 8 }), 7, "egressRate"),
        (json!({ "egressRate": 1000, "egressBurst": 8, "shapedSubnets": ["10.0.0.0/8"] }), 2, "shapedSubnets"),
    ] {
        for more in [limits.clone(), bandwidth(limits)] {
            let (said, message) = stage.towpath("ADD", "a", &pod, &stage.config("1.1.0", more.clone())).error();
            assert!(said == code && message.contains(names), "{more}: {message}");
        }
        assert!(stage.links().is_empty() && stage.reserved().is_empty());
    }
    let nothing = bandwidth(json!({ "ingressRate": 0, "ingressBurst": 0 }));
    stage.towpath("ADD", "a", &pod, &stage.config("1.1.0", nothing)).success();
    assert_eq!(stage.links().len(), 2);
}

#[test]
fn behind_the_reference_bridge_it_limits_and_each_takes_down_what_the_other_made() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    let ours = called_as(&stage, "bandwidth");
    let theirs = format!("{}/bandwidth", stage::REFERENCE);
    let bridge = format!("{}/bridge", stage::REFERENCE);
    let range = json!({ "type": "host-local", "subnet": "10.9.0.0/24", "dataDir": stage.path("ledger") });
    let base = json!({ "cniVersion": "1.0.0", "name": "net1", "type": "bridge", "bridge": "cni0", "ipam": range });
    let limits = bandwidth(json!({
        "ingressRate": MEGABIT, "ingressBurst": MEGABIT, "egressRate": MEGABIT, "egressBurst": MEGABIT
    }));
    for (adds, deletes) in [(&ours, &theirs), (&theirs, &ours)] {
        let previous = stage.plugin(&bridge, "ADD", ("a", &pod), &base).success();
        let mut config = json!({ "cniVersion": "1.0.0", "name": "net1", "type": "bandwidth", "prevResult": previous });
        stage::merge(&mut config, limits.clone());
        let result = stage.plugin(adds, "ADD", ("a", &pod), &config).success();
        assert_eq!(result["interfaces"].as_array().unwrap().len(), 4, "{result}");
        stage::merge(&mut config, json!({ "prevResult": result }));
        stage.plugin(&ours, "CHECK", ("a", &pod), &config).success();
        stage.plugin(&theirs, "CHECK", ("a", &pod), &config).success();
        stage.plugin(deletes, "DEL", ("a", &pod), &config).success();
        stage.plugin(&bridge, "DEL", ("a", &pod), &base).success();
        assert_eq!(stage.links(), ["cni0"]);
    }
}

#[test]
fn gc_takes_the_devices_of_whoever_is_gone_and_of_an_add_that_was_killed() {
    let mut stage = Stage::new();
    let (node, a, b) = (stage.netns(), stage.pod("a"), stage.pod("b"));
    let limits = json!({ "egressRate": MEGABIT, "egressBurst": MEGABIT });
    let config = stage.config("1.1.0", limits);
    for (container, pod) in [("a", &a), ("b", &b)] {
        stage.towpath("ADD", container, pod, &config).success();
    }
    // What the kernel has after the first of ADD's messages, and a device of somebody else.
    shell(&node, "ip link add bwp0123456789ab type ifb; ip link add mine type ifb");
    let valid = json!({ "cni.dev/valid-attachments": [{ "containerID": "b", "ifname": "eth0" }] });
    stage.call(TOWPATH, &[("CNI_COMMAND", "GC")], stage.config("1.1.0", valid).to_string().as_bytes()).success();
    let listed = shell(&node, "ip -o link show type ifb");
    assert_eq!(listed.lines().count(), 2, "{listed}");
    assert!(listed.contains("mine") && listed.contains("alias towpath-pod net1 b/eth0"), "{listed}");
    assert!(run_in(&b, &["ping", "-c", "1", "-W", "2", "10.244.1.1"]).status.success());
}
