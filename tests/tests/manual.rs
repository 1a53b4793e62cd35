//! The manual names everything that there is to name: every flag, every key of net-conf.json, every metric.
//!
//! It reads the tables in the sources, so that what is added there is missed here.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::Path;

use promises::house::tree::Tree;

/// What stands in quotes after `marker` in the files whose paths begin with `place`, tests left out.
fn quoted_after(tree: &Tree, place: &str, marker: &str) -> BTreeSet<String> {
    let files = tree
        .with_extension("rs")
        .filter(|path| path.to_string_lossy().starts_with(place) && !path.ends_with("tests.rs"));
    let mut found = BTreeSet::new();
    for path in files {
        // Where a call is long its first word stands on a line of its own.
        let text = tree.text(path).unwrap().split('(').map(str::trim_start).collect::<Vec<_>>().join("(");
        let names = text.split(marker).skip(1).filter_map(|rest| rest.split('"').next());
        found.extend(names.map(str::to_owned));
    }
    assert!(!found.is_empty(), "nothing stands after `{marker}` in {place}…");
    found
}

/// Which of the names no word of a page is, or begins with.
fn missing(page: &str, names: impl Iterator<Item = String>) -> Vec<String> {
    let text = Tree::here().unwrap().text(Path::new(page)).unwrap();
    let words: BTreeSet<&str> = text.split(|c: char| !c.is_alphanumeric() && !"_-.".contains(c)).collect();
    names.filter(|name| !words.iter().any(|word| word.starts_with(name.as_str()))).collect()
}

#[test]
fn every_flag_is_explained() {
    let tree = Tree::here().unwrap();
    let mut flags = quoted_after(&tree, "daemon/src/config/flags", "name: \"");
    flags.extend(["value(\"", "switch(\""].iter().flat_map(|m| quoted_after(&tree, "daemon/src/config/flags", m)));
    let missing = missing("docs/configure.md", flags.into_iter().map(|flag| format!("--{flag}")));
    assert!(missing.is_empty(), "docs/configure.md does not name {missing:?}");
}

#[test]
fn every_metric_is_explained() {
    let tree = Tree::here().unwrap();
    // The kind of a metric adds to its name: `_total`, `_seconds`, `_info`.
    let kinds = [
        "info",
        "flags",
        "gauge",
        "gauge_in",
        "time",
        "counter",
        "counter_in",
        "seconds_counted",
        "gauge_each",
        "gauge_in_each",
        "counter_each",
        "counter_in_each",
    ];
    let names = kinds.iter().flat_map(|kind| quoted_after(&tree, "daemon/src/metrics", &format!("page.{kind}(\"")));
    let missing = missing("docs/metrics.md", names);
    assert!(missing.is_empty(), "docs/metrics.md does not name {missing:?}");
}

#[test]
fn every_key_of_the_network_is_explained() {
    let tree = Tree::here().unwrap();
    let readers = [
        "boolean(\"",
        "integer(\"",
        "take(\"",
        "text(\"",
        "items(\"",
        "object(\"",
        "length: \"",
        "least: \"",
        "last: \"",
        "network: \"",
    ];
    let keys = readers.iter().flat_map(|reader| quoted_after(&tree, "daemon/src/netconf", reader));
    // What is said of BGP has a page of its own.
    let missing = missing("docs/bgp.md", missing("docs/configure.md", keys).into_iter());
    assert!(missing.is_empty(), "neither docs/configure.md nor docs/bgp.md names {missing:?}");
}
