//! Pods that run follow another MTU, whatever they hang on; and what somebody else has set stays, whoever is killed in between.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::disallowed_types, reason = "a process keeps a namespace that has no name")]

mod stage;

use std::path::Path;
use std::time::{Duration, Instant};

use kernel::netns::Netns;
use kernel::pod::mtu::{Followed, Reason, follow, group};
use serde_json::{Value, json};
use stage::{Stage, ip_in, merge, output, pings};

/// What the daemon does after it has written the file anew.
fn change(stage: &Stage, mtu: u32) -> Followed {
    stage.write_subnet_file(&format!(
        "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_IPV6_NETWORK=fd00:10::/48\n\
         FLANNEL_IPV6_SUBNET=fd00:10:0:1::1/64\nFLANNEL_MTU={mtu}\nFLANNEL_IPMASQ=true\n"
    ));
    again(stage, mtu)
}

fn again(stage: &Stage, mtu: u32) -> Followed {
    let netns = Netns::open(Path::new(&stage.netns())).unwrap();
    netns.run(|| follow(&stage.path("subnet.env"), mtu)).unwrap().unwrap()
}

fn mtu_of(netns: &str, link: &str) -> u64 {
    ip_in(netns, &format!("link show {link}"))[0]["mtu"].as_u64().unwrap()
}

/// The end on the node of a pod's wire, by its container.
fn host_end(stage: &Stage, container: &str) -> (String, u64) {
    let links = stage.ip("link show type veth");
    let of =
        |link: &&Value| link["ifalias"].as_str().is_some_and(|alias| alias.ends_with(&format!(" {container}/eth0")));
    let link = links.as_array().unwrap().iter().find(of).unwrap_or_else(|| panic!("{container}: {links}")).clone();
    (link["ifname"].as_str().unwrap().to_owned(), link["mtu"].as_u64().unwrap())
}

/// Inside and outside.
fn ends(stage: &Stage, container: &str, pod: &str) -> (u64, u64) {
    (mtu_of(pod, "eth0"), host_end(stage, container).1)
}

fn set(netns: &str, link: &str, what: &str) {
    let name = Path::new(netns).file_name().unwrap().to_str().unwrap();
    let words = format!("-n {name} link set {link} {what}");
    let said = output("ip", &words.split(' ').collect::<Vec<_>>());
    assert!(said.status.success(), "ip {words}: {}", String::from_utf8_lossy(&said.stderr));
}

#[test]
fn pods_on_bridges_and_without_a_bridge_follow_with_both_ends_and_check_agrees() {
    let mut stage = Stage::new();
    let kinds = [json!({}), json!({ "mode": "routed" }), json!({ "bridge": "br1", "isGateway": false })];
    let mut pods = Vec::new();
    for (number, kind) in kinds.into_iter().enumerate() {
        let (pod, container) = (stage.pod(&format!("p{number}")), format!("c{number}"));
        let mut config = stage.config("1.1.0", kind);
        let result = stage.towpath("ADD", &container, &pod, &config).success();
        merge(&mut config, json!({ "prevResult": result }));
        pods.push((container, pod, config));
    }
    for (mtu, links) in [(1350_u64, "smaller"), (1350, "the same"), (1430, "larger")] {
        let followed = change(&stage, mtu as u32);
        assert_eq!((followed.changed == 0, followed.left.len()), (links == "the same", 0), "{links}: {followed:?}");
        for (container, pod, config) in &pods {
            assert_eq!(ends(&stage, container, pod), (mtu, mtu), "{container}");
            stage.towpath("CHECK", container, pod, config).success();
        }
        for link in ["cni0", "br1"] {
            assert_eq!(mtu_of(&stage.netns(), link), mtu, "{link}");
        }
        assert!(pings(&pods[0].1, "10.244.1.1") && pings(&pods[1].1, "10.244.1.1"));
    }
    for (container, pod, config) in &pods {
        stage.towpath("DEL", container, pod, config).success();
    }
    assert_eq!(change(&stage, 1300).left, []);
}

