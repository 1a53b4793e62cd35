//! Bad luck and bad intent: killed at any instant, and fed with what no runtime sends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod stage;

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use stage::{Stage, TOWPATH, output, run_in};

#[test]
fn killed_at_any_instant_an_add_leaves_nothing_that_del_does_not_remove() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    let config = stage.config("1.0.0", json!({}));
    let text = config.to_string();
    let variables =
        |verb| [("CNI_COMMAND", verb), ("CNI_CONTAINERID", "c1"), ("CNI_NETNS", pod.as_str()), ("CNI_IFNAME", "eth0")];
    // How long one takes that is let live, so that the kills fall into its life and a little beyond.
    let begun = Instant::now();
    let child = stage.start(TOWPATH, &variables("ADD"), text.as_bytes());
    stage::answer(child.wait_with_output().unwrap()).success();
    let life = begun.elapsed();
    stage.towpath("DEL", "c1", &pod, &config).success();

    let mut interrupted = 0;
    for n in 0..100_u32 {
        let begun = Instant::now();
        let mut child = stage.start(TOWPATH, &variables("ADD"), text.as_bytes());
        let instant = life * n / 90;
        while begun.elapsed() < instant {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        interrupted += u32::from(!child.wait().unwrap().success());
        // With the namespace or without it, in turn.
        let netns = if n % 2 == 0 { pod.as_str() } else { "" };
        stage.towpath("DEL", "c1", netns, &config).success();
        assert!(stage.links().iter().all(|link| link == "cni0"), "{:?} after kill {n}", stage.links());
        assert!(stage.reserved().is_empty(), "{:?} after kill {n}", stage.reserved());
        assert!(!run_in(&pod, &["ip", "link", "show", "eth0"]).status.success(), "eth0 after kill {n}");
    }
    assert!(interrupted >= 10, "only {interrupted} of 100 kills came before the end");
    stage.towpath("ADD", "c1", &pod, &config).success();
}

#[test]
fn a_kill_after_each_system_call_in_turn_leaves_nothing_that_del_does_not_remove() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    let config = stage.config("1.0.0", json!({}));
    let variables =
        [("CNI_COMMAND", "ADD"), ("CNI_CONTAINERID", "c1"), ("CNI_NETNS", pod.as_str()), ("CNI_IFNAME", "eth0")];
    assert!(output("strace", &["-V"]).status.success(), "this test needs strace: apt-get install strace");
    let mut kills = 0;
    // strace counts each kind by itself. These are the kinds that change something, and those around them.
    for call in ["openat", "flock", "write", "pwrite64", "read", "close", "sendto", "recvfrom", "setns", "setsockopt"] {
        for n in 1..100 {
            let inject = format!("-e trace={call} -e inject={call}:signal=KILL:when={n}");
            let plugin = wrapper(&stage, "killer", &format!("exec strace -qq -o /dev/null {inject} {TOWPATH}"));
            let child = stage.start(&plugin, &variables, config.to_string().as_bytes());
            let lived = child.wait_with_output().unwrap().status.success();
            stage.towpath("DEL", "c1", &pod, &config).success();
            assert!(stage.links().iter().all(|link| link == "cni0"), "{:?} after {call} {n}", stage.links());
            assert!(stage.reserved().is_empty(), "{:?} after {call} {n}", stage.reserved());
            if lived {
                break;
            }
            kills += 1;
        }
    }
    assert!(kills > 50, "strace killed it {kills} times");
}

#[test]
fn what_no_runtime_sends_is_refused_with_an_error_object() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    let variables =
        [("CNI_COMMAND", "ADD"), ("CNI_CONTAINERID", "c1"), ("CNI_NETNS", pod.as_str()), ("CNI_IFNAME", "eth0")];
    let call = |input: &[u8]| stage.call(TOWPATH, &variables, input).error();
    let padding = "x".repeat(1_000_000);
    assert_eq!(call(stage.config("1.0.0", json!({ "padding": padding })).to_string().as_bytes()).0, 7);
    for input in ["", "[]", "{", "\0\0\0", "{\"cniVersion\": \"1.0.0\", \"a\":\u{0}}"] {
        assert_eq!(call(input.as_bytes()).0, 6, "{input:?}");
    }
    assert_eq!(call(b"\xff\xfe\xfd").0, 6);
    assert_eq!(call("[".repeat(900_000).as_bytes()).0, 6);
    assert_eq!(call(format!("{{\"a\":{}", "{\"a\":".repeat(100_000)).as_bytes()).0, 6);
    for (key, value) in [
        ("name", json!("a\u{0}b")),
        ("name", json!("a\nb")),
        ("name", json!("..")),
        ("bridge", json!("0123456789abcdef")),
        ("bridge", json!("a\u{0}")),
        ("subnetFile", json!("/a\u{0}b")),
        ("dataDir", json!("relative")),
        ("mtu", json!(-1)),
        ("mtu", json!(4_294_967_296_u64)),
        ("mtu", json!(1.5)),
    ] {
        let mut config = stage.config("1.0.0", json!({}));
        if key == "dataDir" {
            config["ipam"][key] = value.clone()
        } else {
            config[key] = value.clone()
        }
        assert_eq!(call(config.to_string().as_bytes()).0, 7, "{key} {value}");
    }
    assert!(stage.links().is_empty() && stage.reserved().is_empty());
}

