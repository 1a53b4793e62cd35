//! The fence: which crate may be built from what, and which way the files of the daemon look.
//!
//! A convention erodes; a missing dependency does not. This file states the fence so that taking a plank out of it is
//! a change that somebody reads.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::Path;

use promises::house::dependencies::Dependencies;
use promises::house::tree::Tree;

/// What the pure rooms are linked from, whole: texts, numbers and prefixes. Nothing here opens, asks or waits.
const PURE: [&str; 11] =
    ["hashbrown", "base64", "ipnet", "itoa", "memchr", "ryu", "serde", "serde_core", "serde_json", "thiserror", "zmij"];

/// What drives other people's time: runtimes, servers, clients, watchers. None of it belongs below the daemon.
const SHELL: [&str; 13] = [
    "axum",
    "clap",
    "etcd-client",
    "hyper",
    "inotify",
    "mio",
    "notify",
    "prometheus-client",
    "rustls",
    "tokio",
    "tonic",
    "tracing",
    "tracing-subscriber",
];

/// Which of our own crates a crate may be linked from, through any number of steps.
const DIRECTIONS: [(&str, &[&str]); 9] = [
    ("ipam", &[]),
    ("bgp", &[]),
    ("backends", &["ipam"]),
    ("kernel", &["ipam", "backends"]),
    ("towpath", &["ipam", "backends", "kernel"]),
    // It tries policies of a file with the daemon's own reader of it.
    ("towpathctl", &["ipam", "backends", "bgp", "kernel", "towpath", "towpathd"]),
    // The daemon repairs the plugin's directory, with the plugin's library.
    ("towpath-image", &[]),
    ("towpathd", &["ipam", "backends", "bgp", "kernel", "towpath"]),
    ("netns-harness", &["ipam"]),
];

#[test]
fn the_pure_rooms_have_nothing_to_do_io_with() {
    let dependencies = Dependencies::of_the_workspace().unwrap();
    for member in ["ipam", "backends", "bgp"] {
        let linked = dependencies.linked_into(member).unwrap();
        let strange: Vec<_> = linked.iter().filter(|name| *name != "ipam" && !PURE.contains(&name.as_str())).collect();
        assert!(strange.is_empty(), "{member} must stay pure and is linked from {strange:?}");
    }
}

#[test]
fn the_kernels_hand_the_plugin_and_the_lab_have_no_runtime() {
    let dependencies = Dependencies::of_the_workspace().unwrap();
    for member in ["kernel", "towpath", "netns-harness"] {
        let linked = dependencies.linked_into(member).unwrap();
        let strange: Vec<_> = linked.iter().filter(|name| SHELL.contains(&name.as_str())).collect();
        assert!(strange.is_empty(), "{member} is linked from {strange:?}, which are the daemon's");
    }
}

#[test]
fn crates_look_one_way() {
    let dependencies = Dependencies::of_the_workspace().unwrap();
    let members = dependencies.members();
    for (member, allowed) in DIRECTIONS {
        let linked = dependencies.linked_into(member).unwrap();
        let strange: Vec<_> = linked.intersection(&members).filter(|name| !allowed.contains(&name.as_str())).collect();
        assert!(strange.is_empty(), "{member} may be linked from {allowed:?} of ours, and is from {strange:?}");
    }
}

#[test]
fn no_file_that_reconcile_names_reaches_back() {
    let tree = Tree::here().unwrap();
    let reconcile = tree.text(Path::new("daemon/src/reconcile.rs")).unwrap();
    let named = modules_named(&reconcile);
    assert!(!named.is_empty(), "daemon/src/reconcile.rs names no module of the daemon");
    for path in tree.with_extension("rs") {
        let Ok(inside) = path.strip_prefix("daemon/src") else { continue };
        let module = inside.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs");
        let code = without_comments(&tree.text(path).unwrap());
        let back = code.contains("crate::reconcile") || code.contains("super::reconcile");
        assert!(!(named.contains(module) && back), "{} is named by reconcile.rs and uses it", path.display());
    }
}

#[test]
fn the_bans_of_the_root_hold_in_every_crate() {
    // Clippy reads the nearest clippy.toml only.
    let tree = Tree::here().unwrap();
    let entries = |path: &Path| -> BTreeSet<String> {
        let text = tree.text(path).unwrap();
        text.lines().map(str::trim).filter(|line| !line.starts_with('#') && line.len() > 1).map(str::to_owned).collect()
    };
    let root = entries(Path::new("clippy.toml"));
    for path in tree.paths().filter(|path| path.ends_with("clippy.toml")) {
        let own = entries(path);
        let missing: Vec<_> = root.difference(&own).collect();
        assert!(missing.is_empty(), "{} lacks what the root's clippy.toml says: {missing:?}", path.display());
    }
}

/// Where what runs on a node starts processes: a plugin that a configuration delegates to, and the extension backend's commands.
const STARTS_PROCESSES: [&str; 2] = ["cni/src/delegate.rs", "daemon/src/extension/process.rs"];

#[test]
fn processes_are_started_in_two_files_alone() {
    let tree = Tree::here().unwrap();
    let on_a_node = ["ipam/src", "backends/src", "kernel/src", "daemon/src", "cni/src"];
    for path in tree.with_extension("rs").filter(|path| on_a_node.iter().any(|room| path.starts_with(room))) {
        let code = without_comments(&tree.text(path).unwrap());
        let starts = ["process::Command", "process::{Command", "execve", "posix_spawn", "fork("];
        let allowed = STARTS_PROCESSES.iter().any(|file| path.ends_with(file));
        let started = starts.into_iter().find(|word| code.contains(word));
        // What is only for tests may.
        let tests = path.to_string_lossy().contains("/tests");
        assert!(allowed || tests || started.is_none(), "{} starts processes: {started:?}", path.display());
    }
}

/// The daemon's modules that a file names: `crate::lease_source::…` names `lease_source`, and so does each first part
/// in `use crate::{a, b::c}`.
fn modules_named(text: &str) -> BTreeSet<String> {
    let code = without_comments(text);
    let mut names = BTreeSet::new();
    for after in code.split("crate::").skip(1) {
        let group = after.strip_prefix('{').and_then(|group| group.split_once('}')).map(|(group, _)| group);
        let firsts = group.unwrap_or(after).split(',').take(if group.is_some() { usize::MAX } else { 1 });
        names.extend(firsts.map(|path| first_word(path.trim()).to_owned()).filter(|name| !name.is_empty()));
    }
    names
}

fn first_word(text: &str) -> &str {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("")
}

fn without_comments(text: &str) -> String {
    text.lines().map(|line| line.split_once("//").map_or(line, |(code, _)| code)).collect::<Vec<_>>().join("\n")
}

#[test]
fn modules_are_found_in_every_spelling() {
    let text = "use crate::{status, trigger::Trigger};\nuse crate::health::Health; // crate::comment\ncrate::plan()\n";
    let names: Vec<String> = modules_named(text).into_iter().collect();
    assert_eq!(names, ["health", "plan", "status", "trigger"]);
}