#[test]
fn flannels_pods_follow_and_an_mtu_that_is_written_stays() {
    let mut stage = Stage::new();
    let paths = json!({
        "cniVersion": "1.0.0", "name": "net1", "type": "flannel", "subnetFile": stage.path("subnet.env"),
        "dataDir": stage.path("flannel"), "ipam": { "dataDir": stage.path("ledger") }
    });
    let written = stage.config("1.0.0", json!({ "mtu": 1400, "bridge": "br1" }));
    let [mut usual, mut fixed] = [paths.clone(), paths];
    merge(&mut usual, json!({ "delegate": { "isDefaultGateway": true } }));
    merge(&mut fixed, json!({ "delegate": { "isDefaultGateway": true, "mtu": 1400, "bridge": "br2" } }));
    let pods = ["a", "b", "c"].map(|name| stage.pod(name));
    stage.by_name("flannel", "ADD", ("c0", &pods[0]), &usual).success();
    stage.by_name("flannel", "ADD", ("c1", &pods[1]), &fixed).success();
    stage.towpath("ADD", "c2", &pods[2], &written).success();
    assert_eq!(change(&stage, 1350).left, []);
    assert_eq!(ends(&stage, "c0", &pods[0]), (1350, 1350));
    assert_eq!(ends(&stage, "c1", &pods[1]), (1400, 1400));
    assert_eq!(ends(&stage, "c2", &pods[2]), (1400, 1400));
    let bridges = ["cni0", "br1", "br2"].map(|bridge| mtu_of(&stage.netns(), bridge));
    assert_eq!(bridges, [1350, 1400, 1400]);
    // Another daemon's file is another daemon's business.
    let netns = Netns::open(Path::new(&stage.netns())).unwrap();
    let other = netns.run(|| follow(Path::new("/run/other/subnet.env"), 1200)).unwrap().unwrap();
    assert_eq!(other, Followed::default());
}

#[test]
fn what_is_set_inside_stays_and_what_passed_still_passes() {
    let mut stage = Stage::new();
    let config = stage.config("1.1.0", json!({}));
    // By a plugin behind ours: larger than what comes, and smaller; and by a pod that has the right to.
    let pods = [("c0", 1400), ("c1", 1300), ("c2", 9000)].map(|(container, mtu)| {
        let pod = stage.pod(container);
        stage.towpath("ADD", container, &pod, &config).success();
        set(&pod, "eth0", &format!("mtu {mtu}"));
        (container, pod, mtu)
    });
    let followed = change(&stage, 1350);
    assert!(followed.left.iter().all(|left| left.reason == Reason::SetInside), "{followed:?}");
    assert_eq!(followed.left.iter().map(|left| left.mtu.unwrap()).collect::<Vec<_>>(), [1400, 1300, 9000]);
    let outside = pods.each_ref().map(|(container, pod, mtu)| {
        let (inside, outside) = ends(&stage, container, pod);
        assert_eq!(inside, *mtu);
        outside
    });
    // What of the first passed does so still, and is told by the node what is too large for the way.
    assert_eq!(outside, [1450, 1350, 1350]);
    assert_eq!(again(&stage, 1350).changed, 0, "nothing is fought for");
    set(&pods[0].1, "eth0", "mtu 1350");
    set(&pods[2].1, "eth0", "mtu 1350");
    assert_eq!(again(&stage, 1350).left.len(), 1);
    assert_eq!(change(&stage, 1420).left.len(), 1);
    assert_eq!(pods.each_ref().map(|(_, pod, _)| mtu_of(pod, "eth0")), [1420, 1300, 1420]);
}

