//! The manual names everything that there is to name: every flag, every key of net-conf.json, every metric.
//!
//! It reads the tables in the sources, so that what is added there is missed here.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::Path;

use promises::house::tree::Tree;

/// What stands in quotes after `marker` in the files below `folder`.
fn quoted_after(tree: &Tree, folder: &str, marker: &str) -> BTreeSet<String> {
    let files = tree.with_extension("rs").filter(|path| path.starts_with(folder) && !path.ends_with("tests.rs"));
    let mut found = BTreeSet::new();
    for path in files {
        let text = tree.text(path).unwrap();
        let names = text.split(marker).skip(1).filter_map(|rest| rest.split('"').next());
        found.extend(names.map(str::to_owned));
    }
    assert!(!found.is_empty(), "nothing stands after `{marker}` below {folder}");
    found
}

fn missing(page: &str, names: impl Iterator<Item = String>) -> Vec<String> {
    let text = Tree::here().unwrap().text(Path::new(page)).unwrap();
    let words: BTreeSet<&str> = text.split(|c: char| !c.is_alphanumeric() && !"_-.".contains(c)).collect();
    names.filter(|name| !words.contains(name.as_str())).collect()
}

#[test]
fn every_flag_is_explained() {
    let tree = Tree::here().unwrap();
    let mut flags = quoted_after(&tree, "daemon/src/config/flags", "name: \"");
    flags.extend(["value(\"", "switch(\""].iter().flat_map(|m| quoted_after(&tree, "daemon/src/config/flags", m)));
    let missing = missing("docs/configure.md", flags.into_iter().map(|flag| format!("--{flag}")));
    assert!(missing.is_empty(), "docs/configure.md does not name {missing:?}");
}
