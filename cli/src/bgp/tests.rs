//! The command line of `bgp`, and policies of a file.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use clap::Parser;

use super::*;
use crate::arguments::{Arguments, Command};

fn parse(line: &str) -> Result<Bgp, clap::Error> {
    let words =
        ["towpathctl", "bgp"].into_iter().chain(line.split('|').flat_map(|part| match part.strip_prefix('"') {
            Some(quoted) => vec![quoted],
            None => part.split_whitespace().collect(),
        }));
    match Arguments::try_parse_from(words)?.command {
        Command::Bgp { question } => Ok(question),
        other => panic!("{other:?}"),
    }
}

fn asked(line: &str) -> String {
    serde_json::to_string(&parse(line).unwrap().asked().0).unwrap()
}

#[test]
fn every_question_is_what_the_daemon_understands() {
    for (line, expected) in [
        ("peers", r#"{"peers":{"neighbour":null}}"#),
        ("peers tor1 -o json", r#"{"peers":{"neighbour":"tor1"}}"#),
        ("routes", r#"{"routes":{"within":null,"neighbour":null}}"#),
        ("routes --within fd00::/8 --neighbour a", r#"{"routes":{"within":"fd00::/8","neighbour":"a"}}"#),
        ("routes --family evpn", r#"{"routes":{"within":null,"neighbour":null,"family":"evpn"}}"#),
        ("routes --explain 10.0.0.0/8", r#"{"explain":{"prefix":"10.0.0.0/8"}}"#),
        ("monitor -o json", r#""monitor""#),
        ("drain --yes --message bye", r#"{"drain":{"text":"bye"}}"#),
        ("undrain", r#""undrain""#),
    ] {
        assert_eq!(asked(line), expected);
    }
    let test = asked(
        "policy test p --prefix 10.0.0.0/8 --as-path |\"64601 65010| --community 1:2,no-export --from 10.0.0.1 --export --as 9",
    );
    for part in [
        r#""name":"p""#,
        r#""way":"export""#,
        r#""asn":9"#,
        r#""as_path":"64601 65010""#,
        r#""communities":["1:2","no-export"]"#,
        r#""from":"10.0.0.1""#,
    ] {
        assert!(test.contains(part), "{test} lacks {part}");
    }
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    for (line, said) in [
        ("routes --explain 10.0.0.0/8 --within 10.0.0.0/8", "cannot be used with"),
        ("routes --explain ten", "invalid value 'ten'"),
        ("policy test --prefix 10.0.0.0/8", "<POLICY|--neighbour <PEER>>"),
        ("policy test p --neighbour a --prefix 10.0.0.0/8", "cannot be used with"),
        ("policy test --neighbour a --file x --prefix 10.0.0.0/8", "cannot be used with"),
        ("policy test p --import --export --prefix 10.0.0.0/8", "cannot be used with"),
        ("policy test p", "--prefix <PREFIX>"),
    ] {
        let error = parse(line).unwrap_err().to_string();
        assert!(error.contains(said), "{line}: {error}");
    }
}

#[test]
fn a_policy_of_a_file_needs_no_daemon() {
    let file = std::env::temp_dir().join(format!("towpathctl-policy-{}.json", std::process::id()));
    let text = r#"{"Network": "10.0.0.0/8", "Policies": {"p": [{"If": {"PathFirst": 64601}, "Prepend": 1, "Then": "accept"}]}}"#;
    std::fs::write(&file, text).unwrap();
    let test = |route: &str| {
        let line = format!("policy test p --prefix 198.51.100.0/24 --file {} {route}", file.display());
        parse(&line).unwrap().offline()
    };
    let (text, exit) = test("--as-path 64601").unwrap().unwrap();
    assert!(text.ends_with("accepted, as: path 64601 64601, origin igp\n") && exit == 0, "{text}");
    let (text, exit) = test("--as-path 64602 -o json").unwrap().unwrap();
    assert!(text.contains("\"accepted\": false") && exit == 1, "{text}");
    assert!(test("--origin x").unwrap_err().to_string().starts_with("--origin: an origin is igp"));
    std::fs::write(&file, r#"{"Network": "10.0.0.0/8", "Policies": {"p": 1}}"#).unwrap();
    let wrong = test("").unwrap_err().to_string();
    assert!(wrong.contains("Policies.p = \"1\": it is a number, not a list"), "{wrong}");
    std::fs::remove_file(&file).unwrap();
    assert!(test("").unwrap_err().to_string().contains("cannot be read"));
}
