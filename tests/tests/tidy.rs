//! The rules of the house, counted: lengths, headers, names, signatures, proofs. One test a rule; a failure lists every
//! place. Why each rule is there stands in `ARCHITECTURE.md`.
//!
//! The way to pass is to find the missing noun, never `part2`. What is really better longer stands in [`EXCEPTIONS`]
//! with its reason. What Clippy can count by itself (`clippy.toml`) is not counted here again.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fmt;
use std::path::Path;
use std::sync::LazyLock;

use promises::house::source::{Function, Named, Source};
use promises::house::tree::Tree;

/// Places where a rule does not hold: the file, the rule (the test's name), and why. One that is no longer needed fails.
const EXCEPTIONS: &[(&str, &str, &str)] = &[];

const FILE_LINES: usize = 400;
const FUNCTION_LINES: usize = 70;
const TEST_MODULE_LINES: usize = 100;
const PARAMETERS: usize = 4;

/// Words that say nothing of what a thing is.
const EMPTY_WORDS: [&str; 10] =
    ["util", "utils", "common", "helper", "helpers", "misc", "manager", "managers", "handler", "handlers"];

/// Rooms that may speak to the kernel in pointers.
const UNSAFE_ROOMS: [&str; 2] = ["kernel", "netns-harness"];

#[test]
fn a_file_has_at_most_400_lines() {
    each_source("a_file_has_at_most_400_lines", |source| {
        let lines = source.lines();
        if lines > FILE_LINES { vec![at(FILE_LINES + 1, format!("{lines} lines"))] } else { vec![] }
    });
}

#[test]
fn a_function_has_at_most_70_lines() {
    each_source("a_function_has_at_most_70_lines", |source| {
        let long = source.facts.functions.iter().filter(|function| function.lines > FUNCTION_LINES);
        long.map(|f| at(f.named.line, format!("`{}` has {} lines", f.named.name, f.lines))).collect()
    });
}

#[test]
fn tests_of_more_than_100_lines_have_their_own_file() {
    each_source("tests_of_more_than_100_lines_have_their_own_file", |source| {
        let long = source.facts.test_modules.iter().filter(|(_, lines)| *lines > TEST_MODULE_LINES);
        long.map(|(m, lines)| at(m.line, format!("`mod {}` has {lines} lines: move it to tests.rs", m.name))).collect()
    });
}

#[test]
fn a_file_begins_by_saying_what_it_owns() {
    each_source("a_file_begins_by_saying_what_it_owns", |source| {
        let first = source.text.lines().next().unwrap_or("");
        let says = first.strip_prefix("//!").is_some_and(|rest| rest.trim().len() > 10);
        if says { vec![] } else { vec![at(1, "no `//!` header".to_owned())] }
    });
}

#[test]
fn names_are_nouns_of_the_field() {
    each_source("names_are_nouns_of_the_field", |source| {
        let stem = source.path.file_stem().unwrap().to_string_lossy().into_owned();
        let file = Named { name: stem, line: 1 };
        let empty = source.facts.nouns.iter().chain([&file]).filter(|noun| says_nothing(&noun.name));
        empty.map(|noun| at(noun.line, format!("`{}` does not say what it is", noun.name))).collect()
    });
}

#[test]
fn a_public_function_takes_at_most_four_things_and_no_boolean() {
    each_source("a_public_function_takes_at_most_four_things_and_no_boolean", |source| {
        let public = source.facts.functions.iter().filter(|function| function.public);
        let wide = |f: &&Function| f.parameters > PARAMETERS || f.booleans > 0;
        let say = |f: &Function| format!("`{}`: {} parameters, {} bool", f.named.name, f.parameters, f.booleans);
        public.filter(wide).map(|f| at(f.named.line, say(f))).collect()
    });
}

#[test]
fn unsafe_stays_at_the_kernels_edge_each_with_its_proof() {
    each_source("unsafe_stays_at_the_kernels_edge_each_with_its_proof", |source| {
        let lines = source.facts.unsafe_lines.iter().copied();
        if !UNSAFE_ROOMS.contains(&source.room()) {
            return lines.map(|line| at(line, "`unsafe` outside of its rooms".to_owned())).collect();
        }
        let bare = lines.filter(|line| !source.has_proof_at(*line));
        bare.map(|line| at(line, "`unsafe` without a `// SAFETY:` proof above".to_owned())).collect()
    });
}

#[test]
fn every_other_crate_forbids_unsafe() {
    each_source("every_other_crate_forbids_unsafe", |source| {
        let root = source.path.ends_with("src/lib.rs") || source.path.ends_with("src/main.rs");
        let forbids = source.text.contains("#![forbid(unsafe_code)]");
        let missing = root && !forbids && !UNSAFE_ROOMS.contains(&source.room());
        if missing { vec![at(1, "no `#![forbid(unsafe_code)]`".to_owned())] } else { vec![] }
    });
}

