//! Called as `host-local`: beside Debian's, in one directory with it, and in its place below `bridge`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod stage;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, UNIX_EPOCH};

use serde_json::{Value, json};
use stage::{REFERENCE, Stage, TOWPATH, output};

/// Our plugin under the name of the reference one.
fn ours(stage: &Stage) -> String {
    let link = stage.path("bin/host-local");
    if !link.exists() {
        fs::create_dir_all(stage.path("bin")).unwrap();
        symlink(TOWPATH, &link).unwrap();
    }
    link.to_str().unwrap().to_owned()
}

fn theirs() -> String {
    let path = format!("{REFERENCE}/host-local");
    assert!(Path::new(&path).exists(), "{path} is missing: install Debian's containernetworking-plugins");
    path
}

/// A configuration with its ledger below a directory of the stage.
fn config(stage: &Stage, ledger: &str, ipam: Value) -> Value {
    let mut config = json!({ "cniVersion": "1.0.0", "name": "net1", "type": "bridge",
        "ipam": { "type": "host-local", "dataDir": stage.path(ledger) } });
    stage::merge(&mut config, json!({ "ipam": ipam }));
    config
}

fn small() -> Value {
    json!({ "ranges": [[{ "subnet": "10.9.0.0/28", "rangeStart": "10.9.0.3", "rangeEnd": "10.9.0.9", "gateway": "10.9.0.5" }],
                       [{ "subnet": "fd00:9::/124" }]],
            "routes": [{ "dst": "0.0.0.0/0" }, { "dst": "10.0.0.0/8", "gw": "10.9.0.5" }] })
}

