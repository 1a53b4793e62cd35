//! `kill -9` after each system call of an ADD and a DEL that do everything at once, then DEL or GC: nothing is left.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod stage;
mod traffic;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};
use stage::{Stage, TOWPATH, output};
use traffic::tagged;

/// The kinds of system calls that change something, and those around them. strace counts each kind by itself.
const KINDS: [&str; 6] = ["sendto", "recvfrom", "openat", "socket", "setns", "write"];
/// More calls of one kind than there are.
const MOST: usize = 80;

/// Calls the plugin under strace, which kills it at its `n`th call of a kind; says whether it came to that.
fn killed(stage: &Stage, (verb, pod): (&str, &str), config: &Value, (kind, n): (&str, usize)) -> bool {
    let script = stage.path("killer");
    let inject = format!("-e trace={kind} -e inject={kind}:signal=KILL:when={n}");
    fs::write(&script, format!("#!/bin/sh\nexec strace -qq -o /dev/null {inject} {TOWPATH}\n")).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let variables = [
        ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
        ("CNI_COMMAND", verb),
        ("CNI_CONTAINERID", "a"),
        ("CNI_NETNS", pod),
        ("CNI_IFNAME", "eth0"),
    ];
    let child = stage.start(script.to_str().unwrap(), &variables, config.to_string().as_bytes());
    let said = child.wait_with_output().unwrap();
    !said.status.success() && said.stdout.is_empty()
}

fn assert_nothing_is_left(stage: &Stage, when: &str) {
    assert_eq!(tagged(&stage.netns()), Vec::<String>::new(), "{when}");
    assert!(stage.links().iter().all(|link| link == "cni0"), "{when}: {:?}", stage.links());
    assert!(stage.reserved().is_empty(), "{when}: {:?}", stage.reserved());
}

#[test]
fn whatever_an_add_or_a_delete_was_doing_when_it_was_killed_the_next_delete_or_gc_finishes() {
    assert!(output("strace", &["-V"]).status.success(), "this test needs strace: apt-get install strace");
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    let config = stage.config(
        "1.1.0",
        json!({
            "ipMasq": true,
            "runtimeConfig": {
                "portMappings": [
                    { "hostPort": 80, "containerPort": 80 },
                    { "hostPort": 53, "containerPort": 53, "protocol": "udp", "hostIP": "127.0.0.1" }
                ],
                "bandwidth": { "ingressRate": 8000, "ingressBurst": 8000, "egressRate": 8000, "egressBurst": 8000 }
            }
        }),
    );
    let mut collect = config.clone();
    stage::merge(&mut collect, json!({ "cni.dev/valid-attachments": [] }));
    let mut kills = 0;
    for kind in KINDS {
        for n in 1..MOST {
            if !killed(&stage, ("ADD", &pod), &config, (kind, n)) {
                stage.towpath("DEL", "a", &pod, &config).success();
                break;
            }
            kills += 1;
            let when = format!("ADD killed at {kind} {n}");
            if n % 2 == 0 {
                stage.towpath("DEL", "a", &pod, &config).success();
            } else {
                stage.call(TOWPATH, &[("CNI_COMMAND", "GC")], collect.to_string().as_bytes()).success();
            }
            assert_nothing_is_left(&stage, &when);
        }
        for n in 1..MOST {
            stage.towpath("ADD", "a", &pod, &config).success();
            let came_to_it = killed(&stage, ("DEL", &pod), &config, (kind, n));
            stage.towpath("DEL", "a", &pod, &config).success();
            assert_nothing_is_left(&stage, &format!("DEL killed at {kind} {n}"));
            if !came_to_it {
                break;
            }
            kills += 1;
        }
    }
    assert!(kills > 100, "strace killed it {kills} times");
}
