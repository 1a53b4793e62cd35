//! DEL with somebody who deletes links for it, without, and with either of the two killed at the worst moment.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod stage;

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

use kernel::netns::Netns;
use kernel::pod::{Host, burial};
use serde_json::{Value, json};
use stage::{Stage, ip_in, pings, run_in};

/// The daemon's side of the hand-over, as much as is needed to see what reaches it.
struct Undertaker {
    netns: Netns,
    listener: UnixListener,
}

impl Undertaker {
    fn new(stage: &Stage) -> Undertaker {
        let netns = Netns::open(Path::new(&stage.netns())).unwrap();
        // A program that another test starts at this moment holds the last one's socket until it is executed.
        let deadline = Instant::now() + Duration::from_secs(10);
        let listener = loop {
            match netns.run(burial::listen).unwrap() {
                Ok(listener) => break listener,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
        };
        Undertaker { netns, listener }
    }

    /// How many called since the last time.
    fn calls(&self) -> usize {
        std::iter::from_fn(|| self.listener.accept().ok()).count()
    }

    fn sweep(&self) {
        self.netns.run(|| Host::open().unwrap().sweep().unwrap()).unwrap();
    }
}

/// The links that only wait to be deleted.
fn buried(stage: &Stage) -> usize {
    let links = stage.ip(&format!("link show group {}", burial::GROUP));
    links.as_array().unwrap().iter().filter(|link| link.get("ifname").is_some()).count()
}

fn add_all(stage: &Stage, pods: &[String], config: &Value) {
    for (n, pod) in pods.iter().enumerate() {
        stage.towpath("ADD", &format!("c{n}"), pod, config).success();
    }
}

#[test]
fn a_deleted_pod_is_out_of_reach_at_once_and_its_address_is_free_before_the_link_is_gone() {
    let mut stage = Stage::new();
    let pods: Vec<String> = ["a", "b"].iter().map(|name| stage.pod(name)).collect();
    let next = stage.pod("next");
    for mode in ["bridge", "routed"] {
        let range = json!({ "ranges": [[{ "subnet": "10.244.1.0/24", "rangeStart": "10.244.1.2", "rangeEnd": "10.244.1.3" }]] });
        let config = stage.config("1.1.0", json!({ "mode": mode, "ipam": range }));
        add_all(&stage, &pods, &config);
        let address_of = |pod: &str| ip_in(pod, "-4 address show eth0")[0]["addr_info"][0]["local"].clone();
        let address = address_of(&pods[1]).as_str().unwrap().to_owned();
        let undertaker = Undertaker::new(&stage);
        stage.towpath("DEL", "c1", &pods[1], &config).success();
        assert_eq!((undertaker.calls(), buried(&stage)), (1, 1), "{mode}");
        assert!(!run_in(&stage.netns(), &["ping", "-c", "1", "-W", "1", "-q", &address]).status.success());
        stage.towpath("ADD", "other", &next, &config).success();
        assert_eq!(address_of(&next), address);
        assert!(pings(&stage.netns(), &address) && pings(&pods[0], &address), "{mode}");
        undertaker.sweep();
        assert_eq!(buried(&stage), 0);
        assert!(pings(&pods[0], &address), "{mode}");
        drop(undertaker);
        stage.towpath("DEL", "other", &next, &config).success();
        stage.towpath("DEL", "c0", &pods[0], &config).success();
        assert!(stage.reserved().is_empty());
    }
}

#[test]
fn many_deletions_are_one() {
    let mut stage = Stage::new();
    let pods: Vec<String> = (0..40).map(|n| stage.pod(&format!("p{n}"))).collect();
    let config = stage.config("1.0.0", json!({}));
    add_all(&stage, &pods, &config);
    let undertaker = Undertaker::new(&stage);
    for (n, pod) in pods.iter().enumerate() {
        stage.towpath("DEL", &format!("c{n}"), pod, &config).success();
    }
    assert_eq!(buried(&stage), 40);
    undertaker.sweep();
    assert_eq!(stage.links(), ["cni0"]);
    assert!(pods.iter().all(|pod| !run_in(pod, &["ip", "link", "show", "eth0"]).status.success()));
}

#[test]
fn the_same_container_is_connected_again_before_anybody_deleted_its_old_link() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    let config = stage.config("1.0.0", json!({}));
    let undertaker = Undertaker::new(&stage);
    for _ in 0..3 {
        stage.towpath("ADD", "c1", &pod, &config).success();
        assert!(pings(&pod, "10.244.1.1"));
        stage.towpath("DEL", "c1", &pod, &config).success();
        stage.towpath("DEL", "c1", &pod, &config).success();
    }
    assert_eq!(buried(&stage), 1);
    undertaker.sweep();
    assert_eq!(stage.links(), ["cni0"]);
}

#[test]
fn without_a_daemon_or_after_it_died_the_plugin_deletes_by_itself_and_what_was_left() {
    let mut stage = Stage::new();
    let pods: Vec<String> = ["a", "b", "c"].iter().map(|name| stage.pod(name)).collect();
    let config = stage.config("1.0.0", json!({}));
    add_all(&stage, &pods, &config);
    let undertaker = Undertaker::new(&stage);
    stage.towpath("DEL", "c0", &pods[0], &config).success();
    // Killed before it did anything.
    drop(undertaker);
    assert_eq!(buried(&stage), 1);
    stage.towpath("DEL", "c1", &pods[1], &config).success();
    assert_eq!((buried(&stage), stage.links().len()), (0, 2), "one pod and the bridge");
    stage.towpath("DEL", "c2", &pods[2], &config).success();
    assert_eq!(stage.links(), ["cni0"]);
}

#[test]
fn a_daemon_that_does_not_answer_keeps_nobody_waiting() {
    let mut stage = Stage::new();
    let pods: Vec<String> = (0..4).map(|n| stage.pod(&format!("p{n}"))).collect();
    let config = stage.config("1.0.0", json!({}));
    add_all(&stage, &pods, &config);
    // It listens and never accepts.
    let stuck = Undertaker::new(&stage);
    let began = Instant::now();
    for (n, pod) in pods.iter().enumerate() {
        stage.towpath("DEL", &format!("c{n}"), pod, &config).success();
    }
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!(buried(&stage), 4);
    let mut gc = stage.config("1.1.0", json!({}));
    gc["cni.dev/valid-attachments"] = json!([]);
    drop(stuck);
    stage.towpath("GC", "", "", &gc).success();
    assert_eq!(stage.links(), ["cni0"]);
}