#[test]
fn ten_thousand_unknown_keys_and_999_kilobytes_are_no_trouble() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    let mut config = stage.config("1.0.0", json!({ "padding": "x".repeat(800_000) }));
    for n in 0..10_000 {
        config[format!("k{n}")] = Value::from(n);
    }
    stage.towpath("ADD", "c1", &pod, &config).success();
    stage.towpath("DEL", "c1", &pod, &config).success();
}

#[test]
fn what_is_no_namespace_of_a_pod_is_refused_and_the_hosts_own_is_never_touched() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    let config = stage.config("1.0.0", json!({}));
    let (fifo, link) = (stage.path("fifo"), stage.path("link"));
    assert!(output("mkfifo", &[fifo.to_str().unwrap()]).status.success());
    symlink(stage.netns(), &link).unwrap();
    stage.ip("link add eth0 type veth peer name eth1");
    let (fifo, link) = (fifo.to_str().unwrap(), link.to_str().unwrap());
    let directory = stage.path("");
    for path in [fifo, link, directory.to_str().unwrap(), "/proc/self/ns/mnt", "/dev/null"] {
        assert_eq!(stage.towpath("ADD", "c1", path, &config).error().0, 4, "{path}");
    }
    assert!(stage.reserved().is_empty());
    // DEL gives back what it can find without the namespace, and says what it did not do.
    stage.towpath("ADD", "c1", &pod, &config).success();
    let (code, message) = stage.towpath("DEL", "c1", link, &config).error();
    assert!(code == 4 && message.contains("is the host's own network namespace"), "{message}");
    assert_eq!((stage.links().len(), stage.reserved().len()), (3, 0), "{:?}", stage.links());
    // After a reboot a file may be left where the namespace was mounted.
    stage.towpath("DEL", "c1", fifo, &config).success();
    assert!(stage.links().contains(&"eth0".to_owned()));
}

#[test]
fn a_ledger_that_cannot_be_written_is_named_and_nothing_is_made() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    let config = stage.config("1.0.0", json!({}));
    stage.towpath("ADD", "c1", &pod, &config).success();
    stage.towpath("DEL", "c1", &pod, &config).success();
    // In a mount namespace of the plugin's own: as root, nothing else keeps one from writing.
    let ledger = stage.path("ledger").display().to_string();
    let read_only = format!("mount --bind {ledger} {ledger} && mount -o remount,bind,ro {ledger}");
    let full = format!(
        "mount -t tmpfs -o size=64k none {ledger} && mkdir {ledger}/net1 && (cat /dev/zero >{ledger}/full; true) 2>/dev/null"
    );
    for (name, script, words) in [("read-only", read_only, "Read-only"), ("full", full, "No space left")] {
        let plugin = wrapper(&stage, name, &format!("exec unshare -m sh -c '{script} && exec {TOWPATH}'"));
        let (code, message) = stage.plugin(&plugin, "ADD", ("c1", &pod), &config).error();
        assert!(code == 5 && message.contains(words) && message.contains("ledger/net1/"), "{name}: {message}");
        stage.plugin(&plugin, "DEL", ("c1", &pod), &config).success();
        assert_eq!((stage.links(), stage.reserved()), (vec!["cni0".to_owned()], vec![]), "{name}");
    }
}

#[test]
fn without_a_capability_it_is_named_and_nothing_is_left() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    let config = stage.config("1.0.0", json!({}));
    // Once with every right, so that nothing but the pod's wire is left to do.
    stage.towpath("ADD", "c1", &pod, &config).success();
    stage.towpath("DEL", "c1", &pod, &config).success();
    for (capability, name) in [("net_admin", "CAP_NET_ADMIN"), ("sys_admin", "CAP_SYS_ADMIN")] {
        let plugin = wrapper(&stage, capability, &format!("exec setpriv --bounding-set -{capability} {TOWPATH}"));
        let (code, message) = stage.plugin(&plugin, "ADD", ("c1", &pod), &config).error();
        assert!(code == 100 && message.contains(name), "{capability}: {message}");
        assert!(stage.links().iter().all(|link| link == "cni0") && stage.reserved().is_empty(), "{capability}");
    }
}

