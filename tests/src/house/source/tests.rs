//! The counters count right, on small texts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use super::{Named, Source};

fn source(text: &str) -> Source {
    Source::parse(Path::new("kernel/src/apply.rs"), text.to_owned()).unwrap()
}

fn named(name: &str, line: usize) -> Named {
    Named { name: name.to_owned(), line }
}

#[test]
fn a_function_is_counted_from_its_signature_to_its_closing_brace() {
    let source = source("/// Documented.\n#[must_use]\npub fn sum(a: u8,\n    b: u8) -> u8 {\n    a + b\n}\n");
    let [sum] = &source.facts.functions[..] else { panic!("one function") };
    assert_eq!((sum.named.clone(), sum.lines), (named("sum", 3), 4));
    assert_eq!((sum.public, sum.parameters, sum.booleans), (true, 2, 0));
}

#[test]
fn self_is_no_parameter_and_only_plain_booleans_count() {
    let text = "pub struct S;\nimpl S { pub fn f(&mut self, a: bool, b: &bool, c: Option<bool>, d: bool) {} }\n";
    let source = source(text);
    let [f] = &source.facts.functions[..] else { panic!("one function") };
    assert_eq!((f.public, f.parameters, f.booleans), (true, 4, 2));
}

#[test]
fn a_public_traits_methods_are_public_and_their_implementations_are_not() {
    let text =
        "pub trait T { fn f(&self, a: bool); }\ntrait U { fn g(); }\nimpl T for u8 { fn f(&self, a: bool) {} }\n";
    let public: Vec<bool> = source(text).facts.functions.iter().map(|f| f.public).collect();
    assert_eq!(public, [true, false, false]);
}

#[test]
fn functions_inside_functions_and_modules_are_found() {
    let text = "mod inner {\n    fn outer() {\n        fn nested() {}\n    }\n}\n";
    let names: Vec<String> = source(text).facts.functions.into_iter().map(|f| f.named.name).collect();
    assert_eq!(names, ["outer", "nested"]);
}

#[test]
fn types_and_modules_are_nouns() {
    let text = "mod a {}\nstruct B;\nenum C {}\ntrait D {}\ntype E = u8;\n";
    let expected = [named("a", 1), named("B", 2), named("C", 3), named("D", 4), named("E", 5)];
    assert_eq!(source(text).facts.nouns, expected);
}

#[test]
fn only_a_test_module_with_a_body_counts_as_one() {
    let text =
        "#[cfg(test)]\nmod tests {\n    fn f() {}\n}\n#[cfg(test)]\nmod elsewhere;\n#[cfg(unix)]\nmod other {}\n";
    assert_eq!(source(text).facts.test_modules, [(named("tests", 2), 3)]);
}

#[test]
fn every_kind_of_unsafe_is_seen() {
    let text = "unsafe impl Send for S {}\nunsafe fn f() {}\nfn g() {\n    unsafe { f() }\n}\n// unsafe\nstruct S;\n";
    assert_eq!(source(text).facts.unsafe_lines, [1, 2, 4]);
}

#[test]
fn a_proof_stands_directly_above_and_not_beyond_an_empty_line() {
    let source = source("// SAFETY: because.\nconst A: u8 = 1;\n\nconst B: u8 = 2;\nconst C: &str = \"SAFETY:\";\n");
    let proofs: Vec<bool> = (1..=5).map(|line| source.has_proof_at(line)).collect();
    assert_eq!(proofs, [true, true, false, false, false]);
}

#[test]
fn macros_attributes_and_paths_are_seen_by_their_last_names() {
    let text = "#[test]\nfn f() {\n    std::println!();\n    std::thread::sleep(d);\n    let x = y;\n}\n";
    let facts = source(text).facts;
    assert_eq!(facts.macros, [named("println", 3)]);
    assert_eq!(facts.attributes, [named("test", 1)]);
    assert_eq!(facts.paths, [named("thread::sleep", 4)]);
}

#[test]
fn a_file_is_test_code_by_its_place() {
    let is_test = |path: &str| Source::parse(Path::new(path), String::new()).unwrap().is_test();
    assert!(is_test("kernel/tests/drift.rs"));
    assert!(is_test("ipam/src/table/tests.rs"));
    assert!(is_test("tests/tests/tidy.rs"));
    assert!(!is_test("tests/src/source.rs"));
    assert!(!is_test("kernel/src/apply.rs"));
}

#[test]
fn what_is_not_rust_is_refused_with_its_line() {
    let error = Source::parse(Path::new("x.rs"), "fn a() {}\nfn {".to_owned()).err().unwrap();
    assert!(error.to_string().starts_with("x.rs:2 is not Rust"), "{error}");
}