#[test]
fn a_pod_that_is_gone_or_cannot_be_found_keeps_nobody_waiting_and_a_killed_one_goes_on() {
    let mut stage = Stage::new();
    let config = stage.config("1.1.0", json!({}));
    let pods = ["c0", "c1", "c2"].map(|container| {
        let pod = stage.pod(container);
        stage.towpath("ADD", container, &pod, &config).success();
        pod
    });
    // Killed after the pod's end, and before the host's; what is wanted now is something else again.
    let (file, node) = (stage.path("subnet.env"), stage.netns());
    set(&node, &host_end(&stage, "c0").0, &format!("group {}", group(&file, 1350)));
    set(&pods[0], "eth0", "mtu 1350");
    // And while it grew: the host's end has it already.
    set(&node, &host_end(&stage, "c1").0, "mtu 1500");
    // A namespace without a name: somebody in it keeps it.
    let mut keeper = std::process::Command::new("nsenter");
    let mut keeper = keeper.arg(format!("--net={}", pods[2])).args(["sleep", "600"]).spawn().unwrap();
    let name = format!("/proc/{}/comm", keeper.id());
    let deadline = Instant::now() + Duration::from_secs(20);
    while std::fs::read_to_string(&name).unwrap().trim() != "sleep" {
        assert!(Instant::now() < deadline, "nsenter did not start sleep");
        std::thread::yield_now();
    }
    stage.remove_pod(&pods[2]);
    let followed = change(&stage, 1400);
    assert_eq!(followed.left, []);
    assert_eq!(ends(&stage, "c0", &pods[0]), (1400, 1400));
    assert_eq!(ends(&stage, "c1", &pods[1]), (1400, 1400));
    let inside = output("nsenter", &["-t", &keeper.id().to_string(), "-n", "ip", "link", "show", "eth0"]);
    assert!(String::from_utf8_lossy(&inside.stdout).contains("mtu 1400"), "{inside:?}");
    keeper.kill().unwrap();
    keeper.wait().unwrap();
    stage.remove_pod(&pods[1]);
    change(&stage, 1300);
    // Namespaces go some moments after their last name.
    while !again(&stage, 1300).left.is_empty() {
        assert!(Instant::now() < deadline, "{:?}", again(&stage, 1300));
        std::thread::yield_now();
    }
    assert_eq!(ends(&stage, "c0", &pods[0]), (1300, 1300));
}

#[test]
fn without_the_right_to_enter_pods_they_keep_theirs_and_still_get_through() {
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
    let mut stage = Stage::new();
    let config = stage.config("1.1.0", json!({}));
    let pod = stage.pod("c0");
    stage.towpath("ADD", "c0", &pod, &config).success();
    let netns = Netns::open(Path::new(&stage.netns())).unwrap();
    let bound = |mtu| {
        netns
            .run(|| {
                // The thread's own, and that of those it starts.
                let mut sets = capabilities(None).unwrap();
                sets.effective = CapabilitySet::NET_ADMIN;
                set_capabilities(None, sets).unwrap();
                follow(&stage.path("subnet.env"), mtu).unwrap()
            })
            .unwrap()
    };
    let followed = bound(1350);
    let [left] = followed.left.as_slice() else { panic!("{followed:?}") };
    assert!(matches!(&left.reason, Reason::Refused(why) if why.contains("cannot be entered")), "{left:?}");
    // What it sends passes its wire, and the node says what is too large for the way.
    assert_eq!((ends(&stage, "c0", &pod), mtu_of(&stage.netns(), "cni0")), ((1450, 1450), 1350));
    assert!(pings(&pod, "10.244.1.1"));
    // Whoever may, goes on from there.
    assert_eq!(change(&stage, 1350).left, []);
    assert_eq!(ends(&stage, "c0", &pod), (1350, 1350));
    bound(1400);
    assert_eq!(ends(&stage, "c0", &pod), (1350, 1400));
    assert_eq!(change(&stage, 1400).left, []);
    assert_eq!(ends(&stage, "c0", &pod), (1400, 1400));
}