#[test]
fn sixty_four_at_once_for_the_last_thirty_two_addresses_get_each_of_them_once() {
    let mut stage = Stage::new();
    let pods: Vec<String> = (0..64).map(|n| stage.pod(&n.to_string())).collect();
    let range = json!({ "subnet": "10.1.0.0/24", "rangeStart": "10.1.0.100", "rangeEnd": "10.1.0.131" });
    let config = stage.config("1.0.0", json!({ "ipam": { "ranges": [[range]] } })).to_string();
    let start = |(n, pod): (usize, &String)| {
        let id = format!("c{n}");
        let netns = pod.as_str();
        let variables =
            [("CNI_COMMAND", "ADD"), ("CNI_CONTAINERID", &id), ("CNI_NETNS", netns), ("CNI_IFNAME", "eth0")];
        stage.start(TOWPATH, &variables, config.as_bytes())
    };
    let started: Vec<_> = pods.iter().enumerate().map(start).collect();
    let answers = started.into_iter().map(|child| stage::answer(child.wait_with_output().unwrap()));
    let (served, refused): (Vec<_>, Vec<_>) = answers.partition(|answer| answer.code == Some(0));
    let addresses: std::collections::BTreeSet<_> =
        served.iter().map(|answer| answer.said["ips"][0]["address"].to_string()).collect();
    assert_eq!((served.len(), addresses.len(), stage.reserved().len(), stage.links().len()), (32, 32, 32, 33));
    assert!(refused.into_iter().all(|answer| answer.error().0 == 101));
}

#[test]
fn a_bridge_without_a_free_port_says_so() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    let ports = (0..1023).map(|n| format!("link add p{n} master cni0 type veth peer name q{n}\n")).collect::<String>();
    let batch = stage.path("batch");
    fs::write(&batch, format!("link add cni0 type bridge\n{ports}")).unwrap();
    let made = run_in(&stage.netns(), &["ip", "-batch", batch.to_str().unwrap()]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let (code, message) = stage.towpath("ADD", "c1", &pod, &stage.config("1.0.0", json!({}))).error();
    assert!(code == 100 && message.contains("the bridge cni0 has all of its 1,024 ports in use"), "{message}");
    assert_eq!((stage.links().len(), stage.reserved().len()), (1 + 2 * 1023, 0));
}

/// A script that stands in for the plugin.
fn wrapper(stage: &Stage, name: &str, command: &str) -> String {
    let path = stage.path(name);
    fs::write(&path, format!("#!/bin/sh\n{command}\n")).unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn garbage_in_the_ledger_is_in_nobodys_way_and_stays() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    let config = stage.config("1.0.0", json!({}));
    let ledger = stage.path("ledger/net1");
    fs::create_dir_all(ledger.join("10.244.1.2")).unwrap();
    assert!(output("mkfifo", &[ledger.join("10.244.1.3").to_str().unwrap()]).status.success());
    symlink("/nowhere", ledger.join("10.244.1.4")).unwrap();
    fs::write(ledger.join("last_reserved_ip.0"), "garbage").unwrap();
    fs::write(ledger.join("core.1234"), "c1\r\neth0").unwrap();
    let result = stage.towpath("ADD", "c1", &pod, &config).success();
    assert_eq!(result["ips"][0]["address"], "10.244.1.5/24");
    stage.towpath("DEL", "c1", &pod, &config).success();
    assert_eq!(stage.reserved(), ["10.244.1.2", "10.244.1.3", "10.244.1.4"]);
    assert!(ledger.join("core.1234").exists());
}

#[test]
fn add_and_del_of_one_container_at_once_end_in_nothing_after_one_more_del() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    let config = stage.config("1.0.0", json!({}));
    let text = config.to_string();
    let deadline = Instant::now() + Duration::from_secs(2);
    for n in 0..30 {
        let start = |verb| {
            let variables =
                [("CNI_COMMAND", verb), ("CNI_CONTAINERID", "c1"), ("CNI_NETNS", pod.as_str()), ("CNI_IFNAME", "eth0")];
            stage.start(TOWPATH, &variables, text.as_bytes())
        };
        let both = [start("ADD"), start("DEL")];
        for child in both {
            child.wait_with_output().unwrap();
        }
        stage.towpath("DEL", "c1", &pod, &config).success();
        assert_eq!((stage.links().len() <= 1, stage.reserved().len()), (true, 0), "round {n}");
        if Instant::now() > deadline {
            break;
        }
    }
}

#[test]
fn an_add_and_a_delete_of_one_pod_at_once_leave_both_the_wire_and_its_address_or_neither() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    let config = stage.config("1.0.0", json!({}));
    let text = config.to_string();
    let variables =
        |verb| [("CNI_COMMAND", verb), ("CNI_CONTAINERID", "c1"), ("CNI_NETNS", pod.as_str()), ("CNI_IFNAME", "eth0")];
    for round in 0..24 {
        let add = stage.start(TOWPATH, &variables("ADD"), text.as_bytes());
        let deletes: Vec<_> =
            (0..1 + round % 3).map(|_| stage.start(TOWPATH, &variables("DEL"), text.as_bytes())).collect();
        let added = stage::answer(add.wait_with_output().unwrap());
        for delete in deletes {
            stage::answer(delete.wait_with_output().unwrap()).success();
        }
        let wires = stage.links().iter().filter(|link| *link != "cni0").count();
        assert_eq!(stage.reserved().len(), wires * 2, "round {round}: {}", added.said);
        assert!(wires == 0 || added.code == Some(0), "round {round}: {}", added.said);
        stage.towpath("DEL", "c1", &pod, &config).success();
    }
}