/// A call with these arguments; the namespace is nobody's business here.
fn call(
    stage: &Stage,
    plugin: &str,
    (verb, container, arguments): (&str, &str, &str),
    config: &Value,
) -> (Option<i32>, Value) {
    let variables = [
        ("CNI_COMMAND", verb),
        ("CNI_CONTAINERID", container),
        ("CNI_NETNS", "/no/such/namespace"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_ARGS", arguments),
    ];
    let answer = stage.call(plugin, &variables, config.to_string().as_bytes());
    (answer.code, answer.said)
}

/// Every file of a ledger, with what it says and its mode.
fn files(stage: &Stage, ledger: &str) -> BTreeMap<String, (u32, Vec<u8>)> {
    use std::os::unix::fs::PermissionsExt;
    let entries = fs::read_dir(stage.path(ledger).join("net1")).unwrap().map(Result::unwrap);
    let files = entries.filter(|entry| entry.file_name() != "last_reserved_ip.cooling" && entry.file_name() != "lock");
    let read = |entry: fs::DirEntry| {
        let mode = entry.metadata().unwrap().permissions().mode();
        (entry.file_name().into_string().unwrap(), (mode, fs::read(entry.path()).unwrap()))
    };
    files.map(read).collect()
}

#[test]
fn the_same_requests_leave_the_same_files_to_the_byte_and_get_the_same_answers() {
    let stage = Stage::new();
    let plugins = [(theirs(), config(&stage, "theirs", small())), (ours(&stage), config(&stage, "ours", small()))];
    let requests = [
        ("ADD", "a", ""),
        ("ADD", "b", "IP=10.9.0.7"),
        ("CHECK", "b", ""),
        ("ADD", "c", "IgnoreUnknown=1;K8S_POD_NAME=x;IP=fd00:9::9"),
        ("ADD", "a", ""),
        ("ADD", "d", "IP=10.9.0.7"),
        ("ADD", "d", "IP=10.9.0.5"),
        ("ADD", "d", "X=y"),
        ("ADD", "d", "IP=::ffff:10.9.0.8"),
        ("DEL", "nobody", ""),
        ("ADD", "e", ""),
        ("DEL", "c", ""),
        ("DEL", "c", ""),
        ("CHECK", "c", ""),
        ("ADD", "f", ""),
        ("ADD", "g", ""),
        ("ADD", "h", ""),
        ("ADD", "i", ""),
        ("ADD", "j", ""),
        ("ADD", "j", "IP=192.0.2.1"),
    ];
    for request in requests {
        let answers = plugins.each_ref().map(|(plugin, config)| {
            let mut config = config.clone();
            if request.0 == "CHECK" {
                config["prevResult"] = json!({ "cniVersion": "1.0.0" });
            }
            call(&stage, plugin, request, &config)
        });
        let [(their_code, said), (our_code, answer)] = &answers;
        assert_eq!(their_code, our_code, "{request:?}: {said} and {answer}");
        if *their_code == Some(0) {
            assert_eq!(said, answer, "{request:?}");
        }
        assert_eq!(files(&stage, "theirs"), files(&stage, "ours"), "after {request:?}");
    }
}

#[test]
fn both_take_turns_in_one_directory_and_give_back_what_the_other_gave() {
    let stage = Stage::new();
    let (plugins, config) = ([theirs(), ours(&stage)], config(&stage, "ledger", small()));
    let mut given = BTreeSet::new();
    for round in 0..3_usize {
        for n in 0..5_usize {
            let (code, said) = call(&stage, &plugins[(n + round) % 2], ("ADD", &format!("c{n}"), ""), &config);
            assert_eq!(code, Some(0), "{said}");
            assert!(given.insert((round, said["ips"][0]["address"].to_string())), "{said}");
        }
        assert_eq!(stage.reserved().len(), 10);
        for n in 0..5_usize {
            let (code, said) = call(&stage, &plugins[(n + round + 1) % 2], ("DEL", &format!("c{n}"), ""), &config);
            assert_eq!(code, Some(0), "{said}");
        }
        assert!(stage.reserved().is_empty());
    }
}

#[test]
fn of_sixty_four_at_once_for_the_last_thirty_two_exactly_thirty_two_succeed() {
    let stage = Stage::new();
    let plugins = [ours(&stage), theirs()];
    let ranges =
        json!({ "ranges": [[{ "subnet": "10.9.0.0/24", "rangeStart": "10.9.0.10", "rangeEnd": "10.9.0.41" }]] });
    let text = config(&stage, "ledger", ranges).to_string();
    // All ours first; then every fourth Debian's.
    for others in [0, 4] {
        let start = |n: usize| {
            let id = format!("c{n}");
            let variables =
                [("CNI_COMMAND", "ADD"), ("CNI_CONTAINERID", id.as_str()), ("CNI_NETNS", "/x"), ("CNI_IFNAME", "eth0")];
            let plugin = &plugins[usize::from(others != 0 && n.is_multiple_of(4))];
            stage.start(plugin, &variables, text.as_bytes())
        };
        let started: Vec<_> = (0..64).map(start).collect();
        let answers = started.into_iter().map(|child| stage::answer(child.wait_with_output().unwrap()));
        let (good, bad): (Vec<_>, Vec<_>) = answers.partition(|answer| answer.code == Some(0));
        let addresses: BTreeSet<String> =
            good.iter().map(|answer| answer.said["ips"][0]["address"].to_string()).collect();
        assert_eq!((good.len(), bad.len(), addresses.len()), (32, 32, 32));
        assert_eq!(stage.reserved().len(), 32);
        for n in 0..64 {
            call(&stage, &plugins[0], ("DEL", &format!("c{n}"), ""), &serde_json::from_str(&text).unwrap());
        }
        assert!(stage.reserved().is_empty());
    }
}

#[test]
fn killed_after_any_system_call_it_gives_nothing_twice_and_leaves_nothing() {
    let stage = Stage::new();
    assert!(output("strace", &["-V"]).status.success(), "this test needs strace: apt-get install strace");
    let (plugin, config) = (ours(&stage), config(&stage, "ledger", small()));
    let mut kills = 0;
    for verb in ["ADD", "DEL"] {
        for kind in ["openat", "flock", "write", "pwrite64", "read", "close", "unlink", "ftruncate"] {
            for n in 1..40 {
                let inject = format!("-e trace={kind} -e inject={kind}:signal=KILL:when={n}");
                let killer = stage.path("bin/killer");
                let script = format!("#!/bin/sh\nexec strace -qq -o /dev/null {inject} {plugin}\n");
                fs::write(&killer, script).unwrap();
                fs::set_permissions(&killer, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
                if verb == "DEL" {
                    assert_eq!(call(&stage, &plugin, ("ADD", "killed", ""), &config).0, Some(0));
                }
                let (code, _) = call(&stage, killer.to_str().unwrap(), (verb, "killed", ""), &config);
                let (other, said) = call(&stage, &plugin, ("ADD", "other", ""), &config);
                assert_eq!(other, Some(0), "{said}");
                assert!(stage.reserved().len() <= 4, "{:?} after {verb} {kind} {n}", files(&stage, "ledger"));
                for id in ["killed", "other"] {
                    assert_eq!(call(&stage, &plugin, ("DEL", id, ""), &config).0, Some(0));
                }
                assert!(stage.reserved().is_empty(), "{:?} after {verb} {kind} {n}", files(&stage, "ledger"));
                if code == Some(0) {
                    break;
                }
                kills += 1;
            }
        }
    }
    assert!(kills > 20, "strace killed it {kills} times");
}

#[test]
fn the_reference_bridge_wires_pods_with_addresses_of_ours_and_checks_and_deletes_them() {
    let mut stage = Stage::new();
    let pod = stage.pod("a");
    let mut config = config(&stage, "ledger", small());
    stage::merge(&mut config, json!({ "bridge": "cni0", "isGateway": true }));
    let path = format!("{}:{REFERENCE}", Path::new(&ours(&stage)).parent().unwrap().display());
    let bridge = format!("{REFERENCE}/bridge");
    let call = |verb: &str, config: &Value| {
        let variables = [
            ("CNI_COMMAND", verb),
            ("CNI_CONTAINERID", "c1"),
            ("CNI_NETNS", pod.as_str()),
            ("CNI_IFNAME", "eth0"),
            ("CNI_PATH", path.as_str()),
        ];
        stage.call(&bridge, &variables, config.to_string().as_bytes())
    };
    for version in ["0.3.0", "0.3.1", "0.4.0", "1.0.0"] {
        config["cniVersion"] = json!(version);
        let result = call("ADD", &config).success();
        assert_eq!(result["ips"].as_array().unwrap().len(), 2, "{result}");
        assert_eq!(result["ips"][0]["version"].is_string(), version < "1.0.0", "{result}");
        let mut checked = config.clone();
        checked["prevResult"] = result;
        if version >= "0.4.0" {
            call("CHECK", &checked).success();
        }
        call("DEL", &checked).success();
    }
    assert!(stage.reserved().is_empty());
}

#[test]
fn by_its_own_name_it_answers_every_verb() {
    let stage = Stage::new();
    let (plugin, mut config) = (ours(&stage), config(&stage, "ledger", small()));
    config["cniVersion"] = json!("1.1.0");
    let (_, said) = call(&stage, &plugin, ("VERSION", "", ""), &config);
    assert_eq!(said["supportedVersions"].as_array().unwrap().last(), Some(&json!("1.1.0")));
    assert_eq!(call(&stage, &plugin, ("STATUS", "", ""), &config), (Some(0), Value::Null));
    for id in ["a", "b", "c"] {
        let (code, said) = call(&stage, &plugin, ("ADD", id, ""), &config);
        assert_eq!((code, said.get("interfaces")), (Some(0), None), "{said}");
    }
    config["prevResult"] =
        json!({ "cniVersion": "1.1.0", "ips": [{ "address": "10.9.0.4/28" }, { "address": "fd00:9::3/124" }] });
    assert_eq!(call(&stage, &plugin, ("CHECK", "b", ""), &config).0, Some(0));
    assert_eq!(call(&stage, &plugin, ("CHECK", "a", ""), &config).1["code"], json!(102));
    config["cni.dev/valid-attachments"] =
        json!([{ "containerID": "b", "ifname": "eth0" }, { "containerID": "c", "ifname": "eth1" }]);
    assert_eq!(call(&stage, &plugin, ("GC", "", ""), &config).0, Some(0));
    assert_eq!(stage.reserved(), ["10.9.0.4", "fd00:9::3"]);
    config["prevResult"] = json!("garbage");
    assert_eq!(call(&stage, &plugin, ("DEL", "b", "X=y"), &config).0, Some(0));
    assert!(stage.reserved().is_empty());
}

#[test]
fn what_is_wrong_with_the_directory_is_named_and_nothing_stays() {
    let stage = Stage::new();
    let plugin = ours(&stage);
    let message = |ledger: &str| {
        let (code, said) = call(&stage, &plugin, ("ADD", "a", ""), &config(&stage, ledger, small()));
        assert_eq!((code, &said["code"]), (Some(1), &json!(5)), "{said}");
        said["msg"].as_str().unwrap().to_owned()
    };
    fs::write(stage.path("file"), "").unwrap();
    assert!(message("file").contains("a part of that path is no directory; remove it, or set `dataDir`"));
    fs::create_dir_all(stage.path("full/net1")).unwrap();
    let full = stage.path("full").to_str().unwrap().to_owned();
    let mounted = output("mount", &["-t", "tmpfs", "-o", "size=4k,nr_inodes=3", "tmpfs", &full]);
    assert!(mounted.status.success(), "{}", String::from_utf8_lossy(&mounted.stderr));
    let said = message("full");
    output("umount", &[&full]);
    assert!(said.contains("No space left on device") && said.ends_with("make room on that file system"), "{said}");
    let mounted = output("mount", &["-t", "tmpfs", "-o", "ro", "tmpfs", &full]);
    assert!(mounted.status.success(), "{}", String::from_utf8_lossy(&mounted.stderr));
    let (deleted, said) = (call(&stage, &plugin, ("DEL", "a", ""), &config(&stage, "full", small())), message("full"));
    output("umount", &[&full]);
    assert!(said.contains("Read-only file system") && said.contains("mount it writable"), "{said}");
    assert_eq!(deleted.0, Some(0), "there is nothing to be given back");
}

#[test]
fn a_used_up_range_names_pods_without_a_wire_and_gives_away_what_is_gone_for_sure() {
    let mut stage = Stage::new();
    // A name of its own: what runtimes keep of their pods lies in one directory of the machine.
    let name = stage.path("").file_name().unwrap().to_str().unwrap().to_owned();
    let ipam = json!({ "subnet": "10.9.0.0/29", "routes": [] });
    let config = stage.config("1.0.0", json!({ "name": name, "ipam": ipam }));
    let pods: Vec<String> = (0..6).map(|n| stage.pod(&n.to_string())).collect();
    for (n, pod) in pods[..5].iter().enumerate() {
        stage.towpath("ADD", &format!("c{n}"), pod, &config).success();
    }
    for pod in &pods[..3] {
        stage.remove_pod(pod);
    }
    let deadline = Instant::now() + Duration::from_secs(30);
    while stage.links().len() > 3 {
        assert!(Instant::now() < deadline, "the wires of removed pods are still there: {:?}", stage.links());
    }
    let (code, message) = stage.towpath("ADD", "c5", &pods[5], &config).error();
    let lost =
        "all 5 are in use, 3 of them by containers of which nothing is left on this node (c0/eth0, c1/eth0, c2/eth0)";
    assert!(code == 101 && message.contains(lost), "{message}");

    // c1 by the runtime's own word, c2 because it is older than the kernel; so is c3, which lives.
    let kept = PathBuf::from(format!("/var/lib/cni/results/{name}-c1-eth0"));
    let gone = json!({ "result": { "interfaces": [{ "name": "eth0", "sandbox": pods[1] }] } });
    fs::create_dir_all(kept.parent().unwrap()).unwrap();
    fs::write(&kept, gone.to_string()).unwrap();
    let file =
        |address: &str| File::options().write(true).open(stage.path("ledger").join(&name).join(address)).unwrap();
    for address in ["10.9.0.4", "10.9.0.5"] {
        file(address).set_modified(UNIX_EPOCH + Duration::from_secs(1)).unwrap();
    }
    let given: BTreeSet<String> = ["c5", "c6"]
        .map(|id| {
            let pod = if id == "c5" { pods[5].clone() } else { stage.pod("6") };
            let result = stage.towpath("ADD", id, &pod, &config);
            result.success()["ips"][0]["address"].as_str().unwrap().to_owned()
        })
        .into();
    fs::remove_file(kept).unwrap();
    assert_eq!(given, ["10.9.0.3/29", "10.9.0.4/29"].map(str::to_owned).into());
    let pod = stage.pod("7");
    let (_, message) = stage.towpath("ADD", "c7", &pod, &config).error();
    assert!(message.contains("1 of them by containers of which nothing is left on this node (c0/eth0)"), "{message}");
}
