//! Every crate that is built into Towpath has a licence, an origin and a name that `deny.toml` allows.
//!
//! The lists are `deny.toml`'s. Advisories need a network and are `make audit`'s.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use promises::house::dependencies::Dependencies;
use promises::house::spdx::permits;
use promises::house::toml_list::strings;
use promises::house::tree::Tree;

fn deny_list(table: &str, key: &str) -> Vec<String> {
    let list = strings(&Tree::here().unwrap().text(Path::new("deny.toml")).unwrap(), table, key);
    assert!(!list.is_empty(), "deny.toml has no list [{table}] {key}");
    list
}

#[test]
fn every_licence_is_one_that_we_allow() {
    let allowed = deny_list("licenses", "allow");
    for package in Dependencies::of_the_workspace().unwrap().packages() {
        let name = format!("{} {}", package.name, package.version);
        let licence = package.license.as_deref().unwrap_or_else(|| panic!("{name} has no licence in its manifest"));
        assert!(permits(licence, &allowed).unwrap(), "{name}: `{licence}` is not in deny.toml's [licenses] allow");
    }
}

#[test]
fn no_banned_crate_is_in_the_tree() {
    let banned = deny_list("bans", "deny");
    for package in Dependencies::of_the_workspace().unwrap().packages() {
        assert!(!banned.contains(&package.name.to_string()), "{} is banned, deny.toml says why", package.name);
    }
}

#[test]
fn every_foreign_crate_comes_from_a_registry_that_we_allow() {
    let allowed: Vec<String> =
        deny_list("sources", "allow-registry").iter().map(|index| format!("registry+{index}")).collect();
    for package in Dependencies::of_the_workspace().unwrap().packages() {
        let origin = package.source.as_ref().map(|source| source.repr.clone());
        let known = origin.as_ref().is_none_or(|origin| allowed.contains(origin));
        assert!(known, "{} comes from {origin:?}, which is not in deny.toml's [sources] allow-registry", package.name);
    }
}