#[test]
fn nothing_is_left_for_later() {
    // Written apart so that this file does not find itself.
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:"), concat!("```", "ignore")];
    each_source("nothing_is_left_for_later", |source| {
        let stubs = source.facts.macros.iter().filter(|call| ["todo", "unimplemented"].contains(&call.name.as_str()));
        let ignored = source.facts.attributes.iter().filter(|attribute| attribute.name == "ignore");
        let mut places: Vec<Place> = stubs.chain(ignored).map(|n| at(n.line, format!("`{}`", n.name))).collect();
        for (line, text) in (1..).zip(source.text.lines()) {
            let found = marks.iter().filter(|mark| text.contains(**mark));
            places.extend(found.map(|mark| at(line, (*mark).to_owned())));
        }
        places
    });
}

#[test]
fn a_test_waits_for_a_condition_and_never_for_a_while() {
    each_source("a_test_waits_for_a_condition_and_never_for_a_while", |source| {
        let test_from = source.facts.test_modules.iter().map(|(module, _)| module.line).min();
        let from = if source.is_test() { 0 } else { test_from.unwrap_or(usize::MAX) };
        let sleeps = source.facts.paths.iter().filter(|path| path.name == "thread::sleep" && path.line >= from);
        sleeps.map(|sleep| at(sleep.line, "sleeps".to_owned())).collect()
    });
}

#[test]
fn the_tree_speaks_of_itself_alone() {
    let machine = [concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/wo", "rk/")];
    let tree = Tree::here().unwrap();
    let mut places = Vec::new();
    for path in tree.paths() {
        for (line, text) in (1..).zip(tree.text(path).unwrap().lines()) {
            let found = machine.iter().find(|prefix| text.contains(**prefix));
            places.extend(found.map(|prefix| format!("{}:{line}: {prefix}", path.display())));
        }
    }
    assert_none("the_tree_speaks_of_itself_alone", &places);
}

#[test]
fn the_paths_that_documents_name_exist() {
    let tree = Tree::here().unwrap();
    let mut places = Vec::new();
    for path in tree.with_extension("md") {
        for (line, text) in (1..).zip(tree.text(path).unwrap().lines()) {
            let beside = path.parent().unwrap_or(Path::new("")).to_string_lossy().into_owned();
            let linked =
                linked_paths(text).map(|target| format!("{beside}/{target}").trim_start_matches('/').to_owned());
            let missing = named_paths(text).map(str::to_owned).chain(linked).filter(|named| !tree.has(named));
            places.extend(missing.map(|named| format!("{}:{line}: `{named}` is not there", path.display())));
        }
    }
    assert_none("the_paths_that_documents_name_exist", &places);
}

/// All Rust files, parsed once for all rules.
static SOURCES: LazyLock<Vec<Source>> = LazyLock::new(|| Tree::here().unwrap().sources().unwrap());

/// A place in a file that breaks a rule.
struct Place {
    line: usize,
    what: String,
}

fn at(line: usize, what: String) -> Place {
    Place { line, what }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.line, self.what)
    }
}

/// Asks a rule of every Rust file; fails with the list of all places, and with exceptions that are not needed.
fn each_source(rule: &str, broken: impl Fn(&Source) -> Vec<Place>) {
    let excepted = |path: &Path| EXCEPTIONS.iter().any(|(file, of, _)| *of == rule && path == Path::new(file));
    let mut places = Vec::new();
    for source in SOURCES.iter() {
        let found = broken(source);
        match (excepted(&source.path), found.is_empty()) {
            (true, true) => places.push(format!("{}: the exception is no longer needed", source.path.display())),
            (true, false) => {}
            (false, _) => places.extend(found.iter().map(|place| format!("{}:{place}", source.path.display()))),
        }
    }
    assert_none(rule, &places);
}

fn assert_none(rule: &str, places: &[String]) {
    assert!(places.is_empty(), "{} ({} places)\n{}", rule.replace('_', " "), places.len(), places.join("\n"));
}

/// Whether one of the words of a name (`snake_case`, `CamelCase` or `kebab-case`) is empty of meaning.
fn says_nothing(name: &str) -> bool {
    let mut words = String::new();
    for c in name.chars() {
        if c.is_uppercase() || c == '_' || c == '-' {
            words.push(' ');
        }
        words.extend(c.to_lowercase().filter(char::is_ascii_alphanumeric));
    }
    words.split(' ').any(|word| EMPTY_WORDS.contains(&word))
}

/// What a line of a document names between backticks and looks like a path of this repository.
fn named_paths(line: &str) -> impl Iterator<Item = &str> {
    const ROOMS: [&str; 12] = [
        "ipam/",
        "backends/",
        "bgp/",
        "kernel/",
        "daemon/",
        "cni/",
        "cli/",
        "netns-harness/",
        "tests/",
        "manifests/",
        "docs/",
        ".ci/",
    ];
    let quoted = line.split('`').skip(1).step_by(2);
    quoted.filter(|text| ROOMS.iter().any(|room| text.starts_with(room)) && !text.contains(['*', '<', '{', ' ']))
}

/// The files that a line of a document links to: `[text](path#section)`.
fn linked_paths(line: &str) -> impl Iterator<Item = &str> {
    let targets = line.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
    targets.filter(|target| !target.is_empty() && !target.contains("://"))
}

#[test]
fn every_exception_names_a_file_that_is_there() {
    let tree = Tree::here().unwrap();
    let gone: Vec<_> = EXCEPTIONS.iter().filter(|(file, _, reason)| !tree.has(file) || reason.is_empty()).collect();
    assert!(gone.is_empty(), "{gone:?}");
}

#[test]
fn empty_words_are_found_in_any_spelling() {
    for name in ["utils", "NodeManager", "lease_helpers", "HandlerKind", "common"] {
        assert!(says_nothing(name), "{name}");
    }
    for name in ["Lease", "commonwealth", "UtilityPole", "handle"] {
        assert!(!says_nothing(name), "{name}");
    }
}

#[test]
fn a_documents_paths_are_told_from_its_other_code() {
    let line = "see `kernel/src/apply.rs`, `ip route`, `backends/src/*.rs`, `docs/`, and daemon/src";
    assert_eq!(named_paths(line).collect::<Vec<_>>(), ["kernel/src/apply.rs", "docs/"]);
    let line = "[a](docs/a.md), [b](b.md#part) and [c](https://c.example/d)";
    assert_eq!(linked_paths(line).collect::<Vec<_>>(), ["docs/a.md", "b.md"]);
}
